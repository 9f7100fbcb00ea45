"""Who holds whom, drawn: boxes in layers, causes at the top."""

from collections import namedtuple

from . import parts
from .layers import layout
from .markup import Markup, code, element, number, shorten, shown

# Pixels. A box has a line of what it is and one with its name.
HEIGHT = 40
LAYER = 92
MARGIN = 12
LETTER = 7.3
MAX_LETTERS = 30
MIN_WIDTH = 76
# A label is where its curve is after 70 % of its way: near what it leads to, as
# several may begin at one box.
LABEL_X, LABEL_Y = 0.784, 0.658
# Boxes that are drawn; the list has all.
MAX_NODES = 40

# key -- of the node, hashable
# kind -- 'who', 'nobody', 'root', 'holder', 'leaked' or 'more': how it is drawn
# title -- what it is, in a word or two: as a kind alone is only seen
# name -- of the object, type or function
Node = namedtuple('Node', 'key kind title name')
# source, to -- keys of nodes
# label -- how it holds it, or ''
Edge = namedtuple('Edge', 'source to label')


class Graph:
    """Nodes and edges, in the order in which they were added."""

    def __init__(self):
        self.nodes = {}
        self.edges = {}

    def node(self, key, kind, title, name):
        """Add a node; return its key. One that is known stays as it is."""
        self.nodes.setdefault(key, Node(key, kind, title, name))
        return key

    def edge(self, source, to, label=''):
        """Add an edge. Of two between the same nodes the first counts."""
        self.edges.setdefault((source, to), Edge(source, to, label))

    def __bool__(self):
        return bool(self.edges)


def drawn(graph):
    """Return the nodes and edges that there is room for."""
    nodes = dict(list(graph.nodes.items())[:MAX_NODES])
    edges = [edge for edge in graph.edges.values()
             if edge.source in nodes and edge.to in nodes
             and edge.source != edge.to]
    return nodes, edges


def width_of(*texts):
    """Return the width of a box with room for these texts."""
    letters = max(len(shown(text, MAX_LETTERS)) for text in texts)
    return max(MIN_WIDTH, letters * LETTER + 20)


def widths_of(nodes, edges):
    """Return {key: width}: of a box, or of the label above it if that needs
    more."""
    widths = {key: width_of(node.title, node.name)
              for key, node in nodes.items()}
    for edge in edges:
        widths[edge.to] = max(widths[edge.to], width_of(edge.label) - 20)
    return widths


def box(node, x, y):
    """Return the drawing of a node whose center is at x."""
    width = width_of(node.title, node.name)
    corner = {'root': 20, 'who': 2}.get(node.kind, 6)
    return element(
        'g', element('title', f'{node.title}: {shown(node.name)}'),
        element('rect', x=number(x - width / 2), y=number(y), rx=corner,
                width=number(width), height=HEIGHT),
        element('text', shown(node.title, MAX_LETTERS), x=number(x),
                y=number(y + 15), class_='title'),
        element('text', shown(node.name, MAX_LETTERS), x=number(x),
                y=number(y + 31)),
        class_=f'node {node.kind}')


def curve(points):
    """Return the path of a curve that leaves and reaches points vertically."""
    path = [f'M{number(points[0][0])} {number(points[0][1])}']
    for (x, y), (to_x, to_y) in zip(points, points[1:]):
        middle = number((y + to_y) / 2)
        path.append(f'C{number(x)} {middle} {number(to_x)} {middle} '
                    f'{number(to_x)} {number(to_y)}')
    return Markup(' '.join(path))


def way_points(way, found, top):
    """Return the points of an edge, from the box above to that below."""
    points = [(found.centers[way[0]], top[way[0]] + HEIGHT)]
    for step in way[1:-1]:
        x, y = found.centers[step], top[step]
        points += [(x, y), (x, y + HEIGHT)]
    points.append((found.centers[way[-1]], top[way[-1]]))
    return points


def arrow(edge, found, top):
    """Return the drawing of an edge, and that of its label."""
    up = (edge.source, edge.to) in found.turned
    way = found.ways[(edge.to, edge.source) if up else (edge.source, edge.to)]
    points = way_points(way, found, top)
    x, y = points[0] if up else points[-1]
    back = 7 if up else -7
    tip = f'M{number(x)} {number(y)}l-4 {back}h8z'
    far, near = points[:2] if up else points[-2:]
    label = element('text', shown(edge.label, MAX_LETTERS),
                    x=number(far[0] + (near[0] - far[0]) * LABEL_X),
                    y=number(far[1] + (near[1] - far[1]) * LABEL_Y + 4),
                    class_='label')
    line = element('g', element('path', d=curve(points), class_='line'),
                   element('path', d=tip, class_='tip'),
                   class_='edge up' if up else 'edge')
    return line, label if edge.label else None


def svg(graph, ident, title, description):
    """Return the drawing of a Graph as an SVG element."""
    nodes, edges = drawn(graph)
    found = layout(widths_of(nodes, edges),
                   [(edge.source, edge.to) for edge in edges])
    top = {key: MARGIN + i * LAYER
           for i, layer in enumerate(found.layers) for key in layer}
    moved = found._replace(centers={key: x + MARGIN
                                    for key, x in found.centers.items()})
    arrows = [arrow(edge, moved, top) for edge in edges]
    width = number(found.width + 2 * MARGIN)
    height = number(len(found.layers) * LAYER - LAYER + HEIGHT + 2 * MARGIN)
    return element(
        'svg', element('title', title, id=f'{ident}-title'),
        element('desc', description, id=f'{ident}-desc'),
        [line for line, _ in arrows],
        [box(node, moved.centers[key], top[key])
         for key, node in nodes.items()],
        [label for _, label in arrows],
        class_='graph', role='img', width=width, height=height,
        viewBox=f'0 0 {width} {height}',
        aria_labelledby=f'{ident}-title', aria_describedby=f'{ident}-desc')


def sentence(graph, edge):
    """Return what an edge says."""
    source, to = graph.nodes[edge.source], graph.nodes[edge.to]
    label = f' ({shorten(edge.label)})' if edge.label else ''
    return [f'{source.title}: ', code(source.name), ' \u2192 ',
            f'{to.title}: ', code(to.name), label]


def figure(graph, ident, title, caption):
    """Return a Graph as a figure: drawn, and as a list."""
    count = len(graph.nodes)
    description = (f'{caption} {count} boxes, {len(graph.edges)} arrows; the '
                   f'list below the drawing says the same.')
    left = count - MAX_NODES
    return parts.figure(
        [caption, f' {left} more boxes are only in the list.'
         if left > 0 else None],
        parts.scrolled(title, svg(graph, ident, title, description)),
        parts.bullets([sentence(graph, edge)
                       for edge in graph.edges.values()]),
        'The same as a list')
