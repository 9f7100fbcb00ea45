"""Find the commit from which on something leaks: python -m refmap bisect.

Works on your own git checkout of CPython, which stays as it is: the commits are
checked out, built with refmap and hunted in a work tree beside it. `git bisect
run` decides which. The last commit is diagnosed, and the suspects that its diff
touches are marked.

This module needs no map itself. Each step is a process of its own, which begins
in step().
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from . import cli, judge

# What `git bisect run` is told.
GOOD, BAD, SKIP, ABORT = 0, 1, 125, 128

# Of the sources of refmap: puts it into a checkout.
APPLY = os.path.join('Tools', 'refmap', 'patches', 'apply')
CONFIGURE = ['--with-pydebug', '--with-refcount-map']

# Seconds for one hunt.
TIMEOUT = 1800


# --- processes -------------------------------------------------------------------

def git(directory, *arguments, check=True):
    """Run git in a directory; return its output. Raise Failed if it fails."""
    try:
        done = subprocess.run(['git', *arguments], cwd=directory, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise cli.Failed('git is missing') from None
    if check and done.returncode:
        raise cli.Failed(f'git {arguments[0]}: {last_line(done.stderr)}')
    return done.stdout


def last_line(text):
    """Return the last line of a text that says something."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else 'no reason is known'


def version_of(directory, commit):
    """Return the X.Y of CPython in a commit, 'unknown' if it can't be told."""
    text = git(directory, 'show', f'{commit}:Include/patchlevel.h', check=False)
    found = dict(re.findall(r'#define PY_(MAJOR|MINOR)_VERSION\s+(\d+)', text))
    return '{MAJOR}.{MINOR}'.format(**found) if len(found) == 2 else 'unknown'


# --- a commit ---------------------------------------------------------------------

class Unbuildable(Exception):
    """A commit can't be hunted; str() says why, in one sentence."""


def build_environment(work):
    """Return the environment in which configure and make run."""
    environment = dict(os.environ)
    for name in 'MAKEFLAGS', 'MFLAGS', 'MAKELEVEL':     # of an outer make
        environment.pop(name, None)
    if shutil.which('ccache'):
        environment.setdefault('CC', 'ccache gcc')
        # What was compiled in another directory serves, too.
        environment.update(CCACHE_BASEDIR=work, CCACHE_NOHASHDIR='1')
    return environment


class Tree:
    """The work tree in which commits are built.

    settings -- dict: what a step needs to know, as its file has it: 'source',
                'build', 'refmap', 'configure', 'jobs', 'runs', 'program',
                'types', 'log'
    """

    def __init__(self, settings):
        self.settings = settings
        self.source = settings['source']
        self.build = settings['build']
        self.python = os.path.join(self.build, 'python')

    def call(self, command, directory, what):
        """Run a command, its output into the log. Raise Unbuildable if it fails."""
        with open(self.settings['log'], 'a', encoding='utf-8') as log:
            log.write(f'$ {" ".join(command)}\n')
            log.flush()
            status = subprocess.run(
                command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=build_environment(self.settings['work'])).returncode
        if status:
            raise Unbuildable(f'{what} failed')

    def make(self):
        """Put refmap into the commit that is checked out, and build it."""
        self.call([os.path.join(self.settings['refmap'], APPLY), self.source],
                  self.source, 'applying the hooks of refmap')
        os.makedirs(self.build, exist_ok=True)
        # The cache of configure: a commit seldom changes what it finds out.
        configure = os.path.join(os.path.relpath(self.source, self.build), 'configure')
        self.call([configure, '-q', '-C', *CONFIGURE, *self.settings['configure']],
                  self.build, 'configure')
        self.call(['make', '-s', f'-j{self.settings["jobs"]}'], self.build, 'make')

    def clean(self):
        """Make the work tree what git says it is."""
        git(self.source, 'reset', '-q', '--hard')
        git(self.source, 'clean', '-q', '-f', '-d', '-x')

    def command(self, findings, diagnosing):
        """Return the command that hunts, or diagnoses, in this build."""
        runs = self.settings['runs']
        program = self.settings['program']
        if program[:2] == ['-m', 'test']:
            who = [] if diagnosing else ['--refmap-no-bisect', '--refmap-no-who']
            return [self.python, '-m', 'test', '-R', runs, '--refmap-json', findings,
                    *who, *program[2:]]
        if program[0] != '-m':
            program = ['--', *program]
        return [self.python, '-m', 'refmap', 'diagnose' if diagnosing else 'hunt', '-R',
                runs, '--json', findings, *program]

    def findings(self, diagnosing=False):
        """Hunt; return the findings, a list of dicts. Raise Unbuildable."""
        path = os.path.join(self.settings['work'], 'findings.json')
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        try:
            done = subprocess.run(
                self.command(path, diagnosing), cwd=self.build, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, errors='replace', timeout=TIMEOUT,
                env={**os.environ, 'PYTHONHASHSEED': '0'})
        except subprocess.TimeoutExpired:
            raise Unbuildable('the hunt took too long') from None
        with open(self.settings['log'], 'a', encoding='utf-8') as log:
            log.write(done.stdout)
        self.report = done.stdout
        try:
            with open(path, encoding='utf-8') as file:
                return [json.loads(line) for line in file]
        except (OSError, ValueError):
            raise Unbuildable('the hunt came to no verdict: '
                              f'{last_line(done.stdout)}') from None


