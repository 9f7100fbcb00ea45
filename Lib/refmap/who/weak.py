"""Places that have the address of an object, and no reference to it: those of
weak references.
"""

# tp_name of the types of weak references, and the offset of wr_callback: of
# what they have of their own it alone owns what it refers to.
WEAK = frozenset(('weakref.ReferenceType', 'weakref.ProxyType',
                  'weakref.CallableProxyType'))
HEAD, CALLBACK = 16, 24


def bases(address, types):
    """Yield the type at an address and its bases, as far as they are known.

    types -- {address: Type}
    """
    while (type := types.get(address)) is not None:
        yield type
        address = type.base


def weak_type(address, types):
    """Return the type of weak references that a type is, or derives from, or
    None."""
    return next((type for type in bases(address, types) if type.name in WEAK),
                None)


def is_weak(place, type_of_object, types, symbols):
    """Does a place in an object not own what it refers to? That is so for the
    fields of a weak reference, and for the one in which an object has the list
    of its weak references."""
    if not place.base_type:
        return False
    offset = place.location - place.base
    weak = weak_type(place.base_type, types)
    if weak is not None:
        return HEAD <= offset < weak.basicsize and offset != CALLBACK
    return weak_type(type_of_object, types) is not None and any(
        'weak' in (symbols.field(type, offset, types) or '')
        for type in bases(place.base_type, types) if offset < type.basicsize)


class WeakPlaces:
    """The places in a recording that own nothing, as far as they are known."""

    def __init__(self, recording, symbols):
        self._types = recording.types
        self._symbols = symbols
        self._known = {}            # (address of the object, location): place

    def add(self, place, life):
        """Does a place that was found for an object own nothing? Then it is
        known from now on."""
        found = is_weak(place, life.type, self._types, self._symbols)
        if found:
            self._known[life.address, place.location] = place
        else:
            self._known.pop((life.address, place.location), None)
        return found

    def known(self):
        """Return {(address of the object, location): place}."""
        return dict(self._known)

    def move(self, shifted):
        """Was it such a place that moved?"""
        if not self.drop(shifted._replace(location=shifted.before)):
            return False
        self._known[shifted.address, shifted.location] = shifted
        return True

    def drop(self, gone):
        """Was it such a place that changed?"""
        return self._known.pop((gone.address, gone.location), None) is not None
