"""What the map counts, against the reference counts in the objects."""

from .slots import is_immortal
from .wording import record_key


def differing(refmap):
    """Return the sorted [(address, type name, count, ob_refcnt)] of the live
    mortal objects whose ob_refcnt is not their count, and how many objects
    were compared."""
    found, compared = [], 0
    for page in refmap.contents():
        living = page.living()
        compared += len(living)
        types = None
        for i in living:
            count = page.counts[i]
            refcnt = page.refcnt(i)
            if (agrees(count, page.births[i], refcnt) if page.words
                    else count == 0):
                continue
            types = types or page.type_words()
            name = refmap.target.types[types[i]].name
            found.append((page.slot_address(i), name, count, refcnt))
    found.sort(key=lambda row: record_key(row[3] - row[2], row[1], row[0]))
    return found, compared


def agrees(count, birth, refcnt):
    """Can this be the ob_refcnt of an object with that slot? The first
    reference to an object without a birth is there from the start, and nobody
    counted it."""
    return (refcnt == count or is_immortal(refcnt)
            or (birth == 0 and refcnt == count + 1))
