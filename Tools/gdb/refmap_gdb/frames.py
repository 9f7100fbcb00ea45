"""Interpreter frames: what their words are called, and which ones run."""

import contextlib

from .errors import RefmapError, RefmapUnreadable
from .interpreters import interpreters_of
from .layout import (FRAME_OF_C, FRAME_OF_GENERATOR, FRAME_OF_OBJECT,
                     GENERATOR_CLEARED)
from .values import TextReader

# What a word is called that lies where the stack of a running frame may be.
STALE = 'stack, perhaps stale'


class FrameReader:
    """Interpreter frames: of running threads, of generators, of frame
    objects."""

    STRUCT = '_PyInterpreterFrame'
    # The types whose objects can hold a frame, and where.
    OWNERS = {'frame': ('PyFrameObject', '_f_frame_data'),
              'generator': ('PyGenObject', 'gi_iframe'),
              'coroutine': ('PyGenObject', 'gi_iframe'),
              'async_generator': ('PyGenObject', 'gi_iframe')}

    def __init__(self, target):
        self.target = target
        self.memory = target.memory
        self.text = TextReader(target)

    def get(self, frame, path):
        return self.target.get(self.STRUCT, frame, path)

    def code(self, frame):
        """Return the code object of a frame, or 0."""
        try:
            code = self.get(frame, 'f_executable')
        except RefmapUnreadable:
            return 0
        info = self.target.types.of_object(code)
        return code if info.is_builtin('code') else 0

    def words(self, frame):
        """Return how many words of a frame are in use."""
        code = self.code(frame)
        fixed = self.target.struct(self.STRUCT).offset('localsplus') // 8
        if not code:
            return fixed
        size = self.target.get('PyCodeObject', code, 'co_framesize')
        top = self.get(frame, 'stacktop')
        return max(fixed, min(size, fixed + top) if top >= 0 else size)

    def offset_in(self, owner):
        """Return where a frame begins in an object of the type `owner`."""
        struct_name, field = self.OWNERS[owner]
        return self.target.struct(struct_name).offset(field)

    def owner_size(self, address, owner):
        """Return the bytes of such an object, with its frame if it has one."""
        at = self.offset_in(owner)
        try:
            if self.has_frame(address, owner, address + at):
                return at + 8 * self.words(address + at)
        except RefmapUnreadable:
            pass
        return at

    def has_frame(self, address, owner, frame):
        if owner == 'frame':
            return frame == self.target.get('PyFrameObject', address,
                                            'f_frame')
        state = self.target.get('PyGenObject', address, 'gi_frame_state')
        return state != GENERATOR_CLEARED

    def name(self, frame, place):
        """As Extents.name(), for a word of a frame."""
        form = self.target.struct(self.STRUCT)
        local = (place - frame - form.offset('localsplus')) // 8
        if local < 0:
            name = form.name_at(place - frame)
            return name, name not in ('f_globals', 'f_builtins', 'previous')
        code = self.code(frame)
        count = self.target.get('PyCodeObject', code, 'co_nlocalsplus') \
            if code else 0
        if local < count:
            return f'local {self.local(code, local)}', True
        # A running frame does not say how high its stack is.
        if self.get(frame, 'stacktop') >= 0:
            return 'stack', True
        return STALE, False

    def local(self, code, index):
        names = self.target.get('PyCodeObject', code, 'co_localsplusnames')
        form = self.target.struct('PyTupleObject')
        name = self.memory.word(names + form.offset('ob_item') + 8 * index)
        return (name and self.text.string(name)) or str(index)

    def title(self, frame):
        """Return the name of the function of a frame."""
        code = self.code(frame)
        if not code:
            return '?'
        name = self.target.get('PyCodeObject', code, 'co_qualname')
        return self.text.raw(name) or '?'

    def running(self):
        """Yield (interpreter id, frame) of the frames on thread stacks."""
        chain = self.target.chain
        for interp in interpreters_of(self.target):
            for thread in chain('PyThreadState', interp.threads, 'next',
                                'threads'):
                first = self.target.get('PyThreadState', thread,
                                        'current_frame')
                with contextlib.suppress(RefmapError):
                    for frame in chain(self.STRUCT, first, 'previous',
                                       'frames'):
                        owner = self.get(frame, 'owner')
                        if owner not in (FRAME_OF_GENERATOR, FRAME_OF_OBJECT,
                                         FRAME_OF_C):
                            yield interp.id, frame
