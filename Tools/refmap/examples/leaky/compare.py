#!/usr/bin/env python3
"""What each tool says about the bugs of leaky, how fast, and what it names.

usage: compare.py [--build DIR] [--work DIR] [--only WORD]

Needs the interpreters 3.13-release, 3.13-debug, 3.13-stock-release and
3.13-stock-debug in DIR, the repository's build/ by default; a tool whose interpreter
or package is not to be had is skipped with its reason. Prints tables in Markdown.

Every tool gets a process of its own, a program that calls the function again and
again, and is believed when it says the right thing: the last case of each tool is a
clean function, which nothing should be said about. The time is that of the processor, in
seconds, for the whole process, the longest of the cases: it hardly depends on what else the
machine does. What was named is looked for in the output; '-' is a bug that was not seen:

    type     the type of the objects
    object   the address of one, or which argument it is
    line     the line in Python (py), the line in C (C); or the function alone
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, '../../../..'))
TIMEOUT = 300
# What CPython's garbage collector says, in a debug build, of an over-decref.
ABORT = 'refcount is too small'

SETUP = '''\
import sys, gc
import leaky
class Node:
    pass
node = Node()
nodes = [Node()] * 300_000      # so that nothing is freed which is in use
def fails(function, argument):
    try:
        function(argument)
    except ValueError:
        pass
def work():
    {work}
def loop(n):
    for _ in range(n):
        work()
loop(10)
'''

# Name of the case, what is called, and the type of what leaks.
CASES = [
    ('leak_new_reference', 'leaky.leak_new_reference(1000)', 'int'),
    ('leak_argument', 'leaky.leak_argument(node)', 'Node'),
    ('over_decref', 'leaky.over_decref(nodes)', 'Node'),
    ('leak_on_error_path', 'fails(leaky.leak_on_error_path, ["x"])', 'list'),
    ('borrowed_misuse', 'leaky.borrowed_misuse(nodes)', 'Node'),
    ('a clean function', 'leaky.leak_on_error_path(["1"])', None),
]
MILLION = 'leaky.leak_new_reference(1000, 1_000_000)'


def processor_time():
    """Seconds that finished child processes took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Skip(Exception):
    """Why a tool can't be tried."""


# --- interpreters ------------------------------------------------------------

class Interpreter:
    """An interpreter with leaky, in a virtual environment."""

    def __init__(self, executable, directory):
        # A link to a build directory would hide where it is.
        executable = os.path.realpath(executable)
        if not os.access(executable, os.X_OK):
            raise Skip(f'there is no {executable}')
        self.python = os.path.join(directory, 'bin', 'python')
        self.source = os.path.join(directory, 'leaky')
        if not os.path.exists(self.source):
            self.run([executable, '-m', 'venv', directory])
            # In its place when it is whole.
            half = self.source + '.half'
            shutil.copytree(HERE, half)
            shutil.copy(os.path.join(ROOT, 'Include/refmap_debug.h'), half)
            self.install('setuptools')
            self.run([self.python, 'setup.py', '-q', 'build_ext', '--inplace'],
                     cwd=half, env={**os.environ, 'CFLAGS': '-I.'})
            os.rename(half, self.source)

    def install(self, package):
        self.run([self.python, '-m', 'pip', 'install', '-q', package])

    @staticmethod
    def run(command, **kwargs):
        done = subprocess.run(command, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, **kwargs)
        if done.returncode:
            last = (done.stdout.strip().splitlines() or ['no output'])[-1]
            raise Skip(f'{" ".join(command[-3:])}: {last}')

    def script(self, program, *, before=(), **env):
        """Run a program; return its output, and the seconds that it took."""
        path = os.path.join(self.source, 'program.py')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(program)
        start = processor_time()
        try:
            done = subprocess.run(
                [*before, self.python, path], stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors='replace',
                timeout=TIMEOUT, cwd=self.source, env={**os.environ, **env})
            output = done.stdout
        except subprocess.TimeoutExpired:
            output = ''
        return output, processor_time() - start


# --- tools -------------------------------------------------------------------

class Tool:
    """A tool: which interpreter it needs, and the program that uses it.

    found() says whether the output tells of a leak.
    """

    name = interpreter = program = None
    packages = ()
    before = ()
    env = {}

    def found(self, output):
        return 'FOUND' in output

    def named(self, output, case, kind):
        """What of type, object and line is in the output."""
        return []

    def run(self, interpreter, work):
        return interpreter.script(SETUP.format(work=work) + self.program,
                                  before=self.before, **self.env)


class Total(Tool):
    name = 'sys.gettotalrefcount()'
    interpreter = 'stock-debug'
    program = '''
before = sys.gettotalrefcount()
loop(1000)
change = sys.gettotalrefcount() - before
print(change, 'FOUND' if abs(change) >= 500 else '')
'''


