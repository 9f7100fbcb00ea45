"""What `python -m test` does with the map: the --refmap-* options and -R.

libregrtest imports this module only where there is a map, and calls

    add_arguments(), check_arguments()  when it parses its command line
    before_test(), after_test()         in the process that runs a test file
    collect(), conclude()               in the main process, for each test file
                                        and at the end

Only -R needs refmap_hunt.py, which records the runs of a test file, and the
package refmap. The options travel to worker processes as the dict
RunTests.refmap, and the findings of a test file come back as the dict
TestResult.refmap.
"""

import contextlib
import json
import os
import sys

# How many differing objects a message names.
MAX_SHOWN = 20
# In the directory of --refmap-html: what the list has to say of test files whose
# workers died, one JSON array a line. The main process takes it in.
DIED = '.died'


# --- options ---------------------------------------------------------------

# --refmap-NAME, with hyphens: what it does. Those that take no value are keys of
# the options, where they are given.
_FLAGS = {
    'verify': 'after each test file, fail it unless the reference counts in the '
              'map add up to sys.gettotalrefcount() and equal those in the '
              'objects',
    'raw': 'with -R: list all references that changed in the last run',
    'no_bisect': 'with -R: do not search for the test methods that leak',
    'no_who': 'with -R: do not search for the C functions that leak in these '
              'methods',
    'strict': 'with -R: fail a test file for what only its objects show, too',
}
# Name of the value, and what the option does.
_PATHS = {
    'json': ('FILE', 'with -R: write the findings of each test file to FILE, one '
                     'JSON object a line'),
    'html': ('DIR', 'with -R: write reports for a browser to DIR, of each test '
                    'file that is not clean, and index.html'),
    'suppress': ('FILE', 'with -R: do not report the findings that the rules in '
                         'FILE match'),
}


def add_arguments(parser):
    """Add the --refmap-* options to regrtest's argparse parser."""
    group = parser.add_argument_group(
        'Refcount map', 'These need an interpreter that was configured '
        '--with-refcount-map. There -R reports the objects that leak.')
    for name, text in _FLAGS.items():
        group.add_argument(f'--refmap-{name.replace("_", "-")}',
                           action='store_true', help=text)
    for name, (value, text) in _PATHS.items():
        group.add_argument(f'--refmap-{name}', metavar=value, help=text)


def check_arguments(parser, ns):
    """Set ns.refmap to the options in force, or to None if there are none."""
    options = {name: True for name in _FLAGS if getattr(ns, f'refmap_{name}')}
    for name in 'json', 'html':
        path = getattr(ns, f'refmap_{name}')
        if path is not None:
            options[name] = os.path.abspath(path)
    if ns.refmap_suppress is not None:
        options['suppress'] = ns.refmap_suppress
    # test.bisect_cmd gives --refmap-no-bisect to all of its runs.
    if set(options) - {'verify', 'no_bisect'} and not ns.huntrleaks:
        parser.error('the --refmap-* options other than --refmap-verify '
                     'need -R')
    if ns.huntrleaks:
        options['hunt'] = True
        check_hunt(parser, ns.huntrleaks, options)
    ns.refmap = options or None


def check_hunt(parser, huntrleaks, options):
    """Read the rules, and make sure that the findings can be written."""
    from .refmap_hunt import load_package
    load_package()
    from refmap import hunting, report, suppress
    try:
        hunting.check_counts(*huntrleaks[:2])
        if 'suppress' in options:
            options['rules'] = suppress.read(options.pop('suppress'))
        if 'json' in options:
            open(options['json'], 'w', encoding='utf-8').close()
        if 'html' in options:
            os.makedirs(options['html'], exist_ok=True)
            forget_died(options['html'])
    except (OSError, ValueError, suppress.Error) as exc:
        parser.error(report.escape(f'refmap: {exc}'))


# --- before and after a test file --------------------------------------------

def before_test(test_name, runtests):
    """Get ready for what runtests.refmap asks for."""
    if 'hunt' in runtests.refmap:
        from . import refmap_hunt
        refmap_hunt.begin(test_name, runtests)


def after_test(result, runtests):
    """Do what runtests.refmap asks for when a test file has run.

    result -- libregrtest.result.TestResult, changed in place: a test that
              passed fails if the map is wrong after it; the findings of a hunt
              are stored in it
    """
    if runtests.refmap.get('verify'):
        problems = verification_problems()
        if problems:
            fail(result, problems)
    if 'hunt' in runtests.refmap:
        from . import refmap_hunt
        refmap_hunt.report_last(result, runtests)


def verification_problems():
    """Return what is wrong with the map now, as a list of lines."""
    info = sys.refmap_info()
    differing = sys.refmap_verify()
    problems = []
    if info.mapped + info.unattributed != info.total:
        problems.append(
            f'the map holds {info.mapped} references and {info.unattributed} '
            f'are unattributed, but the total is {info.total}')
    if info.untracked:
        problems.append(f'memory was short {info.untracked} times')
    for address, type_name, mapped, refcnt in differing[:MAX_SHOWN]:
        problems.append(f'{address:#x} ({type_name}): the map counts {mapped}, '
                        f'ob_refcnt is {refcnt}')
    if len(differing) > MAX_SHOWN:
        problems.append(f'... and {len(differing) - MAX_SHOWN} more objects')
    return problems


