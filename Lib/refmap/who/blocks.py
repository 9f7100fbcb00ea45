"""Memory blocks that stay after each run: what of a recording is about them.

Caches fill, and what the last run made the next one replaces. So one run more
is recorded than counts, the loop leaves a mark after each, and only stacks that
left a block behind in each of the runs that count are kept. Works on literal
records, in any interpreter.
"""

from .recording import Alloc, Free


def stayed(recording):
    """Return [(position, Alloc)] of the blocks that were not freed."""
    living = {}
    for position, event in enumerate(recording.events):
        if isinstance(event, Alloc):
            living[event.address] = position, event
        elif isinstance(event, Free):
            living.pop(event.address, None)
    return list(living.values())


def keep_leaked(recording, marks):
    """Reduce the events to the Allocs of blocks that leaked, in place.

    marks -- addresses of blocks that the loop allocated after each run. What
             follows the last of them does not count
    """
    allocs = stayed(recording)
    ends = sorted(position for position, event in allocs
                  if event.address in marks)
    groups = {}                 # stack -> {run: [Alloc]}
    for position, event in allocs:
        run = sum(end < position for end in ends)
        if run < len(ends) and event.address not in marks:
            stack = tuple(frame.pc for frame in event.frames)
            groups.setdefault(stack, {}).setdefault(run, []).append(event)
    recording.events[:] = [
        event for of_run in groups.values() if len(of_run) == len(ends)
        for events in of_run.values() for event in events]
