"""refmap.bisect without a build: what it reads from git, and how it judges.

Tools/refmap/tests/test_bisect.py bisects a real history.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from refmap import bisect, cli, cli_bisect

DIFF = '''\
diff --git a/Modules/_bisectmodule.c b/Modules/_bisectmodule.c
index 1..2 100644
--- a/Modules/_bisectmodule.c
+++ b/Modules/_bisectmodule.c
@@ -100,0 +101,2 @@ internal_bisect_right(PyObject *list, PyObject *item)
+    PyObject *x = PyList_New(0);
+    (void)x;
@@ -200 +203 @@ static int other(void)
-a
+b
diff --git a/Objects/gone.c b/Objects/gone.c
--- a/Objects/gone.c
+++ /dev/null
@@ -1,3 +0,0 @@
-x
'''


def finding(type_name, pattern='every run', **more):
    return {'type': type_name, 'pattern': pattern, **more}


class ReadingTest(unittest.TestCase):

    def test_changes(self):
        changed = bisect.changes(DIFF)
        self.assertEqual(changed['Modules/_bisectmodule.c'], [
            (101, 102, 'internal_bisect_right(PyObject *list, PyObject *item)'),
            (203, 203, 'static int other(void)')])

    def test_is_touched(self):
        changed = bisect.changes(DIFF)
        file = 'Modules/_bisectmodule.c'
        for function, file, wanted in (
                ('internal_bisect_right', file, True),
                ('internal_bisect_right', '_bisectmodule.c', True),
                # Another function of the file; part of a name.
                ('bisect_right', file, None),
                ('insort', file, None),
                ('internal_bisect_right', 'Modules/other_bisectmodule.c', False),
                ('internal_bisect_right', '', False)):
            with self.subTest(function=function, file=file):
                self.assertIs(bisect.is_touched(function, file, changed), wanted)

    def test_leaking_types(self):
        of_test = {'types': [finding('list'), finding('dict', 'some runs'),
                             finding('int', suppressed='rule'),
                             finding('dict keys'), finding('(unattributed)'),
                             finding('float', 'over-decref')]}
        of_diagnosis = {'suspects': [], 'findings': {'types': [finding('tuple')]}}
        self.assertEqual(bisect.leaking_types([of_test]), {'list', 'float'})
        self.assertEqual(bisect.leaking_types([of_test, of_diagnosis]),
                         {'list', 'float', 'tuple'})
        self.assertEqual(bisect.leaking_types([]), set())

    def test_suspects(self):
        suspect = {'function': 'internal_bisect_right',
                   'file': 'Modules/_bisectmodule.c', 'line': 101,
                   'rule': 'missing-decref'}
        changed = bisect.changes(DIFF)
        for findings in ([{'suspects': [suspect]}],
                         [{'who': [{'suspects': [suspect]}]}, {'who': None}]):
            line, = bisect.suspect_lines(findings, changed)
            self.assertIn('internal_bisect_right()', line)
            self.assertIn('the commit changed it', line)
        other = dict(suspect, file='Objects/listobject.c')
        line, = bisect.suspect_lines([{'suspects': [other]}], changed)
        self.assertIn('not in the diff', line)
        line, = bisect.suspect_lines([{}], changed)
        self.assertIn('not known', line)


class CommandTest(unittest.TestCase):

    def parse(self, *arguments):
        parser = argparse.ArgumentParser(prog='refmap')
        commands = parser.add_subparsers(dest='command')
        cli_bisect.add_parser(commands)
        options = parser.parse_args(['bisect', *arguments])
        options.check(parser, options)
        return options

    def refused(self, *arguments):
        """Return what is said about bad usage."""
        with mock.patch.object(sys, 'stderr') as stderr:
            with self.assertRaises(SystemExit) as caught:
                self.parse(*arguments)
        self.assertEqual(caught.exception.code, 2)
        return ''.join(call.args[0] for call in stderr.write.mock_calls)

    def sources(self):
        """Return a directory that looks like the sources of refmap."""
        directory = tempfile.mkdtemp()
        apply = os.path.join(directory, bisect.APPLY)
        os.makedirs(os.path.dirname(apply))
        with open(apply, 'w') as file:
            file.write('#!/bin/sh\n')
        return directory

    def test_program(self):
        sources = self.sources()
        for program in (['-m', 'test', 'test_list', '-m', 'test_x'], ['script.py', '-v']):
            options = self.parse('--refmap', sources, 'v1', 'v2', '--', *program)
            self.assertEqual((options.good, options.bad, options.program),
                             ('v1', 'v2', program))

    def test_refused(self):
        with mock.patch.dict(os.environ):
            os.environ.pop(cli_bisect.SOURCES_VARIABLE, None)
            self.assertIn('sources of refmap are not known',
                          self.refused('a', 'b', '--', 'x.py'))
        self.assertIn('it does not hold the sources',
                      self.refused('--refmap', os.curdir, 'a', 'b', '--', 'x.py'))
        sources = self.sources()
        self.assertIn('bisect needs a program', self.refused('--refmap', sources, 'a', 'b'))
        self.assertIn('required: BAD', self.refused('--refmap', sources, 'a'))

    def test_command(self):
        settings = {'source': 's', 'build': 'b', 'runs': '3:3',
                    'program': ['-m', 'test', 'test_list']}
        tree = bisect.Tree(settings)
        command = tree.command('f', False)
        self.assertEqual(command[:5], [os.path.join('b', 'python'), '-m', 'test', '-R', '3:3'])
        self.assertEqual(command[-1], 'test_list')
        self.assertIn('--refmap-no-who', command)
        self.assertNotIn('--refmap-no-who', tree.command('f', True))
        settings['program'] = ['/x/script.py', '-v']
        self.assertEqual(tree.command('f', False)[1:],
                         ['-m', 'refmap', 'hunt', '-R', '3:3', '--json', 'f', '--',
                          '/x/script.py', '-v'])
        settings['program'] = ['-m', 'module']
        self.assertEqual(tree.command('f', True)[1:],
                         ['-m', 'refmap', 'diagnose', '-R', '3:3', '--json', 'f', '-m',
                          'module'])


@unittest.skipUnless(shutil.which('git'), 'there is no git')
class HistoryTest(unittest.TestCase):
    """The order of things, on a history without C: builds and hunts are faked."""

    def setUp(self):
        # A bisection that fails leaves its directory to be looked at.
        temporary = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(mock.patch.object(tempfile, 'tempdir', temporary))
        self.repo = tempfile.mkdtemp()
        self.git('init', '-q')
        self.commits = []
        # What leaks, and what does not build, stands in the commits.
        for text in ('good', 'good', 'broken', 'good', 'leaks', 'leaks'):
            with open(os.path.join(self.repo, 'state.c'), 'w') as file:
                file.write(f'{text}\n{len(self.commits)}\n')
            self.git('add', '.')
            self.git('-c', 'user.name=x', '-c', 'user.email=x@x', 'commit', '-q', '-m',
                     f'commit {len(self.commits)}')
            self.commits.append(self.git('rev-parse', 'HEAD').strip())
        self.said = []

    def git(self, *arguments):
        return bisect.git(self.repo, *arguments)

    def sources(self):
        """Return sources whose apply builds: configure and make are written by it."""
        directory = tempfile.mkdtemp()
        apply = os.path.join(directory, bisect.APPLY)
        os.makedirs(os.path.dirname(apply))
        with open(apply, 'w') as file:
            file.write(FAKE_APPLY)
        os.chmod(apply, 0o755)
        return directory

    def bisection(self, good, bad, **more):
        options = argparse.Namespace(
            repo=self.repo, refmap=self.sources(), type=None, work=None, jobs=1,
            configure='', counts=(3, 3), good=good, bad=bad, program=['script.py'])
        vars(options).update(more)
        messages = cli.Messages(None)
        messages.say = lambda text, end='\n': self.said.append(text)
        return bisect.Bisection(options, messages)

    def test_found(self):
        with self.bisection(self.commits[0], 'HEAD') as bisection:
            bisection.check_ends()
            self.assertEqual(bisection.settings['types'], ['list'])
            found = bisection.search()
            self.assertEqual(found, self.commits[4])
            bisection.tell(found)
            worktree = bisection.tree.source
        text = '\n'.join(self.said)
        self.assertIn('the first commit that leaks list', text)
        self.assertIn(self.commits[4], text)
        self.assertIn('leaker(), state.c:1, missing-decref: the commit changed its file',
                      text)
        # The checkout is as it was.
        self.assertFalse(os.path.exists(worktree))
        self.assertEqual(self.git('status', '--porcelain'), '')
        self.assertEqual(self.git('rev-parse', 'HEAD').strip(), self.commits[-1])
        self.assertEqual(len(self.git('worktree', 'list').splitlines()), 1)

    def fails(self, good, bad, **more):
        with self.assertRaises(cli.Failed) as caught:
            with self.bisection(good, bad, **more) as bisection:
                bisection.check_ends()
                bisection.search()
        return str(caught.exception)

    def test_refused(self):
        commits = self.commits
        self.assertIn('is no commit', self.fails('nosuch', 'HEAD'))
        self.assertIn('does not leak anything', self.fails(commits[0], commits[1]))
        self.assertIn('leaks list, too', self.fails(commits[4], commits[5]))
        self.assertIn('does not leak dict',
                      self.fails(commits[0], commits[4], type=['dict']))
        self.assertIn('make failed', self.fails(commits[0], commits[2]))

    def test_cause_not_buildable(self):
        # Nobody can tell which of two commits it was.
        git = ['git', '-c', 'user.name=x', '-c', 'user.email=x@x']
        self.git('checkout', '-q', '--detach', self.commits[1])
        for text in 'broken', 'leaks':
            with open(os.path.join(self.repo, 'state.c'), 'w') as file:
                file.write(f'{text}\n')
            subprocess.run([*git, 'commit', '-q', '-a', '-m', text], cwd=self.repo,
                           check=True)
        self.assertIn('found no first commit', self.fails(self.commits[0], 'HEAD'))


# In place of apply: a configure that makes a Makefile, whose python hunts by
# looking at the source.
FAKE_APPLY = r'''#!/bin/sh
cat >"$1/configure" <<'END'
#!/bin/sh
cat >Makefile <<MAKE
all:
	! grep -q broken "$(dirname "$0")/state.c"
	printf '#!/bin/sh\nexec "%s" "%s" "$(dirname "$0")/state.c" "\$\$@"\n' >python
	chmod +x python
MAKE
sed -i 's|"%s" "%s"|PYTHON FAKE|' Makefile
sed -i "s|PYTHON|'$FAKE_PYTHON'|; s|FAKE|'$FAKE_SCRIPT'|" Makefile
END
chmod +x "$1/configure"
'''

FAKE_PYTHON = r'''
import json, sys
source, *arguments = sys.argv[1:]
with open(source) as file:
    leaks = 'leaks' in file.read()
types = [{'type': 'list', 'pattern': 'every run'}] if leaks else []
found = {'types': types}
if 'diagnose' in arguments:
    found = {'findings': found, 'suspects': [{'function': 'leaker', 'file': 'state.c',
                                              'line': 1, 'rule': 'missing-decref'}]}
with open(arguments[arguments.index('--json') + 1], 'w') as file:
    file.write(json.dumps(found) + '\n')
'''


def setUpModule():
    file = tempfile.NamedTemporaryFile('w', suffix='.py', delete=False)
    with file:
        file.write(FAKE_PYTHON)
    unittest.addModuleCleanup(os.remove, file.name)
    patch = mock.patch.dict(os.environ, FAKE_PYTHON=sys.executable,
                            FAKE_SCRIPT=file.name, PYTHONDONTWRITEBYTECODE='1')
    patch.start()
    unittest.addModuleCleanup(patch.stop)


if __name__ == '__main__':
    unittest.main()
