"""The commands. Importing a module makes gdb know those that are in it."""

from . import (changes, compare, refs, summary, types_and_objects, watch,
               wrong_count)
