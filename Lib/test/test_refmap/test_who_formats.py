"""Suspects for machines: SARIF, GitHub annotations, JUnit.

Pure: from literal suspects, in any interpreter.
"""

import json
import unittest
from collections import namedtuple
from xml.etree import ElementTree

from refmap.who import annotations, junit, rules, sarif

Suspect = namedtuple('Suspect', 'function file line kind rule type references '
                                'score evidence')
Step = namedtuple('Step', 'text file line')

GUILTY = Suspect(
    'foo_init', 'Modules/_foo.c', 12, 'lost in C', 'overwritten-field', 'list',
    2, 0.875, [Step('born in PyList_New()', 'Objects/listobject.c', 200),
               Step('in memory of nobody known', '', 0),
               Step('while Python ran f()', 'a b.py', 3)])
HINT = Suspect('foo_new', 'Modules/_foo.c', 40, 'lost in C', 'missing-decref',
               'list', 1, 0.25, [])
STRIPPED = Suspect('??', '_foo.so+0x12', 0, 'raw memory', 'raw-memory', None,
                   1, 0.5, [Step('allocated', '??', 0)])
ABSOLUTE = GUILTY._replace(file='/src/\xe4 b%/_foo.c', rule='held')

# The objects of SARIF 2.1.0 that are used: required properties, others.
ANY = object()
OBJECTS = {
    'log': ({'version': ANY, 'runs': ['run']}, {'$schema': ANY}),
    'run': ({'tool': 'tool'},
            {'results': ['result'], 'invocations': ['invocation'],
             'originalUriBaseIds': {ANY: 'artifactLocation'},
             'columnKind': ANY}),
    'tool': ({'driver': 'toolComponent'}, {}),
    'toolComponent': ({'name': ANY}, {'rules': ['reportingDescriptor']}),
    'reportingDescriptor': ({'id': ANY},
                            {'name': ANY, 'shortDescription': 'message',
                             'fullDescription': 'message', 'help': 'message',
                             'defaultConfiguration': 'configuration',
                             'properties': ANY}),
    'configuration': ({}, {'level': ANY}),
    'message': ({'text': ANY}, {'markdown': ANY}),
    'invocation': ({'executionSuccessful': ANY},
                   {'toolExecutionNotifications': ['notification']}),
    'notification': ({'message': 'message'}, {'level': ANY}),
    'artifactLocation': ({}, {'uri': ANY, 'uriBaseId': ANY,
                              'description': 'message'}),
    'result': ({'message': 'message'},
               {'ruleId': ANY, 'ruleIndex': ANY, 'level': ANY, 'rank': ANY,
                'locations': ['location'], 'codeFlows': ['codeFlow'],
                'partialFingerprints': ANY, 'properties': ANY}),
    'location': ({}, {'physicalLocation': 'physicalLocation',
                      'logicalLocations': ['logicalLocation'],
                      'message': 'message'}),
    'physicalLocation': ({'artifactLocation': 'artifactLocation'},
                         {'region': 'region'}),
    'region': ({}, {'startLine': ANY}),
    'logicalLocation': ({}, {'name': ANY, 'fullyQualifiedName': ANY,
                             'kind': ANY}),
    'codeFlow': ({'threadFlows': ['threadFlow']}, {}),
    'threadFlow': ({'locations': ['threadFlowLocation']}, {}),
    'threadFlowLocation': ({}, {'location': 'location',
                                'executionOrder': ANY}),
}


def problems(value, kind='log'):
    """Yield what is wrong with an object of SARIF."""
    if kind is ANY:
        return
    if isinstance(kind, list):
        if not isinstance(value, list):
            yield f'{value!r} is no array'
            return
        for item in value:
            yield from problems(item, kind[0])
        return
    if isinstance(kind, dict):
        for item in value.values():
            yield from problems(item, kind[ANY])
        return
    required, others = OBJECTS[kind]
    for name in required.keys() - value.keys():
        yield f'{kind} has no {name}'
    for name, item in value.items():
        known = {**required, **others}
        if name not in known:
            yield f'{kind} must not have {name}'
        else:
            yield from problems(item, known[name])


