"""HTML reports: what they consist of, and that names in them are harmless.

Pure: from literal findings, in any interpreter. How a browser takes them is
tested by Tools/refmap/tests/html-browser.
"""

import base64
import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

from refmap import cli
from refmap.html import (chart, diagnosis, flame, graph, hunt, layers, log,
                         markup, page, reports, source, suite)
from . import html_findings

REPORTS = {
    'hunt': html_findings.hunt(),
    'clean hunt': {**html_findings.hunt(), 'types': [], 'freed': [],
                   'verdict': 'clean', 'once': {}},
    'diagnosis': html_findings.diagnosis(),
    'nobody': html_findings.diagnosis(suspects=[], roots=[], births={},
                                      consequences={}, recorded=0),
    'test file': html_findings.test_file(),
    'log': html_findings.log(),
}

VOID = {'br', 'input', 'meta'}
# Attributes that name elements by their identifiers.
REFERENCES = {'aria-labelledby', 'aria-describedby', 'aria-controls', 'for'}
# Attributes that a browser loads things from.
LOADING = {'src', 'srcset', 'href', 'xlink:href', 'data', 'poster', 'action',
           'formaction', 'background', 'ping', 'manifest'}

HOSTILE = [
    '</script><script>alert(1)</script>', '<img src=http://x onerror=alert(1)>',
    '" onload="alert(1)', "' autofocus onfocus='alert(1)", '&lt;b&gt;&#0;',
    'a\0b\x1b[31m\r\nc\x7f', '\u202egnp.exe\u2066', '\udcff\ud800', ']]><!--',
    '\ufeff\u200b\u0085\u2028', '</title></style><b>', 'x' * (1 << 20),
    '\u05d0\u05d1\u05d2', '0x10 x', ': ', '']


class Document(html.parser.HTMLParser):
    """What a document consists of; `problems` says what is wrong with it."""

    def __init__(self, text):
        super().__init__()
        self.problems = []
        self.open = []
        self.elements = []          # (tag, attributes)
        self.texts = {}             # tag -> list of texts directly in it
        self.headings = []
        self.feed(text)
        self.close()
        if self.open:
            self.problems.append(f'not closed: {self.open}')

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        if len(set(names)) < len(names):
            self.problems.append(f'an attribute twice: {tag} {names}')
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch('h[1-6]', tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f'not opened: {tag}')

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements
                if name == tag]


class ReportTestCase(unittest.TestCase):
    def document(self, found):
        text = reports.document(json.loads(json.dumps(found)))
        return Document(text)

    def check(self, document):
        """Check what is true of every report."""
        self.assertEqual(document.problems, [])
        self.check_references(document)
        self.check_loading(document)
        self.check_structure(document)
        self.check_tables(document)
        self.check_drawings(document)

    def check_references(self, document):
        names = [attributes['id'] for _, attributes in document.elements
                 if 'id' in attributes]
        self.assertEqual(len(set(names)), len(names), names)
        for tag, attributes in document.elements:
            for name in REFERENCES & attributes.keys():
                for one in attributes[name].split():
                    self.assertIn(one, names, tag)
            if attributes.get('href', '').startswith('#'):
                self.assertIn(attributes['href'][1:], names)

    def check_loading(self, document):
        for tag, attributes in document.elements:
            self.assertNotIn(tag, {'link', 'img', 'iframe', 'object', 'embed',
                                   'base', 'form', 'image', 'use', 'audio',
                                   'video'})
            for name, value in attributes.items():
                self.assertFalse(name.startswith('on'), (tag, name))
                # The policy allows no styles of elements.
                self.assertNotEqual(name, 'style')
                if name in LOADING:
                    self.assertRegex(value, r'\A#|\A[\w.%-]+\.html\Z')
        self.assertEqual(len(document.all('script')), 1)
        self.assertEqual(len(document.all('style')), 1)
        self.assertNotRegex(''.join(document.texts['style']),
                            r'url\(|@import|@font-face')

    def check_structure(self, document):
        self.assertEqual(document.all('html'), [{'lang': 'en'}])
        for landmark in 'header', 'nav', 'main', 'footer', 'h1':
            self.assertEqual(len(document.all(landmark)), 1, landmark)
        self.assertIn('aria-label', document.all('nav')[0])
        levels = document.headings
        self.assertEqual(levels[0], 1)
        for above, below in zip(levels, levels[1:]):
            self.assertLessEqual(below, above + 1, levels)
        self.assertEqual(len(document.all('details')),
                         len(document.all('summary')))
        for tag, attributes in document.elements:
            if attributes.get('role') == 'region':
                self.assertTrue(attributes['aria-label'])
                self.assertEqual(attributes['tabindex'], '0')

    def check_tables(self, document):
        self.assertEqual(len(document.all('table')),
                         len(document.all('caption')))
        for attributes in document.all('th'):
            self.assertIn(attributes['scope'], ('col', 'row'))
        rows = len(document.all('tr')) - len(document.all('table'))
        self.assertEqual(sum(one['scope'] == 'row'
                             for one in document.all('th')), rows)

    def check_drawings(self, document):
        """Each has a name, a description, and a twin in words."""
        drawings = [one for one in document.all('svg')
                    if one.get('role') == 'img']
        self.assertEqual(len(drawings), len(document.all('figure')))
        for one in drawings:
            self.assertTrue(one['aria-labelledby'])
            self.assertTrue(one['aria-describedby'])
        for one in document.all('svg'):
            self.assertTrue(one.get('role') == 'img'
                            or one.get('aria-hidden') == 'true'
                            or 'x' in one, one)


