"""python -m refmap bisect: find the commit from which on a program leaks."""

import argparse
import os

from . import cli

# Where the sources of refmap are, if no option says it.
SOURCES_VARIABLE = 'REFMAP_SOURCES'


def add_parser(commands):
    """Add the parser of this command; see cli.py."""
    parser = commands.add_parser(
        'bisect', help='find the commit from which on a program leaks',
        usage='python -m refmap bisect [options] GOOD BAD -- SCRIPT [ARG...]\n'
              '       python -m refmap bisect [options] GOOD BAD -- -m test ARG...',
        description='Build commits of a git checkout of CPython with refmap, hunt '
                    'in each, and find the one from which on the same type leaks.',
        epilog='Exit code: 0 the commit was found, 2 it was not.')
    parser.add_argument('--repo', metavar='DIR', default='.',
                        help='a git checkout of CPython (default: here)')
    parser.add_argument('--refmap', metavar='DIR', default=os.environ.get(SOURCES_VARIABLE),
                        help='the sources of refmap, which put it into a checkout '
                             f'(default: ${SOURCES_VARIABLE})')
    parser.add_argument('--type', metavar='NAME', action='append',
                        help='the type that must leak (default: those that leak in BAD)')
    parser.add_argument('--work', metavar='DIR',
                        help='where to build; it is kept (default: a temporary one)')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1,
                        help="of make (default: the number of processors)")
    parser.add_argument('--configure', metavar='ARGS', default='',
                        help="more arguments for configure")
    cli.add_runs(parser)
    parser.add_argument('good', metavar='GOOD', help='a commit that does not leak')
    parser.add_argument('bad', metavar='BAD', help='a later one that does')
    parser.add_argument('program', nargs=argparse.REMAINDER, metavar='PROGRAM',
                        help='-m test and its arguments, -m MODULE, or a script')
    parser.set_defaults(run=run, check=check, noun='bisection')


def check(parser, options):
    """Refuse bad usage."""
    if options.program[:1] == ['--']:
        del options.program[0]
    if not options.program or options.program == ['-m']:
        parser.error('bisect needs a program, such as: GOOD BAD -- -m test test_list')
    if not options.refmap:
        parser.error('the sources of refmap are not known: say --refmap DIR, or set '
                     f'{SOURCES_VARIABLE}')
    apply = os.path.join('Tools', 'refmap', 'patches', 'apply')
    if not os.path.isfile(os.path.join(options.refmap, apply)):
        parser.error(f'{options.refmap} has no {apply}: it does not hold the sources '
                     'of refmap')


def run(options, messages):
    """Run the command; see cli.py."""
    # Not above: what it imports is no part of programs that are hunted.
    from . import bisect
    bisect.run(options, messages)
    return cli.EXIT_CLEAN, None, None