def leaking_types(findings):
    """Return the names of the types that leak in any of some findings."""
    found = set()
    for result in findings:
        for finding in result.get('findings', result).get('types', ()):
            if (finding['pattern'] in judge.FAILING and not finding.get('suppressed')
                    and finding['type'] not in (judge.UNATTRIBUTED, judge.KEYS)):
                found.add(finding['type'])
    return found


def hunt_commit(tree):
    """Build and hunt what is checked out; return the types that leak.

    Raise Unbuildable. The work tree is clean afterwards.
    """
    try:
        tree.make()
        return leaking_types(tree.findings())
    finally:
        tree.clean()


def step(path):
    """Judge the commit that is checked out, for `git bisect run`.

    path -- of the file with the settings
    Return the exit code. What was found is added to the file 'steps' beside it.
    """
    with open(path, encoding='utf-8') as file:
        settings = json.load(file)
    tree = Tree(settings)
    commit = git(tree.source, 'rev-parse', 'HEAD').strip()
    try:
        types = hunt_commit(tree)
    except Unbuildable as reason:
        code, said = SKIP, str(reason)
    else:
        code = BAD if types & set(settings['types']) else GOOD
        said = ', '.join(sorted(types)) or 'nothing'
        said = f'{said} {"leaks" if len(types) < 2 else "leak"}'
    verdict = {GOOD: 'good', BAD: 'bad', SKIP: 'skipped'}[code]
    print(f'refmap: {subject(tree.source, commit)}: {verdict}, {said}', file=sys.stderr,
          flush=True)
    return code


def subject(directory, commit):
    """Return the short name of a commit, and what it is about."""
    return git(directory, 'log', '-1', '--format=%h %s', commit).strip()


# --- what a commit changed ---------------------------------------------------------

_FILE = re.compile(r'\+\+\+ (?:b/(.+)|/dev/null)')
_HUNK = re.compile(r'@@ -\S+ \+(\d+)(?:,(\d+))? @@ ?(.*)')


def changes(diff):
    """Return {file: [(first line, last line, function's line)]} of a diff."""
    found, file = {}, None
    for line in diff.splitlines():
        if match := _FILE.fullmatch(line):
            file = found.setdefault(match[1], []) if match[1] else None
        elif (match := _HUNK.match(line)) and file is not None:
            first, count = int(match[1]), int(match[2] or 1)
            file.append((first, first + max(count, 1) - 1, match[3]))
    return found


def is_touched(function, file, changed):
    """Did the changes touch a function? None: its file, but perhaps not itself."""
    hunks = next((hunks for name, hunks in changed.items()
                  if file and (name == file or name.endswith('/' + file))), None)
    if hunks is None:
        return False
    word = re.compile(rf'\b{re.escape(function)}\b')
    return True if any(word.search(around) for *_, around in hunks) else None


# --- the whole -----------------------------------------------------------------------

