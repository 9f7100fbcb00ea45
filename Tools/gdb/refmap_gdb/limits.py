"""How much is read, followed and printed at most.

What is read comes from a process that may be broken, so nothing goes on
without an end.
"""

MAX_BLOCKS = 1 << 24            # 64 GiB of objects
MAX_CHAIN = 10_000              # items of a linked list
MAX_SNAPSHOTS = 1 << 20
MAX_OBJECT = 1 << 32            # bytes of one object or array
MAX_ARRAYS = 1 << 34            # bytes of all arrays that belong to objects
ARRAYS_AT_A_TIME = 65_536
MAX_HITS = 100_000              # places that refer to an object
MAX_TABLES = 16                 # of dict keys, whose dicts are looked for
MAX_FRAME = 1 << 20             # words of a frame
MAX_BASES = 100                 # base types of a type
MAX_MEMBERS = 1000              # of a type
MAX_NAME = 255                  # bytes of a type's name
MAX_SHOWN = 100                 # lines of a list, unless told
REPR_LEN = 200                  # characters of an object's representation
LONG_TEXT = 4096                # longer strings are not given to libpython.py

# Neighbours are read in one go, with what little lies between them.
RUN_GAP = 4096
RUN_LIMIT = 4 << 20
BATCH = 1024                    # blocks in memory at a time
