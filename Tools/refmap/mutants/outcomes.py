"""What became of mutants: the place of the guilty function, and the table."""

import re
import subprocess

import binaries

# Code whose releases belong to no function that could be accused: the evaluation
# loop gives up what bytecode put on its stack, and the clearing of frames the
# same for it. Which of both is guilty is the same bytecode's.
LOOP = re.compile(r'_PyEval_EvalFrameDefault|_PyEval_FrameClearAndPop'
                  r'|_PyFrame_Clear\w*|clear_(?:thread|gen)_frame')
# The map's own, which the diagnosis itself runs.
OWN = re.compile(r'_?PyRefMap\w*|refmap\w*|record\w*|sys__?refmap\w*')

JUDGED = ('first', 'in three', 'in five', 'another', 'no suspect')
UNJUDGED = ('no leak', 'no object', 'crashed', 'too slow', 'failed')
ROLES = ('clear', 'dealloc', 'free', 'traverse', 'rest')


def role(function):
    """Return which kind of function it is, one of ROLES."""
    for word in ('traverse', 'dealloc', 'clear'):
        if word in function:
            return word
    if re.search(r'free|fini(?:alize)?|_del(?:ete)?\b|destroy|release', function):
        return 'free'
    return 'rest'


def names_of(sites):
    """Return {site: (function, file, line)} of the source, by addr2line.

    Of functions that were inlined there, the innermost that is no release itself.
    """
    by_module = {}
    for site in sites:
        by_module.setdefault(site.module, []).append(site)
    found = {}
    for module, some in by_module.items():
        command = ['addr2line', '-i', '-f', '-a', '-e', module]
        output = subprocess.run(
            command, capture_output=True, text=True, check=True,
            input='\n'.join(f'{site.address:#x}' for site in some)).stdout
        answers = re.split(r'^0x[0-9a-f]+\n', output, flags=re.M)[1:]
        for site, answer in zip(some, answers):
            found[site] = innermost(answer.splitlines(), site)
    return found


def innermost(lines, site):
    """Return (function, file, line) from addr2line's lines for one address."""
    for function, place in zip(lines[::2], lines[1::2]):
        name = binaries.source_name(function)
        if name not in binaries.HELPERS and name != '??':
            file, _, line = place.partition(' ')[0].rpartition(':')
            return name, file.rpartition('/')[2], int(line) if line.isdigit() else 0
    return binaries.source_name(site.function), '?', 0


def place(guilty, suspects):
    """Return the place of a function among suspects, from 1; 0: not there."""
    for number, suspect in enumerate(suspects, 1):
        if binaries.source_name(suspect[0]) == guilty:
            return number
    return 0


def outcome(guilty, result):
    """Return one of JUDGED or UNJUDGED for what a diagnosis said."""
    if result['verdict'] == 'clean':
        return 'no leak'
    if not result['objects'] and not result['suspects']:
        # What leaked was freed with the memory of a subinterpreter.
        return 'no object'
    if not result['suspects']:
        return 'no suspect'
    number = place(guilty, result['suspects'])
    return ('another', 'first', 'in three', 'in three', 'in five',
            'in five')[number]


def percent(part, whole):
    return f'{100 * part / whole:3.0f} %' if whole else '    -'


def table(mutants):
    """Return the lines of the table; mutants: dicts with role and outcome."""
    head = f'{"function is":12}' + ''.join(
        f'{word:>11}' for word in ('mutants', 'first', 'in three', 'another',
                                   'no suspect', *UNJUDGED))
    lines = [head]
    for name in (*ROLES, 'all'):
        some = [m['outcome'] for m in mutants if name in (m['role'], 'all')]
        judged = [o for o in some if o in JUDGED]
        first = judged.count('first')
        three = first + judged.count('in three')
        another = judged.count('another') + judged.count('in five')
        cells = [len(judged), percent(first, len(judged)),
                 percent(three, len(judged)), another,
                 judged.count('no suspect'), *(some.count(o) for o in UNJUDGED)]
        lines.append(f'{name:12}' + ''.join(f'{cell:>11}' for cell in cells))
    return lines
