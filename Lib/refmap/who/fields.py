"""Fields that are set before the reference for them is taken.

Code like

    PyArg_ParseTuple(args, "O", &self->field);
    Py_INCREF(self->field);

stores first and counts afterwards. So the field is found at the very hook that
takes the reference, and is nobody's by then; when the function returns there
is no new place that the reference could be in.
"""

from itertools import islice

from .recording import FREED, Change, Gone, Stored

# Ends of a token's way that say nothing against its being in such a field: it
# was found nowhere, nothing was searched, or there is another word, perhaps a
# stale one, that has the object.
ENDS = 'nowhere', 'unknown', 'memory'


def adopt(events, lives, is_in_frame, is_giving_up):
    """Give lost tokens the fields that were overwritten, in place.

    is_in_frame -- is a Stored a word of the frame of a generator? It is no
                   field then
    is_giving_up -- as of Slots

    A token is such a field's if it was taken when the field was found, if
    nothing else is known of where it went, and if the field got another value
    and the object lost no reference by that. Otherwise there would be two lost
    references: the field's and the token's. Who empties a field may have moved
    the reference elsewhere, unless its object gives up all that it holds.
    """
    for life in lives:
        for token in life.left():
            if token.steps and token.steps[-1].what in ENDS:
                for field in set_before(events, token):
                    if is_in_frame(field):
                        continue
                    gone = overwriting(events, token, field)
                    if gone is not None and (not is_emptying(gone)
                                             or is_giving_up(gone, field)):
                        give(token, field, gone)
                        break


def set_before(events, token):
    """Return the fields that were found by the hook that took a token, a list
    of Stored."""
    return [event for event in found_with(events, token) if event.base_type]


def found_with(events, token):
    """Return the places that were found by the hook that took a token, a list
    of Stored."""
    found = []
    for index in range(token.index - 1, -1, -1):
        event = events[index]
        if not isinstance(event, (Stored, Gone)):
            break
        if (isinstance(event, Stored)
                and event.address == token.taken.address
                and event.frames is token.taken.frames):
            found.append(event)
    return found


def overwriting(events, token, field):
    """Return the Gone by which a field got another value while the object kept
    its references; None if that was not so."""
    gone = None
    for event in islice(events, token.index + 1, None):
        if getattr(event, 'address', None) != field.address:
            continue
        if gone is None and isinstance(event, Gone):
            if event.location == field.location:
                gone = event
                if is_anothers(token, gone):
                    return None
        elif gone is not None and isinstance(event, Change):
            return gone if event.n > 0 else None
    return gone


def is_emptying(gone):
    """Was the field emptied, or its memory given back?"""
    return gone.now in (0, FREED) or bool(gone.flags)


def is_anothers(token, gone):
    """Was the field that of another token, which is lost, too, or was given
    up with the field?"""
    # Records of several runs may be equal.
    return any(gone is its for other in token.life.tokens
               if other is not token and (other.released is None
                                          or is_emptying(gone))
               for its in other.gone)


def give(token, field, gone):
    """Let a token have been in a field until that was overwritten."""
    for location in token.places:
        token.life.by_location.pop(location, None)
    token.places.clear()
    token.steps.pop()
    token.add('stored', field)
    token.gone.append(gone)
    token.add('gone', gone)
