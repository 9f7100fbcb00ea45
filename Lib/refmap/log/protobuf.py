"""Messages of protocol buffers: what is needed to write a profile.

A field is its number and wire type, then the value. Of a message that is
bytes; fields that are 0, or empty, are left out, as in proto3.
"""

_VARINT, _LENGTH = 0, 2


def varint(number):
    """Return an integer, of 64 bits if it is negative."""
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def integer(field, number):
    """Return a field with an integer or a bool."""
    return varint(field << 3 | _VARINT) + varint(number) if number else b''


def data(field, value):
    """Return a field with bytes, or with a message, even an empty one."""
    return varint(field << 3 | _LENGTH) + varint(len(value)) + value


def packed(field, numbers):
    """Return a repeated field of integers."""
    value = b''.join(map(varint, numbers))
    return data(field, value) if value else b''
