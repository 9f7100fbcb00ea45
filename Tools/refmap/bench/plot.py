"""The plot of Doc/benchmarks.md: an SVG of up to five panels, made of raw
results without a library. A panel whose numbers are missing is left out."""

import math
from statistics import geometric_mean
from xml.sax.saxutils import escape

import stats
import visiting

WIDTH, HEIGHT = 480, 340                # of a panel, in pixels
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 92
# Okabe and Ito's colours, which most colour-blind people can tell apart.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')


def text(x, y, string, anchor='middle', size=11, extra=''):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
            f'font-size="{size}"{extra}>{escape(string)}</text>')


def line(x1, y1, x2, y2, colour='#ccc', width=1):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}" stroke-width="{width}"/>')


def linear_ticks(low, high):
    """About five round numbers from low to high, and a bit around them."""
    size = (high - low) or 1
    power = 10.0 ** math.floor(math.log10(size / 4))
    step = next(s * power for s in (1, 2, 5, 10) if size / (s * power) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low, high):
    """The powers of ten around low and high."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0 ** i for i in range(first, max(last, first + 1) + 1)]


class Axis:
    """Maps numbers between the first and the last tick to pixels."""

    def __init__(self, values, start, end, log):
        low, high = min(values), max(values)
        self.log = log
        self.ticks = log_ticks(low, high) if log else linear_ticks(low, high)
        self.start, self.end = start, end

    def __call__(self, value):
        scale = math.log10 if self.log else float
        low, high = scale(self.ticks[0]), scale(self.ticks[-1])
        return self.start + (self.end - self.start) * (
            (scale(value) - low) / (high - low))


def count_label(value):
    """1000 and 10^4."""
    return (f'{value:,.0f}' if value < 10_000
            else f'10^{math.log10(value):.0f}')


def time_label(seconds):
    for unit, size in (('s', 1), ('ms', 1e-3), ('µs', 1e-6)):
        if seconds >= size * 0.999:
            return f'{seconds / size:g} {unit}'
    return f'{seconds * 1e9:.3g} ns'


def legend(series):
    """The names of the curves below a panel, two a line."""
    parts = []
    for i, name in enumerate(series):
        x = LEFT + (i % 2) * (WIDTH - LEFT) / 2
        y = HEIGHT - BOTTOM + 50 + 15 * (i // 2)
        parts += [line(x, y - 4, x + 16, y - 4, COLOURS[i], 3),
                  text(x + 21, y, name, 'start')]
    return parts


def frame(title, x_axis, y_axis, x_label, y_label):
    """Title, grid and the labels of the ticks."""
    parts = [text(WIDTH / 2, 20, title, size=13, extra=' font-weight="bold"')]
    for tick in x_axis.ticks:
        x = x_axis(tick)
        parts += [line(x, y_axis.start, x, y_axis.end),
                  text(x, y_axis.start + 15, x_label(tick))]
    for tick in y_axis.ticks:
        y = y_axis(tick)
        parts += [line(x_axis.start, y, x_axis.end, y),
                  text(x_axis.start - 6, y + 4, y_label(tick), 'end')]
    return parts


def curves(title, x_name, series, y_label, log_y):
    """A panel of curves; series is {name: [(x, y)]}, x is a count."""
    points = [p for curve in series.values() for p in curve]
    x_axis = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT, True)
    ys = [y for _, y in points] + ([] if log_y else [0])
    y_axis = Axis(ys, HEIGHT - BOTTOM, TOP, log_y)
    parts = frame(title, x_axis, y_axis, count_label, y_label)
    parts.append(text((LEFT + WIDTH) / 2, HEIGHT - BOTTOM + 31, x_name))
    for colour, curve in zip(COLOURS, series.values()):
        spots = [(x_axis(x), y_axis(y)) for x, y in sorted(curve)]
        path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in spots)
        parts.append(f'<polyline points="{path}" fill="none" '
                     f'stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
                  for x, y in spots]
    return parts + legend(series)


def bars(title, values):
    """A panel of bars; values is {name: (value, low, high)}."""
    left = 165
    ends = [end for value in values.values() for end in value] + [0]
    x_axis = Axis(ends, left, WIDTH - RIGHT - 30, False)
    parts = [text(WIDTH / 2, 20, title, size=13, extra=' font-weight="bold"')]
    bottom = HEIGHT - BOTTOM + 30
    for tick in x_axis.ticks:
        parts += [line(x_axis(tick), TOP, x_axis(tick), bottom),
                  text(x_axis(tick), bottom + 15, f'{tick:g}')]
    step = (bottom - TOP) / len(values)
    for i, (name, (value, low, high)) in enumerate(values.items()):
        y = TOP + (i + 0.5) * step
        width = x_axis(value) - left
        parts += [f'<rect x="{left}" y="{y - step * 0.3:.1f}" '
                  f'width="{width:.1f}" height="{step * 0.6:.1f}" '
                  f'fill="{COLOURS[0]}"/>',
                  line(x_axis(low), y, x_axis(high), y, '#000', 2),
                  text(left - 6, y + 4, name, 'end'),
                  text(x_axis(high) + 5, y + 4, f'{value:.2f}', 'start')]
    return parts


# --- panels -------------------------------------------------------------------

def peers_panel(results):
    section = results.get('b') or {}
    if 'stock-release' not in section:
        return []
    base = section['stock-release']
    values = {peer: (stats.geomean_ratio(found, base),
                     *stats.geomean_spread(found, base))
              for peer, found in section.items()}
    return bars('Small workloads: time, stock-release = 1', values)


def snapshot_panel(results):
    section = (results.get('c') or {}).get('heaps')
    if not section:
        return []
    series = {'gc.collect()': [], 'snapshot': []}
    for n, found in section.items():
        for name, what in (('gc.collect()', 'collect'), ('snapshot',) * 2):
            series[name].append((int(n), min(found[what])))
        for k, times in found['diff'].items():
            if k != '0':
                series.setdefault(f'diff, {int(k):,} changed', []).append(
                    (int(n), min(times)))
    return curves('Snapshot and diff', 'live objects', series, time_label, True)


def heaps_panel(results):
    section = results.get('f')
    if not section:
        return []
    series = {}
    for one, other in section['pairs']:
        for n, ratios in visiting.by_size(section['heaps'], one, other).items():
            for what, value in (('mean', geometric_mean(ratios)),
                                ('worst', max(ratios))):
                series.setdefault(f'{one}, {what}', []).append((n, value))
    return curves('Heaps of all kinds: time, its stock one = 1', 'live objects',
                  series, lambda tick: f'{tick:g}', False) if series else []


def live_panel(results):
    live = (results.get('scale') or {}).get('live')
    series = {}
    for n, variants in (live or {}).items():
        if len(variants) < 2:
            continue
        for order, times in variants['release'].items():
            if isinstance(times, list):
                series.setdefault(order, []).append((int(n), stats.ratio(
                    times, variants['stock-release'][order])))
    if not series:
        return []
    return curves('Visiting all objects: release / stock-release',
                  'live objects', series, lambda tick: f'{tick:g}', False)


def retained_panel(results):
    retained = (results.get('scale') or {}).get('retained')
    if not retained:
        return []
    series = {'first pass after a snapshot': [], 'later pass': []}
    for k, found in retained['counts'].items():
        if k != '0':
            series['first pass after a snapshot'].append(
                (int(k), found['first pass']))
            series['later pass'].append((int(k), found['second pass']))
    return curves(f'Time per object, {retained["objects"]:,} objects',
                  'retained snapshots', series, time_label, False)


PANELS = (peers_panel, heaps_panel, snapshot_panel, live_panel, retained_panel)


def figure(results):
    """The SVG as one string."""
    panels = [parts for parts in (panel(results) for panel in PANELS) if parts]
    columns = min(2, len(panels)) or 1
    rows = max(1, math.ceil(len(panels) / columns))
    size = f'{columns * WIDTH} {rows * HEIGHT}'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
             'font-family="sans-serif">',
             '<rect width="100%" height="100%" fill="white"/>']
    for i, parts in enumerate(panels):
        x, y = i % columns * WIDTH, i // columns * HEIGHT
        lines += [f'<g transform="translate({x} {y})">', *parts, '</g>']
    return '\n'.join(lines + ['</svg>', ''])
