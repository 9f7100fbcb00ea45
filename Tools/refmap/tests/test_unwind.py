"""Tests of the reader of call frame information, Objects/refmap/record_unwind.c: it says
what readelf says, and damaged information makes it read nothing outside.

usage: python3 Tools/refmap/tests/test_unwind.py [X.Y VARIANT]

Compiles it with the headers of build/X.Y-VARIANT (default: 3.13 debug) and with the
sanitizers of the C compiler, and reads the interpreter, the C library and libgcc.
"""

import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = HERE.removesuffix('/Tools/refmap/tests')
BUILD = os.environ.get('REFMAP_BUILD') or os.path.join(ROOT, 'build')
VERSION, VARIANT = '3.13', 'debug'

# Of refmap_rule_t, see Objects/refmap/record.h.
NONE, FROM_SP, FROM_BP, WORD_AT_BP, WORD_AT_CFA, SAME = range(6)

RANGE = re.compile(r'.* FDE .*pc=([0-9a-f]+)\.\.([0-9a-f]+)')
ROW = re.compile(r'([0-9a-f]{16}) (\S+) +(.*)')

# How many rows of a file are compared, and looked up in damaged ones.
SOME = 5000
DAMAGES = 200


def parse_rows(text):
    """Yield (start, end, CFA, {register: rule}) of each row that readelf prints."""
    end, names, row = 0, [], None
    for line in text.splitlines():
        match = RANGE.match(line)
        found = ROW.match(line)
        if row and (match or found or not line.strip()):
            yield (row[0], int(found[1], 16) if found and not match else end, *row[1:])
            row = None
        if match:
            end = int(match[2], 16)
        elif line.lstrip().startswith('LOC'):
            names = line.split()[2:]
        elif found and end:
            # A register is followed by its name: r3 (rbx).
            rules = re.sub(r' \(\w+\)', '', found[3]).split()
            row = int(found[1], 16), found[2], dict(zip(names, rules))
        elif not line.strip():
            end = 0


def expected(cfa, registers):
    """Return what the reader should print for a row, None where there is no telling."""
    ra, bp = registers.get('ra'), registers.get('rbp', 'u')
    match = re.fullmatch(r'(rsp|rbp)\+(\d+)', cfa)
    if ra == 'u':
        return [NONE]
    if not match or ra != 'c-8' or not re.fullmatch(r'u|c[+-]\d+', bp):
        return None
    rule = [FROM_SP if match[1] == 'rsp' else FROM_BP, int(match[2])]
    return rule + ([SAME, 0] if bp == 'u' else [WORD_AT_CFA, int(bp[1:])])


def c_libraries():
    found = []
    for pattern in '/lib/x86_64-*/libc.so.6', '/lib/x86_64-*/libgcc_s.so.1':
        found += glob.glob(pattern)
    return found


@unittest.skipUnless(shutil.which('gcc') and shutil.which('readelf'),
                     'gcc or binutils are missing')
class UnwindTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        source = os.path.join(BUILD, f'src-{VERSION}')
        cls.python = os.path.join(BUILD, f'{VERSION}-{VARIANT}', 'python')
        if not os.path.exists(cls.python):
            raise unittest.SkipTest(f'{cls.python} is not there')
        directory = tempfile.TemporaryDirectory(prefix='refmap-unwind-')
        cls.addClassCleanup(directory.cleanup)
        cls.unwind = os.path.join(directory.name, 'unwind')
        where = [ROOT + '/Objects/refmap', ROOT + '/Include', ROOT + '/Include/internal',
                 source + '/Include', source + '/Include/internal',
                 os.path.dirname(cls.python)]
        done = subprocess.run(
            ['gcc', '-std=c11', '-D_GNU_SOURCE', '-DPy_BUILD_CORE', '-O1', '-g', '-Wall',
             '-fsanitize=address,undefined', '-fno-sanitize-recover=all',
             *(f'-I{one}' for one in where), os.path.join(HERE, 'unwind.c'),
             '-o', cls.unwind], stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
        if done.returncode and 'cannot find -lasan' in done.stdout:
            raise unittest.SkipTest('gcc has no address sanitizer')
        if done.returncode:
            raise AssertionError(done.stdout)

    def run_unwind(self, path, addresses, *more):
        done = subprocess.run([self.unwind, path, *map(str, more)], text=True,
                              input='\n'.join(map(hex, addresses)),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        return done.stdout.splitlines()

    def rows(self, path):
        """Return some rows of a file, the same ones each time."""
        text = subprocess.run(['readelf', '--debug-dump=frames-interp', path], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        rows = [row for row in parse_rows(text) if row[0] < row[1]]
        return random.Random(1).sample(rows, min(SOME, len(rows)))

    def check(self, path):
        rows = self.rows(path)
        # A return address is behind its call.
        found = self.run_unwind(path, [start + 1 for start, *_ in rows])
        self.assertEqual(len(found), len(rows))
        compared = 0
        for (start, _, cfa, registers), line in zip(rows, found):
            wanted = expected(cfa, registers)
            if wanted is None:
                continue
            rule = None if line == 'none' else list(map(int, line.split()))
            if rule is not None and rule[2] == SAME:
                rule[3] = 0
            if rule is None and wanted == [NONE]:
                continue
            self.assertIsNotNone(rule, f'{path}: {start:#x}: {cfa} {registers}')
            self.assertEqual(rule[:len(wanted)], wanted,
                             f'{path}: {start:#x}: {cfa} {registers}')
            compared += 1
        # Others are few: they belong to tables of jumps to other libraries.
        self.assertGreater(compared, 0.95 * len(rows), path)

    def test_interpreter(self):
        self.check(self.python)

    def test_c_libraries(self):
        paths = c_libraries()
        if not paths:
            self.skipTest('the C library is elsewhere')
        for path in paths:
            with self.subTest(path):
                self.check(path)

    def test_no_function(self):
        # In front of the first one there is code all the same.
        text = subprocess.run(['readelf', '-lW', self.python], text=True,
                              stdout=subprocess.PIPE).stdout
        start = next(int(line.split()[2], 16) for line in text.splitlines()
                     if re.search(r'LOAD .* R E ', line))
        self.assertEqual(self.run_unwind(self.python, [start + 1]), ['none'])

    def test_damaged(self):
        # The sanitizer ends the process at a read outside of the copy.
        for path in c_libraries()[-1:] or [self.python]:
            addresses = [start + 1 for start, *_ in self.rows(path)[:500]]
            [line] = self.run_unwind(path, addresses, 7, DAMAGES)
            found, _, of = line.split()
            # Not all of it is damaged, and not all is whole.
            self.assertLess(0, int(found))
            self.assertLess(int(found), int(of))


if __name__ == '__main__':
    if len(sys.argv) > 2 and not sys.argv[1].startswith('-'):
        VERSION, VARIANT = sys.argv[1:3]
        del sys.argv[1:3]
    unittest.main()
