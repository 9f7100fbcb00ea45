"""Findings for the tests of HTML reports, as --json writes them."""

import copy

A, B, C = 0x7f0000000010, 0x7f0000000020, 0x7f0000000030


def record(address, born=1, counts=(0, 1, 1, 1), **more):
    """Return the record of an object."""
    return {'address': address, 'born': born, 'counts': list(counts),
            'repr': '<object>', 'size': 48, 'birth': address & 0xff,
            'held_by': [], **more}


def finding(name, *objects, pattern='every run', refs=(1, 1, 1),
            born=(1, 1, 1)):
    """Return a finding of a hunt."""
    return {'type': name, 'pattern': pattern, 'refs': list(refs),
            'born': list(born), 'objects': list(objects), 'more': 0}


def hunt(*types, **more):
    """Return the findings of a hunt: by default a list that nobody holds, a
    dict in it that refers back, a str in a cache, and an over-decref."""
    types = types or (
        finding('int', record(C + 0x10, 0, (9, 8, 7, 6)), born=(0, 0, 0),
                pattern='over-decref', refs=(-1, -1, -1)),
        finding('list', record(A, unheld=1,
                               held_by=[f'{B:#x} {{...}} x2', '1 more'])),
        finding('dict', record(B, unheld=0, held_by=[f'{A:#x} [...]'])),
        finding('str', record(C, 0, (1, 2, 3, 4),
                              held_by=['{1: <str object>}']),
                born=(0, 0, 0)))
    return {'test': 'test_x', 'verdict': 'leak', 'warmups': 3, 'runs': 3,
            'total': [3, 3, 3], 'types': list(types),
            'once': {'int': 4, 'str': -2},
            'freed': [[A, 'bytes', 2]], 'lost': 1, 'unhooked': ['/lib/x.so'],
            'rules': [], 'raw': ['total ref change 0'], **more}


STEPS = [{'text': 'born in PyList_New()', 'file': 'Objects/x.c', 'line': 3},
         {'text': 'while Python ran f()', 'file': '', 'line': 0},
         {'text': 'f() returned', 'file': 'Modules/f.c', 'line': 12}]

SITE = {'function': 'PyList_New', 'file': 'Objects/x.c', 'line': 3}


def suspect(function='f', **more):
    return {'function': function, 'file': 'Modules/f.c', 'line': 10,
            'kind': 'lost in C', 'rule': 'missing-decref', 'type': 'list',
            'references': 1.0, 'score': 0.9, 'evidence': STEPS, **more}


def root(address=A, type='list', kind='lost in C', chain=()):
    return {'address': address, 'type': type, 'before': 0, 'after': 1,
            'kind': kind, 'birth': 7, 'chain': list(chain), 'born': [SITE],
            'python': 'test (test_x.py:7)'}


def diagnosis(**more):
    """Return a diagnosis: a list lost in C, and a dict in a cache."""
    chain = ["<module 'm'>", f'.__dict__: dict at {B:#x}',
             f"['cache']: dict at {C:#x}", f"['key']: dict at {A + 0x20:#x}"]
    return {'test': 'test_x', 'verdict': 'leak',
            'suspects': [suspect(), suspect('g', score=0.4, evidence=[])],
            'roots': [root(), root(A + 0x20, 'dict', 'held by a visible owner',
                                   chain)],
            'consequences': {'str': 3, 'int': 9},
            'births': {'list': [{'count': 3, 'text': 'PyList_New()',
                                 'born': [SITE],
                                 'python': 'test (test_x.py:7)'}],
                       'str': [{'count': 1, 'text': 'somewhere'}]},
            'notes': ['a part of it'], 'recorded': 3,
            'seconds': {'hunt': 1, 'recording': 2.5, 'unrecorded': 1,
                        'analysis': 0.25},
            'findings': hunt(), **more}


def test_file():
    """Return the findings of a test file of regrtest."""
    who = diagnosis()
    del who['findings']
    return hunt(sums={'references': [3, 3, 3], 'memory blocks': [0, 0, 0]},
                methods=[{'name': 'T.test_a', 'types': [finding('list')]}],
                methods_note='stopped: no time', rerun=False, who_note=None,
                who=[copy.deepcopy(who), {**who, 'test': 'T.test_b'}])


def place(function='f', file='f.py', line=3, c_function='PyList_New()'):
    return {'file': file, 'line': line, 'function': function,
            'c_function': c_function}


def log():
    """Return the analysis of an event log."""
    return {
        'logs': [{'path': '/tmp/x.rlog', 'header': {}, 'ended': True,
                  'cut_off': False}],
        'until': 2.0, 'bytes': 'size',
        'alive': [{'type': 'list', **place(), 'count': 5, 'bytes': 280,
                   'first': 0.5, 'last': 1.5},
                  {'type': 'dict', **place(file='', line=0, function='',
                                           c_function=''),
                   'count': 1, 'bytes': 64, 'first': 1, 'last': 1}],
        'died': [{'type': 'list', 'born': place(), 'died': place('g'),
                  'count': 2, 'shortest': 0.1, 'mean': 0.2, 'longest': 0.3}],
        'longest': [],
        'types': [{'type': 'list', 'new': 7, 'deleted': 2},
                  {'type': 'dict', 'new': 1, 'deleted': 0}],
        'unseen': [{'type': 'str', **place(), 'count': 3}],
        'reclassed': [{'born': 'C', 'died': 'D', **place(), 'count': 1}],
        'reused': [], 'n_reused': 2, 'moved': 0,
        'references': [{'type': 'list', **place(), 'objects': 5, 'taken': 9,
                        'returned': 2}],
        'unexplained': [{'type': 'list', 'count': 4}],
        'resident': [{**place(), 'bytes': 4096}],
        'messages': [{'clock': 0.25, 'text': 'now', 'log': '/tmp/x.rlog'}],
        'notes': ['a part of it'], 'error': 'the log ends in a record'}


def renamed(value, name):
    """Return a copy of findings with another text in the place of each text
    that comes from the program."""
    kept = ('verdict', 'pattern', 'bytes')
    if isinstance(value, dict):
        return {(name if key in ('int', 'str', 'list') else key):
                (item if key in kept else renamed(item, name))
                for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, name) for item in value]
    return name if isinstance(value, str) else value
