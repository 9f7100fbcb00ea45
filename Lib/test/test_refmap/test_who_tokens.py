"""The flow of tokens and the suspects, on literal recordings. Runs in any
interpreter.
"""

import unittest
from collections import namedtuple

from refmap.who import suspects, tokens
from refmap.who.contracts import Contract, Contracts
from refmap.who.recording import (ABANDONED, BASE_DIED, FREED, MEMORY,
                                  NOWHERE, RETURNED, STACK, THREAD_STATE,
                                  UNKNOWN)
from refmap.who.suspects import Leaked, analyse
from refmap.who.symbols import Site
from test.test_refmap.who_records import NO_CONTRACTS, Tape

A, B, C, D = 0x10000, 0x20000, 0x30000, 0x48000

EVAL = '_PyEval_EvalFrameDefault'

# As in owners.py.
Holder = namedtuple('Holder', 'address type type_address count offsets fields '
                              'traverse gc caller')
Ownership = namedtuple('Ownership', 'address type count visited hidden unowned '
                                    'tracked gc chain kind root')


def own(address, count=1, visited=(), hidden=(), unowned=0, kind=None, root=True,
        chain=()):
    if unowned:
        kind = suspects.LOST
    return Ownership(address, 'T', count, list(visited), list(hidden), unowned,
                     True, True, list(chain), kind, root)


def holder(address, name='C', count=1, traverse=None, gc=True, caller=None):
    return Holder(address, name, 0, count, ((16,),), ('item',), traverse, gc,
                  caller)


class TokenTestCase(unittest.TestCase):
    def setUp(self):
        self.tape = Tape()

    def lives(self):
        return tokens.Flow(self.tape.recording(), self.tape.symbols).lives

    def life(self):
        life, = self.lives()
        return life

    def left(self):
        """Return the numbers of the tokens that are left."""
        return [token.number for token in self.life().left()]

    def analyse(self, *ownership, leaked=None, runs=1, contracts=NO_CONTRACTS):
        if leaked is None:
            leaked = [Leaked(o.address, 'T', 0, o.count, 0) for o in ownership]
        return analyse(self.tape.recording(), leaked,
                       {o.address: o for o in ownership}, self.tape.symbols,
                       contracts, runs)

    def first(self, *ownership, **more):
        """Return (function, rule) of the first suspect."""
        found = self.analyse(*ownership, **more).suspects
        self.assertTrue(found, 'nobody is suspected')
        return found[0].function, found[0].rule

    def names(self, *ownership, **more):
        return [s.function for s in self.analyse(*ownership, **more).suspects]