class Bisection:
    """A context manager: the work tree is there as long as it lasts."""

    def __init__(self, options, messages):
        self.options = options
        self.say = messages.say
        self.repo = git(options.repo, 'rev-parse', '--show-toplevel').strip()
        self.good, self.bad = (
            git(self.repo, 'rev-parse', '--verify', '-q', f'{name}^{{commit}}',
                check=False).strip() for name in (options.good, options.bad))
        for name, commit in (options.good, self.good), (options.bad, self.bad):
            if not commit:
                raise cli.Failed(f'{name} is no commit of {self.repo}')
        self.steps = ''

    def __enter__(self):
        options = self.options
        self.temporary = None
        if options.work is None:
            self.temporary = tempfile.mkdtemp(prefix='refmap-bisect-')
        work = os.path.abspath(options.work or self.temporary)
        os.makedirs(work, exist_ok=True)
        # Named as Tools/refmap/build names them: what ccache has of it serves.
        version = version_of(self.repo, self.bad)
        program = list(options.program)
        if program[0] != '-m':
            program[0] = os.path.abspath(program[0])
        self.settings = {
            'work': work, 'source': os.path.join(work, f'src-{version}'),
            'build': os.path.join(work, f'{version}-debug'),
            'log': os.path.join(work, 'log'),
            'refmap': os.path.abspath(options.refmap), 'jobs': options.jobs,
            'configure': options.configure.split(), 'program': program,
            'runs': '{}:{}'.format(*options.counts), 'types': options.type or []}
        self.tree = Tree(self.settings)
        try:
            git(self.repo, 'worktree', 'add', '-q', '--detach', self.tree.source, self.bad)
        except cli.Failed:
            if self.temporary:
                shutil.rmtree(self.temporary, ignore_errors=True)
            raise
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(cli.Failed):
            git(self.tree.source, 'bisect', 'reset')
        git(self.repo, 'worktree', 'remove', '--force', self.tree.source, check=False)
        if self.temporary and exc_info[0] is None:
            shutil.rmtree(self.temporary, ignore_errors=True)
        else:
            self.say(f'refmap: what was run and said is in {self.settings["log"]}')

    def hunt(self, commit):
        """Return the types that leak in a commit. Raise Failed."""
        git(self.tree.source, 'checkout', '-q', '--detach', commit)
        try:
            types = hunt_commit(self.tree)
        except Unbuildable as reason:
            raise cli.Failed(f'{subject(self.repo, commit)}: {reason}') from None
        said = ', '.join(sorted(types)) or 'nothing'
        self.say(f'refmap: {subject(self.repo, commit)}: {said} leaks')
        return types

    def check_ends(self):
        """Find the type that leaks in BAD, and not in GOOD. Raise Failed."""
        types = self.hunt(self.bad)
        wanted = set(self.options.type or types)
        if not types & wanted:
            raise cli.Failed(f'{self.options.bad} does not leak '
                             f'{" or ".join(sorted(wanted)) or "anything"}')
        left = wanted - self.hunt(self.good)
        if not left:
            raise cli.Failed(f'{self.options.good} leaks {", ".join(sorted(wanted))}, '
                             'too')
        self.settings['types'] = sorted(left & types)

    def search(self):
        """Return the first commit that leaks. Raise Failed."""
        path = os.path.join(self.settings['work'], 'settings.json')
        with open(path, 'w', encoding='utf-8') as file:
            json.dump(self.settings, file)
        source = self.tree.source
        git(source, 'bisect', 'start', self.bad, self.good)
        library = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        script = (f'import sys; sys.path.insert(0, {library!r}); '
                  f'from refmap import bisect; sys.exit(bisect.step({path!r}))')
        done = subprocess.run(
            ['git', 'bisect', 'run', sys.executable, '-c', script], cwd=source,
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        commit = git(source, 'rev-parse', '-q', '--verify', 'refs/bisect/bad',
                     check=False).strip()
        if done.returncode or not commit:
            raise cli.Failed('git bisect found no first commit: '
                             f'{last_line(done.stdout)}')
        return commit

    def tell(self, commit):
        """Say what the commit is, and which suspects its diff touches."""
        source = self.tree.source
        git(source, 'checkout', '-q', '--detach', commit)
        diff = git(source, 'diff', '-U0', f'{commit}^', commit, '--', '*.c', '*.h')
        try:
            self.tree.make()
            findings = self.tree.findings(diagnosing=True)
        except Unbuildable as reason:
            raise cli.Failed(f'{subject(source, commit)}: {reason}') from None
        finally:
            self.tree.clean()
        types = ', '.join(self.settings['types'])
        self.say(f'refmap: the first commit that leaks {types}:')
        for line in git(source, 'log', '-1', '--stat', '--format=  %H%n  %an, %ad%n  %s',
                        commit).splitlines():
            self.say(line)
        self.say('refmap: who, as of a diagnosis of it:')
        for line in suspect_lines(findings, changes(diff)):
            self.say(line)


def suspects_of(findings):
    """Return the suspects in what a hunt or a diagnosis wrote."""
    found = []
    for result in findings:
        found += result.get('suspects', ())
        for method in result.get('who', ()) or ():
            if isinstance(method, dict):
                found += method.get('suspects', ())
    return found


def suspect_lines(findings, changed):
    """Return the lines about suspects, with whether a diff touches them."""
    lines = []
    for suspect in suspects_of(findings):
        touched = is_touched(suspect['function'], suspect['file'], changed)
        said = {True: 'the commit changed it',
                None: 'the commit changed its file',
                False: 'not in the diff'}[touched]
        lines.append(f'  {suspect["function"]}(), {suspect["file"]}:{suspect["line"]}, '
                     f'{suspect["rule"]}: {said}')
    return lines or ['  not known, the evidence does not suffice']


def run(options, messages):
    """Find the commit and tell; options are those of cli_bisect.

    Raise cli.Failed.
    """
    with Bisection(options, messages) as bisection:
        bisection.check_ends()
        commit = bisection.search()
        bisection.tell(commit)
