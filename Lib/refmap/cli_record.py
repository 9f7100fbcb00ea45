"""python -m refmap log record: run a program once, and write its event log."""

import refmap
from . import cli, program
from .cli import EXIT_CLEAN, EXIT_LEAK


def add_action(actions):
    """Add the parser of this action of `log`."""
    parser = actions.add_parser(
        'record', help='run a program, and write its log',
        description='Run a program once, with an event log of all its threads '
                    'and children.',
        epilog='Exit code: 0; 1 if the program exited with a failure; 2 if it '
               'raised an exception, or the log cannot be written.')
    parser.set_defaults(run=record, check=check, noun='recording')
    parser.add_argument('-o', dest='out', metavar='FILE',
                        help='default: a name with date and pid')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--profile', action='store_true',
                      help='resident memory at calls and returns, not objects')
    what.add_argument('--trace', action='store_true',
                      help='resident memory at lines, not objects')
    parser.add_argument('--d-rss-trigger', type=int, default=-1, metavar='BYTES',
                        help='with --profile or --trace: the change that makes an '
                             'event worth writing; default: -1, a page; 0: all are')
    for name, text in (('include', 'only'), ('exclude', 'not')):
        parser.add_argument(f'--{name}', action='append', default=[],
                            metavar='GLOB', help=f'{text} these types')
    parser.add_argument('--builtins', action='store_true',
                        help='also builtin types that are not included')
    parser.add_argument('--references', action='store_true',
                        help='also increfs and decrefs')
    parser.add_argument('--stack', type=int, default=1, metavar='N',
                        help='Python frames of each event; default: 1')
    cli.add_program(parser)


def check(parser, options):
    """Refuse what can't be run, or logged."""
    cli.check_program(parser, options)
    if not 0 <= options.stack <= 64:
        parser.error('--stack takes a number from 0 to 64')
    if options.d_rss_trigger < -1:
        parser.error('--d-rss-trigger takes bytes, 0 or -1')


def _make_log(options):
    if options.profile or options.trace:
        kind = refmap.Profile if options.profile else refmap.Trace
        return kind(options.out, d_rss_trigger=options.d_rss_trigger,
                    references=options.references)
    return refmap.EventLog(options.out, include=options.include or None,
                           exclude=options.exclude, builtins=options.builtins,
                           references=options.references, stack=options.stack)


def _keeping(run, kept):
    """Return a function that does what `run` does, and appends its result."""
    return lambda: kept.append(run())


def record(options, messages):
    """Run `log record`; see cli.py."""
    run, _, _ = program.prepare(options, messages, ())
    # What the globals hold at the end is not deleted: the log is over by then.
    kept = []
    run.run = _keeping(run.run, kept)
    log = _make_log(options)
    try:
        log.begin()
    except OSError as exc:
        raise cli.Failed(f'{log.path} cannot be written: {exc.strerror or exc}'
                         ) from None
    try:
        run()
    finally:
        log.end()
        if log.error is None:
            messages.say(f'refmap: {log.path} was written')
    program.say_status(run, messages)
    return (EXIT_CLEAN if run.status is None else EXIT_LEAK), None, None
