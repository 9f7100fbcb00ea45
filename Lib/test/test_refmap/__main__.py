from . import load_tests  # noqa: F401
import unittest

unittest.main()