class StructureTests(ReportTestCase):
    def test_reports(self):
        for name, found in REPORTS.items():
            with self.subTest(name=name):
                self.check(self.document(found))

    def test_the_check_itself(self):
        good = reports.document(REPORTS['hunt'])
        for old, new in [
                ('</main>', ''), ('<main', '<b><main'),
                ('id="leaked"', 'id="report"'),
                ('href="#leaked"', 'href="http://x"'),
                ('<h2', '<h5'), ('scope="row"', 'scope="x"'),
                ('<caption>', '<p>'), ('<footer>', '<footer onclick="x">'),
                ('</style>', 'url(x)</style>'),
                ('<footer>', '<footer style="x">'),
                ('aria-labelledby="', 'aria-labelledby="no-'),
                ('<header>', '<header><script></script>')]:
            with self.subTest(old=old):
                self.assertIn(old, good)
                with self.assertRaises(AssertionError):
                    self.check(Document(good.replace(old, new, 1)))

    def test_index(self):
        entries = [suite.entry({**html_findings.test_file(), 'test': name,
                                'verdict': verdict}, file)
                   for name, verdict, file in [
                       ('test_a', 'clean', None), ('test_b', 'leak', 'b.html'),
                       ('test_c', 'error', 'c c.html')]]
        document = Document(page.document(suite.index(entries)))
        self.check(document)
        links = [one['href'] for one in document.all('a')][2:]
        self.assertEqual(links, ['c%20c.html', 'b.html'])
        self.check(Document(page.document(suite.index([]))))

    def test_contents_of_a_test_file(self):
        text = reports.document(REPORTS['test file'])
        links = re.findall(r'<li><a href="#(.*?)"', text)
        self.assertEqual(links, ['methods', 'who-1', 'who-2', 'leaked',
                                 'growth', 'notes'])
        self.assertIn('<section id="owners-2"', text)

    def test_verdict_comes_first(self):
        for name, word in [('hunt', 'leak'), ('clean hunt', 'clean')]:
            text = reports.document(REPORTS[name])
            self.assertIn(f' {word}', text[text.index('<header'):
                                           text.index('<h1')])

    def test_cause_comes_first(self):
        text = reports.document(REPORTS['diagnosis'])
        places = [text.index(f'<section id="{name}"') for name in (
            'who', 'owners', 'leaked', 'births', 'growth', 'notes')]
        self.assertEqual(places, sorted(places))
        self.assertLess(text.index('f()'), text.index('<nav'))

    def test_held(self):
        found = html_findings.diagnosis(suspects=[html_findings.suspect(
            rule='held', kind='held by a visible owner', type='dict')])
        text = reports.document(found)
        lead = text[text.index('<header'):text.index('<nav')]
        self.assertIn('&lt;module &#x27;m&#x27;&gt; .__dict__ [&#x27;cache'
                      '&#x27;] [&#x27;key&#x27;]', lead)

    def test_deterministic(self):
        code = ('import json, sys; from refmap.html import reports; '
                'print(*map(reports.document, json.load(sys.stdin)))')
        outputs = {subprocess.run(
            [sys.executable, '-c', code], check=True, stdout=subprocess.PIPE,
            input=json.dumps([*REPORTS.values()]).encode(),
            env={**os.environ, 'PYTHONHASHSEED': seed}).stdout
            for seed in '123'}
        self.assertEqual(len(outputs), 1)

    def test_long(self):
        types = [html_findings.finding(f'type {i}', *(
            html_findings.record(html_findings.A + 16 * (20 * i + j),
                                 held_by=[f'<holder {i} {j}>'])
            for j in range(20))) for i in range(2000)]
        once = {f'type {i}': i for i in range(100_000)}
        found = html_findings.hunt(*types, once=once, freed=[
            [i, 'int', 1] for i in range(100_000)],
            raw=['total'] * 100_000)
        text = reports.document(found)
        self.check(Document(text))
        self.assertLess(len(text), 3_000_000)
        self.assertIn('1700 more rows', text)


