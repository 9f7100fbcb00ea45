"""py-refmap-types, -top, -objects: what the map counts, as lists."""

import fnmatch
import heapq

from ..limits import MAX_SHOWN
from ..tally import MapTally, by_name, objects_of
from ..values import ObjectPrinter
from ..wording import plural, say, say_all
from .base import Command


def type_lines(rows):
    """Yield the lines about rows of by_name()."""
    yield f'{"references":>12} {"objects":>10}  type'
    for refs, objects, name in rows:
        yield f'{refs:>12} {objects:>10}  {name}'


class PyRefmapTypes(Command):
    """How many references and objects each type has.

Usage: py-refmap-types [GLOB] [--interp N]

GLOB is a pattern such as "d*"; types are named as tp_name says."""

    command = 'py-refmap-types'
    usage = 'py-refmap-types [GLOB] [--interp N]'

    def run(self, args):
        maps = self.maps(args)
        pattern = args.rest.strip('\'"') or '*'
        rows = [row for row in by_name(map(MapTally, maps))
                if fnmatch.fnmatchcase(row[2], pattern)]
        if rows:
            say_all(type_lines(rows))
            refs = plural(sum(row[0] for row in rows), 'reference')
            objects = plural(sum(row[1] for row in rows), 'object')
            say(f'{refs} to {objects} of {plural(len(rows), "type")}.')
        else:
            say(f'No object is of a type like {pattern}.')
        self.report_damage(maps)


PyRefmapTypes()


def object_lines(target, rows):
    """Yield the lines about rows of objects_of()."""
    serial = target.layout.birth_serial
    printer = ObjectPrinter(target)
    for count, birth, address, info in rows:
        yield (f'{address:#x} ({info.name}): {plural(count, "reference")}, '
               f'birth {birth & serial}: {printer.show(address, info, 80)}')


class PyRefmapTop(Command):
    """The objects with the most references.

Usage: py-refmap-top [N] [--type GLOB] [--interp N]

N is 10 unless told."""

    command = 'py-refmap-top'
    usage = 'py-refmap-top [N] [--type GLOB] [--interp N]'
    allowed = ('interp', 'type')

    def run(self, args):
        maps = self.maps(args)
        n = args.integer(args.rest, 10, 'N')
        rows = heapq.nsmallest(
            n, (row for refmap in maps
                for row in objects_of(refmap, args.options.get('type'))),
            key=lambda row: (-row[0], row[2]))
        say_all(object_lines(maps[0].target, rows))
        if not rows:
            say('No such object.')
        self.report_damage(maps)


PyRefmapTop()


class PyRefmapObjects(Command):
    """The objects of a type, the oldest first.

Usage: py-refmap-objects --type GLOB [--born-after BIRTH] [--limit N]
                         [--interp N]

Births are serial numbers, as py-refmap shows them for an object; static
objects have 0. The first 100 objects are shown unless told."""

    command = 'py-refmap-objects'
    usage = ('py-refmap-objects --type GLOB [--born-after BIRTH] [--limit N] '
             '[--interp N]')
    allowed = ('interp', 'type', 'born-after', 'limit')

    def run(self, args):
        args.none_left()
        if 'type' not in args.options:
            args.fail('Which type?')
        limit = args.number('limit', MAX_SHOWN)
        maps = self.maps(args)
        serial = maps[0].target.layout.birth_serial
        after = args.number('born-after', -1)
        rows = [row for refmap in maps
                for row in objects_of(refmap, args.options['type'])
                if row[1] & serial > after]
        shown = heapq.nsmallest(
            limit, rows, key=lambda row: (row[1] & serial, row[2]))
        say_all(object_lines(maps[0].target, shown))
        more = (f', {len(shown)} of them shown (see --limit)'
                if len(rows) > len(shown) else '')
        references = plural(sum(row[0] for row in rows), 'reference')
        say(f'{plural(len(rows), "object")} with {references}{more}.')
        self.report_damage(maps)


PyRefmapObjects()