class FlowTests(TokenTestCase):
    """Which token does a release consume?"""

    def test_same_activation(self):
        self.tape.birth(A, 'g:1 f:2', 1)
        self.tape.ret(1, 'g:1 f:2', [(1, RETURNED, 2)])
        self.tape.change(A, 1, 'f:2', 2)
        self.tape.change(A, 1, 'h:1 f:2', 3)
        self.tape.change(A, -1, 'h:1 f:2')
        self.assertEqual(self.left(), [1, 2])

    def test_another_function_at_the_slot(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.change(A, 1, 'g:3', 2)
        self.tape.change(A, -1, 'h:2 g:3')
        self.tape.change(A, -1, 'f:2 g:3')
        self.assertEqual(self.left(), [])
        self.assertEqual([r.token.number for r in self.life().releases], [2, 1])

    def test_youngest_of_an_activation(self):
        self.tape.birth(A, 'f:2', 1)
        self.tape.change(A, 1, 'f:2', 2)
        self.tape.change(A, -1, 'f:2')
        self.assertEqual(self.left(), [1])

    def test_transparent_functions(self):
        self.tape.birth(A, '_Py_NewReference:1 f:2', 1)
        self.tape.change(A, -1, 'Py_DECREF:1 f:2')
        life = self.life()
        self.assertEqual(life.left(), [])
        self.assertEqual(life.releases[0].calls[0].function, 'f')

    def test_inlined_functions(self):
        self.tape.birth(A, 'inner,f:2', 1)
        self.tape.change(A, -1, 'other,f:2')
        self.assertEqual(self.left(), [])

    def test_field_cleared(self):
        self.tape.birth(A, 'f:2', 1)
        self.tape.change(A, 1, 'f:2', 2)
        self.tape.stored(2, A, B + 16, B)
        self.tape.gone(2, A, B + 16, B, 'f:2', 'f:2', object=A)
        self.tape.change(A, -1, 'f:2')
        self.assertEqual(self.left(), [1])

    def test_dying_container(self):
        self.tape.birth(A, 'f:2', 1)
        self.tape.change(A, 1, 'f:2', 2)
        self.tape.stored(1, A, B + 16, B)
        self.tape.stored(2, A, C + 16, C)
        self.tape.change(A, -1, 'c_dealloc:1 g:2',
                         deaths=[(B, 1, 1, 0x100)])
        self.assertEqual(self.left(), [2])

    def test_forgotten_by_what_held_it(self):
        # The younger one was in a field that tp_clear emptied: what is given
        # back later is the other.
        for emptying, left in ('c_clear', [2]), ('c_pop', [1]):
            with self.subTest(emptying):
                self.setUp()
                base = self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
                self.tape.birth(A, 'f:2 g:5', 1)
                self.tape.change(A, 1, 'f:2 g:5', 2)
                self.tape.ret(2, 'f:2 g:5', [(2, MEMORY, 0), (1, NOWHERE, 0)],
                              [(2, B + 16, B, base)])
                self.tape.gone(2, A, B + 16, B, f'h:1 {emptying}:2 g:5', 'g:5')
                self.tape.change(A, 1, 'k:3 g:5', 3)
                self.tape.change(A, -1, 'k:3 g:5')
                self.tape.change(A, -1, 'i:4 g:5')
                self.assertEqual(self.left(), left)

    def test_what_is_sure_comes_first(self):
        # A callee gives back what may be its caller's, or what got lost; the
        # caller gives back its own for sure, later.
        self.tape.birth(A, 'f:2', 1)
        self.tape.change(A, 1, 'g:1 f:2', 2)
        self.tape.ret(1, 'g:1 f:2', [(2, NOWHERE, 0)])
        self.tape.change(A, -1, 'h:1 f:2')
        self.tape.change(A, -1, 'f:2')
        self.assertEqual(self.left(), [])
        self.assertEqual(self.life().unmatched, [])

    def test_callers(self):
        self.tape.birth(A, 'f:3 g:4', 1)
        self.tape.change(A, 1, 'g:4', 2)
        self.tape.change(A, -1, 'h:2 f:3 g:4')
        self.assertEqual(self.left(), [2])

    def test_evaluation_loop(self):
        self.tape.birth(A, f'{EVAL}:2 f:3', 1)
        self.tape.change(A, 1, 'f:3', 2)
        self.tape.change(A, -1, f'_PyFrame_ClearLocals:1 {EVAL}:2 f:3')
        self.assertEqual(self.left(), [2])

    def test_the_recorder_spent_another_one(self):
        # Two tokens of one activation: 2 is in a field, so 1 was given back.
        # The recorder took 2 for it, and follows 1 from now on.
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.change(A, 1, 'f:2 g:3', 2)
        self.tape.stored(2, A, B + 16, B)
        self.tape.change(A, -1, 'f:2 g:3', 2)
        self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)], [(1, B + 16, B, 0)])
        left, = self.life().left()
        self.assertEqual((left.number, left.holder, list(left.places)),
                         (2, None, [B + 16]))

    def test_the_recorder_knows(self):
        # It saw that the function at the slot is another activation.
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.change(A, 1, 'g:3', 2)
        self.tape.change(A, -1, 'h:2 g:3', 1)
        self.assertEqual(self.left(), [2])

    def test_one_reference_is_returned(self):
        self.tape.birth(A, 'f:1 g:2', 1)
        self.tape.change(A, 1, 'f:1 g:2', 2)
        self.tape.ret(1, 'f:1 g:2', [(1, RETURNED, 2), (2, RETURNED, 2)])
        self.tape.change(A, -1, 'g:2')
        left, = self.life().left()
        self.assertEqual((left.number, left.ended.slot), (2, 0x100))

    def test_k_references(self):
        self.tape.birth(A, 'f:1', 1)
        self.tape.change(A, 3, 'f:1', 2)
        self.tape.change(A, -2, 'f:1')
        self.assertEqual(len(self.left()), 2)
        self.assertIn(1, self.left())

    def test_tokens_that_were_not_followed(self):
        self.tape.birth(A, 'f:1', 0)
        self.tape.change(A, 2, 'f:1', 0)
        self.tape.change(A, -2, 'f:1')
        self.assertEqual(len(self.life().left()), 1)

    def test_nothing_to_release(self):
        self.tape.birth(A, 'f:1', 1)
        self.tape.change(A, -2, 'f:1')
        self.assertEqual(len(self.life().unmatched), 1)

    def test_moved(self):
        self.tape.birth(A, 'f:1', 1)
        self.tape.move(A, B)
        self.tape.change(B, -1, 'f:1')
        life = self.life()
        self.assertEqual((life.address, life.left()), (B, []))

    def test_address_used_again(self):
        self.tape.birth(A, 'f:1', 1, birth=1)
        self.tape.change(A, -1, 'f:1', birth=1)
        self.tape.death(A, 'f:1', birth=1)
        self.tape.birth(A, 'f:1', 2, birth=2)
        first, second = self.lives()
        self.assertIsNotNone(first.died)
        self.assertEqual([t.number for t in second.left()], [2])

    def test_older_than_the_recording(self):
        self.tape.change(A, 1, 'f:1', 1, birth=9)
        self.assertIsNone(self.life().born)
        self.assertEqual(self.left(), [1])

    def test_place_moves_to_another_token(self):
        self.tape.birth(A, 'f:2', 1)
        self.tape.change(A, 1, 'f:2', 2)
        self.tape.stored(1, A, B + 16, B)
        self.tape.stored(2, A, B + 16, B)
        places = [list(t.places) for t in self.life().tokens]
        self.assertEqual(places, [[], [B + 16]])

    def test_place_of_a_token_that_was_released(self):
        self.tape.birth(A, 'f:2', 1)
        self.tape.change(A, 1, 'g:1 f:2', 2)
        self.tape.change(A, -1, 'g:1 f:2')
        self.tape.stored(2, A, B + 16, B)
        self.assertEqual(list(self.life().tokens[0].places), [B + 16])

    def test_frames(self):
        # Clearing a frame gives back what its makers took, before all else.
        self.tape.birth(A, f'{EVAL}:4 g:9', 1)
        self.tape.change(A, 1, f'_PyEval_Vector:3 {EVAL}:4 g:9', 2)
        self.tape.change(A, 1, 'f:2 g:9', 3)
        self.tape.ret(2, 'f:2 g:9', [(3, UNKNOWN, 0)])
        self.tape.change(A, -1, f'_PyFrame_ClearExceptCode:1 {EVAL}:2 '
                                f'_PyEval_Vector:3 {EVAL}:4 g:9')
        self.assertEqual(self.left(), [1, 3])

    def test_frame_of_another_call(self):
        # What the loop has of a cell becomes an argument, without any event, and
        # goes with a frame that other code called. That of a generator may go
        # anywhere.
        for clearing, left in ('clear_thread_frame', [1]), ('gen_dealloc', [2]):
            with self.subTest(clearing):
                self.tape = Tape()
                self.tape.birth(A, 'main:9', 3)
                self.tape.ret(9, 'main:9', [(3, NOWHERE, 0)])
                self.tape.change(A, 1, '_PyEval_Vector:4 g:9', 1, code=1)
                self.tape.change(A, 1, f'PyCell_GetRef,{EVAL}:2 '
                                       '_PyEval_Vector:4 g:9', 2, code=2)
                self.tape.change(A, -1, f'_PyFrame_ClearLocals,{clearing}:1 '
                                        f'{EVAL}:2 _PyEval_Vector:4 g:9', code=2)
                self.assertEqual(sorted(self.left()), [*left, 3])

    def test_two_places(self):
        # One reference is in one place: the other one is that of token 1.
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, UNKNOWN, 0)])
        self.tape.change(A, 1, 'h:2 g:3', 2)
        self.tape.ret(2, 'h:2 g:3', [(2, MEMORY, 0)],
                      [(2, B + 16, B, 1), (2, C + 16, C, 1)])
        self.assertEqual([list(token.places) for token in self.life().tokens],
                         [[C + 16], [B + 16]])

    def test_what_a_field_keeps(self):
        # It still has it after the release: that was of somebody else's.
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.change(A, 1, 'h:1 f:2 g:3', 2)
        self.tape.ret(1, 'h:1 f:2 g:3', [(2, MEMORY, 0)], [(2, B + 16, B, 1)])
        self.tape.change(A, -1, 'k:1 f:2 g:3')
        self.assertEqual(self.left(), [2])

    def test_given_back_and_then_cleared(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.change(A, 1, 'h:1 f:2 g:3', 2)
        self.tape.ret(1, 'h:1 f:2 g:3', [(2, MEMORY, 0)], [(2, B + 16, B, 1)])
        self.tape.change(A, -1, 'k:1 f:2 g:3')
        self.tape.gone(2, A, B + 16, B, 'f:2 g:3', 'k:1 f:2 g:3',
                       previous_object=A)
        self.assertEqual(self.left(), [1])

    def test_many_tokens(self):
        # Not all pairs of tokens and releases are weighed against each other.
        for k in range(1, 200):
            self.tape.change(A, 1, f'f:{k} g:900', k)
        for k in range(1, 200):
            self.tape.change(A, -1, 'h:800 g:900')
        self.assertEqual(self.left(), [])


    def test_who_stores_what_it_takes(self):
        # store() is known to store. Both tokens ended nowhere: the one that is
        # given back, in the file of look(), is that of store() all the same.
        self.tape.place('store', 'list.c', 1)
        self.tape.place('look', 'deque.c', 1)
        self.tape.place('clear', 'deque.c', 1)
        self.tape.birth(C, 'store:2 g:3', 8, birth=2)
        self.tape.ret(2, 'store:2 g:3', [(8, MEMORY, 0)], [(8, B, B, 0)])
        self.tape.birth(A, 'store:2 g:3', 1)
        self.tape.ret(2, 'store:2 g:3', [(1, NOWHERE, 0)])
        self.tape.change(A, 1, 'look:2 g:3', 2)
        self.tape.ret(2, 'look:2 g:3', [(2, NOWHERE, 0)])
        self.tape.change(A, -1, 'clear:2 g:3')
        life = next(life for life in self.lives() if life.address == A)
        self.assertEqual([token.number for token in life.left()], [2])

    def test_argument_that_is_taken_over(self):
        # insert() gives back what merge(), which called it, took for it, and
        # not what lies in a table.
        self.tape.birth(A, 'f:1 g:3', 1)
        self.tape.ret(1, 'f:1 g:3', [(1, MEMORY, 0)], [(1, B, B, 0)])
        self.tape.change(A, 1, 'merge:2 g:3', 2)
        self.tape.change(A, -1, 'insert:1 merge:2 g:3')
        self.assertEqual(self.left(), [1])

    def test_argument_that_helpers_take_over(self):
        # Py_BuildValue() gives back what get() took for it, in a helper.
        for helper in 'make_value', 'make_dict':
            self.tape.place(helper, 'modsupport.c', 1)
        self.tape.place('Py_BuildValue', 'modsupport.c', 1)
        stack = 'make_dict:1 make_value:2 Py_BuildValue:3 '
        for caller, left in ('get:4 g:5', [1]), ('other:4 get:5', [2]):
            with self.subTest(caller):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.birth(A, 'f:1 g:5', 1)
                self.tape.ret(1, 'f:1 g:5', [(1, NOWHERE, 0)])
                self.tape.change(A, 1, caller[caller.index('get'):], 2)
                self.tape.change(A, -1, stack + caller)
                self.assertEqual(self.left(), left)
                self.tape.words = words

    def test_no_argument_of_the_dying(self):
        # What dies gives up what it holds.
        self.tape.birth(A, 'f:1 g:3', 1)
        self.tape.ret(1, 'f:1 g:3', [(1, MEMORY, 0)], [(1, B, B, 0)])
        self.tape.change(A, 1, 'merge:2 g:3', 2)
        self.tape.change(A, -1, 'dict_dealloc:1 merge:2 g:3',
                         deaths=[(C, self.tape.type('C'), 5, 0x100)])
        self.assertEqual(self.left(), [2])

    def dict_dies(self, name='dict', function='dict_dealloc'):
        self.tape.change(A, -1, f'{function}:1 g:3',
                         deaths=[(C, self.tape.type(name), 5, 0x100)])

    def test_who_stored_it_gives_it_up(self):
        # Two blocks have the object: the dict gives up what its own file took.
        self.tape.place('setitem', 'Objects/dictobject.c', 1)
        self.tape.place('dict_dealloc', 'Objects/dictobject.c', 1)
        self.tape.birth(A, 'setitem:1 g:3', 1)
        self.tape.ret(1, 'setitem:1 g:3', [(1, MEMORY, 0)], [(1, B, B, 0)])
        self.tape.change(A, 1, 'look:1 g:3', 2)
        self.tape.ret(1, 'look:1 g:3', [(2, MEMORY, 0)],
                      [(2, B + 0x108, B + 0x100, 0)])
        self.dict_dies()
        self.assertEqual(self.left(), [2])

    def test_who_stored_it_unseen_gives_it_up(self):
        # The block in which it was found is that of the one for which memory
        # was not searched.
        self.tape.place('setitem', 'Objects/dictobject.c', 1)
        self.tape.place('dict_dealloc', 'Objects/dictobject.c', 1)
        self.tape.birth(A, 'setitem:1 g:3', 1)
        self.tape.ret(1, 'setitem:1 g:3', [(1, UNKNOWN, 0)])
        self.tape.change(A, 1, 'look:1 g:3', 2)
        self.tape.ret(1, 'look:1 g:3', [(2, MEMORY, 0)], [(2, B + 8, B, 0)])
        self.dict_dies()
        self.assertEqual(self.left(), [2])

    def test_items_of_a_tuple(self):
        # They are in no other block. The loop had put it in the tuple.
        for block, left in (B, [1]), (C - 16, [2]):
            with self.subTest(left):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.birth(A, 'make:1 g:3', 1)
                self.tape.ret(1, 'make:1 g:3', [(1, MEMORY, 0)],
                              [(1, block + 40, block, 0)])
                self.tape.change(A, 1, f'{EVAL}:2 g:3', 2)
                self.tape.change(A, -1, f'tupledealloc:1 {EVAL}:2 g:3', deaths=[
                    (C, self.tape.type('tuple'), 5, 0x100)])
                self.assertEqual(self.left(), left)
                self.tape.words = words

    def test_another_function_at_the_slot_took_it_out(self):
        # dict_dealloc() is where take() was when its field changed.
        base = self.tape.type('C')
        self.tape.birth(A, 'f:1 g:3', 1)
        self.tape.ret(1, 'f:1 g:3', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.change(A, 1, 'store:1 g:3', 2)
        self.tape.ret(1, 'store:1 g:3', [(2, MEMORY, 0)],
                      [(2, B + 0x100, B + 0x100, 0)])
        for function, left in ('take', [2]), ('other', [1]):
            with self.subTest(function):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.gone(1, A, B + 16, B, f'{function}:1 g:3', 'g:3')
                self.dict_dies(function='take')
                self.assertEqual(self.left(), left)
                self.tape.words = words

    def test_what_grows_moves(self):
        # Both references of a table are in the new one, each once.
        self.tape.birth(A, 'f:1 g:3', 1)
        self.tape.change(A, 1, 'f:1 g:3', 2)
        self.tape.ret(1, 'f:1 g:3', [(1, MEMORY, 0), (2, MEMORY, 0)],
                      [(1, B, B, 0), (2, B + 8, B, 0)])
        self.tape.shifted(1, A, B, C, C)
        self.tape.shifted(2, A, B + 8, C + 8, C)
        self.tape.gone(2, A, C + 8, C, 'free:1 drop:2 g:3', 'g:3',
                       flags=BASE_DIED)
        places = [list(token.places) for token in self.life().tokens]
        self.assertEqual(places, [[C], []])
        self.assertEqual(self.life().tokens[1].last_gone().location, C + 8)


    def test_word_that_turns_out_to_be_another_reference(self):
        # f() can't hand out what is in a variable of g(), which has the object
        # already: but then the object is found in memory.
        base = self.tape.type('C')
        self.tape.symbols.keeping.add('f')
        self.tape.birth(A, 'g:3', 1)
        self.tape.change(A, 1, 'f:2 g:3', 2)
        self.tape.ret(2, 'f:2 g:3', [(2, STACK, 3)])
        self.assertEqual([step.what for step in self.life().tokens[1].steps],
                         ['nowhere'])
        self.tape.stored(2, A, B + 16, B, base, 'g:3')
        self.tape.change(A, -1, 'g:3')
        token, = self.life().left()
        self.assertEqual([step.what for step in token.steps], ['stored'])
        self.assertEqual(list(token.places), [B + 16])

    def dying_list(self):
        """Both references are in blocks, that is all that is known when
        list_dealloc() gives one back. Return its stack."""
        self.tape.birth(A, f'{EVAL}:9', 1)
        self.tape.stored(1, A, B + 8, B)
        self.tape.change(A, 1, f'insert:2 {EVAL}:9', 2)
        self.tape.ret(2, f'insert:2 {EVAL}:9', [(2, MEMORY, 0)],
                      [(2, C + 8, C, 0)])
        dying = f'list_dealloc:2 {EVAL}:9'
        self.tape.change(A, -1, dying, deaths=[
            (0x40000, self.tape.type('L'), 5, 0x200)])
        return dying

    def free_items(self, block, dying):
        self.tape.gone(0, A, block + 8, block, f'free_list_items:1 {dying}',
                       dying, flags=BASE_DIED)

    def test_block_that_is_freed_next(self):
        # Who gave it back frees one of the blocks.
        for freed, left in ((B, 2), (C, 1)):
            with self.subTest(left):
                self.tape = Tape()
                self.free_items(freed, self.dying_list())
                self.assertEqual(self.left(), [left])

    def test_block_that_is_emptied_and_freed(self):
        # What holds the block lives on: only who gives it back frees it.
        for function, buriers in ('list_clear', 1), (EVAL, 0):
            with self.subTest(function):
                self.tape = Tape()
                self.tape.birth(A, 'main:9', 1)
                self.tape.stored(1, A, B + 8, B)
                self.tape.change(A, 1, 'insert:2 main:9', 2)
                self.tape.ret(2, 'insert:2 main:9', [(2, UNKNOWN, 0)])
                emptying = f'{function}:3 main:9'
                self.tape.change(A, -1, emptying)
                self.free_items(B, emptying)
                first, second = self.life().tokens
                self.assertEqual(len(first.buriers), buriers)
                self.assertIsNone(second.released)

    def test_block_that_another_activation_frees(self):
        # list_dealloc() was left before it was called again.
        dying = self.dying_list()
        self.tape.change(0x50000, 1, f'{EVAL}:9')
        self.free_items(B, dying)
        token = self.lives()[0].tokens[0]
        self.assertEqual(token.buriers, ())

    def test_field_that_who_is_running_emptied(self):
        # assign() takes the object out of one container, and puts it into
        # another, which dies: what remove() forgot is in none.
        self.tape.birth(A, 'insert:2 g:9', 1)
        self.tape.ret(2, 'insert:2 g:9', [(1, MEMORY, 0)], [(1, C + 8, C, 0)])
        self.tape.change(A, 1, 'remove:2 g:9', 2)
        self.tape.ret(2, 'remove:2 g:9', [(2, NOWHERE, 0)])
        self.tape.gone(1, A, C + 8, C, 'assign:3 g:9', 'assign:3 g:9', now=B)
        self.tape.change(A, -1, 'list_dealloc:2 assign:3 g:9', deaths=[
            (0x40000, self.tape.type('L'), 5, 0x200)])
        self.assertEqual(self.left(), [2])


    def test_frame_of_a_generator(self):
        # Words of the value stack stay when what they had is gone. And what
        # C code stored is in none of them, though it was found there first.
        for offset, what in ((40, ['unknown']), (24, ['memory', 'gone'])):
            with self.subTest(offset):
                tape = self.tape = Tape()
                kind = tape.type('generator')
                tape.birth(A, f'make:1 {EVAL}:9', 1)
                tape.ret(1, f'make:1 {EVAL}:9', [(1, RETURNED, 9)])
                tape.change(A, 1, f'f:2 {EVAL}:9', 2)
                tape.ret(2, f'f:2 {EVAL}:9', [(2, MEMORY, 0)],
                         [(2, B + offset, B, kind)])
                tape.change(A, -1, f'{EVAL}:9', 1)
                tape.gone(2, A, B + offset, B, f'send:3 {EVAL}:9',
                          f'send:3 {EVAL}:9', now=C)
                token, = self.life().left()
                self.assertEqual([step.what for step in token.steps], what)
                self.assertEqual(self.names(own(A, unowned=1))[0],
                                 'f' if offset == 40 else 'send')

    def test_variable_of_a_generator(self):
        kind = self.tape.type('generator')
        self.tape.birth(A, f'make:1 {EVAL}:9', 1)
        self.tape.ret(1, f'make:1 {EVAL}:9', [(1, RETURNED, 9)])
        self.tape.stored(1, A, B + 40, B, kind)
        self.assertEqual(list(self.life().tokens[0].places), [B + 40])
        self.tape.gone(1, A, B + 40, B, f'{EVAL}:9', f'{EVAL}:9', now=C)
        self.assertEqual([step.what for step in self.life().tokens[0].steps],
                         ['returned', 'stored'])


class ClaimTests(TokenTestCase):
    """A function ends with a token, and left it in a place that is not new."""

    def copy(self, number, block):
        """copy() copies a block, and counts what is in it afterwards."""
        self.tape.stored(0, A, block + 8, block, 0, 'copy:1 g:3')
        self.tape.change(A, 1, 'copy:1 g:3', number)
        self.tape.ret(1, 'copy:1 g:3', [(number, NOWHERE, 0)])

    def test_table_that_is_copied(self):
        # The table gives back what was counted for it, look() got lost.
        self.copy(1, B)
        self.tape.change(A, 1, 'look:1 g:3', 2)
        self.tape.ret(1, 'look:1 g:3', [(2, NOWHERE, 0)])
        self.tape.change(A, -1, 'free:1 c_dealloc:2 g:3',
                         deaths=[(C, self.tape.type('C'), 5, 0x200)])
        self.assertEqual(self.left(), [2])

    def test_copy_that_is_freed(self):
        self.tape.birth(A, 'f:3', 9)
        self.tape.change(A, -1, 'f:3')
        self.copy(1, B)
        self.tape.gone(0, A, B + 8, B, 'PyMem_Free:1 drop:2 g:3', 'g:3',
                       flags=BASE_DIED)
        self.assertEqual(self.first(own(A, unowned=1)),
                         ('drop', 'container-not-released'))

    def test_copy_of_what_another_token_has(self):
        self.tape.birth(A, 'f:3', 1)
        self.tape.ret(3, 'f:3', [(1, NOWHERE, 0)])
        self.tape.stored(1, A, B + 8, B, 0, 'copy:1 g:3')
        self.tape.change(A, 1, 'copy:1 g:3', 2)
        self.tape.ret(1, 'copy:1 g:3', [(2, NOWHERE, 0)])
        self.assertEqual([list(t.places) for t in self.life().tokens],
                         [[], [B + 8]])

    def test_copy_of_an_older_object(self):
        # Where else that was found it may have been before.
        self.tape.stored(0, A, B + 8, B, 0, 'copy:1 g:3')
        self.tape.change(A, 1, 'copy:1 g:3', 1)
        self.tape.ret(1, 'copy:1 g:3', [(1, MEMORY, 0)], [(1, C + 16, C, 1)])
        self.assertEqual(list(self.life().tokens[0].places), [B + 8])

    def test_block_that_moves(self):
        self.tape.stored(0, A, B + 8, B, 0, 'copy:1 g:3')
        self.tape.change(A, 1, 'copy:1 g:3', 1)
        self.tape.shifted(0, A, B + 8, C + 8, C)
        self.tape.change(A, 1, 'f:2 g:3', 2)
        self.tape.ret(1, 'copy:1 g:3', [(1, NOWHERE, 0)])
        self.assertEqual(self.left(), [1, 2])

    def test_found_for_another_one(self):
        # extend() stored token 1 while the newest one was 2, which is gone.
        self.tape.birth(A, 'extend:4 g:5', 1)
        self.tape.change(A, 1, 'h:1 extend:4 g:5', 2)
        self.tape.change(A, -1, 'h:1 extend:4 g:5', 2)
        self.tape.change(A, 1, 'k:1 g:5', 3)
        self.tape.ret(1, 'k:1 g:5', [(3, NOWHERE, 0)])
        self.tape.stored(2, A, B, B, 0, 'h:1 extend:4 g:5')
        self.tape.ret(4, 'extend:4 g:5', [(1, NOWHERE, 0)])
        self.assertEqual([list(t.places) for t in self.life().left()],
                         [[B], []])

    def test_places_of_one_container(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.change(A, 1, 'f:2 g:3', 2)
        # Of places in objects each has one; a block may have an old word.
        for base, type, shares in (B, 0, True), (C, 1, True), (C, 0, False):
            with self.subTest(base=base, type=type):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.ret(2, 'f:2 g:3', [(2, MEMORY, 0), (1, NOWHERE, 0)],
                              [(2, B + 16, B, type), (2, base + 24, base, type)])
                steps = [step.what for step in self.life().tokens[0].steps]
                self.assertEqual(steps, ['memory'] if shares else ['nowhere'])
                self.tape.words = words

    def test_kept_in_a_field(self):
        # Memory is searched when a caller ends that did not return the object;
        # the evaluation loop stores it wherever it likes.
        for caller, places in ('g', [B + 16]), (EVAL, []):
            with self.subTest(caller):
                self.tape.words = []
                stack = f'f:2 {caller}:3 h:4'
                self.tape.birth(A, stack, 1)
                self.tape.change(A, 1, stack, 2)
                self.tape.ret(2, stack, [(2, RETURNED, 3), (1, RETURNED, 3)])
                self.tape.change(A, -1, f'{caller}:3 h:4')
                self.tape.ret(3, f'{caller}:3 h:4', [(2, MEMORY, 0)],
                              [(2, B + 16, B, 1)])
                token, = self.life().left()
                self.assertEqual(list(token.places), places)

    def test_kept_and_stored_by_a_caller(self):
        # The place is that of the one which the caller had.
        stack = 'f:2 g:3 h:4'
        self.tape.birth(A, stack, 1)
        self.tape.change(A, 1, stack, 2)
        self.tape.ret(2, stack, [(2, RETURNED, 3), (1, RETURNED, 3)])
        self.tape.ret(3, 'g:3 h:4', [(2, MEMORY, 0), (1, NOWHERE, 0)],
                      [(2, B + 16, B, 1)])
        steps = [token.steps[-1].what for token in self.life().left()]
        self.assertEqual(steps, ['memory', 'kept'])
        places = [list(token.places) for token in self.life().left()]
        self.assertEqual(places, [[B + 16], []])

    def test_kept_and_found_while_a_caller_runs(self):
        # The recorder follows the one that f() kept.
        stack = 'f:2 g:3 h:4'
        self.tape.birth(A, stack, 1)
        self.tape.change(A, 1, stack, 2)
        self.tape.ret(2, stack, [(2, RETURNED, 3), (1, RETURNED, 3)])
        self.tape.stored(2, A, B + 16, B, 0, 'k:2 g:3 h:4')
        self.tape.ret(3, 'g:3 h:4', [(1, NOWHERE, 0), (2, MEMORY, 0)],
                      [(2, B + 16, B, 0)])
        first, second = self.life().left()
        self.assertEqual([list(first.places), list(second.places)],
                         [[B + 16], []])
        self.assertEqual([first.steps[-1].what, second.steps[-1].what],
                         ['memory', 'kept'])

    def test_fields_that_are_set_after_they_are_counted(self):
        # The hook of the second reference finds the field of the first one.
        base = self.tape.type('C')
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.change(A, 1, 'f:2 g:3', 2)
        self.tape.stored(2, A, B + 16, B, base, 'f:2 g:3')
        self.tape.change(A, 1, 'f:2 g:3', 3)
        self.tape.stored(3, A, B + 24, B, base, 'g:3')
        self.tape.ret(2, 'f:2 g:3', [(3, RETURNED, 3), (2, RETURNED, 3),
                                     (1, RETURNED, 3)])
        self.assertEqual([list(token.places) for token in self.life().tokens],
                         [[], [B + 16], [B + 24]])

    def test_taken_out_of_a_field(self):
        # Who emptied the field of token 1 has it: the place is that of token
        # 2, which the evaluation loop moved without any event.
        base = self.tape.type('C')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, f'pop:2 {EVAL}:9', f'{EVAL}:9')
        self.tape.change(A, 1, f'{EVAL}:9', 2)
        self.tape.change(A, 1, f'h:1 {EVAL}:9', 3)
        self.tape.ret(1, f'h:1 {EVAL}:9', [(3, MEMORY, 0)],
                      [(3, C, C, base), (3, C + 64, C + 48, 0)])
        self.assertEqual([list(token.places) for token in self.life().tokens],
                         [[], [C + 64], [C]])

    def set_before(self, *others):
        """init() sets a field, and then takes the reference 2 for it. main()
        has the reference 1, and is given the field meanwhile."""
        base = self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
        self.tape.birth(A, 'main:9', 1)
        self.tape.stored(1, A, B + 16, B, base, 'init:1 main:9')
        for other in others:
            self.tape.birth(other, 'init:1 main:9', 7)
        self.tape.change(A, 1, 'init:1 main:9', 2)
        self.tape.ret(1, 'init:1 main:9', [(2, NOWHERE, 0)])
        self.tape.change(A, -1, 'main:9', 1)

    def test_tuple_of_the_evaluation_loop(self):
        # That fills it, and tells nobody; f() has the object from there.
        for name, steps in ('tuple', ['nowhere']), ('C', ['stored']):
            with self.subTest(name):
                self.tape = Tape()
                base = self.tape.type(name)
                self.tape.birth(A, f'{EVAL}:9', 1)
                self.tape.stored(1, A, B + 24, B, base, f'f:1 {EVAL}:9')
                self.tape.change(A, 1, f'f:1 {EVAL}:9', 2)
                self.tape.ret(1, f'f:1 {EVAL}:9', [(2, NOWHERE, 0)])
                token = self.life().tokens[1]
                self.assertEqual([step.what for step in token.steps], steps)

    def test_found_where_another_one_was(self):
        # The word was found for token 3, which was released. Token 2 was taken
        # out of a field, by f() or who it called; token 1 got lost before.
        base = self.tape.type('C')
        for stack, places in (('k:1 g:9', [[], [D]]),
                              ('k:1 f:2 g:9', [[D], []])):
            with self.subTest(stack):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.birth(A, 'lose:2 g:9', 1)
                self.tape.ret(2, 'lose:2 g:9', [(1, UNKNOWN, 0)])
                self.tape.change(A, 1, 'step:1 f:2 g:9', 2)
                self.tape.ret(1, 'step:1 f:2 g:9', [(2, MEMORY, 0)],
                              [(2, B + 16, B, base)])
                self.tape.gone(2, A, B + 16, B, 'make:1 f:2 g:9',
                               'next:1 f:2 g:9')
                self.tape.change(A, 1, 'h:8 g:9', 3)
                self.tape.change(A, -1, 'h:8 g:9')
                self.tape.stored(3, A, D, D, 0, stack)
                self.assertEqual([list(token.places)
                                  for token in self.life().left()], places)
                self.tape.words = words

    def test_what_a_freed_block_held_is_not_found_elsewhere(self):
        # Both were in the block of the list; one was lost before.
        self.tape.birth(A, 'lose:2 g:9', 1)
        self.tape.ret(2, 'lose:2 g:9', [(1, UNKNOWN, 0)])
        for number, place in (2, B), (3, B + 8):
            self.tape.change(A, 1, 'fill:2 g:9', number)
            self.tape.ret(2, 'fill:2 g:9', [(number, MEMORY, 0)],
                          [(number, place, B, 0)])
        stack = 'list_clear:2 g:9'
        self.tape.change(A, -1, stack)
        self.tape.change(A, -1, stack)
        for number, place in (2, B), (3, B + 8):
            self.tape.gone(number, A, place, B, stack, stack, flags=BASE_DIED)
        self.tape.change(A, 1, 'h:8 g:9', 4)
        self.tape.change(A, -1, 'h:8 g:9')
        self.tape.stored(4, A, D, D, 0, 'h:8 g:9')
        token, = self.life().left()
        self.assertEqual((token.number, list(token.places)), (1, [D]))

    def test_place_of_what_is_handed_out(self):
        # get() takes a reference for setup() to what is in a list already.
        self.tape.birth(A, f'{EVAL}:9', 1)
        stack = f'get:1 setup:2 {EVAL}:9'
        self.tape.stored(1, A, B + 8, B, 0, stack)
        self.tape.change(A, 1, stack, 2)
        self.tape.ret(1, stack, [(2, RETURNED, 2)])
        self.tape.ret(2, stack, [(2, NOWHERE, 0)])
        self.assertEqual([step.what for step in self.life().tokens[1].steps],
                         ['returned', 'nowhere'])

    def test_value_stack(self):
        # What unpacks an iterable leaves its items there, and what appends to a
        # string the new one, if the loop called it.
        for function, step in (('_PyEval_UnpackIterable:2', 'stack'),
                               ('PyUnicode_Append:2', 'stack'),
                               ('PyUnicode_Append:2 h:3', 'nowhere'),
                               ('f:2', 'nowhere')):
            with self.subTest(function):
                self.tape = Tape()
                stack = f'next:1 {function} {EVAL}:9'
                self.tape.birth(A, stack, 1)
                self.tape.ret(1, stack, [(1, RETURNED, 2)])
                self.tape.ret(2, stack, [(1, NOWHERE, 0)])
                token, = self.life().tokens
                self.assertEqual((token.steps[-1].what, token.holder),
                                 (step, 0x900 if step == 'stack' else None))

    def test_block_that_moves(self):
        # What is in it moves along: a list's items, and those of a tuple,
        # which has something in front of it. Its neighbours stay.
        for header, flags in (0, None), (16, 1 << 14), (32, 1 << 14 | 1 << 4):
            with self.subTest(header):
                self.tape = Tape()
                base = (self.tape.type('C', flags=flags) if header else 0)
                block, to = B - header, C - header
                self.tape.birth(A, 'f:2 g:9', 1)
                self.tape.stored(1, A, B + 24, B, base, 'f:2 g:9')
                self.tape.birth(D, 'f:2 g:9', 2, birth=2)
                self.tape.stored(2, D, B + 64, B + 48, base, 'f:2 g:9')
                self.tape.moved_block(block, to)
                self.tape.gone(1, A, C + 24, C, 'h:2 g:9', 'h:2 g:9')
                self.tape.gone(2, D, B + 64, B + 48, 'h:2 g:9', 'h:2 g:9')
                for life in self.lives():
                    token, = life.left()
                    self.assertEqual((token.places, len(token.gone)), ({}, 1))
                    self.assertEqual(token.gone[0].location,
                                     token.steps[-2].event.location)

    def test_weak_reference_in_a_block_that_moves(self):
        weak = self.tape.type('weakref.ReferenceType', flags=1 << 14)
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.stored(1, A, B + 16, B, weak, 'f:2 g:9')
        self.tape.moved_block(B - 16, C - 16)
        self.tape.gone(1, A, C + 16, C, 'h:2 g:9', 'h:2 g:9')
        token, = self.life().left()
        self.assertEqual((token.places, token.gone), ({}, []))

    def test_field_that_is_set_before_it_is_counted(self):
        self.set_before()
        self.assertEqual([[step.what for step in token.steps]
                          for token in self.life().tokens], [[], ['stored']])

    def test_fields_that_are_set_before_they_are_counted(self):
        self.set_before(C)
        self.assertEqual(list(self.lives()[0].left()[0].places), [B + 16])

    def test_field_that_is_set_before_and_then_cleared(self):
        self.set_before()
        self.tape.gone(1, A, B + 16, B, 'base_clear:1 c_clear:2 c_dealloc:3',
                       'c_clear:2 c_dealloc:3')
        self.tape.symbols.callees = lambda address: ('c_clear',)
        self.assertEqual(self.first(own(A, unowned=1)),
                         ('c_clear', 'container-not-released'))

    def test_type_of_a_new_instance(self):
        # What the loop has of the type is not in the instance, and the word of
        # the loop is an old one.
        type = self.tape.type('C')
        for outcome in NOWHERE, STACK:
            with self.subTest(outcome):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.change(type, 1, f'{EVAL}:9', 1)
                stack = f'PyType_GenericAlloc:1 c_new:2 {EVAL}:9'
                self.tape.stored(1, type, B + 24, B, 0, stack)
                self.tape.change(type, 1, stack, 2)
                self.tape.ret(1, stack, [(2, outcome, 9)])
                self.tape.change(type, -1, f'{EVAL}:9')
                life = self.life()
                self.assertEqual(self.left(), [2])
                place, = life.tokens[1].places.values()
                self.assertEqual((place.base, place.base_type),
                                 (B + 16, type))
                # An instance that lives keeps it.
                self.tape.change(type, 1, 'f:1 g:9', 3)
                self.tape.ret(1, 'f:1 g:9', [(3, NOWHERE, 0)])
                self.tape.change(type, -1, 'f:1 g:9')
                self.assertEqual(self.left(), [2])
                self.tape.words = words

    def test_place_that_is_claimed(self):
        # The recorder knows it by the reference of the loop, which was first.
        type = self.tape.type('C')
        self.tape.change(type, 1, 'make:9', 1)
        stack = 'PyType_GenericAlloc:1 c_new:2 make:9'
        self.tape.stored(1, type, B + 24, B, 0, stack)
        self.tape.change(type, 1, stack, 2)
        self.tape.ret(1, stack, [(2, NOWHERE, 0)])
        self.tape.ret(9, 'make:9', [(1, MEMORY, 0)], [(1, B + 24, B, 0)])
        self.assertEqual([list(t.places) for t in self.life().tokens],
                         [[], [B + 24]])
        self.assertEqual(self.life().tokens[0].steps[-1].what, 'unknown')

    def test_taken_while_a_frame_is_cleared(self):
        # _Py_Dealloc() holds the type of what dies.
        base = self.tape.type('C')
        self.tape.change(A, 1, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        stack = f'_PyFrame_ClearLocals:1 clear_thread_frame:2 {EVAL}:3 g:9'
        dying = [(B, base, 5, 0x100)]
        self.tape.change(A, 1, stack, 2, deaths=dying)
        self.tape.change(A, -1, stack, deaths=dying)
        self.assertEqual(self.left(), [1])

    def test_object_that_is_not_complete(self):
        # Its type is in it before it is known as an object.
        base = self.tape.type('C')
        self.tape.stored(0, A, B + 40, B, 0, 'alloc:1 g:3')
        self.tape.change(A, 1, 'alloc:1 g:3', 1)
        self.tape.ret(1, 'alloc:1 g:3', [(1, NOWHERE, 0)])
        self.tape.change(A, 1, 'f:1 g:3', 2)
        self.tape.ret(1, 'f:1 g:3', [(2, MEMORY, 0)], [(2, C, C, 0)])
        self.tape.change(A, -1, 'c_dealloc:1 g:3',
                         deaths=[(B + 32, base, 5, 0x100)])
        self.assertEqual(self.left(), [2])

    def test_frame_of_a_generator(self):
        base = self.tape.type('generator')
        stack = f'{EVAL}:2 gen_send_ex2:3 g:4'
        self.tape.change(A, 1, 'f:2 g:4', 1)
        self.tape.ret(2, 'f:2 g:4', [(1, NOWHERE, 0)])
        self.tape.change(A, 1, stack, 2)
        self.tape.ret(2, stack, [(2, MEMORY, 0)], [(2, B + 16, B, base)])
        self.tape.change(A, -1, '_PyFrame_ClearLocals:1 clear_gen_frame:2 '
                                f'{EVAL}:3 g:4')
        self.assertEqual(self.left(), [1])

    def test_taken_away_before(self):
        # give() was not there when the field changed: what it gives back is
        # what was lost out of sight, in its own file.
        base = self.tape.type('C')
        self.tape.change(A, 1, 'take:1 g:3', 1)
        self.tape.ret(1, 'take:1 g:3', [(1, NOWHERE, 0)])
        self.tape.change(A, 1, 'f:1 g:3', 2)
        self.tape.ret(1, 'f:1 g:3', [(2, MEMORY, 0)], [(2, B + 16, B, base)])
        self.tape.gone(2, A, B + 16, B, 'h:1 g:3', 'h:1 g:3')
        self.tape.change(A, -1, 'give:2 g:3')
        self.assertEqual(self.left(), [2])


class VariableTests(TokenTestCase):
    """A function leaves a reference in a variable of its caller."""

    def look(self, number, outcome, function='look', to=3):
        stack = f'{function}:1 item:2 f:3 g:4'
        self.tape.change(A, 1, stack, number)
        self.tape.ret(1, stack, [(number, outcome, to)])

    def test_variable_that_had_it(self):
        # f() gives back what look() left there the second time, though the
        # word is no new one; store() keeps what it took.
        self.look(1, STACK)
        self.tape.change(A, -1, 'f:3 g:4', 1)
        self.look(2, NOWHERE)
        self.tape.change(A, 1, 'store:1 f:3 g:4', 3)
        self.tape.ret(1, 'store:1 f:3 g:4', [(3, NOWHERE, 0)])
        self.tape.change(A, -1, 'f:3 g:4')
        self.assertEqual(self.left(), [3])

    def test_another_variable(self):
        # Another function leaves nothing there, nor is it there any more when
        # another one is at the slot.
        self.look(1, STACK)
        self.look(2, NOWHERE, 'other')
        self.tape.change(A, 1, 'look:1 item:2 h:3 g:4', 3)
        self.tape.ret(1, 'look:1 item:2 h:3 g:4', [(3, NOWHERE, 0)])
        self.assertEqual([token.holder for token in self.life().tokens],
                         [0x300, None, None])

    def test_way_of_the_one_before(self):
        # What item() had in its variable it returned.
        self.look(1, STACK, to=2)
        self.tape.ret(2, 'item:2 f:3 g:4', [(1, RETURNED, 3)])
        self.tape.change(A, -1, 'f:3 g:4', 1)
        self.look(2, UNKNOWN)
        self.assertEqual(self.life().tokens[1].holder, 0x300)
        # The third one is called by another function.
        self.tape.change(A, 1, 'look:1 item:2 h:3 g:4', 3)
        self.tape.ret(1, 'look:1 item:2 h:3 g:4', [(3, NOWHERE, 0)])
        self.assertEqual(self.life().tokens[2].holder, 0x200)

    def test_variable_that_has_it_still(self):
        self.look(1, STACK)
        self.look(2, NOWHERE)
        self.tape.ret(3, 'f:3 g:4', [(1, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, 2, unowned=2))[0], 'f')


class LoopTests(TokenTestCase):

    def test_who_runs_python_code(self):
        # What keeps its argument was called by Python code, which m() runs.
        self.tape.change(A, 1, f'keep:1 {EVAL}:2 m:3', 1)
        self.tape.ret(1, f'keep:1 {EVAL}:2 m:3', [(1, NOWHERE, 0)])
        found = self.analyse(own(A, unowned=1), leaked=[Leaked(A, 'T', 5, 6, 0)])
        self.assertEqual([s.function for s in found.suspects], ['keep'])


class CutTests(TokenTestCase):
    """A stack ends at a function that tells nothing of its caller: its slot is
    0. Nobody is accused of what went there, and that is said."""

    NOTE = ('the stack ends at g() (a.c), which has neither frame pointers nor '
            'call frame information: what it and its callers did is not known')

    def nobody(self, *ownership, **more):
        found = self.analyse(*ownership, **more)
        self.assertEqual(found.suspects, [])
        self.assertIn(self.NOTE, found.notes)

    def test_taken_by_it(self):
        self.tape.birth(A, '_Py_NewReference:1 g:0', 1)
        self.nobody(own(A, unowned=1))

    def test_returned_to_it(self):
        # The recorder knows an outer activation, h(), from another stack.
        self.tape.birth(A, 'make:1 g:0', 1)
        self.tape.ret(1, 'make:1 g:0', [(1, RETURNED, 3)])
        self.nobody(own(A, unowned=1))
        self.tape.ret(3, 'h:3 i:4', [(1, NOWHERE, 0)])
        self.nobody(own(A, unowned=1))

    def test_returned_to_nobody_known(self):
        self.tape.birth(A, 'make:1 g:0', 1)
        self.tape.ret(1, 'make:1 g:0', [(1, RETURNED, 0)])
        self.nobody(own(A, unowned=1))

    def test_left_in_a_variable(self):
        self.tape.birth(A, 'convert:1 g:0', 1)
        self.tape.ret(1, 'convert:1 g:0', [(1, STACK, 3)])
        self.nobody(own(A, unowned=1))

    def test_lost_before(self):
        # make() is seen to end with it, whoever called it.
        self.tape.birth(A, 'PyList_New:1 make:2 g:0', 1)
        self.tape.ret(1, 'PyList_New:1 make:2 g:0', [(1, RETURNED, 2)])
        self.tape.ret(2, 'h:1 make:2 g:0', [(1, NOWHERE, 0)])
        self.assertEqual(self.first(own(A, unowned=1)), ('make', 'missing-decref'))
        self.assertEqual(self.analyse(own(A, unowned=1)).notes, [])

    def test_overwritten_by_it(self):
        self.tape.birth(A, 'f:2 i:3', 1)
        self.tape.ret(2, 'f:2 i:3', [(1, MEMORY, 0)], [(1, B + 16, B, 1)])
        self.tape.gone(1, A, B + 16, B, 'k:1 g:0', 'f:2 i:3')
        self.nobody(own(A, unowned=1))

    def test_stored_by_it(self):
        self.tape.birth(A, 'PyList_New:1 g:0', 1)
        self.tape.ret(1, 'PyList_New:1 g:0', [(1, RETURNED, 3)])
        self.tape.stored(1, A, B + 16, B)
        self.nobody(own(A, hidden=[holder(B, gc=False)], kind=suspects.HIDDEN))
        self.nobody(own(A, visited=[holder(B)], kind=suspects.HELD))

    def test_released_by_it(self):
        self.tape.change(A, -1, 'Py_DecRef:1 g:0', birth=0)
        self.nobody(own(A), leaked=[Leaked(A, 'T', 9, 8, 0)])

    def test_stolen_from_it(self):
        self.tape.change(A, -1, 'PyList_SetItem:1 g:0', birth=0)
        self.nobody(own(A), leaked=[Leaked(A, 'T', 9, 8, 0)])

    def test_another_reference_went_there(self):
        # Which one was lost can't be told.
        self.tape.birth(A, 'f:3 h:4', 1)
        self.tape.change(A, 1, 'fill:1 g:0', 2)
        self.tape.ret(1, 'fill:1 g:0', [(2, STACK, 3)])
        self.tape.change(A, -1, 'f:3 h:4')
        self.nobody(own(A, unowned=1))

    def test_untracked(self):
        self.tape.birth(A, '_PyObject_GC_New:1 g:0', 1)
        self.nobody(own(A, kind=suspects.UNTRACKED))

    def test_made_by_it(self):
        # A container that gives up what it did not own.
        self.tape.birth(B, 'PyTuple_New:1 g:0', 1, birth=2, name='tuple')
        self.tape.change(A, -1, 'tupledealloc:2 f:3', birth=0,
                         deaths=[(B, self.tape.type('tuple'), 2, 0x200)])
        self.nobody(own(A), leaked=[Leaked(A, 'T', 9, 8, 0)],
                    contracts=Contracts({'PyTuple_New': Contract('new', ())}))

    def test_memory(self):
        self.tape.alloc(A, 100, 'PyMem_Malloc:1 g:0')
        self.nobody(leaked=[])

    def test_once(self):
        for address in A, B:
            self.tape.birth(address, 'make:1 g:0', address, birth=address)
            self.tape.ret(1, 'make:1 g:0', [(address, RETURNED, 0)])
        self.nobody(own(A, unowned=1), own(B, unowned=1), leaked=[
            Leaked(address, 'T', 0, 1, address) for address in (A, B)])
        self.assertEqual(len(self.analyse(own(A, unowned=1)).notes), 2)


class FieldTests(TokenTestCase):
    """A field that is set first, while the reference is taken afterwards."""

    def setUp(self):
        super().setUp()
        self.tape.place('t_init', 'types.c', 10)
        self.tape.place('t_dealloc', 'types.c', 20)
        self.base = self.tape.type('C', dealloc='t_dealloc')

    def set(self, outcome=NOWHERE, places=(), stack='t_init:2 g:3'):
        """An argument is stored in a field, and its reference taken."""
        self.tape.birth(A, 'f:3', 1)
        self.tape.stored(0, A, B + 16, B, self.base, stack)
        self.tape.change(A, 1, 't_init:2 g:3', 2)
        self.tape.ret(2, 't_init:2 g:3', [(2, outcome, 0)], places)

    def overwrite(self, now=C, **more):
        self.tape.gone(0, A, B + 16, B, 'h:1 t_init:2 g:3', 'g:3', now=now,
                       **more)

    def rules(self):
        """Return the rules of the suspects once the argument was released."""
        self.tape.change(A, -1, 'f:3')
        return [(s.function, s.rule)
                for s in self.analyse(own(A, unowned=1)).suspects]

    def test_overwritten(self):
        for outcome, places in ((NOWHERE, ()), (UNKNOWN, ()),
                                (MEMORY, [(2, C + 48, C, 1)])):
            with self.subTest(outcome):
                self.setUp()
                self.set(outcome, places)
                self.tape.change(A, -1, 'f:3')
                self.overwrite()
                found = self.analyse(own(A, unowned=1)).suspects[0]
                self.assertEqual((found.function, found.rule),
                                 ('t_init', 'overwritten-field'))
                self.assertEqual([step.text for step in found.evidence][1:3], [
                    'stored in a C object, at offset 16',
                    'what held it was overwritten, and the reference not '
                    'released'])

    def test_older_object(self):
        self.tape.stored(0, A, B + 16, B, self.base, 't_init:2 g:3')
        self.tape.change(A, 1, 't_init:2 g:3', 2)
        self.tape.ret(2, 't_init:2 g:3', [(2, NOWHERE, 0)])
        self.overwrite()
        self.assertEqual(
            self.first(own(A, unowned=1), leaked=[Leaked(A, 'T', 5, 6, 0)]),
            ('t_init', 'overwritten-field'))

    def test_run_by_run(self):
        # The same in each run, at the same addresses.
        for number in 2, 3:
            self.tape.stored(0, A, B + 16, B, self.base, 't_init:2 g:3')
            self.tape.change(A, 1, 't_init:2 g:3', number)
            self.tape.ret(2, 't_init:2 g:3', [(number, NOWHERE, 0)])
            self.overwrite()
        self.assertEqual([[step.what for step in token.steps]
                          for token in self.life().left()],
                         2 * [['stored', 'gone']])

    def test_released_then(self):
        # As by Py_SETREF(): what was lost is another reference.
        self.set()
        self.overwrite()
        self.assertEqual(self.rules()[0], ('t_init', 'missing-decref'))

    def test_not_overwritten(self):
        self.set()
        self.assertEqual(self.rules()[0], ('t_init', 'missing-decref'))

    def test_taken_out(self):
        # Moved, to wherever.
        for now, flags in (0, 0), (FREED, 0), (C, BASE_DIED):
            with self.subTest(now=now, flags=flags):
                self.setUp()
                self.set()
                self.tape.change(A, 1, 'f:3', 3)
                self.overwrite(now, flags=flags)
                self.tape.change(A, -1, 'f:3')
                self.assertEqual(self.rules()[0], ('t_init', 'missing-decref'))

    def test_found_by_another_hook(self):
        self.set(stack='k:1 t_init:2 g:3')
        self.tape.change(A, -1, 'f:3')
        self.overwrite()
        self.assertEqual(self.first(own(A, unowned=1)),
                         ('t_init', 'missing-decref'))

    def test_no_field(self):
        # Items of a list move when the list changes.
        self.base = 0
        self.set()
        self.tape.change(A, -1, 'f:3')
        self.overwrite()
        self.assertEqual(self.first(own(A, unowned=1)),
                         ('t_init', 'missing-decref'))

    def test_emptied_as_its_object_gives_up(self):
        # By the tp_dealloc of its type, and by nobody else.
        for function, found in (
                ('t_dealloc', ('t_dealloc', 'container-not-released')),
                ('k', ('t_init', 'missing-decref'))):
            for now, flags in (0, 0), (FREED, 0), (C, BASE_DIED):
                with self.subTest(function, now=now, flags=flags):
                    self.setUp()
                    self.set()
                    self.tape.change(A, -1, 'f:3')
                    stack = f'{function}:2 g:3'
                    self.tape.gone(0, A, B + 16, B, stack, stack, now=now,
                                   flags=flags)
                    self.assertEqual(self.first(own(A, unowned=1)), found)

    def test_released_as_its_object_gives_up(self):
        # It was another one's, which is not lost.
        self.tape.birth(A, 'f:3', 1)
        self.tape.stored(1, A, B + 16, B, self.base, 't_init:2 g:3')
        self.tape.change(A, 1, 't_init:2 g:3', 2)
        self.tape.ret(2, 't_init:2 g:3', [(2, MEMORY, 0)], [(2, C, C, 1)])
        self.tape.change(A, -1, 't_dealloc:2 g:3', deaths=[
            (B, self.base, 5, 0x200)])
        self.tape.gone(1, A, B + 16, B, 't_dealloc:2 g:3', 't_dealloc:2 g:3',
                       flags=BASE_DIED)
        token, = self.life().left()
        self.assertEqual((token.number, token.gone), (2, []))

    def test_field_of_another_token(self):
        # That one is lost, too, and was seen to be in the field.
        self.tape.birth(A, 't_new:2 g:3', 1)
        self.tape.ret(2, 't_new:2 g:3', [(1, MEMORY, 0)],
                      [(1, B + 16, B, self.base)])
        self.tape.stored(1, A, B + 16, B, self.base, 'f:2 g:3')
        self.tape.change(A, 1, 'f:2 g:3', 2)
        self.tape.ret(2, 'f:2 g:3', [(2, NOWHERE, 0)])
        self.tape.gone(1, A, B + 16, B, 't_init:2 g:3', 'g:3', now=C)
        first, second = self.life().left()
        self.assertEqual([len(token.gone) for token in (first, second)], [1, 0])


class DecrefTests(TokenTestCase):
    """A reference that is lost in C."""

    def test_function_that_ended_with_it(self):
        self.tape.birth(A, 'make:1 f:2 g:3', 1)
        self.tape.ret(1, 'make:1 f:2 g:3', [(1, RETURNED, 2)])
        self.tape.ret(2, 'h:1 f:2 g:3', [(1, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, unowned=1))[:4],
                         ['f', 'h', 'g', 'make'])

    def test_inlined(self):
        # They share the activation. Who is there last has it, and who can't
        # hand it out.
        for stack, out, names in (('h:1 f:2 g:3', 'make', ['f', 'make']),
                                  ('h:1 make,f:2 g:3', 'make', ['make', 'f']),
                                  ('h:1 f:2 g:3', 'other', ['make', 'f']),
                                  ('g:3', 'make', ['make', 'f'])):
            with self.subTest(stack, out=out):
                self.setUp()
                self.tape.symbols.handing_out = {out}
                self.tape.birth(A, 'PyList_New:1 make,f:2 g:3', 1)
                self.tape.ret(1, 'PyList_New:1 make,f:2 g:3', [(1, RETURNED, 2)])
                self.tape.ret(2, stack, [(1, NOWHERE, 0)])
                self.assertEqual(self.names(own(A, unowned=1))[:2], names)

    def test_inlined_is_said(self):
        self.tape.birth(A, 'PyList_New:1 make,f:2 g:3', 1)
        self.tape.ret(1, 'PyList_New:1 make,f:2 g:3', [(1, RETURNED, 2)])
        self.tape.ret(2, 'h:1 f:2 g:3', [(1, NOWHERE, 0)])
        suspect = self.analyse(own(A, unowned=1)).suspects[1]
        self.assertEqual(suspect.function, 'f')
        self.assertIn('make() was inlined into f()',
                      [step.text for step in suspect.evidence])

    def test_left_by_a_jump(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, ABANDONED, 0)])
        self.assertEqual(self.first(own(A, unowned=1)), ('f', 'missing-decref'))

    def test_out_parameter(self):
        self.tape.birth(A, 'convert:1 f:2 g:3', 1)
        self.tape.ret(1, 'convert:1 f:2 g:3', [(1, STACK, 2)])
        self.tape.ret(2, 'f:2 g:3', [(1, NOWHERE, 0)])
        self.assertEqual(self.first(own(A, unowned=1)), ('f', 'missing-decref'))

    def test_wrapper_of_argument_clinic(self):
        self.tape.place('f', 'Modules/clinic/a.c.h', 5)
        self.tape.birth(A, 'convert:2 f:3 g:4', 1)
        self.tape.ret(2, 'convert:2 f:3 g:4', [(1, STACK, 3)])
        self.tape.ret(3, 'h:1 f_impl:2 f:3 g:4', [(1, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, unowned=1))[:2], ['f_impl', 'f'])

    def test_wrapper_that_gives_back_itself(self):
        # Generated code releases what it made for the implementation.
        self.tape.place('f', 'Modules/clinic/a.c.h', 5)
        self.tape.birth(A, 'PyTuple_New:2 f:3 g:4', 1)
        self.tape.ret(2, 'PyTuple_New:2 f:3 g:4', [(1, RETURNED, 3)])
        self.tape.ret(3, 'h:1 f_impl:2 f:3 g:4', [(1, NOWHERE, 0)])
        symbols = self.tape.symbols
        symbols.ranges = lambda names: [(names[0], 1)]
        for callees, names in ((('Py_XDECREF',), ['f', 'f_impl']),
                               (('f_impl',), ['f_impl', 'f'])):
            with self.subTest(callees):
                symbols.callees = {'f': frozenset(callees)}.get
                self.assertEqual(self.names(own(A, unowned=1))[:2], names)

    def test_returned_twice(self):
        # The evaluation loop gives back one reference for a value.
        self.tape.birth(A, f'f:1 PyObject_Vectorcall:2 {EVAL}:3', 1)
        self.tape.change(A, 1, f'f:1 PyObject_Vectorcall:2 {EVAL}:3', 2)
        self.tape.ret(1, f'f:1 {EVAL}:3', [(1, RETURNED, 3), (2, RETURNED, 3)])
        self.tape.change(A, -1, f'{EVAL}:3')
        self.assertEqual(self.first(own(A, unowned=1)), ('f', 'missing-decref'))

    def test_the_loop_has_it(self):
        self.tape.birth(A, f'f:1 PyObject_Vectorcall:2 {EVAL}:3 run_mod:4', 1)
        self.tape.ret(1, f'f:1 {EVAL}:3', [(1, RETURNED, 3)])
        self.assertEqual(self.names(own(A, unowned=1)),
                         ['f', 'PyObject_Vectorcall'])
        # It only returned it: that is no evidence.
        self.assertLess(self.analyse(own(A, unowned=1)).suspects[0].score, 0.1)

    def test_overwritten(self):
        self.tape.place('t_init', 'types.c', 10)
        self.tape.place('t_dealloc', 'types.c', 20)
        base = self.tape.type('C', dealloc='t_dealloc')
        self.tape.birth(A, 't_init:2 g:3', 1)
        self.tape.ret(2, 't_init:2 g:3', [(1, MEMORY, 0)],
                      [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'helper:1 t_init:2 call:3 g:4', 'g:4')
        names = self.names(own(A, unowned=1))
        self.assertEqual(names[0], 't_init')
        self.assertEqual(self.first(own(A, unowned=1))[1], 'overwritten-field')

    def test_overwritten_with_what_the_hook_before_was_about(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)], [(1, B + 16, B, 0)])
        self.tape.gone(1, A, B + 16, B, 'other:2 g:3', 'set:1 h:2 g:3', now=C,
                       previous_object=C, object=5)
        self.assertEqual(self.names(own(A, unowned=1))[0], 'set')

    def test_container_freed(self):
        base = self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
        for stack, guilty in (('c_clear:1 c_dealloc:2 g:3', 'c_clear'),
                              ('c_dealloc:2 g:3', 'c_dealloc')):
            with self.subTest(guilty):
                self.tape.birth(A, 'f:2 g:3', 1)
                self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)],
                              [(1, B + 16, B, base)])
                # The hook before was in the function that releases the rest.
                self.tape.gone(1, A, B + 16, B, 'g:3', stack, flags=BASE_DIED)
                self.assertEqual(self.first(own(A, unowned=1)),
                                 (guilty, 'container-not-released'))

    def test_helper_of_a_dealloc(self):
        # What it gave up last killed another object, with a dealloc of its own.
        base = self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'g:9',
                       'h:1 x_dealloc:2 _Py_Dealloc:3 Py_DECREF:4 helper:5 '
                       'c_dealloc:6 _Py_Dealloc:7 g:9', flags=BASE_DIED)
        self.assertEqual(self.names(own(A, unowned=1))[:3],
                         ['helper', 'c_dealloc', 'c_clear'])

    def test_does_dealloc_call_clear(self):
        base = self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'g:9', 'g:9', flags=BASE_DIED)
        for callees, guilty in (((), 'c_clear'), (('c_clear', 'h'), 'c_clear'),
                                (('h',), 'c_dealloc')):
            with self.subTest(callees):
                self.tape.symbols.callees = lambda address: callees
                self.assertEqual(self.first(own(A, unowned=1))[0], guilty)

    def test_container_of_a_class_of_python_code(self):
        base = self.tape.type('C', dealloc='c_dealloc')
        sub = self.tape.type('Sub', dealloc='subtype_dealloc', base=base)
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)], [(1, B + 16, B, sub)])
        self.tape.gone(1, A, B + 16, B, 'g:3', 'g:3', flags=BASE_DIED)
        self.assertEqual(self.first(own(A, unowned=1)),
                         ('c_dealloc', 'container-not-released'))

    def test_block_freed(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)], [(1, B + 16, B, 0)])
        self.tape.gone(1, A, B + 16, B, 'PyMem_Free:1 forget:2 g:3', 'g:3',
                       flags=BASE_DIED)
        self.assertEqual(self.names(own(A, unowned=1))[0], 'forget')

    def test_block_freed_by_a_helper(self):
        # free_block() gives back memory and knows no reference: who called it
        # does.
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)], [(1, B + 16, B, 0)])
        self.tape.gone(1, A, B + 16, B, 'free_block:1 forget:2 g:3', 'g:3',
                       flags=BASE_DIED)
        self.tape.symbols.ranges = lambda names: [(names[0], 1)]
        for callees, guilty in ((('PyMem_Free',), 'forget'),
                                (('PyMem_Free', 'Py_DECREF'), 'free_block'),
                                ((), 'free_block')):
            with self.subTest(callees):
                self.tape.symbols.callees = lambda name: frozenset(callees)
                names = self.names(own(A, unowned=1))
                self.assertEqual(names[0], guilty)
                # Who gives up something itself knows what it frees.
                knows = 'Py_DECREF' in callees
                self.assertEqual('forget' in names, not knows)

    def test_stored_by_contract(self):
        # append() took a reference for the block it stored the object in, and
        # that block was freed.
        self.tape.birth(A, 'f:3 g:9', 1)
        self.tape.change(A, 1, 'append:1 f:3 g:9', 2)
        self.tape.ret(1, 'append:1 f:3 g:9', [(2, MEMORY, 0)],
                      [(2, B + 8, B, 0)])
        self.tape.change(A, -1, 'f:3 g:9', 1)
        self.tape.gone(2, A, B + 8, B, 'PyMem_Free:1 forget:2 g:9', 'g:9',
                       flags=BASE_DIED)
        for effects in (), ('kept',), ('stolen',):
            contracts = Contracts({'append': Contract(None, effects)})
            with self.subTest(effects):
                found = self.analyse(own(A, unowned=1),
                                     contracts=contracts).suspects
                names = [s.function for s in found]
                self.assertEqual(names[0], 'forget')
                self.assertEqual(names[-1] == 'append', bool(effects))
                # forget() ran at another time: it did not call f().
                self.assertEqual(found[names.index('f')].evidence[-1].text,
                                 'f() was running when the reference was taken')

    def test_given_to_a_function(self):
        # insert() steals, and should have released what it stored a reference
        # of its own for.
        self.tape.birth(A, 'f:3 g:9', 1)
        stack = 'store:1 insert:2 f:3 g:9'
        self.tape.change(A, 1, stack, 2)
        self.tape.ret(1, stack, [(2, MEMORY, 0)], [(2, B + 8, B, 0)])
        self.tape.change(C, 1, 'f:3 g:9')
        self.tape.ret(3, 'f:3 g:9', [(1, NOWHERE, 0)])
        ours = own(A, 2, visited=[holder(B)], unowned=1)
        found = self.analyse(ours, leaked=[Leaked(A, 'T', 0, 2, 0)]).suspects
        self.assertEqual([s.function for s in found[:2]], ['f', 'insert'])

    def test_inlined_function_that_ran_last(self):
        self.tape.birth(A, 'init,f:2 g:9', 1)
        self.tape.ret(2, 'finish,f:2 g:9', [(1, NOWHERE, 0)])
        found = {suspect.function: suspect.evidence[-1].text
                 for suspect in self.analyse(own(A, unowned=1)).suspects[:3]}
        self.assertEqual(set(found), {'f', 'finish', 'init'})
        self.assertEqual(found['f'], 'init() was inlined into f()')
        # The two were not seen together.
        self.assertNotIn('init()', found['finish'])

    def test_helper_that_gives_up(self):
        # Nothing was given back in it, so no stack has it.
        functions = ['f', 'free_it', 'g']
        code = {1: {'free_it', 'use_it'}, 2: {'Py_DECREF'}, 3: {'f'}}
        symbols = self.tape.symbols
        symbols.ranges = lambda names: [
            (functions.index(name) + 1, 1) for name in names if name in functions]
        symbols.function = lambda start: self.tape.site(functions[start - 1])
        symbols.callees = lambda start: frozenset(code.get(start, ()))
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, NOWHERE, 0)])
        found = self.analyse(own(A, unowned=1)).suspects
        self.assertEqual([(s.function, s.evidence[-1].text) for s in found[1:]],
                         [('free_it', 'f() calls free_it(), as its code says'),
                          ('g', 'g() called f()')])
        for other in {'Py_INCREF'}, set():
            code[2] = other
            self.assertEqual(self.names(own(A, unowned=1)), ['f', 'g'])

    def test_block_that_tp_clear_empties(self):
        self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)], [(1, B + 16, B, 0)])
        self.tape.gone(1, A, B + 16, B, 'PyMem_Free:1 c_dealloc:2 g:3', 'g:3',
                       flags=BASE_DIED)
        for callees, guilty in ((('c_clear',), 'c_clear'),
                                (('h',), 'c_dealloc'), ((), 'c_dealloc')):
            with self.subTest(callees):
                self.tape.symbols.callees = lambda address: callees
                self.assertEqual(self.names(own(A, unowned=1))[0], guilty)

    def test_copied_before_it_was_freed(self):
        # The first place holds a stale word: what counts is the second one.
        base = self.tape.type('C', dealloc='c_dealloc')
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)], [(1, B + 40, B, base)])
        self.tape.shifted(1, A, B + 40, C, C)
        self.tape.gone(1, A, C, C, 'drop:2 g:3', 'g:3', flags=BASE_DIED)
        self.tape.gone(1, A, B + 40, B, 'g:3', 'g:3', flags=BASE_DIED)
        self.assertEqual(self.first(own(A, unowned=1))[0], 'drop')

    def test_overwriters_of_a_type_are_named_alike(self):
        for function in 'citer_dealloc', 'citer_next', 'getitem':
            self.tape.place(function, 'c.c', 1)
        base = self.tape.type('C', dealloc='citer_dealloc')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'list:5 g:9',
                       'getitem:2 citer_next:3 list:5 g:9')
        self.assertEqual(self.names(own(A, unowned=1))[:2],
                         ['citer_next', 'getitem'])

    def test_overwriters_that_know_the_structure(self):
        for function in 'c_dealloc', 'call_soon', 'run':
            self.tape.place(function, 'c.c', 1)
        base = self.tape.type('C', dealloc='c_dealloc')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'g:9', 'call_soon:2 run:3 g:9')
        self.assertEqual(self.names(own(A, unowned=1))[0], 'call_soon')
        self.tape.symbols.working_on = lambda *args: {'run'}
        self.assertEqual(self.names(own(A, unowned=1))[:2], ['run', 'call_soon'])

    def test_end_of_an_iterator(self):
        for function in 'c_dealloc', 'c_next':
            self.tape.place(function, 'c.c', 1)
        base = self.tape.type('C', dealloc='c_dealloc', iternext='c_next')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, f'{EVAL}:9', f'{EVAL}:9')
        self.assertEqual(self.first(own(A, unowned=1)),
                         ('c_next', 'overwritten-field'))
        self.tape.symbols.callees = lambda address: ('c_next_lock_held',)
        self.assertEqual(self.names(own(A, unowned=1))[:2],
                         ['c_next_lock_held', 'c_next'])

    def set_unseen(self):
        self.tape.place('c_dealloc', 'c.c', 1)
        base = self.tape.type('C', dealloc='c_dealloc')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'h:1 g:9', 'g:9', now=C)

    def test_nobody_of_the_type_was_seen(self):
        self.set_unseen()
        suspect = self.analyse(own(A, unowned=1)).suspects[0]
        self.assertLess(suspect.score, 0.4)

    def test_code_tells_who_writes(self):
        self.set_unseen()
        asked = []

        def writers(address, offset, null):
            asked.append((offset, null))
            return [Site(name, 'c.c', 7)
                    for name in ('c_dealloc', 'c_new', 'c_set_name')]

        self.tape.symbols.writers = writers
        suspects = self.analyse(own(A, unowned=1)).suspects
        # Who makes objects writes into new ones, and who destroys them would
        # have been seen.
        self.assertEqual([s.function for s in suspects[:2]],
                         ['c_set_name', 'c_dealloc'])
        self.assertEqual(asked, [(16, False)])
        self.assertEqual(suspects[0].rule, 'overwritten-field')
        self.assertLess(suspects[0].score, 0.6)
        self.assertIn('c_set_name() writes the field, as its code says; nobody '
                      'was seen to write it',
                      [step.text for step in suspects[0].evidence])

    def test_who_stored_it_writes_the_field(self):
        self.set_unseen()
        self.tape.symbols.writers = lambda *args: [
            Site(name, 'c.c', 7) for name in ('c_reset', 'f')]
        self.assertEqual(self.names(own(A, unowned=1))[:2], ['f', 'c_reset'])

    def test_iterator_that_does_not_write(self):
        for function in 'c_dealloc', 'c_next':
            self.tape.place(function, 'c.c', 1)
        base = self.tape.type('C', dealloc='c_dealloc', iternext='c_next')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, f'{EVAL}:9', f'{EVAL}:9')
        self.tape.symbols.writers = lambda *args: [Site('c_close', 'c.c', 7)]
        self.assertEqual(self.first(own(A, unowned=1))[0], 'c_close')

    def test_function_that_undoes(self):
        # begin() left it in a variable of run(), and end() was called last.
        self.tape.birth(A, 'begin:1 run:2 g:3', 1)
        self.tape.ret(1, 'begin:1 run:2 g:3', [(1, STACK, 2)])
        self.tape.ret(2, 'state_end:1 run:2 g:3', [(1, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, unowned=1))[0], 'run')
        self.tape.ret(2, 'state_free:1 run:2 g:3', [(1, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, unowned=1))[:2],
                         ['state_free', 'run'])

    def test_function_that_undoes_for_generated_code(self):
        self.tape.place('run', 'Modules/clinic/a.c.h', 7)
        self.tape.place('state_free', 'Modules/a.c', 7)
        self.tape.birth(A, 'begin:1 run:2 g:3', 1)
        self.tape.ret(1, 'begin:1 run:2 g:3', [(1, STACK, 2)])
        self.tape.ret(2, 'state_free:1 run:2 g:3', [(1, NOWHERE, 0)])
        self.assertEqual(self.first(own(A, unowned=1))[0], 'state_free')

    def test_best_evidence_of_what_is_left(self):
        # Two references are left of an object that many use, and one was lost.
        base = self.tape.type('C', dealloc='c_dealloc')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'g:9', 'g:9', flags=BASE_DIED)
        self.tape.change(A, 1, 'look:3 g:9', 2)
        self.tape.ret(3, 'look:3 g:9', [(2, UNKNOWN, 0)])
        self.assertEqual(self.names(own(A, 2, unowned=1))[0], 'c_dealloc')
        self.assertEqual(self.names(own(A, 2, unowned=2))[:2],
                         ['c_dealloc', 'look'])

    def test_what_died_was_not_called(self):
        # What a holder releases may be of a type whose tp_dealloc is in its
        # file, too.
        self.tape.birth(A, 'begin:1 run:3 g:4', 1)
        self.tape.ret(1, 'begin:1 run:3 g:4', [(1, STACK, 3)])
        self.tape.ret(3, 'state_dealloc:1 _Py_Dealloc:2 run:3 g:4',
                      [(1, NOWHERE, 0)])
        self.assertNotIn('state_dealloc', self.names(own(A, unowned=1)))

    def test_callee_writes_the_field(self):
        # It counts nothing but what it forgot, so that no stack has it.
        for function in 'c_dealloc', 'c_read', 'c_set', 'c_other':
            self.tape.place(function, 'c.c', 1)
        base = self.tape.type('C', dealloc='c_dealloc')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'g:9', 'c_read:2 g:9', now=C)
        symbols = self.tape.symbols
        symbols.ranges = lambda names: [(names[0], 8)]
        symbols.callees = lambda start: frozenset(
            ('c_set', 'c_other') if start == 'c_read' else ())
        self.assertEqual(self.names(own(A, unowned=1))[0], 'c_read')
        symbols.writers = lambda *args: [Site('c_set', 'c.c', 7),
                                         Site('c_reset', 'c.c', 9)]
        first, second, *_ = self.analyse(own(A, unowned=1)).suspects
        self.assertEqual((first.function, second.function), ('c_set', 'c_read'))
        self.assertIn('c_set() writes the field, as its code says; nobody was '
                      'seen to write it', [step.text for step in first.evidence])
        symbols.writers = lambda *args: [Site('c_read', 'c.c', 7),
                                         Site('c_set', 'c.c', 9)]
        self.assertEqual(self.names(own(A, unowned=1))[0], 'c_read')

    def test_inline_values(self):
        # Behind the structure are values of the instance's dict.
        values, dicts = 'set_dict_inline_values', 'PyObject_ClearManagedDict'
        base = self.tape.type('Item', dealloc='subtype_dealloc', flags=1 << 2)
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 40, B, base)])
        self.tape.gone(1, A, B + 40, B, 'g:9', 'g:9', flags=BASE_DIED)
        symbols = self.tape.symbols
        for index, name in enumerate((values, dicts)):
            symbols.functions[index + 1] = Site(name, 'dict.c', 1)
        symbols.ranges = lambda names: [
            (start, 8) for start, site in symbols.functions.items()
            if site.function in names]
        # A tp_dealloc that does not call for it is to blame itself.
        self.assertEqual(self.names(own(A, unowned=1))[0], 'subtype_dealloc')
        symbols.callees = lambda start: (
            (dicts,) if symbols.functions[start].function == 'subtype_dealloc'
            else ())
        self.assertEqual(self.names(own(A, unowned=1))[:3],
                         [values, dicts, 'subtype_dealloc'])

    def test_word_of_the_reference_that_the_caller_has(self):
        # inner() ends, and a new word of outer()'s has the object.
        self.tape.birth(A, 'make:1 outer:3 g:9', 1)
        self.tape.ret(1, 'make:1 outer:3 g:9', [(1, RETURNED, 3)])
        self.tape.change(A, 1, 'inner:2 outer:3 g:9', 2)
        self.tape.ret(2, 'inner:2 outer:3 g:9', [(2, STACK, 3)])
        self.tape.change(A, -1, 'outer:3 g:9')
        self.tape.ret(3, 'outer:3 g:9', [(1, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, unowned=1))[0], 'outer')
        self.tape.symbols.keeping.add('inner')
        self.assertEqual(self.names(own(A, unowned=1))[0], 'inner')

    def calling(self, callee, *functions):
        """Let the machine code of functions say that they call another one,
        and that of all others nothing."""
        self.tape.symbols.ranges = lambda names: [(names[0], 8)]
        self.tape.symbols.callees = lambda start: (
            (callee,) if start in functions else ())

    def thread_state(self, *, now=0, stack='pass_on:2 catch:4 g:9'):
        """raise() left an exception in the state of the thread; it is gone
        from there at the next hook."""
        self.tape.type('E', flags=1 << 30)
        before = 'raise:2 catch:4 g:9'
        self.tape.birth(A, before, 1, name='E')
        self.tape.ret(2, before, [(1, MEMORY, 0)],
                      [(1, B + 64, B, THREAD_STATE)])
        self.tape.gone(1, A, B + 64, B, stack, before, now=now)

    def test_taken_out_of_the_state_of_a_thread(self):
        self.thread_state()
        self.calling('PyErr_Fetch', 'catch')
        found = self.analyse(own(A, unowned=1)).suspects[0]
        self.assertEqual(found.function, 'catch')
        self.assertGreater(found.score, 0.8)
        texts = [step.text for step in found.evidence]
        self.assertIn('raise() returned, the reference is in the state of the '
                      'thread', texts)
        self.assertIn('it was taken out of the state of the thread, and not '
                      'released', texts)

    def test_taken_out_by_nobody_known(self):
        self.thread_state()
        found = self.analyse(own(A, unowned=1)).suspects[0]
        self.assertEqual(found.function, 'pass_on')
        self.assertLess(found.score, 0.6)
        self.tape = Tape()
        self.thread_state(stack='pass_on:2 foreign:0')
        self.assertEqual(self.names(own(A, unowned=1)), [])

    def test_taken_out_by_folded_code(self):
        # other() and catch() have a part that is equal.
        self.thread_state(stack='other:4 g:9')
        self.calling('PyErr_Fetch', 'catch', 'other')
        self.assertEqual(self.names(own(A, unowned=1))[:2], ['catch', 'other'])

    def test_taken_out_by_the_loop(self):
        # An "except" of Python code; look() is only near.
        self.thread_state(stack=f'{EVAL}:4 look:6 g:9')
        self.calling('PyErr_Fetch', EVAL)
        for suspect in self.analyse(own(A, unowned=1)).suspects:
            self.assertLess(suspect.score, 0.1)

    def test_taken_out_and_released(self):
        self.thread_state()
        self.tape.change(A, 1, 'other:5 g:9', 2, name='E')
        self.tape.change(A, -1, 'catch:4 g:9', name='E')
        self.tape.ret(5, 'other:5 g:9', [(2, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, unowned=1))[0], 'other')

    def test_state_of_a_thread_that_was_cleared(self):
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)],
                      [(1, B + 64, B, THREAD_STATE)])
        symbols = self.tape.symbols
        symbols.functions[7] = Site('PyThreadState_Clear', 'pystate.c', 1)
        symbols.ranges = lambda names: [
            (start, 8) for start, site in symbols.functions.items()
            if site.function in names]
        self.assertEqual(self.names(own(A, unowned=1))[:2],
                         ['PyThreadState_Clear', 'f'])

    def test_who_found_an_exception_fetches_it_further_out(self):
        self.raised()
        stack = f'look:1 fetch:2 catch:4 {EVAL}:9'
        self.tape.change(A, 1, stack, 2, name='E')
        self.tape.change(A, -1, stack, name='E')
        self.assertEqual(self.names(own(A, unowned=1))[0], 'look')
        self.calling('PyErr_Fetch', 'fetch', 'catch')
        self.assertEqual(self.names(own(A, unowned=1))[0], 'fetch')

    def test_debug_builds_look_at_exceptions(self):
        self.raised()
        stack = f'Py_INCREF,_Py_Dealloc:1 f:3 catch:4 {EVAL}:9'
        self.tape.change(A, 1, stack, 2, name='E')
        self.tape.change(A, -1, stack, name='E')
        self.assertEqual(self.names(own(A, unowned=1))[0], '_PyErr_SetObject')

    def test_raised_by_whom_it_is_stolen(self):
        self.tape.type('E', flags=1 << 30)
        stack = f'raise:2 catch:4 {EVAL}:9'
        self.tape.birth(A, stack, 1, name='E')
        self.tape.ret(2, stack, [(1, NOWHERE, 0)])
        surely = self.analyse(own(A, unowned=1)).suspects[0]
        self.calling('PyErr_SetRaisedException', 'raise')
        perhaps = self.analyse(own(A, unowned=1)).suspects[0]
        self.assertEqual((surely.function, perhaps.function), ('raise', 'raise'))
        self.assertLess(perhaps.score, surely.score)

    def raised(self):
        """raise() leaves an exception in the state of the thread."""
        self.tape.type('E', flags=1 << 30)
        stack = f'_PyErr_SetObject:1 raise:2 f:3 catch:4 {EVAL}:9'
        self.tape.birth(A, stack, 1, name='E')
        self.tape.ret(1, stack, [(1, NOWHERE, 0)])

    def test_who_found_an_exception(self):
        self.raised()
        self.tape.change(A, 1, f'chain:2 {EVAL}:9', 2, name='E')
        self.assertEqual(self.names(own(A, unowned=1))[0], 'chain')
        # Others may have it from who has it.
        self.tape.change(A, 1, f'look:2 {EVAL}:9', 3, name='E')
        self.tape.change(A, -1, f'look:2 {EVAL}:9', name='E')
        self.tape.change(A, -1, f'chain:2 {EVAL}:9', name='E')
        self.assertEqual(self.names(own(A, unowned=1))[0], 'chain')

    def test_who_fetches_exceptions(self):
        self.raised()
        self.assertEqual(self.names(own(A, unowned=1))[0], '_PyErr_SetObject')
        self.calling('PyErr_Fetch', 'catch', EVAL)
        self.assertEqual(self.names(own(A, unowned=1))[0], 'catch')

    def test_raised_where_the_stack_ends(self):
        self.tape.type('E', flags=1 << 30)
        stack = '_PyErr_SetObject:1 raise:2 foreign:0'
        self.tape.birth(A, stack, 1, name='E')
        self.tape.ret(1, stack, [(1, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, unowned=1)), [])

    def test_who_fetches_what_python_code_raised(self):
        self.tape.type('E', flags=1 << 30)
        stack = f'type_call:1 {EVAL}:2 PyObject_CallNoArgs:3 catch:4 {EVAL}:9'
        self.tape.birth(A, stack, 1, name='E')
        self.tape.ret(1, stack, [(1, RETURNED, 2)])
        self.tape.ret(2, f'{EVAL}:2 catch:4 {EVAL}:9', [(1, NOWHERE, 0)])
        self.calling('_PyErr_GetRaisedException', 'catch', EVAL)
        found = self.analyse(own(A, unowned=1)).suspects[0]
        self.assertEqual(found.function, 'catch')
        self.assertGreater(found.score, 0.5)

    def test_no_exception(self):
        self.tape.birth(A, f'f:1 {EVAL}:9', 1)
        self.tape.ret(1, f'f:1 {EVAL}:9', [(1, NOWHERE, 0)])
        self.tape.change(A, 1, f'look:2 {EVAL}:9', 2)
        self.tape.change(A, -1, f'look:2 {EVAL}:9')
        self.assertEqual(self.names(own(A, unowned=1))[0], 'f')

    def test_what_an_owner_has_is_not_lost(self):
        # Two tokens are left, one of them in a list that lives.
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, NOWHERE, 0)])
        self.tape.change(A, 1, 'append:2 g:3', 2)
        self.tape.ret(2, 'append:2 g:3', [(2, MEMORY, 0)], [(2, B, B, 0)])
        found = self.analyse(own(A, 2, visited=[holder(B)], unowned=1)).suspects
        self.assertEqual(found[0].function, 'f')
        self.assertNotIn('append', [s.function for s in found])

    def test_who_keeps_by_contract(self):
        # PyDict_SetItem() stored it, though that was not seen; f() forgot the
        # reference that it had before, and which seemed to be in the dict.
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.change(A, 1, 'PyDict_SetItem:1 f:2 g:3', 2)
        self.tape.ret(1, 'PyDict_SetItem:1 f:2 g:3', [(2, NOWHERE, 0)])
        self.tape.ret(2, 'f:2 g:3', [(1, NOWHERE, 0)])
        contracts = Contracts({'PyDict_SetItem': Contract(None, ('kept', 'kept'))})
        found = self.analyse(own(A, 2, visited=[holder(B)], unowned=1),
                             contracts=contracts).suspects
        self.assertEqual(found[0].function, 'f')
        self.assertNotIn('PyDict_SetItem', [s.function for s in found])

    def test_taken_for_a_caller(self):
        # take() ends with a reference that is its caller's: f() gave such ones
        # back, and forgot this one.
        for k in 1, 2:
            self.tape.birth(A, 'take:1 f:2 g:3', k, birth=k)
            self.tape.ret(1, 'take:1 f:2 g:3', [(k, NOWHERE, 0)])
            if k == 1:
                self.tape.change(A, -1, 'f:2 g:3', birth=1)
                self.tape.death(A, 'f:2 g:3', birth=1)
        self.assertEqual(self.names(own(A, unowned=1))[:2], ['f', 'take'])

    def test_taken_for_whoever_called_the_same(self):
        # take() leaves it to who called get(): lose() forgot it.
        for k, caller in (1, 'f'), (2, 'lose'):
            stack = f'take:1 get:2 {caller}:3 g:4'
            self.tape.birth(A, stack, k, birth=k)
            self.tape.ret(1, stack, [(k, NOWHERE, 0)])
            if k == 1:
                self.tape.change(A, -1, f'{caller}:3 g:4', birth=1)
                self.tape.death(A, f'{caller}:3 g:4', birth=1)
        self.assertEqual(self.names(own(A, unowned=1))[:2], ['lose', 'take'])

    def test_left_in_a_variable_by_contract(self):
        stack = 'look:1 item:2 get:3 f:4 g:5'
        self.tape.birth(A, stack, 1)
        self.tape.ret(1, stack, [(1, NOWHERE, 0)])
        contracts = Contracts({'look': Contract(None, (None, 'out new')),
                               'get': Contract('new', ())})
        found = self.analyse(own(A, unowned=1), contracts=contracts).suspects
        self.assertEqual([s.function for s in found[:2]], ['f', 'look'])
        self.assertLess(found[0].score, 0.6)
        contracts = Contracts({'look': Contract(None, (None, 'out new'))})
        self.assertEqual(self.first(own(A, unowned=1), contracts=contracts)[0],
                         'item')
        # What it got from another one is not what it leaves in the variable.
        self.tape = Tape()
        self.tape.birth(A, 'make:1 look:2 item:3 f:4', 1)
        self.tape.ret(1, 'make:1 look:2 item:3 f:4', [(1, RETURNED, 2)])
        self.tape.ret(2, 'look:2 item:3 f:4', [(1, NOWHERE, 0)])
        self.assertEqual(self.first(own(A, unowned=1), contracts=contracts)[0],
                         'look')

    def test_left_in_a_variable_that_had_the_address(self):
        contracts = Contracts({'look': Contract(None, (None, 'out new')),
                               'get': Contract('new', ())})
        stack = 'make:1 look:2 item:3 get:4 f:5'
        for outcome in NOWHERE, UNKNOWN:
            with self.subTest(outcome):
                self.tape = Tape()
                if outcome == NOWHERE:
                    self.tape.birth(A, 'make:1 h:3 f:5', 1, birth=1)
                    self.tape.ret(1, 'make:1 h:3 f:5', [(1, STACK, 3)])
                    self.tape.change(A, -1, 'h:3 f:5', birth=1)
                    self.tape.death(A, 'h:3 f:5', birth=1)
                self.tape.birth(A, stack, 2, birth=2)
                self.tape.ret(1, stack, [(2, RETURNED, 2)])
                self.tape.ret(2, stack, [(2, outcome, 0)])
                self.assertEqual(self.names(own(A, unowned=1),
                                            contracts=contracts)[:2],
                                 ['item', 'look'])

    def test_what_a_function_kept(self):
        # It is no matter of those who returned the value after it.
        stack = f'f:2 g:3 {EVAL}:4'
        self.tape.birth(A, stack, 1)
        self.tape.change(A, 1, stack, 2)
        for k in 2, 3:
            self.tape.ret(k, stack, [(1, RETURNED, k + 1), (2, RETURNED, k + 1)])
        self.tape.change(A, -1, f'{EVAL}:4')
        self.assertEqual(self.names(own(A, unowned=1))[0], 'f')

    def test_no_time_to_search(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, UNKNOWN, 0)])
        found = self.analyse(own(A, unowned=1)).suspects[0]
        self.assertEqual(found.function, 'f')
        self.assertLess(found.score, 0.9)

    def test_stack_of_an_earlier_hook(self):
        # Nothing was recorded since f() was called.
        self.tape.birth(A, 'make:1 f:2 g:3', 1)
        self.tape.ret(1, 'make:1 f:2 g:3', [(1, RETURNED, 2)])
        self.tape.ret(2, 'old:1 other:2 g:3', [(1, NOWHERE, 0)])
        self.assertNotIn('old', self.names(own(A, unowned=1)))

    def test_free_list(self):
        # The dead object on it still had the word.
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, NOWHERE, 0)])
        self.tape.stored(1, A, B + 16, B)
        self.tape.gone(1, A, B + 16, B, '_PyDict_ClearFreeList:1 g:3', 'g:3',
                       flags=BASE_DIED)
        self.assertEqual(self.first(own(A, unowned=1)), ('f', 'missing-decref'))
        self.assertEqual(self.life().tokens[0].gone, [])

    def test_block_of_arguments(self):
        # f() called something with the object, and had it still.
        self.tape.birth(A, 'f:3 g:4', 1)
        stack = '_PyObject_Call_Prepend:2 f:3 g:4'
        self.tape.stored(1, A, B + 8, B, 0, f'_PyEval_Vector:1 {stack}')
        self.tape.gone(1, A, B + 8, B, f'PyMem_Free:1 {stack}', stack,
                       flags=BASE_DIED)
        self.tape.ret(3, stack, [(1, NOWHERE, 0)])
        self.assertEqual(self.first(own(A, unowned=1)), ('f', 'missing-decref'))
        self.assertEqual(self.life().tokens[0].gone, [])

    def test_machinery(self):
        # Who carries out calls is suspected if it ended with the reference.
        stack = 'PyObject_CallMethod:2 f:3 g:4'
        for outcome in RETURNED, STACK:
            for end in NOWHERE, UNKNOWN:
                with self.subTest(outcome=outcome, end=end):
                    self.tape = Tape()
                    self.tape.birth(A, 'h:1 ' + stack, 1)
                    self.tape.ret(1, 'h:1 ' + stack, [(1, outcome, 2)])
                    self.tape.ret(2, stack, [(1, end, 0)])
                    self.assertEqual(self.names(own(A, unowned=1))[:2],
                                     ['PyObject_CallMethod', 'f'])

    def test_inlined_machinery(self):
        self.tape.birth(A, 'make:1 PyObject_CallMethod,f:2 g:3', 1)
        self.tape.ret(1, 'make:1 PyObject_CallMethod,f:2 g:3',
                      [(1, RETURNED, 2)])
        self.tape.ret(2, 'f:2 g:3', [(1, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, unowned=1))[0], 'f')

    def test_exchanged_by_contract(self):
        self.tape.birth(A, 'make:1 f:2 g:3', 1)
        self.tape.ret(1, 'make:1 f:2 g:3', [(1, RETURNED, 2)])
        self.tape.ret(2, '_PyBytes_Resize:1 f:2 g:3', [(1, NOWHERE, 0)])
        self.assertEqual(self.names(own(A, unowned=1))[:2],
                         ['_PyBytes_Resize', 'f'])

    def test_type_of_instances_that_died(self):
        type = self.tape.type('C', dealloc='c_dealloc')
        self.tape.change(type, 1, 'PyType_GenericAlloc:1 c_new:2 g:3', 1)
        self.tape.ret(1, 'PyType_GenericAlloc:1 c_new:2 g:3', [(1, NOWHERE, 0)])
        leaked = [Leaked(type, 'type', 5, 6, 0)]
        found = self.first(own(type, 6, unowned=6), leaked=leaked)
        self.assertEqual(found, ('c_dealloc', 'container-not-released'))

    def test_instances_of_a_class_of_python_code(self):
        for flags, first in (0, 'subtype_dealloc'), (1 << 9, 'c_dealloc'):
            with self.subTest(first):
                self.tape = Tape()
                base = self.tape.type('C', dealloc='c_dealloc', flags=flags)
                type = self.tape.type('D', dealloc='subtype_dealloc', base=base)
                stack = 'PyType_GenericAlloc:1 c_new:2 g:3'
                self.tape.change(type, 1, stack, 1)
                self.tape.ret(1, stack, [(1, NOWHERE, 0)])
                leaked = [Leaked(type, 'type', 5, 6, 0)]
                found = self.first(own(type, 6, unowned=6), leaked=leaked)
                self.assertEqual(found, (first, 'container-not-released'))

    def test_freed_memory(self):
        # A debug build filled it before the death was over.
        base = self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'c_dealloc:3 _Py_Dealloc:4 g:9',
                       'PyObject_GC_Del:2 c_dealloc:3 _Py_Dealloc:4 g:9',
                       now=FREED)
        self.tape.symbols.callees = lambda address: ('c_clear',)
        self.assertEqual(self.first(own(A, unowned=1)),
                         ('c_clear', 'container-not-released'))

    def test_field_set_to_null(self):
        self.tape.place('c_clear', 'c.c', 1)
        self.tape.place('c_dealloc', 'c.c', 2)
        base = self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B,
                       'Py_DECREF:1 c_clear:2 c_dealloc:3 _Py_Dealloc:4 g:9',
                       '_Py_Dealloc:4 g:9')
        self.assertEqual(self.first(own(A, unowned=1)),
                         ('c_clear', 'container-not-released'))

    def test_field_that_the_collector_cleared(self):
        # It calls tp_clear and counts nothing else between two hooks about the
        # object.
        base = self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        for about, guilty in (B, 'c_clear'), (C, 'delete_garbage'):
            with self.subTest(about=about):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.gone(1, A, B + 16, B, 'delete_garbage:1 g:9',
                               'delete_garbage:1 g:9', object=about)
                self.assertEqual(self.names(own(A, unowned=1))[0], guilty)
                self.tape.words = words

    def test_field_of_a_base(self):
        # What is in the base's part of an object its tp_clear gives up.
        base = self.tape.type('C', dealloc='c_dealloc', clear='c_clear')
        sub = self.tape.type('D', dealloc='d_dealloc', clear='d_clear', base=base)
        for offset, guilty in (16, 'c_clear'), (32, 'd_clear'):
            with self.subTest(offset=offset):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.birth(A, 'f:2 g:9', 1)
                self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)],
                              [(1, B + offset, B, sub)])
                self.tape.gone(1, A, B + offset, B, 'd_clear:3 g:9', 'g:9')
                self.assertEqual(self.first(own(A, unowned=1)),
                                 (guilty, 'container-not-released'))
                self.tape.words = words

    def slot_of_a_class(self):
        for function in 'object_dealloc', 'subtype_dealloc', 'lookup':
            self.tape.place(function, 'typeobject.c', 1)
        self.tape.place('set_one', 'structmember.c', 1)
        self.tape.symbols.writers = lambda *args: [Site('lookup', 'typeobject.c', 7)]
        base = self.tape.type('object', dealloc='object_dealloc')
        base = self.tape.type('Slotted', dealloc='subtype_dealloc', base=base)
        self.tape.birth(A, 'set_one:2 g:9', 1)
        self.tape.ret(2, 'set_one:2 g:9', [(1, MEMORY, 0)], [(1, B + 40, B, base)])

    def test_slot_of_a_class(self):
        # It is in no structure of C, which the code of some file would write.
        self.slot_of_a_class()
        self.tape.gone(1, A, B + 40, B, 'lookup:1 set:5 g:9', 'set_one:2 set:5 g:9',
                       now=C)
        self.assertEqual(self.names(own(A, unowned=1))[0], 'set_one')

    def test_slot_of_a_class_that_its_object_forgot(self):
        self.slot_of_a_class()
        self.tape.gone(1, A, B + 40, B, 'g:9', 'g:9', flags=BASE_DIED)
        self.assertEqual(self.names(own(A, unowned=1))[0], 'subtype_dealloc')

    def test_frame_that_is_copied_into_a_generator(self):
        # Elsewhere a word that is found after all was searched is an old one.
        base = self.tape.type('generator', dealloc='gen_dealloc')
        for taker, guilty in (('_PyFrame_Initialize', 'gen_dealloc'),
                              ('f', 'f')):
            with self.subTest(taker):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.change(A, 1, f'{taker}:1 {EVAL}:2', 1)
                self.tape.ret(1, f'{taker}:1 {EVAL}:2', [(1, NOWHERE, 0)])
                self.tape.stored(1, A, B + 72, B, base, f'{EVAL}:2')
                self.tape.gone(1, A, B + 72, B, f'{EVAL}:2', f'{EVAL}:2',
                               flags=BASE_DIED)
                self.assertEqual(self.names(own(A, unowned=1))[0], guilty)
                self.tape.words = words

    def test_helper_that_gives_up_what_a_block_has(self):
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, 0)])
        self.tape.gone(1, A, B + 16, B, 'PyMem_Free:1 c_dealloc:5 g:9',
                       'x_dealloc:1 _Py_Dealloc:2 helper:3 c_dealloc:5 g:9',
                       flags=BASE_DIED)
        self.assertEqual(self.names(own(A, unowned=1))[:2],
                         ['helper', 'c_dealloc'])

    def test_seen_to_write_the_field(self):
        # Of those that were seen, code tells which ones write it.
        for function in 'c_dealloc', 'c_fetch', 'c_next':
            self.tape.place(function, 'c.c', 1)
        base = self.tape.type('C', dealloc='c_dealloc')
        self.tape.birth(A, 'f:2 g:9', 1)
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'g:9', 'c_fetch:2 c_next:3 g:9')
        self.assertEqual(self.names(own(A, unowned=1))[0], 'c_fetch')
        self.tape.symbols.writers = lambda *args: [Site('c_next', 'c.c', 7)]
        self.assertEqual(self.names(own(A, unowned=1))[:2],
                         ['c_next', 'c_fetch'])

    def test_functions_that_are_a_pair(self):
        # state_init() took it for what state_fini() is to give up.
        for giver, guilty in ('state_fini', 'state_fini'), ('other_fini', 'run'):
            with self.subTest(giver):
                self.setUp()
                self.tape.birth(A, 'state_init:1 run:2 g:3', 1)
                self.tape.ret(1, 'state_init:1 run:2 g:3', [(1, RETURNED, 2)])
                self.tape.ret(2, f'{giver}:1 run:2 g:3', [(1, NOWHERE, 0)])
                self.assertEqual(self.names(own(A, unowned=1))[0], guilty)

    def test_weak_reference(self):
        # It has the address of its object, and no reference.
        weak = self.tape.type('weakref.ReferenceType', dealloc='weakref_dealloc')
        keyed = self.tape.type('KeyedRef', dealloc='keyed_dealloc', base=weak)
        for base, offset, guilty in ((weak, 16, 'f'), (keyed, 16, 'f'),
                                     (weak, 24, 'weakref_dealloc'),
                                     (keyed, 32, 'keyed_dealloc')):
            with self.subTest(base=base, offset=offset):
                self.tape.words, words = list(self.tape.words), self.tape.words
                self.tape.birth(A, 'f:2 g:9', 1)
                self.tape.stored(1, A, B + offset, B, base)
                self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)],
                              [(1, B + offset, B, base)])
                self.tape.gone(1, A, B + offset, B, 'g:9', 'g:9',
                               flags=BASE_DIED)
                self.assertEqual(self.names(own(A, unowned=1))[0], guilty)
                self.tape.words = words

    def test_list_of_weak_references(self):
        base = self.tape.type('C', dealloc='c_dealloc')
        self.tape.birth(A, 'f:2 g:9', 1, name='weakref.ReferenceType')
        self.tape.ret(2, 'f:2 g:9', [(1, MEMORY, 0)], [(1, B + 16, B, base)])
        self.tape.gone(1, A, B + 16, B, 'g:9', 'g:9', flags=BASE_DIED)
        self.assertEqual(self.names(own(A, unowned=1))[0], 'c_dealloc')
        self.tape.symbols.field = lambda *args: 'c_weakreflist'
        self.assertEqual(self.names(own(A, unowned=1))[0], 'f')

    def test_shares(self):
        for address, name, token in (A, 'f', 1), (B, 'f', 2), (C, 'h', 3):
            self.tape.birth(address, f'{name}:2 g:3', token)
            self.tape.ret(2, f'{name}:2 g:3', [(token, NOWHERE, 0)])
        found = self.analyse(own(A, unowned=1), own(B, unowned=1),
                             own(C, unowned=1)).suspects
        self.assertEqual([s.function for s in found[:2]], ['f', 'g'])
        self.assertEqual(found[0].references, 2)
        self.assertAlmostEqual(found[0].score, 0.6)

    def test_references_a_run(self):
        for k in range(6):
            self.tape.birth(A + 16 * k, 'f:2 g:3', k + 1)
            self.tape.ret(2, 'f:2 g:3', [(k + 1, NOWHERE, 0)])
        found = self.analyse(*(own(A + 16 * k, unowned=1) for k in range(6)),
                             runs=3)
        self.assertEqual(found.suspects[0].references, 2)


