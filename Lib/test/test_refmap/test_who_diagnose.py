"""refmap.diagnose(): what is watched, what the report says; and all of it.

All but the last classes work on literal records and findings, and run in any
interpreter that can import refmap.
"""

import json
import sys
import unittest
from types import SimpleNamespace as Namespace

import refmap
from refmap import judge
from refmap.who import (batch, births, blocks, diagnosis, report, search,
                        watching)
from refmap.who.evidence import Step
from refmap.who.recording import (NOWHERE, UNKNOWN, Alloc, Change, Death, Frame,
                                  Free, Lost, Move, Outcome, Recording, Return)
from refmap.who.suspects import Leaked
from refmap.who.symbols import Site

try:
    import _testrefmap
except ImportError:
    _testrefmap = None

A, B, C = 0x10000, 0x20000, 0x30000
CLASS = 0x40000


def new(address, run=1, **more):
    """An object that leaked, as in a finding."""
    return {'address': address, 'born': run, 'counts': [0, 1, 1, 1],
            'repr': '[1]', 'size': 48, **more}


def old(address, *counts, **more):
    return {'address': address, 'born': 0, 'counts': list(counts),
            'repr': '<x>', 'size': 48, **more}


def finding(name, *objects, pattern=judge.EVERY_RUN, born=(1, 1, 1), **more):
    return {'type': name, 'pattern': pattern, 'refs': [1, 1, 1],
            'born': list(born), 'objects': list(objects), 'more': 0, **more}


def findings(*found, verdict='leak', **more):
    return {'test': 'test_x', 'verdict': verdict, 'runs': 3, 'warmups': 3,
            'types': list(found), 'seconds': 0.06, **more}


class WatchTests(unittest.TestCase):
    def test_types(self):
        watch = watching.first(findings(finding('list', new(A)),
                                        finding('list', new(B)),
                                        finding('set', new(C))))
        self.assertEqual(watch.types, ('list', 'set'))
        self.assertEqual(watch.addresses, ())
        self.assertFalse(watch.blocks)

    def test_older_objects(self):
        watch = watching.first(findings(
            finding('dict', old(A, 5, 6, 7, 8), born=(0, 0, 0)),
            finding('str', old(B, 9, 8, 7, 6), born=(0, 0, 0),
                    pattern=judge.OVER_DECREF)))
        self.assertEqual(watch.types, ())
        self.assertEqual(watch.addresses, (A, B))

    def test_dead_objects(self):
        dead = old(A, 5, 6, 7, 8)
        del dead['repr']
        watch = watching.first(findings(finding('x', dead, born=(0, 0, 0))))
        self.assertEqual(watch.addresses, ())

    def test_nobody_is_guilty(self):
        watch = watching.first(findings(
            finding('list', new(A), suppressed='known'),
            finding('set', old(B, 9, 8, 7, 6), pattern=judge.SHRINKING),
            finding('x', old(B, 9, 8), pattern=judge.IMPOSSIBLE),
            finding(judge.KEYS, new(A)), finding(judge.UNATTRIBUTED)))
        self.assertEqual(watch, batch.Watch())

    def test_a_class_grows_by_its_instances(self):
        found = findings(finding('Plain', new(A)),
                         finding('type', old(CLASS, 7, 8, 9, 10),
                                 born=(0, 0, 0)))
        self.assertEqual(watching.first(found, {CLASS: 3}).addresses, ())
        # One more than instances: somebody lost a reference to the class.
        self.assertEqual(watching.first(found, {CLASS: 2}).addresses, (CLASS,))
        # It loses references, whatever its instances do.
        found['types'][1]['objects'][0]['counts'] = [9, 8, 7, 6]
        self.assertEqual(watching.first(found, {CLASS: 3}).addresses, (CLASS,))

    def test_wider(self):
        watch = batch.Watch(types=('list',), addresses=(A,))
        analysis = Namespace(wanted=['list', judge.KEYS])
        self.assertIsNone(watching.wider(watch, analysis))
        analysis.wanted = ['dict', 'list', 'dict']
        self.assertEqual(watching.wider(watch, analysis),
                         batch.Watch(types=('list', 'dict'), addresses=(A,)))

    def numbers(self, start, births):
        return watching.numbers(Namespace(start=start, births=dict(
            enumerate(births))))

    def test_numbers_of_births(self):
        # Serials begin again.
        last = batch.BIRTH_MASK
        self.assertEqual(self.numbers(last - 1, [last, 3, 3])[:2], (1, 5))
        self.assertEqual(self.numbers(7, []), ())
        numbers = self.numbers(100, range(101, 101 + 10_000))
        self.assertLessEqual(len(numbers), watching.MAX_BIRTHS)
        self.assertEqual(numbers[0], 1)
        self.assertGreater(numbers[-1], 9_900)

    def test_healthy_births_for_comparison(self):
        ran = Namespace(start=100, births={A: 101})
        self.assertEqual(watching.numbers(ran, [105, 102])[:3], (1, 2, 5))
        many = watching.numbers(ran, range(200, 2000))
        self.assertLessEqual(len(many), 3 + watching.MAX_HEALTHY)
        self.assertEqual(many[0], 1)
        # Without a leak there is nothing to compare.
        self.assertEqual(watching.numbers(Namespace(start=1, births={}), [5]),
                         ())
        recording = Namespace(events=[birth(A, 101, 1), birth(B, 102, 1),
                                      Death(0, A, 102, CLASS, 0, 0, ())])
        self.assertEqual(watching.healthy_births(recording, ran), [102])

    def test_births_beside_them(self):
        # A program may make an object more in one run than in another.
        self.assertEqual(self.numbers(100, [101, 110]),
                         (1, 10, 2, 3, 8, 9, 11, 12))
        # With many, one that is missed does not matter.
        self.assertEqual(self.numbers(0, range(3, 300, 3)),
                         tuple(range(3, 300, 3)))

    def test_survive(self):
        losing = finding('x', old(A, 20, 19, 17, 16), born=(0, 0, 0),
                         pattern=judge.OVER_DECREF)
        self.assertTrue(watching.survive([losing], 7))
        self.assertFalse(watching.survive([losing], 8))
        # What leaks does not die of it.
        self.assertTrue(watching.survive([finding('list', new(A))], 10**9))


