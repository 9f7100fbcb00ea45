"""refmap.ledger(): what calls do to the counts of arguments and results."""

import json
import sys
import unittest

import refmap
from refmap import ledgers as module

from .helpers import MapTestCase, run_script

# Each case is a line of Python that gives a ledger; it runs in one process with
# the others.
SETUP = r'''
import json, gc
import refmap

class Node:
    def __init__(self, *items):
        self.items = items
    def me(self):
        return self
    def forget(self):
        _testrefmap.over_decref(self)

def say(ledger):
    result = ledger.to_json()
    result['text'] = str(ledger)
    print(json.dumps(result))

class LosesItem:
    """When it dies its item has a reference less."""
    def __init__(self, item):
        self.address = id(item)
    def __del__(self):
        _testrefmap.release(self.address)

leak, over = _testrefmap.leak_reference, _testrefmap.over_decref
victim, keep = Node(), []
'''


def ledgers(*cases, setup=''):
    """The ledgers of some cases, as dicts."""
    script = SETUP + setup + ''.join(f'say({case})\n' for case in cases)
    script += 'check_exact()\n'
    out, _ = run_script(script)
    return [json.loads(line) for line in out.splitlines()]


class ArgumentTest(unittest.TestCase):

    def entry(self, ledger, name):
        [entry] = [entry for entry in ledger['arguments'] if name in entry['name']]
        return entry

    def test_clean(self):
        cases = ['len, [1]', 'list, (1, victim)', 'victim.me', 'sorted, [3, 1], '
                 'kwargs={"reverse": True}', 'dict, kwargs={"a": victim}',
                 'str, victim', 'isinstance, victim, Node', 'gc.collect']
        found = ledgers(*(f'refmap.ledger({case})' for case in cases))
        for case, ledger in zip(cases, found, strict=True):
            with self.subTest(case):
                self.assertEqual(ledger['verdict'], 'clean', ledger['text'])
                for entry in ledger['arguments']:
                    self.assertIn(entry['changes'], (None, [0, 0, 0]))
                    self.assertIn(entry['lost'], (None, [0, 0, 0]))
                self.assertEqual(ledger['types'], {})

    def test_keeps(self):
        [one, two, kwarg] = ledgers(
            'refmap.ledger(leak, victim)',
            'refmap.ledger(lambda a, b: [leak(b), leak(b), None][2], 1.5, victim)',
            'refmap.ledger(lambda *, node: leak(node), kwargs={"node": victim})')
        for ledger, name, change in [(one, 'argument 1', 1), (two, 'argument 2', 2),
                                     (kwarg, "argument 'node'", 1)]:
            self.assertEqual(ledger['verdict'], 'leak')
            entry = self.entry(ledger, name)
            self.assertEqual(entry['changes'], [change] * 3)
            self.assertEqual(entry['unowned'], [change] * 3)
            self.assertEqual(entry['type'], 'Node')
            self.assertEqual(ledger['types'], {}, 'said of the argument already')
            self.assertIn(f'keeps +{change} on {name} (Node): no visible owner has',
                          ledger['text'])

    def test_kept_by_a_visible_owner(self):
        [ledger] = ledgers('refmap.ledger(keep.append, victim)')
        entry = self.entry(ledger, 'argument 1')
        self.assertEqual((ledger['verdict'], entry['changes'], entry['unowned']),
                         ('leak', [1, 1, 1], [0, 0, 0]))
        self.assertRegex(entry['text'],
                         r'^keeps \+1 on argument 1 \(Node\): list at 0x\w+ has 6 more')

    def test_cache_is_clean(self):
        # It keeps the argument, once.
        [ledger] = ledgers('refmap.ledger(remember, victim)', setup=r'''
import functools
@functools.cache
def remember(op):
    return None
''')
        self.assertEqual(ledger['verdict'], 'clean', ledger['text'])

    def test_over_decref(self):
        [once, thrice, method] = ledgers(
            'refmap.ledger(over, victim)',
            'refmap.ledger(lambda x: [over(x), over(x), over(x), None][3], victim)',
            'refmap.ledger(victim.forget)')
        for ledger, name, lost in [(once, 'argument 1', 1), (thrice, 'argument 1', 3),
                                   (method, 'self', 1)]:
            entry = self.entry(ledger, name)
            self.assertEqual((ledger['verdict'], entry['verdict']), ('error', 'error'))
            self.assertEqual((entry['changes'], entry['lost']),
                             ([-lost] * 3, [lost] * 3))
            self.assertIn(f'loses -{lost} on {name} (Node), an over-decref',
                          ledger['text'])

    def test_owners_have_their_references_again(self):
        out, _ = run_script(SETUP + '''
victims = [Node() for _ in range(10)]
before = [sys.getrefcount(node) for node in victims]
for node in victims:
    ledger = refmap.ledger(lambda x: [over(x) for _ in range(50)] and None, node)
    assert ledger.verdict == 'error', ledger
    assert ledger.arguments[1].lost == [50] * 3, ledger.arguments[1].lost
del node, ledger
assert [sys.getrefcount(node) for node in victims] == before
check_exact()
check_true()
victims.clear()
gc.collect()
print('alive')
''')
        self.assertEqual(out, 'alive\n')

    def test_stored_without_a_reference(self):
        # The count stays, and an owner comes.
        [ledger] = ledgers('refmap.ledger(lambda x: [keep.append(x), over(x)][0], victim)')
        entry = self.entry(ledger, 'argument 1')
        self.assertEqual((ledger['verdict'], entry['lost']), ('error', [1, 1, 1]))

    def test_over_decref_when_the_result_dies(self):
        [ledger] = ledgers('refmap.ledger(LosesItem, victim)')
        entry = self.entry(ledger, 'argument 1')
        self.assertEqual((ledger['verdict'], entry['changes'], entry['lost']),
                         ('error', [-1] * 3, [1] * 3))
        self.assertIn('when the result is gone', entry['text'])

    def test_what_arguments_hold(self):
        # As PyTuple_SET_ITEM() of a borrowed item, and as its decref.
        [pair, decref] = ledgers(
            'refmap.ledger(lambda x: [over(x[0]), (x[0],)][1], nodes)',
            'refmap.ledger(lambda x: over(x[0]), nodes)',
            setup='nodes = [Node()] * 3\n')
        for ledger in pair, decref:
            [entry] = ledger['items']
            self.assertEqual((ledger['verdict'], entry['name'], entry['lost']),
                             ('error', 'what argument 1 holds', [1] * 3))

    def test_unowned_before(self):
        # Given back is what C code had: nobody can tell whose that was.
        [ledger] = ledgers('refmap.ledger(over, victim)',
                           setup='for _ in range(20): leak(victim)\n')
        entry = self.entry(ledger, 'argument 1')
        self.assertEqual((entry['verdict'], entry['changes'], entry['lost']),
                         ('suspicious', [-1] * 3, [0] * 3))
        self.assertIn('whose they were is not known', entry['text'])

    def test_given_up_by_a_visible_owner(self):
        [ledger] = ledgers('refmap.ledger(lambda x: items.pop() and None, victim)',
                           setup='items = [victim] * 20\n')
        entry = self.entry(ledger, 'argument 1')
        self.assertEqual((entry['verdict'], entry['changes'], entry['lost']),
                         ('clean', [-1] * 3, [0] * 3))

    def test_immortal(self):
        for ledger in ledgers('refmap.ledger(leak, None)', 'refmap.ledger(leak, 7)',
                              'refmap.ledger(leak, "a")'):
            entry = self.entry(ledger, 'argument 1')
            self.assertEqual((ledger['verdict'], entry['changes']), ('clean', None))
            self.assertIn('immortal', entry['text'])

    def test_interned(self):
        [ledger] = ledgers('refmap.ledger(len, text)',
                           setup='text = sys.intern("some-" + str(len(sys.argv)))\n')
        self.assertEqual(ledger['verdict'], 'clean')
        self.assertEqual(len(ledger['notes']), 1)
        self.assertIn('interned', ledger['notes'][0])

    def test_same_object_twice(self):
        [ledger] = ledgers('refmap.ledger(lambda a, b: leak(a), victim, victim)')
        entry = self.entry(ledger, 'argument 1 and argument 2')
        self.assertEqual(entry['changes'], [1, 1, 1])


