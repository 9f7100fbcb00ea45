"""The refcount map in gdb."""
