"""Which functions work on the objects of a type: those that fill its slots and
should release what the objects hold, and those that write their fields.
"""

import re

from .calls import Call
from .functions import GIVES_UP, MAKES, is_allocator, source_of
from .owners import is_of_base
from .roles import is_transparent

# What a function calls that gives up references.
RELEASES = frozenset('''
    Py_DECREF Py_XDECREF Py_DecRef _Py_DecRef _Py_Dealloc Py_CLEAR Py_SETREF
    Py_XSETREF _Py_DECREF_SPECIALIZED _Py_DECREF_NO_DEALLOC
    '''.split())
# Calls the tp_clear of what is unreachable, and counts nothing else.
COLLECTOR = 'delete_garbage'
# Bytes at the start of each object, of which the base of all types has no
# function to give anything up.
OBJECT_HEAD = 16
# The flag of a type that is allocated, and of one whose instances have the values
# of their dict in themselves, behind the C structure.
HEAP_TYPE = 1 << 9
INLINE_VALUES = 1 << 2
# Who gives up these values, and who calls it.
CLEARS_VALUES = 'set_dict_inline_values'
CLEARS_DICT = 'PyObject_ClearManagedDict'
# What fills a slot is named by the type and the slot.
SLOT_NAME = re.compile(r'(\w{2,}?_?)(?:tp_)?(?:dealloc|traverse|clear)')


