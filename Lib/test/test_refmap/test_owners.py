"""Who owns an object, and which kind of leak that makes it."""

import gc
import sys
import textwrap
import types
import unittest

from refmap.who import chains, owners
from refmap.who.owners import (GC, HELD, HIDDEN, KEYS, LOST, OVER, TRACKED,
                               UNTRACKED, Leak, kind_of)
from test.support import import_helper

from .helpers import MapTestCase, run_script

_testrefmap = import_helper.import_module('_testrefmap')

# Types, by address: all of them derive from `object`.
OBJECT, NODE, BARE, TEXT, CLASS, PAIR = 1, 2, 3, 4, 5, 6
COMMON, BLIND, PAIRED = 70, 71, 72      # tp_traverse
TYPES = {
    OBJECT: ('object', 16, 0, 0, 0, 0, 0, 0),
    NODE: ('Node', 32, 0, 0, 60, BLIND, 0, OBJECT),
    BARE: ('Bare', 32, 0, 0, 61, 0, 0, OBJECT),
    TEXT: ('str', 40, 0, 0, 62, 0, 0, OBJECT),
    CLASS: ('Class', 48, 0, 0, 63, COMMON, 0, NODE),
    PAIR: ('Pair', 48, 0, 0, 64, PAIRED, 0, NODE),
}
FLAGS = {NODE: 1 | GC | TRACKED, CLASS: 1 | GC | TRACKED, BARE: 1, TEXT: 1,
         PAIR: 1 | GC | TRACKED}


class Found:
    """What sys.refmap_owners() might return, built step by step."""

    def __init__(self):
        self.objects = {}
        self.owners = []

    def object(self, address, refcnt, type=NODE, flags=None):
        flags = FLAGS[type] if flags is None else flags
        self.objects[address] = [type, refcnt, refcnt, flags, 0, 0, 0]
        return self

    def held(self, target, by, visits=0, words=None, path=(16,), kind='object',
             type=NODE, flags=None):
        words = visits if words is None else words
        if kind != 'object':
            type, flags = 0, 0
        elif flags is None:
            flags = FLAGS[type]
        self.objects[target][4] += visits
        self.objects[target][5] += max(0, words - visits)
        self.objects[target][6] += 1
        self.owners.append((target, kind, by, type, flags, visits, words,
                            (path,) * min(words, 4)))
        return self

    def leak(self, gained=None):
        objects = {address: tuple(item)
                   for address, item in self.objects.items()}
        return Leak((objects, self.owners, TYPES, 0, 0), COMMON, gained)

    def kinds(self, gained=None):
        """{address: (kind, is it a root)}, in the order of the report."""
        found = self.leak(gained).ownerships()
        return {address: (own.kind, own.root)
                for address, own in found.items()}