class HostileTests(ReportTestCase):
    def test_names(self):
        for name in HOSTILE:
            for kind, found in REPORTS.items():
                with self.subTest(name=name[:40], kind=kind):
                    found = html_findings.renamed(found, name)
                    text = page.document(
                        {'log': log.make, 'test file': suite.make}.get(
                            kind, diagnosis.make if 'suspects' in found
                            else hunt.make)(found))
                    self.check(Document(text))
                    self.check_text(text)

    def check_text(self, text):
        text.encode()
        self.assertLess(len(text), 400_000)
        for c in set(text) - {'\n'}:
            self.assertTrue(c.isprintable(), ascii(c))

    def test_names_are_shown(self):
        for name in HOSTILE:
            shown = markup.shown(name)
            self.assertLessEqual(len(shown), 10 * markup.LIMIT)
            document = Document(markup.element('b', name))
            self.assertEqual(document.problems, [])
            self.assertEqual(''.join(document.texts.get('b', [])), shown)

    def test_attributes(self):
        for name in HOSTILE:
            document = Document(markup.element('b', title=name))
            [attributes] = document.all('b')
            self.assertEqual(attributes, {'title': markup.shown(name)})

    def test_shorten(self):
        self.assertEqual(markup.shorten('abcdef', 6), 'abcdef')
        self.assertEqual(markup.shorten('abcdefg', 6), 'abcd\u2026g')
        self.assertEqual(len(markup.shorten('x' * 1000)), markup.LIMIT)


class PolicyTests(unittest.TestCase):
    def test_policy(self):
        text = reports.document(REPORTS['hunt'])
        document = Document(text)
        [policy] = [one['content'] for one in document.all('meta')
                    if one.get('http-equiv') == 'Content-Security-Policy']
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn('unsafe', policy)
        for name in 'style', 'script':
            content = ''.join(document.texts[name])
            found = base64.b64encode(hashlib.sha256(
                content.encode()).digest()).decode()
            self.assertIn(f"{name}-src 'sha256-{found}'", policy)
        # It holds for what follows it.
        self.assertLess(text.index('Content-Security-Policy'),
                        text.index('<style'))


def luminance(color):
    """Return the relative luminance of '#rrggbb', as WCAG 2 defines it."""
    parts = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else
              ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part
               in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


