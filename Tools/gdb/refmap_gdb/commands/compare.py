"""py-refmap-verify: the map against ob_refcnt."""

from ..limits import MAX_SHOWN
from ..verify import differing
from ..wording import plural, say
from .base import Command


class PyRefmapVerify(Command):
    """Compare the map with the reference counts in the objects themselves.

Usage: py-refmap-verify [--limit N] [--interp N]

Prints the live mortal objects whose ob_refcnt is not what the map counts.
A thread that stands in the middle of an incref or decref can account for
one object."""

    command = 'py-refmap-verify'
    usage = 'py-refmap-verify [--limit N] [--interp N]'
    allowed = ('interp', 'limit')

    def run(self, args):
        args.none_left()
        limit = args.number('limit', MAX_SHOWN)
        maps = self.maps(args)
        rows, compared = [], 0
        for refmap in maps:
            found, n = differing(refmap)
            rows += found
            compared += n
        for address, name, count, refcnt in rows[:limit]:
            say(f'{address:#x} ({name}): the map counts {count}, '
                  f'ob_refcnt is {refcnt}')
        compared = plural(compared, 'object')
        say(f'{compared} compared, {len(rows) or "none"} with another '
              f'ob_refcnt.')
        self.report_damage(maps)


PyRefmapVerify()
