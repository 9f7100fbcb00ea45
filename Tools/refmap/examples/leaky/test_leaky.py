"""Tests of the functions of leaky: all of them pass."""

import unittest

import leaky


class Node:
    pass


NODES = [Node()] * 1000         # so that no over-decref frees it


class Test(unittest.TestCase):

    def test_leak_new_reference(self):
        self.assertEqual(leaky.leak_new_reference(1000, 3), 3000)

    def test_leak_argument(self):
        self.assertEqual(leaky.leak_argument(NODES), 'list')

    def test_over_decref(self):
        self.assertEqual(leaky.over_decref(NODES), 'Node')

    def test_leak_on_error_path(self):
        self.assertEqual(leaky.leak_on_error_path(['1', 2]), [1.0, 2.0])
        with self.assertRaises(ValueError):
            leaky.leak_on_error_path(['1', 'x'])

    def test_borrowed_misuse(self):
        self.assertEqual(leaky.borrowed_misuse(NODES), (NODES[0], 1000))

    def test_nothing(self):
        self.assertIsNotNone(leaky)


if __name__ == '__main__':
    unittest.main()
