"""Where objects were born that stayed, drawn as a flame graph.

It grows downwards: from all objects to the code that ran, to what that called,
to the type. Lengths along x are in percent; letters keep their size.
"""

from . import parts
from .markup import code, element, number, shown

HEIGHT = 20
# Frames that are drawn; percent of the width that a frame needs, and one with
# letters.
MAX_FRAMES = 600
MIN_PERCENT = 0.1
MIN_FOR_LETTERS = 3

# What kind of frame it is, as shown: letters, as not all see the colours.
KINDS = {'all': '', 'python': 'Py ', 'c': 'C ', 'type': 'T '}


class Frame:
    """A frame with what it called.

    name, kind -- as of KINDS
    count -- objects that were born in it and in what it called
    """

    def __init__(self, name, kind):
        self.name = name
        self.kind = kind
        self.count = 0
        self.children = {}

    def add(self, stack, count):
        """Count objects that were born in a stack of (name, kind), the
        outermost first."""
        self.count += count
        frame = self
        for name, kind in stack:
            frame = frame.children.setdefault((name, kind), Frame(name, kind))
            frame.count += count

    def sorted(self):
        """Return its children, those with the most objects first."""
        return sorted(self.children.values(),
                      key=lambda frame: (-frame.count, frame.name, frame.kind))


def build(births):
    """Return the Frame of all objects.

    births -- a list of (stack, count); a stack is a list of (name, kind), the
              outermost frame first
    """
    top = Frame('all that stayed', 'all')
    for stack, count in births:
        top.add(stack, count)
    return top


def frames(top):
    """Return [(Frame, depth, percent from the left, percent wide)], in reading
    order. What is too narrow to be seen is left out."""
    found = []
    waiting = [(top, 0, 0.0)]
    while waiting and len(found) < MAX_FRAMES:
        frame, depth, left = waiting.pop()
        width = 100 * frame.count / top.count
        if width < MIN_PERCENT:
            continue
        found.append((frame, depth, left, width))
        inner = []
        for child in frame.sorted():
            inner.append((child, depth + 1, left))
            left += 100 * child.count / top.count
        waiting += reversed(inner)
    return found


def bar(frame, depth, left, width, total):
    """Return the drawing of a frame. It is an SVG element of its own, which
    cuts off the letters that have no room."""
    share = f'{frame.count:,} of {total:,}, {100 * frame.count / total:.3g} %'
    narrow = ' narrow' if width < MIN_FOR_LETTERS else ''
    return element(
        'svg', element('title', f'{KINDS[frame.kind]}{shown(frame.name)}: '
                                f'{share}'),
        element('rect', width='100%', height=HEIGHT - 1),
        element('text', KINDS[frame.kind] + shown(frame.name, 120), x=5, y=14),
        x=f'{number(left)}%', y=depth * HEIGHT, width=f'{number(width)}%',
        height=HEIGHT, class_=f'frame {frame.kind}{narrow}', data_depth=depth,
        data_left=number(left), data_width=number(width))


def svg(top, ident, title, description):
    """Return the drawing as an SVG element."""
    found = frames(top)
    deepest = max(depth for _, depth, _, _ in found)
    return element(
        'svg', element('title', title, id=f'{ident}-title'),
        element('desc', description, id=f'{ident}-desc'),
        [bar(*one, top.count) for one in found],
        class_='flame', role='img', width='100%',
        height=(deepest + 1) * HEIGHT, aria_labelledby=f'{ident}-title',
        aria_describedby=f'{ident}-desc')


def stack_name(stack):
    """Return a stack as Markup."""
    return parts.where(parts.joined(
        [code(f'{KINDS[kind]}{name}') for name, kind in stack], ' \u203a '))


def figure(births, ident, title, caption):
    """Return the births as a figure: drawn, and as a table; see build()."""
    top = build(births)
    rows = [[stack_name(stack), f'{count:,}',
             f'{100 * count / top.count:.1f} %']
            for stack, count in sorted(births, key=lambda one: -one[1])]
    return parts.figure(
        [caption, ' ', element('span', 'Py: Python code, C: a C function, '
                                       'T: the type.', class_='note')],
        element('div', svg(top, ident, title, caption), class_='flamebox'),
        parts.table(title, ['Born in', '#Objects', '#Share'], rows,
                    filter='places'))
