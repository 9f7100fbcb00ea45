"""Event logs for viewers: from literal logs, read back by decoders of its
own."""

import gzip
import io
import json
import os
import tempfile
import unittest

from refmap.log import (analysis, events, perfetto, pprof, protobuf, samples,
                        speedscope)
from refmap.log.samples import Frame, Sample
from refmap.log.selection import Selection
from test.test_refmap import log_records
from test.test_refmap.test_log_analysis import program

F = Frame('f', '/src/a.py', 10)
G = Frame('C.g', '/src/b.py', 20)


class ExportTestCase(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, 'x.log')

    def analyse(self, log, **selection):
        self.logs = [events.Log(log.save(self.path))]
        self.addCleanup(self.logs[0].close)
        return analysis.analyse(self.logs, Selection(**selection))

    def write(self, module, log, **selection):
        out = io.BytesIO()
        found = self.analyse(log, **selection)
        module.write(found, self.logs, out)
        return out.getvalue()


class SampleTests(ExportTestCase):

    def test_samples(self):
        log = program()
        log.change(0x2000, 2, 3, 4, 1)
        found = samples.samples(self.analyse(log.end()))
        self.assertEqual(sorted(found), [
            Sample('list', (G,), 0, 2, 0, 0, 0),
            Sample('list', (F,), 5, 0, 3, 3, 168),
            Sample('m.Node', (G,), 1, 0, 1, 1, 48),
            Sample('m.Node', (F,), 0, 0, 0, 3, 0)])

    def test_stacks(self):
        class CFunctions:
            def resolve(self, places):
                list(places)

            def stack(self, place):
                return [Frame('PyList_New', 'Objects/listobject.c', 5),
                        Frame('??', 'x.so+0x10', 0)] * bool(place.returns)

        log = log_records.Log()
        t = log.type('list')
        f, g = log.code('f', 'a.py', (1, 5)), log.code('g', 'b.py', (1, 7))
        for address in 64, 128:
            # The same, told apart by the log.
            log.new(address, t, log.place((g, 2), (f, 2), returns=[0x10010]))
        found = self.analyse(log)
        found.c_functions = CFunctions()
        [one] = samples.samples(found)
        self.assertEqual(one.births, 2)
        self.assertEqual(one.stack, (
            ('PyList_New', 'Objects/listobject.c', 5),
            ('x.so+0x10', 'x.so+0x10', 0), ('g', 'b.py', 7), ('f', 'a.py', 5)))


class SpeedscopeTests(ExportTestCase):

    def stacks(self, found):
        """Return {name of a profile: {stack, outermost first: weight}}."""
        frames = found['shared']['frames']
        return {profile['name']: {
            tuple(frames[i]['name'] for i in stack): weight
            for stack, weight in zip(profile['samples'], profile['weights'],
                                     strict=True)}
            for profile in found['profiles']}

    def check_schema(self, found):
        self.assertEqual(found['$schema'],
                         'https://www.speedscope.app/file-format-schema.json')
        self.assertLessEqual(set(found), {
            '$schema', 'name', 'exporter', 'activeProfileIndex', 'shared',
            'profiles'})
        self.assertEqual(set(found['shared']), {'frames'})
        for frame in found['shared']['frames']:
            self.assertIsInstance(frame['name'], str)
            self.assertLessEqual(set(frame), {'name', 'file', 'line', 'col'})
        for profile in found['profiles']:
            self.assertEqual(set(profile), {
                'type', 'name', 'unit', 'startValue', 'endValue', 'samples',
                'weights'})
            self.assertEqual(profile['type'], 'sampled')
            self.assertIn(profile['unit'], ('none', 'bytes'))
            self.assertEqual(profile['endValue'] - profile['startValue'],
                             sum(profile['weights']))
            for stack in profile['samples']:
                for index in stack:
                    self.assertTrue(
                        0 <= index < len(found['shared']['frames']))

    def test_document(self):
        found = json.loads(self.write(speedscope, program().end()))
        self.check_schema(found)
        self.assertEqual(self.stacks(found), {
            'objects made': {('f', 'list'): 5, ('C.g', 'm.Node'): 1},
            'objects made and alive': {('f', 'list'): 3, ('C.g', 'm.Node'): 1},
            'bytes of objects made and alive': {('f', 'list'): 168,
                                                ('C.g', 'm.Node'): 48}})
        active = found['profiles'][found['activeProfileIndex']]
        self.assertEqual(active['name'], 'objects made and alive')

    def test_outermost_first(self):
        found = speedscope.document('x', [Sample('int', (F, G), 2, 0, 0, 0, 0)])
        self.assertEqual(list(self.stacks(found)['objects made']),
                         [('C.g', 'f', 'int')])

    def test_selection(self):
        found = json.loads(self.write(speedscope, program(), types=['list']))
        self.assertEqual(self.stacks(found)['objects made'],
                         {('f', 'list'): 5})

    def test_nothing(self):
        found = json.loads(self.write(speedscope, log_records.Log()))
        self.check_schema(found)