class KindTest(unittest.TestCase):
    """From literal tuples."""

    def test_lost(self):
        found = Found().object(100, 2).held(100, by=500, visits=1)
        self.assertEqual(found.kinds(), {100: (LOST, True)})
        own = found.leak().ownerships()[100]
        self.assertEqual((own.unowned, own.count, own.type), (1, 2, 'Node'))
        self.assertEqual([(item.address, item.count) for item in own.visited],
                         [(500, 1)])
        self.assertEqual(own.hidden, [])

    def test_what_a_lost_object_holds_is_a_consequence(self):
        found = (Found().object(200, 1).object(300, 1).object(100, 1)
                 .held(200, by=100, visits=1).held(300, by=200, visits=1))
        self.assertEqual(found.kinds(), {100: (LOST, True), 200: (LOST, False),
                                         300: (LOST, False)})
        self.assertEqual(list(found.kinds()), [100, 200, 300])
        self.assertEqual(found.leak().ownerships()[100].explains, 2)

    def test_consequence_that_lost_a_reference_itself(self):
        found = (Found().object(100, 1).object(200, 2)
                 .held(200, by=100, visits=1))
        self.assertEqual(found.kinds(), {100: (LOST, True), 200: (LOST, True)})

    def test_word_in_memory_is_a_reference(self):
        # A string need not be visited.
        found = (Found().object(100, 1).object(200, 1, TEXT)
                 .held(200, by=100, words=1))
        self.assertEqual(found.kinds(),
                         {100: (LOST, True), 200: (LOST, False)})
        self.assertEqual(found.leak().ownerships()[200].hidden, [])

    def test_block_that_leads_back_is_no_reference(self):
        # The argument of a callback. In the object itself it hides a cycle.
        found = Found().object(100, 1).held(100, by=100, words=1, path=(16, 48))
        self.assertEqual(found.kinds(), {100: (LOST, True)})
        self.assertEqual(found.leak().ownerships()[100].hidden, [])
        found = Found().object(100, 1).held(100, by=100, words=1)
        self.assertEqual(found.kinds(), {100: (HIDDEN, True)})

    def test_block_with_more_words_than_references(self):
        # Items that were taken out of a deque are in its blocks still.
        for words, kind in (2, HIDDEN), (3, LOST):
            with self.subTest(words=words):
                found = (Found().object(100, 2).object(200, 1)
                         .held(100, by=200, words=words, path=(24, 8))
                         .held(200, by=100, words=1))
                self.assertEqual(found.kinds()[100][0], kind)
        # Those in an object itself are fields.
        found = (Found().object(100, 2).object(200, 1)
                 .held(100, by=200, words=3).held(200, by=100, words=1))
        self.assertEqual(found.kinds()[100][0], HIDDEN)

    def test_borrowed_word_is_no_reference(self):
        # The count is explained without it.
        found = (Found().object(100, 1).held(100, by=500, visits=1)
                 .held(100, by=600, words=3))
        own = found.leak().ownerships()[100]
        self.assertEqual([item.address for item in own.visited], [500])
        self.assertEqual((own.unowned, own.kind), (0, HELD))

    def test_place_that_borrows(self):
        # Two are in a list linked by borrowed references; one was lost.
        found = (Found().object(100, 1).held(100, by=500, visits=1)
                 .held(100, by=200, words=1, path=(24,))
                 .object(200, 2).held(200, by=500, visits=1)
                 .held(200, by=100, words=1, path=(24,)))
        own = found.leak().ownerships()[200]
        self.assertEqual((own.kind, own.unowned), (LOST, 1))
        # Items of containers are not alike.
        found = (Found().object(100, 1).held(100, by=500, visits=1)
                 .held(100, by=200, words=1, path=(24, 8)).object(200, 1)
                 .held(200, by=100, words=1, path=(24, 8)))
        self.assertEqual(found.leak().unowned[200], 0)

    def test_leaked_objects_are_believed_before_static_data(self):
        found = (Found().object(100, 1).object(200, 1)
                 .held(200, by=900, words=1, kind='static')
                 .held(200, by=100, words=1))
        own = found.leak().ownerships()[200]
        self.assertEqual([item.address for item in own.visited], [100])

    def test_missing_visit(self):
        # 100 and 200 hold each other, and 200 does not say so.
        found = (Found().object(100, 1).object(200, 1)
                 .held(200, by=100, visits=1)
                 .held(100, by=200, words=1, path=(24,)))
        self.assertEqual(found.kinds(), {100: (HIDDEN, True),
                                         200: (HIDDEN, False)})
        own = found.leak().ownerships()[100]
        [holder] = own.hidden
        self.assertEqual((holder.address, holder.rule, holder.gc,
                          holder.offsets, holder.count),
                         (200, 'missing-visit', True, ((24,),), 1))
        self.assertEqual(own.visited, [])

    def test_no_gc(self):
        found = (Found().object(100, 1).object(200, 1, BARE)
                 .held(200, by=100, visits=1)
                 .held(100, by=200, words=1, type=BARE))
        self.assertEqual(found.kinds(), {100: (HIDDEN, True),
                                         200: (HIDDEN, False)})
        [holder] = found.leak().ownerships()[100].hidden
        self.assertEqual((holder.rule, holder.gc), ('no-gc', False))

    def test_hidden_but_no_cycle(self):
        # Bare holds 100, and is lost.
        found = (Found().object(100, 1).object(200, 1, BARE)
                 .held(100, by=200, words=1, type=BARE))
        self.assertEqual(found.kinds(),
                         {200: (LOST, True), 100: (LOST, False)})

    def test_hidden_in_a_cycle_that_is_lost(self):
        # The cycle would be there if nothing were hidden, too.
        found = (Found().object(100, 2).object(200, 1)
                 .held(200, by=100, visits=1)
                 .held(100, by=200, words=1))
        self.assertEqual(found.kinds(),
                         {100: (LOST, True), 200: (LOST, False)})

    def test_self_reference(self):
        found = Found().object(100, 1).held(100, by=100, words=1)
        self.assertEqual(found.kinds(), {100: (HIDDEN, True)})

    def test_one_word_of_two_is_visited(self):
        found = (Found().object(100, 2).object(200, 1)
                 .held(200, by=100, visits=1)
                 .held(100, by=200, visits=1, words=2))
        own = found.leak().ownerships()[100]
        self.assertEqual(own.kind, HIDDEN)
        self.assertEqual([item.count for item in own.visited], [1])
        self.assertEqual([item.count for item in own.hidden], [1])

    def test_untracked(self):
        untracked = 1 | GC
        found = (Found().object(100, 1).object(200, 1, flags=untracked)
                 .held(200, by=100, visits=1)
                 .held(100, by=200, visits=1, flags=untracked))
        self.assertEqual(found.kinds(), {200: (UNTRACKED, True),
                                         100: (UNTRACKED, False)})

    def test_untracked_without_a_cycle(self):
        # As a tuple of numbers may be.
        found = (Found().object(100, 1, flags=1 | GC)
                 .held(100, by=500, visits=1))
        self.assertEqual(found.kinds(), {100: (HELD, True)})

    def test_cycle_that_the_collector_sees(self):
        found = (Found().object(100, 1).object(200, 1)
                 .held(200, by=100, visits=1).held(100, by=200, visits=1))
        self.assertEqual(set(found.kinds().values()), {(None, False)})

    def test_held(self):
        found = (Found().object(100, 1).object(200, 1)
                 .held(100, by=500, visits=1).held(200, by=100, visits=1))
        self.assertEqual(found.kinds(),
                         {100: (HELD, True), 200: (HELD, False)})

    def test_held_by_static_data(self):
        found = (Found().object(100, 1)
                 .held(100, by=900, words=1, kind='static'))
        own = found.leak().ownerships()[100]
        self.assertEqual(own.kind, HELD)
        [holder] = own.visited
        self.assertEqual((holder.address, holder.type_address, holder.where),
                         (900, 0, 'static data at 0x384'))

    def test_over_decref(self):
        found = (Found().object(100, 1).held(100, by=500, visits=1)
                 .held(100, by=600, visits=1))
        self.assertEqual(found.kinds(), {100: (OVER, True)})

    def test_older_object(self):
        # A type that got a reference by each of its instances, among others.
        found = (Found().object(300, 50).object(100, 1).object(200, 1)
                 .held(300, by=100, visits=1).held(300, by=200, visits=1)
                 .held(300, by=500, visits=7))
        self.assertEqual(found.kinds({300: 2})[300], (LOST, False))
        self.assertEqual(found.kinds({300: 3})[300], (LOST, True))
        self.assertEqual(found.kinds({300: -1})[300], (OVER, True))

    def test_dict_keys(self):
        found = (Found().object(100, 1)
                 .object(200, 1, type=NODE, flags=1 | KEYS)
                 .held(200, by=100, words=1))
        found.objects[200][0] = 0
        own = found.leak().ownerships()[200]
        self.assertEqual((own.type, own.kind, own.root),
                         ('dict keys', LOST, False))

    def test_owners_that_are_not_listed(self):
        found = Found().object(100, 3).held(100, by=500, words=1)
        found.objects[100][5] += 2
        self.assertEqual(found.leak().unowned, {100: 0})

    def test_causes_come_first(self):
        found = (Found().object(100, 1).held(100, by=500, visits=1)
                 .object(200, 1).object(300, 1)
                 .object(400, 1).held(400, by=300, visits=1))
        self.assertEqual(list(found.kinds()), [300, 200, 100, 400])

    def test_kind_of_a_literal(self):
        def own(unowned=0, hidden=()):
            return owners.Ownership(100, 'Node', 1, [], list(hidden), unowned,
                                    True, True, [])
        self.assertEqual(kind_of(own(unowned=1)), LOST)
        self.assertEqual(kind_of(own(unowned=-1)), OVER)
        self.assertEqual(kind_of(own(hidden=['a Holder'])), HIDDEN)
        self.assertIs(kind_of(own()), None)


