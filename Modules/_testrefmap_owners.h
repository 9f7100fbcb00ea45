/* Add what _testrefmap_owners.c has. Return -1 with an exception. */
extern int _testrefmap_add_owners(PyObject *module);
