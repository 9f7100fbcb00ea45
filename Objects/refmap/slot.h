/* Slots: what their words mean, and how they lie in a block. */
#ifndef Py_REFMAP_SLOT_H
#define Py_REFMAP_SLOT_H

#include "state.h"

/* A slot, as it is read and written where time does not matter. */
typedef struct {
    Py_ssize_t count;   // the sum of two where both words are counts
    uint32_t birth;     // with its flags; 0: there never was one
    int is_odd;         // the object starts 8 bytes into its 16
} refmap_slot_t;

static inline int
refmap_is_birth(uint32_t word)
{
    return (word & REFMAP_BIRTH_BORN) != 0 && (int32_t)word < REFMAP_COUNT_MIN;
}

static inline refmap_slot_t
refmap_decode(refmap_words_t words)
{
    if (refmap_is_birth(words.odd)) {
        return (refmap_slot_t){(int32_t)words.even, words.odd, 0};
    }
    if (refmap_is_birth(words.even)) {
        return (refmap_slot_t){(int32_t)words.odd, words.even, 1};
    }
    // Both are counts. No two objects live in 16 bytes, but one may be left
    // behind by memory that the map did not see go.
    return (refmap_slot_t){(Py_ssize_t)(int32_t)words.even + (int32_t)words.odd,
                           0, words.odd != 0};
}

static inline refmap_words_t
refmap_encode(refmap_slot_t slot)
{
    uint32_t count = (uint32_t)slot.count;
    return slot.is_odd ? (refmap_words_t){slot.birth, count}
                       : (refmap_words_t){count, slot.birth};
}

/* Is an object there, as far as its birth and death tell? One without a birth is
   while it is counted. Tables of dicts count as objects here. */
static inline int
refmap_is_living(refmap_slot_t slot)
{
    return slot.count != 0 || _PyRefMap_IsLivingBirth(slot.birth);
}

/* The birth of the object that lives there, and may have resurrected; 0: it has
   none. */
static inline uint32_t
refmap_living_birth(refmap_slot_t slot)
{
    return refmap_is_living(slot) ? slot.birth & ~REFMAP_BIRTH_DEAD : 0;
}

/* What is left of the birth of an object that dies. Tables of dicts are only
   freed. */
static inline uint32_t
refmap_dead(uint32_t birth)
{
    return birth == 0 || (birth & REFMAP_BIRTH_KEYS) ? 0
                                                     : birth | REFMAP_BIRTH_DEAD;
}

/* Can this ob_refcnt belong to the object of a slot? An immortal one has 2^31
   or more, in 32 bits; see _Py_IsImmortal(). The first reference to an object
   without a birth is there from the start, and nobody counted it. */
static inline int
refmap_refcnt_agrees(refmap_slot_t slot, Py_ssize_t refcnt)
{
    return refcnt == slot.count
           || (uint64_t)refcnt >> 31 == 1
           || (refmap_living_birth(slot) == 0 && refcnt == slot.count + 1);
}

/* How many slots that are packed come before slot `i`, which may be
   REFMAP_SLOTS. */
static inline size_t
refmap_packed_before(const refmap_packed_t *packed, size_t i)
{
    size_t n = 0, k = 0;
    for (; k < i / 64; k++) {
        n += (size_t)__builtin_popcountll(packed->used[k]);
    }
    if (i % 64 != 0) {
        uint64_t below = ((uint64_t)1 << i % 64) - 1;
        n += (size_t)__builtin_popcountll(packed->used[k] & below);
    }
    return n;
}

/* A slot that is packed, or NULL. */
static inline refmap_words_t *
refmap_packed_slot(refmap_packed_t *packed, size_t i)
{
    if (!(packed->used[i / 64] >> i % 64 & 1)) {
        return NULL;
    }
    return &packed->slots[refmap_packed_before(packed, i)];
}

/* The first slot that is packed and not below `i`, or REFMAP_SLOTS. */
static inline size_t
refmap_next_used(const uint64_t *used, size_t i)
{
    while (i < REFMAP_SLOTS) {
        uint64_t rest = used[i / 64] >> i % 64;
        if (rest != 0) {
            return i + (size_t)__builtin_ctzll(rest);
        }
        i += 64 - i % 64;
    }
    return REFMAP_SLOTS;
}

static inline size_t
refmap_packed_size(size_t nslots)
{
    return offsetof(refmap_packed_t, slots) + nslots * sizeof(refmap_words_t);
}

/* The words of a slot of a block that is not packed: the even one is [0], the odd
   one [REFMAP_LANES]. */
static inline uint32_t *
refmap_loose_words(const refmap_block_t *block, size_t i)
{
    return &block->group->words[i][block->lane];
}

static inline refmap_words_t
refmap_get_words(const refmap_block_t *block, size_t i)
{
    if (block->packed != NULL) {
        const refmap_words_t *words = refmap_packed_slot(block->packed, i);
        return words != NULL ? *words : (refmap_words_t){0, 0};
    }
    const uint32_t *words = refmap_loose_words(block, i);
    return (refmap_words_t){words[0], words[REFMAP_LANES]};
}

static inline refmap_slot_t
refmap_get(const refmap_block_t *block, size_t i)
{
    return refmap_decode(refmap_get_words(block, i));
}

/* The words of all slots, which takes less than one slot after the other where they
   are packed. */
static inline void
refmap_get_all(const refmap_block_t *block, refmap_words_t words[REFMAP_SLOTS])
{
    if (block->packed == NULL) {
        for (size_t i = 0; i < REFMAP_SLOTS; i++) {
            words[i] = refmap_get_words(block, i);
        }
        return;
    }
    const uint64_t *used = block->packed->used;
    const refmap_words_t *slot = block->packed->slots;
    memset(words, 0, REFMAP_SLOTS * sizeof(*words));
    for (size_t i = refmap_next_used(used, 0); i < REFMAP_SLOTS;
         i = refmap_next_used(used, i + 1))
    {
        words[i] = *slot++;
    }
}

/* `block` is not shared with a snapshot; if it is packed, it has the slot. */
static inline void
refmap_set_words(refmap_block_t *block, size_t i, refmap_words_t words)
{
    if (block->packed != NULL) {
        *refmap_packed_slot(block->packed, i) = words;
        return;
    }
    uint32_t *place = refmap_loose_words(block, i);
    place[0] = words.even;
    place[REFMAP_LANES] = words.odd;
}

static inline void
refmap_set(refmap_block_t *block, size_t i, refmap_slot_t slot)
{
    refmap_set_words(block, i, refmap_encode(slot));
}

/* The exact address of the object in slot `i`, which is `slot`. */
static inline uintptr_t
refmap_slot_address(const refmap_block_t *block, size_t i, refmap_slot_t slot)
{
    uintptr_t address = (block->page << REFMAP_PAGE_BITS)
                        | ((uintptr_t)i << REFMAP_SLOT_BITS);
    return slot.is_odd ? address + 8 : address;
}

#endif  // !Py_REFMAP_SLOT_H
