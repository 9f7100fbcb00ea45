"""The recorder survives what C, C++ and systems do to a stack, and memory that ends.

Each test runs in a process of its own: what goes wrong here ends it.
"""

import sys
import tempfile
import unittest

from test import support
from test.support import import_helper
from test.test_refmap import who_build
from test.test_refmap.helpers import run_script

import refmap
from refmap.who import batch

RECORDS = refmap.available() and batch.obstacle() is None

HEAD = '''
import gc, os, signal, threading, time
from collections import Counter
from refmap.who import recording, symbols
from test.test_refmap import who_build

# Of code that never holds a reference; see Extension.leave().
ranges = ()

def record(function, *args, **options):
    """Call something under the recorder; return (its result, Recording)."""
    sys.refmap_record(types=['list', 'dict'], transparent=ranges, **options)
    try:
        result = function(*args)
    finally:
        data = sys.refmap_record_stop()
    check_exact()
    return result, recording.decode(data)

def of_kind(found, kind):
    return [e for e in found.events if type(e).__name__ == kind]

def lives(found):
    """{birth serial: [sum of changes, deaths]} of the objects that were born."""
    sums = {}
    for event in found.events:
        if isinstance(event, recording.Change):
            if event.kind == 'birth':
                sums[event.birth] = [0, 0]
            if event.birth in sums:
                sums[event.birth][0] += event.n
        elif isinstance(event, recording.Death) and event.birth in sums:
            sums[event.birth][1] += 1
    return sums

def check_lives(found, left=0):
    """Who died has no references; `left` objects live on with one each."""
    assert not found.lost.records, found.lost
    sums = lives(found)
    assert sums
    for birth, (references, deaths) in sums.items():
        assert (references == 0) == (deaths == 1), (birth, references, deaths)
    alive = [s for s in sums.values() if not s[1]]
    assert len(alive) == left, (len(alive), left)

def work(n=50):
    for i in range(n):
        a = [i]
        b = {'a': a, 'b': [a]}
        a.append(b)
        a.clear()
'''


class RecorderTestCase(unittest.TestCase):

    def run_script(self, script, *args, **env):
        return run_script(HEAD + script, *args, **env)


class Extension:
    """Tests with who_leaves.cpp; a mixin."""

    way = None

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.path = who_build.build('who_leaves.cpp', cls.way, directory.name)
        if cls.path is None:
            raise unittest.SkipTest('there is no C++ compiler')

    def leave(self, script):
        # As a diagnosis does: what makes objects returns nothing, and is no holder.
        self.run_script(f'ext = who_build.load({self.path!r})\n'
                        'ranges = symbols.Symbols().ranges(symbols.TRANSPARENT)\n'
                        + script)

    def test_return(self):
        # The others mean something only if this works.
        self.leave('''
for depth in 0, 1, 5, 40:
    _, found = record(ext.plunge, depth, None)
    check_lives(found, left=1)
    returns = [e for e in of_kind(found, 'Return') if e.value]
    assert len(returns) > depth, (depth, len(returns))
''')

    def test_stack(self):
        # Each function once, in its own activation, and who called them.
        self.leave('''
_, found = record(ext.plunge, 5, None)
names = symbols.Symbols(found.modules)
names.resolve(found.pcs())
stacks = []
for event in of_kind(found, 'Change'):
    calls = [names.at(frame.pc)[-1].function for frame in event.frames]
    slots = [frame.slot for frame in event.frames]
    assert slots == sorted(set(slots)), slots
    assert slots[0] > 0, calls
    calls = [call.rpartition('::')[2] for call in calls]
    if event.kind == 'birth' and 'dive' in calls:
        stacks.append(' '.join(calls[calls.index('dive'):]))
deepest = max(stacks, key=len)
assert deepest.startswith(6 * 'dive ' + 'plunge cfunction_call '), stacks
assert ' pymain_' in deepest, stacks
''')

    def test_exception(self):
        self.leave('''
for depth in 0, 1, 5, 40, 200:
    for callable in None, len, lambda x: [x]:
        thrown, found = record(ext.throw_through, depth, callable)
        assert thrown is True
        check_lives(found)
for _ in range(100):        # the same frames again and again
    assert record(lambda: [ext.throw_through(7, len) for _ in range(5)])
''')

    def test_exception_within_recorded_code(self):
        # Exception below Python code, below an exception.
        self.leave('''
def inner(x):
    if len(x) == 2:
        assert ext.throw_through(3, None)
    return x

thrown, found = record(ext.throw_through, 6, inner)
assert thrown is True
check_lives(found)
''')

    def test_jump(self):
        self.leave('''
for depth in 0, 1, 5, 40:
    jumped, found = record(ext.leap, depth, None)
    assert jumped is True
    check_lives(found, left=depth + 1)
jumped, found = record(lambda: all(ext.leap(4, len) for _ in range(20)))
assert jumped
check_lives(found, left=100)
outcomes = Counter(o.outcome for e in of_kind(found, 'Return') for o in e.outcomes)
assert outcomes[recording.ABANDONED] >= 100, outcomes
''')

    def test_end_of_thread(self):
        self.leave('''
for depth in 0, 1, 5, 40:
    _, found = record(ext.end_thread, depth)
    check_lives(found)
    assert {e.thread for e in of_kind(found, 'Death')} >= {1}, found.events
''')

    def test_backtrace(self):
        self.leave('''
for depth in 1, 10, 20:
    plain = ext.trace(depth, None)
    traced, found = record(ext.trace, depth, None)
    assert traced >= plain >= depth, (depth, traced, plain)
''')


