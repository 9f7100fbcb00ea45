/* A sweep: where the addresses of a few objects, the targets, are found, and who owns
   those places. Shared by sweep.c, which knows memory, and owners.c, which knows who
   there is. */
#ifndef Py_REFMAP_SWEEP_H
#define Py_REFMAP_SWEEP_H

#include "layers.h"

#define REFMAP_FILTER_BITS ((size_t)1 << 18)

struct _refmap_sweep {
    PyInterpreterState *interp;
    refmap_state_t *map;
    refmap_owners_t *result;
    int failed;                 // out of memory

    // The targets by address: an open hash table, at most half full.
    struct {
        uintptr_t address;
        size_t index;           // from 1; 0: free
    } *table;
    size_t table_size;          // a power of two
    // Bit n % REFMAP_FILTER_BITS for each target at n * ALIGNMENT: few words pass.
    uint64_t filter[REFMAP_FILTER_BITS / 64];
    // Where the current owner's entry for a target is, if it has one.
    size_t *entries;

    // Blocks that were looked into, and addresses where there is none: an open hash
    // table, at most half full; 0: free.
    uintptr_t *claimed;
    size_t claimed_size, nclaimed;
    size_t block_bytes;
    refmap_segments_t segments; // of modules
    refmap_segments_t writable; // no block is elsewhere; empty: not known

    // Of the owner that is looked at now.
    refmap_owner_t owner;
    PyObject *op;               // NULL: it is no object
    size_t first;               // its entries start here in result->owners
};


/* 1 + the index of the target at `address`, or 0. */
static inline size_t
refmap_find_target(const refmap_sweep_t *s, uintptr_t address)
{
    size_t bit = address / ALIGNMENT % REFMAP_FILTER_BITS;
    if (!(s->filter[bit / 64] >> bit % 64 & 1)) {
        return 0;
    }
    size_t i = refmap_mix(address) & (s->table_size - 1);
    while (s->table[i].index != 0 && s->table[i].address != address) {
        i = (i + 1) & (s->table_size - 1);
    }
    return s->table[i].index;
}

static inline int
refmap_is_keys(refmap_slot_t slot)
{
    return (slot.birth & REFMAP_BIRTH_KEYS) != 0;
}

#endif  // !Py_REFMAP_SWEEP_H
