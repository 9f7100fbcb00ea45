"""The text of Doc/benchmarks.md, made of raw results.

Nothing here measures or remembers a number: all come from the results, and what
was not measured is said to be so.
"""

import heap
import stats
import visiting

# What is to be reached: (what, value of the results, at most).
BOUNDS = []
NAMES = {'tracemalloc-1': 'stock-release, tracemalloc of 1 frame',
         'tracemalloc-25': 'stock-release, tracemalloc of 25 frames'}
# Of the ratio of a single heap in (f).
HEAP_LIMIT = 1.5
# Of the CPU time of the machine; more makes the numbers doubtful.
BUSY = 0.05
# Of these the names in the file of an event log are a small part.
MANY_EVENTS = 1000
MIB = 1 << 20


# --- values -----------------------------------------------------------------

def suite(results, one, other, what='user'):
    return stats.ratio(results['a'][one][what], results['a'][other][what])


def small(results, one, other):
    return stats.geomean_ratio(results['b'][one], results['b'][other])


def worst_small(results, one, other):
    return stats.worst(results['b'][one], results['b'][other])[1]


def worst_heap(results, one, other):
    return visiting.worst(results['f']['heaps'], one, other)[1]


def mean_heap(results, one, other):
    return visiting.geomean(results['f']['heaps'], one, other)


def against_collect(results, what, changed=None, objects='1000000'):
    times = results['c']['heaps'][objects]
    taken = times[what] if changed is None else times[what][changed]
    return stats.ratio(taken, times['collect'])


def log_ratios(programs, way):
    """{program: ratio to the program without a log}"""
    return {program: min(ways[way]['seconds']) / min(ways['']['seconds'])
            for program, ways in programs.items() if way in ways}


def worst_log(results, way):
    return max(log_ratios(results['h']['release'], way).values())


def log_bytes(results):
    return max(found['bytes'] / found['events']
               for ways in results['h']['release'].values()
               for found in ways.values() if found.get('events', 0) >= MANY_EVENTS)


# The times of snapshots of true counts that have a bound.
ACTUAL = ('agree', 'touched', 'differ')


def actual_nanoseconds(found, name):
    """Of a snapshot of true counts, for each living object, that one of the map does
    not take."""
    return (found[name] - found['mapped']) / found['objects'] * 1e9


def worst_actual(results, variant):
    """Nanoseconds per object of a snapshot of true counts."""
    return max(actual_nanoseconds(found, name)
               for sizes in results['g'][variant].values()
               for found in sizes.values() for name in ACTUAL)


def actual_bytes(results, variant):
    return max(found[name] / found['objects']
               for sizes in results['g'][variant].values()
               for found in sizes.values()
               for name in ('bytes agree', 'bytes differ', 'bytes of another'))


def bound(what, limit, function, *args):
    BOUNDS.append((what, limit, function, args))


bound('(b) release / stock-release, geometric mean', 1.12,
      small, 'release', 'stock-release')
bound('(a) release / stock-release, user CPU', 1.12,
      suite, 'release', 'stock-release')
bound('(b) debug / stock-debug, geometric mean', 1.05,
      small, 'debug', 'stock-debug')
bound('(a) debug / stock-debug, user CPU', 1.05,
      suite, 'debug', 'stock-debug')
bound('(b) release / stock-debug, geometric mean', 0.27,
      small, 'release', 'stock-debug')
bound('(a) release / stock-debug, user CPU', 0.42,
      suite, 'release', 'stock-debug')
bound('(b) release / stock-release, worst workload', 1.35,
      worst_small, 'release', 'stock-release')
bound('(b) release / stock-release-tuned, geometric mean', 1.15,
      small, 'release', 'stock-release-tuned')
bound('(b) release-lto / stock-release-lto, geometric mean', 1.12,
      small, 'release-lto', 'stock-release-lto')
bound('(a) release / stock-release, peak memory', 1.25,
      suite, 'release', 'stock-release', 'rss')
