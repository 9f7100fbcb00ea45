"""python -m refmap log: what it prints, and how it ends."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

import refmap
from refmap.log import events, show
from test.support.script_helper import assert_python_failure, assert_python_ok
from test.test_refmap import log_records
from test.test_refmap.test_log_format import HOSTILE, full_log

# The package that is tested, wherever it is.
ENVIRONMENT = {'PYTHONPATH': os.path.dirname(os.path.dirname(refmap.__file__)),
               '__isolated': False}


class ShowTestCase(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.path = os.path.join(directory.name, 'x.log')

    def lines(self, data, **options):
        with open(self.path, 'wb') as file:
            file.write(bytes(data))
        with events.Log(self.path) as log:
            return list(show.show(log, **options))

    def rows(self, data):
        """The columns of the rows, without what is above them."""
        return [line.split() for line in self.lines(data)[2:]]


class TableTests(ShowTestCase):

    def test_objects(self):
        log = log_records.Log()
        t = log.type('m.Node', living=3)
        place = log.line('C.f', '/src/a.py', 12)
        log.thread(2)
        log.rss(10)
        birth = log.new(0x7f0012345670, t, place)
        log.change(0x7f0012345670, t, 1, 2, place)
        log.rss(-1)
        log.change(0x7f0012345670, t, -2, 0, place)
        log.delete(0x7f0012345670, t, place, birth)
        rows = self.rows(log.end())
        self.assertEqual(rows, [
            ['NEW:', '0.000000', '0x7f0012345670', '4', 'm.Node', '/src/a.py',
             '12', 'C.f', '40960', '40960', '2'],
            ['INC:', '0.000001', '0x7f0012345670', '2', '4', 'm.Node',
             '/src/a.py', '12', 'C.f', '40960', '0', '2'],
            ['DEC:', '0.000002', '0x7f0012345670', '0', '4', 'm.Node',
             '/src/a.py', '12', 'C.f', '36864', '-4096', '2'],
            ['DEL:', '0.000003', '0x7f0012345670', '3', 'm.Node', '/src/a.py',
             '12', 'C.f', '36864', '0', '2'],
            ['END:', '0.000004', '#', 'closed']])

    def test_columns(self):
        head, titles, row, *_ = self.lines(full_log())
        self.assertRegex(head, r'x\.log: kind events, pid 77, python 3\.13\.5')
        self.assertEqual(titles.split(), [
            'HDR:', 'Clock', 'Address', 'RefCnt', 'LiveCnt', 'Type', 'File',
            'Line', 'Function', 'RSS', 'dRSS', 'Thr', 'C', 'function'])
        for title, value in (('Clock', '0.000000'), ('LiveCnt', '8'),
                             ('Line', '300'), ('RSS', '409600')):
            # Numbers end where their titles do.
            self.assertEqual(titles.index(title) + len(title),
                             row.index(value) + len(value), title)
        for title, value in ('Type', 'list'), ('File', '/a.py'):
            self.assertEqual(titles.index(title), row.index(value), title)

    def test_calls(self):
        log = log_records.Log(kind='profile')
        place = log.line('f', '/a.py', 3)
        c = log.callable('len', 'builtins')
        log.rss(1)
        log.refs(100)
        log.call(5, place)
        log.mark(20)
        log.refs(-3)
        log.call(7, place, c)
        log.mark(21)
        log.rss(2)
        log.call(8, place, c)
        log.call(10, place)
        titles = self.lines(log.end())[1].split()
        self.assertEqual(titles, ['HDR:', 'Clock', 'What', 'File', 'Line',
                                  'Function', 'RSS', 'dRSS', 'Refs', 'dRefs',
                                  'Thr'])
        self.assertEqual(self.rows(log)[:-1], [
            ['NEXT:', '0.000000', 'CALL', '/a.py', '3', 'f', '4096', '4096',
             '100', '100', '0'],
            ['PREV:', '0.000001', 'C_CALL', '/a.py', '3', 'builtins.len',
             '4096', '0', '97', '-3', '0'],
            ['NEXT:', '0.000002', 'C_RETURN', '/a.py', '3', 'builtins.len',
             '12288', '8192', '97', '0', '0'],
            ['NEXT:', '0.000003', 'RAISE', '/a.py', '3', 'f', '12288', '0',
             '97', '0', '0']])

    def test_notes(self):
        notes = [line for line in self.lines(full_log())
                 if line.split()[0] in ('MSG:', 'SUS:', 'RES:', 'FORK:',
                                        'LOST:', 'END:')]
        self.assertEqual([line.split(None, 2)[::2] for line in notes], [
            ['MSG:', '# hello'], ['SUS:', '# another log'], ['RES:', '# '],
            ['FORK:', '# of process 76, whose log is /tmp/parent.log'],
            ['LOST:', '# 12 events, for lack of memory'], ['END:', '# closed']])

    def test_without_resident_memory(self):
        log = log_records.Log()
        log.new(64, log.type('int'))
        self.assertEqual(self.rows(log)[0],
                         ['NEW:', '0.000000', '0x40', '1', 'int', '0', '0'])

    def test_hostile_names(self):
        for text in HOSTILE:
            log = log_records.Log(message=text)
            place = log.line(text, text, 3)
            log.new(64, log.type(text), place)
            log.call(7, place, log.callable(text, text))
            log.message(text)
            lines = self.lines(log.end())
            self.assertEqual(len(lines), 6 + bool(text))
            self.assertTrue(all(map(str.isprintable, lines)))

    def test_cut_off(self):
        data = bytes(full_log())
        for length in range(data.index(b'RMCK'), len(data)):
            lines = self.lines(data[:length])
            self.assertRegex(lines[-1], 'cut off|never closed')
        self.assertRegex(lines[-1], 'cut off')
        self.assertRegex(lines[-2], '^LOST:')

    def test_c_functions_are_looked_up_together(self):
        log = log_records.Log()
        t = log.type('int')
        for i in range(20):
            log.new(64 * i, t, log.place(returns=[0x10000 + i]))
        with mock.patch.object(show.CFunctions, 'resolve', autospec=True,
                               side_effect=show.CFunctions.resolve) as resolve:
            self.assertEqual(len(self.rows(log.end())), 21)
        # Once for all, and once more for each, when it is known.
        self.assertEqual(len(resolve.mock_calls[0].args[1]), 20)


class FollowTests(ShowTestCase):

    def setUp(self):
        super().setUp()
        patch = mock.patch.object(show, 'PAUSE', 0.001)
        patch.start()
        self.addCleanup(patch.stop)

    def follow(self, data, step, pid):
        """Return the lines while data is written, in pieces of `step`
        bytes."""
        first = data.index(b'RMCK')
        with open(self.path, 'wb') as file:
            file.write(data[:first])

        def write():
            with open(self.path, 'ab', buffering=0) as file:
                for at in range(first, len(data), step):
                    file.write(data[at:at + step])
                    time.sleep(0.0005)

        thread = threading.Thread(target=write)
        with events.Log(self.path) as log:
            thread.start()
            found = list(show.show(log, follow=True))
            thread.join()
        return found

    def test_until_the_end(self):
        data = bytes(full_log(pid=os.getpid()))
        self.assertEqual(self.follow(data, 7, os.getpid()), self.lines(data))

    def test_writer_is_gone(self):
        with subprocess.Popen([sys.executable, '-c', '']) as child:
            pass
        log = full_log(pid=child.pid)
        log.data = log.flush().data[:-12]
        lines = self.lines(log.data, follow=True)
        self.assertRegex(lines[-1], 'cut off')

    def test_writer_goes(self):
        child = subprocess.Popen([sys.executable, '-c', 'input()'],
                                 stdin=subprocess.PIPE)
        log = log_records.Log(pid=child.pid)
        log.message('a')
        log.message('b')
        log.save(self.path)
        with events.Log(self.path) as opened:
            lines = show.show(opened, follow=True)
            for _ in range(4):
                line = next(lines)
            self.assertRegex(line, '^MSG: .* b$')
            child.communicate(b'\n')
            self.assertRegex(''.join(lines), 'never closed')

    def test_unknown_writer(self):
        for pid in None, 0, -1, 1 << 70, 'x':
            log = log_records.Log(pid=pid)
            log.message('a')
            self.assertEqual(len(self.lines(log, follow=True)), 4)


class CommandTests(ShowTestCase):

    def save(self, log, name='x.log'):
        return log.save(os.path.join(self.directory, name))

    def run_ok(self, *args):
        _, out, err = assert_python_ok('-m', 'refmap', 'log', *args,
                                       **ENVIRONMENT)
        return out.decode(), err.decode()

    def run_failing(self, *args):
        code, out, err = assert_python_failure('-m', 'refmap', 'log', *args,
                                               **ENVIRONMENT)
        self.assertEqual(code, 2)
        return out.decode(), err.decode()

    def test_show(self):
        path = self.save(full_log())
        out, err = self.run_ok('show', path)
        self.assertEqual((out.splitlines(), err),
                         (self.lines(full_log()), ''))
        self.assertEqual(self.run_ok('show', '--follow', path)[0], out)

    def test_analyse(self):
        path = self.save(full_log())
        out, _ = self.run_ok('analyse', path, '--type', 'l*', '--limit', '1')
        self.assertIn('1 list: made in f (/a.py:300)', out)
        out, _ = self.run_ok('analyse', path, '--type', 'x', '--since', '0')
        self.assertNotIn('list', out)
        out, _ = self.run_ok('analyse', path, '--json', '-')
        self.assertEqual(json.loads(out)['types'][0]['type'], 'list')
        name = os.path.join(self.directory, 'out.json')
        self.run_ok('analyse', path, path, '--json', name)
        with open(name, encoding='utf-8') as file:
            self.assertEqual(len(json.load(file)['logs']), 2)

    def test_export(self):
        path = self.save(full_log())
        for name, ending in (('speedscope', '.speedscope.json'),
                             ('pprof', '.pb.gz'),
                             ('perfetto', '.perfetto.json'),
                             ('html', '.html')):
            _, err = self.run_ok('export', path, '--to', name)
            self.assertIn(f'{path}{ending} was written', err)
            self.assertTrue(os.path.getsize(path + ending))
            out = os.path.join(self.directory, 'out')
            self.run_ok('export', path, '--to', name, '-o', out)
            with open(path + ending, 'rb') as one, open(out, 'rb') as other:
                self.assertEqual(one.read(), other.read())

    def test_no_log(self):
        for data in b'', b'refmapL1', b'\x7fELF', b'refmapL1\2\0\0\0[]':
            with open(self.path, 'wb') as file:
                file.write(data)
            for command in (['show'], ['show', '--follow'], ['analyse'],
                            ['export', '--to', 'pprof']):
                out, err = self.run_failing(*command, self.path)
                self.assertEqual((out, err.count('\n')), ('', 1), err)
                self.assertIn(self.path, err)

    def test_corrupt(self):
        log = full_log()
        log.record(99)
        path = self.save(log)
        for command in (['show'], ['analyse'], ['export', '--to', 'perfetto']):
            out, err = self.run_failing(*command, path)
            self.assertRegex(err.splitlines()[-1], f'{path}: .* kind 99$')
        self.assertEqual(len(self.run_failing('show', path)[0].splitlines()),
                         len(self.lines(full_log())))

    def test_files_that_cannot_be(self):
        path = self.save(full_log())
        missing = os.path.join(self.directory, 'no', 'such')
        for args in (['show', missing], ['show', self.directory],
                     ['analyse', path, missing],
                     ['analyse', path, '--json', missing],
                     ['analyse', path, '--json', path],
                     ['export', path, '--to', 'pprof', '-o', missing],
                     ['export', path, '--to', 'pprof', '-o', path]):
            _, err = self.run_failing(*args)
            self.assertEqual(err.count('\n'), 1, err)
            self.assertNotIn('Traceback', err)
        with open(path, 'rb') as file:
            self.assertEqual(file.read(), bytes(full_log()))

    def test_error_in_the_middle(self):
        # The file is as it was: not half of the new one, as on a full disk.
        path = self.save(full_log())
        out = os.path.join(self.directory, 'out')
        with open(out, 'w', encoding='utf-8') as file:
            file.write('old')
        names = os.listdir(self.directory)
        for args in (['export', path, '--to', 'perfetto', '-o', out],
                     ['analyse', path, '--json', out]):
            code, _, err = assert_python_failure(
                '-c', 'import resource, runpy\n'
                      'resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))\n'
                      'runpy.run_module("refmap", run_name="__main__",'
                      ' alter_sys=True)', 'log', *args, **ENVIRONMENT)
            self.assertEqual((code, err.count(b'\n')), (2, 1), err)
            self.assertIn(f'{out} cannot be written: '.encode(), err)
            with open(out, encoding='utf-8') as file:
                self.assertEqual(file.read(), 'old')
            self.assertEqual(os.listdir(self.directory), names)

    def test_usage(self):
        path = self.save(full_log())
        for args in ([], ['show'], ['analyse'], ['export', path],
                     ['export', path, '--to', 'x'],
                     ['analyse', path, '--limit', '0'],
                     ['analyse', path, '--since', 'x'],
                     ['analyse', path, '--thread', 'x']):
            self.assertIn('usage: ', self.run_failing(*args)[1])

    def test_somebody_has_seen_enough(self):
        log = log_records.Log()
        t = log.type('int')
        for i in range(5000):
            log.new(64 * i, t)
        command = [sys.executable, '-m', 'refmap', 'log', 'show',
                   self.save(log.end())]
        with subprocess.Popen(command, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as child:
            child.stdout.readline()
            child.stdout.close()
            err = child.stderr.read()
        self.assertEqual((child.returncode, err), (0, b''))

    def test_output_that_cannot_show_it(self):
        log = log_records.Log()
        log.message('\u20ac')
        path = self.save(log.end())
        _, out, _ = assert_python_ok('-m', 'refmap', 'log', 'show', path,
                                     PYTHONIOENCODING='ascii', **ENVIRONMENT)
        self.assertIn(b'# \\u20ac', out)

    @unittest.skipUnless(os.path.exists('/dev/full'), 'needs /dev/full')
    def test_full_disk(self):
        path = self.save(full_log())
        with open('/dev/full', 'w') as full:
            done = subprocess.run(
                [sys.executable, '-m', 'refmap', 'log', 'show', path],
                stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr.count(b'\n'), 1)

    def test_old_interpreter(self):
        from refmap import cli_log
        parser = mock.Mock()
        with mock.patch.object(sys, 'version_info', (3, 10, 9)):
            cli_log.check(parser, None)
        parser.error.assert_called_once_with(
            'reading a log needs Python 3.11')


def stock_python():
    """Return the command of another Python that can read logs, or None."""
    for name in 'python3', 'python3.12', 'python3.11':
        for directory in '/usr/bin', '/usr/local/bin':
            path = os.path.join(directory, name)
            code = 'import sys; sys.exit(sys.version_info < (3, 11) or ' \
                   'hasattr(sys, "refmap_info"))'
            try:
                if not subprocess.run([path, '-I', '-c', code]).returncode:
                    return path
            except OSError:
                pass
    return None


class StockTests(ShowTestCase):

    def test_stock_interpreter(self):
        python = stock_python()
        if python is None:
            self.skipTest('there is no other Python from 3.11 on')
        shutil.copytree(os.path.dirname(refmap.__file__),
                        os.path.join(self.directory, 'refmap'),
                        ignore=shutil.ignore_patterns('__pycache__'))
        expected = self.lines(full_log())
        for args in (['show', self.path], ['analyse', self.path],
                     ['export', self.path, '--to', 'pprof']):
            done = subprocess.run(
                [python, '-B', '-m', 'refmap', 'log', *args],
                env={**os.environ, 'PYTHONPATH': self.directory},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            if args[0] == 'show':
                self.assertEqual(done.stdout.splitlines(), expected)


if __name__ == '__main__':
    unittest.main()
