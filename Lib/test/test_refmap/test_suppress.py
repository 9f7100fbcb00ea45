"""Suppressions: the rules of --refmap-suppress. Runs in any interpreter."""

import os
import tempfile
import unittest

from refmap import suppress


def finding(name):
    return {'type': name}


class ParseTests(unittest.TestCase):
    def test_rules(self):
        rules = suppress.parse([
            '# only a comment\n',
            '\n',
            'list in test_foo  # issue 1\n',
            '  dict keys in test_*#issue 2\n',
            'mod.Type* # anywhere\n',
        ])
        self.assertEqual(rules, [['list', 'test_foo', 'issue 1'],
                                 ['dict keys', 'test_*', 'issue 2'],
                                 ['mod.Type*', '*', 'anywhere']])

    def test_a_reason_is_needed(self):
        for line in 'list', 'list in test_foo', 'list #', 'list in test_x #  ':
            with self.assertRaisesRegex(suppress.Error, 'says why'):
                suppress.parse([line])

    def test_incomplete(self):
        for line in 'in test_foo # why', 'list in # why', 'in # why':
            with self.assertRaisesRegex(suppress.Error, 'a rule is TYPE in'):
                suppress.parse([line])

    def test_where(self):
        with self.assertRaisesRegex(suppress.Error, r'^rules.txt:2: '):
            suppress.parse(['list # why', 'dict'], 'rules.txt')

    def test_read(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'rules')
            with open(path, 'w', encoding='utf-8') as file:
                file.write('list in t # warum: \xfc\n')
            self.assertEqual(suppress.read(path), [['list', 't', 'warum: \xfc']])
            with self.assertRaises(OSError):
                suppress.read(path + '.missing')


class FileTests(unittest.TestCase):
    """Files that are no text, or none at all."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, 'rules')

    def write(self, data):
        with open(self.path, 'wb') as file:
            file.write(data)

    def test_byte_order_mark_and_line_ends(self):
        for end in b'\n', b'\r\n', b'\r':
            for mark in b'', b'\xef\xbb\xbf':
                self.write(mark + end.join([b'list # one', b'', b'# no rule',
                                            b'dict in t # two']))
                self.assertEqual(suppress.read(self.path),
                                 [['list', '*', 'one'], ['dict', 't', 'two']])

    def test_not_utf_8(self):
        for data in b'list # \xff', 'list # x\n'.encode('utf-16'):
            self.write(data)
            with self.assertRaisesRegex(suppress.Error, 'rules: not UTF-8'):
                suppress.read(self.path)

    def test_size(self):
        line = b'list # ' + b'x' * 56 + b'\n'
        self.write(line * (suppress.MAX_SIZE // len(line)))
        self.assertEqual(len(suppress.read(self.path)), 16384)
        self.write(line * (suppress.MAX_SIZE // len(line)) + b'#')
        with self.assertRaisesRegex(suppress.Error, 'rules: larger than 1 MiB'):
            suppress.read(self.path)

    @unittest.skipUnless(hasattr(os, 'mkfifo'), 'needs FIFOs')
    def test_no_regular_file(self):
        os.mkfifo(self.path)
        for path in self.path, os.path.dirname(self.path):
            with self.subTest(path=path):
                with self.assertRaisesRegex(suppress.Error, 'not a regular file'):
                    suppress.read(path)

    @unittest.skipUnless(os.path.exists('/dev/full'), 'needs devices of Linux')
    def test_devices(self):
        for path in '/dev/zero', '/dev/full':
            with self.assertRaisesRegex(suppress.Error, 'larger than 1 MiB'):
                suppress.read(path)
        self.assertEqual(suppress.read('/dev/null'), [])


class ApplyTests(unittest.TestCase):
    RULES = suppress.parse(['list in test_a # one', 'l* in test_* # two',
                            'dict # three'])

    def test_first_match(self):
        findings = [finding('list'), finding('lru'), finding('str')]
        used = suppress.apply(self.RULES, findings, 'test_a')
        self.assertEqual(used, [0, 1])
        self.assertEqual([f.get('suppressed') for f in findings],
                         ['one', 'two', None])

    def test_another_test(self):
        findings = [finding('list')]
        self.assertEqual(suppress.apply(self.RULES, findings, 'test_b'), [1])
        self.assertEqual(suppress.apply(self.RULES, [finding('list')], 'x'), [])

    def test_case_matters(self):
        self.assertEqual(
            suppress.apply(self.RULES, [finding('Dict')], 'test_a'), [])

    def test_unused(self):
        self.assertEqual(suppress.unused(self.RULES, {0, 1}),
                         ['dict in *  # three'])
        self.assertEqual(suppress.unused(self.RULES, {0, 1, 2}), [])


if __name__ == '__main__':
    unittest.main()