bound('(a) debug / stock-debug, peak memory', 1.25,
      suite, 'debug', 'stock-debug', 'rss')
bound('(c) snapshot / gc.collect(), 10^6 objects', 1 / 200,
      against_collect, 'snapshot')
bound('(c) diff after 10 changes / gc.collect(), 10^6 objects', 1 / 100,
      against_collect, 'diff', '10')
bound('(g) release, nanoseconds per object, worst heap', 20, worst_actual, 'release')
bound('(g) release, bytes per object, worst heap', 16, actual_bytes, 'release')
for way, limit in (('NEW and DEL of all types', 4), ('the same, of one type', 1.3),
                   ('references of one type', 3), ('Profile, all events', 4)):
    bound(f'(h) release, {way}, worst program', limit, worst_log, way)
bound('(h) release, bytes per event', 16, log_bytes)
for name in 'release', 'debug', 'release-lto':
    stock = 'stock-' + name
    bound(f'(f) {name} / {stock}, worst heap', HEAP_LIMIT,
          worst_heap, name, stock)
    bound(f'(f) {name} / {stock}, geometric mean', 1.15,
          mean_heap, name, stock)


def judged(results):
    """[(what, limit, value or None, met)] of all bounds."""
    rows = []
    for what, limit, function, args in BOUNDS:
        try:
            value = function(results, *args)
        except KeyError:
            value = None
        rows.append((what, limit, value, value is not None and value <= limit))
    return rows


# --- formats ----------------------------------------------------------------

def as_ratio(value):
    """A ratio; a small one as a fraction."""
    if value is None:
        return '-'
    return f'1/{1 / value:.0f}' if value < 0.05 else f'{value:.3f}'


def as_time(seconds):
    if seconds is None:
        return '-'
    for unit, size in (('s', 1), ('ms', 1e-3), ('µs', 1e-6)):
        if seconds >= size:
            return f'{seconds / size:.3g} {unit}'
    return f'{seconds * 1e9:.3g} ns'


def as_range(pair):
    return f'{pair[0]:.2f} to {pair[1]:.2f}'


def table(head, rows):
    """Lines of a Markdown table; the first column is text, the others numbers."""
    rule = ['---'] + ['--:'] * (len(head) - 1)
    return ['| ' + ' | '.join(map(str, row)) + ' |'
            for row in [head, rule, *rows]] + ['']


def versus(values, name, other):
    """The ratio of two entries, as text; '-' without them."""
    if name not in values or other not in values:
        return '-'
    return as_ratio(stats.ratio(values[name], values[other]))


# --- sections ---------------------------------------------------------------

def machine_lines(results):
    m = results['machine']
    caches = ', '.join(f'{name} {size >> 10:,} KiB'
                       for name, size in m['caches'].items())
    memory = f'{m["memory"] / (1 << 30):.0f} GiB' if m['memory'] else 'unknown'
    rows = [('command', f'`{results["command"]}`'),
            ('date', f'{m["date"]}, {m.get("seconds", 0) / 60:.0f} min'),
            ('processor', f'{m["model"]}, {m["cores"]} cores'
                          + (f' ({caches})' if caches else '')),
            ('memory', memory),
            ('system', f'{m["system"]}, {m["compiler"]}'),
            ('CPython', m['python']),
            ('commit', m['commit'] or 'unknown'),
            ('load average at the start', f'{m["load"]:.2f}'),
            ('CPU used by others', shares(m))]
    return table(('', ''), rows) + warning(m)


def shares(m):
    words = [f'{m[key]:.1%} {when}' for key, when in (
        ('busy', 'at the start'), ('others', 'over the run'),
        ('stolen', 'taken by the host')) if m.get(key) is not None]
    return ', '.join(words) or 'unknown'


def warning(m):
    if max(m.get(key) or 0 for key in ('busy', 'others', 'stolen')) <= BUSY:
        return []
    return ['**Warning: the machine was busy with other things. These numbers '
            'wander; measure again on a quiet one.**', '']