@unittest.skipUnless(RECORDS, 'needs an interpreter that records')
class PointersTest(Extension, RecorderTestCase):
    way = 'C++'


@unittest.skipUnless(RECORDS, 'needs an interpreter that records')
class NoPointersTest(Extension, RecorderTestCase):
    way = 'C++ without frame pointers'


@unittest.skipUnless(RECORDS, 'needs an interpreter that records')
class AlignedTest(Extension, RecorderTestCase):
    way = 'C++ that aligns its stack'

    def test_return(self):
        # Where the stack can't be followed, less is seen; nothing is wrong.
        self.leave('''
for depth in 0, 1, 5, 40:
    _, found = record(ext.plunge, depth, None)
    check_lives(found, left=1)
''')

    def test_jump(self):
        self.leave('''
for depth in 0, 1, 5, 40:
    jumped, found = record(ext.leap, depth, None)
    assert jumped is True
    check_lives(found, left=depth + 1)
''')


@unittest.skipUnless(RECORDS, 'needs an interpreter that records')
class SystemTest(RecorderTestCase):

    @unittest.skipUnless(support.has_fork_support, 'needs fork()')
    def test_fork(self):
        # Parent and child go on, and each stops a recording of its own.
        self.run_script('''
def forking():
    work()
    pid = os.fork()
    work()
    return pid

sys.refmap_record(types=['list', 'dict'])
pid = forking()
data = sys.refmap_record_stop()
check_exact()
found = recording.decode(data)
check_lives(found)
if pid == 0:
    # Again, in a child.
    _, found = record(work)
    check_lives(found)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
''')

    @unittest.skipUnless(support.has_fork_support, 'needs fork()')
    def test_fork_in_a_thread(self):
        self.run_script('''
def forking():
    work()
    pid = os.fork()
    work()
    if pid == 0:
        recording.decode(sys.refmap_record_stop())
        check_exact()
        os._exit(0)
    results.append(os.waitpid(pid, 0)[1])

results = []
def main():
    stop = []
    busy = threading.Thread(target=lambda: [work(5) for _ in iter(lambda: bool(stop), True)])
    busy.start()
    thread = threading.Thread(target=forking)
    thread.start()
    thread.join()
    stop.append(1)
    busy.join()

_, found = record(main)
assert results == [0], results
''', '-W', 'ignore')

    def test_threads(self):
        self.run_script('''
def main():
    threads = [threading.Thread(target=work, args=(200,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

old = sys.getswitchinterval()
sys.setswitchinterval(1e-5)
_, found = record(main)
sys.setswitchinterval(old)
assert not found.lost.records
numbers = {e.thread for e in of_kind(found, 'Death')}
assert numbers >= {0, 1, 2, 3, 4} or len(numbers) >= 4, numbers
for birth, (references, deaths) in lives(found).items():
    assert (references == 0) == (deaths == 1), (birth, references, deaths)
''')

    def test_thread_started_before(self):
        # Its stack is full of frames that were there when the recorder was not.
        self.run_script('''
def body():
    ready.set()
    go.wait()
    work()
    done.set()
    go_on.wait()

ready, go, done, go_on = (threading.Event() for _ in range(4))
thread = threading.Thread(target=body)
thread.start()
ready.wait()

def main():
    go.set()
    done.wait()

_, found = record(main)
# It returns through frames of a recording that is over.
go_on.set()
thread.join()
check_exact()
assert {e.thread for e in of_kind(found, 'Death')} & {1, 2}
''')

    @unittest.skipUnless(hasattr(__import__('signal'), 'setitimer'), 'needs setitimer()')
    def test_signals(self):
        # Handlers in Python, between any two bytecodes; the C handler at any time.
        self.run_script('''
calls = 0
def handler(number, frame):
    global calls
    calls += 1
    work(1)

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)

def main():
    end = time.monotonic() + 60
    while calls < 100 and time.monotonic() < end:
        work(5)

_, found = record(main, limit=256 << 20)
signal.setitimer(signal.ITIMER_REAL, 0)
assert calls >= 100
if not found.lost.records:
    check_lives(found)
''')

    def test_interrupt(self):
        # Out of recorded code by an exception of a signal's handler.
        self.run_script('''
inside, done = True, threading.Event()

def handler(*args):
    if inside:
        raise KeyboardInterrupt

def main():
    global inside
    try:
        for i in range(100000):
            work(5)
    except KeyboardInterrupt:
        inside = False
        return 'left'

def interrupt():
    # Again and again: what is raised in a callback may be ignored.
    while not done.wait(0.3):
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, handler)
thread = threading.Thread(target=interrupt)
thread.start()
left, found = record(main, limit=256 << 20)
done.set()
thread.join()
assert left == 'left'
work()
''')

    def test_stopped_deep_inside(self):
        # Frames that began under the recorder return without it.
        self.run_script('''
def dive(n):
    a = [n]
    if n:
        sorted([n], key=lambda x: dive(n - 1))
    else:
        data.append(sys.refmap_record_stop())
    return a

data = []
for depth in 0, 1, 20:
    sys.refmap_record(types=['list', 'dict'])
    dive(depth)
    work()
    check_exact()
    # And a recording that begins while those of before return.
    sys.refmap_record(types=['list', 'dict'])
    dive(depth)
    found = recording.decode(data[-1])
    assert found.events
''')

    def test_generators_and_recursion(self):
        self.run_script('''
def numbers(n):
    for i in range(n):
        yield [i]

def main():
    g = [numbers(5) for _ in range(10)]
    for _ in range(3):
        for x in g:
            next(x)
    for x in g:
        x.close()
    def deep(n):
        return deep(n + 1) + [n]
    try:
        deep(0)
    except RecursionError:
        pass

_, found = record(main, limit=256 << 20)
check_lives(found)
''')


