"""The interpreter that the commands ask."""

from .layout import Layout
from .process import Process
from .pytypes import TypeTable


class Target(Process):
    """The interpreter in the selected process or core.

    memory -- Memory
    layout -- Layout, the constants of its map
    types  -- TypeTable
    """

    def __init__(self):
        """Raise RefmapError if there is no map to be read."""
        super().__init__()
        self.layout = Layout(self)
        self.types = TypeTable(self)
