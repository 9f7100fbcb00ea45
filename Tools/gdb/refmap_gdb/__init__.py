"""The refcount map in gdb: which object holds how many references.

Works on a process that is stopped and on a core dump. Memory is read and
nothing else: no function of the process is called. Objects are shown in
Python's words if libpython.py is loaded, plainly if not.

refmap_gdb.py, which stands beside this folder, loads it. Layers, each of which
imports only from those before it:

  errors, limits, wording       what goes wrong, how much is read, lines
  memory, structs, process      bytes, fields of C structs, symbols
  layout                        constants of C
  pytypes, interpreters, slots  types, threads, what a page of the map counts
  maps, snapshots               what the map has, now and then
  values, frames, dictkeys      objects as text, and what their words mean
  extents, arrays, search, referrers       who refers to an object
  tally, verify, diff, report   sums, differences, changes
  target, arguments, backtrace  the process as a whole, what the user typed
  code, tape, who               C functions, what was recorded, of one object
  commands                      one small class each; "help py-refmap" begins
"""

from . import commands