@unittest.skipUnless(RECORDS, 'needs an interpreter that records')
class PlacesTest(RecorderTestCase):

    HEAD = '''
class Item(list):
    __hash__ = object.__hash__

def record_items(function, types=('Item',)):
    ranges = symbols.Symbols().ranges(symbols.TRANSPARENT)
    sys.refmap_record(types=types, transparent=ranges)
    try:
        function()
    finally:
        data = sys.refmap_record_stop()
    return recording.decode(data)
'''

    def test_tables_that_grow(self):
        # The same object is key and value: both places move, each once a time,
        # and go with the last table.
        self.run_script(self.HEAD + '''
def grow():
    item = Item()
    table = dict.fromkeys([1])
    table.setdefault(item, item)
    for i in range(100):
        table[i] = None
    del table

record_items(grow)
found = record_items(grow)
shifted, gone = of_kind(found, 'Shifted'), of_kind(found, 'Gone')
assert len(shifted) >= 6 and len(shifted) % 2 == 0, shifted
for one, two in zip(shifted[::2], shifted[1::2]):
    assert one.base == two.base and one.location != two.location, (one, two)
    assert one.before != two.before, (one, two)
last = {event.location for event in shifted[-2:]}
assert last <= {event.location for event in gone if recording.is_burial(event)}
''')

    def test_tables_that_grow_when_there_is_no_time_to_search(self):
        self.run_script(self.HEAD + '''
import _testrefmap

def forget():
    for _ in range(1000):
        _testrefmap.leak_reference(Item())

def grow():
    item = Item()
    table = dict.fromkeys([1])
    table.setdefault(item, item)
    forget()
    for i in range(100):
        table[i] = None
    table.clear()

found = record_items(grow)
assert found.lost.tokens > 100, found.lost
[table] = {e.base for e in of_kind(found, 'Stored')[:2]}
moved = {table}
for event in of_kind(found, 'Shifted'):
    moved.add(event.base)
assert len(moved) > 3, moved
assert [e for e in of_kind(found, 'Gone')
        if recording.is_burial(e) and e.base in moved]
''')

    def test_young_memory_when_there_is_no_time_to_search(self):
        # What list.copy() stores lies in a block that was just allocated.
        self.run_script(self.HEAD + '''
import _testrefmap
from collections import Counter

def forget():
    for _ in range(1000):
        _testrefmap.leak_reference(Item())

def copy():
    lists = [[Item()] for _ in range(100)]
    forget()
    return [one.copy() for one in lists]

found = record_items(copy)
assert found.lost.tokens > 100, found.lost
outcomes = Counter(outcome for event in of_kind(found, 'Return')
                   for _, outcome, _ in event.outcomes)
assert outcomes[recording.MEMORY] >= 100, outcomes
# It is not said that what was not searched everywhere was nowhere.
assert outcomes[recording.NOWHERE] < outcomes[recording.UNKNOWN], outcomes
''')

    def test_state_of_a_thread(self):
        self.run_script(self.HEAD + '''
class Raised(Exception):
    pass

class Clinging(Exception):
    """Is raised, but not handled before its thread ends."""

def handle():
    try:
        raise Raised
    except Raised:
        pass

def record_exceptions(function):
    return record_items(function, ['Raised', 'Clinging'])

def places(found):
    """Where in the state of a thread there was something, by location."""
    seen = {}
    for event in found.events:
        for place in getattr(event, 'places', [event]):
            if getattr(place, 'base_type', 0) == recording.THREAD_STATE:
                seen[place.location] = place
    return seen

handle()
found = record_exceptions(handle)
assert places(found)
gone = {e.location for e in of_kind(found, 'Gone')}
gone.update(e.before for e in of_kind(found, 'Shifted'))
assert gone & places(found).keys(), (gone, places(found))
check_exact()

# The states of threads that are gone are not looked at any more.
def cling():
    raise Clinging

def start():
    handle()
    for _ in range(20):
        threads = [threading.Thread(target=function)
                   for function in (cling, handle) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

threading.excepthook = lambda args: None
found = record_exceptions(start)
assert len({place.base for place in places(found).values()}) > 1, places(found)
check_exact()
''')

    def test_inline_values_that_outlive_their_object(self):
        self.run_script(self.HEAD + '''
class Holder:
    pass

def detach():
    item, holder = Item(), Holder()
    vars(holder).setdefault('item', item)
    names = vars(holder)
    del holder
    del names

record_items(detach)
found = record_items(detach)
# Optimised builds leave old words in memory that is free.
shifted = of_kind(found, 'Shifted')[-1]
assert shifted.base_type == 0, shifted
assert shifted.location in {event.location for event in of_kind(found, 'Gone')
                            if recording.is_burial(event)}
''')

    def test_tuple_that_grows(self):
        # Its block moves, with what is in front of the object, and all items with it;
        # where it was may be no memory any more.
        self.run_script(self.HEAD + '''
def build():
    global built
    built = tuple(Item() if i < 40 else i for i in range(200_000))

def follow(found):
    """Return {location: base} of the places in tuples at the end."""
    known = {}
    for event in found.events:
        kind = type(event).__name__
        if kind == 'MovedBlock':
            for location, base in list(known.items()):
                if base - 16 == event.source:
                    del known[location]
                    by = event.to - event.source
                    known[location + by] = base + by
        elif kind == 'Gone':
            known.pop(event.location, None)
        for place in getattr(event, 'places', [event] if kind == 'Stored' else []):
            if found.type_name(place.base_type) == 'tuple':
                known[place.location] = place.base
    return known

found = record_items(build)
assert len(of_kind(found, 'MovedBlock')) > 3, found.events
first = id(built) + tuple.__basicsize__
items = {first + 8 * i for i in range(40)}
assert items <= follow(found).keys(), (items, follow(found))
check_exact()
''')

    def test_list_that_shrinks(self):
        # What is behind its new end may be no memory any more.
        self.run_script(self.HEAD + '''
def shrink():
    many = [None] * 200_000
    for i in range(1000, 1040):
        many[i] = Item()
    del many[10:]

found = record_items(shrink)
cut = {event.location - event.base for event in of_kind(found, 'Gone')
       if not event.now and not event.flags}
assert {8 * i for i in range(1000, 1040)} <= cut, cut
check_exact()
''')

    def test_what_dies_gives_up_before_it_is_gone(self):
        # And each container is told once, also one whose memory had another before.
        self.run_script(self.HEAD + '''
class Pair:
    def __init__(self, *items):
        self.items = list(items)

def make():
    for i in range(20):
        item = Item()
        nest = Pair(item, (item, {i: item}))
        del nest

found = record_items(make)
gone, seen = set(), 0
for event in found.events:
    if type(event).__name__ == 'Gone' and recording.is_burial(event):
        gone.add(event.base)
    elif type(event).__name__ in ('Stored', 'Return'):
        gone.difference_update(
            place.base for place in getattr(event, 'places', [event]))
    elif type(event).__name__ == 'Change' and event.deaths:
        dying = [death.address for death in event.deaths]
        assert len(set(dying)) == len(dying), event
        assert dying[0] not in gone, (event, gone)
        seen += 1
assert seen >= 60, seen
check_exact()
''')

    def test_memory_that_goes_while_its_owner_dies(self):
        # The item is in the memory still that is given back, and lives on.
        self.run_script(self.HEAD + '''
import _testrefmap

kept = []
large = _testrefmap.make_large_module()

def hold():
    kept.append(Item())
    owner = _testrefmap.Mapped(kept[0])
    _testrefmap.put_in_state(large, kept[0])
    globals().pop('large')
    del owner

found = record_items(hold)
stored = of_kind(found, 'Stored') + [
    place for event in of_kind(found, 'Return') for place in event.places]
bases = {place.base for place in stored
         if found.type_name(place.base_type) in ('module', '_testrefmap.Mapped')}
gone = {event.base for event in of_kind(found, 'Gone') if recording.is_burial(event)}
assert len(bases) == 2 and bases <= gone, (bases, gone)
check_exact()
''')

    def test_memory_that_an_interpreter_took_along(self):
        # Tuples from a free list, of which only the birth tells, are resized: their
        # blocks move. The memory where they were goes with the interpreter.
        import_helper.import_module('_interpreters')
        self.run_script('''
import _interpreters

held = {}
def hold(i):
    held[i] = [i]

interp = _interpreters.create('isolated')
_interpreters.exec(interp, 'del [tuple(range(10)) for _ in range(500)][:]')
sys.refmap_record(types=['list'])
_interpreters.exec(interp, 'kept = [tuple(i for i in (1, 2, 3)) for _ in range(400)]')
_interpreters.destroy(interp)
for i in range(50):
    hold(i)
found = recording.decode(sys.refmap_record_stop())
check_exact()
assert len(of_kind(found, 'Return')) >= 50
''')


