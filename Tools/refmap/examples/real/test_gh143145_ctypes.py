"""gh-143145: a ctypes function with two output parameters, and an error.

The tuple for the results was made when the first of them was there; when the
second could not be made, it was forgotten, with what was in it.
Upstream: the tuple is given back.
"""

import ctypes
import unittest


class Failing(ctypes.c_int):
    def __ctypes_from_outparam__(self):
        raise ValueError('no result')


class Good(ctypes.c_int):
    def __ctypes_from_outparam__(self):
        return ['a result']


# Any function of the C library that takes two pointers would do.
strcmp = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(Good), ctypes.POINTER(Failing))(
        ('strcmp', ctypes.CDLL(None)),
        # 2: an output parameter
        ((2, 'first'), (2, 'second')))


class Test(unittest.TestCase):
    def test_error(self):
        with self.assertRaises(ValueError):
            strcmp()


if __name__ == '__main__':
    unittest.main()
