"""Where the leaked objects were born: C functions, and the Python code then.

Works on literal records, in any interpreter.
"""

from collections import Counter, namedtuple

from . import stacks

# Functions of a stack that are kept: who made the object, and for whom.
DEPTH = 2

# sites: a tuple of at most DEPTH Sites, innermost first, () if not known.
# python: 'function (file:line)' of the Python code that ran, or None.
Place = namedtuple('Place', 'sites python')


def last_births(recording):
    """Return {address: Birth record} of the objects that were born last at
    each address, wherever they moved."""
    found = {}
    for event in recording.events:
        if getattr(event, 'kind', None) == 'birth':
            found[event.address] = event
        elif type(event).__name__ == 'Move':
            moved = found.pop(event.source, None)
            if moved is not None:
                found[event.to] = moved
    return found


def place_of(birth, recording, symbols):
    """Return the Place of the record of a birth."""
    sites = [site for site in stacks.sites(birth.frames, symbols)
             if stacks.is_known(site)]
    return Place(tuple(sites[:DEPTH]), stacks.python_line(recording, birth))


def text_of(place):
    """Return a Place in words, or None if nothing is known."""
    text = ', called by '.join(map(stacks.where, place.sites))
    if place.python:
        text += f'{" " if text else ""}while {place.python} ran'
    return text or None


def as_dict(place):
    """Return a Place as a dict for JSON."""
    return {'born': [{'function': site.function, 'file': site.file,
                      'line': site.line} for site in place.sites],
            'python': place.python}


def places(leaked, births, recording, symbols):
    """Return {type name: Counter of Places} of the leaked objects.

    leaked -- a list of Leaked
    births -- as last_births() returns it
    """
    found, known = {}, {}
    for item in leaked:
        birth = births.get(item.address)
        if birth is None or item.before:
            continue
        key = birth.frames, birth.code, birth.line
        if key not in known:
            known[key] = place_of(birth, recording, symbols)
        found.setdefault(item.type, Counter())[known[key]] += 1
    return found


def summary(found):
    """Return {type name: [{'count': ..., 'text': ..., 'born': ..., 'python':
    ...}]}, the most frequent first.

    found -- as places() returns it
    """
    lines = {
        name: [{'count': count, 'text': text_of(place), **as_dict(place)}
               for place, count in counts.most_common() if text_of(place)]
        for name, counts in found.items()}
    return {name: known for name, known in lines.items() if known}


def tell(findings, births):
    """Add a key 'births' to the findings of a hunt that have new objects, in
    place.

    births -- as summary() returns it
    """
    for finding in findings:
        if finding['type'] in births and any(finding['born']):
            finding['births'] = births[finding['type']]