def birth(address, serial, *pcs, code=0, line=0):
    return Change('birth', 0, address, 1, serial, CLASS, 1, 0, code, line, (),
                  tuple(Frame(pc, 0x7000 + 16 * i) for i, pc in enumerate(pcs)))


class Names:
    """Symbols of a few addresses."""

    SITES = {
        1: (Site('new_reference', 'Objects/object.c', 1),
            Site('_Py_NewReference', 'Objects/object.c', 2)),
        2: (Site('PyList_New', 'Objects/listobject.c', 255),),
        3: (Site('f', 'f.c', 10),),
        4: (Site('g', 'f.c', 20),),
    }

    def at(self, pc):
        return self.SITES.get(pc, (Site('??', 'f.so+0x10', 0),))


class BirthTests(unittest.TestCase):
    def recording(self, *events):
        recording = Recording()
        recording.events.extend(events)
        recording.codes[1] = 'test', 'test_x.py', 5
        return recording

    def test_the_last_at_an_address(self):
        events = [birth(A, 1), birth(A, 2), birth(B, 3),
                  Move(0, A, C, 2, ())]
        found = births.last_births(self.recording(*events))
        self.assertEqual({address: event.birth
                          for address, event in found.items()}, {B: 3, C: 2})

    def test_places(self):
        events = [birth(A, 1, 1, 2, 3, 4, code=1, line=7), birth(B, 2, 1, 4),
                  birth(C, 3, 1, 2, 3, 4, code=1, line=7), birth(0x50000, 4, 9)]
        recording = self.recording(*events)
        leaked = [Leaked(event.address, 'list', 0, 1, event.birth)
                  for event in events]
        leaked.append(Leaked(0x60000, 'list', 0, 1, 0))     # not recorded
        found = births.summary(births.places(
            leaked, births.last_births(recording), recording, Names()))
        self.assertEqual(found, {'list': [
            {'count': 2,
             'text': 'PyList_New() (Objects/listobject.c:255), called by '
                     'f() (f.c:10) while test (test_x.py:7) ran',
             'born': [{'function': 'PyList_New',
                       'file': 'Objects/listobject.c', 'line': 255},
                      {'function': 'f', 'file': 'f.c', 'line': 10}],
             'python': 'test (test_x.py:7)'},
            {'count': 1, 'text': 'g() (f.c:20)',
             'born': [{'function': 'g', 'file': 'f.c', 'line': 20}],
             'python': None}]})

    def test_older_objects_have_none(self):
        recording = self.recording(birth(A, 1, 1, 2))
        found = births.places([Leaked(A, 'list', 1, 2, 0)],
                              births.last_births(recording), recording, Names())
        self.assertEqual(found, {})

    def test_tell(self):
        young, aged = finding('list', new(A)), finding('list', born=(0, 0, 0))
        births.tell([young, aged], {'list': [{'count': 1, 'text': 'f()'}]})
        self.assertEqual(young['births'], [{'count': 1, 'text': 'f()'}])
        self.assertNotIn('births', aged)