class ResultTest(unittest.TestCase):

    def test_new(self):
        [ledger] = ledgers('refmap.ledger(Node)')
        result = ledger['result']
        self.assertEqual((ledger['verdict'], result['type'], result['unowned']),
                         ('clean', 'Node', [0, 0, 0]))
        self.assertEqual(result['text'],
                         'returns a new object that only the caller owns (Node)')

    def test_one_too_many(self):
        [ledger] = ledgers('refmap.ledger(one_too_many)', setup='''
def one_too_many():
    node = Node()
    leak(node)
    return node
''')
        self.assertEqual(ledger['verdict'], 'leak')
        self.assertEqual(ledger['result']['unowned'], [1, 1, 1])
        self.assertEqual(ledger['types']['Node'], [1, 1, 1])
        self.assertIn('leaks 1 Node a call', ledger['text'])

    def test_borrowed(self):
        # As PyList_GetItem() without an incref.
        [ledger] = ledgers('refmap.ledger(borrow, [victim])', setup='''
def borrow(items):
    over(items[0])
    return items[0]
''')
        self.assertEqual(ledger['verdict'], 'error')
        self.assertEqual(ledger['result']['lost'], [1, 1, 1])
        self.assertIn('returns a reference it does not own (-1) (Node): visible owners '
                      'have', ledger['text'])

    def test_borrowed_argument(self):
        found = ledgers('refmap.ledger(same, victim, 1)',
                        'refmap.ledger(same, victim, 3)', setup='''
def same(op, n):
    for _ in range(n):
        over(op)
    return op
''')
        for ledger, more in zip(found, (0, 2), strict=True):
            self.assertEqual(ledger['result']['lost'], [1, 1, 1])
            entry = ledger['arguments'][1]
            self.assertEqual((entry['changes'], entry['lost']),
                             ([-more] * 3, [more] * 3))

    def test_cached(self):
        [ledger] = ledgers('refmap.ledger(lambda: keep[0])', setup='keep.append(Node())\n')
        self.assertEqual(ledger['verdict'], 'clean')
        self.assertIn('the same object each time to which others have 1 reference',
                      ledger['text'])

    def test_argument(self):
        [ledger] = ledgers('refmap.ledger(lambda x: x, victim)')
        self.assertEqual(ledger['verdict'], 'clean')
        self.assertIn('returns argument 1, with a reference of its own', ledger['text'])

    def test_generator_and_coroutine(self):
        found = ledgers('refmap.ledger(generate, victim)', 'refmap.ledger(wait, victim)',
                        setup='''
def generate(op):
    leak(op)
    yield
async def wait(op):
    leak(op)
''')
        for ledger in found:
            self.assertEqual(ledger['verdict'], 'clean')
            self.assertIn('none of its code has run', ledger['notes'][0])

    def test_raises(self):
        [clean, leaks, sometimes] = ledgers(
            'refmap.ledger(int, "x")', 'refmap.ledger(fail, victim)',
            'refmap.ledger(now_and_then)', setup='''
def fail(op):
    leak(op)
    raise KeyError(op)
times = []
def now_and_then():
    times.append(None)
    if len(times) % 2:
        raise KeyError
''')
        self.assertEqual((clean['verdict'], clean['raised'], clean['result']),
                         ('clean', {'ValueError': 3}, None))
        self.assertEqual((leaks['verdict'], leaks['raised']), ('leak', {'KeyError': 3}))
        self.assertEqual(leaks['arguments'][1]['changes'], [1, 1, 1])
        self.assertEqual(sum(sometimes['raised'].values()), 1)
        self.assertIsNotNone(sometimes['result'])


