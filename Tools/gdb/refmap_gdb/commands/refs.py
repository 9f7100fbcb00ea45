"""py-refmap-refs: who refers to an object."""

from ..arguments import address_of
from ..limits import MAX_SHOWN
from ..maps import map_of
from ..referrers import ReferenceReport
from ..target import Target
from ..wording import plural, say
from .base import Command
from .one_object import ObjectReport


class PyRefmapRefs(Command):
    """Which objects refer to an object.

Usage: py-refmap-refs EXPRESSION [--limit N]

Searches the memory of all mapped objects, their tables, and the frames that
run. References from C variables, static memory and unknown out-of-line memory
(such as that of a collections.deque) are not found."""

    command = 'py-refmap-refs'
    usage = 'py-refmap-refs EXPRESSION [--limit N]'
    allowed = ('limit',)

    def run(self, args):
        if not args.rest:
            args.fail('Which object?')
        limit = args.number('limit', MAX_SHOWN)
        address = address_of(args.rest)
        target = Target()
        refmap, block = map_of(target, address)
        count, birth = block.slot(address) if block else (0, 0)
        ObjectReport(target, address, None).check()
        report = ReferenceReport(target, address)
        for hit in report.hits[:limit]:
            note = ('' if hit.counted or hit.is_stale
                    else ' (not counted)')
            say(f'{hit.holder:#x} ({hit.name}): {hit.where}{note}')
        if len(report.hits) > limit:
            say(f'... {len(report.hits) - limit} more (see --limit)')
        self.verdict(report, count)
        self.report_damage(report.search.maps)

    def verdict(self, report, count):
        found = sum(hit.counted for hit in report.hits)
        if report.instances:
            say(f'its instances: {report.instances}')
            found += report.instances
        more = ' (not all were looked at)' if report.search.truncated else ''
        stale = sum(hit.is_stale for hit in report.hits)
        perhaps = f' and perhaps {stale} on stacks' if stale else ''
        say(f'{plural(found, "reference")} found{perhaps}{more}, '
              f'the map counts {count}.')


PyRefmapRefs()