class BlockTests(unittest.TestCase):
    def test_what_stays_in_each_run(self):
        def alloc(address, *pcs):
            return Alloc(0, address, 100, 1, 0, 0,
                         tuple(Frame(pc, 16 * pc) for pc in pcs))

        recording = Recording()
        marks = {0x1000, 0x2000}
        always, late = [alloc(0x10, 1, 2), alloc(0x20, 1, 2)], alloc(0x30, 1, 2)
        recording.events[:] = [
            always[0], alloc(0x40, 3), alloc(0x41, 3), alloc(0x50, 4),
            alloc(0x1000, 9),
            # The block of run 1 is given back in run 2.
            Free(0, 0x50), always[1], alloc(0x51, 4), alloc(0x2000, 9),
            # A run more does not count, but what it frees does.
            late, Free(0, 0x51), alloc(0x52, 4)]
        blocks.keep_leaked(recording, marks)
        self.assertEqual(recording.events, always)


class LeakedTests(unittest.TestCase):
    def leaked(self, watch, births, *changed):
        return watching.leaked(Namespace(changed=changed, births=births), watch)

    def test_watched(self):
        watch = batch.Watch(types=('list',), addresses=(C,))
        self.assertEqual(
            self.leaked(watch, {A: 7}, (A, 'list', 0, 1), (B, 'set', 0, 2),
                        (C, 'set', 5, 6), (0x60000, 'list', 5, 6)),
            [Leaked(A, 'list', 0, 1, 7), Leaked(C, 'set', 5, 6, 0)])

    def recording(self, *tokens):
        return Namespace(events=[
            Change('change', 0, A + 16 * i, 1, i + 1, CLASS, 1, token, 0, 0,
                   (), ()) for i, token in enumerate(tokens)])

    def test_a_run(self):
        leaked = [Leaked(A, 'list', 0, 1, 1), Leaked(B, 'list', 0, 1, 2),
                  Leaked(C, 'dict', 1, 2, 0)]
        self.assertEqual(watching.born_a_run(leaked, 4), {'list': 0.5})
        found = findings(finding('list', new(A), born=(2, 2, 2)))
        self.assertEqual(watching.expected_a_run(found, 'list'), 2)
        self.assertEqual(watching.expected_a_run(found, 'dict'), 0)

    def test_memory_that_was_not_searched(self):
        leaked = [Leaked(A, 'list', 0, 1, 1)]
        recording = self.recording(7)
        for token, outcome, expected in ((7, UNKNOWN, True), (8, UNKNOWN, False),
                                         (7, NOWHERE, False)):
            ended = Return(0, 1, 0, (), (Outcome(token, outcome, 0),), ())
            self.assertEqual(watching.not_searched(
                Namespace(events=[*recording.events, ended]), leaked), expected)

    def test_references_that_were_not_followed(self):
        recording = self.recording(0, 0, 5)
        leaked = [Leaked(A, 'list', 0, 1, 1), Leaked(A + 32, 'list', 0, 1, 3)]
        self.assertEqual(watching.not_followed(recording, leaked), 1)
        # Others do not matter.
        self.assertEqual(watching.not_followed(recording, leaked[1:]), 0)
        # Older objects are known by their addresses.
        self.assertEqual(watching.not_followed(
            recording, [Leaked(A + 16, 'list', 3, 4, 0)]), 1)
        # Neither does what was given back.
        released = recording.events[0]._replace(n=-1)
        self.assertEqual(watching.not_followed(
            Namespace(events=[released]), leaked), 0)


