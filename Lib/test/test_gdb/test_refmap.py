"""The py-refmap commands of Tools/gdb/refmap_gdb.

One program is stopped under gdb, all commands are tried there, a core is
written by gcore, and they are tried on the core again; another core is that of
an abort(). The program tells what is true of it in a JSON file.

A test that is skipped prints why, and a run in which all are skipped fails.
With REFMAP_REQUIRE_GDB in the environment it fails without gdb, too.
"""

import ast
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
import unittest
from refmap import report
from test.support import os_helper

try:
    import resource
except ImportError:
    resource = None

try:
    from .util import run_gdb, setup_module
except unittest.SkipTest as exc:
    print(f'test_gdb.test_refmap: {exc}', file=sys.stderr)
    if 'REFMAP_REQUIRE_GDB' in os.environ:
        raise RuntimeError(f'gdb is required, but: {exc}') from None
    raise

if not hasattr(sys, 'refmap_info'):
    print('test_gdb.test_refmap: no refcount map', file=sys.stderr)
    raise unittest.SkipTest('needs an interpreter --with-refcount-map')

# What gdb loads by its name: the build copies it to the interpreter, with the
# commands beside it; of an installed interpreter it is a link.
HOOKS = os.path.realpath(os.path.realpath(sys.executable) + '-gdb.py')
SCRIPT = os.path.join(os.path.dirname(HOOKS), 'refmap_gdb.py')
PACKAGE = os.path.join(os.path.dirname(HOOKS), 'refmap_gdb')

PROGRAM = '''
import _testrefmap, json, os, sys, types

class Victim: pass
class Inline: pass
class Slots: __slots__ = ('first', 'second')
class Subclass(tuple): pass

oldest = sys.refmap_snapshot()
victim, old = Victim(), Victim()
holders = {}
def hold(where, holder):
    holders[where] = id(holder)
    return holder

keep = [
    hold('item 1', [None, victim]),
    hold('item 2', (1, 2, victim)),
    hold("value of 'key'", {'key': victim}),
    hold('value of 5', {5: victim}),
    hold('element', {victim}),
    hold('element ', frozenset({victim, *map(str, range(40))})),
    hold('im_self', types.MethodType(print, victim)),
    hold('item 4999', [None] * 4999 + [victim]),
    hold('item 4998', (None,) * 4998 + (victim,)),
    hold('item 0', Subclass([victim])),
]
inline = hold("attribute 'name'", Inline())
inline.name = victim
slots = hold("slot 'second'", Slots())
slots.second = victim
big = Inline()
for i in range(40):
    setattr(big, f'a{i}', i)
big.last = victim
hold("value of 'last'", big.__dict__)
Slots.victim = victim
def close(free=victim):
    return lambda: free
inner = close()
hold('ob_ref', inner.__closure__[0])
def generate():
    inside = victim
    yield
    yield inside
generator = hold("local 'inside'", generate())
next(generator)
def leave_a_frame():
    left = victim
    return sys._getframe()
frame = hold("local 'left'", leave_a_frame())

before = sys.refmap_snapshot()
survivor = Victim()
del old
more = {i: [i] for i in range(100000, 100040)}
new = [object() for i in range(200)]
after = sys.refmap_snapshot()
diff = sys.refmap_diff(before, after, file=None)
facts = {
    'victim': id(victim), 'survivor': id(survivor), 'slots': id(slots),
    'after': id(after),
    'diff': str(diff).split('\\n'),
    'living': list(map(tuple, diff.living)),
    'died': [tuple(record)[:3] for record in diff.died],
    'diff_oldest': str(sys.refmap_diff(oldest, after, file=None)).split('\\n'),
    'count': sys.refmap_count(victim) - 1,
    'refcnt': sys.getrefcount(victim) - 1,
    'holders': holders,
}
with open(sys.argv[1], 'w') as file:
    json.dump(facts, file)
# Pages are read in each form there is, packed ones too.
for _ in range(2):
    _testrefmap.sweep()
if sys.argv[2:] == ['abort']:
    os.abort()
def stop(argument):
    hash(argument)
stop(victim)
'''

# Runs each command by itself and tells its output apart from all others.
RUNNER = '''python
def refmap_try(command):
    import gdb, json
    try:
        output, error = gdb.execute(command, to_string=True), None
    except gdb.error as exc:
        output, error = '', str(exc)
    print('REFMAP-TEST ' + json.dumps([command, output, error]))
end'''


class Answer:
    """What gdb said to one command: output, or an error message."""

    def __init__(self, output, error):
        self.output = output
        self.error = error
        self.lines = output.splitlines()

    def field(self, name):
        """Return the value in a line that begins with a name."""
        for line in self.lines:
            key, _, value = line.partition(' ')
            if key == name:
                return value.strip()
        raise AssertionError(f'no {name} in {self.output!r} {self.error!r}')


class Session:
    """The answers of one gdb process to a list of commands."""

    def __init__(self, setup, commands, *program, load=None, **environment):
        """Run `commands` after `setup` on `program`, which is what gdb takes
        as file and core, or as file and arguments after '--args'."""
        with tempfile.NamedTemporaryFile('w', suffix='.gdb') as file:
            file.write('set breakpoint pending on\n')
            if load:
                file.write(f'source {load}\n')
            file.write(RUNNER + '\n')
            for command in setup:
                file.write(command + '\n')
            for command in commands:
                quoted = json.dumps(command)
                file.write(f'python refmap_try({quoted})\n')
            file.flush()
            self.stdout, self.stderr = run_gdb(
                '-ex', f'source {file.name}', *program, check=False,
                **environment)
        self.answers = {}
        for line in self.stdout.splitlines():
            if line.startswith('REFMAP-TEST '):
                command, output, error = json.loads(line.split(' ', 1)[1])
                self.answers[command] = Answer(output, error)
        self.check(commands)

    def check(self, commands):
        text = self.stdout + self.stderr
        if 'ptrace' in text and 'not permitted' in text:
            State.reasons.add('gdb is not allowed to trace a process')
            raise unittest.SkipTest('gdb is not allowed to trace a process')
        for pattern in 'Traceback', 'Python Exception', 'Error occurred in':
            if pattern in text:
                raise AssertionError(f'{pattern} in {text}')
        missing = set(commands) - set(self.answers)
        if missing:
            raise AssertionError(f'no answer to {missing}: {text}')
        State.read += any(answer.output for command, answer
                          in self.answers.items()
                          if command.startswith('py-refmap'))

    def __getitem__(self, command):
        return self.answers[command]


class State:
    """What the run leaves behind: in how many sessions a map was read, and
    why tests were skipped."""

    read = 0
    reasons = set()

    @classmethod
    def skip(cls, who, reason):
        cls.reasons.add(reason)
        print(f'{who} skipped: {reason}', file=sys.stderr)


def setUpModule():
    setup_module()


def tearDownModule():
    if State.reasons and not State.read:
        raise AssertionError('all tests that read a map were skipped: '
                             + '; '.join(sorted(State.reasons)))


