"""Which places in memory the references are in, and whose each place is.

The recorder finds words that have an object; which of the references to it is
there follows from when the word was found, and from who had the reference.
"""

import re

from .calls import EVAL, in_common
from .functions import is_allocator
from .lives import Step, homeless
from .matching import CLEARED, consume
from .recording import Change, Gone, Return, Shifted, Stored, is_burial
from .roles import ALLOCATORS, CALLS
from .weak import WeakPlaces

# So many fields are set at once, and counted afterwards.
MAX_FIELDS = 16

# Blocks that this function frees were no container's any more.
# free_list_items() frees those of a list.
FREE_LIST = re.compile(r'\w*(freelist|free_lists?$)', re.I)

# tp_flags: of objects that have something in front of them.
PREHEADER = 1 << 3 | 1 << 4
HAVE_GC = 1 << 14
# How many bytes that are: of a type without, with one of them, with both.
HEADERS = 0, 16, 32

# The offset of ob_type in an object, in bytes.
OB_TYPE = 8


def is_head(token, stored, types):
    """Is the object a type, and the place the ob_type of a new instance, which
    was not complete when the place was found?"""
    return (not stored.base_type and bool(token.calls)
            and token.calls[0].function in ALLOCATORS
            and token.life.address in types)


def places_of(event):
    """Return the places that an event tells of."""
    if isinstance(event, Return):
        return event.places
    return (event,) if isinstance(event, (Stored, Shifted)) else ()


def header_size(place, types):
    """Return how many bytes are in front of an object in its block of memory,
    that of a place; see _PyType_PreHeaderSize()."""
    flags = types[place.base_type].flags if place.base_type in types else 0
    return (16 if flags & PREHEADER else 0) + (16 if flags & HAVE_GC else 0)


def frees(release, calls):
    """Does the function that gave a reference back free a block, by itself or
    in a helper, on the stack `calls`? The evaluation loop calls everything."""
    giver = release.calls[0] if release.calls else None
    return (giver is not None and giver.function != EVAL
            and giver.slot == release.giver)