class ContrastTests(unittest.TestCase):
    TEXT = [(ink, paper) for paper in ('page', 'panel')
            for ink in ('ink', 'muted', 'link')]
    TEXT += [('ink', paper) for paper in ('mark', 'python', 'c', 'type', 'all',
                                          'bad-panel', 'warn-panel')]
    TEXT += [('muted', 'mark'), ('bad', 'bad-panel'), ('warn', 'warn-panel'),
             ('good', 'good-panel'), ('bad', 'page')]
    DRAWN = [(name, 'page') for name in (
        'edge', 'focus', 's1', 's2', 's3', 's4', 's5', 's6', 'bad', 'warn')]

    def schemes(self):
        blocks = re.findall(r':root \{(.*?)\}', page.resource('style.css'),
                            re.DOTALL)
        light, dark = ({name: color for name, color in re.findall(
            r'--([\w-]+): (#[0-9a-f]{6});', block)} for block in blocks)
        self.assertEqual(light.keys(), dark.keys())
        return {'light': light, 'dark': dark}

    def test_known_ratio(self):
        self.assertAlmostEqual(contrast('#000000', '#ffffff'), 21)
        self.assertAlmostEqual(contrast('#777777', '#ffffff'), 4.48, 2)

    def test_contrast(self):
        for scheme, colors in self.schemes().items():
            for pairs, least in (self.TEXT, 4.5), (self.DRAWN, 3):
                for one, other in pairs:
                    with self.subTest(scheme=scheme, one=one, other=other):
                        self.assertGreaterEqual(
                            contrast(colors[one], colors[other]), least)

    def test_all_colors_are_variables(self):
        rest = re.sub(r':root \{.*?\}', '', page.resource('style.css'),
                      flags=re.DOTALL)
        self.assertNotRegex(rest, r'#[0-9a-f]{3,8}\b|rgb|hsl')


class LayersTests(unittest.TestCase):
    def layout(self, edges, width=50):
        nodes = dict.fromkeys(sum(([*edge] for edge in edges), []), width)
        found = layers.layout(nodes, edges)
        for layer in found.layers:
            ends = [(found.centers[node] - nodes.get(node, 0) / 2,
                     found.centers[node] + nodes.get(node, 0) / 2)
                    for node in layer]
            for (_, end), (start, _) in zip(ends, ends[1:]):
                self.assertGreater(start, end)
            for start, end in ends:
                self.assertGreaterEqual(start, -0.01)
                self.assertLessEqual(end, found.width + 0.01)
        return found

    def depth(self, found):
        return {node: i for i, layer in enumerate(found.layers)
                for node in layer}

    def test_chain(self):
        found = self.layout([('a', 'b'), ('b', 'c')])
        self.assertEqual(found.layers, [['a'], ['b'], ['c']])
        self.assertEqual(len(set(found.centers.values())), 1)

    def test_long_edge(self):
        found = self.layout([('a', 'b'), ('b', 'c'), ('a', 'c')])
        self.assertEqual(found.ways['a', 'c'], ['a', ('a', 'c', 1), 'c'])

    def test_cycles(self):
        edges = [('a', 'b'), ('b', 'c'), ('c', 'a'), ('b', 'a'), ('c', 'd')]
        found = self.layout(edges)
        self.assertEqual(found.turned, {('c', 'a'), ('b', 'a')})
        depth = self.depth(found)
        for source_, to in edges:
            up = (source_, to) in found.turned
            self.assertEqual(depth[source_] > depth[to], up)

    def test_crossings(self):
        found = self.layout([('a', 'y'), ('b', 'x'), ('a', 'z'), ('b', 'w')])
        below = found.layers[1]
        self.assertEqual({*below[:2]}, {'y', 'z'})

    def test_deep(self):
        self.layout([(i, i + 1) for i in range(300)])

    def test_nothing(self):
        self.assertEqual(layers.layout({}, []).width, 0)

    def test_settle(self):
        self.assertEqual(layers.settle([10, 100], [20, 20]), [10, 100])
        self.assertEqual(layers.settle([50, 50], [20, 20]),
                         [50 - 10 - layers.GAP / 2, 50 + 10 + layers.GAP / 2])