class RefmapTestCase(unittest.TestCase):
    """Prints why a test was skipped."""

    def run(self, result=None):
        before = len(result.skipped)
        super().run(result)
        for _, reason in result.skipped[before:]:
            State.skip(self.id(), reason)


class Program:
    """A directory with the program, its facts, and its cores."""

    STOP = ['break builtin_hash', 'run']

    def __init__(self, source=PROGRAM):
        self.directory = tempfile.mkdtemp(prefix='refmap-gdb-')
        self.facts_file = os.path.join(self.directory, 'facts.json')
        self.script = os.path.join(self.directory, 'program.py')
        with open(self.script, 'w') as file:
            file.write(source)
        self.args = [self.script, self.facts_file]

    def remove(self):
        os_helper.rmtree(self.directory)

    @property
    def facts(self):
        with open(self.facts_file) as file:
            return json.load(file)

    def path(self, name):
        return os.path.join(self.directory, name)

    def live(self, commands, setup=(), **options):
        """Stop the program in hash() and try `commands`."""
        return Session([*self.STOP, *setup], commands, '--args',
                       sys.executable, '-S', '-E', *self.args, **options)

    def core(self, core, commands, setup=(), **options):
        """Try `commands` on a core of the program."""
        return Session(setup, commands, sys.executable, core, **options)

    def abort(self):
        """Let the program abort; return its core or raise SkipTest."""
        if resource is None:
            raise unittest.SkipTest('no resource module')
        try:
            hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
            if hard == 0:
                resource.setrlimit(resource.RLIMIT_CORE, (0, -1))
        except (ValueError, OSError):
            raise unittest.SkipTest('cores are forbidden here') from None

        def allow():
            hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        subprocess.run([sys.executable, '-S', '-E', *self.args, 'abort'],
                       cwd=self.directory, preexec_fn=allow,
                       stderr=subprocess.DEVNULL)
        for name in os.listdir(self.directory):
            if name.startswith('core'):
                return self.path(name)
        with open('/proc/sys/kernel/core_pattern') as file:
            raise unittest.SkipTest(f'abort() left no core here; the pattern '
                                    f'is {file.read().strip()}')


class AllCommands:
    """What each command must say of the program; mixed into test cases."""

    ADDRESSES = 'victim', 'survivor', 'slots', 'after'

    @classmethod
    def setUpClass(cls):
        cls.program = Program()
        cls.addClassCleanup(cls.program.remove)
        try:
            cls.session = cls.open()
        except unittest.SkipTest as exc:
            State.skip(cls.__name__, str(exc))
            raise
        cls.facts = cls.program.facts

    COMMANDS = ['py-refmap', 'py-refmap --interp 0', 'py-refmap --interp 7',
                'py-refmap-types', 'py-refmap-types Vict*',
                'py-refmap-types nothing_of_the_kind',
                'py-refmap-top', 'py-refmap-top 3 --type Victim',
                'py-refmap-objects --type Victim',
                'py-refmap-objects --type Victim --limit 1',
                'py-refmap-objects --type object --born-after 536870911',
                'py-refmap-snapshots', 'py-refmap-diff', 'py-refmap-diff 2 3',
                'py-refmap-diff 1 3', 'py-refmap-diff 3 $after',
                'py-refmap-diff 9', 'py-refmap-diff now 3',
                'py-refmap-verify', 'py-refmap $victim',
                'py-refmap (PyObject *) $survivor', 'py-refmap $slots',
                'py-refmap $victim + 16', 'py-refmap-refs $victim']

    @classmethod
    def convenience(cls):
        """gdb commands that make $victim and the like of the facts."""
        return [f"""python
import gdb, json
for key, value in json.load(open({cls.program.facts_file!r})).items():
    if key in {cls.ADDRESSES}:
        gdb.execute('set $%s = %d' % (key, value))
end"""]

    def say(self, command):
        answer = self.session[command]
        self.assertIsNone(answer.error, command)
        return answer

    def test_summary(self):
        answer = self.say('py-refmap')
        self.assertEqual(answer.field('exact'), 'yes')
        mapped, unattributed, total, objects = (
            int(answer.field(name)) for name in
            ('mapped', 'unattributed', 'total', 'objects'))
        self.assertEqual(mapped + unattributed, total)
        self.assertGreater(mapped, objects)
        self.assertGreater(objects, 1000)
        self.assertEqual(len(answer.lines), 7 + 1 + 10)
        self.assertEqual(answer.output,
                         self.say('py-refmap --interp 0').output)
        self.assertEqual(self.session['py-refmap --interp 7'].error,
                         'There is no interpreter 7; there are: 0.')

    def test_object(self):
        answer = self.say('py-refmap $victim')
        facts = self.facts
        self.assertEqual(answer.field('object'), hex(facts['victim']))
        self.assertEqual(answer.field('type'), 'Victim')
        self.assertEqual(answer.field('references'), answer.field('ob_refcnt'))
        # Those that the program counted are there, and some on the stack.
        count = int(answer.field('references'))
        self.assertIn(count, range(facts['count'], facts['count'] + 4))
        self.assertGreater(int(answer.field('birth')), 0)
        self.assertEqual(answer.field('immortal'), 'no')
        self.assertIn('of interpreter 0', answer.field('block'))
        self.assertIn(f'snapshot      2: {facts["count"]} references',
                      answer.lines)
        self.assertIn('snapshot      1: not there', answer.lines)
        self.assertIn('Victim', answer.field('value'))

    def test_object_by_expression(self):
        answer = self.say('py-refmap (PyObject *) $survivor')
        self.assertEqual(answer.field('object'), hex(self.facts['survivor']))
        self.assertIn('snapshot      2: not there', answer.lines)
        self.assertIn('snapshot      3 (baseline): 1 reference', answer.lines)

    def test_inside_of_object(self):
        self.assertIn('16 bytes inside the Victim',
                      self.session['py-refmap $victim + 16'].error)

    def test_types(self):
        rows = self.say('py-refmap-types').lines[1:-1]
        counts = [int(row.split()[0]) for row in rows]
        self.assertEqual(counts, sorted(counts, reverse=True))
        rows = self.say('py-refmap-types Vict*').lines
        self.assertEqual(rows[1].split()[1:], ['2', 'Victim'])
        self.assertEqual(self.say('py-refmap-types nothing_of_the_kind').lines,
                         ['No object is of a type like nothing_of_the_kind.'])

    def test_top(self):
        lines = self.say('py-refmap-top').lines
        counts = [int(re.search(r'\): (-?\d+) ref', line)[1])
                  for line in lines]
        self.assertEqual(len(counts), 10)
        self.assertEqual(counts, sorted(counts, reverse=True))
        lines = self.say('py-refmap-top 3 --type Victim').lines
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].startswith(f'{self.facts["victim"]:#x} '))

    def test_objects(self):
        lines = self.say('py-refmap-objects --type Victim').lines
        self.assertEqual(len(lines), 3)
        self.assertIn(f'{self.facts["victim"]:#x} (Victim): ', lines[0])
        self.assertIn(f'{self.facts["survivor"]:#x} (Victim): ', lines[1])
        self.assertIn('2 objects', lines[2])
        lines = self.say('py-refmap-objects --type Victim --limit 1').lines
        self.assertEqual(len(lines), 2)
        self.assertIn('1 of them shown', lines[1])
        self.assertEqual(self.say('py-refmap-objects --type object '
                                  '--born-after 536870911').lines,
                         ['0 objects with 0 references.'])

    def test_snapshots(self):
        lines = self.say('py-refmap-snapshots').lines
        self.assertEqual([line.split(':')[0] for line in lines],
                         ['1', '2', '3'])
        self.assertEqual([line.endswith(', baseline') for line in lines],
                         [False, False, True])

    def test_diff_in_the_words_of_sys(self):
        self.assertEqual(self.say('py-refmap-diff 2 3').lines,
                         self.facts['diff'])
        self.assertEqual(self.say('py-refmap-diff 1 3').lines,
                         self.facts['diff_oldest'])

    def test_diff_in_the_words_of_the_library(self):
        self.assertEqual(self.say('py-refmap-diff 2 3').lines,
                         report.raw_lines(self.facts['living'],
                                          self.facts['died']))

    def test_diff_with_now(self):
        lines = self.say('py-refmap-diff').lines
        total = int(re.fullmatch(r'total ref change (-?\d+)', lines[-1])[1])
        types = [int(line.rpartition(' ')[2]) for line in lines
                 if line.startswith('ref change of type')]
        self.assertEqual(sum(types), total)
        back = self.say('py-refmap-diff now 3').lines
        self.assertEqual(back[-1], f'total ref change {-total}')

    def test_diff_of_snapshot_object(self):
        self.assertEqual(self.say('py-refmap-diff 3 $after').lines,
                         ['total ref change 0'])
        self.assertEqual(self.session['py-refmap-diff 9'].error,
                         'There is no snapshot 9: see py-refmap-snapshots.')

    def test_verify(self):
        lines = self.say('py-refmap-verify').lines
        self.assertRegex(lines[-1],
                         r'^\d+ objects compared, none with another ob_refcnt')
        self.assertEqual(len(lines), 1)

    def test_refs(self):
        answer = self.say('py-refmap-refs $victim')
        for where, holder in self.facts['holders'].items():
            with self.subTest(where=where):
                self.assertRegex(answer.output,
                                 fr'(?m)^{holder:#x} \(.*\): '
                                 + re.escape(where.strip()) + '$')
        self.assertRegex(answer.output, r"\(dict\): value of 'victim'")
        # What else is counted can only be on the stack of a running frame.
        match = re.fullmatch(r'(\d+) references found(?: and perhaps (\d+) on '
                             r'stacks)?, the map counts (\d+)\.',
                             answer.lines[-1])
        found, perhaps, count = (int(group or 0) for group in match.groups())
        self.assertLessEqual(found, count)
        self.assertLessEqual(count, found + perhaps)


