"""Run some code under the recorder, between two snapshots.

As in refmap.measure the loop must not see itself: what it needs is allocated
before the first snapshot, and it leaves nothing behind while it records.
"""

import array
import itertools
import sys
import time
from collections import namedtuple

# Bytes of the buffer: so much is recorded, and then no more. A debug build takes
# some seconds to read that.
LIMIT = 16 << 20
# The same for memory blocks: one that was freed takes no place.
LIMIT_OF_BLOCKS = 64 << 20

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
    died -- addresses of older objects that died in these runs
    returns -- was it watched what functions return?
    seconds -- duration of the recorded runs with their clean-up
    unrecorded -- that of the run more, which was not recorded
    """

    def __init__(self, runs, start, data, changed, died, returns, seconds,
                 unrecorded):
        self.runs = runs
        self.start = start
        self.data = data
        self.changed = changed
        self.died = died
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
    """Return (changed, died) of a Batch.

    before, recorded, after -- the snapshots before and after the recorded runs,
                               and after one run more
    What the last run leaves behind for the time being, a cache or a result,
    the run after it replaces.
    """
    later = sys.refmap_diff(recorded, after, file=None)
    gone = {record[0] for record in later.died}
    gone.update(record[0] for record in later.living if record[2] == 0)
    batch = sys.refmap_diff(before, recorded, file=None)
    changed = [record for record in batch.living if record[0] not in gone]
    return changed, {record[0] for record in batch.died}


def run(function, runs, cleanup, watch, transparent=()):
    """Record some runs, and let one more follow.

    function -- called without arguments; its result is dropped
    runs -- how many to record
    cleanup -- called after each run, recorded as the garbage dies in it
    watch -- a Watch
    transparent -- [(start, length)] of code that never holds a reference
    Return a Batch. Exceptions of `function` are passed on; then nothing is
    recorded any more. Raise ValueError if something is recorded already,
    RuntimeError if nothing can be.
    """
    clock = array.array('d', [0.0] * 4)
    # A snapshot takes the place of another one; see measure.Recorder.
    before, recorded, after = [sys.refmap_snapshot() for _ in range(3)]
    times = itertools.repeat(None, runs)
    cleanup()
    options = {'types': watch.types, 'addresses': living(watch.addresses),
               'births': watch.births, 'transparent': transparent,
               'blocks': watch.blocks, 'returns': not watch.blocks,
               'limit': LIMIT_OF_BLOCKS if watch.blocks else LIMIT}
    birth = start(options)
    try:
        before = sys.refmap_snapshot()
        clock[0] = time.monotonic()
        for _ in times:
            function()
            cleanup()
        clock[1] = time.monotonic()
        recorded = sys.refmap_snapshot()
    finally:
        # In an exception's way, too: nothing else would ever stop it.
        data = stop()
    clock[2] = time.monotonic()
    function()
    cleanup()
    clock[3] = time.monotonic()
    after = sys.refmap_snapshot()
    changed, died = survivors(before, recorded, after)
    return Batch(runs, birth, data, changed, died, options['returns'],
                 clock[1] - clock[0], clock[3] - clock[2])
