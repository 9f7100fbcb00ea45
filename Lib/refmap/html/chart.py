"""Numbers over runs or time, drawn as lines.

Lengths along x are in percent, so that letters keep their size whatever the
width of the window.
"""

from collections import namedtuple

from . import parts
from .markup import Markup, code, element, number, shown

# Lines that are drawn: as many as can be told apart by mark and colour.
MAX_SERIES = 6
# Points of a line that have marks.
MAX_MARKS = 24
# Percent of the width, pixels of the height.
LEFT, RIGHT = 4.0, 96.0
TOP, BOTTOM = 20, 190
HEIGHT = 224
TICKS = 4
MAX_LABELS = 4

MARKS = [
    'M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z', 'M-4 -4h8v8h-8z',
    'M0 -5l5 9h-10z', 'M0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z',
    'M0 5l5 -9h-10z', 'M-1.5 -5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z']

# name -- of a type
# values -- a number for each x
Series = namedtuple('Series', 'name values')


def step_of(span):
    """Return a round step that divides `span` into about TICKS parts."""
    step = 1
    while span / step > TICKS:
        for factor in (2, 2.5, 2):
            step *= factor
            if span / step <= TICKS:
                break
    return step


def axis(values):
    """Return the numbers at the y axis, the lowest first."""
    low, high = min(0, min(values)), max(1, max(values))
    step = step_of(high - low)
    ticks = [step * round(low // step)]
    while ticks[-1] < high:
        ticks.append(ticks[-1] + step)
    return ticks


class Scale:
    """From numbers to places in the drawing."""

    def __init__(self, xs, ticks):
        self.first, self.last = xs[0], xs[-1]
        self.low, self.high = ticks[0], ticks[-1]

    def fraction(self, x):
        span = self.last - self.first
        return (x - self.first) / span if span else 0.5

    def x(self, x):
        """Return a place in percent of the width."""
        return number(LEFT + (RIGHT - LEFT) * self.fraction(x)) + '%'

    def y(self, y):
        """Return a place in pixels."""
        part = (y - self.low) / (self.high - self.low)
        return number(BOTTOM - (BOTTOM - TOP) * part)


def grid(scale, ticks):
    """Return the lines of the y axis with their numbers."""
    for tick in ticks:
        y = scale.y(tick)
        yield element('line', x1=0, x2='100%', y1=y, y2=y, class_='grid')
        yield element('text', f'{tick:,.6g}', x=0, y=y, dy=-4, class_='tick')


def x_labels(scale, xs, labels):
    """Return as many labels of the x axis as there is room for."""
    last = len(xs) - 1
    count = min(last, MAX_LABELS)
    for i in sorted({round(last * i / max(count, 1))
                     for i in range(count + 1)}):
        yield element('text', labels[i], x=scale.x(xs[i]), y=BOTTOM + 20,
                      class_='tick x')


def mark(i, x, y):
    """Return the mark of series i at a place; inside an SVG element of its own,
    as a path knows no percent."""
    return element('svg', element('path', d=MARKS[i]), x=x, y=y, width=1,
                   height=1, overflow='visible', class_='mark')


def line(i, series, xs, scale):
    """Return the drawing of series i."""
    points = Markup(' '.join(
        f'{number(1000 * scale.fraction(x))},{scale.y(y)}'
        for x, y in zip(xs, series.values)))
    lines = element('svg', element('polyline', points=points),
                    x=f'{number(LEFT)}%', y=0,
                    width=f'{number(RIGHT - LEFT)}%', height=HEIGHT,
                    viewBox=f'0 0 1000 {HEIGHT}', preserveAspectRatio='none',
                    overflow='visible')
    every = -(-len(xs) // MAX_MARKS)
    marks = [mark(i, scale.x(x), scale.y(y))
             for x, y in list(zip(xs, series.values))[::-every]]
    return element('g', element('title', shown(series.name)), lines, marks,
                   class_=f'series s{i + 1}')


def legend(series):
    """Return what tells the lines: mark, name, the last number."""
    items = []
    for i, one in enumerate(series):
        sign = element('svg', element('g', element('path', d=MARKS[i]),
                                      transform='translate(7 7)'),
                       width=14, height=14, class_=f'key s{i + 1}',
                       aria_hidden='true')
        items.append([sign, ' ', code(one.name, 120),
                      f' {one.values[-1]:+,}'])
    return parts.bullets(items, class_='legend')


def svg(series, xs, labels, ident, title, description):
    """Return the drawing as an SVG element."""
    ticks = axis([value for one in series for value in one.values])
    scale = Scale(xs, ticks)
    return element(
        'svg', element('title', title, id=f'{ident}-title'),
        element('desc', description, id=f'{ident}-desc'),
        list(grid(scale, ticks)), list(x_labels(scale, xs, labels)),
        [line(i, one, xs, scale) for i, one in enumerate(series)],
        class_='chart', role='img', width='100%', height=HEIGHT,
        aria_labelledby=f'{ident}-title', aria_describedby=f'{ident}-desc')


def merge(series):
    """Return the series, those with the same values as one: their lines could
    not be told apart."""
    names = {}
    for one in series:
        names.setdefault(tuple(one.values), []).append(shown(one.name, 60))
    return [Series(', '.join(alike), values) for values, alike in names.items()]


def figure(series, xs, labels, ident, title, caption, first='Type'):
    """Return numbers as a figure: drawn, and as a table.

    series -- a list of Series, the most important first
    xs -- numbers that grow; labels -- a text for each of them
    first -- what the series are, the name of the table's first column
    """
    merged = merge(series)
    left = len(merged) - MAX_SERIES
    drawn = merged[:MAX_SERIES]
    rest = f' {left} more are only in the table.' if left > 0 else ''
    description = '; '.join(f'{shown(one.name, 60)} {one.values[-1]:+,}'
                            for one in drawn)
    every = -(-len(xs) // MAX_MARKS)
    rows = [[code(one.name), *(f'{value:,}' for value in
                               one.values[::-every][::-1])]
            for one in series]
    return parts.figure(
        caption + rest,
        [svg(drawn, xs, labels, ident, title,
             f'{caption} At the end: {description}.'), legend(drawn)],
        parts.table(title, [first, *('#' + label for label in
                                     labels[::-every][::-1])], rows))
