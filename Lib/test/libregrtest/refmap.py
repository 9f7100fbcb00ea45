"""What `python -m test` does with the map: the --refmap-* options and -R.

libregrtest calls

    add_arguments(), check_arguments()  when it parses its command line
    recorder()                          around the runs of one test file (-R)
    after_test()                        in the process that ran a test file
    collect(), conclude()               in the main process, for each test file
                                        and at the end

The options travel to worker processes as the dict RunTests.refmap, and the
findings of a test file come back as the dict TestResult.refmap.
"""

import json
import os.path
import sys

import refmap

# How many differing objects a message names.
MAX_SHOWN = 20

# The search for leaking methods may take as long as the hunt did, times this,
# or MIN_SEARCH seconds if that is more; but not more than a part of the timeout
# of the test file.
SEARCH_FACTOR = 3.0
MIN_SEARCH = 30.0
SEARCH_PART_OF_TIMEOUT = 0.4
MAX_SEARCH_WITH_TIMEOUT = 240.0


# --- options ---------------------------------------------------------------

def add_arguments(parser):
    """Add the --refmap-* options to regrtest's argparse parser."""
    group = parser.add_argument_group(
        'Refcount map', 'These need an interpreter that was configured '
        '--with-refcount-map. There -R reports the objects that leak.')
    group.add_argument('--refmap-verify', action='store_true',
                       help='after each test file, fail it unless the '
                            'reference counts in the map add up to '
                            'sys.gettotalrefcount() and equal those in the '
                            'objects')
    group.add_argument('--refmap-raw', action='store_true',
                       help='with -R: list all references that changed in '
                            'the last run')
    group.add_argument('--refmap-no-bisect', action='store_true',
                       help='with -R: do not search for the test methods '
                            'that leak')
    group.add_argument('--refmap-strict', action='store_true',
                       help='with -R: fail a test file for what only its '
                            'objects show, too')
    group.add_argument('--refmap-json', metavar='FILE',
                       help='with -R: write the findings of each test file '
                            'to FILE, one JSON object a line')
    group.add_argument('--refmap-suppress', metavar='FILE',
                       help='with -R: do not report the findings that the '
                            'rules in FILE match')


def check_arguments(parser, ns):
    """Set ns.refmap to the options in force, or to None if there are none."""
    options = {name: True for name in ('verify', 'raw', 'no_bisect', 'strict')
               if getattr(ns, f'refmap_{name}', False)}
    if getattr(ns, 'refmap_json', None):
        options['json'] = os.path.abspath(ns.refmap_json)
    if getattr(ns, 'refmap_suppress', None):
        options['suppress'] = ns.refmap_suppress
    if options and not refmap.available():
        parser.error('the --refmap-* options need an interpreter that was '
                     'configured --with-refcount-map')
    if set(options) - {'verify'} and not ns.huntrleaks:
        parser.error('the --refmap-* options other than --refmap-verify '
                     'need -R')
    if ns.huntrleaks and refmap.available():
        options['hunt'] = True
        read_files(parser, options)
    ns.refmap = options or None


def read_files(parser, options):
    """Read the rules, and make sure that the findings can be written."""
    from refmap import suppress
    try:
        if 'suppress' in options:
            options['rules'] = suppress.read(options.pop('suppress'))
        if 'json' in options:
            open(options['json'], 'w', encoding='utf-8').close()
    except (OSError, UnicodeError, suppress.Error) as exc:
        parser.error(f'refmap: {exc}')


def bisect_arguments():
    """Return the options that test.bisect_cmd gives to each of its runs."""
    return ['--refmap-no-bisect'] if refmap.available() else []


# --- the runs of one test file -----------------------------------------------

class NoRecorder:
    """Stands in for the Recorder below when there is no map."""

    def keep(self, result):
        return result

    def snapshot(self, i, *own):
        pass

    def finish(self, result, failed, sums, cleanup):
        return result


# The recorder of the last test file, until after_test() takes it.
_last = None


def recorder(hunt_refleak, quiet):
    """Return what records the runs of a test file.

    hunt_refleak -- libregrtest.runtests.HuntRefleak
    quiet -- do not show which run it is
    """
    global _last
    if not refmap.available():
        return NoRecorder()
    # Imported late: no test but those of -R needs it.
    from refmap.regrtest_hunt import RegrtestRecorder
    _last = RegrtestRecorder(hunt_refleak.warmups, hunt_refleak.runs, quiet)
    return _last


# --- after a test file -------------------------------------------------------

def after_test(result, runtests):
    """Do what runtests.refmap asks for when a test file has run.

    result -- libregrtest.result.TestResult, changed in place: a test that
              passed fails if the map is wrong after it; the findings of a hunt
              are stored in it
    """
    global _last
    last, _last = _last, None
    if runtests.refmap.get('verify'):
        problems = verification_problems()
        if problems:
            fail(result, problems)
    if last is not None and last.complete:
        from refmap import regrtest_hunt
        regrtest_hunt.report_test(last, result, runtests)


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
    for problem in problems:
        print(f'{result.test_name}: refmap: {problem}', file=sys.stderr)
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
        self.suspicious = []        # names of test files


_collected = Collected()


def collect(result, runtests):
    """Take the findings of one test file; write them to --refmap-json FILE."""
    findings = result.refmap
    if not runtests.refmap or not findings:
        return
    _collected.used.update(findings['rules'])
    if findings['verdict'] == 'suspicious':
        _collected.suspicious.append(result.test_name)
    if 'json' in runtests.refmap:
        line = json.dumps({**findings, 'rerun': runtests.rerun})
        with open(runtests.refmap['json'], 'a', encoding='utf-8') as file:
            file.write(line + '\n')


def conclude(options):
    """Print what is to be said about all test files.

    options -- RunTests.refmap
    """
    if not options or 'hunt' not in options:
        return
    from refmap import suppress
    names = sorted(set(_collected.suspicious))
    if names:
        print(f'\nrefmap: suspicious: {" ".join(names)}')
    unused = suppress.unused(options.get('rules', ()), _collected.used)
    if unused:
        print('\nrefmap: suppressions that matched nothing:')
        for line in unused:
            print(f'    {line}')