class Places:
    """The places that hold the objects of a recording.

    flow -- a tokens.Flow: of its recording, calls and slots
    living, tokens -- its {address: Life} and {number: Token}, which grow
    generators -- addresses of types whose objects have a frame in themselves
    """

    def __init__(self, flow, symbols, living, tokens, generators):
        self._recording = flow.recording
        self._calls = flow.calls
        self._slots = flow.slots
        self._living = living
        self._tokens = tokens
        self._generators = generators
        self._weak = WeakPlaces(flow.recording, symbols)
        # address -> {location: (index, Stored)}: words that are no token's for
        # sure. index: of the event if it was given to a token for want of a
        # better one, else -1.
        self._unclaimed = {}
        # Locations of those in frames that generators have in themselves.
        self._frame_words = set()
        # In what places are, at one time or another.
        self._bases = {place.base for event in flow.recording.events
                       for place in places_of(event)}

    def found_at(self, event):
        """Return {number of a token: [Place]} of a Return, without those
        that own nothing, and the set of the numbers of these."""
        places, weak = {}, set()
        for place in event.places:
            token = self._tokens.get(place.token)
            in_frame = self._notes_frame(place)
            if self._is_claimed(place) or (
                    in_frame and token is not None and not token.is_of_loop()):
                continue
            if token is not None and self._weak.add(place, token.life):
                weak.add(place.token)
            else:
                places.setdefault(place.token, []).append(place)
        return places, weak - places.keys()

    def claim(self, token, slot):
        """Return the Stored of a place that the function which ends with a
        token, at `slot`, left it in, though it is no new one at the end; or
        None.

        It was found while the function had the token, and given to another one
        for want of a better. Or it was set right before the function took the
        token: a table is copied as a whole, and then counted item by item.
        """
        unclaimed = self._unclaimed.get(token.life.address, {})
        before = self.set_before(token) if token.is_takers(slot) else []
        for index, stored in reversed(unclaimed.values()):
            if index > token.index or stored in before:
                del unclaimed[stored.location]
                return stored
        return before[0] if before else None

    def occupy(self, token, stored):
        """Let a token be in a place that it claimed, a Stored."""
        other = token.life.by_location.get(stored.location)
        if other is not None:
            other.forget(stored)
        if is_head(token, stored, self._recording.types):
            stored = stored._replace(base=stored.location - OB_TYPE,
                                     base_type=token.life.address)
        self.put(token, stored)
        token.claimed = Step('stored', stored, None)
        token.steps.append(token.claimed)

    def _is_claimed(self, place):
        """Did another token claim a place that the recorder still knows to be
        that of its token?"""
        token = self._tokens.get(place.token)
        other = token and token.life.by_location.get(place.location)
        return bool(other and other is not token and other.claimed is not None
                    and other.claimed.event.location == place.location)

    def set_before(self, token):
        """Return the places that were set right before a token was taken, and
        are no other's: a list of Stored.

        Such a place is given to a token that was there by then. That one has
        no claim as long as an activation has it: each reference is in one
        place. But what the same activation took before it has stored since.
        """
        unclaimed = self._unclaimed.get(token.life.address, {})
        located = token.life.by_location
        taker = token.calls[0].slot if token.calls else None
        return [stored for stored in self._found_before(token)
                if unclaimed.get(stored.location, (0, None))[1] is stored
                or (other := located.get(stored.location)) is not None
                and other.places.get(stored.location) is stored
                and (other.holder is not None or other.released is not None)
                and not other.is_takers(taker)
                and not (other.is_of_loop() and self._is_in_tuple(stored))]

    def _is_in_tuple(self, stored):
        """Is a place in a tuple? Nobody but who makes it fills it; and what
        the evaluation loop puts there it tells nobody."""
        return self._recording.type_name(stored.base_type) == 'tuple'

    def _found_before(self, token):
        """Return the places that were found by the hook that took a token, and
        by hooks of the same activation right before, a list of Stored: several
        fields are set at once, and then counted one by one."""
        found = []
        changes = 0
        taker = token.calls[0].slot if token.calls else None
        for index in range(token.index - 1, -1, -1):
            event = self._recording.events[index]
            changes += isinstance(event, Change)
            if (changes > MAX_FIELDS
                    or not isinstance(event, (Stored, Gone, Change))):
                break
            calls = self._calls.of(event.frames)
            if not calls or calls[0].slot != taker:
                break
            if (isinstance(event, Stored)
                    and event.address == token.taken.address):
                found.append(event)
        return found

    def is_set_before(self, token, event):
        """Was a place set right before a token was taken, by the activation
        that ends now? Then a word of the stack that has the object is an old
        one: objects that many use, as types, are in many words."""
        return (token.life.born is None and bool(token.calls)
                and token.calls[0].slot == event.slot
                and bool(self.set_before(token)))

    def is_in_frame(self, place):
        """Is a place a variable or a word of the value stack of Python code, in
        the frame that a generator has in itself? Only the evaluation loop has
        references there. And it leaves words behind that are none any more."""
        return (place.base_type in self._generators
                and place.location - place.base
                >= self._recording.types[place.base_type].basicsize)

    def _notes_frame(self, place):
        """The same; it is known from now on."""
        in_frame = self.is_in_frame(place)
        if in_frame:
            self._frame_words.add(place.location)
        return in_frame

    def put(self, token, place):
        """Let a token be in a place; another one if it is in one already."""
        if token.places and place.location not in token.places:
            # One reference is in one place: this is that of another token.
            token = next(homeless(token.life), token)
        self._unclaimed.get(token.life.address, {}).pop(place.location, None)
        # A place is found for one of the object's tokens, and may have been
        # known for another.
        old = token.life.by_location.get(place.location)
        if old is not None and old is not token:
            old.places.pop(place.location, None)
        token.life.by_location[place.location] = token
        token.places[place.location] = place
        token.taken_out = None
        token.forgotten = False

    def stored(self, index, event):
        """A word was found that has an object, a Stored."""
        token = self._tokens.get(event.token)
        if token is not None and self._weak.add(event, token.life):
            return
        in_frame = self._notes_frame(event)
        guessed = token is not None and token.released is not None
        if token is not None and in_frame and not token.is_of_loop():
            token = next((other for other in homeless(token.life)
                          if other.is_of_loop()), None)
        elif guessed:
            # Found for the newest token: another one has it.
            token = next(homeless(token.life, self._calls.of(event.frames)),
                         None)
        elif token is not None and token.is_lost():
            # The function that kept it returned another one.
            token = next((other for other in homeless(token.life)
                          if other.holder is not None), token)
        if token is not None:
            if token.supposed is not None:
                # Where a word of the stack was, memory was not searched.
                token.forget(token.supposed)
                token.supposed = None
            self.put(token, event)
            token.add('stored', event)
        is_block = event.base and not event.base_type
        if in_frame:
            return              # nobody else claims it
        if guessed or is_block and (token is None or token.holder is None):
            # Somebody else may claim it; see claim().
            places = self._unclaimed.setdefault(event.address, {})
            places[event.location] = index if guessed else -1, event

    def shifted(self, index, event):
        """What was in memory that grows is elsewhere, and whose it was."""
        if self._weak.move(event):
            return
        unclaimed = self._unclaimed.get(event.address, {})
        if event.before in unclaimed:
            found, _ = unclaimed.pop(event.before)
            unclaimed[event.location] = found, event
        life = self._living.get(event.address)
        token = life and (life.by_location.pop(event.before, None)
                          or self._tokens.get(event.token))
        if token:
            token.places.pop(event.before, None)
            life.by_location[event.location] = token
            token.places[event.location] = event
            token.add('shifted', event)

    def moved_block(self, index, event):
        """All that was in a block of memory is elsewhere, a MovedBlock."""
        if self._bases.isdisjoint(event.source + size for size in HEADERS):
            return              # of objects that were thinned out
        known = self._weak.known()
        for life in self._living.values():
            places = [place for token in life.open
                      for place in token.places.values()]
            places += [place for _, place in
                       self._unclaimed.get(life.address, {}).values()]
            known.update(((life.address, place.location), place)
                         for place in places)
        by = event.to - event.source
        for (address, location), place in known.items():
            header = header_size(place, self._recording.types)
            if place.base - header == event.source:
                self._bases.add(place.base + by)
                self.shifted(index, Shifted(
                    event.thread, place.token, address, location,
                    location + by, place.base + by, place.base_type, ()))

    def gone(self, index, event):
        """A place has something else now, or its memory was given back."""
        if self._weak.drop(event):
            return
        in_frame = event.location in self._frame_words
        self._frame_words.discard(event.location)
        self._unclaimed.get(event.address, {}).pop(event.location, None)
        life = self._living.get(event.address)
        token = life and (life.by_location.pop(event.location, None)
                          or self._tokens.get(event.token))
        if token:
            place = token.places.pop(event.location, None)
            last = life.releases[-1] if life.releases else None
            if (last is not None and last.token is None and last.is_last(life)
                    and token.released is None
                    and event.previous_object == event.address):
                # Given back first, and then cleared.
                consume(token, last, (CLEARED, 0, 0, token.index))
                life.open.remove(token)
                return
            if is_burial(event) and self._held_nothing(event, place):
                return
            token.vanished = event
            token.vanished_in = self._calls.of(event.frames)
            if (token.claimed is not None and not is_burial(event)
                    and not token.claimed.event.base_type
                    and token.claimed.event.location == event.location):
                token.disclaim()
                return
            if is_burial(event) and place is not None and not place.base_type:
                token.buriers = self._buriers(life, index, token.vanished_in)
            if in_frame and not (is_burial(event) and token.is_of_frame()):
                return          # the loop moved it, and told nobody
            token.gone.append(event)
            token.add('gone', event)
            self._was_emptied(token, event)

    def _held_nothing(self, gone, place):
        """Was what is freed no container, though the object was in it?

        On a free list it holds a stale word since its object died. And a block
        in which a call's arguments are copied has no references of its own.

        place -- where it was, as far as that is known, or None
        """
        calls = self._calls.of(gone.frames)
        if any(FREE_LIST.match(call.function) for call in calls):
            return True
        is_block = place is not None and not place.base_type
        freeing = next((c for c in calls if not is_allocator(c)), None)
        return is_block and freeing is not None and freeing.function in CALLS

    def _buriers(self, life, index, calls):
        """Return the releases of an object by an activation that has not ended
        since, and is about to free a block: the event has this index, and the
        stack is `calls`. What dies gives up what is in its block, and then
        the block; so does a function that empties what lives on."""
        found = []
        events = self._recording.events
        for release in reversed(life.releases):
            if not ((release.extents or frees(release, calls))
                    and release.is_in(calls)
                    and all(release.is_in(self._calls.of(event.frames))
                            for event in events[release.index:index]
                            if isinstance(event, (Change, Stored, Gone)))):
                break
            found.append(release)
            index = release.index
        return tuple(found)

    def _running(self, gone):
        """Return the innermost Call that was running both before and after a
        place got something else, or None."""
        return next(iter(in_common(self._calls.of(gone.previous),
                                   self._calls.of(gone.frames))), None)

    def _was_emptied(self, token, gone):
        """A place in which a token was has something else now.

        If it was cleared, or its memory given back, by its object as that gave
        up what it held, the reference was given back there or nowhere. A
        generator hands what it holds to the object of its frame, perhaps.
        """
        type = self._slots.base_type(token, gone)
        token.taken_out = (self._running(gone)
                           if type and not gone.now and not gone.flags else None)
        token.forgotten = bool(type) and type not in self._generators and (
            is_burial(gone) or bool(self._slots.clearers(token, gone)))
