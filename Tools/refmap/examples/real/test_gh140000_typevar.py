"""gh-140000: a TypeVar whose name refers to it.

The name may be of a subclass of str, with attributes. The traverse functions of
TypeVar, ParamSpec, TypeVarTuple and TypeAliasType did not visit it, so the
garbage collector never saw such a cycle as garbage.
Upstream: the name is visited, and cleared.
"""

import typing
import unittest


class Name(str):
    """A str that can have attributes."""


class Test(unittest.TestCase):
    def test_cycle(self):
        name = Name('T')
        name.variable = typing.TypeVar(name)
        self.assertIs(name.variable.__name__, name)


if __name__ == '__main__':
    unittest.main()