# --- pprof -------------------------------------------------------------------

def fields(data):
    """Return {number: [values]} of a message: ints and bytes."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value += (byte % 128) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        if key % 8 == 0:
            value = number()
        elif key % 8 == 2:
            length = number()
            value = data[at:at + length]
            assert len(value) == length
            at += length
        else:
            raise ValueError(f'wire type {key % 8}')
        found.setdefault(key >> 3, []).append(value)
    return found


def unpacked(data):
    """The numbers of a packed field, signed."""
    found, at = [], 0
    while at < len(data):
        end = at
        while data[end] > 127:
            end += 1
        value = sum((byte & 127) << 7 * i
                    for i, byte in enumerate(data[at:end + 1]))
        found.append(value - (1 << 64) if value >> 63 else value)
        at = end + 1
    return found


class Profile:
    """A profile of pprof, decoded; `samples` is a list of (type, stack,
    {name of the value: value})."""

    def __init__(self, data):
        top = fields(data)
        self.texts = [text.decode() for text in top[6]]
        assert self.texts[0] == ''
        self.types = [(self.texts[one[1][0]], self.texts[one[2][0]])
                      for one in map(fields, top[1])]
        self.functions = {}
        for one in map(fields, top.get(5, [])):
            self.functions[one[1][0]] = (self.texts[one[2][0]],
                                         self.texts[one.get(4, [0])[0]])
        self.locations = {}
        for one in map(fields, top.get(4, [])):
            line = fields(one[4][0])
            self.locations[one[1][0]] = Frame(*self.functions[line[1][0]],
                                              line.get(2, [0])[0])
        self.samples = [self.sample(fields(one)) for one in top.get(2, [])]
        self.comments = [self.texts[i] for i in unpacked(top[13][0])]
        self.default = self.texts[top[14][0]]
        self.time = top.get(9, [0])[0]
        self.duration = top.get(10, [0])[0]

    def sample(self, one):
        stack = unpacked(one[1][0]) if 1 in one else []
        label = fields(one[3][0])
        assert self.texts[label[1][0]] == 'type'
        values = unpacked(one[2][0])
        assert len(values) == len(self.types)
        return (self.texts[label.get(2, [0])[0]],
                tuple(self.locations[number] for number in stack),
                dict(zip((name for name, _ in self.types), values)))


class PprofTests(ExportTestCase):

    def test_profile(self):
        data = self.write(pprof, program().end())
        found = Profile(gzip.decompress(data))
        self.assertEqual(found.types, [
            ('births', 'count'), ('deaths', 'count'), ('alive', 'count'),
            ('references', 'count'), ('bytes', 'bytes')])
        self.assertEqual(found.default, 'alive')
        self.assertEqual(found.samples, [
            ('list', (F,), {'births': 5, 'deaths': 0, 'alive': 3,
                            'references': 3, 'bytes': 168}),
            ('m.Node', (G,), {'births': 1, 'deaths': 0, 'alive': 1,
                              'references': 1, 'bytes': 48}),
            ('list', (G,), {'births': 0, 'deaths': 2, 'alive': 0,
                            'references': 0, 'bytes': 0})])
        self.assertEqual(found.time, 10**18)
        self.assertEqual(found.duration, 8000)
        self.assertRegex(found.comments[0], 'tp_basicsize')

    def test_bytes_by_size(self):
        data = self.write(pprof, log_records.Log(sizes=True))
        self.assertRegex(Profile(gzip.decompress(data)).comments[0], 'sizes')

    def test_same_log_gives_the_same_file(self):
        self.assertEqual(self.write(pprof, program()),
                         self.write(pprof, program()))

    def test_negative_and_large_values(self):
        found = Profile(pprof.document([
            Sample('int', (F, G), 1 << 40, 0, 0, -3, 0)]))
        [(_, stack, values)] = found.samples
        self.assertEqual(stack, (F, G))
        self.assertEqual((values['births'], values['references']),
                         (1 << 40, -3))

    def test_locations_are_shared(self):
        found = Profile(pprof.document([
            Sample('int', (F, G), 1, 0, 0, 0, 0),
            Sample('str', (F._replace(line=11), G), 1, 0, 0, 0, 0)]))
        self.assertEqual((len(found.locations), len(found.functions)), (3, 2))

    def test_hostile_texts(self):
        for text in ('\x1b\0\n', '<b>', 'x' * 10_000, '\udc80', ''):
            frame = Frame(text, text, 1)
            found = Profile(pprof.document([
                Sample(text, (frame,), 1, 0, 0, 0, 0)]))
            shown = text.encode(errors='backslashreplace').decode()
            self.assertEqual(found.samples[0][1],
                             (Frame(shown or '?', shown, 1),))

    def test_no_samples(self):
        self.assertEqual(Profile(pprof.document([], 'x')).samples, [])


class ProtobufTests(unittest.TestCase):

    def test_varint(self):
        # From the documentation of protocol buffers.
        self.assertEqual(protobuf.varint(150), b'\x96\x01')
        self.assertEqual(protobuf.varint(-2), b'\xfe' + 8 * b'\xff' + b'\x01')
        self.assertEqual(protobuf.varint(0), b'\0')

    def test_fields(self):
        self.assertEqual(protobuf.integer(1, 150), b'\x08\x96\x01')
        self.assertEqual(protobuf.integer(1, 0), b'')
        self.assertEqual(protobuf.data(2, b'testing'), b'\x12\x07testing')
        self.assertEqual(protobuf.packed(6, [3, 270, 86942]),
                         b'\x32\x06\x03\x8e\x02\x9e\xa7\x05')
        self.assertEqual(protobuf.packed(6, []), b'')


class PerfettoTests(ExportTestCase):

    def trace(self, log, **selection):
        found = json.loads(self.write(perfetto, log, **selection))
        for event in found['traceEvents']:
            self.assertIn(event['ph'], 'CMi')
            self.assertIsInstance(event['name'], str)
            self.assertIsInstance(event['pid'], int)
            if event['ph'] == 'C':
                self.assertIsInstance(event['args']['value'], int)
            if event['ph'] != 'M':
                self.assertIsInstance(event['ts'], float)
        return found['traceEvents']

    def counter(self, trace, name):
        return [(event['ts'], event['args']['value']) for event in trace
                if event['ph'] == 'C' and event['name'] == name]

    def test_counters(self):
        log = program()
        log.rss(5)
        log.refs(77)
        log.message('hello')
        log.new(0x9000, 2)
        trace = self.trace(log.end())
        self.assertEqual(self.counter(trace, 'list'), [
            (0.0, 1), (1.0, 2), (2.0, 3), (3.0, 4), (4.0, 5), (6.0, 4),
            (7.0, 3)])
        self.assertEqual(self.counter(trace, 'm.Node'), [(5.0, 1), (9.0, 2)])
        self.assertEqual(self.counter(trace, 'resident memory'),
                         [(9.0, 20480)])
        self.assertEqual(self.counter(trace, 'references'), [(9.0, 77)])
        instants = [event for event in trace if event['ph'] == 'i']
        self.assertEqual([(event['name'], event['ts']) for event in instants],
                         [('hello', 8.0)])
        names = [event['args']['name'] for event in trace
                 if event['name'] == 'thread_name']
        self.assertEqual(names, ['thread 1 (0)', 'thread 2 (0)'])

    def test_selection_of_types(self):
        trace = self.trace(program(), types=['m.*'])
        self.assertEqual({event['name'] for event in trace
                          if event['ph'] == 'C'}, {'m.Node'})

    def test_not_more_points_than_are_seen(self):
        log = log_records.Log()
        t = log.type('int')
        for i in range(10_000):
            log.new(64 * i, t)
        counter = self.counter(self.trace(log), 'int')
        self.assertLess(len(counter), perfetto.RESOLUTION + 3)
        self.assertEqual(counter[-1], (9999.0, 10_000))

    def test_interpreters_have_counters_of_their_own(self):
        log = log_records.Log()
        for stream in 1, 2:
            log.stream = stream
            log.thread(1, 5, stream - 1)
            log.new(64, log.type('int'))
        trace = self.trace(log)
        self.assertEqual(self.counter(trace, 'int')[-1][1], 1)
        self.assertEqual(self.counter(trace, 'int (interpreter 1)')[-1][1], 1)

    def test_corrupt(self):
        log = program()
        log.record(99)
        self.assertEqual(len(self.counter(self.trace(log), 'list')), 7)


if __name__ == '__main__':
    unittest.main()