class SarifTests(unittest.TestCase):
    def check(self, log):
        """Return the run, after it came back from JSON."""
        log = json.loads(json.dumps(log))
        self.assertEqual(list(problems(log)), [])
        self.assertEqual(log['version'], '2.1.0')
        [run] = log['runs']
        for result in run['results']:
            rule = run['tool']['driver']['rules'][result['ruleIndex']]
            self.assertEqual(rule['id'], result['ruleId'])
            for location in self.locations(result):
                self.assertGreater(
                    location['physicalLocation']['region']['startLine'], 0)
                self.assertTrue(
                    location['physicalLocation']['artifactLocation']['uri'])
        return run

    def locations(self, result):
        """All places in a result: services refuse those without a file."""
        yield from result['locations']
        for code_flow in result.get('codeFlows', ()):
            for thread_flow in code_flow['threadFlows']:
                self.assertTrue(thread_flow['locations'])
                for step in thread_flow['locations']:
                    yield step['location']

    def test_the_check_itself(self):
        for log in ({'version': '2.1.0'}, {'version': '2.1.0', 'runs': [{}]},
                    {'version': '2.1.0', 'runs': {}},
                    {'version': '2.1.0', 'runs': [], 'result': []}):
            self.assertNotEqual(list(problems(log)), [], log)

    def test_nothing(self):
        run = self.check(sarif.sarif([]))
        self.assertEqual(run['results'], [])
        [invocation] = run['invocations']
        self.assertEqual(invocation['toolExecutionNotifications'], [])

    def test_rules(self):
        run = self.check(sarif.sarif([]))
        described = run['tool']['driver']['rules']
        self.assertEqual([rule['id'] for rule in described], [
            'missing-decref', 'overwritten-field', 'container-not-released',
            'missing-visit', 'no-gc', 'untracked', 'held', 'over-decref',
            'raw-memory'])
        for rule in described:
            self.assertTrue(rule['help']['text'])
            self.assertIn(rule['defaultConfiguration']['level'],
                          ('error', 'warning'))

    def test_result(self):
        run = self.check(sarif.sarif([GUILTY, HINT], name='f'))
        first, second = run['results']
        self.assertEqual(first['ruleId'], 'overwritten-field')
        self.assertEqual(first['level'], 'error')
        self.assertEqual(first['rank'], 87.5)
        self.assertEqual(first['message']['text'],
                         'foo_init(): A field is overwritten without '
                         'releasing what it held (list, 2 references a run in '
                         'f; lost in C; score 0.88)')
        [location] = first['locations']
        self.assertEqual(location['physicalLocation'], {
            'artifactLocation': {'uri': 'Modules/_foo.c',
                                 'uriBaseId': '%SRCROOT%'},
            'region': {'startLine': 12}})
        self.assertEqual(location['logicalLocations'][0]['name'], 'foo_init')
        self.assertEqual(second['level'], 'note')
        self.assertNotIn('codeFlows', second)

    def test_flow(self):
        [result] = self.check(sarif.sarif([GUILTY]))['results']
        [steps] = [flow['threadFlows'][0]['locations']
                   for flow in result['codeFlows']]
        told = [(step['executionOrder'], step['location']['message']['text'],
                 step['location']['physicalLocation']['artifactLocation']
                 ['uri']) for step in steps]
        self.assertEqual(told, [
            (1, 'born in PyList_New(); in memory of nobody known',
             'Objects/listobject.c'),
            (2, 'while Python ran f()', 'a%20b.py')])

    def test_flow_that_begins_nowhere(self):
        suspect = GUILTY._replace(evidence=[
            Step('a', '??', 0), Step('b', '', 0), Step('c', 'x.c', 1)])
        [result] = self.check(sarif.sarif([suspect]))['results']
        [step] = result['codeFlows'][0]['threadFlows'][0]['locations']
        self.assertEqual(step['location']['message']['text'], 'a; b; c')

    def test_absolute(self):
        [result] = self.check(sarif.sarif([ABSOLUTE]))['results']
        place = result['locations'][0]['physicalLocation']
        self.assertEqual(place['artifactLocation'],
                         {'uri': 'file:///src/%C3%A4%20b%25/_foo.c'})
        self.assertEqual(result['level'], 'warning')

    def test_unknown_source(self):
        run = self.check(sarif.sarif([STRIPPED], notes=['No lines.']))
        self.assertEqual(run['results'], [])
        [invocation] = run['invocations']
        texts = [(one['level'], one['message']['text'])
                 for one in invocation['toolExecutionNotifications']]
        self.assertEqual(texts, [
            ('error', '??(): Memory is allocated and never freed (memory, 1 '
                      'block a run; raw memory; score 0.50)'),
            ('note', 'No lines.')])

    def test_where_it_is_defined(self):
        run = self.check(sarif.sarif([STRIPPED], file='t.py', line=7))
        [result] = run['results']
        place = result['locations'][0]['physicalLocation']
        self.assertEqual(place['artifactLocation']['uri'], 't.py')
        self.assertEqual(place['region'], {'startLine': 7})

    def test_fingerprint(self):
        def fingerprint(suspect):
            [result] = self.check(sarif.sarif([suspect]))['results']
            return result['partialFingerprints']['refmapSuspect/v1']

        same = [GUILTY, GUILTY._replace(line=99, score=0.1, references=7,
                                        evidence=[])]
        self.assertEqual(len(set(map(fingerprint, same))), 1)
        others = [GUILTY, HINT, GUILTY._replace(function='g'),
                  GUILTY._replace(type='dict'), GUILTY._replace(file='x.c')]
        self.assertEqual(len(set(map(fingerprint, others))), len(others))
        moved = [ABSOLUTE, ABSOLUTE._replace(file='/elsewhere/_foo.c')]
        self.assertEqual(len(set(map(fingerprint, moved))), 1)

    def test_unknown_rule(self):
        suspect = GUILTY._replace(rule='new-rule')
        run = self.check(sarif.sarif([HINT, suspect]))
        self.assertEqual(run['results'][1]['ruleId'], 'new-rule')
        self.assertEqual(run['tool']['driver']['rules'][-1]['name'], 'NewRule')

    def test_cases(self):
        run = self.check(sarif.document([
            rules.Case('test_a', [GUILTY]), rules.Case('test_b', [HINT]),
            rules.Case('test_c', [], True), rules.Case('test_d', [])]))
        self.assertEqual([result['level'] for result in run['results']],
                         ['error', 'error'])
        [invocation] = run['invocations']
        [told] = invocation['toolExecutionNotifications']
        self.assertEqual(told['message']['text'],
                         'test_c leaks; who is not known.')

    def test_odd_text(self):
        suspect = GUILTY._replace(function='f\udcff\n<"', file='a\udcff.c')
        log = sarif.sarif([suspect], name='n\udcff', notes=['\udcff'])
        self.check(log)
        json.dumps(log, ensure_ascii=False).encode()
        [result] = log['runs'][0]['results']
        text = result['message']['text']
        self.assertTrue(text.startswith('f\\udcff\\n<"(): '), text)