def suspect(function='f', **more):
    values = dict(function=function, file='f.c', line=10, kind='lost in C',
                  rule='missing-decref', type='list', references=1.0,
                  score=0.9, evidence=[Step('born in g()', 'g.c', 1),
                                       Step('left by f()', '', 0)])
    return Namespace(**{**values, **more})


def root(address=A, **more):
    values = dict(address=address, type='list', before=0, after=1,
                  kind='lost in C', birth=77,
                  place=births.Place((Site('g', 'g.c', 1),), None), chain=())
    return search.Root(**{**values, **more})


class TrialTests(unittest.TestCase):
    def trial(self, score, kind='lost in C', lost=0):
        made = search.Trial.__new__(search.Trial)
        made.analysis = Namespace(
            suspects=[suspect(score=score, kind=kind)] if score else [])
        made.recording = Recording()
        made.recording.lost = Lost(0, lost, 0)
        made.leaked = []
        return made

    def test_best_evidence(self):
        for best, other in (
                (self.trial(0.9), self.trial(0.4)),
                # What was searched completely tells more.
                (self.trial(0.4), self.trial(0.9, lost=1)),
                (self.trial(0.9, lost=1), self.trial(0.4, lost=1)),
                # But not of another kind of leak, nor if it tells nothing.
                (self.trial(0.4, lost=1), self.trial(0.1, kind='held')),
                (self.trial(0.4, lost=1), self.trial(0))):
            for trials in [best, other], [other, best]:
                self.assertIs(search.best_of(trials), best)


class ReportTests(unittest.TestCase):
    def diagnosis(self, found=None, **more):
        made = diagnosis.Diagnosis(found or findings(finding('list', new(A))))
        for name, value in more.items():
            setattr(made, name, value)
        return made

    def test_clean(self):
        made = self.diagnosis(findings(verdict='clean'))
        self.assertEqual(report.lines(made), [
            'refmap: test_x: clean (3 runs after 3 warm-ups): no suspects'])

    def test_all(self):
        made = self.diagnosis(
            suspects=[suspect(), suspect('h', file='', line=0, score=0.25,
                                         references=2.5)],
            roots=[root(), root(B)], consequences={'int': 3, 'str': 6},
            births={'str': [{'count': 6, 'text': 'k() (k.c:3)'}]},
            notes=['why'], recorded=3)
        made.seconds.update(recording=0.5, unrecorded=0.25, analysis=1)
        self.assertEqual(str(made).splitlines(), [
            'refmap: test_x: leak (3 runs after 3 warm-ups)',
            '  who:',
            '    1. f(), f.c:10',
            '       missing-decref: A reference is taken and never released.',
            '       list, lost in C: 1 reference a run; score 0.90',
            '         - born in g(), g.c:1',
            '         - left by f()',
            '    2. h()',
            '       missing-decref: A reference is taken and never released.',
            '       list, lost in C: 2.5 references a run; score 0.25',
            '         - born in g(), g.c:1',
            '         - left by f()',
            '  leaked objects that explain the others:',
            '    list, lost in C: 0x10000 (birth 77) x2: 0 -> 1',
            '        born in g() (g.c:1)',
            '  explained by them:',
            '    str 6, born in k() (k.c:3)',
            '    int 3',
            '  not known: why',
            '  recorded 3 runs in 0.50 s, 2.0 times as long as without it; '
            'analysis 1.00 s',
        ])

    def test_chain(self):
        made = self.diagnosis(roots=[root(chain=tuple('abcdefg'))])
        text = report.lines(made)
        begin = text.index('        a')
        self.assertEqual([line.strip() for line in text[begin:]],
                         [*'abcde', '... and 2 more owners'])

    def test_no_suspect(self):
        made = self.diagnosis()
        self.assertEqual(report.lines(made)[1:], [
            '  who: not known, the evidence does not suffice',
            '    list: 1 a run; new objects: 1 a run'])

    def test_it_fits_a_screen(self):
        steps = [Step(f'step {i}', 'f.c', i) for i in range(100)]
        made = self.diagnosis(
            suspects=[suspect(evidence=steps) for _ in range(5)],
            roots=[root(A + 16 * i, type=f'type{i}') for i in range(20)],
            consequences={f'type{i}': i + 1 for i in range(100)},
            notes=['one', 'two'])
        text = report.lines(made)
        self.assertLessEqual(len(text), 60)
        self.assertIn('    ... and 2 suspects less likely', text)
        # The first ones and the last ones.
        begin = text.index('         - step 4, f.c:4')
        self.assertEqual(text[begin + 1:begin + 3], [
            '         - ... 86 more steps', '         - step 91, f.c:91'])
        self.assertIn('    ... and 16 more kinds', text)

    def test_names_make_no_lines(self):
        name = 'x\n  1. innocent()\r\x1b[2K\u2028\u202e\udc80'
        made = self.diagnosis(
            findings(finding(name, new(A)), test=name),
            suspects=[suspect(name, file=name, type=name,
                              evidence=[Step(name, name, 1)])],
            roots=[root(type=name)], consequences={name: 1}, notes=[name])
        for text in report.lines(made), report.lines(self.diagnosis(
                findings(finding(name, new(A))))):
            for line in text:
                self.assertTrue(line.isprintable(), line)

    def test_raw_memory(self):
        made = self.diagnosis(
            findings(blocks=[1, 1, 1]),
            suspects=[suspect(kind='raw memory', rule='raw-memory', type='')])
        self.assertIn('       memory, raw memory: 1 block a run; score 0.90',
                      report.lines(made))

    def test_json(self):
        made = self.diagnosis(suspects=[suspect()], roots=[root()],
                              consequences={'int': 3}, notes=['why'])
        again = json.loads(json.dumps(made.to_json()))
        self.assertEqual(again, made.to_json())
        self.assertEqual(again['suspects'], [{
            'function': 'f', 'file': 'f.c', 'line': 10, 'kind': 'lost in C',
            'rule': 'missing-decref', 'type': 'list', 'references': 1.0,
            'score': 0.9, 'evidence': [
                {'text': 'born in g()', 'file': 'g.c', 'line': 1},
                {'text': 'left by f()', 'file': '', 'line': 0}]}])
        self.assertEqual(again['roots'], [{
            'address': A, 'type': 'list', 'before': 0, 'after': 1,
            'kind': 'lost in C', 'birth': 77, 'python': None, 'chain': [],
            'born': [{'function': 'g', 'file': 'g.c', 'line': 1}]}])
        self.assertEqual(again['findings']['types'][0]['type'], 'list')
        self.assertNotIn('findings', report.as_dict(made, findings=False))


