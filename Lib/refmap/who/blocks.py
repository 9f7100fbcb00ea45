"""Raw memory that leaked: who allocated the blocks that stayed.

There is no object and no reference, so nothing shows who should have freed
them. What can be shown is the stack of the allocation.
"""

from . import stacks
from .suspects import Step, Suspect

KIND = 'raw memory'
RULE = 'raw-memory'
MAX_SUSPECTS = 5


def stayed(recording):
    """Return the Alloc records of the blocks that were not freed."""
    living = {}
    for event in recording.events:
        kind = type(event).__name__
        if kind == 'Alloc':
            living[event.address] = event
        elif kind == 'Free':
            living.pop(event.address, None)
    return list(living.values())


def by_stack(allocs, runs):
    """Group the blocks by the stack that allocated them.

    Return lists of Alloc, the largest first. A stack that left fewer blocks
    behind than there were runs is not among them: it may have filled a cache.
    """
    groups = {}
    for alloc in allocs:
        key = tuple(frame.pc for frame in alloc.frames)
        groups.setdefault(key, []).append(alloc)
    found = [group for group in groups.values() if len(group) >= runs]
    found.sort(key=lambda group: (-len(group), -group[0].size))
    return found


def steps_of(group, found, recording):
    """Return the evidence for one stack, as a list of Step."""
    sizes = sorted({alloc.size for alloc in group})
    size = f'{sizes[0]}' if len(sizes) == 1 else f'{sizes[0]} to {sizes[-1]}'
    steps = [Step(f'allocates {size} bytes, {len(group)} times in these runs; '
                  f'none of the blocks was freed', found[0].file,
                  found[0].line)]
    steps += [Step(f'called by {site.function}()', site.file, site.line)
              for site in found[1:stacks.MAX_SHOWN]]
    line = stacks.python_line(recording, group[0])
    if line:
        steps.append(Step(f'while {line} ran', '', 0))
    return steps


def suspects(recording, symbols, runs):
    """Return (suspects, notes): who allocated memory that stayed in each run.

    recording -- one that has memory blocks; `symbols` know its addresses
    runs -- how many were recorded
    The score is the part of these blocks that the function allocated.
    """
    if recording.lost.records:
        # What was freed is not known, so neither is what stayed.
        return [], ['more memory was allocated than could be recorded: who '
                    'allocated what stayed is not known']
    groups = by_stack(stayed(recording), runs)
    total = sum(map(len, groups))
    found = []
    for group in groups[:MAX_SUSPECTS]:
        sites = stacks.sites(group[0].frames, symbols)
        if sites and stacks.is_known(sites[0]):
            found.append(Suspect(
                function=sites[0].function, file=sites[0].file,
                line=sites[0].line, kind=KIND, rule=RULE, type='memory',
                references=len(group) / runs, score=len(group) / total,
                evidence=steps_of(group, sites, recording)))
    return found, []