class SymbolsTest(unittest.TestCase):

    class Symbols:
        def field(self, type, offset, types):
            return f'{type.name}.{offset}'

        def function(self, address):
            return address

    def test_traverse_of_the_base_that_has_the_field(self):
        # A class derives from a type that misses a visit.
        found = (Found().object(100, 1).object(200, 1, CLASS)
                 .held(200, by=100, visits=1)
                 .held(100, by=200, words=1, type=CLASS, path=(24,)))
        own = found.leak().ownerships(self.Symbols())[100]
        [holder] = own.hidden
        self.assertEqual(holder.traverse, BLIND)
        self.assertEqual(holder.fields, ('Class.24',))

    def test_structure_that_does_not_begin_with_that_of_the_base(self):
        class Symbols(self.Symbols):
            def field(self, type, offset, types):
                return fields[type.name]

        found = (Found().object(100, 1).object(200, 1, PAIR)
                 .held(200, by=100, visits=1)
                 .held(100, by=200, words=1, type=PAIR, path=(24,)))
        for own, of_base, traverse in (
                ('reader', 'dict', PAIRED), ('dict', 'dict', BLIND),
                ('base.dict', 'dict', BLIND), (None, 'dict', BLIND),
                ('reader', None, BLIND)):
            with self.subTest(own=own, of_base=of_base):
                fields = {'Pair': own, 'Node': of_base}
                [holder] = found.leak().ownerships(Symbols())[100].hidden
                self.assertEqual(holder.traverse, traverse)


