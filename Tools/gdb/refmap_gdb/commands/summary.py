"""py-refmap: the sums of the map, or one object."""

from ..arguments import address_of
from ..tally import MapTally, by_name
from ..target import Target
from ..wording import plural, say_all
from .base import Command
from .one_object import ObjectReport
from .types_and_objects import type_lines


class PyRefmap(Command):
    """What the refcount map says, of everything or of one object.

Usage: py-refmap [--interp N]
       py-refmap EXPRESSION

Without an expression: how many references and objects are counted, the ten
types with the most references, and whether the sums are exact. With one: its
type, counts, birth and place in the map. The expression is a PyObject* or an
address; functions are not called.
See also py-refmap-types, -top, -objects, -snapshots, -diff, -verify, -refs,
-who, -watch, -break-birth and -break-negative."""

    command = 'py-refmap'
    usage = 'py-refmap [EXPRESSION] [--interp N]'

    def run(self, args):
        if args.rest:
            report = ObjectReport(Target(), address_of(args.rest),
                                  args.number('interp'))
            say_all(report.lines())
            return
        maps = self.maps(args)
        say_all(self.summary(maps))
        self.report_damage(maps)

    def summary(self, maps):
        tallies = [MapTally(refmap) for refmap in maps]
        mapped = sum(tally.mapped for tally in tallies)
        unattributed = sum(tally.unattributed for tally in tallies)
        total = sum(refmap.total() for refmap in maps)
        yield f'mapped        {mapped}'
        yield f'unattributed  {unattributed}'
        yield f'total         {total}'
        yield f'objects       {sum(tally.objects for tally in tallies)}'
        yield f'blocks        {sum(refmap["nblocks"] for refmap in maps)}'
        yield f'untracked     {sum(refmap["untracked"] for refmap in maps)}'
        yield f'overflowed    {sum(refmap["overflowed"] for refmap in maps)}'
        difference = mapped + unattributed - total
        yield f'exact         {self.exact(maps, difference)}'
        if len(maps) > 1:
            for tally in tallies:
                yield (f'  {tally.map.label()}: '
                       f'{plural(tally.mapped, "reference")} to '
                       f'{plural(tally.objects, "object")}')
        for line in type_lines(by_name(tallies)[:10]):
            yield (line)
        self.report_damage(maps)

    def exact(self, maps, difference):
        if difference == 0:
            return 'yes'
        reason = ''
        if not any(refmap.damaged for refmap in maps):
            reason = (' (a thread is changing the map)'
                      if any(refmap.is_changing() for refmap in maps) else
                      ' (one for each thread inside an incref is fine)')
        return f'no: off by {difference}{reason}'


PyRefmap()
