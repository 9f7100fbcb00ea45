"""The commands. Importing a module makes gdb know those that are in it."""

from . import (break_birth, changes, compare, refs, summary,
               types_and_objects, watch, who, wrong_count)
