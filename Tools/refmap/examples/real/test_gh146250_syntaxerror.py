"""gh-146250: SyntaxError.__init__() is called a second time.

The file name, line, text and so on of the first call were overwritten without
giving their references back. Upstream: they are.
"""

import unittest


class Test(unittest.TestCase):
    def test_init_twice(self):
        # Objects of our own, so that no constant is meant.
        error = SyntaxError('first', (['file'], 1000, 2, {'text': 1}))
        error.__init__('second', ('file', 1, 2, 'text'))
        self.assertEqual(error.text, 'text')


if __name__ == '__main__':
    unittest.main()