class LiveTests(AllCommands, RefmapTestCase):
    """On a process that is stopped."""

    PACKED = 'print main_map.nblocks - main_map.nloose'
    EXTRA = ['py-refmap obj', 'py-refmap-refs obj', 'py-refmap (long)getpid()',
             PACKED]

    @classmethod
    def open(cls):
        return cls.program.live(cls.COMMANDS + cls.EXTRA,
                                setup=cls.convenience())

    def test_variable(self):
        answer = self.say('py-refmap obj')
        self.assertEqual(answer.field('object'), hex(self.facts['victim']))

    def test_some_pages_are_packed(self):
        packed = int(self.session[self.PACKED].output.split()[-1])
        self.assertGreater(packed, 10)

    def test_running_frame(self):
        answer = self.say('py-refmap-refs obj')
        self.assertRegex(answer.output,
                         r"\(running stop\(\)\): local 'argument'")

    def test_nothing_is_called(self):
        self.assertIn('may-call-functions',
                      self.session['py-refmap (long)getpid()'].error)


class GcoreTests(AllCommands, RefmapTestCase):
    """On the core that gcore writes of it."""

    RUNNING = ['py-refmap-watch $victim', 'py-refmap-break-negative']

    @classmethod
    def open(cls):
        core = cls.program.path('gcore')
        cls.program.live([f'gcore {core}'])
        return cls.program.core(core, cls.COMMANDS + cls.RUNNING,
                                setup=cls.convenience())

    def test_core_does_not_run(self):
        for command in self.RUNNING:
            self.assertEqual(self.session[command].error,
                             'A core dump does not run: this needs a process.')


class AbortTests(AllCommands, RefmapTestCase):
    """On the core of an abort()."""

    @classmethod
    def open(cls):
        core = cls.program.abort()
        return cls.program.core(core, cls.COMMANDS, setup=cls.convenience())


class PlainTests(RefmapTestCase):
    """Without libpython.py, and without a map."""

    def test_sourced_by_hand(self):
        program = Program()
        self.addCleanup(program.remove)
        session = Session(
            Program.STOP,
            ['py-refmap obj', 'py-refmap-refs obj', 'py-refmap'],
            '-iex', 'set auto-load python-scripts off', '--args',
            sys.executable, '-S', '-E', *program.args, load=SCRIPT)
        self.assertEqual(session['py-refmap obj'].field('value'),
                         f'<Victim at {program.facts["victim"]:#x}>')
        self.assertEqual(session['py-refmap'].field('exact'), 'yes')

    def test_loaded_with_the_interpreter(self):
        session = Session([], ['py-refmap', 'help py-refmap'], sys.executable)
        self.assertIn('There is no process', session['py-refmap'].error)
        self.assertIn('Usage:', session['help py-refmap'].output)

    def test_every_command_has_help(self):
        names = [f'py-refmap{name}' for name in
                 ('', '-types', '-top', '-objects', '-snapshots', '-diff',
                  '-verify', '-refs', '-watch', '-break-negative')]
        session = Session([], [f'help {name}' for name in names]
                          + [f'{name} --nonsense 1' for name in names],
                          load=SCRIPT)
        for name in names:
            self.assertIn(f'Usage: {name}', session[f'help {name}'].output)
            self.assertIn('There is no option --nonsense.',
                          session[f'{name} --nonsense 1'].error)

    def test_no_interpreter(self):
        program = shutil.which('sleep')
        if program is None:
            self.skipTest('there is no program sleep')
        session = Session(['starti'], ['py-refmap', 'py-refmap 0x1000',
                                       'py-refmap-break-negative'],
                          '--args', program, '1', load=SCRIPT)
        self.assertEqual(session['py-refmap'].error,
                         'There are no symbols of a Python interpreter here.')

    def test_stock_interpreter(self):
        for name in 'python3', 'python':
            program = shutil.which(name, path='/usr/bin:/usr/local/bin:/bin')
            if program:
                break
        else:
            self.skipTest('no other Python interpreter is installed')
        session = Session(['starti'], ['py-refmap'], '--args', program,
                          load=SCRIPT)
        message = session['py-refmap'].error
        if 'no symbols' in message:
            self.skipTest('the installed interpreter has no symbols')
        self.assertEqual(message, 'This interpreter keeps no refcount map: it '
                                  'was not configured --with-refcount-map.')

    def test_stripped_interpreter(self):
        if shutil.which('strip') is None:
            self.skipTest('there is no program strip')
        with os_helper.temp_dir() as directory:
            program = os.path.join(directory, 'python')
            subprocess.run(['strip', '--strip-debug', '-o', program,
                            sys.executable], check=True)
            session = Session(['starti'], ['py-refmap'], program,
                              load=SCRIPT)
        self.assertIn('its debug information is missing',
                      session['py-refmap'].error)


