"""What the map counts, against the reference counts in the objects."""

from .slots import is_immortal
from .wording import record_key


def differing(refmap):
    """Return the sorted [(address, type name, count, ob_refcnt)] of the live
    mortal objects whose ob_refcnt is not their count, and how many objects
    were compared."""
    found, compared = [], 0
    types = refmap.target.types
    for page in refmap.contents():
        refcnts = page.words[0::2] if page.words else (-1,) * len(page.counts)
        for i, (count, refcnt) in enumerate(zip(page.counts, refcnts)):
            if count == 0:
                continue
            compared += 1
            birth = page.births[i]
            if count == refcnt and i not in page.odd and page.words:
                continue
            refcnt = page.refcnt(i)
            if page.words and agrees(count, birth, refcnt):
                continue
            name = types[page.type_words()[i]].name
            found.append((page.slot_address(i), name, count, refcnt))
    found.sort(key=lambda row: record_key(row[3] - row[2], row[1],
                                                 row[0]))
    return found, compared


def agrees(count, birth, refcnt):
    """Can this be the ob_refcnt of an object with that slot? The first
    reference to a static object is there from the start, uncounted."""
    return (refcnt == count or is_immortal(refcnt)
            or (birth == 0 and refcnt == count + 1))