class RunsTests(unittest.TestCase):
    def runs(self, seconds, **more):
        found = findings(finding('list', new(A), **more))
        found['cpu'] = seconds
        made = diagnosis.Diagnosis(found)
        return search.Task(None, None, made, 10.0).runs()

    def test_how_many_are_recorded(self):
        self.assertEqual(self.runs(0.0), search.RUNS)
        self.assertEqual(self.runs(0.1), search.RUNS)
        # Half a second a run, ten times as long when recorded: two in 10 s.
        self.assertEqual(self.runs(0.5), 2)
        self.assertEqual(self.runs(100.0), 1)

    def test_of_a_leak_that_does_not_show_in_each_run(self):
        self.assertEqual(self.runs(0.0, pattern=judge.SOME_RUNS),
                         search.RUNS_OF_SOME)


class PackageTests(unittest.TestCase):
    def test_names(self):
        self.assertIs(refmap.diagnose, diagnosis.diagnose)
        self.assertIs(refmap.Diagnosis, diagnosis.Diagnosis)
        self.assertIn('diagnose', dir(refmap))
        with self.assertRaises(AttributeError):
            refmap.diagnosis_of_nothing


RECORDS = refmap.available() and batch.obstacle() is None


class Plain:
    pass


@unittest.skipUnless(refmap.available() and _testrefmap,
                     'needs an interpreter --with-refcount-map')