# What the commands say where no process is.
NO_PROCESS = ('There is no process: run the program, attach to it, or open a '
              'core dump.')


class LoadingTests(RefmapTestCase):
    """From where the commands are loaded, and from where they are not."""

    # Asks what was loaded, and from where.
    MODULES = ("python print([getattr(module, '__file__', None) "
               "for name, module in sorted(sys.modules.items()) "
               "if name.partition('.')[0] == 'refmap_gdb'])")

    def loaded(self, session):
        """Return the files of the package that are loaded."""
        self.assertEqual(session['py-refmap'].error, NO_PROCESS)
        return ast.literal_eval(session[self.MODULES].output)

    def open(self, *program, **options):
        return Session(['python import sys'], [self.MODULES, 'py-refmap'],
                       *program, **options)

    def assert_from(self, folder, files):
        self.assertGreater(len(files), 20)
        for file in files:
            self.assertTrue(file.startswith(folder + os.sep), file)

    def test_with_the_interpreter(self):
        self.assert_from(PACKAGE, self.loaded(self.open(sys.executable)))

    def test_source_tree(self):
        folder = os.path.join(sysconfig.get_config_var('srcdir') or '', 'Tools',
                              'gdb', 'refmap_gdb')
        if not os.path.exists(folder + '.py'):
            self.skipTest('there is no source tree')
        folder = os.path.realpath(folder)
        self.assert_from(folder,
                         self.loaded(self.open(load=folder + '.py')))

    def test_relative_name(self):
        with os_helper.change_cwd(os.path.dirname(SCRIPT)):
            session = self.open(load='refmap_gdb.py')
        self.assert_from(PACKAGE, self.loaded(session))

    def test_twice(self):
        session = Session(['python import sys', f'source {SCRIPT}'],
                          [self.MODULES, 'py-refmap'], sys.executable,
                          load=SCRIPT)
        self.assert_from(PACKAGE, self.loaded(session))
        self.assertEqual(session.stderr.strip(), '')

    def test_path_with_spaces(self):
        with os_helper.temp_dir() as directory:
            folder = os.path.join(os.path.realpath(directory), 'a  b')
            shutil.copytree(PACKAGE, os.path.join(folder, 'refmap_gdb'))
            shutil.copy(SCRIPT, folder)
            shutil.copy(HOOKS, folder)
            session = self.open(load=os.path.join(folder,
                                                  os.path.basename(HOOKS)))
        self.assert_from(os.path.join(folder, 'refmap_gdb'),
                         self.loaded(session))

    def test_hostile_working_directory(self):
        names = {os.path.splitext(name)[0] for name in os.listdir(PACKAGE)}
        names |= {'refmap_gdb', 'libpython', 'python-gdb'} - {'__init__'}
        with os_helper.temp_dir() as directory:
            evil = 'print("EVIL", __file__)\nraise SystemExit\n'
            os.mkdir(os.path.join(directory, 'refmap_gdb'))
            for name in names:
                for folder in '', 'refmap_gdb':
                    with open(os.path.join(directory, folder, f'{name}.py'),
                              'w') as file:
                        file.write(evil)
            with os_helper.change_cwd(directory):
                path = '-iex', 'python sys.path[:0] = ["", ' \
                               f'{directory!r}]'
                for program, load in [(sys.executable, None), ('', SCRIPT)]:
                    args = path + ((program,) if program else ())
                    session = self.open(*args, load=load, PYTHONPATH=directory)
                    self.assert_from(PACKAGE, self.loaded(session))
                    self.assertNotIn('EVIL', session.stdout + session.stderr)

    def test_nothing_is_left(self):
        """No name in the namespace that all scripts of gdb share, and no
        file."""
        names = "python print(sorted(globals().keys() - {'names'}))"
        session = Session([], [names, f'source {SCRIPT}', names + ' '])
        self.assertEqual(session[names].output, session[names + ' '].output)
        self.assertNotIn('refmap_gdb', session[names + ' '].output)
        for folder, folders, _ in os.walk(PACKAGE):
            self.assertNotIn('__pycache__', folders)

    def test_package_is_missing(self):
        with os_helper.temp_dir() as directory:
            shutil.copy(SCRIPT, directory)
            hooks = shutil.copy(HOOKS, directory)
            session = Session([f'source {hooks}'], ['help py-bt'])
        self.assertRegex(session.stderr, r'\AThere are no py-refmap commands: '
                                         r'.* is missing\.\n\Z')
        self.assertIn('python frame', session['help py-bt'].output)

    def test_layers(self):
        """Each module imports from those before it in the list that the
        package begins with."""
        with open(os.path.join(PACKAGE, '__init__.py')) as file:
            doc = ast.get_docstring(ast.parse(file.read()))
        order = []
        for line in doc.split('it:\n')[1].splitlines():
            names = re.match(r'  ([a-z_]+(?:, [a-z_]+)*)  ', line)
            order += names[1].split(', ') if names else []
        found = {name.removesuffix('.py') for name in os.listdir(PACKAGE)}
        self.assertEqual(sorted(order), sorted(found - {'__init__'}))
        order.append('commands')
        for folder, _, files in os.walk(PACKAGE):
            for name in files:
                with open(os.path.join(folder, name)) as file:
                    tree = ast.parse(file.read())
                self.check_imports(order, folder, name, tree)

    def check_imports(self, order, folder, name, tree):
        inside = os.path.basename(folder) == 'commands'
        own = 'commands' if inside else name.removesuffix('.py')
        if own == '__init__':
            return
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.level <= inside:
                continue
            self.assertLess(order.index(node.module), order.index(own),
                            f'{name} imports from {node.module}')