@unittest.skipUnless(RECORDS, 'needs an interpreter that records')
class NoMemoryTest(RecorderTestCase):

    def test_allocations_fail(self):
        # After every number of allocations that succeed: it does not start, or
        # says what it lost; and the map stays exact.
        self.run_script('''
refused = lost = whole = 0
_, found = record(work, 30)
usual = found.lost.tokens
for n in [*range(60), *range(60, 2000, 97), 10 ** 6]:
    _testrefmap.limit_allocations(n)
    try:
        try:
            sys.refmap_record(types=['list', 'dict'])
        except MemoryError:
            refused += 1
            continue
        work(30)
    finally:
        _testrefmap.limit_allocations(-1)
    found = recording.decode(sys.refmap_record_stop())
    check_exact()
    if found.lost.records or found.lost.memory or found.lost.tokens > usual:
        lost += 1
    else:
        whole += 1
        check_lives(found)
# All three happened, or the test tests nothing.
assert refused and lost and whole, (refused, lost, whole)
# It is as good as new.
_, found = record(work)
check_lives(found)
''')

    def test_buffer_ends(self):
        # What did not fit is said; what did can be read.
        self.run_script('''
sizes = []
for limit in 4096, 8192, 65536, 1 << 20:
    sys.refmap_record(types=['list', 'dict'], limit=limit)
    work(500)
    data = sys.refmap_record_stop()
    check_exact()
    found = recording.decode(data)
    if limit < 65536:
        assert found.lost.records > 100, found.lost
        assert found.lost.memory == 0, found.lost
    sizes.append(len(found.events))
assert sizes == sorted(sizes) and sizes[0], sizes
''')

    def test_blocks_without_memory(self):
        self.run_script('''
lost = 0
for n in range(0, 60, 3):
    _testrefmap.limit_allocations(n)
    try:
        try:
            sys.refmap_record(blocks=True, types=['list'])
        except MemoryError:
            continue
        work(30)
    finally:
        _testrefmap.limit_allocations(-1)
    found = recording.decode(sys.refmap_record_stop())
    check_exact()
    lost += bool(found.lost.records or found.lost.memory)
assert lost
''')


if __name__ == '__main__':
    unittest.main()