def fail(result, problems):
    """Print the problems, and let the test fail because of them."""
    from .refmap_hunt import report
    for problem in problems:
        print(report.escape(f'{result.test_name}: refmap: {problem}'),
              file=sys.stderr)
    sys.stderr.flush()
    if not result.state or not result.is_failed(fail_env_changed=False):
        result.state = 'FAILED'
        result.errors = [*(result.errors or []),
                         (f'refmap ({result.test_name})', '\n'.join(problems))]


# --- the main process --------------------------------------------------------

class Collected:
    """What the main process knows of all test files."""

    def __init__(self):
        self.used = set()           # indexes of rules
        self.errors = []            # names of test files
        self.suspicious = []
        # Option -> names of test files whose findings were not written.
        self.lost = {'json': [], 'html': []}
        self.reason = {}            # why
        self.entries = []           # of the list of reports


_collected = Collected()


def collect(result, runtests):
    """Take the findings of one test file; write them where --refmap-json and
    --refmap-html say."""
    findings = result.refmap
    _collected.used.update(findings['rules'])
    if findings['verdict'] == 'error':
        _collected.errors.append(result.test_name)
    elif findings['verdict'] == 'suspicious':
        _collected.suspicious.append(result.test_name)
    for name, exc in write(findings, runtests, write_html):
        # The tests go on, and conclude() tells.
        _collected.lost[name].append(result.test_name)
        _collected.reason[name] = exc


def write(findings, runtests, html):
    """Write the findings of one test file where the options say.

    html -- the function for --refmap-html: write_html(), or write_died()
    Return [(name of the option, OSError)] of what can't be written.
    """
    findings = {**findings, 'rerun': runtests.rerun}
    failures = []
    for name, write in ('json', write_json), ('html', html):
        if name in runtests.refmap:
            try:
                write(runtests.refmap[name], findings)
            except OSError as exc:
                failures.append((name, exc))
    return failures


def write_json(path, findings):
    """Append the findings of a test file. Raise OSError."""
    with open(path, 'a', encoding='utf-8') as file:
        file.write(json.dumps(findings) + '\n')


def write_html(directory, findings):
    """Write the report of a test file, unless it is clean, and the list of all
    so far: it is there when the run is stopped, too. Raise OSError."""
    from refmap.html import suite

    name = None
    if findings['verdict'] != 'clean' or 'died' in findings:
        name = write_page(directory, findings)
    _collected.entries.append(suite.entry(findings, name))
    write_index(directory)


def write_died(directory, findings):
    """Write the report of a test file whose worker died, and leave its line of
    the list to the main process. Raise OSError."""
    from refmap.html import suite

    entry = suite.entry(findings, write_page(directory, findings))
    with open(os.path.join(directory, DIED), 'a', encoding='utf-8') as file:
        file.write(json.dumps(entry) + '\n')


def died_entries(directory):
    """Return what write_died() left, a list of suite.Entry. A line that was cut
    off, as the disk was full, is left out: its worker said so. Raise OSError."""
    from refmap.html import suite

    entries = []
    with contextlib.suppress(FileNotFoundError):
        with open(os.path.join(directory, DIED), encoding='utf-8') as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    entries.append(suite.Entry(*json.loads(line)))
    return entries


def forget_died(directory):
    """There is nothing of write_died() any more. Raise OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, DIED))


def write_index(directory):
    """Write the list of reports so far. Raise OSError."""
    from refmap import cli
    from refmap.html import page, suite

    entries = _collected.entries + died_entries(directory)
    cli.replace(os.path.join(directory, 'index.html'),
                page.document(suite.index(entries)))


def finish_index(directory):
    """Put the test files whose workers died into the list of reports. Raise
    OSError."""
    if died_entries(directory):
        write_index(directory)
        forget_died(directory)


def write_page(directory, findings):
    """Write the report of a test file; return its name. Raise OSError."""
    from refmap import cli
    from refmap.html import page, suite

    name = f'{findings["test"]}{"-rerun" if findings["rerun"] else ""}.html'
    cli.replace(os.path.join(directory, name),
                page.document(suite.make(findings)))
    return name


def conclude(options):
    """Print what is to be said about all test files.

    options -- RunTests.refmap
    """
    if 'hunt' not in options:
        return
    from refmap import report, suppress
    lines = []
    if 'html' in options:
        try:
            finish_index(options['html'])
        except OSError as exc:
            lines.append(f'refmap: cannot write {options["html"]}: '
                         f'{exc.strerror}; the list lacks test files')
    for title in 'errors', 'suspicious':
        names = sorted(set(getattr(_collected, title)))
        if names:
            lines.append(f'refmap: {title}: {" ".join(names)}')
    unused = suppress.unused(options.get('rules', ()), _collected.used)
    if unused:
        lines.append('refmap: suppressions that matched nothing:')
        lines += ['    ' + line for line in unused]
    for name, lost in _collected.lost.items():
        if lost:
            lines.append(f'refmap: cannot write {options[name]}: '
                         f'{_collected.reason[name].strerror}; the findings of '
                         f'{report.plural(len(lost), "test file")} are lost')
    if lines:
        print()
    for line in lines:
        print(report.escape(line))
