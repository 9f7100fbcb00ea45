"""Where what is known of a stack ends.

A stack goes through functions without frame pointers by call frame
information. Code that has none of it ends the stack: its frame is the last
one, and has the slot 0. What that function and its callers did is not known,
so nobody is accused of a reference that went there.
"""


def end_of(frames):
    """Return the return address in the function that ended a stack early, or
    None."""
    return frames[-1].pc if frames and not frames[-1].slot else None


def way_out_of(life):
    """Return the return address in the function by which a reference of an
    object went out of what is known, or by which one came back; None if that
    is not so.

    If one did, it is not known which of the object's references is lost.
    """
    ways = [*map(leads_away, life.tokens),
            *(end_of(release.event.frames) for release in life.releases
              if not release.calls)]
    return next((pc for pc in ways if pc is not None), None)


def leads_away(token):
    """Return the same for one token."""
    for gone in token.gone[-1:]:
        # Who wrote over a place is told by the stacks before and after.
        for frames in gone.previous, gone.frames:
            if end_of(frames) is not None:
                return end_of(frames)
    end = end_of(token.taken.frames)
    if end is None:
        return None
    known = {call.slot for call in token.calls}
    went = [step.slot for step in token.steps
            if step.what in ('returned', 'stack')]
    return None if known and known.issuperset(went) else end


def sentence(symbols, pc):
    """Return what is to be said of a function that ended a stack.

    pc -- a return address in it
    """
    site = symbols.at(pc)[-1]
    where = f' ({site.file})' if site.file else ''
    return (f'the stack ends at {site.function}(){where}, which has neither '
            f'frame pointers nor call frame information: what it and its '
            f'callers did is not known')


def sentences(symbols, pcs):
    """Return sentence() for each function."""
    return sorted({sentence(symbols, pc) for pc in pcs if pc is not None})
