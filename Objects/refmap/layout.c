/* What a debugger has to know of the refcount map and can't find in the debug
   information of its structures: see Tools/gdb/. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"

const struct _refmap_layout _PyRefMap_layout = {
    .version = 1,
    .page_bits = REFMAP_PAGE_BITS,
    .slot_bits = REFMAP_SLOT_BITS,
    .lanes = REFMAP_LANES,
    .slots = REFMAP_SLOTS,
    .birth_born = REFMAP_BIRTH_BORN,
    .birth_keys = REFMAP_BIRTH_KEYS,
    .birth_dead = REFMAP_BIRTH_DEAD,
    .birth_own = REFMAP_BIRTH_OWN,
    .birth_serial = REFMAP_BIRTH_SERIAL,
    .count_min = REFMAP_COUNT_MIN,
    .type_unknown = REFMAP_TYPE_UNKNOWN,
    .type_keys = REFMAP_TYPE_KEYS,
    .findings = REFMAP_FINDINGS,
    .recent = REFMAP_RECENT,
};

#endif  // Py_REFCOUNT_MAP
