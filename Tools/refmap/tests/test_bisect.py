#!/usr/bin/env python3
"""Bisect a small history of CPython, made from the pinned tarball.

usage: test_bisect.py [X.Y]     (default 3.13)

Five commits: the fourth lets a function of Modules/_bisectmodule.c leak, the second
does not compile and is to be skipped. Builds the interpreter about four times: some
minutes with a warm ccache, so this is no step of `check`. What it builds is kept in
build/bisect and used again.
"""

import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__)).partition('/Tools/refmap/')[0]
BUILD = os.environ.get('REFMAP_BUILD', os.path.join(ROOT, 'build'))
MODULE = 'Modules/_bisectmodule.c'

SCRIPT = '''\
import bisect
bisect.bisect_left([1], 1)
'''

# What each commit puts behind a line of the module, and what it is about.
WHERE = '#include "Python.h"\n'
HARMLESS = '/* {} */\n'
BROKEN = '#error "not today"\n'
# As somebody might: a helper, and its result forgotten.
LEAK = '''\
    PyObject *bounds = PyList_New(2);
    if (bounds == NULL) {
        return -1;
    }
'''


def run(*command, **options):
    """Run a command; return its output. End if it fails."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    if done.returncode:
        sys.exit(f'not ok: {" ".join(command)}\n{done.stdout[-2000:]}')
    return done.stdout


def git(directory, *arguments):
    return run('git', '-c', 'user.name=refmap', '-c', 'user.email=refmap@localhost',
               *arguments, cwd=directory)


def add_leak(text):
    """Return the module with a leak in the function behind bisect_left()."""
    begin = text.index('_bisect_bisect_left_impl(')
    at = text.index('{\n', begin) + 2
    return text[:at] + LEAK + text[at:]


def make_history(source, repo):
    """Make the commits; return their names."""
    shutil.copytree(source, repo, symlinks=True, ignore=shutil.ignore_patterns('.refmap*'))
    git(repo, 'init', '-q')
    git(repo, 'add', '-f', '.')
    git(repo, 'commit', '-q', '-m', 'as released')
    names = [git(repo, 'rev-parse', 'HEAD').strip()]
    path = os.path.join(repo, MODULE)
    with open(path, encoding='utf-8') as file:
        text = file.read()
    first, broken, repaired = (text.replace(WHERE, WHERE + more, 1) for more in (
        HARMLESS.format('first'), BROKEN, HARMLESS.format('repaired')))
    leaks = add_leak(repaired)
    for content, about in ((first, 'a comment'), (broken, 'does not compile'),
                           (repaired, 'compiles again'), (leaks, 'bounds, which leak'),
                           (leaks + HARMLESS.format('end'), 'another comment')):
        with open(path, 'w', encoding='utf-8') as file:
            file.write(content)
        git(repo, 'commit', '-q', '-a', '-m', about)
        names.append(git(repo, 'rev-parse', 'HEAD').strip())
    return names


def main(version='3.13'):
    python = os.path.join(BUILD, f'{version}-debug', 'python')
    if not os.access(python, os.X_OK):
        sys.exit(f'not ok: {python} is missing')
    run(os.path.join(ROOT, 'Tools/refmap/build/prepare'), version, '--stock')
    work = os.path.join(BUILD, 'bisect')
    repo = os.path.join(work, 'repo')
    os.makedirs(work, exist_ok=True)
    shutil.rmtree(repo, ignore_errors=True)
    names = make_history(os.path.join(BUILD, f'src-{version}-stock'), repo)
    script = os.path.join(work, 'script.py')
    with open(script, 'w', encoding='utf-8') as file:
        file.write(SCRIPT)
    output = run(python, '-m', 'refmap', 'bisect', '--repo', repo, '--refmap', ROOT,
                 '--work', os.path.join(work, 'work'), names[0], names[5], '--', script)
    print(output)
    for wanted in (names[4], 'first commit that leaks list',
                   '_bisect_bisect_left_impl()', 'the commit changed it',
                   'does not compile: skipped'):
        if wanted not in output:
            sys.exit(f'not ok: {wanted!r} was not said')
    print('ok: the commit was found')


if __name__ == '__main__':
    main(*sys.argv[1:])