class InstalledTests(RefmapTestCase):
    """An interpreter that "make install" put somewhere."""

    def make(self, *arguments):
        folder = os.path.dirname(sys.executable)
        if not (shutil.which('make')
                and os.path.exists(os.path.join(folder, 'Makefile'))):
            self.skipTest('this interpreter can not be installed')
        # What runs this test is not to be built anew.
        subprocess.run(['make', '-s', '-o', os.path.basename(sys.executable),
                        *arguments], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)

    def test_installed(self):
        program = Program('hash(print)')
        self.addCleanup(program.remove)
        prefix = os.path.realpath(program.path('prefix'))
        # The library and what compiles it take minutes, and gdb none of it.
        self.make(f'prefix={prefix}', 'altbininstall', 'refmap_gdbinstall')
        version = sysconfig.get_config_var('LDVERSION')
        os.makedirs(os.path.join(prefix, 'lib'), exist_ok=True)
        os.symlink(os.path.dirname(os.__file__),
                   os.path.join(prefix, 'lib', 'python%d.%d'
                                % sys.version_info[:2]))
        folder = os.path.join(prefix, 'share', 'gdb', f'python{version}')
        for name in {version, '%d.%d' % sys.version_info[:2]}:
            with self.subTest(name=name):
                python = os.path.join(prefix, 'bin', f'python{name}')
                self.check(python, folder, program)

    def check(self, python, folder, program):
        session = Session(
            Program.STOP,
            ['py-refmap', 'py-refmap obj', LoadingTests.MODULES],
            '-iex', f'add-auto-load-safe-path {os.path.dirname(folder)}',
            '-iex', 'python import sys', '--args', python, '-S', '-E',
            program.script)
        self.assertEqual(session['py-refmap'].field('exact'), 'yes')
        # In the words of libpython.py.
        self.assertIn('<built-in method print of module object',
                      session['py-refmap obj'].field('value'))
        files = ast.literal_eval(session[LoadingTests.MODULES].output)
        self.assertTrue(files)
        for file in files:
            self.assertTrue(file.startswith(folder + os.sep), file)


class SlotTests(RefmapTestCase):
    """What the words of a slot mean, without a process."""

    # even word, odd word: count, birth, whether the object is odd
    BORN, KEYS, DEAD = 0x8000_0007, 0xc000_0007, 0xa000_0007
    SLOTS = [
        (0, 0, 0, 0, False),
        (3, BORN, 3, BORN, False),
        (1, KEYS, 1, KEYS, False),
        (0, BORN, 0, BORN, False),
        (0xffff_ffff, BORN, -1, BORN, False),
        (BORN, 3, 3, BORN, True),
        (BORN, 0, 0, BORN, True),
        (BORN, 0xffff_fffe, -2, BORN, True),
        # An object without a birth, alone and where another one died.
        (2, 0, 2, 0, False),
        (0xe000_0000, 0, -0x2000_0000, 0, False),
        (0x7fff_ffff, 0, 0x7fff_ffff, 0, False),
        (0, 2, 2, 0, True),
        (2, 1, 3, 0, True),
        (0, DEAD, 0, 0, False),
        (2, DEAD, 2, 0, False),
        (DEAD, 2, 2, 0, True),
    ]
    SETUP = """python
import random
from refmap_gdb.layout import Layout
from refmap_gdb.slots import Block, decode
layout = Layout.__new__(Layout)
vars(layout).update(slots=256, slot_bits=4, page_bits=12, lanes=2,
                    birth_born=1 << 31, birth_keys=1 << 30,
                    birth_dead=1 << 29, birth_own=1 << 28,
                    count_min=-1 << 29)

def blocks(pairs):
    'Blocks of these slots: of each lane, and packed'
    for lane in range(2):
        block = Block.__new__(Block)
        words = [random.randrange(1 << 32) for _ in range(4 * len(pairs))]
        words[lane::4] = [even for even, odd in pairs]
        words[lane + 2::4] = [odd for even, odd in pairs]
        vars(block).update(layout=layout, lane=lane, odd=set(), page=5)
        block.take_slots(words)
        yield block
    used = sum(1 << i for i, pair in enumerate(pairs) if any(pair))
    block = Block.__new__(Block)
    vars(block).update(layout=layout, odd=set(), page=5)
    block.take_packed(used, [word for pair in pairs if any(pair)
                             for word in pair])
    yield block

def differing(words):
    'Pairs of which a block, or its slot(), says something else than decode()'
    pairs = [tuple(random.choices(words, k=2)) for _ in range(256)]
    for block in blocks(pairs):
        for i, pair in enumerate(pairs):
            count, birth, odd = decode(layout, *pair)
            address = 0x5000 + 16 * i + 8 * odd
            if ((block.counts[i], block.births[i], i in block.odd)
                    != (count, birth, odd)
                    or block.slot_address(i) != address
                    or block.slot(address) != (count, birth)
                    or block.slot(address ^ 8) != (0, 0)):
                yield [hex(word) for word in pair]
end"""

    def test_decode(self):
        pairs = [row[:2] for row in self.SLOTS]
        command = f'python print([decode(layout, *p) for p in {pairs}])'
        session = Session([self.SETUP], [command], load=SCRIPT)
        self.assertEqual(ast.literal_eval(session[command].output),
                         [row[2:] for row in self.SLOTS])

    def test_blocks(self):
        words = sorted({word for row in self.SLOTS for word in row[:2]})
        commands = ['python random.seed(1)',
                    f'python print(list(differing({words})))',
                    f'python print(list(differing({words[:3]})))']
        session = Session([self.SETUP], commands, load=SCRIPT)
        for command in commands[1:]:
            self.assertEqual(session[command].output, '[]\n')


class InterpretersTests(RefmapTestCase):
    """Subinterpreters with and without a GIL of their own."""

    SOURCE = '''
import _interpreters, sys
own = _interpreters.create('isolated')
shared = _interpreters.create('legacy')
_interpreters.exec(own, """if True:
    import sys
    class Own: pass
    kept = [Own() for i in range(5)]
    snapshot = sys.refmap_snapshot()
    del kept[2:]
""")
_interpreters.exec(shared, """if True:
    class Shared: pass
    kept = [Shared() for i in range(7)]
""")
hash(4)
'''

    @classmethod
    def setUpClass(cls):
        cls.program = Program(cls.SOURCE)
        cls.addClassCleanup(cls.program.remove)
        cls.session = cls.program.live([
            'py-refmap', 'py-refmap --interp 0', 'py-refmap --interp 1',
            'py-refmap --interp 2', 'py-refmap-types Own --interp 0',
            'py-refmap-types Own --interp 1', 'py-refmap-types Own',
            'py-refmap-types Shared --interp 0', 'py-refmap-diff',
            'py-refmap-diff --interp 1', 'py-refmap-diff --interp 0',
            'py-refmap-snapshots', 'py-refmap-verify'])

    def test_each_map_is_exact(self):
        parts = []
        for command in 'py-refmap', 'py-refmap --interp 0', \
                       'py-refmap --interp 1':
            answer = self.session[command]
            self.assertEqual(answer.field('exact'), 'yes', command)
            parts.append(int(answer.field('mapped')))
        self.assertEqual(parts[0], parts[1] + parts[2])
        output = self.session['py-refmap'].output
        self.assertIn('of interpreter 0, 2: ', output)
        self.assertIn('of interpreter 1: ', output)

    def test_shared_gil_shares_the_map(self):
        self.assertEqual(self.session['py-refmap --interp 2'].output,
                         self.session['py-refmap --interp 0'].output)
        self.assertIn('7 objects of 1 type',
                      self.session['py-refmap-types Shared --interp 0'].output)

    def test_types_of_one(self):
        def last(command):
            return self.session[command].lines[-1]
        self.assertIn('No object', last('py-refmap-types Own --interp 0'))
        self.assertIn('2 objects', last('py-refmap-types Own --interp 1'))
        self.assertIn('2 objects', last('py-refmap-types Own'))

    def test_diff(self):
        one = self.session['py-refmap-diff --interp 1']
        self.assertEqual(one.output.count('(Own): -1'), 3)
        both = self.session['py-refmap-diff'].lines
        self.assertRegex(both[0], '^map 0x[0-9a-f]+ of interpreter 1:$')
        self.assertEqual(both[1:], one.lines)
        self.assertIn('There is no baseline',
                      self.session['py-refmap-diff --interp 0'].error)

    def test_verify(self):
        self.assertIn('none with another ob_refcnt',
                      self.session['py-refmap-verify'].output)


