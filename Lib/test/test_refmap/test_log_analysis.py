"""What became of the objects in event logs: from literal logs."""

import ctypes
import json
import os
import shutil
import tempfile
import time
import unittest

from refmap.log import analysis, events, report
from refmap.log.selection import Selection
from refmap.who import symbols
from test.test_refmap import log_records

needs_binutils = unittest.skipUnless(
    all(map(shutil.which, ('addr2line', 'nm', 'readelf'))),
    'binutils are missing')


class AnalysisTestCase(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def open(self, *logs):
        """Return the events.Logs of log_records.Logs."""
        opened = []
        for number, log in enumerate(logs):
            path = os.path.join(self.directory, f'{number}.log')
            opened.append(events.Log(log.save(path)))
            self.addCleanup(opened[-1].close)
        return opened

    def analyse(self, *logs, **selection):
        """Return the dict of the Analysis."""
        found = analysis.analyse(self.open(*logs), Selection(**selection))
        result = report.to_json(found)
        json.dumps(result)
        self.text = '\n'.join(report.lines(result))
        return result

    def rows(self, rows, *names):
        return [tuple(row[name] for name in names) for row in rows]


def program(**header):
    """Return a log of two types and two places."""
    log = log_records.Log(**header)
    log.thread(1)
    t = log.type('list', 56)
    node = log.type('m.Node', 48)
    f = log.line('f', '/src/a.py', 10)
    g = log.line('C.g', '/src/b.py', 20)
    for i in range(5):
        log.new(0x1000 + 64 * i, t, f)          # births 1 to 5
    log.thread(2)
    log.new(0x2000, node, g)                    # birth 6
    for i in range(2):
        log.delete(0x1000 + 64 * i, t, g, i + 1)
    return log


class ObjectTests(AnalysisTestCase):

    def test_alive(self):
        found = self.analyse(program().end())
        self.assertEqual(
            self.rows(found['alive'], 'type', 'file', 'line', 'function',
                      'c_function', 'count', 'bytes'),
            [('list', '/src/a.py', 10, 'f', '', 3, 3 * 56),
             ('m.Node', '/src/b.py', 20, 'C.g', '', 1, 48)])
        self.assertAlmostEqual(found['alive'][0]['last'], 4e-6)
        self.assertIn('4 objects made and alive at the end', self.text)
        self.assertIn('3 list: f (/src/a.py:10)', self.text)
        self.assertEqual(found['notes'], [])

    def test_died(self):
        found = self.analyse(program().end())
        [row] = found['died']
        self.assertEqual((row['type'], row['count'], row['born']['line'],
                          row['died']['function']), ('list', 2, 10, 'C.g'))
        self.assertAlmostEqual(row['shortest'], 6e-6)
        self.assertAlmostEqual(row['longest'], 6e-6)
        self.assertAlmostEqual(row['mean'], 6e-6)

    def test_longest(self):
        log = program()
        log.delete(0x2000, 2, 1, 6)
        log.delete(0x1080, 1, 1, 3)
        found = self.analyse(log)
        self.assertEqual(self.rows(found['longest'], 'address', 'birth')[0],
                         (0x1080, 3))
        seconds = [row['seconds'] for row in found['longest']]
        self.assertEqual(seconds, sorted(seconds, reverse=True))

    def test_types(self):
        found = self.analyse(program().end())
        self.assertEqual(self.rows(found['types'], 'type', 'new', 'deleted'),
                         [('list', 5, 2), ('m.Node', 1, 0)])

    def test_unseen(self):
        log = program()
        log.delete(0x9000, 2, 2)
        log.delete(0x9040, 2, 2)
        found = self.analyse(log)
        self.assertEqual(self.rows(found['unseen'], 'type', 'line', 'count'),
                         [('m.Node', 20, 2)])
        self.assertEqual(self.rows(found['types'], 'type', 'deleted'),
                         [('list', 2), ('m.Node', 2)])

    def test_reused(self):
        log = program()
        log.new(0x2000, 1, 1)
        found = self.analyse(log.end())
        self.assertEqual(found['n_reused'], 1)
        [row] = found['reused']
        self.assertEqual((row['address'], row['type'], row['line'],
                          row['next']['type'], row['next']['line']),
                         (0x2000, 'm.Node', 20, 'list', 10))
        self.assertIn('reused without a death', self.text)

    def test_reused_after_a_suspension(self):
        log = program()
        log.suspend()
        log.resume()
        log.new(0x2000, 1, 1)
        found = self.analyse(log.end())
        self.assertEqual((found['n_reused'], found['reused']), (0, []))
        self.assertIn('1 object died while nothing was logged',
                      found['notes'])

    def test_reclassed(self):
        log = program()
        log.delete(0x2000, 1, 1, 6)
        found = self.analyse(log.end())
        self.assertEqual(self.rows(found['reclassed'], 'born', 'died', 'line',
                                   'count'), [('m.Node', 'list', 10, 1)])

    def test_moved(self):
        log = program()
        log.delete(0x1080, 1, 2, 3)
        log.new(0x7000, 1, 2, birth=3)
        # One that dies and one that is made there, without births.
        log.delete(0x3000, 1)
        log.new(0x3000, 1, birth=0)
        found = self.analyse(log.end())
        self.assertEqual(found['moved'], 1)
        self.assertEqual(self.rows(found['alive'], 'type', 'line', 'count'),
                         [('list', 10, 3), ('m.Node', 20, 1), ('list', 0, 1)])
        log.delete(0x7000, 1, 2, 3)
        found = self.analyse(log)
        self.assertEqual(found['died'][0]['count'], 3)
        self.assertEqual(found['died'][0]['born']['line'], 10)

    def test_sizes(self):
        log = log_records.Log(sizes=True)
        t = log.type('bytes', 33)
        log.new(64, t, size=1000)
        log.new(128, t, size=0)
        found = self.analyse(log)
        self.assertEqual((found['alive'][0]['bytes'], found['bytes']),
                         (1000, 'size'))

    def test_places_that_say_the_same_are_one(self):
        log = log_records.Log()
        t = log.type('int')
        for address in 64, 128:
            log.new(address, t, log.line('f', 'a.py', 3))
        found = self.analyse(log)
        self.assertEqual(self.rows(found['alive'], 'count', 'line'), [(2, 3)])

    def test_hostile_names(self):
        for text in '\x1b[2J\n\r', '<b>', 'x' * 10_000, '\u202e':
            log = log_records.Log()
            log.new(64, log.type(text), log.line(text, text, 3))
            log.message(text)
            found = self.analyse(log)
            self.assertEqual(found['alive'][0]['type'], text)
            self.assertTrue(all(map(str.isprintable, self.text.split('\n'))))

    def test_ends(self):
        for log, text in ((program(), 'never closed'),
                          (program(), 'cut off')):
            log.end()
            log.data = log.flush().data[:-5 if text == 'cut off' else -10]
            if text == 'never closed':
                log = program()
            found = self.analyse(log)
            self.assertIn(text, found['notes'][-1])
        log = program()
        log.record(77)
        found = self.analyse(log)
        self.assertRegex(found['error'], '0.log: .* kind 77')
        self.assertEqual(len(found['alive']), 2)

    def test_nothing(self):
        found = self.analyse(log_records.Log().end())
        self.assertEqual(found['alive'], [])
        self.assertIn('0 objects', self.text)

    def test_limit(self):
        log = log_records.Log()
        for i in range(30):
            log.new(64 * i, log.type(f't{i}'))
        found = self.analyse(log)
        text = '\n'.join(report.lines(found, 3))
        self.assertIn('... 27 more', text)
        self.assertLess(text.count('\n'), 20)


class ReferenceTests(AnalysisTestCase):

    def test_kept(self):
        log = program()
        log.change(0x2000, 2, 1, 2, 1)
        log.change(0x2000, 2, 2, 4, 1)
        log.change(0x2000, 2, -1, 3, 2)
        # Balanced, and of one that dies.
        log.change(0x1080, 1, 1, 2, 1)
        log.change(0x1080, 1, -1, 1, 1)
        log.change(0x10c0, 1, 1, 2, 1)
        log.delete(0x10c0, 1, 1, 4)
        found = self.analyse(log.end())
        self.assertEqual(
            self.rows(found['references'], 'type', 'line', 'objects', 'taken',
                      'returned'),
            [('m.Node', 10, 1, 3, 0), ('m.Node', 20, 1, 0, 1)])
        self.assertEqual(found['unexplained'], [])

    def test_places_that_say_the_same_are_one(self):
        log = program()
        again = log.line('f', '/src/a.py', 10)
        log.change(0x2000, 2, 1, 2, 1)
        log.change(0x2000, 2, 2, 4, again)
        log.change(0x1080, 1, 1, 2, 1)
        log.change(0x1080, 1, -1, 1, again)
        found = self.analyse(log)
        self.assertEqual(self.rows(found['references'], 'type', 'objects',
                                   'taken'), [('m.Node', 1, 3)])

    def test_of_older_objects(self):
        log = program()
        log.change(0x9000, 2, 1, 8, 2)
        log.change(0x9040, 2, 1, 8, 2)
        log.delete(0x9040, 2, 1)
        found = self.analyse(log)
        self.assertEqual(self.rows(found['references'], 'objects', 'taken'),
                         [(1, 1)])
        self.assertEqual(found['unseen'][0]['count'], 1)

    def test_unexplained(self):
        log = program()
        log.change(0x2000, 2, 1, 2)
        log.change(0x2000, 2, 1, 4)
        log.change(0x1080, 1, 1, 3)
        found = self.analyse(log)
        self.assertEqual(self.rows(found['unexplained'], 'type', 'count'),
                         [('m.Node', 1), ('list', 1)])


class SelectionTests(AnalysisTestCase):

    def count(self, **selection):
        log = program()
        log.delete(0x9000, 1, 2)
        found = self.analyse(log.end(), **selection)
        return (sum(row['count'] for row in found['alive']),
                sum(row['count'] for row in found['died']),
                sum(row['count'] for row in found['unseen']))

    def test_names(self):
        self.assertEqual(self.count(), (4, 2, 1))
        self.assertEqual(self.count(types=['l*']), (3, 2, 1))
        self.assertEqual(self.count(types=['L*']), (0, 0, 0))
        self.assertEqual(self.count(types=['x', 'm.[NX]ode']), (1, 0, 0))
        self.assertEqual(self.count(files=['*/a.py']), (3, 2, 0))
        self.assertEqual(self.count(functions=['C.*']), (1, 0, 1))
        self.assertEqual(self.count(functions=['C.*'], types=['list']),
                         (0, 0, 1))

    def test_clock(self):
        # Deaths after it count.
        self.assertEqual(self.count(until=1.5e-6), (0, 2, 0))
        self.assertEqual(self.count(since=1.5e-6, until=4.5e-6), (3, 0, 0))
        self.assertEqual(self.count(since=7.5e-6), (0, 0, 1))

    def test_thread(self):
        self.assertEqual(self.count(thread=1), (3, 2, 0))
        self.assertEqual(self.count(thread=2), (1, 0, 1))

    def test_what_is_left_out_is_no_finding(self):
        log = program()
        log.new(0x2000, 1, 1)
        log.change(0x1080, 1, 1, 7)
        found = self.analyse(log, types=['m.*'])
        self.assertEqual(found['n_reused'], 1)
        found = self.analyse(log, types=['x'])
        self.assertEqual((found['n_reused'], found['unexplained']), (0, []))


class LogsTests(AnalysisTestCase):

    def test_nested(self):
        outer = program()
        outer.suspend('inner.log')
        inner = log_records.Log(start=outer.now + 1000)
        t, place = inner.type('list'), inner.line('h', '/src/c.py', 30)
        inner.new(0x5000, t, place)
        inner.delete(0x1080, t, place, 3)
        inner.end()
        outer.now = inner.now + 1000
        outer.resume('inner.log')
        outer.delete(0x5000, 1, 2, 7)
        outer.end()
        for logs in (outer, inner), (inner, outer):
            found = self.analyse(*logs)
            self.assertEqual(found['unseen'], [])
            self.assertEqual(self.rows(found['alive'], 'type', 'count'),
                             [('list', 2), ('m.Node', 1)])
            self.assertEqual(sorted(
                (row['born']['line'], row['died']['line'], row['count'])
                for row in found['died']), [(10, 20, 2), (10, 30, 1),
                                            (30, 20, 1)])

    def fork(self, path='parent.log'):
        parent = program()
        # Its header is that of the parent.
        child = log_records.Log(start=parent.now)
        child.fork(77, 78, path)
        t, place = child.type('list'), child.line('h', '/src/c.py', 30)
        parent.new(0x6000, 1, 1)
        child.new(0x6000, t, place)
        child.delete(0x1080, t, place, 3)
        child.delete(0x9000, t, place)
        return parent.end(), child.end()

    def test_child(self):
        parent, child = self.fork()
        found = self.analyse(child, parent)
        # What the child got from its parent is not counted twice.
        self.assertEqual(self.rows(found['alive'], 'type', 'line', 'count'),
                         [('list', 10, 4), ('m.Node', 20, 1), ('list', 30, 1)])
        self.assertIn((10, 30, 1), [(row['born']['line'], row['died']['line'],
                                     row['count']) for row in found['died']])
        self.assertEqual(self.rows(found['unseen'], 'count'), [(1,)])
        self.assertEqual(found['n_reused'], 0)
        self.assertEqual(found['notes'], [])
        self.assertEqual(self.rows(found['logs'], 'pid'), [(78,), (77,)])

    def test_child_alone(self):
        _, child = self.fork('/tmp/parent.log')
        found = self.analyse(child)
        self.assertEqual(self.rows(found['unseen'], 'count'), [(2,)])
        self.assertIn('/tmp/parent.log is not among the logs',
                      found['notes'][0])

    def test_processes_have_addresses_of_their_own(self):
        log = log_records.Log(start=10**9, pid=5)
        log.new(0x2000, log.type('list'))
        found = self.analyse(program().end(), log.end())
        self.assertEqual(found['n_reused'], 0)
        self.assertEqual(sum(row['count'] for row in found['alive']), 5)
        self.assertAlmostEqual(found['until'], 4 + 7e-6, 4)

    def test_notes(self):
        log = program()
        log.lost(5)
        log.message('a\nb')
        found = self.analyse(log.end())
        self.assertRegex(found['notes'][0], 'lacks 5 events')
        self.assertEqual(self.rows(found['messages'], 'text'), [('a\nb',)])

    def test_profile(self):
        log = log_records.Log(kind='profile')
        f, g = log.line('f', 'a.py', 1), log.line('g', 'a.py', 2)
        for place, pages in (f, 100), (g, 5), (f, 3), (g, 2), (f, 0):
            log.rss(pages)
            log.call(5, place)
        found = self.analyse(log.end())
        self.assertEqual(self.rows(found['resident'], 'line', 'bytes'),
                         [(2, 7 * 4096), (1, 3 * 4096)])


@needs_binutils
class CFunctionTests(AnalysisTestCase):

    def address(self, name):
        return ctypes.cast(getattr(ctypes.pythonapi, name),
                           ctypes.c_void_p).value

    def c_functions(self, *names, started=None):
        """The c_function of an object that was made when these functions ran,
        the innermost first."""
        log = log_records.Log(started=started or time.time())
        for module in symbols.mapped_modules():
            log.module(*module)
        # A return address is behind a call.
        returns = [self.address(name) + 2 for name in names]
        log.new(64, log.type('list'), log.place(returns=returns))
        self.found = self.analyse(log.end())
        return self.found['alive'][0]['c_function']

    def test_function(self):
        self.assertRegex(self.c_functions('PyList_New'), r'^PyList_New\(\)')

    def test_without_plumbing(self):
        for name in 'PyType_GenericAlloc', '_PyObject_New', 'PyObject_Malloc':
            self.assertRegex(self.c_functions(name, 'PyList_New'),
                             r'^PyList_New\(\)')

    def test_unknown(self):
        log = log_records.Log(started=time.time())
        log.module(0x10000, 0x20000, 0, '/no/such/file.so')
        log.new(64, log.type('list'), log.place(returns=[0x10101]))
        log.new(128, log.type('int'), log.place(returns=[0x90000]))
        found = self.analyse(log)
        self.assertEqual(self.rows(found['alive'], 'c_function'),
                         [('file.so+0x100',), ('??',)])
        self.assertRegex(' '.join(found['notes']), '/no/such/file.so was')

    def test_file_that_was_changed(self):
        self.assertRegex(self.c_functions('PyList_New', started=1e9),
                         r'\+0x[0-9a-f]+$')
        self.assertRegex(' '.join(self.found['notes']),
                         'was changed after the log began')


if __name__ == '__main__':
    unittest.main()
