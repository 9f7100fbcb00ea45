"""The interpreters of a process, and their totals."""

from .errors import RefmapError, RefmapUnreadable
from .memory import signed


class InterpreterInfo:
    """What an interpreter says of itself."""

    def __init__(self, process, address):
        def get(path):
            return process.get('PyInterpreterState', address, path)
        self.address = address
        self.id = get('id')
        self.map = get('object_state.refmap')
        self.total = get('object_state.reftotal') + self.hot_total(process)
        self.threads = get('threads.head')

    def hot_total(self, process):
        """The summands of the total that are kept in the map."""
        hot = process.get('struct _refmap_state', self.map, 'hot')
        if process.get('_PyRefMap_hot', hot, 'owner') != self.address:
            return 0
        form = process.struct('_PyRefMap_hot')
        words = process.memory.words(hot + form.offset('totals'),
                                     form.field_size('totals') // 8)
        return sum(signed(word) for word in words)


def interpreters_of(process):
    """Return [InterpreterInfo], the main interpreter first."""
    runtime = process.symbol('_PyRuntime')
    if runtime is None:
        raise RefmapError('The symbol _PyRuntime is missing.')
    try:
        head = process.get('_PyRuntimeState', runtime, 'interpreters.head')
    except RefmapUnreadable:
        raise RefmapError("The interpreter's state can't be read: is this "
                          "the executable that the core is of?") from None
    found = [InterpreterInfo(process, address) for address in
             process.chain('PyInterpreterState', head, 'next',
                        'interpreters')]
    return sorted(found, key=lambda interp: interp.id)


def leftovers(process):
    """References counted for no living interpreter."""
    runtime = process.symbol('_PyRuntime')
    return (process.variable('_Py_RefTotal')
            + process.variable('last_final_reftotal')
            + process.get('_PyRuntimeState', runtime,
                       'object_state.interpreter_leaks'))