class KindTests(TokenTestCase):
    """Leaks that are no lost references, and objects that explain others."""

    def test_consequences(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, NOWHERE, 0)])
        self.tape.birth(B, 'h:2 g:3', 2)
        found = self.analyse(own(A, unowned=1),
                             own(B, visited=[holder(A)], kind=suspects.LOST,
                                 root=False))
        self.assertEqual([item.address for item in found.roots], [A])
        self.assertNotIn('h', [s.function for s in found.suspects])

    def test_missing_visit(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        site = self.tape.site('c_traverse')
        hidden = own(A, hidden=[holder(B, traverse=site)],
                     kind=suspects.HIDDEN)
        self.assertEqual(self.first(hidden), ('c_traverse', 'missing-visit'))
        suspect = self.analyse(hidden).suspects[0]
        self.assertEqual(suspect.kind, suspects.HIDDEN)
        self.assertIn('item', suspect.evidence[0].text)

    def test_missing_visit_of_a_base(self):
        # The type's own tp_traverse may have forgotten to call that.
        self.tape.birth(A, 'f:2 g:3', 1)
        hidden = own(A, hidden=[holder(
            B, traverse=self.tape.site('base_traverse'),
            caller=self.tape.site('c_traverse'))], kind=suspects.HIDDEN)
        self.assertEqual(self.names(hidden), ['base_traverse', 'c_traverse'])

    def test_no_gc(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)], [(1, B + 16, B, 0)])
        hidden = own(A, hidden=[holder(B, gc=False)], kind=suspects.HIDDEN)
        self.assertEqual(self.first(hidden), ('f', 'no-gc'))

    def test_no_gc_without_a_place(self):
        # Stored by a function of the file that defines the type, or unknown.
        type = self.tape.type('C', dealloc='c_dealloc')
        self.tape.place('c_new', 'c.c', 1)
        self.tape.symbols.functions[self.tape.recording().types[type].dealloc] \
            = self.tape.site('c_dealloc')._replace(file='c.c')
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, NOWHERE, 0)])
        hidden = own(A, hidden=[holder(B, gc=False)._replace(type_address=type)],
                     kind=suspects.HIDDEN)
        self.assertEqual(self.names(hidden), [])
        self.tape.change(A, 1, 'c_new:2 g:3', 2)
        self.tape.ret(2, 'c_new:2 g:3', [(2, NOWHERE, 0)])
        self.assertEqual(self.first(hidden), ('c_new', 'no-gc'))

    def test_untracked(self):
        self.tape.birth(A, '_PyObject_GC_New:1 make:2 g:3', 1)
        self.assertEqual(self.first(own(A, visited=[holder(A)],
                                        kind=suspects.UNTRACKED)),
                         ('make', 'untracked'))

    def test_held(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'f:2 g:3', [(1, MEMORY, 0)], [(1, B + 16, B, 0)])
        held = own(A, visited=[holder(B)], kind=suspects.HELD,
                   chain=['module cache', 'list'])
        suspect = self.analyse(held).suspects[0]
        self.assertEqual((suspect.function, suspect.rule), ('f', 'held'))
        self.assertLess(suspect.score, 0.5)
        self.assertIn('module cache', [step.text for step in suspect.evidence])

    def test_over_decref(self):
        self.tape.change(A, 1, 'f:2 g:3', 1)
        self.tape.change(A, -1, 'h:2 g:3')
        self.tape.change(A, -1, 'f:2 g:3')
        found = self.first(own(A, 5), leaked=[Leaked(A, 'T', 6, 5, 0)])
        self.assertEqual(found, ('h', 'over-decref'))

    def test_over_decref_by_a_container(self):
        self.tape.birth(B, '_PyObject_New:1 make:2 g:3', 1, name='C')
        self.tape.change(A, -1, 'c_dealloc:2 g:3',
                         deaths=[(B, self.tape.type('C'), 1, 0x200)])
        found = self.first(own(A, 5), leaked=[Leaked(A, 'T', 6, 5, 0)])
        self.assertEqual(found, ('make', 'over-decref'))
        found = self.analyse(own(A, 5), leaked=[Leaked(A, 'T', 6, 5, 0)])
        self.assertEqual([step.text for step in found.suspects[0].evidence], [
            'a C object was made in make()',
            'c_dealloc() released the T object in it when it died: no reference '
            'had been taken for that'])

    def test_over_decref_by_a_container_that_was_not_watched(self):
        type = self.tape.type('C')
        self.tape.change(A, -1, 'c_dealloc:2 g:3', deaths=[(B, type, 1, 0x200)])
        found = self.analyse(own(A, 5), leaked=[Leaked(A, 'T', 6, 5, 0)])
        self.assertEqual((found.suspects, found.wanted), ([], ['C']))

    def test_no_evidence(self):
        found = self.analyse(own(A, unowned=1))
        self.assertEqual(found.suspects, [])
        self.assertRegex(found.notes[0], 'lost in C: nothing that was recorded')

    def test_recording_too_small(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.lost(10, 20)
        self.assertIn('10 records did not fit',
                      self.analyse(own(A, unowned=1)).notes)

    def test_raw_memory(self):
        for k in range(4):
            self.tape.alloc(A + 16 * k, 16, 'PyMem_Malloc:1 f:2 g:3')
        self.tape.free(A)
        self.tape.alloc(B, 16, 'PyMem_Malloc:1 once:2 g:3')
        found = self.analyse(runs=3).suspects
        self.assertEqual([(s.function, s.rule, s.references) for s in found],
                         [('f', 'raw-memory', 1)])

    def test_nothing(self):
        found = self.analyse()
        self.assertEqual((found.suspects, found.roots), ([], []))
        self.assertEqual(found.notes, ['no object leaked while it was recorded'])


class EvidenceTests(TokenTestCase):
    def texts(self, *ownership):
        suspect = self.analyse(*ownership).suspects[0]
        return [step.text for step in suspect.evidence]

    def test_path(self):
        self.tape.code(1, 1, 'test_it', 'test.py')
        self.tape.birth(A, 'make:1 f:2 g:3', 1, code=1, line=12)
        self.tape.ret(1, 'make:1 f:2 g:3', [(1, RETURNED, 2)])
        self.tape.ret(2, 'h:1 f:2 g:3', [(1, NOWHERE, 0)])
        self.assertEqual(self.texts(own(A, unowned=1)), [
            'born in make(), called by f()',
            'while Python ran test_it()',
            'returned to f()',
            'f() returned without releasing it or passing it on'])

    def test_returned_through(self):
        stack = '_PyObject_New:1 make:2 a:3 b:4 f:5 g:6'
        self.tape.birth(A, stack, 1)
        for k in range(1, 5):
            self.tape.ret(k, stack, [(1, RETURNED, k + 1)])
        self.tape.ret(5, stack, [(1, NOWHERE, 0)])
        self.assertEqual(self.texts(own(A, unowned=1)), [
            'born in make(), called by a()',
            'returned through a(), b() to f()',
            'f() returned without releasing it or passing it on'])

    def test_returned_through_many(self):
        stack = ' '.join(f'f{k}:{k}' for k in range(1, 10))
        self.tape.birth(A, stack, 1)
        for k in range(1, 9):
            self.tape.ret(k, stack, [(1, RETURNED, k + 1)])
        self.tape.ret(9, stack, [(1, NOWHERE, 0)])
        self.assertEqual(self.texts(own(A, unowned=1))[1],
                         'returned through f2(), 4 more, f7(), f8() to f9()')

    def test_others_are_near_who_released_too_much(self):
        self.tape.change(A, -1, 'f:2 g:3')
        found = self.analyse(own(A), leaked=[Leaked(A, 'T', 2, 1, 0)]).suspects
        self.assertEqual([(s.function, s.evidence[-1].text) for s in found[1:]],
                         [('g', 'g() called f()')])

    def test_others_are_near(self):
        self.tape.birth(A, 'f:2 g:3', 1)
        self.tape.ret(2, 'h:1 f:2 g:3', [(1, NOWHERE, 0)])
        found = self.analyse(own(A, unowned=1)).suspects
        self.assertEqual([(s.function, s.evidence[-1].text) for s in found[1:]],
                         [('h', 'h() was called by f()'),
                          ('g', 'g() called f()')])

    def test_contrast(self):
        for k in range(3):
            self.tape.birth(A, 'f:2 g:3', k + 1, birth=k + 1)
            self.tape.change(A, -1, 'f:2 g:3', birth=k + 1)
            self.tape.death(A, 'f:2 g:3', birth=k + 1)
        self.tape.birth(B, 'f:2 g:3', 9, birth=9)
        self.tape.ret(2, 'f:2 g:3', [(9, NOWHERE, 0)])
        self.assertEqual(self.texts(own(B, unowned=1))[-1],
                         '3 T objects that did not leak were released by f()')

    def test_long_way(self):
        self.tape.birth(A, 'f:1 g:99', 1)
        for k in range(20):
            self.tape.stored(1, A, B + 8 * k, B)
        texts = self.texts(own(A, unowned=1))
        self.assertEqual(len(texts), 9)
        self.assertEqual(texts[2], '13 steps more')


if __name__ == '__main__':
    unittest.main()
