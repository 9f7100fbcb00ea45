"""HTML and SVG as text, right by construction.

Text becomes Markup only in element(), which escapes it: names of types, tests
and files come from the program. So no name can make an element, a line, or a
report of a megabyte, nor turn around the text beside it.
"""

from html import escape

from .. import report

# Characters of a text that are shown.
LIMIT = 400


class Markup(str):
    """HTML that needs no escaping."""

    __slots__ = ()


def shorten(value, limit=LIMIT):
    """Return a text of at most some `limit` characters that says what it lacks.

    How it begins and how it ends are of more interest than its middle.
    """
    value = str(value)
    if len(value) <= limit:
        return value
    first = limit * 2 // 3
    last = limit - first - 1
    return f'{value[:first]}\u2026{value[len(value) - last:]}'


def shown(value, limit=LIMIT):
    """Return what is shown of a text: bounded, on one line, with escapes for
    control characters, bidi overrides and lone surrogates."""
    return report.escape(shorten(value, limit))


def content(children):
    """Return the Markup of what is in an element: Markup, text, None, and
    lists of these."""
    parts = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, (list, tuple)):
            parts.append(content(child))
        elif child is not None:
            parts.append(escape(shown(child)))
    return Markup(''.join(parts))


def attribute(name, value):
    """Return ' name="value"'; '' for None and False."""
    if value is None or value is False:
        return ''
    name = name.rstrip('_').replace('_', '-')
    if value is True:
        return f' {name}=""'
    if not isinstance(value, Markup):
        value = escape(shown(value))
    return f' {name}="{value}"'


# Those that have no end tag. In HTML all others need one, also in SVG.
_VOID = frozenset(['br', 'input', 'meta'])


def element(_name, *children, **attributes):
    """Return an element as Markup.

    children -- as content() takes them
    attributes -- an underscore stands for a hyphen; one at the end is dropped.
                  None and False: left out
    """
    given = ''.join(attribute(*item) for item in attributes.items())
    if _name in _VOID:
        return Markup(f'<{_name}{given}>')
    return Markup(f'<{_name}{given}>{content(children)}</{_name}>')


def code(value, limit=LIMIT):
    """Return a name of the program as an element."""
    return element('code', shown(value, limit))


def number(value):
    """Return a coordinate as text, the same on all machines."""
    return f'{value:.2f}'.rstrip('0').rstrip('.')