class NamesTests(RefmapTestCase):
    """Names that pretend to be something else."""

    SOURCE = r'''
import json, sys

class Victim: pass
victim = Victim()
facts = {'victim': id(victim), 'holders': {}}

# Each begins another line, or does what a terminal is told by it.
FORGED = ['A%stotal ref change 666' % char for char in
          ('\n', '\r', '\r\n', '\x85', '\u2028', '\x1b[2J', '\x7f', '\0',
           '\N{RIGHT-TO-LEFT OVERRIDE}', '\udc80')]
forged = []
before = sys.refmap_snapshot()
for name in FORGED:
    try:
        forged.append(type(name, (), {})())
    except (ValueError, UnicodeEncodeError):
        continue            # no type can have it
    forged[-1].attribute = victim
facts['forged'] = len(forged)
after = sys.refmap_snapshot()

# Classes with the names of types whose memory gdb knows.
for name in ('int', 'str', 'dict keys', 'cell', 'set', 'frame', 'generator',
             'code', 'list', 'sys.refmap_snapshot_type', '?'):
    holder = type(name, (), {'__slots__': ('a', 'b', 'c')})()
    holder.c = victim
    facts['holders'][name] = id(holder)
    forged.append(holder)

def function(inside):
    global running
    running = hash
    with open(sys.argv[1], 'w') as file:
        json.dump(facts, file)
    running(inside)
function.__code__ = function.__code__.replace(
    co_name='f\ntotal ref change 1', co_qualname='f\ntotal ref change 1',
    co_filename='f\ntotal ref change 1')
function(victim)
'''
    COMMANDS = ['py-refmap', 'py-refmap-types', 'py-refmap-types A*',
                'py-refmap-top 100', 'py-refmap-objects --type A*',
                'py-refmap-diff 1 2', 'py-refmap-diff', 'py-refmap-refs obj',
                'py-refmap-verify', 'py-refmap obj', 'py-refmap $forged',
                'py-refmap $forged + 8', 'py-refmap-refs $forged',
                'py-refmap-types \'x\ntotal ref change 1\'']

    @classmethod
    def setUpClass(cls):
        cls.program = Program(cls.SOURCE)
        cls.addClassCleanup(cls.program.remove)
        cls.session = cls.program.live(cls.COMMANDS + ['py-refmap-watch obj'],
                                       setup=cls.find_forged())
        cls.facts = cls.program.facts

    @staticmethod
    def find_forged():
        """gdb commands that make $forged of the first object listed, and one
        whose count differs."""
        return ["""python
import gdb, re
text = gdb.execute('py-refmap-objects --type A*', to_string=True)
gdb.execute('set $forged = ' + re.match('0x[0-9a-f]+', text)[0])
gdb.execute('set var ((PyObject *) $forged)->ob_refcnt = 9')
end"""]

    def test_no_line_is_forged(self):
        for command in self.COMMANDS:
            answer = self.session[command]
            lines = [line for line in answer.lines + [answer.error or '']
                     if line.startswith('total ref change')]
            with self.subTest(command=command):
                expected = command.startswith('py-refmap-diff')
                self.assertEqual(len(lines), expected)
                self.assertNotIn('total ref change 666', lines)
                text = answer.output.replace('\n', '') + (answer.error or '')
                self.assertTrue(text.isprintable(), ascii(text))

    def test_names_are_shown(self):
        output = self.session['py-refmap-types A*'].output
        self.assertIn(r'A\x0atotal ref change 666', output)
        self.assertIn(r'A\x1b[2Jtotal ref change 666', output)
        self.assertEqual(output.count('total ref change 666'),
                         self.facts['forged'])
        self.assertGreater(self.facts['forged'], 6)

    def test_names_are_not_believed(self):
        lines = self.session['py-refmap-refs obj'].lines
        for name, holder in self.facts['holders'].items():
            with self.subTest(name=name):
                self.assertIn(f"{holder:#x} ({name}): slot 'c'", lines)
        self.assertTrue([line for line in lines
                         if r"(running f\ntotal ref change 1()): local "
                            r"'inside'" in line])

    def test_any_locale(self):
        program = Program("T = type('T\u00e9\u4e2d\U0001f600', (), {})\n"
                          "x = T()\nhash(x)\n")
        self.addCleanup(program.remove)
        commands = ['py-refmap obj', 'py-refmap-objects --type T*']
        for locale in 'C', 'C.UTF-8':
            with self.subTest(locale=locale):
                session = program.live(commands, LC_ALL=locale)
                for command in commands:
                    self.assertIn('T\u00e9\u4e2d\U0001f600',
                                  session[command].output)