class Rss(Tool):
    name = 'RSS'
    interpreter = 'stock-release'
    program = '''
def rss():
    gc.collect()
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4096
loop(1000)
before = rss()
loop(100_000)
change = rss() - before
print(change, 'FOUND' if change > 1_000_000 else '')
'''


class Tracemalloc(Tool):
    name = 'tracemalloc'
    interpreter = 'stock-release'
    program = '''
import tracemalloc
tracemalloc.start(5)
loop(100)
before = tracemalloc.take_snapshot()
loop(1000)
gc.collect()
for change in tracemalloc.take_snapshot().compare_to(before, 'lineno')[:3]:
    if change.count_diff >= 500:
        print('FOUND', change)
'''

    def named(self, output, case, kind):
        return ['line (py)'] if 'program.py:' in output else []


class Memray(Tool):
    name = 'memray'
    interpreter = 'stock-release'
    packages = ('memray',)
    env = {'PYTHONMALLOC': 'malloc'}
    program = '''
import os, tempfile
import memray
path = tempfile.mktemp()
with memray.Tracker(path, native_traces=True):
    loop(1000)
for record in memray.FileReader(path).get_leaked_allocation_records():
    if record.n_allocations >= 500:
        print('FOUND', record.n_allocations, record.hybrid_stack_trace())
os.unlink(path)
'''

    def named(self, output, case, kind):
        lines = ['line (py)'] if 'program.py' in output else []
        return lines + (['line (C)'] if 'leaky.c' in output else [])


class Psleak(Tool):
    name = 'psleak'
    interpreter = 'stock-release'
    packages = ('psleak',)
    env = {'PYTHONMALLOC': 'malloc', 'PYTHONUNBUFFERED': '1'}
    program = '''
import psleak, unittest
class Test(psleak.MemoryLeakTestCase):
    def test_it(self):
        self.execute(work)
result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(Test))
print('' if result.wasSuccessful() else 'FOUND')
'''


class Valgrind(Tool):
    name = 'Valgrind'
    interpreter = 'stock-release'
    before = ('valgrind', '--leak-check=full', '--num-callers=30',
              '--show-leak-kinds=definite,possible', '--undef-value-errors=no')
    env = {'PYTHONMALLOC': 'malloc'}
    program = '\nloop(500)\n'

    def found(self, output):
        return any(record.count('leaky.c:') for record in output.split('\n==')
                   if 'leaky.c:' in record)

    def named(self, output, case, kind):
        return ['line (C)']


class Hunt(Tool):
    name = 'refmap.hunt()'
    call = 'sys.refmap_diff()'
    interpreter = 'release'
    program = '''
import os, refmap
result = refmap.hunt(work)
print(result)
print('' if result.verdict == 'clean' else 'FOUND', flush=True)
os._exit(0)
'''

    def named(self, output, case, kind):
        found = ['type'] if re.search(rf'^ +{kind}: ', output, re.M) else []
        return found + (['object'] if re.search(r'^ +0x\w+ ', output, re.M) else [])


class LedgerTool(Tool):
    name = 'refmap.ledger()'
    interpreter = 'release'
    program = '''
import os, refmap
result = refmap.ledger(work)
print(result)
print('' if result.verdict == 'clean' else 'FOUND', flush=True)
os._exit(0)
'''
    # It is told of the function and its arguments, not of a loop.
    calls = {
        'leak_new_reference': 'leaky.leak_new_reference, 1000',
        'leak_argument': 'leaky.leak_argument, node',
        'over_decref': 'leaky.over_decref, nodes',
        'leak_on_error_path': 'leaky.leak_on_error_path, ["x"]',
        'borrowed_misuse': 'leaky.borrowed_misuse, nodes',
        'a clean function': 'leaky.leak_on_error_path, ["1"]',
    }

    def run(self, interpreter, work):
        [case] = [name for name, text, _ in CASES if text == work]
        program = self.program.replace('work', self.calls[case])
        return interpreter.script(SETUP.format(work='pass') + program)

    def named(self, output, case, kind):
        found = ['type'] if re.search(rf'\b{kind}\b', output) else []
        if re.search(r'^ +0x\w+ |argument 1', output, re.M):
            found.append('object')
        return found + ['function']


class Diagnose(Hunt):
    name = 'refmap.diagnose()'
    interpreter = 'debug'
    program = Hunt.program.replace('refmap.hunt', 'refmap.diagnose')

    def named(self, output, case, kind):
        found = ['type'] if re.search(rf'\b{kind}\b', output) else []
        found += ['object'] if re.search(r'0x\w{8,}', output) else []
        first = re.search(r'^ +1\. (\w+)\(\), \S*leaky\.c:\d+', output, re.M)
        if first and first[1] == case:
            found.append('line (C)')
        elif re.search(r'^ +1\. \w+\(\)', output, re.M):
            found.append('ANOTHER FUNCTION')
        return found