def bound_lines(results):
    rows = [(what, as_ratio(value), as_ratio(limit),
             'not measured' if value is None else 'yes' if met else '**no**')
            for what, limit, value, met in judged(results)]
    return table(('what', 'measured', 'at most', 'met'), rows)


COMPARED = (('release', 'stock-release'), ('release', 'stock-release-tuned'),
            ('debug', 'stock-debug'), ('release-lto', 'stock-release-lto'),
            ('release-lto', 'stock-release-lto-tuned'),
            ('stock-release-tuned', 'stock-release'),
            ('stock-release-lto-tuned', 'stock-release-lto'),
            ('release', 'stock-debug'), ('stock-debug', 'stock-release'),
            ('stock-trace-refs', 'stock-debug'),
            ('stock-trace-refs', 'stock-release'),
            ('tracemalloc-1', 'stock-release'),
            ('tracemalloc-25', 'stock-release'))


def compared(section):
    """Yield (title, results of one, results of the other) of what is there."""
    for one, other in COMPARED:
        if one in section and other in section:
            yield (f'{NAMES.get(one, one)} / {other}',
                   section[one], section[other])


def suite_ratio_rows(section):
    for title, one, other in compared(section):
        a, b = one['user'], other['user']
        yield (title,
               as_ratio(stats.ratio(a, b)),
               as_ratio(stats.ratio(a, b, of=stats.median)),
               as_range(stats.spread(a, b)),
               as_ratio(stats.ratio(one['rss'], other['rss'])))


def suite_lines(section):
    rounds = len(next(iter(section.values()))['user'])
    lines = [f'CPython\'s own training workload, {rounds} '
             f'round{"s" * (rounds > 1)}. A build with the map and its stock one '
             'run at once on one CPU, between which the kernel alternates every '
             'few milliseconds: what makes the machine slower, or faster, does so '
             'to both. Other rows compare runs that were minutes apart. User CPU '
             'seconds of all processes, and the largest resident set of one of '
             'them. Ratios of the minima and of the medians; the spread is that of '
             'single rounds.', '']
    lines += table(('', 'minima', 'medians', 'spread', 'peak memory'),
                   suite_ratio_rows(section))
    rows = []
    for variant, found in section.items():
        low, middle = stats.summary(found['user'])
        rows.append((variant, f'{low:.1f}', f'{middle:.1f}',
                     f'{min(found["rss"]) / MIB:.0f}'))
    lines += table(('interpreter', 'minimum', 'median', 'peak MiB'), rows)
    failed = [v for v in section if any(section[v]['status'])]
    if failed:
        lines += [f'Some tests failed in: {", ".join(failed)}.', '']
    return lines


def mean_rows(section):
    for title, a, b in compared(section):
        name, ratio = stats.worst(a, b)
        yield (title,
               as_ratio(stats.geomean_ratio(a, b)),
               as_ratio(stats.geomean_ratio(a, b, of=stats.median)),
               as_range(stats.geomean_spread(a, b)),
               f'{name} {as_ratio(ratio)}')


def said_rounds(rounds):
    """Of {peer: its number of rounds}: one number, or those that have fewer too."""
    most = max(rounds.values())
    fewer = [f'{n} of {name}' for name, n in rounds.items() if n < most]
    return f'{most} rounds' + (f' (the first {", ".join(fewer)})' if fewer else '')


def small_lines(section):
    peers = list(section)
    rounds = {p: len(next(iter(section[p].values()))) for p in peers}
    others = [p for p in peers if p != 'stock-release']
    lines = [f'{len(section[peers[0]])} small programs, {said_rounds(rounds)}: CPU '
             'seconds without start-up. Geometric means of the ratios of the '
             'minima and of the medians; the spread is that of the means of '
             'single rounds. The evaluation loop of the variants with the map is '
             'compiled with other flags than that of stock CPython, that of the '
             '*tuned* ones with the same: against these only the map counts.', '']
    lines += table(('', 'minima', 'medians', 'spread', 'worst workload'),
                   mean_rows(section))
    if 'stock-release' not in section:
        return lines
    rows = []
    for name, times in section['stock-release'].items():
        low, middle = stats.summary(times)
        rows.append([name, f'{low:.3f}', f'{middle:.3f}'] + [
            as_ratio(stats.ratio(section[p][name], times)) for p in others])
    lines += ['The seconds of stock-release, and the ratios of the others to '
              'it (minima):', '']
    return lines + table(['workload', 'minimum', 'median', *others], rows)