class AnnotationTests(unittest.TestCase):
    def test_escape(self):
        self.assertEqual(annotations.escape_data('a%\r\n:,b'),
                         'a%25%0D%0A:,b')
        self.assertEqual(annotations.escape_property('a%\r\n:,b'),
                         'a%25%0D%0A%3A%2Cb')

    def test_lines(self):
        first, second = annotations.annotations([GUILTY, HINT], name='f')
        self.assertEqual(
            first,
            '::error file=Modules/_foo.c,line=12,title=refmap%3A '
            'overwritten-field::foo_init(): A field is overwritten without '
            'releasing what it held (list, 2 references a run in f; lost in '
            'C; score 0.88)%0A1. born in PyList_New() '
            '[Objects/listobject.c:200]%0A2. in memory of nobody known%0A3. while Python ran f() '
            '[a b.py:3]')
        self.assertTrue(second.startswith('::notice file=Modules/_foo.c,'))

    def test_one_line_each(self):
        odd = GUILTY._replace(function='f\r\n::error::g', file='a,b:c\n.c')
        [line] = annotations.annotations([odd])
        self.assertEqual(len(line.splitlines()), 1)
        self.assertTrue(
            line.startswith('::error file=a%2Cb%3Ac%0A.c,line=12,'))

    def test_unknown_source(self):
        [line] = annotations.annotations([STRIPPED])
        self.assertTrue(
            line.startswith('::error title=refmap%3A raw-memory::'))
        [line] = annotations.annotations([STRIPPED], file='t.py', line=7)
        self.assertTrue(line.startswith('::error file=t.py,line=7,title='))

    def test_nobody(self):
        lines = annotations.document([rules.Case('f', [], True, 't.py', 7),
                                      rules.Case('g', [], True),
                                      rules.Case('h', [], False)])
        self.assertEqual(lines, [
            '::warning file=t.py,line=7,title=refmap%3A leak::f leaks; who is '
            'not known.',
            '::warning title=refmap%3A leak::g leaks; who is not known.'])


class JUnitTests(unittest.TestCase):
    def test_cases(self):
        text = junit.junit([
            rules.Case('test_a', [GUILTY, HINT], seconds=1.5, file='t.py',
                       line=7, notes=['A note.']),
            rules.Case('test_b', [], True), rules.Case('test_c', [], False)],
            suite='test.foo')
        root = ElementTree.fromstring(text.encode())
        [suite] = root
        self.assertEqual(suite.attrib, {
            'name': 'test.foo', 'tests': '3', 'failures': '2', 'errors': '0',
            'skipped': '0', 'time': '1.500'})
        a, b, c = suite
        self.assertEqual(a.attrib, {'classname': 'test.foo', 'name': 'test_a',
                                    'file': 't.py', 'line': '7',
                                    'time': '1.500'})
        [failure] = a
        self.assertEqual(failure.attrib['type'], 'overwritten-field')
        self.assertTrue(failure.attrib['message'].startswith('foo_init(): A'))
        lines = failure.text.splitlines()
        self.assertTrue(lines[0].startswith('Modules/_foo.c:12: foo_init()'))
        self.assertEqual(lines[1], '1. born in PyList_New() '
                                   '[Objects/listobject.c:200]')
        self.assertEqual(lines[-1], 'A note.')
        self.assertEqual(b[0].attrib['message'],
                         'test_b leaks; who is not known.')
        self.assertEqual(len(c), 0)

    def test_odd_text(self):
        odd = GUILTY._replace(function='f<&>\x00"\udcff\u20ac')
        text = junit.junit([rules.Case('n\x1b', [odd])])
        root = ElementTree.fromstring(text.encode())
        case = root[0][0]
        self.assertEqual(case.attrib['name'], r'n\x1b')
        self.assertIn('f<&>\\x00"\\udcff\u20ac(): ', case[0].attrib['message'])

    def test_nothing(self):
        root = ElementTree.fromstring(junit.junit([]))
        self.assertEqual(root[0].attrib['tests'], '0')


if __name__ == '__main__':
    unittest.main()
