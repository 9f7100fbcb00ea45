"""py-refmap-who: what was recorded of an object."""

from ..arguments import address_of
from ..limits import MAX_SHOWN
from ..maps import map_of
from ..target import Target
from ..who import HistoryReport, ObjectHistory
from ..wording import plural, say, say_all
from .base import Command


class PyRefmapWho(Command):
    """What sys.refmap_record() recorded of an object.

Usage: py-refmap-who EXPRESSION [--from N] [--limit N] [--frames N]

Shows who took a reference and who gave one back, with the C functions between
the Python code and it (--frames: that many), where each reference went, and where
in memory it was found. If no object lives at the address, the last one that was
recorded there is meant. 100 records are shown, from the first or from number N
on."""

    command = 'py-refmap-who'
    usage = 'py-refmap-who EXPRESSION [--from N] [--limit N] [--frames N]'
    allowed = ('from', 'limit', 'frames')

    def run(self, args):
        if not args.rest:
            args.fail('Which object?')
        first = max(1, args.number('from', 1))
        limit = args.number('limit', MAX_SHOWN)
        frames = args.number('frames')
        address = address_of(args.rest)
        target = Target()
        _, block = map_of(target, address)
        _, birth = block.slot(address) if block else (0, 0)
        history = ObjectHistory(target, address, birth)
        number = len(history.records)
        report = HistoryReport(history)
        say(f'{report.title()}: {plural(number, "record")}')
        say_all(report.lines(first, limit, frames))
        if number >= first + limit:
            say(f'... {number - first - limit + 1} more (see --from and '
                f'--limit)')
        if history.tape.lost:
            say(f'{plural(history.tape.lost, "record")} did not fit into the '
                f'recording, of this object or of others.')


PyRefmapWho()