def snapshot_lines(section):
    heaps = section['heaps']
    changes = sorted({k for found in heaps.values() for k in found['diff']},
                     key=int)
    rows = []
    for n, found in heaps.items():
        row = [f'{int(n):,}']
        base = min(found['collect'])
        row.append(as_time(base))
        for times in [found['snapshot'], found['drop']] + [
                found['diff'].get(k) for k in changes]:
            row.append(f'{as_time(min(times))} ({as_ratio(min(times) / base)})'
                       if times else '-')
        rows.append(row)
    lines = ['In the release variant, minima; in parentheses the ratio to '
             '`gc.collect()` on the same heap. All objects were touched before '
             'the snapshot. *Drop* is of a snapshot of which every page was '
             'copied since. A diff is `sys.refmap_diff(before, None, '
             'file=None)` after that many objects, far apart, got a reference '
             'more.', '']
    return lines + table(['objects', 'gc.collect()', 'snapshot', 'drop']
                         + [f'diff, {int(k):,} changed' for k in changes],
                         rows) + block_lines(section.get('blocks'))


def block_lines(found):
    if not found:
        return []
    rows = [(f'{found["objects"]:,}', as_time(min(found['untouched'])),
             as_time(min(found['touched'])))]
    return ['Objects of 3 kB, nearly each on a page of its own: '
            '`sys.refmap_snapshot()` where it replaces the baseline, and drops the '
            'old one, with nothing touched since that was taken and with all '
            'objects touched; minima.', '',
            *table(('objects', 'untouched', 'touched'), rows)]


def memory_lines(section):
    variants, rows = section['variants'], []
    rss = {v: found['rss'] for v, found in variants.items()}
    for v, found in variants.items():
        stock = v if v.startswith('stock-') else 'stock-' + v
        per_object = (f'{found["map bytes"] / found["map objects"]:.1f}'
                      if 'map bytes' in found else '-')
        rows.append((v, per_object, f'{min(rss[v]) / MIB:.0f}',
                     versus(rss, v, stock)))
    lines = [f'A heap of {section["objects"]:,} objects, built and visited '
             'once. The map is that of all objects of the process.', '']
    return lines + table(('interpreter', 'bytes of map per object',
                          'peak MiB', '/ its stock'), rows)


def startup_lines(section):
    variants, rows = list(section), []
    for name in section[variants[0]]:
        times = {v: section[v][name] for v in variants}
        rows.append([f'`{name}`'] + [
            f'{as_time(min(times[v]))} ({versus(times, v, "stock-release")})'
            for v in variants])
    count = len(next(iter(section[variants[0]].values())))
    lines = [f'User and system CPU, the least of {count}; in parentheses the '
             'ratio to stock-release. The import is of asyncio, json, re, '
             'unittest, email.message and http.client.', '']
    return lines + table(['', *variants], rows)


def heap_ratio(found, one, other, figure):
    return stats.ratio(found[one][figure], found[other][figure])


def heap_rows(heaps, one, other):
    for kind, n, found in visiting.each(heaps):
        row = [f'{n:,} {kind}']
        for figure in visiting.STEADY:
            ratio = heap_ratio(found, one, other, figure)
            mark = '**' if ratio > HEAP_LIMIT else ''
            row += [as_time(min(found[other][figure])),
                    f'{mark}{as_ratio(ratio)}{mark}']
        yield row + [as_ratio(heap_ratio(found, one, other, figure))
                     for figure in ('first pass', 'build', 'rss')]