class GroupsTest(unittest.TestCase):

    def groups(self, held):
        return {frozenset(group) for group in owners.groups(held, held)}

    def test_groups(self):
        self.assertEqual(self.groups({}), set())
        self.assertEqual(self.groups({1: {2}, 2: set()}), {frozenset({1}),
                                                         frozenset({2})})
        self.assertEqual(
            self.groups({1: {2}, 2: {3}, 3: {1, 4}, 4: {5}, 5: {4}, 6: {6}}),
            {frozenset({1, 2, 3}), frozenset({4, 5}), frozenset({6})})

    def test_long_chain(self):
        n = 10_000
        held = {i: {i + 1} for i in range(n)}
        held[n] = {0}
        self.assertEqual(len(self.groups(held)), 1)

    def test_reach(self):
        held = {1: {2}, 2: {1, 3}, 3: set(), 4: {1}}
        self.assertEqual(owners.reach(1, held), {2, 3})
        self.assertEqual(owners.reach(3, held), set())
        self.assertEqual(owners.reach(4, held, known={2}), {1})


class ChainTest(unittest.TestCase):
    """From literal tuples; there are no objects at the addresses."""

    def search(self, edges, roots=()):
        """{object: its owners}; of `roots` static data is one owner."""
        def search(addresses):
            objects = {address: (NODE, 1, 1, 1, 0, 0, 0)
                       for address in addresses}
            found = []
            for target in addresses:
                for owner in edges.get(target, ()):
                    found.append((target, 'object', owner, NODE, FLAGS[NODE],
                                  1, 1, ((16,),)))
                if target in roots:
                    found.append((target, 'static', 16, 0, 0, 0, 1, ((0,),)))
            return objects, found, {}, 0, 0
        return search

    def find(self, edges, roots=(), leaked=(100,)):
        return chains.find([100], leaked, None, self.search(edges, roots))[100]

    def test_shortest(self):
        lines = self.find({100: [201, 301], 201: [202], 202: [203],
                           301: [302]}, {203, 302})
        self.assertEqual(lines, [
            'static data at 0x10: an object at 0x12e',
            'in its memory, at offset 16: an object at 0x12d',
            'in its memory, at offset 16: an object at 0x64'])

    def test_not_over_what_leaked(self):
        lines = self.find({100: [201, 301], 201: [202], 301: [302],
                           302: [303]}, {202, 303}, leaked={100, 201})
        self.assertIn('0x12f', lines[0])

    def test_no_root(self):
        edges = {100 + i: [101 + i] for i in range(50)}
        lines = self.find(edges)
        self.assertEqual(lines[0], 'what holds it is not followed further')
        self.assertEqual(len(lines), 2 + chains.MAX_STEPS)
        self.assertEqual(self.find({}), [])

    def test_cycle(self):
        lines = self.find({100: [201], 201: [202], 202: [201]})
        self.assertEqual(len(lines), 4)