class BrokenCoreTests(RefmapTestCase):
    """Cores of which only a part was written, or that were overwritten."""

    COMMANDS = ['py-refmap', 'py-refmap-types', 'py-refmap-top 3',
                'py-refmap-snapshots', 'py-refmap-diff', 'py-refmap-diff 1 2',
                'py-refmap-verify', 'py-refmap $victim',
                'py-refmap-refs $victim', 'py-refmap-objects --type Victim']

    def setUp(self):
        self.program = Program()
        self.addCleanup(self.program.remove)
        self.answered = 0

    def check(self, core, **params):
        """Each command ends with its output or with a sentence."""
        victim = self.program.facts['victim']
        session = self.program.core(core, self.COMMANDS,
                                    setup=[f'set $victim = {victim}'])
        for command in self.COMMANDS:
            answer = session[command]
            with self.subTest(command=command, **params):
                if answer.error is None:
                    self.assertTrue(answer.output)
                    self.answered += 1
                else:
                    self.assertRegex(answer.error, r'\A[A-Z"].*[.?]\Z')
                    self.assertNotIn('does not understand', answer.error)

    def test_truncated(self):
        core = self.program.abort()
        size = os.path.getsize(core)
        for part in 0.95, 0.8, 0.5, 0.2, 0.02:
            os.truncate(core, int(size * part))
            self.check(core, part=part)

    def test_overwritten(self):
        """Memory that may be written to has random words in it, some of them
        taken from elsewhere in it: numbers and pointers that look right."""
        core = self.program.path('gcore')
        self.program.live([f'gcore {core}'])
        with open(core, 'rb') as file:
            intact = file.read()
        for seed, every in enumerate([100_000, 10_000, 1000, 100, 10]):
            rng = random.Random(seed)
            data = bytearray(intact)
            segments = self.segments(data)
            size = sum(end - start for start, end in segments)
            for _ in range(size // 8 // every):
                at, other = (rng.randrange(*rng.choice(segments), 8)
                             for _ in range(2))
                data[at:at + 8] = rng.choice((
                    intact[other:other + 8], rng.randbytes(8),
                    b'\xff' * 8, b'\xdd' * 8, bytes(8)))
            with open(core, 'wb') as file:
                file.write(data)
            self.check(core, every=every)
        self.assertGreater(self.answered, len(self.COMMANDS))

    def segments(self, data):
        """Return [(start, end)]: where in a core the memory is that could be
        written to."""
        if data[:6] != b'\x7fELF\2\1':
            self.skipTest('cores are not of 64 bits, little-endian')
        start, = struct.unpack_from('<Q', data, 32)
        size, n = struct.unpack_from('<HH', data, 54)
        found = []
        for at in range(start, start + n * size, size):
            kind, flags, offset = struct.unpack_from('<IIQ', data, at)
            in_file, = struct.unpack_from('<Q', data, at + 32)
            if kind == 1 and flags & 2 and in_file:
                found.append((offset, offset + in_file))
        return found


class DamageTests(RefmapTestCase):
    """Maps and objects that were overwritten."""

    # A name, what overwrites it, what puts it right again.
    DAMAGES = [
        ('block pointer is garbage',
         'set $old = main_map.blocks[3]',
         'set var main_map.blocks[3] = (refmap_block_t *) 0x123456789'),
        ('block pointer is odd',
         'set $old = main_map.blocks[3]',
         'set var main_map.blocks[3] = (refmap_block_t *) -1'),
        ('block pointer is another block',
         'set $old = main_map.blocks[3]',
         'set var main_map.blocks[3] = main_map.blocks[5]'),
        ('block pointer is no block',
         'set $old = main_map.blocks[3]',
         'set var main_map.blocks[3] = (refmap_block_t *) &main_map'),
        ('page is garbage',
         'set $old = main_map.blocks[3]->page',
         'set var main_map.blocks[3]->page = 0xdddddddddddddddd'),
        ('page is nowhere',
         'set $old = main_map.blocks[3]->page',
         'set var main_map.blocks[3]->page = 7'),
        ('length is garbage',
         'set $old = main_map.len', 'set var main_map.len = -1'),
        ('length is too large',
         'set $old = main_map.len', 'set var main_map.len = 100000000'),
        ('blocks are nowhere',
         'set $old = main_map.blocks',
         'set var main_map.blocks = (refmap_block_t **) 8'),
        ('table is nowhere',
         'set $old = main_map.table',
         'set var main_map.table = (refmap_block_t *) 0xdddddddddddddddd'),
        ('buckets are nowhere',
         'set $old = main_map.table->hh.tbl->buckets',
         'set var main_map.table->hh.tbl->buckets = (UT_hash_bucket *) 8'),
        ('bucket goes round',
         'set $old = main_map.blocks[3]->hh.hh_next',
         'set var main_map.blocks[3]->hh.hh_next = &main_map.blocks[3]->hh'),
        ('snapshot is garbage',
         'set $old = main_map.newest',
         'set var main_map.newest = (refmap_snapshot_t *) 0x123456789'),
        ('snapshots go round',
         'set $old = main_map.newest->older',
         'set var main_map.newest->older = main_map.newest'),
        ('snapshot has endless blocks',
         'set $old = main_map.newest->nblocks',
         'set var main_map.newest->nblocks = -1'),
        ('all blocks are garbage',
         'set $old = main_map.blocks',
         'set var main_map.blocks = (refmap_block_t **) &main_map.recent'),
        ('blocks are a large nothing',
         'set $old = main_map.blocks',
         'set var main_map.blocks = (refmap_block_t **) (main_map.hot + 1)'),
        ('the layout is of another version',
         'set $old = _PyRefMap_layout.version',
         'set var _PyRefMap_layout.version = 99'),
        ('the layout is garbage',
         'set $old = _PyRefMap_layout.slots',
         'set var _PyRefMap_layout.slots = 0xdddddddd'),
        ('maps go round',
         'set $old = main_map.next', 'set var main_map.next = &main_map'),
        ('names are nowhere',
         'set $old = main_map.by_id',
         'set var main_map.by_id = (refmap_name_t **) 16'),
        ('interpreters go round',
         'set $old = _PyRuntime.interpreters.head->next',
         'set var _PyRuntime.interpreters.head->next = '
         '_PyRuntime.interpreters.head'),
        ('interpreter is garbage',
         'set $old = _PyRuntime.interpreters.head',
         'set var _PyRuntime.interpreters.head = '
         '(PyInterpreterState *) 0x123456789'),
        ('type is NULL',
         'set $old = ((PyObject *) $slots)->ob_type',
         'set var ((PyObject *) $slots)->ob_type = 0'),
        ('type is garbage',
         'set $old = ((PyObject *) $slots)->ob_type',
         'set var ((PyObject *) $slots)->ob_type = '
         '(PyTypeObject *) 0xdddddddddddddddd'),
        ('type is no type',
         'set $old = ((PyObject *) $slots)->ob_type',
         'set var ((PyObject *) $slots)->ob_type = (PyTypeObject *) $victim'),
        ('size is garbage',
         'set $old = ((PyVarObject *) $keep)->ob_size',
         'set var ((PyVarObject *) $keep)->ob_size = 0x7fffffffffffffff'),
    ]
    COMMANDS = ['py-refmap', 'py-refmap $victim', 'py-refmap $slots',
                'py-refmap-types', 'py-refmap-top 3',
                'py-refmap-objects --type Victim', 'py-refmap-snapshots',
                'py-refmap-diff 1 2', 'py-refmap-diff', 'py-refmap-verify',
                'py-refmap-refs $victim']

    @classmethod
    def setUpClass(cls):
        cls.program = Program(PROGRAM.replace(
            "'after': id(after),", "'after': id(after), 'keep': id(keep),"))
        cls.addClassCleanup(cls.program.remove)
        cls.addresses = (*AllCommands.ADDRESSES, 'keep')
        commands = [f"python json_facts = __import__('json').load(open("
                    f"{cls.program.facts_file!r}))"]
        commands += [f"python gdb.execute('set ${name} = %d' % "
                     f"json_facts['{name}'])" for name in cls.addresses]
        for number, (_, save, overwrite) in enumerate(cls.DAMAGES):
            target = re.match(r'set var (.*?) = ', overwrite)[1]
            commands += [save, overwrite]
            commands += [f'{command} ' + ' ' * number
                         for command in cls.COMMANDS]
            commands.append(f'set var {target} = $old')
        cls.core = cls.program.path('gcore')
        commands += [
            'set var main_map.blocks[3] = (refmap_block_t *) 0x123456789',
            'set var main_map.blocks[4] = (refmap_block_t *) 1',
            f'gcore {cls.core}', 'py-refmap']
        cls.session = cls.program.live(commands)

    def answer(self, title, command):
        titles = [damage[0] for damage in self.DAMAGES]
        return self.session[f'{command} ' + ' ' * titles.index(title)]

    def test_one_sentence(self):
        """Each command ends with its output or with a sentence."""
        for title, save, overwrite in self.DAMAGES:
            self.assertIsNone(self.session[save].error, title)
            self.assertIsNone(self.session[overwrite].error, title)
            for command in self.COMMANDS:
                answer = self.answer(title, command)
                with self.subTest(damage=title, command=command):
                    if answer.error is None:
                        self.assertTrue(answer.output)
                    else:
                        self.assertRegex(answer.error, r'\A[A-Z"].*[.?]\Z')
                        self.assertNotIn('does not understand', answer.error)

    def test_lost_blocks_are_told(self):
        for title in ('block pointer is garbage', 'block pointer is odd',
                      'block pointer is another block',
                      'block pointer is no block', 'page is garbage'):
            answer = self.answer(title, 'py-refmap')
            with self.subTest(damage=title):
                self.assertIn('no: off by', answer.field('exact'))
                for command in 'py-refmap', 'py-refmap-refs $victim':
                    self.assertRegex(self.answer(title, command).lines[-1],
                                     r'^1 of \d+ blocks of the map .* damaged')
        answer = self.answer('block pointer is another block',
                             'py-refmap-diff')
        self.assertIn('damaged', answer.lines[-1])

    def test_the_rest_is_read(self):
        answer = self.answer('block pointer is garbage',
                             'py-refmap-objects --type Victim')
        self.assertIn(f'{self.program.facts["victim"]:#x}', answer.output)

    def test_damaged_snapshots_hide_nothing_else(self):
        for title in 'snapshot is garbage', 'snapshots go round':
            answer = self.answer(title, 'py-refmap $victim')
            self.assertEqual(answer.field('type'), 'Victim')
            self.assertIn('snapshot', answer.field('snapshot'))

    def test_endless_lists(self):
        answer = self.answer('snapshots go round', 'py-refmap-snapshots')
        self.assertEqual(answer.error, 'The list of snapshots is damaged: it '
                                       'has no end.')

    def test_layout_is_checked(self):
        for title, version in [('the layout is of another version', 99),
                               ('the layout is garbage', 1)]:
            for command in self.COMMANDS:
                self.assertEqual(
                    self.answer(title, command).error,
                    f'The map of this process has the layout {version}: use '
                    f'the refmap_gdb.py that belongs to it.')

    def test_repaired(self):
        self.assertIn('2 of ', self.session['py-refmap'].lines[-1])

    def test_core_of_a_damaged_map(self):
        session = self.program.core(self.core, ['py-refmap', 'py-refmap-diff'])
        self.assertEqual(session['py-refmap'].output,
                         self.session['py-refmap'].output)


class VerifyTests(RefmapTestCase):
    def test_difference(self):
        program = Program()
        self.addCleanup(program.remove)
        session = program.live(['py-refmap-verify', 'py-refmap obj'], setup=[
            'set var obj->ob_refcnt = obj->ob_refcnt + 5'])
        first, last = session['py-refmap-verify'].lines
        address = program.facts['victim']
        self.assertRegex(first, fr'^{address:#x} \(Victim\): the map counts '
                                r'\d+, ob_refcnt is \d+$')
        count, refcnt = map(int, re.findall(r' (\d+)', first))
        self.assertEqual(refcnt - count, 5)
        self.assertIn('1 with another ob_refcnt', last)
        self.assertIn('differs from the map',
                      session['py-refmap obj'].field('ob_refcnt'))


class RunningTests(RefmapTestCase):
    """Commands that let the program go on."""

    WATCHED = '''
class Victim: pass
victim = Victim()
hash(victim)
def function(argument):
    pair = [argument, argument]
function(victim)
del victim
id(2)
'''

    def run_program(self, source, *commands):
        program = Program(source)
        self.addCleanup(program.remove)
        session = Session([*commands], [], '--args', sys.executable, '-S',
                          '-E', program.script)
        return session.stdout + session.stderr

    def test_watch(self):
        output = self.run_program(self.WATCHED, *Program.STOP,
                                  'py-refmap-watch obj', 'delete 1',
                                  'continue')
        if 'no hardware watchpoint' in output:
            self.skipTest('this machine offers no hardware watchpoint')
        changes = [tuple(map(int, change)) for change in re.findall(
            r'^0x[0-9a-f]+ \(Victim\): (\d+) -> (\d+)$', output, re.M)]
        self.assertGreaterEqual(len(changes), 4)
        for (_, new), (old, _) in zip(changes, changes[1:]):
            self.assertEqual(new, old)
        self.assertEqual(changes[-1], (1, 0))
        self.assertIn('(Victim) dies; it is not watched any more', output)
        self.assertRegex(output, r'(?m)^  C      \w+')
        self.assertIn('exited normally', output)
        self.assertRegex(output,
                         r'(?m)^  Python function at .*program.py:6$')

    def test_watch_immortal(self):
        output = self.run_program(
            self.WATCHED, *Program.STOP,
            'python refmap_try("py-refmap-watch &_Py_NoneStruct")')
        self.assertIn('is immortal', output)

    def test_freed_while_counted(self):
        output = self.run_program(
            'import _testrefmap\n_testrefmap.free_counted("object", 3)\n',
            'py-refmap-break-negative', 'run')
        if "No module named '_testrefmap'" in output:
            self.skipTest('there is no module _testrefmap')
        self.assertRegex(output, r'the memory of 0x[0-9a-f]+ is freed while '
                                 r'the map counts 3')
        self.assertRegex(output, r'(?m)^  Python <module> at .*program.py:2$')

    def test_below_zero(self):
        output = self.run_program(
            'import _testrefmap\n'
            'x = object()\n'
            '_testrefmap.write_refcnt(x, -3)\n',
            'py-refmap-break-negative', 'run')
        if "No module named '_testrefmap'" in output:
            self.skipTest('there is no module _testrefmap')
        self.assertRegex(output, r'the reference count of 0x[0-9a-f]+ drops '
                                 r'below zero')


if __name__ == '__main__':
    unittest.main()
