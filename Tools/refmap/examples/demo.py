"""A leak of CPython 3.13.5, found by its refcount map.

gh-140406: when __hash__() returns something that is no int, hash() raises
TypeError, and forgets to give back its reference to what was returned.
"""

import sys


class Ticket:
    """What the wrong __hash__() returns."""


class Key:
    def __hash__(self):
        return Ticket()


def lookup():
    try:
        {}.get(Key())
    except TypeError:
        pass


def main():
    if not hasattr(sys, 'refmap_snapshot'):
        sys.exit('demo: this interpreter was not configured '
                 '--with-refcount-map')
    # Types cache the names of attributes, and one may push out another.
    snapshot, compare = sys.refmap_snapshot, sys.refmap_diff
    clear_caches = sys._clear_internal_caches
    lookup()
    clear_caches()
    snapshot()
    for _ in range(3):
        lookup()
    clear_caches()
    diff = compare(file=None)
    print(f'sys.gettotalrefcount() says: {diff.total} references more. '
          'The refcount map says:\n\n'
          f'{diff}\n')
    if diff.types.get('Ticket', 0) < 3:
        sys.exit('demo: the leak was not found; is this CPython fixed?')
    info = sys.refmap_info()
    print(f'{info.objects} objects, {info.mapped} references mapped and '
          f'{info.unattributed} unattributed: together {info.total},\n'
          f'which is the total. Objects whose count differs from '
          f'ob_refcnt: {len(sys.refmap_verify())}.')
    print('So who does not decref a Ticket? Three lookups, three Tickets.')


if __name__ == '__main__':
    main()