class SweepTest(MapTestCase):
    """sys.refmap_owners() on objects of this process."""

    def owners_of(self, value):
        _, found, _, left_out, skipped = sys.refmap_owners([id(value)])
        self.assertEqual((left_out, skipped), (0, 0))
        return [item for item in found if item[0] == id(value)]

    def entry(self, value, owner):
        """(visits, words, paths) of an object that owns another."""
        [item] = [item[5:] for item in self.owners_of(value)
                  if item[1:3] == ('object', id(owner))]
        return item

    def test_target(self):
        target = [None]
        other = (target, target)
        objects, found, types_, _, _ = sys.refmap_owners([id(target), 16, 0])
        self.assertEqual(set(objects), {id(target)})
        type_, count, refcnt, flags, visits, hidden, n = objects[id(target)]
        # The variable is one more.
        self.assertEqual((type_, count, refcnt, flags, visits, hidden, n),
                         (id(list), 3, 3, 1 | GC | TRACKED, 3, 0, 2))
        self.assertEqual(types_[id(list)][0], 'list')
        self.assertEqual(types_[id(list)][7], id(object))
        self.assertIn((id(target), 'object', id(other), id(tuple), 7, 2, 2,
                       ((24,), (32,))), found)

    def test_arguments(self):
        with self.assertRaises(TypeError):
            sys.refmap_owners(16)
        with self.assertRaises(TypeError):
            sys.refmap_owners(['16'])
        with self.assertRaises(TypeError):
            sys.refmap_owners()
        self.assertEqual(sys.refmap_owners([]), ({}, [], {}, 0, 0))
        target = object()
        twice = sys.refmap_owners(iter([id(target)] * 2))
        self.assertEqual(list(twice[0]), [id(target)])

    def test_garbage_addresses(self):
        wild = [0, 1, 8, 16, 4096, 1 << 47, (1 << 64) - 1, (1 << 64) - 16,
                id(object()), id(self) + 16, id(type(self)) + 8]
        self.assertEqual(sys.refmap_owners(wild)[0], {})

    def test_no_map_entry_is_left(self):
        addresses = [id(object())]
        sys.refmap_owners(addresses)
        a = sys.refmap_snapshot()
        sys.refmap_owners(addresses)
        b = sys.refmap_snapshot()
        self.assertEqual(sys.refmap_diff(a, b, file=None).total, 0)

    def test_containers(self):
        # All of these visit what they hold.
        class Slots:
            __slots__ = ('slot',)

        class Dict:
            pass

        target = [1]
        slots, with_dict, late = Slots(), Dict(), Dict()
        slots.slot = with_dict.attribute = target
        late.__dict__['attribute'] = target     # which is in the object
        own = {'a': 1}
        own['b'] = target
        for owner in ([target], (target,), {target.__len__: target},
                      {'a': target}, [target] * 1000, (target,) * 1000, slots,
                      with_dict, late, own, types.MethodType(len, target),
                      {i: target for i in range(1000)}):
            with self.subTest(type(owner).__name__):
                visits, words, paths = self.entry(target, owner)
                self.assertEqual(visits, words)
                self.assertTrue(paths)

    def test_what_a_list_gave_up(self):
        # It stays in its memory, behind the items.
        target = [1]
        for give_up in list.pop, lambda owner: owner.__delitem__(slice(5, None)):
            owner = [*range(10), target]
            self.assertIn(id(owner), {item[2] for item in self.owners_of(target)})
            give_up(owner)
            self.assertNotIn(id(owner),
                             {item[2] for item in self.owners_of(target)})

    def test_paths(self):
        target = [1]
        self.assertEqual(self.entry(target, (target,))[2], ((24,),))
        self.assertEqual(self.entry(target, [0, target])[2], ((24, 8),))

    def test_local_variable(self):
        def inner():
            return self.owners_of(target)
        target = [1]
        code = sys._getframe().f_code
        found = [item for item in self.owners_of(target)
                 if item[2] == id(code)]
        self.assertEqual(found, [])         # the cell has it
        [cell] = [item for item in self.owners_of(inner.__closure__[1])
                  if item[2] == id(code)]
        self.assertEqual(chains.local_label(owners.Owner(*cell, 0), code),
                         f"local variable 'target' of {code.co_qualname}, "
                         f"{code.co_filename}:{code.co_firstlineno}")

    def test_weak_reference(self):
        import weakref
        target = Found()
        ref, proxy = weakref.ref(target), weakref.proxy(target)
        addresses = {item[2] for item in self.owners_of(target)}
        self.assertFalse(addresses & {id(ref), id(proxy)})
        self.assertNotIn(id(target), {item[2] for item in self.owners_of(ref)})

    def test_interned_string(self):
        # The table of interned strings has no reference.
        name = sys.intern('name_that_only_test_owners_has' + str(id(self)))
        objects, found, *_ = sys.refmap_owners([id(name)])
        _, _, refcnt, _, visits, hidden, _ = objects[id(name)]
        self.assertEqual(refcnt, visits + hidden)

    def test_missing_visit(self):
        target = [1]
        for hide in (lambda owner: setattr(owner, 'unseen', target),
                     lambda owner: owner.put(target)):
            owner = _testrefmap.Blind()
            hide(owner)
            visits, words, [path] = self.entry(target, owner)
            self.assertEqual((visits, words), (0, 1))
            owner.seen = target
            self.assertEqual(self.entry(target, owner)[:2], (1, 2))

    def test_type(self):
        # An instance of a heap type has a reference to it, visited or not.
        for cls, visits in ((_testrefmap.Bare, 0), (_testrefmap.Blind, 1)):
            instance = cls()
            self.assertEqual(self.entry(cls, instance), (visits, 1, ((8,),)))
        objects, owners_of_list, *_ = sys.refmap_owners([id(list)])
        self.assertNotIn((8,), [path for item in owners_of_list
                                for path in item[7]])

    def test_static_variable(self):
        target = [1]
        _testrefmap.keep(target)
        try:
            [item] = [item for item in self.owners_of(target)
                      if item[1] == 'static']
        finally:
            _testrefmap.keep(None)
        self.assertEqual(item[3:], (0, 0, 0, 1, ((0,),)))
        path, _ = chains.module_at(item[2])
        self.assertIn('_testrefmap', path)

    def test_static_variable_of_the_c_library(self):
        # Its lists of free memory are among them, which has old words.
        ctypes = import_helper.import_module('ctypes')
        try:
            name = ctypes.c_void_p.in_dll(ctypes.CDLL('libc.so.6'),
                                          'program_invocation_name')
        except (OSError, ValueError):
            self.skipTest('this is not the C library of GNU')
        target, old = [1], name.value
        name.value = id(target)
        try:
            found = self.owners_of(target)
        finally:
            name.value = old
        self.assertNotIn('static', [item[1] for item in found])

    def test_hashes(self):
        # The hash of an integer is its value, and may be an address.
        target = [1]
        address = id(target)
        keys = [{address: None}, {address}, set(range(100)) | {address},
                {1.5: 0, address: None}, frozenset({address})]
        self.assertFalse({id(item) for item in keys}
                         & {item[2] for item in self.owners_of(target)})

    def test_keys_of_sets(self):
        # In the set itself, or in a table of its own: there where it did not visit them.
        target = object()
        for owner, depth in (({target}, 1), (frozenset({target}), 1),
                             ({target, *range(100)}, 2)):
            visits, words, [path] = self.entry(target, owner)
            self.assertEqual((visits, words, len(path)), (1, 1, depth), owner)
        emptied = {target}
        emptied.clear()
        removed = {target, 1}
        removed.discard(target)
        found = {item[2] for item in self.owners_of(target)}
        self.assertTrue(found.isdisjoint({id(emptied), id(removed)}))

    def test_links(self):
        import functools
        cached = functools.lru_cache(lambda key: [key])
        cached(1)
        self.assertNotIn('functools._lru_list_elem',
                         {sys.refmap_owners([id(cached)])[2][item[3]][0]
                          for item in self.owners_of(cached) if item[3]})

    def test_links_own(self):
        # Of a list of elements each is owned by the one before, and the cache's dict.
        import functools
        cached = functools.lru_cache(lambda key: [key])
        for key in range(1000, 1005):
            cached(key)
        [table] = [o for o in gc.get_referents(cached)
                   if type(o) is dict and len(o) == 5]
        addresses = [id(element) for element in table.values()]
        found = Leak(sys.refmap_owners(addresses))
        self.assertEqual(found.unowned, dict.fromkeys(addresses, 0))

    def test_lost_among_all_kinds(self):
        # One reference that nobody has is seen whatever the object is.
        import collections
        import functools
        import itertools
        import weakref
        for make in (list, dict, set, bytearray, lambda: type('A', (), {}),
                     lambda: lambda: None, lambda: iter([1]),
                     lambda: (item for item in ()), collections.OrderedDict,
                     lambda: collections.deque([1]), lambda: 'a' * int('99'),
                     lambda: functools.partial(len, []), itertools.count,
                     lambda: weakref.ref(Found), lambda: 1.5 + id(self),
                     lambda: functools.lru_cache(len), sys._getframe,
                     lambda: types.ModuleType('m'), lambda: types.CellType(1)):
            value = make()
            address = id(value)
            _testrefmap.leak_reference(value)
            name = type(value).__name__
            del value
            found = Leak(sys.refmap_owners([address]))
            _testrefmap.release(address)
            with self.subTest(name):
                self.assertEqual(found.unowned, {address: 1})

    def test_plain_data(self):
        # An address among bytes is no reference.
        import array
        target = [1]
        data = id(target).to_bytes(8, sys.byteorder) * 100
        owners_ = {id(data), id(holder := bytearray(data)),
                   id(numbers := array.array('Q', data)), id(id(target))}
        self.assertFalse(owners_
                         & {item[2] for item in self.owners_of(target)})
        del holder, numbers

    def test_generator(self):
        def make():
            mine = [1]
            yield mine
            mine = None
            yield mine
        generator = make()
        target = next(generator)
        self.assertEqual(self.entry(target, generator)[0], 1)
        next(generator)
        self.assertNotIn(id(generator),
                         {item[2] for item in self.owners_of(target)})

    def test_own_objects(self):
        snapshot = sys.refmap_snapshot()
        self.assertEqual(sys.refmap_owners([id(snapshot)])[0], {})

    def test_every_object(self):
        # Any object may be asked for, and whatever lives is looked at.
        snapshot = sys.refmap_snapshot()
        import gc
        addresses = [id(item) for item in gc.get_objects()]
        objects, found, types_, _, _ = sys.refmap_owners(addresses)
        self.assertGreater(len(objects), 1000)
        self.assertGreater(len(found), 1000)
        del snapshot

    def test_explained(self):
        # Nearly all references in a healthy process have an owner.
        import gc
        gc.collect()
        addresses = [id(item) for item in gc.get_objects()
                     if type(item) in (list, dict, tuple, types.FunctionType)]
        leak = Leak(sys.refmap_owners(addresses))
        unowned = [address for address, n in leak.unowned.items() if n > 0]
        self.assertLess(len(unowned), len(addresses) / 100)


