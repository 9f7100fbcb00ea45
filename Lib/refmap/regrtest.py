"""What `python -m test` does with the map: the --refmap-* options.

libregrtest calls add_arguments() and check_arguments() when it parses its
command line, and after_test() in the process that ran a test file. The options
travel to worker processes as the dict RunTests.refmap.
"""

import sys

import refmap

# How many differing objects a message names.
MAX_SHOWN = 20


def add_arguments(parser):
    """Add the --refmap-* options to regrtest's argparse parser."""
    group = parser.add_argument_group(
        'Refcount map', 'These need an interpreter that was configured '
        '--with-refcount-map.')
    group.add_argument('--refmap-verify', action='store_true',
                       help='after each test file, fail it unless the '
                            'reference counts in the map add up to '
                            'sys.gettotalrefcount() and equal those in the '
                            'objects')


def check_arguments(parser, ns):
    """Set ns.refmap to the options in force, or to None if there are none."""
    options = {}
    if getattr(ns, 'refmap_verify', False):
        options['verify'] = True
    if options and not refmap.available():
        parser.error('the --refmap-* options need an interpreter that was '
                     'configured --with-refcount-map')
    ns.refmap = options or None


def after_test(result, runtests):
    """Do what runtests.refmap asks for when a test file has run.

    result -- libregrtest.result.TestResult, changed in place: a test that
              passed fails if the map is wrong after it
    """
    if runtests.refmap.get('verify'):
        problems = verification_problems()
        if problems:
            fail(result, problems)


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