TOOLS = [Total, Rss, Tracemalloc, Memray, Psleak, Valgrind, Hunt, LedgerTool, Diagnose]

# One call leaks a million references: what is asked, and the time that it takes after
# the leak.
ONE_MILLION = [
    (Total, '''
before = sys.gettotalrefcount()
{leak}
start = time.process_time()
print(sys.gettotalrefcount() - before, 'references more')
'''),
    (Rss, '''
def rss():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4096
before = rss()
{leak}
start = time.process_time()
print((rss() - before) >> 20, 'MiB more')
'''),
    (Tracemalloc, '''
import tracemalloc
tracemalloc.start()
before = tracemalloc.take_snapshot()
{leak}
start = time.process_time()
worst = tracemalloc.take_snapshot().compare_to(before, 'lineno')[0]
print(worst.count_diff, 'blocks of', worst.size_diff >> 20, 'MiB in line',
      worst.traceback[0].lineno)
'''),
    (Memray, '''
import memray, tempfile
path = tempfile.mktemp()
with memray.Tracker(path, native_traces=True):
    {leak}
start = time.process_time()
worst = max(memray.FileReader(path).get_leaked_allocation_records(),
            key=lambda record: record.n_allocations)
print(worst.n_allocations, 'allocations of', worst.size >> 20, 'MiB in',
      [frame for frame in worst.hybrid_stack_trace() if 'leaky' in frame[1]][0][::2])
os.unlink(path)
'''),
    (Hunt, '''
sys.refmap_snapshot()
{leak}
start = time.process_time()
diff = sys.refmap_diff(file=None)
kinds = diff.types
print({{name: n for name, n in kinds.items() if n > 1000}})
'''),
]


# --- tables ------------------------------------------------------------------

class Interpreters:
    """Those that were made."""

    def __init__(self, build, work):
        self.build = build
        self.work = work
        self.made = {}

    def get(self, tool):
        if tool.before and not shutil.which(tool.before[0]):
            raise Skip(f'there is no {tool.before[0]}')
        key = tool.interpreter
        if key not in self.made:
            self.made[key] = Interpreter(
                os.path.join(self.build, f'3.13-{key}', 'python'),
                os.path.join(self.work, key))
        for package in tool.packages:
            self.made[key].install(package)
        return self.made[key]


def try_case(tool, interpreter, case, work, kind):
    """What the table says of a tool and a bug, and the seconds that it took."""
    output, seconds = tool.run(interpreter, work)
    found = tool.found(output)
    if kind is None:
        return ('FALSE ALARM' if found else 'nothing, rightly'), seconds
    if ABORT in output:
        return ('finds it, then aborts' if found else 'aborts: type'), seconds
    named = ', '.join(tool.named(output, case, kind))
    return (named or 'finds it') if found else '-', seconds


def try_tool(tool, interpreter):
    """Print the row of a tool."""
    tried = [try_case(tool, interpreter, *case) for case in CASES]
    cells = [tool.name, *(cell for cell, _ in tried),
             f'{max(seconds for _, seconds in tried):.1f}']
    print('| ' + ' | '.join(cells) + ' |', flush=True)


def try_million(tool, program, interpreter):
    """Print the row of a tool."""
    text = SETUP.format(work='pass') + 'import time, os\n'
    text += program.format(leak=MILLION)
    text += 'print(f"{time.process_time() - start:.3f}")\nsys.stdout.flush()\nos._exit(0)\n'
    output, seconds = interpreter.script(text, **tool.env)
    lines = output.strip().splitlines() or ['no output']
    if len(lines) < 2:
        raise Skip(lines[-1])
    name = getattr(tool, 'call', tool.name)
    print(f'| {name} | {lines[-2]} | {lines[-1]} | {seconds:.1f} |', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build', default=os.path.join(ROOT, 'build'))
    parser.add_argument('--work', help='keep the virtual environments here')
    parser.add_argument('--only', default='', help='tools whose name has this word')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = os.path.abspath(options.work or directory)
        interpreters = Interpreters(os.path.abspath(options.build), work)
        print('| tool | ' + ' | '.join(case for case, _, _ in CASES) + ' | seconds |\n|'
              + '---|' * (len(CASES) + 2))
        skipped = []
        for tool in TOOLS:
            if options.only in tool.name:
                try:
                    try_tool(tool(), interpreters.get(tool))
                except Skip as reason:
                    skipped.append(f'{tool.name}: skipped, {reason}')
        print('\nOne call leaks a million references.\n\n'
              '| tool | says | seconds to say it | in all |\n|---|---|---|---|')
        for tool, program in ONE_MILLION:
            if options.only in tool.name:
                try:
                    try_million(tool, program, interpreters.get(tool))
                except Skip as reason:
                    skipped.append(f'{tool.name}, a million: skipped, {reason}')
        print(*skipped, sep='\n')


if __name__ == '__main__':
    main()