class InterpreterTest(MapTestCase):

    SCRIPT = '''
        import sys
        target = [1]
        other = (target, target)
        objects, found, *_ = sys.refmap_owners([id(target)])
        owners = {(item[1], item[2]): item[5] for item in found}
        assert owners[('object', id(other))] == 2, found
        assert len(objects) == 1 and objects[id(target)][2] == 3, objects
        '''

    def test_interpreters(self):
        interpreters = import_helper.import_module('_interpreters')
        for kind in 'legacy', 'isolated':
            with self.subTest(kind):
                interpreter = interpreters.create(kind)
                try:
                    error = interpreters.exec(interpreter,
                                              textwrap.dedent(self.SCRIPT))
                    self.assertIsNone(error, error)
                    target = [1]
                    objects, *_ = sys.refmap_owners([id(target)])
                    self.assertEqual(objects[id(target)][4:6], (1, 0))
                finally:
                    interpreters.destroy(interpreter)

    def test_what_lay_on_the_stack(self):
        # The C library saves the handlers of signals with what lies beside them.
        target = [1]
        _testrefmap.litter_stack(target)
        sys._refmap_last_words(b'words')
        self.addCleanup(sys._refmap_last_words, None)
        found = sys.refmap_owners([id(target)])[1]
        self.assertEqual([item for item in found if item[1] == 'static'], [])
        # What is kept there is found.
        self.addCleanup(_testrefmap.keep, None)
        _testrefmap.keep(target)
        found = sys.refmap_owners([id(target)])[1]
        self.assertEqual([item[1] for item in found].count('static'), 1)

    def test_threads(self):
        # The local variables of threads that wait are theirs.
        import threading

        def wait():
            target = [1]
            addresses.append(id(target))
            ready.release()
            done.acquire()

        addresses = []
        ready, done = threading.Semaphore(0), threading.Semaphore(0)
        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
            ready.acquire()
        try:
            found = sys.refmap_owners(addresses)[1]
        finally:
            for thread in threads:
                done.release()
            for thread in threads:
                thread.join()
        self.assertEqual(sorted((item[0], item[1], item[2]) for item in found),
                         sorted((address, 'thread', id(wait.__code__))
                                for address in addresses))


