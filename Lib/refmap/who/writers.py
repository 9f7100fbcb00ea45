"""Which functions write a field, as their machine code says.

For a field that was written while nothing was counted: then no stack tells by
whom. Only stores of a pointer to a fixed offset from a register are known, in
code for x86-64; who writes an element of an array is not among them.
"""

import re
from collections import namedtuple

# callees -- names of the functions that are called
# cleared, set -- offsets at which NULL is stored, or another pointer
Code = namedtuple('Code', 'callees cleared set')

# In the output of objdump.
_HEAD = re.compile(r'^[0-9a-f]+ <([^>]+)>:$', re.M)
_CALL = re.compile(r'\s(?:call|jmp)q?\s+[0-9a-f]+ <([^>+]+)>')
_STORE = re.compile(r'\smovq?\s+(\$0x0|%r(?:[a-d]x|[sd]i|bp|\d+)),'
                    r'0x([0-9a-f]+)\(%r(?:[a-d]x|[sd]i|\d+)\)')


def parse(text, base_name):
    """Return {function: Code} of the output of objdump -d.

    base_name -- makes the name of a function of that of a symbol
    """
    pieces = _HEAD.split(text)
    found = {}
    for symbol, code in zip(pieces[1::2], pieces[2::2]):
        stores = _STORE.findall(code)
        found[base_name(symbol)] = Code(
            frozenset(map(base_name, _CALL.findall(code))),
            frozenset(int(offset, 16) for value, offset in stores
                      if value == '$0x0'),
            frozenset(int(offset, 16) for value, offset in stores
                      if value != '$0x0'))
    return found


def of_field(codes, offset, null):
    """Return the names of those of the functions that write a field.

    codes -- {function: Code}
    offset -- of the field
    null -- was it set to NULL? That a register has NULL is not seen: who
            stores one comes after those who store a NULL for sure
    """
    sure = [name for name, code in codes.items()
            if offset in (code.cleared if null else code.set)]
    perhaps = [name for name, code in codes.items()
               if null and offset in code.set and name not in sure]
    return sure + perhaps
