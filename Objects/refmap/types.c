/* The names of the types of objects, read from memory that may be gone. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"

/* Known types are forgotten when there are so many: their classes are most
   likely dead. Names are kept. */
#define REFMAP_MAX_TYPES 65536

static const char *const fixed_names[] = {
    [REFMAP_TYPE_UNKNOWN] = "?",
    [REFMAP_TYPE_KEYS] = "dict keys",
};

const char *
_PyRefMap_TypeName(refmap_state_t *map, refmap_type_t type)
{
    if (type < Py_ARRAY_LENGTH(fixed_names)) {
        return fixed_names[type];
    }
    type -= Py_ARRAY_LENGTH(fixed_names);
    return type < map->nnames ? map->by_id[type]->name
                              : fixed_names[REFMAP_TYPE_UNKNOWN];
}

static refmap_type_t
refmap_intern_name(refmap_state_t *map, const char *text)
{
    refmap_name_t *name = NULL;
    size_t len = strlen(text);
    HASH_FIND(hh, map->names, text, len, name);
    if (name != NULL) {
        return name->id;
    }
    size_t size = sizeof(*name) + len + 1;
    if (_PyRefMap_Grow(&map->by_id, &map->by_id_allocated, map->nnames + 1,
                       sizeof(*map->by_id)) < 0) {
        return REFMAP_TYPE_UNKNOWN;
    }
    name = _PyRefMap_Malloc(size);
    if (name == NULL) {
        return REFMAP_TYPE_UNKNOWN;
    }
    memset(name, 0, sizeof(*name));
    memcpy(name->name, text, len + 1);
    name->id = (refmap_type_t)Py_ARRAY_LENGTH(fixed_names) + map->nnames;
    HASH_ADD_KEYPTR(hh, map->names, name->name, len, name);
    if (name->hh.tbl == NULL) {
        _PyRefMap_RawFree(name, size);
        return REFMAP_TYPE_UNKNOWN;
    }
    map->by_id[map->nnames++] = name;
    return name->id;
}

/* How long is the UTF-8 character at `p`? 0: it is none. See RFC 3629, section 3. */
static size_t
refmap_character_size(const unsigned char *p)
{
    size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2
               : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return n;
}

/* Does this character control a terminal, or end a line? U+0080 to U+009F do, and
   U+2028 and U+2029. */
static int
refmap_is_control(const unsigned char *p, size_t size)
{
    return *p < 0x20 || *p == 0x7f
           || (size == 2 && p[0] == 0xc2 && p[1] < 0xa0)
           || (size == 3 && p[0] == 0xe2 && p[1] == 0x80
               && (p[2] == 0xa8 || p[2] == 0xa9));
}

/* Copy `name` with control characters written as escapes, as much of it as fits.
   Return -1 if it is no UTF-8: the memory of a name may have been freed. */
static int
refmap_escape(const char *name, char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)name;
    size_t n, len = 0;
    for (; *p != '\0'; p += n) {
        n = refmap_character_size(p);
        if (n == 0) {
            return -1;
        }
        int is_control = refmap_is_control(p, n);
        if (len + (is_control ? 4 * n : n) >= size) {
            break;
        }
        for (size_t i = 0; i < n; i++) {
            if (is_control) {
                len += (size_t)snprintf(text + len, 5, "\\x%02x", p[i]);
            }
            else {
                text[len++] = (char)p[i];
            }
        }
    }
    text[len] = '\0';
    return 0;
}

/* The name of the type at `address`, copied piece by piece, as any of the
   pointers may be garbage; an empty string unless it all looks like a type. */