class GraphTests(unittest.TestCase):
    def test_hunt(self):
        drawn = hunt.holders_graph(html_findings.hunt())
        self.assertEqual([(edge.source, edge.to)
                          for edge in drawn.edges.values()],
                         [(('nobody',), ('type', 'list')),
                          (('type', 'dict'), ('type', 'list')),
                          (('type', 'list'), ('type', 'dict')),
                          (('object', '{1: <str object>}'), ('type', 'str'))])

    def test_diagnosis(self):
        drawn = diagnosis.owners_graph(html_findings.diagnosis())
        names = {key: node.name for key, node in drawn.nodes.items()}
        edges = [(names[edge.source], names[edge.to], edge.label)
                 for edge in drawn.edges.values()]
        b, c = f'dict at {html_findings.B:#x}', f'dict at {html_findings.C:#x}'
        self.assertEqual(edges, [
            ('lost in C', 'list', ''), ('f()', 'lost in C', 'missing-decref'),
            ("<module 'm'>", b, '.__dict__'), (b, c, "['cache']"),
            (c, 'dict', "['key']"), ('list', 'int 9, str 3', ''),
            ('dict', 'int 9, str 3', '')])

    def test_many(self):
        found = graph.Graph()
        for i in range(500):
            found.node(i, 'holder', 'holder', f'name {i}')
            found.edge(i, (i * 7 + 1) % 500)
        document = Document(graph.figure(found, 'x', 'title', 'Caption.'))
        self.assertEqual(document.problems, [])
        self.assertEqual(len(document.all('rect')), graph.MAX_NODES)
        self.assertIn('460 more boxes', ''.join(document.texts['figcaption']))


class ChartTests(unittest.TestCase):
    def test_axis(self):
        for values in [0], [3], [7, -2], [1000], [0.5], [123456, 1], [-5], \
                [10**30]:
            with self.subTest(values=values):
                ticks = chart.axis(values)
                self.assertLessEqual(ticks[0], min(values))
                self.assertGreaterEqual(ticks[-1], max(values))
                self.assertIn(0, ticks)
                self.assertLessEqual(len(ticks), 8)

    def test_series_that_are_alike(self):
        found = chart.merge([chart.Series('a', [0, 1]),
                             chart.Series('b', [0, 2]),
                             chart.Series('c', [0, 1])])
        self.assertEqual(found, [('a, c', (0, 1)), ('b', (0, 2))])

    def test_numbers(self):
        text = reports.document(html_findings.hunt(
            html_findings.finding('list', refs=(1, 3, 0))))
        self.assertIn('References by type after each run', text)
        row = text[text.rindex('<th scope="row"><code>list'):]
        self.assertEqual(re.findall(r'number">([^<]*)<', row)[:4],
                         ['0', '1', '4', '4'])


class FlameTests(unittest.TestCase):
    BIRTHS = [((('f', 'python'), ('g', 'c'), ('list', 'type')), 6),
              ((('f', 'python'), ('list', 'type')), 3),
              ((('h', 'c'), ('dict', 'type')), 1)]

    def test_frames(self):
        found = flame.frames(flame.build(self.BIRTHS))
        self.assertEqual(
            [(frame.name, depth, round(left), round(width))
             for frame, depth, left, width in found],
            [('all that stayed', 0, 0, 100), ('f', 1, 0, 90), ('g', 2, 0, 60),
             ('list', 3, 0, 60), ('list', 2, 60, 30), ('h', 1, 90, 10),
             ('dict', 2, 90, 10)])

    def test_many(self):
        births = [(((f'f{i}', 'c'),), 1) for i in range(5000)]
        self.assertEqual(len(flame.frames(flame.build(births))), 1)
        births = [(tuple((f'f{i} {j}', 'c') for j in range(100)), 1)
                  for i in range(100)]
        self.assertEqual(len(flame.frames(flame.build(births))),
                         flame.MAX_FRAMES)


