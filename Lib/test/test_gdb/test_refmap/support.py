"""One program under gdb, and what gdb says to a list of commands."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import unittest
from test.support import os_helper

from ..util import run_gdb, setup_module

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

oldest = sys.refmap_snapshot(actual=True)
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
    'after': id(after), 'keep': id(keep),
    'diff': str(diff).split('\\n'),
    'living': list(map(tuple, diff.living)),
    'died': [tuple(record)[:3] for record in diff.died],
    'diff_oldest': str(sys.refmap_diff(oldest, after, file=None,
                                       actual=False)).split('\\n'),
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


class ProgramTests:
    """Asks one program what COMMANDS say; mixed into test cases, which define
    open() and may have a SOURCE of their own."""

    SOURCE = PROGRAM

    @classmethod
    def setUpClass(cls):
        cls.program = Program(cls.SOURCE)
        cls.addClassCleanup(cls.program.remove)
        try:
            cls.session = cls.open()
        except unittest.SkipTest as exc:
            State.skip(cls.__name__, str(exc))
            raise
        cls.facts = cls.program.facts

    def say(self, command):
        """Return the answer to a command, which is no error."""
        answer = self.session[command]
        self.assertIsNone(answer.error, command)
        return answer


class Program:
    """A directory with the program, its facts, and its cores."""

    STOP = ['break builtin_hash', 'run']
    # Facts that gdb knows as $victim and so on; see variables().
    ADDRESSES = 'victim', 'survivor', 'slots', 'after', 'keep', 'dead'

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

    def variables(self):
        """Return gdb commands that make variables of the addresses."""
        return [f"""python
import gdb, json
for key, value in json.load(open({self.facts_file!r})).items():
    if key in {self.ADDRESSES}:
        gdb.execute('set $%s = %d' % (key, value))
end"""]

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