def heap_summary(heaps, one, other):
    """One sentence about the ratios that have a bound."""
    (kind, n, figure), worst = visiting.worst(heaps, one, other)
    ratios = visiting.ratios(heaps, one, other).values()
    above = sum(ratio > HEAP_LIMIT for ratio in ratios)
    return (f'{one} / {other}: geometric mean '
            f'{as_ratio(visiting.geomean(heaps, one, other))}, worst '
            f'{as_ratio(worst)} ({n:,} {kind}, {figure}), {above} of {len(ratios)} '
            f'above {HEAP_LIMIT}.')


def heap_lines(section):
    heaps, rounds = section['heaps'], section['rounds']
    lines = [f'Heaps of objects of one kind, {rounds} round{"s" * (rounds > 1)} '
             f'(one less of more than {visiting.LARGE:,} objects), each in a '
             'process of its own: CPU time per object of passes that '
             f'read something of each object (mean of {section["passes"]} passes '
             'or more), of the first pass after the build, and of the build; and '
             'the peak memory. Times are those of the stock interpreter, all else '
             'is a ratio to it.', '']
    for one, other in section['pairs']:
        lines += [heap_summary(heaps, one, other), '']
        lines += table(('heap', 'in order', 'ratio', 'random order', 'ratio',
                        'first pass', 'build', 'peak memory'),
                       heap_rows(heaps, one, other))
    return lines


def actual_rows(kinds):
    for kind, sizes in kinds.items():
        for n, found in sizes.items():
            sizes_each = (found[name] / found['objects'] for name in
                          ('bytes agree', 'bytes differ', 'bytes of another'))
            yield (f'{int(n):,} {kind}',
                   *(f'{actual_nanoseconds(found, name):.1f}'
                     for name in ACTUAL),
                   *(f'{size:.1f}' for size in sizes_each))


def actual_lines(section):
    head = ('heap', 'ns, all agree', 'ns, touched', 'ns, all differ',
            'bytes, all agree', 'bytes, all differ', 'bytes of one more')
    lines = ['What a snapshot of true counts takes beyond one of the map, for each '
             'object that lives: CPU time, and memory while it is kept. *All agree*: '
             'the map has the same counts. *Touched*: the same, and all objects of '
             'the heap were visited since the snapshot before. *All differ*: each has '
             'a reference that the map does not know. *One more*: another snapshot, '
             'nothing having changed.', '']
    for variant, kinds in section.items():
        lines += [f'`{variant}`:', '', *table(head, actual_rows(kinds))]
    return lines


def log_rows(programs):
    """Rows of (way, program, time without a log, ratio, bytes per event)."""
    for way in dict.fromkeys(w for ways in programs.values() for w in ways if w):
        for program, ways in programs.items():
            if way not in ways:
                continue
            alone, found = min(ways['']['seconds']), ways[way]
            events = found.get('events')
            yield (way, program, as_time(alone),
                   f'{log_ratios(programs, way)[program]:.2f}',
                   f'{found["bytes"] / events:.1f}' if events else '-')


def log_lines(section):
    lines = ['CPU time of a program with an event log, as a ratio to the program '
             'without one, minimum of the rounds; and bytes per event of the file, '
             'names and all. The programs are functions of '
             'Tools/refmap/bench/eventlog.py.', '']
    for variant, programs in section.items():
        lines += [f'`{variant}`:', '',
                  *table(('log', 'program', 'without', 'ratio', 'bytes per event'),
                         log_rows(programs))]
    return lines


def orders(variants):
    """The orders of visiting that all variants were measured in."""
    first = next(iter(variants.values()))
    return [name for name, value in first.items() if isinstance(value, list)]


def live_rows(live):
    for n, variants in live.items():
        row = [f'{int(n):,}']
        for order in orders(variants):
            times = {v: found[order] for v, found in variants.items()}
            row.append(' : '.join(as_time(min(t)) for t in times.values())
                       + f' ({versus(times, "release", "stock-release")})')
        size = variants.get('release', {})
        row.append(f'{size["map bytes"] / size["map objects"]:.1f}'
                   if 'map bytes' in size else '-')
        yield row


