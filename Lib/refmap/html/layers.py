"""Where the nodes of a graph are drawn: in layers, from causes downwards.

The four steps of layered drawing: turn the edges of cycles around, give each
node a layer, order the layers so that few edges cross, move the nodes to where
their neighbours are. All ties are broken by the order in which nodes and edges
were given, so a graph has one drawing.
"""

from collections import namedtuple

# How often the layers are ordered, and their nodes moved, down and up again.
SWEEPS = 6
# Pixels between nodes of a layer; the width of an edge that passes a layer.
GAP = 24
PASSING = 8

# centers -- {node: x of its center}
# layers -- a list of lists of nodes; what passes a layer is a tuple
# ways -- {(from, to): [from, what it passes, ..., to]}
# turned -- edges that lead upwards
# width -- of all of it
Layout = namedtuple('Layout', 'centers layers ways turned width')


def turned_edges(nodes, below):
    """Return the edges that lead back to a node on the way, as a set.

    below -- as following() returns it
    """
    turned, done = set(), set()
    for start in nodes:
        way = [(start, iter(below.get(start, ())))]
        on_way = {start}
        while way and start not in done:
            node, rest = way[-1]
            for other in rest:
                if other in on_way:
                    turned.add((node, other))
                elif other not in done:
                    way.append((other, iter(below.get(other, ()))))
                    on_way.add(other)
                    break
            else:
                way.pop()
                on_way.discard(node)
                done.add(node)
    return turned


def following(edges):
    """Return {node: [nodes that edges lead to]}."""
    found = {}
    for source, to in edges:
        found.setdefault(source, []).append(to)
    return found


def depths(nodes, edges):
    """Return {node: layer}: each is below all that lead to it.

    edges -- a list of (from, to), without cycles
    """
    found, below = dict.fromkeys(nodes, 0), following(edges)
    above = dict.fromkeys(nodes, 0)
    for _, to in edges:
        above[to] += 1
    waiting = [node for node in nodes if not above[node]]
    for node in waiting:
        for to in below.get(node, ()):
            found[to] = max(found[to], found[node] + 1)
            above[to] -= 1
            if not above[to]:
                waiting.append(to)
    return found


def pass_layers(nodes, edges, depth):
    """Return the layers, and {(from, to): the nodes of its way}."""
    layers = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in nodes:
        layers[depth[node]].append(node)
    ways = {}
    for source, to in edges:
        ways[source, to] = [source]
        for layer in range(depth[source] + 1, depth[to]):
            step = source, to, layer
            layers[layer].append(step)
            ways[source, to].append(step)
        ways[source, to].append(to)
    return layers, ways


def neighbours_of(ways):
    """Return {node: neighbours above} and {node: neighbours below}."""
    above, below = {}, {}
    for way in ways.values():
        for upper, lower in zip(way, way[1:]):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    return above, below


def mean(values):
    return sum(values) / len(values)


def order(layers, above, below):
    """Order the nodes of each layer by the mean of their neighbours' places, in
    place."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            place = {node: i for nodes in layers
                     for i, node in enumerate(nodes)}
            near = above if down else below
            layer.sort(key=lambda node: mean(
                [place[other] for other in near.get(node, [node])]))


def settle(wanted, widths):
    """Return centers as near as can be to the wanted ones, without overlap.

    Neighbours that would overlap become one block, which goes to the mean of
    what its nodes want.
    """
    offsets, offset = [], 0.0
    for i, width in enumerate(widths):
        offset += width / 2 + (widths[i - 1] / 2 + GAP if i else 0)
        offsets.append(offset)
    blocks = []                 # [sum of places wanted, number of nodes]
    for want, offset in zip(wanted, offsets):
        blocks.append([want - offset, 1])
        while (len(blocks) > 1 and blocks[-2][0] / blocks[-2][1]
               > blocks[-1][0] / blocks[-1][1]):
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    starts = [total / count for total, count in blocks for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets)]


def move(layers, near, width):
    """Return {node: x of its center}.

    near -- {node: neighbours above}, {node: neighbours below}
    width -- {node: its width}; what passes has none
    """
    centers = {}
    for layer in layers:
        widths = [width.get(node, PASSING) for node in layer]
        centers.update(zip(layer, settle([0.0] * len(layer), widths)))
    for sweep in range(2 * SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [mean([centers[other]
                            for other in (*near[0].get(node, ()),
                                          *near[1].get(node, ()))]
                           or [centers[node]]) for node in layer]
            widths = [width.get(node, PASSING) for node in layer]
            centers.update(zip(layer, settle(wanted, widths)))
    return centers


def layout(width, edges):
    """Return the Layout of a graph.

    width -- {node: its width}, in the order of importance
    edges -- a list of (from, to), each once; none from a node to itself
    """
    turned = turned_edges(width, following(edges))
    straight = list(dict.fromkeys(
        (to, source) if (source, to) in turned else (source, to)
        for source, to in edges))
    layers, ways = pass_layers(width, straight, depths(width, straight))
    near = neighbours_of(ways)
    order(layers, *near)
    centers = move(layers, near, width)
    if not centers:
        return Layout({}, [], {}, turned, 0)
    left = min(x - width.get(node, PASSING) / 2 for node, x in centers.items())
    right = max(x + width.get(node, PASSING) / 2 for node, x in centers.items())
    return Layout({node: x - left for node, x in centers.items()}, layers, ways,
                  turned, right - left)