class DiagnoseTests(unittest.TestCase):
    def assert_not_recording(self):
        if RECORDS:
            with self.assertRaises(RuntimeError):
                sys.refmap_record_stop()

    def test_clean(self):
        calls = []

        def clean():
            calls.append(None)
            calls.clear()
            return [Plain() for _ in range(100)]

        found = refmap.diagnose(clean)
        self.assertEqual(found.verdict, 'clean')
        self.assertEqual((found.suspects, found.roots), ([], []))
        self.assertEqual(found.recorded, 0)
        self.assertTrue(str(found).endswith(': no suspects'))

    def test_exception(self):
        for last in range(6 + RECORDS):
            runs = iter(range(last))

            def leak():
                _testrefmap.leak_reference([])
                next(runs)

            with self.subTest(last=last):
                with self.assertRaises(StopIteration):
                    refmap.diagnose(leak)
                self.assert_not_recording()

    def test_counts(self):
        for warmups, runs in (-1, 3), (3, 0), (10 ** 6, 3):
            with self.assertRaises(ValueError):
                refmap.diagnose(print, warmups=warmups, runs=runs)
        with self.assertRaises(TypeError):
            refmap.diagnose(print, 3, 3)

    def test_suppressed(self):
        found = refmap.diagnose(lambda: _testrefmap.leak_reference([]),
                                suppressions=[['list', '*', 'known']])
        self.assertEqual(found.verdict, 'clean')
        self.assertEqual(found.recorded, 0)

    def test_name(self):
        found = refmap.diagnose(lambda: None, name='it')
        self.assertTrue(str(found).startswith('refmap: it: clean'))
        self.assertEqual(repr(found), '<refmap diagnosis of it: clean>')

    def test_without_recorder(self):
        from test.support import swap_attr
        with swap_attr(batch, 'obstacle', lambda: 'it can not'):
            found = refmap.diagnose(lambda: _testrefmap.leak_reference([1]))
        self.assertEqual(found.verdict, 'leak')
        self.assertEqual(found.recorded, 0)
        self.assertIn('  not known: it can not', str(found).splitlines())
        self.assertEqual({root.type for root in found.roots}, {'list'})
        self.assertEqual({root.kind for root in found.roots}, {'lost in C'})
        # There is no evidence against anybody.
        self.assertEqual(found.suspects, [])


@unittest.skipUnless(RECORDS and _testrefmap,
                     'needs an interpreter that records')
