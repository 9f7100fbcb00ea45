"""Python types: their names, and what their objects look like."""

from .layout import FLAG_HEAPTYPE, FLAG_TYPE, KEYS_NAME, UNKNOWN_NAME
from .limits import MAX_NAME
from .wording import escape_controls

# Stand for a type's address where there is none.
UNKNOWN_TYPE = 0
KEYS_TYPE = -1


class TypeInfo:
    """A Python type: its name, and how large its objects are."""

    def __init__(self, name, address=0, **fields):
        self.name = name
        self.address = address
        self.basicsize = fields.get('tp_basicsize', 0)
        self.itemsize = fields.get('tp_itemsize', 0)
        self.flags = fields.get('tp_flags', 0)
        self.weaklist = fields.get('tp_weaklistoffset', 0)
        self.dictoffset = fields.get('tp_dictoffset', 0)
        self.base = fields.get('tp_base', 0)
        self.members = fields.get('tp_members', 0)
        self.is_keys = False

    def is_builtin(self, *names):
        """Is this the static type of one of these names? Anybody may give
        the name to a class, too."""
        return self.name in names and not self.flags & FLAG_HEAPTYPE


class TypeTable:
    """The types of objects, each looked at once."""

    FIELDS = ('tp_basicsize', 'tp_itemsize', 'tp_flags', 'tp_weaklistoffset',
              'tp_dictoffset', 'tp_base', 'tp_members')

    def __init__(self, target):
        """`target` is a Target."""
        self.target = target
        self.keys = target.layout.birth_keys
        self.known = {UNKNOWN_TYPE: TypeInfo(UNKNOWN_NAME),
                      KEYS_TYPE: TypeInfo(KEYS_NAME)}
        self.known[KEYS_TYPE].is_keys = True

    def __getitem__(self, address):
        """Return the TypeInfo of a type object's address, never None."""
        info = self.known.get(address)
        if info is None:
            info = self.read(address) or self.known[UNKNOWN_TYPE]
            self.known[address] = info
        return info

    def read(self, address):
        """The type at `address`, None unless it looks like one.

        Its metatype must be a subclass of type; the interpreter asks no
        more."""
        form = self.target.struct('PyTypeObject')
        memory = self.target.memory
        data = memory.read(address, form.size)
        if data is None:
            return None
        meta = memory.read(self.target.struct('PyObject').get(data, 'ob_type'),
                           form.size)
        if meta is None or not form.get(meta, 'tp_flags') & FLAG_TYPE:
            return None
        name = self.name(form.get(data, 'tp_name'))
        if not name:
            return None
        fields = {field: form.get(data, field) for field in self.FIELDS}
        return TypeInfo(name, address, **fields)

    def name(self, address):
        """Return the name at an address, None if it is no UTF-8."""
        raw = self.target.memory.string(address) or b''
        if len(raw) == MAX_NAME:
            # The last character may be incomplete.
            raw = raw.decode('utf-8', 'ignore').encode()
        try:
            return escape_controls(raw.decode())
        except UnicodeDecodeError:
            return None

    def of_object(self, address, birth=0):
        """Return the TypeInfo of the object at `address`."""
        if birth & self.keys:
            return self.known[KEYS_TYPE]
        offset = self.target.struct('PyObject').offset('ob_type')
        return self[self.target.memory.word(address + offset) or UNKNOWN_TYPE]

    def of_objects(self, objects):
        """Return {address: type name} of many (address, birth)."""
        offset = self.target.struct('PyObject').offset('ob_type')
        names = {address: KEYS_NAME for address, birth in objects
                 if birth & self.keys}
        wanted = [address + offset for address, birth in objects
                  if not birth & self.keys]
        memory = self.target.memory
        for place, data, at in memory.records(wanted, 8):
            word = (UNKNOWN_TYPE if data is None
                    else memory.word_format.unpack_from(data, at)[0])
            names[place - offset] = self[word].name
        return names
