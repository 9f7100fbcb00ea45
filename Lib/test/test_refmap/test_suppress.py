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