class SourceTests(unittest.TestCase):
    LINES = [f'line {i}' for i in range(1, 101)]

    def sources(self):
        return source.Sources(lambda path: self.LINES
                              if path == 'Modules/f.c' else None)

    def test_excerpt(self):
        text = self.sources().excerpt('Modules/f.c',
                                      [10, 12, 99, 0, 101, 12, 50, 70])
        marked = re.findall(r'marked">\u25b6 .*?(line \d+)', text, re.DOTALL)
        self.assertEqual(marked, ['line 10', 'line 12', 'line 50', 'line 99'])
        lines = ''.join(Document(text).texts['span'])
        self.assertEqual(re.findall(r'line (\d+)|\u22ee', lines), [
            *map(str, range(7, 16)), '', *map(str, range(47, 54)), '',
            *map(str, range(96, 101))])

    def test_what_is_unknown(self):
        sources = self.sources()
        for file, line in [('', 1), ('g.c', 1), ('Modules/f.c', 0),
                           ('Modules/f.c', 101), ('Modules/f.c', -1)]:
            self.assertIsNone(sources.excerpt(file, [line]))
            self.assertIsNone(sources.line(file, line))

    def test_report(self):
        made = diagnosis.make(html_findings.diagnosis(), self.sources())
        text = page.document(made)
        self.assertEqual(Document(text).problems, [])
        self.assertIn('Source: <code>Modules/f.c:10</code>', text)
        self.assertIn('<pre class="line"><code>line 12</code></pre>', text)

    def test_other_files_are_not_read(self):
        read = []
        sources = source.Sources(lambda path: read.append(path) or ['x'])
        for file in '/etc/passwd', '/home/x/.ssh/id', '../x.c', 'a/../../b.c':
            self.assertIsNone(sources.lines(file))
        self.assertEqual(read, [])

    def test_odd_files(self):
        with tempfile.TemporaryDirectory() as directory:
            fifo = os.path.join(directory, 'fifo.c')
            os.mkfifo(fifo)
            binary = os.path.join(directory, 'binary.c')
            with open(binary, 'wb') as file:
                file.write(b'\xff\0\n' + b'x' * 100)
            self.assertIsNone(source.read(fifo))
            self.assertIsNone(source.read(directory))
            self.assertIsNone(source.read('\0.c'))
            self.assertEqual(len(source.read(binary)), 2)


