"""The fields of records: numbers, addresses, texts; see Doc/log-format.md.

Who reads one beyond the end of the data gets an IndexError.
"""

from .kinds import LogError

# A bound that no record reaches, for files that are no logs.
MAX_RECORD = 1 << 26


def read_number(data, at):
    """Return (an unsigned number, where the next field is)."""
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    number = byte & 127
    shift = 7
    while byte >= 128:
        at += 1
        byte = data[at]
        number |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise LogError('a number in the log is too large')
    return number, at + 1


def read_signed(data, at):
    """Return (a number, where the next field is)."""
    number, at = read_number(data, at)
    return number >> 1 ^ -(number & 1), at


def read_numbers(data, at, count):
    """Return a list of `count` unsigned numbers, and where the next field
    is."""
    found = []
    for _ in range(count):
        number, at = read_number(data, at)
        found.append(number)
    return found, at


def read_address(data, at):
    """Return (an address, where the next field is)."""
    # If the record ends before the address does.
    data[at + 5]
    return int.from_bytes(data[at:at + 6], 'little'), at + 6


def read_bytes(data, at):
    """Return (the bytes of a text, where the next field is)."""
    length, at = read_number(data, at)
    if length > MAX_RECORD:
        raise LogError('a text in the log is too long')
    if length > len(data) - at:
        raise IndexError
    return bytes(data[at:at + length]), at + length


def read_text(data, at):
    """Return (a str, where the next field is)."""
    found, at = read_bytes(data, at)
    return found.decode(errors='backslashreplace'), at


class _Numbers(dict):
    """Unsigned numbers by their bytes."""

    def __missing__(self, encoded):
        number, _ = read_number(encoded, 0)
        if len(encoded) <= 2:
            self[encoded] = number
        return number


numbers_of = _Numbers()


class Encoded(dict):
    """What a table has, by the bytes of its number.

    table -- {number: what}
    """

    def __init__(self, table):
        super().__init__()
        self._table = table

    def __missing__(self, encoded):
        found = self[encoded] = self._table[numbers_of[encoded]]
        return found
