"""What the reports consist of: sections, tables, figures, lists."""

from ..report import plural
from .markup import code, content, element

# Rows that a table has, and items of a list.
MAX_ROWS = 300


def section(ident, heading, *children):
    """Return a section with a heading of its own, which the contents link."""
    return element('section',
                   element('h2', heading, id=f'{ident}-heading'), children,
                   id=ident, aria_labelledby=f'{ident}-heading')


def fold(summary, *children, open=False):
    """Return what can be folded away."""
    return element('details', element('summary', summary), children, open=open)


def more(count, noun):
    """Return what is said of so many that are left out, or None."""
    return f'\u2026 and {plural(count, f"more {noun}")}' if count > 0 else None


def table_row(row, numeric):
    """Return a row of a table; its first cell is its header."""
    first, *rest = row
    return element('tr', element('th', first, scope='row'),
                   [element('td', value, class_='number' if is_number else None)
                    for value, is_number in zip(rest, numeric[1:])])


def table(caption, columns, rows, filter=None, limit=MAX_ROWS):
    """Return a table, in a region that can be scrolled on its own.

    columns -- names; one that begins with '#' has numbers
    rows -- lists of what content() takes, the first names the row
    filter -- what its rows are, in words, if a script is to offer a filter
    limit -- of the rows
    """
    numeric = [name.startswith('#') for name in columns]
    head = [element('th', name.removeprefix('#'), scope='col',
                    class_='number' if is_number else None)
            for name, is_number in zip(columns, numeric)]
    body = [table_row(row, numeric) for row in rows[:limit]]
    rest = more(len(rows) - limit, 'row')
    return scrolled(
        caption,
        element('table', element('caption', caption),
                element('thead', element('tr', head)), element('tbody', body),
                data_filter=filter if len(rows) > 5 else None),
        rest and element('p', rest, class_='note'))


def scrolled(label, *children):
    """Return a region that scrolls by itself; reached by the keyboard, as it
    could not be scrolled otherwise."""
    return element('div', children, class_='scroll', role='region', tabindex='0',
                   aria_label=label)


def bullets(items, kind='ul', **attributes):
    """Return a list of what content() takes."""
    shown = [element('li', item) for item in items[:MAX_ROWS]]
    if len(items) > MAX_ROWS:
        shown.append(element('li', more(len(items) - MAX_ROWS, 'item')))
    return element(kind, shown, **attributes)


def facts(pairs):
    """Return a list of names and values; those without a value are left out."""
    return element('dl', [element('div', element('dt', name),
                                  element('dd', value))
                          for name, value in pairs if value is not None],
                   class_='facts')


def figure(caption, drawing, twin, summary='The same as a table'):
    """Return a drawing, and what says the same in words."""
    return element('figure', element('figcaption', caption), drawing,
                   fold(summary, twin))


def place(file, line):
    """Return a place in a source file, or None."""
    if not file or file == '??':
        return None
    return code(f'{file}:{line}' if line else file)


def where(*children):
    """Return a place, as a cell of a table that must not become too narrow."""
    return element('span', children, class_='where')


def joined(items, separator=', '):
    """Return items as one, with text between them."""
    parts = []
    for item in items:
        parts += [separator, item] if parts else [item]
    return content(parts)
