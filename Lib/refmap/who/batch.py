"""Run some code under the recorder, between two snapshots.

As in refmap.measure the loop must not see itself: what it needs is allocated
before the first snapshot, and it leaves nothing behind while it records.
"""

import array
import sys
import time
from collections import namedtuple

# Bytes of the buffer: so much is recorded, and then no more.
LIMIT = 64 << 20
# The same for memory blocks: one that was freed takes no place.
LIMIT_OF_BLOCKS = 64 << 20

# Bytes of a mark: too many to share a block with anything.
MARK_SIZE = 100
# Births are numbered with so many bits.
BIRTH_MASK = (1 << 28) - 1

# What is recorded. types: names; addresses: of living objects; births: numbers
# counted from the start; blocks: memory that is no object.
Watch = namedtuple('Watch', 'types addresses births blocks',
                   defaults=((), (), (), False))


class Batch:
    """What some recorded runs did.

    runs -- how many
    start -- serial of the last birth before them
    data -- the recording, bytes
    changed -- [(address, type name, count before, count after)] of the objects
               whose count changed, and that were still alive after one run
               more; an object that was born in these runs had 0 before
    births -- {address: serial of its birth} of those that were born in these
              runs and watched
    marks -- addresses of objects, each made at the end of a run, and alive to
             the end of the recording
    returns -- was it watched what functions return?
    seconds -- duration of the recorded runs with their clean-up
    unrecorded -- that of the run more, which was not recorded
    """

    def __init__(self, runs, start, data, changed, births, marks,
                 returns, seconds, unrecorded):
        self.runs = runs
        self.start = start
        self.data = data
        self.changed = changed
        self.births = births
        self.marks = marks
        self.returns = returns
        self.seconds = seconds
        self.unrecorded = unrecorded


def start(options):
    """Start recording; return the serial of the last birth before.

    options -- of sys.refmap_record(). If that can't watch what functions
               return, options['returns'] becomes False
    Raise RuntimeError where nothing can be recorded at all.
    """
    try:
        return sys.refmap_record(**options)
    except RuntimeError:
        options['returns'] = False
        return sys.refmap_record(**options)


def obstacle():
    """Return why this interpreter can't record, one sentence, or None.

    Raise ValueError if something is recorded already.
    """
    try:
        start({'limit': 1 << 16})
    except RuntimeError as exc:
        return str(exc)
    stop()
    return None


def living(addresses):
    """Return those of the addresses where an object lives, as a list."""
    found = []
    for address in addresses:
        try:
            sys._refmap_object(address)
        except LookupError:
            continue
        found.append(address)
    return found


def stop():
    """Stop recording; return the recording.

    Raise RuntimeError if somebody else has stopped it.
    """
    try:
        return sys.refmap_record_stop()
    except RuntimeError:
        raise RuntimeError('the code that was diagnosed stopped the '
                           'recording') from None


def survivors(before, recorded, after):
    """Return what changed in the recorded runs, as Batch.changed.

    before, recorded, after -- the snapshots before and after the recorded runs,
                               and after one run more
    What the last run leaves behind for the time being, a cache or a result,
    the run after it replaces.
    """
    later = sys.refmap_diff(recorded, after, file=None)
    gone = {record[0] for record in later.died}
    gone.update(record[0] for record in later.living if record[2] == 0)
    batch = sys.refmap_diff(before, recorded, file=None)
    return [record for record in batch.living if record[0] not in gone]


def births_of(changed, watch, start):
    """Return Batch.births.

    start -- serial of the last birth before
    """
    types, numbers, found = set(watch.types), set(watch.births), {}
    for address, type_name, before, _ in changed:
        birth = 0 if before else sys._refmap_birth(address)
        if birth and (type_name in types
                      or (birth - start) & BIRTH_MASK in numbers):
            found[address] = birth
    return found


def make_frames():
    """Make the objects of all frames that run, which live as long as these do.

    Else the first traceback of a run would, and they would count as born in it.
    """
    frame = sys._getframe()
    while frame is not None:
        frame = frame.f_back


def run(function, runs, cleanup, watch, transparent=(), dry=False,
        actual=False):
    """Record some runs, and let one more follow.

    function -- called without arguments; its result is dropped
    runs -- how many to record
    cleanup -- called after each run, recorded as the garbage dies in it
    watch -- a Watch
    transparent -- [(start, length)] of code that never holds a reference
    dry -- record nothing, to learn the numbers of births only
    actual -- by true counts, or else by those in the map
    Return a Batch. Exceptions of `function` are passed on; then nothing is
    recorded any more. Raise ValueError if something is recorded already,
    RuntimeError if nothing can be.
    """
    clock = array.array('d', [0.0] * 4)
    # A snapshot takes the place of another one; see measure.Recorder.
    before, recorded, after = [sys.refmap_snapshot(actual=actual)
                               for _ in range(3)]
    # For blocks, a run more is recorded; see blocks.py.
    marks = [None] * (runs + watch.blocks)
    times = iter(range(len(marks)))
    cleanup()
    if watch.births:
        # What the program keeps for later may be gone since the last batch.
        # It is made anew now, so that births have the same numbers.
        function()
        cleanup()
    make_frames()
    options = {'types': watch.types, 'addresses': living(watch.addresses),
               'births': watch.births, 'transparent': transparent,
               'blocks': watch.blocks, 'returns': not watch.blocks,
               'limit': LIMIT_OF_BLOCKS if watch.blocks else LIMIT}
    if dry:
        options.update(types=(), addresses=(), births=())
    birth = start(options)
    try:
        before = sys.refmap_snapshot(actual=actual)
        clock[0] = time.monotonic()
        for i in times:
            function()
            cleanup()
            if watch.blocks:
                marks[i] = bytes(MARK_SIZE)
        clock[1] = time.monotonic()
        recorded = sys.refmap_snapshot(actual=actual)
    finally:
        # In an exception's way, too: nothing else would ever stop it.
        data = stop()
    clock[2] = time.monotonic()
    function()
    cleanup()
    clock[3] = time.monotonic()
    after = sys.refmap_snapshot(actual=actual)
    changed = survivors(before, recorded, after)
    return Batch(runs, birth, data, changed, births_of(changed, watch, birth),
                 {id(mark) for mark in marks[:runs]}, options['returns'],
                 clock[1] - clock[0], clock[3] - clock[2])
