#include "Python.h"
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, .m_name="_testrefmap"};
PyMODINIT_FUNC PyInit__testrefmap(void) { return PyModuleDef_Init(&m); }