class Slots:
    """The functions of the types in a recording.

    flow -- a tokens.Flow
    """

    def __init__(self, flow, symbols):
        self.recording = flow.recording
        self.calls = flow.calls
        self.symbols = symbols

    def implementing(self, address):
        """Return the type whose C function gives up what an object of a type
        holds, or None: of a class of Python code that is the first base whose
        tp_dealloc is not the generic one."""
        type = self.recording.types.get(address)
        while type is not None:
            if (not type.dealloc or self.symbols.function(type.dealloc).function
                    != 'subtype_dealloc'):
                return type
            type = self.recording.types.get(type.base)
        return None

    def structure(self, token, gone):
        """Return the type whose C structure has the field in which a token
        was, or None. Slots of a class of Python code, its dict and inline
        values are before an object or behind that structure."""
        type = self.implementing(self.base_type(token, gone))
        offset = gone.location - gone.base
        if type is not None and (offset < 0 or not type.itemsize
                                 and 0 < type.basicsize <= offset):
            return None
        return type

    def owner(self, token, gone):
        """Return the type whose C functions give up the field in which a token
        was, or None: that of the base whose part of the object has it, or the
        class that added it."""
        types = self.recording.types
        type = self.structure(token, gone)
        if type is None:
            return types.get(self.base_type(token, gone))
        offset = gone.location - gone.base
        while (offset >= OBJECT_HEAD and type.base in types
               and is_of_base(type, offset, self.symbols, types)):
            type = types[type.base]
        return type

    def slot_call(self, address):
        """Return the function at an address as a Call, or None."""
        if not address:
            return None
        site = self.symbols.function(address)
        return Call(site.function, site.file, site.line, 0)

    def home(self, base_type):
        """Return the file that defines a type, or None."""
        return self.file_of(self.implementing(base_type))

    def file_of(self, type):
        """Return the file of the tp_dealloc of a type, if there is one."""
        call = type and self.slot_call(type.dealloc)
        return call.file if call else None

    def slots_of(self, base_type):
        """Return the names of a type's tp_clear and tp_dealloc."""
        type = self.implementing(base_type)
        slots = (type.clear, type.dealloc) if type is not None else ()
        return {self.symbols.function(slot).function for slot in slots if slot}

    def callees(self, call):
        """Return the names of the functions that a function calls; empty where
        that is not known."""
        return frozenset().union(*(
            self.symbols.callees(start)
            for start, _ in self.symbols.ranges([call.function])))

    def gives_up(self, call):
        """Does a function give up references itself, as far as is known?"""
        return not RELEASES.isdisjoint(self.callees(call))

    def helpers(self, call):
        """Return the functions that a function calls to give something up, as
        their names say and their code does: those of the same file, in a list.
        Where nothing was given back no stack has them."""
        return [helper for name in sorted(self.callees(call))
                if GIVES_UP.search(name)
                for helper in self.named(name)[:1]
                if helper.file == source_of(call) and self.gives_up(helper)]

    def releases_nothing(self, call):
        """Does a function give up no reference, as far as is known?"""
        return bool(self.callees(call)) and not self.gives_up(call)

    def first_words(self, type):
        """Return how the functions of a type begin, a tuple: its dealloc and
        traverse functions tell, as in 'deque_dealloc'. ('',): any may."""
        names = [self.symbols.function(slot).function for slot in
                 (type.dealloc, type.traverse, type.clear) if slot]
        return tuple(match[1] for name in names
                     if (match := SLOT_NAME.fullmatch(name))) or ('',)

    def calls_clear(self, type):
        """Does a type's tp_dealloc call its tp_clear? None: not known."""
        names = self.symbols.callees(type.dealloc)
        if not names:
            return None
        return self.symbols.function(type.clear).function in names

    def base_type(self, token, gone):
        """Return the type of the object in which a token was, or 0."""
        for step in token.steps:
            for place in getattr(step.event, 'places', (step.event,)):
                if (getattr(place, 'location', None) == gone.location
                        and getattr(place, 'base_type', 0)):
                    return place.base_type
        return 0

    def of_the_type(self, calls, home, type):
        """Return who may have written over a field, those first that are
        known to work on the structure it is in: they have a variable for it.
        Where debug information does not tell, those first of the type's file
        that are named as its own functions are."""
        names = dict.fromkeys(call.function for call in calls
                              if call.file == home)
        if type is None or len(names) < 2:
            return calls
        known = self.symbols.working_on(names, type, self.recording.types)
        words = self.first_words(type)
        return sorted(calls, key=lambda call: (call.file != home, not (
            call.function in known if known
            else call.function.startswith(words))))

    def writers(self, token):
        """Return who writes the field in which a token was, as the machine
        code of the type's file says. That is for where no function of that
        file was seen, as nothing was counted while the field was written.

        Not who makes objects: the field was not new. And the type's tp_clear
        and tp_dealloc come last: they would have been seen.
        """
        gone = token.last_gone()
        type = self.structure(token, gone)
        if type is None or not gone.base:
            return []
        sites = self.symbols.writers(type.dealloc, gone.location - gone.base,
                                     not gone.now)
        calls = [Call(site.function, site.file, site.line, 0)
                 for site in sites if not MAKES.search(site.function)]
        names = [call.function for call in calls]
        known = self.symbols.working_on(names, type, self.recording.types)
        slots = self.slots_of(self.base_type(token, gone))
        return sorted((call for call in calls
                       if call.function in known or not known),
                      key=lambda call: call.function in slots)

    def writers_first(self, token, calls):
        """Return calls, those first that write the field in which a token was,
        as far as machine code tells, with what was inlined into them."""
        names = {call.function for call in self.writers(token)}
        slots = {call.slot for call in calls if call.function in names}
        return sorted(calls, key=lambda call: call.slot not in slots)

    def called_writers(self, token, seen):
        """Return who writes the field in which a token was and was called by
        one of those that were seen, those of the innermost first. Nothing was
        counted in it, so that no stack has it. Empty if one of those that were
        seen writes the field itself."""
        writers = {call.function: call for call in self.writers(token)}
        if any(call.function in writers for call in seen):
            return []
        return [writers[name] for call in seen
                for name in sorted(self.callees(call) & writers.keys())]

    def unseen(self, token):
        """Return who wrote the field in which a token was, for where no
        function of its type was seen. What has come to its end gives up what
        it goes through, and often does nothing else then: so the type's
        tp_iternext comes first, as long as it is known to write the field, or
        nobody is. Where the field got another object, who stored the first one
        is the next: a setter writes over whatever is there."""
        writers = self.writers(token)
        names = [call.function for call in writers]
        ends = [call for call in self.iterators(token)
                if not names or call.function in names]
        if token.last_gone().now:
            stored = {call.function for call in token.at(token.last_slot())}
            writers.sort(key=lambda call: call.function not in stored)
        return ends + writers

    def iterators(self, token):
        """Return the tp_iternext of the object whose field became NULL, in a
        list, after its part that runs with the object locked. Empty if the
        object is no iterator."""
        gone = token.last_gone()
        base_type = self.base_type(token, gone)
        type = self.implementing(base_type)
        if gone.now or type is None or not type.iternext:
            return []
        call = self.slot_call(type.iternext)
        # The part that runs with the object locked is named like this.
        inner = call.function + '_lock_held'
        if inner in self.symbols.callees(type.iternext):
            return [call._replace(function=inner), call]
        return [call]

    def clearers(self, token, gone):
        """Return who made a field NULL while its object was being cleared, or
        died: nobody but the type's tp_clear, or its tp_dealloc where that does
        not call it, knows the field then. Empty if it was not so."""
        type = self.owner(token, gone)
        if gone.now or type is None:
            return []
        values = self.clearing_values(token, gone)
        if self.is_collected(gone):
            return values + self.giving_up(type)
        slots = values + self.giving_up(type, self.calls_clear(type) is False)
        names = self.slots_of(self.base_type(token, gone))
        names.update(call.function for call in slots)
        return slots if names & self.running(gone) else []

    def running(self, gone):
        """Return the names of the functions on the stacks before and after a
        place got something else."""
        return {call.function for frames in (gone.previous, gone.frames)
                for call in self.calls.of(frames)}

    def is_giving_up(self, gone, field):
        """Was a field emptied while its object gave up what it held?

        field -- the Stored that tells of the object
        """
        return (self.is_collected(gone) or not self.running(gone).isdisjoint(
            self.slots_of(field.base_type)))

    def clearing_values(self, token, gone):
        """Return who gives up the values of a dict that are in the instance
        itself, if a token was in one of these and the type's tp_dealloc calls
        that function, innermost first; else an empty list."""
        type = self.recording.types.get(self.base_type(token, gone))
        if (type is None or not type.flags & INLINE_VALUES
                or gone.location - gone.base < type.basicsize
                or CLEARS_DICT not in self.symbols.callees(type.dealloc)):
            return []
        return self.named(CLEARS_VALUES) + self.named(CLEARS_DICT)

    def named(self, function):
        """Return the functions of a name, in a list of Calls."""
        return [self.slot_call(start)
                for start, _ in self.symbols.ranges([function])]

    def is_collected(self, gone):
        """Did the collector clear an object between the hooks before and after
        a field of it was emptied? The one after is about that object then."""
        calls = self.calls.of(gone.frames)
        return (bool(calls) and calls[0].function == COLLECTOR
                and gone.object == gone.base)

    def giving_up(self, type, reverse=False):
        """Return the tp_clear and the tp_dealloc of a type, those that it has,
        or the other way round."""
        slots = (type.dealloc, type.clear) if reverse else (type.clear,
                                                            type.dealloc)
        return [call for call in map(self.slot_call, slots) if call]

    def last_owners(self, address):
        """Return who should release the type at an address when one of its
        instances dies: of a class of Python code that is the tp_dealloc of
        its base, if that is a heap type, too, and else subtype_dealloc()."""
        type = self.recording.types[address]
        base = self.implementing(address)
        owners = [type, base]
        if base is not None and base.flags & HEAP_TYPE:
            owners.reverse()
        return [call for owner in owners if owner is not None
                and (call := self.slot_call(owner.dealloc)) is not None]

    def undertakers(self, token):
        """Return who should have released what a dead container held."""
        gone = token.last_gone()
        type = self.owner(token, gone)
        if type is None:
            # Memory that is no object, the keys of a dict for example: whoever
            # gave it back, but for a function that gives back memory and
            # nothing else. It does not know what is in it.
            calls = [call for call in self.calls.of(gone.frames)
                     if not is_allocator(call)]
            if len(calls) > 1 and self.releases_nothing(calls[0]):
                calls[:2] = calls[1::-1]
            if not calls:
                return []
            # Who gives up something itself knows what it frees.
            known = 1 if self.gives_up(calls[0]) else 2
            return (self.burying(gone, calls[:1])[:-1]
                    + self.emptying(calls[0]) + calls[:known])
        found = (self.clearing_values(token, gone)
                 + self.giving_up(type, self.calls_clear(type) is False))
        return self.burying(gone, found) + found

    def emptying(self, call):
        """Return the tp_clear of the type that a function is the tp_dealloc of
        and that calls it, in a list: it empties the blocks of memory which
        the tp_dealloc then gives back."""
        for type in self.recording.types.values():
            if (type.clear and type.dealloc
                    and self.slot_call(type.dealloc).function == call.function
                    and self.calls_clear(type)):
                return [self.slot_call(type.clear)]
        return []

    def burying(self, gone, slots):
        """Return the functions that gave up something else that the container
        held, when it died: that function forgot this one.

        slots -- the container's tp_clear and tp_dealloc, or who gave back the
                 block that was the container
        The hook before is in one of these, or in a function that they call for
        parts of the container. What runs in another _Py_Dealloc() within is
        about other objects; and that the container was freed tells nothing.
        """
        names = {call.function for call in slots}
        found = []
        for call in self.calls.whole(gone.previous)[::-1]:  # outermost first
            if call.function in names or found:
                found.append(call)
        for position, call in enumerate(found):
            if call.function == '_Py_Dealloc':
                del found[position:]
                break
        if found and is_allocator(found[-1]):
            return []
        return [call for call in found[::-1]
                if not is_transparent(call.function)]
