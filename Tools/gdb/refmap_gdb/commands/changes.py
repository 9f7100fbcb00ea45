"""py-refmap-snapshots, -diff: what changed."""

from ..arguments import address_of
from ..diff import MapDiff
from ..errors import RefmapError
from ..limits import MAX_SNAPSHOTS
from ..report import diff_lines
from ..snapshots import MapState, snapshots_of
from ..wording import say, say_all
from .base import Command


class PyRefmapSnapshots(Command):
    """The snapshots that are retained, the oldest first.

Usage: py-refmap-snapshots [--interp N]

py-refmap-diff takes their numbers or addresses."""

    command = 'py-refmap-snapshots'
    usage = 'py-refmap-snapshots [--interp N]'

    def run(self, args):
        args.none_left()
        maps = self.maps(args)
        found = 0
        for refmap in maps:
            snapshots = snapshots_of(refmap)
            if snapshots and len(maps) > 1:
                say(f'{refmap.label()}:')
            for snapshot in snapshots:
                found += 1
                say(self.line(snapshot))
        if not found:
            say('No snapshot is retained.')

    def line(self, snapshot):
        line = (f'{snapshot.number}: {snapshot.address:#x}, total '
                f'{snapshot.total}, unattributed '
                f'{snapshot.unattributed - snapshot.own}, '
                f'{sum(p != 0 for p in snapshot.blocks)} blocks')
        if snapshot.lost:
            line += f', {snapshot.lost} lost'
        if snapshot.corrections:
            line += ', true counts'
        return line + (', baseline' if snapshot.is_baseline else '')


PyRefmapSnapshots()


class PyRefmapDiff(Command):
    """What changed between two snapshots, or a snapshot and now.

Usage: py-refmap-diff [A [B]] [--interp N]

A and B are numbers of py-refmap-snapshots, addresses, "baseline" or "now".
Without them: from the baseline to now. The words are those of
sys.refmap_diff()."""

    command = 'py-refmap-diff'
    usage = 'py-refmap-diff [A [B]] [--interp N]'

    def run(self, args):
        names = args.rest.split()
        if len(names) > 2:
            args.fail('A diff is of two snapshots.')
        names += ['baseline', 'now'][len(names):]
        maps = self.maps(args)
        diffs, reason = [], None
        for refmap in maps:
            try:
                before, after = [self.state(refmap, name) for name in names]
            except LookupError as error:
                reason = error.args[0]
            else:
                diffs.append(MapDiff(before, after))
        if not diffs:
            raise RefmapError(reason)
        for diff in diffs:
            if len(maps) > 1:
                say(f'{diff.map.label()}:')
            say_all(diff_lines(diff))
        self.report_damage(maps)

    def state(self, refmap, name):
        """Return the MapState of that name; raise LookupError."""
        if name == 'now':
            return MapState.now(refmap)
        snapshots = snapshots_of(refmap)
        if name == 'baseline':
            for snapshot in snapshots:
                if snapshot.is_baseline:
                    return snapshot
            raise LookupError('There is no baseline: the process has not '
                              'called sys.refmap_snapshot().')
        number = self.snapshot_number(refmap, name)
        for snapshot in snapshots:
            if number in (snapshot.number, snapshot.address):
                return snapshot
        raise LookupError(f'There is no snapshot {name}: see '
                          f'py-refmap-snapshots.')

    def snapshot_number(self, refmap, name):
        """A number, or the address of a snapshot or of its Python object."""
        try:
            number = int(name, 0)
        except ValueError:
            number = address_of(name)
        if number >= MAX_SNAPSHOTS and number % 8 == 0:
            info = refmap.target.types.of_object(number)
            if info.name == 'sys.refmap_snapshot_type':
                return refmap.target.get('SnapshotObject', number, 'snapshot')
        return number


PyRefmapDiff()