class MemoryTest(MapTestCase):

    def test_out_of_memory(self):
        # It fails as a whole, or not at all.
        run_script('''
            target = [1]
            addresses = [id(target)]
            addresses = addresses * 3
            expected = sys.refmap_owners(addresses)[0]
            failed = 0
            for n in range(40):
                _testrefmap.limit_allocations(n)
                try:
                    result = sys.refmap_owners(addresses)
                except MemoryError:
                    failed += 1
                finally:
                    _testrefmap.limit_allocations(-1)
            assert failed > 3, failed
            assert sys.refmap_owners(addresses)[0].keys() == expected.keys()
            check_exact()
            check_true()
            ''')

    def test_while_an_object_dies(self):
        run_script('''
            import gc, weakref
            class Dying:
                def __del__(self):
                    results.append(sys.refmap_owners([id(self)])[0])
            results = []
            x = Dying()
            ref = weakref.ref(x, lambda ref: sys.refmap_owners([id(ref)]))
            del x
            x = Dying()
            x.cycle = x
            del x
            gc.callbacks.append(lambda *_: sys.refmap_owners([id(results)]))
            gc.collect()
            assert len(results) == 2, results
            check_exact()
            check_true()
            ''')


class ReconcileTest(unittest.TestCase):
    """Real leaks, each in a process of its own."""

    PREAMBLE = '''
        import gc
        from refmap.who.owners import kind_of, reconcile

        class Leaf:
            pass

        def tell(addresses):
            gc.collect()
            for own in reconcile(addresses).values():
                print(kind_of(own), own.root, own.type,
                      [f'{item.rule} {item.type}' for item in own.hidden])
            return reconcile(addresses)
        '''

    def check(self, script, expected):
        out, _ = run_script(textwrap.dedent(self.PREAMBLE)
                            + textwrap.dedent(script))
        self.assertEqual(out.splitlines(),
                         textwrap.dedent(expected).split('\n')[1:-1])

    def test_lost(self):
        self.check('''
            leaf = Leaf()
            leaf.items = [1]
            addresses = [id(leaf.items), id(leaf)]
            _testrefmap.leak_reference(leaf)
            del leaf
            tell(addresses)
            ''', '''
            lost in C True Leaf []
            lost in C False list []
            ''')

    def test_missing_visit(self):
        self.check('''
            leaf = Leaf()
            leaf.blind = _testrefmap.Blind()
            leaf.blind.unseen = leaf
            addresses = [id(leaf.blind), id(leaf)]
            del leaf
            tell(addresses)
            ''', '''
            hidden from the collector True Leaf ['missing-visit _testrefmap.Blind']
            hidden from the collector False _testrefmap.Blind []
            ''')

    def test_missing_visit_of_a_base(self):
        self.check('''
            class Derived(_testrefmap.Blind):
                pass
            blind = Derived()
            blind.put([blind])
            addresses = [id(blind), id(gc.get_referrers(blind)[0])]
            addresses = [id(blind)] + [id(x) for x in gc.get_referrers(blind)
                                       if type(x) is list]
            del blind
            found = tell(addresses)
            ''', '''
            hidden from the collector True list ['missing-visit Derived']
            hidden from the collector False Derived []
            ''')

    def test_no_gc(self):
        self.check('''
            leaf = Leaf()
            leaf.bare = _testrefmap.Bare()
            leaf.bare.put(leaf)
            addresses = [id(leaf.bare), id(leaf)]
            del leaf
            tell(addresses)
            ''', '''
            hidden from the collector True Leaf ['no-gc _testrefmap.Bare']
            hidden from the collector False _testrefmap.Bare []
            ''')

    def test_over_decref(self):
        self.check('''
            leaf = Leaf()
            leaves = [leaf] * 3
            addresses = [id(leaf)]
            del leaf
            gc.disable()        # in a debug build it aborts
            _testrefmap.over_decref(leaves[0])
            [own] = reconcile(addresses).values()
            _testrefmap.leak_reference(leaves[0])
            print(kind_of(own), own.root, own.type, own.hidden)
            ''', '''
            over-decref True Leaf []
            ''')

    def test_untracked(self):
        self.check('''
            leaf = Leaf()
            leaf.untracked = _testrefmap.Untracked()
            leaf.untracked.unseen = leaf
            addresses = [id(leaf), id(leaf.untracked)]
            del leaf
            tell(addresses)
            ''', '''
            untracked True _testrefmap.Untracked []
            untracked False Leaf []
            ''')

    def test_static(self):
        self.check('''
            leaf = Leaf()
            addresses = [id(leaf)]
            _testrefmap.keep([leaf])
            del leaf
            [own] = tell(addresses).values()
            static, item = own.chain
            # Without nm it is static data.
            assert static.startswith(('static variable kept of _testrefmap',
                                      'static data of _testrefmap')), own.chain
            assert ': list at 0x' in static, own.chain
            assert item.startswith('[0]: '), own.chain
            ''', '''
            held by a visible owner True Leaf []
            ''')

    def test_module(self):
        self.check('''
            leaf = Leaf()
            cache = {'key': [None, leaf]}
            addresses = [id(leaf)]
            del leaf
            [own] = tell(addresses).values()
            print([line.partition(': ')[0] for line in own.chain])
            ''', '''
            held by a visible owner True Leaf []
            ["<module '__main__'>", '.__dict__', "['cache']", "['key']", '[1]']
            ''')

    def test_class_attribute(self):
        self.check('''
            Leaf.attribute = Leaf()
            addresses = [id(Leaf.attribute)]
            [own] = tell(addresses).values()
            print([line.partition(': ')[0] for line in own.chain[2:]])
            ''', '''
            held by a visible owner True Leaf []
            ["['Leaf']", '.__dict__', "['attribute']"]
            ''')

    def test_entry_in_the_subclasses_of_a_static_type(self):
        # A dict of the base has the address of the class, and a weak reference
        # to it. Another number is nobody's entry.
        self.check('''
            class Sub(list):
                pass
            numbers = [id(Leaf), 1 << 40]
            found = [o for o in gc.get_objects() if type(o) is dict
                     and any(type(key) is int and key == id(Sub) for key in o)]
            [(key, value)] = [(key, value) for key, value in found[0].items()
                              if key == id(Sub)]
            del found
            addresses = [id(Sub), id(key), id(value), *map(id, numbers)]
            found = reconcile(addresses)
            for address in addresses:
                own = found[address]
                print(kind_of(own), own.root, own.type)
            ''', '''
            held by a visible owner True type
            held by a visible owner False int
            held by a visible owner False weakref.ReferenceType
            held by a visible owner True int
            held by a visible owner True int
            ''')

    def test_local_variable(self):
        self.check('''
            def run():
                mine = Leaf()
                [own] = tell([id(mine)]).values()
                assert own.chain[0].startswith(
                    "local variable 'mine' of run, <string>:"), own.chain
            run()
            ''', '''
            held by a visible owner True Leaf []
            ''')

    def test_attribute(self):
        self.check('''
            leaf = Leaf()
            leaf.child = Leaf()
            addresses = [id(leaf.child)]
            [own] = tell(addresses).values()
            print([line.partition(': ')[0] for line in own.chain])
            ''', '''
            held by a visible owner True Leaf []
            ["<module '__main__'>", '.__dict__', "['leaf']", '.child']
            ''')


if __name__ == '__main__':
    unittest.main()