class TimelineTests(unittest.TestCase):
    def test_growth(self):
        changes = [(0.0, 'a', 1), (1.0, 'a', 1), (1.0, 'b', 1), (2.0, 'a', -1)]
        clocks, lines = log.timeline(changes, 2.0, ['a'])
        self.assertEqual((clocks[0], clocks[-1], len(clocks)),
                         (0, 2, log.POINTS + 1))
        line = lines['a']
        self.assertEqual((line[0], line[log.POINTS // 2 - 1],
                          line[log.POINTS // 2], line[-1]), (1, 1, 2, 1))

    def test_no_time(self):
        _, lines = log.timeline([(0.0, 'a', 1)], 0.0, ['a'])
        self.assertEqual(lines['a'][-1], 1)
        self.assertIsNone(log.growth_section(([0.0], lines)))


class ReplaceTests(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.path = os.path.join(self.directory, 'report.html')

    def test_replace(self):
        for text in 'one', 'two \xe4':
            cli.replace(self.path, text)
            with open(self.path, encoding='utf-8') as file:
                self.assertEqual(file.read(), text)
        self.assertEqual(os.listdir(self.directory), ['report.html'])

    def test_all_or_nothing(self):
        cli.replace(self.path, 'old')
        with self.assertRaises(UnicodeEncodeError):
            cli.replace(self.path, 'new' * 10000 + '\udcff')
        with open(self.path) as file:
            self.assertEqual(file.read(), 'old')
        self.assertEqual(os.listdir(self.directory), ['report.html'])

    def test_permissions(self):
        mask = os.umask(0o027)
        self.addCleanup(os.umask, mask)
        cli.replace(self.path, 'x')
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o640)
        os.chmod(self.path, 0o604)
        cli.replace(self.path, 'y')
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o604)

    def test_links_stay(self):
        link = os.path.join(self.directory, 'link')
        os.symlink('report.html', link)
        cli.replace(link, 'x')
        self.assertTrue(os.path.islink(link))
        self.assertTrue(os.path.isfile(self.path))

    def test_error_in_the_middle(self):
        def write(file):
            file.write(b'new')
            file.flush()
            raise ValueError
        cli.replace(self.path, 'old')
        for path in self.path, os.path.join(self.directory, 'other'):
            with self.assertRaises(ValueError):
                cli.replace_by(path, write)
        with open(self.path, encoding='utf-8') as file:
            self.assertEqual(file.read(), 'old')
        self.assertEqual(os.listdir(self.directory),
                         ['report.html'])

    def test_pipe(self):
        done = subprocess.run(
            [sys.executable, '-c', 'from refmap import cli\n'
                                   'cli.replace("/dev/stdout", "x")'],
            stdout=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stdout), (0, b'x'))

    def test_what_is_no_file(self):
        cli.replace(os.devnull, 'x')
        self.assertFalse(os.path.isfile(os.devnull))
        missing = os.path.join(self.directory, 'no', 'where')
        with self.assertRaises(OSError) as caught:
            cli.replace(missing, 'x')
        self.assertEqual(caught.exception.filename, missing)


class CommandTests(unittest.TestCase):
    """python -m refmap html"""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name, text=None):
        path = os.path.join(self.directory, name)
        if text is not None:
            with open(path, 'w', encoding='utf-8') as file:
                file.write(text)
        return path

    def run_command(self, *args):
        done = subprocess.run([sys.executable, '-m', 'refmap', 'html', *args],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True)
        self.assertEqual(done.stdout, '')
        return done.returncode, done.stderr

    def test_reports(self):
        for name, found in REPORTS.items():
            with self.subTest(name=name):
                findings = self.path('json', json.dumps(found) + '\n')
                self.assertEqual(self.run_command(findings, self.path('html')),
                                 (0, ''))
                with open(self.path('html'), encoding='utf-8') as file:
                    self.assertEqual(Document(file.read()).problems, [])

    def test_line(self):
        lines = [{**REPORTS['hunt'], 'test': f'test_{i}'} for i in range(3)]
        findings = self.path('json', '\n'.join(map(json.dumps, lines)))
        for args, name in [([], 'test_2'), (['--line', '1'], 'test_0')]:
            code, _ = self.run_command(*args, findings, self.path('html'))
            self.assertEqual(code, 0)
            with open(self.path('html'), encoding='utf-8') as file:
                self.assertIn(f'<h1>{name}</h1>', file.read())

    def test_bad_input(self):
        for text in ('', '\n', 'x', '[]', '3', '{}', '{"suspects": 3}', '\udcff',
                     json.dumps({**REPORTS['hunt'], 'types': [3]}),
                     json.dumps({**REPORTS['hunt'], 'runs': 'x'}),
                     json.dumps({**REPORTS['diagnosis'], 'roots': None}),
                     '[' * 100_000):
            with self.subTest(text=text[:40]):
                path = self.path('json', '')
                with open(path, 'wb') as file:
                    file.write(text.encode(errors='surrogateescape'))
                code, err = self.run_command(path, self.path('html'))
                self.assertEqual(code, 2, err)
                self.assertEqual(len(err.splitlines()), 1, err)
                self.assertIn(path, err)
                self.assertFalse(os.path.exists(self.path('html')))

    def test_bad_usage(self):
        findings = self.path('json', json.dumps(REPORTS['hunt']))
        for args in ([], [findings], ['--line', '0', findings, 'x'],
                     ['--line', '2', findings, 'x'],
                     [self.path('missing'), 'x'],
                     [findings, self.path('no/where')],
                     [findings, '/dev/full']):
            with self.subTest(args=args):
                code, err = self.run_command(*args)
                self.assertEqual(code, 2)
                self.assertTrue(err)
                self.assertNotIn('Traceback', err)


if __name__ == '__main__':
    unittest.main()