class LedgerTest(MapTestCase):

    def test_types(self):
        [ledger] = ledgers('refmap.ledger(_testrefmap.leak_object)')
        self.assertEqual(ledger['verdict'], 'leak')
        self.assertEqual(ledger['types']['_testrefmap.Plain'], [1, 1, 1])

    def test_numbers(self):
        result = refmap.ledger(len, [], warmups=1, runs=2)
        self.assertEqual((result.warmups, result.calls), (1, 2))
        self.assertEqual(len(result.arguments[0].changes), 2)
        for warmups, runs in (-1, 3), (3, 0), (10_000, 1):
            with self.assertRaises(ValueError):
                refmap.ledger(len, [], warmups=warmups, runs=runs)

    def test_passes_on(self):
        def interrupt():
            raise KeyboardInterrupt
        with self.assertRaises(KeyboardInterrupt):
            refmap.ledger(interrupt)

    def test_hostile_names(self):
        class Hostile:
            def __getattribute__(self, name):
                raise ZeroDivisionError
            def __call__(self):
                pass
            def __repr__(self):
                raise ZeroDivisionError
            __eq__ = __hash__ = __repr__
        result = refmap.ledger(Hostile(), runs=1, warmups=1)
        self.assertIn('Hostile', str(result))
        odd = type('New\nline', (), {'__call__': lambda self, other: None})()
        result = refmap.ledger(odd, odd, runs=1, warmups=1)
        self.assertNotIn('\nline', str(result))

    def test_leaves_nothing(self):
        # The ledger holds neither arguments nor result.
        victim = [object()]
        before = sys.getrefcount(victim)
        result = refmap.ledger(lambda x: x, victim)
        self.assertEqual(sys.getrefcount(victim), before)
        del result

    def test_lazy(self):
        self.assertIs(refmap.ledger, module.ledger)
        self.assertIs(refmap.Ledger, module.Ledger)
        self.assertIn('ledger', dir(refmap))
        out, _ = run_script('''
            import refmap
            print('refmap.ledgers' in sys.modules)
            ''')
        self.assertEqual(out, 'False\n')

    def test_give(self):
        for arguments in (1,), (1, 2, 3), (1, -1), (1, 'x'):
            with self.assertRaises((TypeError, ValueError)):
                sys._refmap_give(*arguments)


if __name__ == '__main__':
    unittest.main()