class RecordedTests(unittest.TestCase):
    def assert_first(self, found, function, type_name, rule='missing-decref'):
        self.assertTrue(found.suspects, found)
        first = found.suspects[0]
        self.assertEqual((first.function, first.type, first.rule),
                         (function, type_name, rule), found)
        self.assertEqual(first.file, 'Modules/_testrefmap.c')
        self.assertTrue(0.5 < first.references <= 1, found)
        self.assertTrue(0 < first.score <= 1)
        self.assertTrue(first.evidence)

    def test_leak(self):
        found = refmap.diagnose(lambda: _testrefmap.leak_reference([1]))
        self.assertEqual(found.verdict, 'leak')
        self.assert_first(found, 'leak_reference', 'list')
        self.assertEqual(found.suspects[0].kind, 'lost in C')
        self.assertEqual(len(found.roots), found.recorded)
        for root in found.roots:
            self.assertEqual((root.type, root.before, root.after, root.kind),
                             ('list', 0, 1, 'lost in C'))
            self.assertEqual(root.birth, sys._refmap_birth(root.address))
            self.assertIn('test_who_diagnose.py:', root.place.python)
        self.assertEqual(found.consequences, {})
        known = found.findings['types'][0]['births']
        self.assertEqual(sum(place['count'] for place in known),
                         found.recorded)
        self.assertIn('RecordedTests.test_leak', known[0]['text'])
        json.dumps(found.to_json())

    def test_new_object(self):
        found = refmap.diagnose(_testrefmap.leak_object)
        self.assert_first(found, 'leak_object', '_testrefmap.Plain')
        # The class grew by its instances only.
        self.assertEqual({root.type for root in found.roots},
                         {'_testrefmap.Plain'})

    def test_old_object(self):
        old = Plain()
        found = refmap.diagnose(lambda: _testrefmap.leak_reference(old))
        self.assert_first(found, 'leak_reference', 'Plain')
        [root] = found.roots
        self.assertEqual(root.address, id(old))
        self.assertEqual(root.after - root.before, found.recorded)

    def test_consequences(self):
        def leak():
            plain = Plain()
            plain.value = [1000000007 + len(kept)]
            _testrefmap.leak_reference(plain)

        kept = []
        found = refmap.diagnose(leak)
        self.assert_first(found, 'leak_reference', 'Plain')
        self.assertEqual({root.type for root in found.roots}, {'Plain'})
        self.assertEqual(found.consequences['list'], found.recorded)

    def test_over_decref(self):
        old = object()
        for _ in range(100):
            _testrefmap.leak_reference(old)
        found = refmap.diagnose(lambda: _testrefmap.over_decref(old))
        self.assertEqual(found.verdict, 'error')
        first = found.suspects[0]
        self.assertEqual((first.function, first.rule),
                         ('over_decref', 'over-decref'), found)

    def test_over_decref_of_an_object_that_would_die(self):
        old = object()
        for _ in range(7):
            _testrefmap.leak_reference(old)
        found = refmap.diagnose(lambda: _testrefmap.over_decref(old))
        self.assertEqual(found.recorded, 0)
        self.assertIn(search.DYING, found.notes)

    def test_raw_memory(self):
        import ctypes
        malloc = ctypes.pythonapi.PyMem_Malloc
        malloc.restype = ctypes.c_void_p
        found = refmap.diagnose(lambda: malloc(100) and None)
        self.assertEqual(found.verdict, 'leak', found)
        self.assertEqual(found.findings['types'], [])
        first = found.suspects[0]
        self.assertEqual((first.kind, first.rule, first.references),
                         ('raw memory', 'raw-memory', 1))

    def test_what_some_runs_leak(self):
        runs = [0]

        def leak():
            runs[0] += 1
            if runs[0] % 2:
                _testrefmap.leak_reference({1})

        found = refmap.diagnose(leak, runs=6)
        self.assertEqual(found.verdict, 'suspicious')
        self.assertEqual(found.suspects[0].function, 'leak_reference')

    def test_nothing_of_the_driver_is_seen(self):
        # Types that it may make objects of itself.
        values = [list, dict, float, str, bytes, tuple, int, set, object]

        def leak():
            for make in values:
                if make in (int, str, bytes, tuple):
                    continue
                _testrefmap.leak_reference(make())
            _testrefmap.leak_reference((values,))
            _testrefmap.leak_reference('x' * len(values))
            _testrefmap.leak_reference(bytes(len(values)))
            _testrefmap.leak_reference(len(values) << 60)

        found = refmap.diagnose(leak)
        self.assertEqual(found.suspects[0].function, 'leak_reference', found)
        counts = {}
        for root in found.roots:
            counts[root.type] = counts.get(root.type, 0) + 1
        names = [make.__name__ for make in values]
        self.assertEqual(set(counts), set(names))
        self.assertEqual(set(counts.values()), {found.recorded})
        # The list grew, by what leaked tuples hold.
        self.assertEqual(found.consequences, {'list': 1})

    def test_a_cache_of_the_last_run(self):
        # Lists that come and go are no part of the leak.
        last = []

        def leak():
            last[:] = [[[]], []]
            _testrefmap.leak_reference([1])

        found = refmap.diagnose(leak)
        self.assert_first(found, 'leak_reference', 'list')
        self.assertEqual(len(found.roots), found.recorded)

    def test_recording_already(self):
        sys.refmap_record()
        try:
            with self.assertRaises(ValueError):
                refmap.diagnose(lambda: _testrefmap.leak_reference([]))
        finally:
            sys.refmap_record_stop()

    def test_stopped_by_the_callable(self):
        runs = iter(range(100))

        def leak():
            _testrefmap.leak_reference([])
            if next(runs) == 7:
                sys.refmap_record_stop()

        with self.assertRaisesRegex(RuntimeError, 'stopped the recording'):
            refmap.diagnose(leak)

    def test_a_type_of_many_births(self):
        def leak():
            for _ in range(100_000):
                [].append(1)
            _testrefmap.leak_reference([1])

        found = refmap.diagnose(leak, warmups=1)
        self.assert_first(found, 'leak_reference', 'list')
        # By the numbers of births, which are the same in each run.
        self.assertNotIn('not known:', str(found))


@unittest.skipIf(refmap.available(), 'this interpreter has a map')
class NoMapTests(unittest.TestCase):
    def test_diagnose(self):
        with self.assertRaisesRegex(RuntimeError, 'with-refcount-map'):
            refmap.diagnose(lambda: None)


if __name__ == '__main__':
    unittest.main()
