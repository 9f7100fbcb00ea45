"""gh-140406: __hash__() returns something that is no int.

slot_tp_hash() raised TypeError and forgot the object it had been given.
Upstream: the reference is given back before the exception is set.
"""

import unittest


class Unhashable:
    def __hash__(self):
        return float('1.5')


class Test(unittest.TestCase):
    def test_no_int(self):
        with self.assertRaises(TypeError):
            hash(Unhashable())


if __name__ == '__main__':
    unittest.main()
