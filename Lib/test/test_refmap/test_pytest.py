"""The pytest plugin, refmap.pytest_plugin.

$REFMAP_PYTEST has directories with pytest and its plugins, one for each version
that is to be tested; the step pytest of Tools/refmap/check sets it. Without it the
pytest of this interpreter is tested.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from xml.etree import ElementTree

from test import support

if not hasattr(sys, 'refmap_snapshot'):
    raise unittest.SkipTest('needs --with-refcount-map')
if support.check_sanitizer(address=True, memory=True):
    raise unittest.SkipTest('crashes on purpose')

# One test leaks, the others do not, whatever fixtures they use.
LEAKY = '''
import _testrefmap

def test_leaks():
    _testrefmap.leak_reference(['leaked'])

def test_clean():
    pass
'''
FIXTURES = '''
import logging, os, warnings
import pytest

seen = {}

def log(name):
    seen[name] = seen.get(name, 0) + 1

@pytest.fixture(scope='session')
def of_session(tmp_path_factory):
    log('session')
    yield tmp_path_factory.mktemp('session')
    log('end of session')

@pytest.fixture(scope='module')
def of_module(of_session):
    log('module')
    yield [of_session]
    log('end of module')

@pytest.fixture(scope='class')
def of_class(of_module):
    log('class')
    yield {'module': of_module}
    log('end of class')

@pytest.fixture
def of_function(of_class, request):
    request.addfinalizer(lambda: None)
    yield [of_class]

def test_all(of_function, of_module, tmp_path, monkeypatch, capsys, caplog,
             recwarn, request, record_property, tmp_path_factory):
    monkeypatch.setenv('NAME', 'value')
    monkeypatch.setattr(os, 'getcwd', lambda: '/')
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'file').write_text('text')
    print('printed')
    assert capsys.readouterr().out == 'printed\\n'
    logging.getLogger('name').warning('logged %s', tmp_path)
    assert caplog.records
    warnings.warn(f'a warning {id(of_function)}')
    record_property('name', ['value'])
    tmp_path_factory.mktemp('more')
    assert request.getfixturevalue('of_class') is of_function[0]

def test_warnings():
    warnings.warn('warned', DeprecationWarning)
    with pytest.warns(UserWarning):
        warnings.warn('expected')
    with pytest.raises(ValueError):
        raise ValueError('expected')
    print('x' * 1000)

@pytest.mark.parametrize('one', [1, 2.5, object()])
@pytest.mark.parametrize('two', ['', 'text'])
def test_parameters(one, two, tmp_path):
    assert one

class TestClass:
    def setup_method(self):
        self.items = []

    def test_one(self, of_function):
        self.items.append(of_function)

    def test_two(self, of_class):
        self.items.append(of_class)
'''
CRASH = LEAKY + '''
import ctypes

def test_crashes():
    ctypes.string_at(0)
'''


def directories():
    """Return [(directory with pytest or None, its version)]."""
    found = []
    for path in os.environ.get('REFMAP_PYTEST', '').split(os.pathsep):
        names = os.listdir(path) if path else ()
        for name in names:
            if name.startswith('pytest-') and name.endswith('.dist-info'):
                found.append((path, name[len('pytest-'):-len('.dist-info')]))
    if not found and importlib.util.find_spec('pytest'):
        found.append((None, 'installed'))
    return found


class PytestCase(unittest.TestCase):
    """Runs pytest in a process of its own, in a directory of its own."""

    directory = None        # where pytest is

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = temporary.name

    def write(self, name, text):
        path = os.path.join(self.path, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(textwrap.dedent(text))
        return path

    def needs(self, module):
        places = [self.directory] if self.directory else sys.path
        if not any(os.path.exists(os.path.join(place, module))
                   for place in places if place):
            self.skipTest(f'{module} is not installed')

    def run_pytest(self, *args, executable=sys.executable, plugin='refmap.pytest_plugin',
                   **env):
        """Return the CompletedProcess; stdout and stderr are str."""
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith(('PYTEST', 'PYTHON', 'GITHUB'))}
        path = [p for p in (self.directory, env.pop('path', None)) if p]
        environment.update(PYTHONPATH=os.pathsep.join(path), COLUMNS='200',
                           PYTEST_DISABLE_PLUGIN_AUTOLOAD='1', **env)
        return subprocess.run(
            [executable, '-W', 'ignore::DeprecationWarning', '-m', 'pytest',
             '-p', plugin, '-p', 'no:cacheprovider', '-q',
             f'--basetemp={self.path}/base', *args],
            cwd=self.path, env=environment, encoding='utf-8',
            errors='backslashreplace', stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def hunt(self, text, *args, name='test_it.py', code=None, **env):
        """Write a test file and hunt in it; return what is printed."""
        self.write(name, text)
        done = self.run_pytest('--refmap-leaks=2:3', *args, **env)
        if code is not None:
            self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def findings(self):
        with open(os.path.join(self.path, 'out.json'), encoding='utf-8') as file:
            return {found['test'].rpartition('::')[2]: found
                    for found in map(json.loads, file)}


class Verdicts:

    def test_leak(self):
        out = self.hunt(LEAKY, code=1)
        self.assertIn('1 failed, 1 passed', out)
        self.assertIn('- refmap -', out)
        self.assertIn('refmap: test_it.py::test_leaks: leak (3 runs after 2 '
                      'warm-ups)', out)
        self.assertIn('list: 1 a run; new objects: 1 a run', out)
        self.assertIn('FAILED test_it.py::test_leaks - refmap: leak: list: 1 a '
                      'run', out)
        self.assertIn('2 tests hunted: 1 leak, 1 clean', out)

    def test_over_decref(self):
        out = self.hunt('''
            import _testrefmap
            victim = ['victim']
            kept = [victim] * 7
            def test_loses():
                _testrefmap.over_decref(victim)
            def test_other():
                pass
        ''', code=1)
        self.assertIn('refmap: error: list: -1 a run', out)
        self.assertIn('1 failed, 1 passed', out)

    def test_clean_fixtures(self):
        out = self.hunt(FIXTURES, '--refmap-json=out.json', code=0)
        self.assertIn('10 tests hunted: 10 clean', out)
        for found in self.findings().values():
            self.assertEqual(found['types'], [], found)

    def test_unittest(self):
        out = self.hunt('''
            import unittest
            kept = []
            class Test(unittest.TestCase):
                @classmethod
                def setUpClass(cls):
                    cls.calls = 0
                def setUp(self):
                    self.items = []
                def test_clean(self):
                    with self.subTest(number=1):
                        self.items.append(1)
                    with self.subTest(number=2):
                        self.items.append(2)
                def test_leaks(self):
                    kept.append({'leaked'})
                @unittest.skip('why')
                def test_skipped(self):
                    pass
                @unittest.expectedFailure
                def test_fails(self):
                    self.fail()
            class Async(unittest.IsolatedAsyncioTestCase):
                async def test_async(self):
                    self.assertTrue(True)
        ''', code=1)
        self.assertIn('3 tests hunted: 1 leak, 2 clean', out)
        self.assertIn('not hunted, it is expected to fail', out)
        self.assertIn('set: 1 a run', out)

    def test_doctest(self):
        out = self.hunt('''
            kept = []
            def clean():
                """
                >>> kept is not None
                True
                """
            def leaks():
                """
                >>> kept.append({'leaked'})
                """
        ''', '--doctest-modules', 'module.py', name='module.py', code=1)
        self.assertIn('2 tests hunted: 1 leak, 1 clean', out)
        self.assertIn('module.leaks: leak', out)

    def test_asyncio(self):
        self.needs('pytest_asyncio')
        out = self.hunt('''
            import asyncio, pytest
            kept = []
            @pytest.mark.asyncio
            async def test_clean():
                await asyncio.sleep(0)
            @pytest.mark.asyncio
            async def test_leaks():
                await asyncio.sleep(0)
                kept.append({'leaked'})
        ''', '-p', 'pytest_asyncio.plugin', code=1)
        self.assertIn('2 tests hunted: 1 leak, 1 clean', out)

    def test_anyio(self):
        self.needs('anyio')
        out = self.hunt('''
            import anyio, pytest
            kept = []
            @pytest.fixture
            def anyio_backend():
                return 'asyncio'
            @pytest.mark.anyio
            async def test_clean():
                await anyio.sleep(0)
            @pytest.mark.anyio
            async def test_leaks():
                kept.append({'leaked'})
        ''', '-p', 'anyio.pytest_plugin', code=1)
        self.assertIn('2 tests hunted: 1 leak, 1 clean', out)

    def test_suspicious(self):
        text = '''
            runs, kept = [], []
            def test_sometimes():
                runs.append(None)
                if len(runs) % 2:
                    kept.append({'leaked'})
        '''
        out = self.hunt(text, '--refmap-leaks=1:6', code=0)
        self.assertIn('1 test hunted: 1 suspicious', out)
        self.assertIn('suspicious: 1 test\n  test_it.py::test_sometimes', out)
        out = self.hunt(text, '--refmap-leaks=1:6', '--refmap-strict', code=1)
        self.assertIn('refmap: suspicious: set', out)


class Repetition:

    def test_number_of_runs(self):
        self.hunt('''
            import pytest
            def note(name):
                with open('log', 'a') as file:
                    print(name, file=file)
            def test_default():
                note('default')
            @pytest.mark.refmap(warmups=1, runs=4)
            def test_marked():
                note('marked')
            @pytest.mark.refmap(skip='why')
            def test_skipped():
                note('skipped')
        ''', code=0)
        with open(os.path.join(self.path, 'log')) as file:
            lines = file.read().split()
        self.assertEqual([lines.count(name) for name in
                          ('default', 'marked', 'skipped')], [5, 5, 1])

    def test_scopes(self):
        # Only the fixtures of functions are made anew.
        self.hunt(FIXTURES + '''
def test_log():
    # The class scope of a function is the function.
    assert seen['session'] == seen['module'] == seen['class'] == 1
    assert seen['end of class'] == 1 and 'end of module' not in seen
''', '-k', 'TestClass or log', code=0)
        self.write('test_next.py', '''
            import test_it
            def test_log():
                assert list(test_it.seen) == [
                    'session', 'module', 'class', 'end of class', 'end of module']
                assert set(test_it.seen.values()) == {1}
        ''')
        done = self.run_pytest('--refmap-leaks', '-k', 'TestClass or next')
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_teardown_of_module_fails(self):
        out = self.hunt('''
            import pytest
            @pytest.fixture(scope='module')
            def broken():
                yield
                print('said before')
                raise ValueError('no way down')
            def test_one(broken):
                pass
        ''', code=1)
        self.assertIn('1 passed, 1 error', out)
        self.assertIn('ERROR at teardown of test_one', out)
        self.assertIn('no way down', out)
        self.assertIn('said before', out)

    def test_not_repeatable(self):
        out = self.hunt('''
            runs = []
            def test_once():
                runs.append(1)
                assert len(runs) < 2, 'only once'
        ''', '--refmap-json=out.json', code=0)
        self.assertIn('not hunted, run 2: call failed: AssertionError: only '
                      'once', out)
        self.assertNotIn('verdict', self.findings()['test_once'])

    def test_failures_stay_failures(self):
        out = self.hunt('''
            import pytest
            kept = []
            def test_fails():
                kept.append(1)
                assert len(kept) != 1
            def test_skips():
                pytest.skip('why')
            @pytest.mark.xfail
            def test_expected():
                assert 0
            @pytest.fixture
            def broken():
                raise ValueError
            def test_setup(broken):
                pass
        ''', code=1)
        self.assertIn('1 failed, 1 skipped, 1 xfailed, 1 error', out)
        self.assertIn('0 tests hunted: none', out)

    def test_directories_of_tmp_path_go(self):
        self.hunt('''
            def test_one(tmp_path):
                (tmp_path / 'file').write_bytes(b'x')
        ''', code=0)
        names = [name for name in os.listdir(os.path.join(self.path, 'base'))
                 if name.startswith('test_one') and name != 'test_onecurrent']
        self.assertLessEqual(len(names), 1)

    def test_off(self):
        self.write('test_it.py', '''
            import sys
            def test_off():
                assert 'refmap.pytest_hunt' not in sys.modules
        ''')
        done = self.run_pytest()
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertNotIn('refmap', done.stdout)


class Options:

    def refuse(self, message, *args, text='def test_one(): pass'):
        self.write('test_it.py', text)
        done = self.run_pytest(*args)
        out = done.stdout + done.stderr
        self.assertEqual(done.returncode, 4, out)
        self.assertIn(message, out)
        self.assertNotIn('Traceback', out)
        self.assertNotIn('passed', out)

    def test_runs(self):
        for value in '3', '3:', 'a:b', '3:-1', '-1:3', '1:2:3', 'test_it.py':
            self.refuse(f"'{value}' is not WARMUPS:RUNS",
                        f'--refmap-leaks={value}')
        self.refuse('at least one warm-up', '--refmap-leaks=0:3')
        self.refuse('at least one run', '--refmap-leaks=3:0')
        self.refuse('more than 10000', '--refmap-leaks=9999:2')
        self.refuse('write it with =, and paths before it', '--refmap-leaks',
                    'test_it.py')

    def test_alone(self):
        for option in 'strict', 'json=out.json', 'suppress=rules':
            name = option.partition('=')[0]
            self.refuse(f'refmap: --refmap-{name} needs --refmap-leaks',
                        f'--refmap-{option}')

    def test_files(self):
        self.refuse('the findings cannot be written', '--refmap-leaks',
                    '--refmap-json=/nonexistent/out.json')
        self.refuse('No such file', '--refmap-leaks', '--refmap-suppress=missing')
        self.write('rules', 'list\n')
        self.refuse('says why', '--refmap-leaks', '--refmap-suppress=rules')

    def test_markers(self):
        for arguments, message in [
                ('"why"', 'does not take positional arguments'),
                ('reason="why"', 'does not take reason'),
                ('skip=True', 'skip= of the marker refmap is a reason'),
                ('runs="3"', 'runs= of the marker refmap is an int'),
                ('warmups=0', 'at least one warm-up'),
                ('allow="list"', 'a list of patterns'),
                ('allow=[3]', 'a list of patterns')]:
            self.refuse(message, '--refmap-leaks', text=textwrap.dedent(f'''
                import pytest
                @pytest.mark.refmap({arguments})
                def test_one(): pass
            '''))

    def test_ini(self):
        self.write('rules', 'list in * # known\ndict # nothing of that\n')
        self.write('pytest.ini', '''
            [pytest]
            addopts = --strict-markers
            refmap_runs = 1:4
            refmap_suppress = rules
            refmap_allow =
                se[t]
        ''')
        self.write('test_it.py', LEAKY + '''
kept = []
def test_allowed():
    kept.append({'leaked'})
''')
        done = self.run_pytest('--refmap-leaks', '--refmap-json=out.json')
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn('matched nothing:\n  dict in *  # nothing of that',
                      done.stdout)
        found = self.findings()['test_leaks']
        self.assertEqual((found['runs'], found['warmups']), (4, 1))
        self.assertEqual(found['types'][0]['suppressed'], 'known')
        self.write('pytest.ini', '[pytest]\nrefmap_runs = 3\n')
        self.refuse("'3' is not WARMUPS:RUNS", '--refmap-leaks')

    def test_marker_allow(self):
        out = self.hunt('''
            import pytest
            kept = []
            pytestmark = pytest.mark.refmap(allow=['dict*'])
            @pytest.mark.refmap(allow=['s?t'])
            def test_allowed():
                kept.append({'leaked'})
                kept.append({'leaked': 1})
            def test_not_allowed():
                kept.append({'leaked'})
            @pytest.mark.refmap(skip='for a reason')
            def test_skipped():
                kept.append({'leaked'})
        ''', code=1)
        self.assertIn('2 tests hunted: 1 leak, 1 clean', out)
        self.assertIn('not hunted, for a reason: 1 test', out)


class Reports:

    def test_junit(self):
        self.hunt(LEAKY, '--junit-xml=out.xml', code=1)
        suite = ElementTree.parse(
            os.path.join(self.path, 'out.xml')).getroot()[0]
        self.assertEqual((suite.get('tests'), suite.get('failures'),
                          suite.get('errors')), ('2', '1', '0'))
        failure, = suite.iter('failure')
        self.assertEqual(failure.get('message'), 'refmap: leak: list: 1 a run; '
                         'new objects: 1 a run')
        self.assertIn('leaked in every run:', failure.text)
        verdicts = [p.get('value') for p in suite.iter('property')
                    if p.get('name') == 'refmap']
        self.assertEqual(verdicts, ['leak', 'clean'])

    def test_json(self):
        self.hunt(LEAKY, '--refmap-json=out.json', code=1)
        found = self.findings()
        self.assertEqual({name: f['verdict'] for name, f in found.items()},
                         {'test_leaks': 'leak', 'test_clean': 'clean'})
        self.assertEqual(found['test_leaks']['types'][0]['refs'], [1, 1, 1])

    @unittest.skipUnless(os.path.exists('/dev/full'), 'needs /dev/full')
    def test_full_disk(self):
        out = self.hunt(LEAKY, '--refmap-json=/dev/full', code=1)
        self.assertIn('cannot write /dev/full: No space left on device; the '
                      'findings of 2 tests are lost', out)
        self.assertIn('1 failed, 1 passed', out)

    def test_github(self):
        line = ('::error file=test_it.py,line=4,title=refmap%3A leak::'
                'test_it.py::test_leaks: refmap: leak: list: 1 a run')
        self.assertIn(line, self.hunt(LEAKY, '--refmap-github'))
        self.assertIn(line, self.hunt(LEAKY, GITHUB_ACTIONS='true'))
        self.assertNotIn('::error', self.hunt(LEAKY))

    def test_hostile_names(self):
        out = self.hunt('''
            import pytest
            kept = []
            names = ['\\n::error::x', '\\x1b[31m', '%0A', '\\udc80', 'a::b', '[']
            @pytest.mark.parametrize('name', names)
            def test_name(name):
                kept.append(type('\\n::error::\\x1b' + repr(name), (), {}))
        ''', '--refmap-json=out.json', '--refmap-github', '--junit-xml=out.xml',
            code=1)
        self.assertIn('6 tests hunted: 6 leak', out)
        lines = [line for line in out.splitlines() if line.startswith('::')]
        self.assertEqual(len(lines), 6)
        self.assertTrue(all(line.startswith('::error file=test_it.py')
                            for line in lines), lines)
        self.assertNotIn('\x1b', out)
        ElementTree.parse(os.path.join(self.path, 'out.xml'))
        with open(os.path.join(self.path, 'out.json')) as file:
            self.assertEqual(len([json.loads(line) for line in file]), 6)

    def test_subtests(self):
        out = self.hunt('''
            import unittest
            class Test(unittest.TestCase):
                def test_parts(self):
                    for number in range(3):
                        with self.subTest(number=number):
                            pass
        ''', '-v', code=0)
        self.assertLessEqual(out.count('SUBPASS'), 3)


class Crashes:

    def test_crash(self):
        self.write('test_it.py', CRASH)
        done = self.run_pytest('--refmap-leaks=2:3', '--refmap-json=out.json')
        self.assertEqual(done.returncode, -signal.SIGSEGV)
        self.assertIn('refmap: the process died in test_it.py::test_crashes',
                      done.stderr)
        self.assertIn('refmap: test_it.py::test_leaks: leak', done.stderr)
        self.assertIn('list: 1 a run', done.stderr)
        self.assertIn('py-refmap-diff', done.stderr)
        # faulthandler has the last word.
        self.assertIn('Fatal Python error', done.stderr)
        self.assertEqual(self.findings()['test_leaks']['verdict'], 'leak')

    def test_crash_while_repeated(self):
        done = self.crash('''
            import os
            runs = []
            def test_third():
                runs.append(1)
                if len(runs) == 3:
                    os.abort()
        ''')
        self.assertEqual(done.returncode, -signal.SIGABRT)
        self.assertIn('died in test_it.py::test_third', done.stderr)

    def crash(self, text):
        self.write('test_it.py', text)
        return self.run_pytest('--refmap-leaks=2:3')

    def test_child_crashes(self):
        done = self.crash('''
            import os
            def test_child():
                pid = os.fork()
                if not pid:
                    os.abort()
                assert os.waitpid(pid, 0)[1]
        ''')
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertNotIn('the process died', done.stderr)

    def test_xdist(self):
        self.needs('xdist')
        out = self.hunt(LEAKY + FIXTURES, '-p', 'xdist.plugin', '-n2',
                        '--refmap-json=out.json', '--junit-xml=out.xml',
                        '--refmap-github', code=1)
        self.assertIn('12 tests hunted: 1 leak, 11 clean', out)
        self.assertIn('- refmap -', out)
        self.assertIn('::error file=test_it.py,line=4', out)
        self.assertEqual(len(self.findings()), 12)
        suite = ElementTree.parse(
            os.path.join(self.path, 'out.xml')).getroot()[0]
        self.assertEqual(suite.get('failures'), '1')

    def test_crash_xdist(self):
        self.needs('xdist')
        out = self.hunt(CRASH + '''
def test_after():
    pass
''', '-p', 'xdist.plugin', '-n1', code=1)
        self.assertIn('3 tests hunted: 1 leak, 2 clean', out)
        self.assertIn("crashed while running 'test_it.py::test_crashes'", out)
        self.assertIn('refmap: test_it.py::test_leaks: leak', out)


class Stock:

    def check_stock(self, **options):
        self.write('test_it.py', '''
            import pytest
            runs = []
            @pytest.mark.refmap(skip='why')
            def test_one(tmp_path):
                runs.append(1)
            def test_two():
                assert len(runs) == 1
        ''')
        done = self.run_pytest('--refmap-leaks', '--refmap-json=out.json',
                               '--strict-markers', **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn('refmap: leaks are not hunted, as this interpreter was '
                      'not configured --with-refcount-map', done.stdout)
        self.assertIn('2 passed', done.stdout)
        self.assertFalse(os.path.exists(os.path.join(self.path, 'out.json')))

    def test_no_map(self):
        # As if there was none.
        self.write('sitecustomize.py',
                   'import sys\ndel sys.refmap_snapshot\n')
        self.check_stock(path=self.path)

    @unittest.skipUnless(os.environ.get('REFMAP_STOCK_RELEASE'),
                         'needs $REFMAP_STOCK_RELEASE, a stock interpreter')
    def test_copied(self):
        source = importlib.util.find_spec('refmap.pytest_plugin').origin
        with open(source, encoding='utf-8') as file:
            self.write('copied_plugin.py', file.read())
        self.check_stock(executable=os.environ['REFMAP_STOCK_RELEASE'],
                         plugin='copied_plugin', path=self.path)


def load_tests(loader, standard, pattern):
    """Each group of tests for each version of pytest."""
    suite = unittest.TestSuite()
    versions = directories()
    for group in Verdicts, Repetition, Options, Reports, Crashes, Stock:
        for directory, version in versions:
            case = type(f'{group.__name__}_{version}', (group, PytestCase),
                        {'directory': directory, '__module__': __name__})
            suite.addTests(loader.loadTestsFromTestCase(case))
    if not versions:
        suite.addTests(loader.loadTestsFromTestCase(Missing))
    return suite


class Missing(unittest.TestCase):

    def test_pytest(self):
        self.skipTest('pytest is not installed; the step pytest of '
                      'Tools/refmap/check does that')


if __name__ == '__main__':
    unittest.main()