def live_lines(live):
    if not live:
        return []
    first = next(iter(live.values()))
    head = ['objects', *orders(first), 'bytes of map per object']
    return ['Half of the objects are instances with slots, half the floats that '
            'they hold. *In order* and *random order* are a bare loop over a list '
            'of them, in which nothing but a reference comes and goes; '
            '*attributes* reads an attribute of every second one. Time per object, '
            f'{" : ".join(first)}, and the ratio:', '',
            *table(head, live_rows(live))]


def cache_lines(results):
    """From how many objects on the caches are too small."""
    live = results['scale']['live']
    sizes = live[max(live, key=int)].get('release', {}) if live else {}
    if 'map bytes' not in sizes or not results['machine']['caches']:
        return []
    both = heap.OBJECT_BYTES + sizes['map bytes'] / sizes['map objects']
    rows = [(f'{name}, {size >> 10:,} KiB', f'{size // heap.OBJECT_BYTES:,}',
             f'{int(size / both):,}')
            for name, size in results['machine']['caches'].items()]
    return ['Where the curves bend: so many objects (with the list of them) '
            'fill a cache, alone and together with the map.', '',
            *table(('cache', 'objects', 'objects and map'), rows)]


def retained_lines(retained):
    if not retained:
        return []
    rows = [(f'{int(k):,}', as_time(found.get('snapshot')),
             as_time(found['first pass']), as_time(found['second pass']),
             f'{found["bytes"] / MIB:.0f}')
            for k, found in retained['counts'].items()]
    return [f'Retained snapshots of {retained["objects"]:,} objects, of which '
            f'{retained["changed"]:,} changed between two: the time of one more '
            'snapshot, the time per object of the first pass over all objects '
            'after it (every page is copied) and of a later pass, and the '
            'memory of the map and all snapshots. Each row\'s first pass adds '
            'one copy of every page to the memory of the next row. '
            f'Dropping them all took {as_time(retained["drop all"])}.', '',
            *table(('snapshots', 'snapshot', 'first pass', 'later pass', 'MiB'),
                   rows)]


TITLES = {'a': '(a) `python -m test --pgo`', 'b': '(b) Small workloads',
          'c': '(c) Snapshots and diffs', 'd': '(d) Memory',
          'e': '(e) Start-up and imports',
          'f': '(f) Heaps, in order and in random order',
          'g': '(g) True counts', 'h': '(h) Event logs',
          'scale': 'Scale'}
LINES = {'a': suite_lines, 'b': small_lines, 'c': snapshot_lines,
         'd': memory_lines, 'e': startup_lines, 'f': heap_lines,
         'g': actual_lines, 'h': log_lines}


def section_lines(results, name):
    if not results.get(name):
        return ['Not measured in this run.', '']
    if name == 'scale':
        scale = results['scale']
        return (live_lines(scale['live']) + cache_lines(results)
                + retained_lines(scale['retained']))
    return LINES[name](results[name])


INTRODUCTION = '''\
# Benchmarks

Written by the command below from what it measured; nothing here was typed in. What
there is to say about the numbers is in
[Tools/refmap/bench/notes.md](../Tools/refmap/bench/notes.md). All interpreters are
built from the same source and measured interleaved. Ratios are of the minimum over
the rounds, where nothing else is said: the minimum is what a disturbed machine
spoils least.
'''


def document(results):
    """The whole document as one string."""
    lines = [INTRODUCTION]
    lines += machine_lines(results)
    lines += ['## What was to be reached', '', *bound_lines(results)]
    lines += ['![The same numbers as curves](benchmarks.svg)', '']
    for name, title in TITLES.items():
        lines += ['## ' + title, '', *section_lines(results, name)]
    if results['skipped']:
        lines += ['## Left out', '',
                  *('* ' + sentence for sentence in results['skipped']), '']
    return '\n'.join(lines).rstrip() + '\n'