static void
refmap_read_type_name(uintptr_t address, char *name, size_t size)
{
    PyTypeObject type, meta;
    name[0] = '\0';
    if (_PyRefMap_Read(address, &type, sizeof(type)) < 0
        || _PyRefMap_Read((uintptr_t)Py_TYPE(&type), &meta, sizeof(meta)) < 0
        || !(meta.tp_flags & Py_TPFLAGS_TYPE_SUBCLASS))
    {
        return;
    }
    size_t len = 0;
    while (len < size - 1) {
        // Up to the next 64-byte boundary, which no page boundary splits.
        uintptr_t from = (uintptr_t)type.tp_name + len;
        size_t n = Py_MIN(64 - (from & 63), size - 1 - len);
        if (_PyRefMap_Read(from, name + len, n) < 0) {
            break;
        }
        if (memchr(name + len, '\0', n) != NULL) {
            return;
        }
        len += n;
    }
    // Too long. The last character may be incomplete.
    while (len > 0 && (name[len - 1] & 0xc0) == 0x80) {
        len--;
    }
    if (len > 0 && (name[len - 1] & 0x80)) {
        len--;
    }
    name[len] = '\0';
}

void
_PyRefMap_ForgetTypes(refmap_state_t *map)
{
    refmap_known_type_t *known, *next;
    if (map->keep_types) {
        return;
    }
    HASH_ITER(hh, map->types, known, next) {
        HASH_DELETE(hh, map->types, known);
        _PyRefMap_RawFree(known, sizeof(*known));
    }
    map->ntypes = 0;
}

refmap_type_t
_PyRefMap_TypeAt(refmap_state_t *map, uintptr_t address)
{
    refmap_known_type_t *known = NULL;
    refmap_known_type_t wanted;
    memset(&wanted.key, 0, sizeof(wanted.key));
    wanted.key.address = address;
    refmap_block_t *block = _PyRefMap_Find(map, refmap_page(address));
    if (block != NULL) {
        wanted.key.birth = refmap_living_birth(
            refmap_get(block, refmap_slot_index(address)));
    }
    HASH_FIND(hh, map->types, &wanted.key, sizeof(wanted.key), known);
    if (known != NULL) {
        return known->id;
    }
    char raw[256], name[256];
    refmap_read_type_name(address, raw, sizeof(raw));
    if (raw[0] == '\0' || refmap_escape(raw, name, sizeof(name)) < 0) {
        return REFMAP_TYPE_UNKNOWN;
    }
    refmap_type_t id = refmap_intern_name(map, name);
    if (map->ntypes >= REFMAP_MAX_TYPES) {
        _PyRefMap_ForgetTypes(map);
    }
    known = _PyRefMap_Malloc(sizeof(*known));
    if (known != NULL) {
        memset(known, 0, sizeof(*known));
        known->key = wanted.key;
        known->id = id;
        HASH_ADD(hh, map->types, key, sizeof(known->key), known);
        if (known->hh.tbl == NULL) {
            _PyRefMap_RawFree(known, sizeof(*known));
        }
        else {
            map->ntypes++;
        }
    }
    return id;
}

void
_PyRefMap_ReadSlot(refmap_state_t *map, const refmap_block_t *block, size_t i,
                   refmap_slot_t slot, const refmap_copy_t *copy,
                   refmap_object_t *object)
{
    object->address = refmap_slot_address(block, i, slot);
    object->type = slot.birth & REFMAP_BIRTH_KEYS ? REFMAP_TYPE_KEYS
                                                  : REFMAP_TYPE_UNKNOWN;
    object->refcnt = -1;
    if (!copy->readable) {
        return;
    }
    // PyDictKeysObject begins with its reference count, too.
    Py_BUILD_ASSERT(offsetof(PyObject, ob_refcnt) == 0);
    object->refcnt = (Py_ssize_t)_PyRefMap_CopiedWord(copy, block,
                                                      object->address);
    if (object->type != REFMAP_TYPE_KEYS) {
        object->type = _PyRefMap_TypeAt(map, _PyRefMap_CopiedWord(
            copy, block, object->address + offsetof(PyObject, ob_type)));
    }
}

void
_PyRefMap_FreeNames(refmap_state_t *map)
{
    map->keep_types = 0;
    _PyRefMap_ForgetTypes(map);
    refmap_name_t *name, *next_name;
    HASH_ITER(hh, map->names, name, next_name) {
        HASH_DELETE(hh, map->names, name);
        _PyRefMap_RawFree(name, sizeof(*name) + strlen(name->name) + 1);
    }
    _PyRefMap_RawFree(map->by_id,
                      map->by_id_allocated * sizeof(*map->by_id));
}

#endif  // Py_REFCOUNT_MAP
