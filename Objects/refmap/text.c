/* Text in memory of our own. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"

char *
_PyRefMap_CopyString(const char *text, size_t most)
{
    size_t n = strnlen(text, most);
    char *copy = _PyRefMap_Malloc(n + 1);
    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

void
_PyRefMap_FreeString(char *copy)
{
    if (copy != NULL) {
        _PyRefMap_RawFree(copy, strlen(copy) + 1);
    }
}

size_t
_PyRefMap_CopyText(PyObject *text, char *utf8, size_t size)
{
    size_t len = 0;
    if (text == NULL || !PyUnicode_Check(text)) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(text); i++) {
        Py_UCS4 c = PyUnicode_READ_CHAR(text, i);
        if (len + 4 > size) {
            break;
        }
        if (c < 0x80) {
            utf8[len++] = (char)c;
        }
        else if (c < 0x800) {
            utf8[len++] = (char)(0xc0 | c >> 6);
            utf8[len++] = (char)(0x80 | (c & 0x3f));
        }
        else if (c >= 0xd800 && c < 0xe000) {
            utf8[len++] = '?';      // a surrogate has no UTF-8
        }
        else if (c < 0x10000) {
            utf8[len++] = (char)(0xe0 | c >> 12);
            utf8[len++] = (char)(0x80 | (c >> 6 & 0x3f));
            utf8[len++] = (char)(0x80 | (c & 0x3f));
        }
        else {
            utf8[len++] = (char)(0xf0 | c >> 18);
            utf8[len++] = (char)(0x80 | (c >> 12 & 0x3f));
            utf8[len++] = (char)(0x80 | (c >> 6 & 0x3f));
            utf8[len++] = (char)(0x80 | (c & 0x3f));
        }
    }
    return len;
}

#endif  // Py_REFCOUNT_MAP
