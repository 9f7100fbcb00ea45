"""python -m refmap log: read an event log, which needs no map, or write one."""

import importlib
import json
import os
import sys

from . import cli, cli_record, report
from .cli import EXIT_CLEAN, EXIT_USAGE

# What the reader needs of the language.
OLDEST_PYTHON = 3, 11


def add_parser(commands):
    """Add the parser of this command."""
    parser = commands.add_parser(
        'log', help='write an event log, or read one',
        description='Write an event log, or read what refmap.EventLog, Profile '
                    'or Trace wrote, in any interpreter.',
        epilog='Exit code: 0, or 2 if a log cannot be read, or the output '
               'cannot be written.')
    actions = parser.add_subparsers(dest='action', required=True)
    cli_record.add_action(actions)
    _add_show(actions)
    _add_analyse(actions)
    _add_export(actions)


def check(parser, options):
    """Refuse an interpreter that is too old."""
    if sys.version_info < OLDEST_PYTHON:
        parser.error('reading a log needs Python %d.%d' % OLDEST_PYTHON)


def _add_action(actions, name, run, **texts):
    parser = actions.add_parser(name, **texts)
    parser.set_defaults(run=run, check=check, noun='reading of the log')
    return parser


def _add_show(actions):
    parser = _add_action(actions, 'show', show, help='print the events',
                         description='Print the events of a log, one a line.')
    parser.add_argument('file', metavar='FILE')
    parser.add_argument('-f', '--follow', action='store_true',
                        help='go on until the log is closed, or its writer '
                             'gone')


def _add_analyse(actions):
    parser = _add_action(
        actions, 'analyse', analyse, help='say what stayed alive',
        description='Say which objects were alive at the end and where they '
                    'were made, how long the others lived, and what does not '
                    'add up.')
    _add_selection(parser)
    parser.add_argument('--limit', type=_row_count, default=20, metavar='N',
                        help='rows of each table; default: 20')
    parser.add_argument('--json', metavar='OUT',
                        help='write all of it to OUT; -: print it')


def _add_export(actions):
    parser = _add_action(
        actions, 'export', export, help='write a file for a viewer',
        description='Write a log for a viewer.')
    parser.add_argument('--to', required=True, choices=sorted(_FORMATS),
                        help='the format')
    parser.add_argument('-o', dest='out', metavar='OUT',
                        help='where to; default: FILE with the ending of the '
                             'format')
    _add_selection(parser)


def _add_selection(parser):
    """Add the logs, and what chooses objects in them."""
    parser.add_argument('files', nargs='+', metavar='FILE')
    group = parser.add_argument_group(
        'objects', 'An object is chosen by the first event that the logs have '
                   'of it, which is its birth as a rule.')
    for name, what in (('type', 'of these types'), ('file', 'made in these '
                       'files'), ('function', 'made in these functions')):
        group.add_argument(f'--{name}', action='append', default=[],
                           metavar='GLOB', help=f'{what}; may be repeated')
    for name in 'since', 'until':
        group.add_argument(f'--{name}', type=float, metavar='SECONDS',
                           help=f'made {name} then, by the clock of the logs')
    group.add_argument('--thread', type=int, metavar='N',
                       help='made by this thread')


def _row_count(text):
    count = int(text)
    if count < 1:
        raise ValueError
    return count


# --- what the actions do -----------------------------------------------------

class _Opened:
    """The Logs of a command line: a context manager. May raise cli.Failed."""

    def __init__(self, paths):
        self._paths = paths
        self.logs = []

    def __enter__(self):
        from .log import events
        try:
            for path in self._paths:
                self.logs.append(_readable(events.Log, path))
        except BaseException:
            self.__exit__()
            raise
        return self.logs

    def __exit__(self, *exc_info):
        for log in self.logs:
            log.close()


def _readable(read, path):
    """Return read(path). Raise cli.Failed if it is no log."""
    from .log.kinds import LogError
    try:
        return read(path)
    except LogError as exc:
        raise cli.Failed(f'{path}: {exc}') from None
    except OSError as exc:
        raise cli.Failed(f'{path} cannot be read: {exc.strerror or exc}'
                         ) from None


def _print(lines, flush=False):
    """Print lines until somebody has seen enough."""
    encoding = sys.stdout.encoding or 'utf-8'
    try:
        for line in lines:
            print(line.encode(encoding, 'backslashreplace').decode(encoding),
                  flush=flush)
    except (BrokenPipeError, KeyboardInterrupt):
        # What is left goes nowhere.
        sys.stdout, _ = cli.drain(sys.stdout, 1)


def show(options, messages):
    """Run `log show`; see cli.py."""
    from .log import show as table
    from .log.kinds import LogError
    with _Opened([options.file]) as [log]:
        try:
            _print(table.show(log, options.follow), options.follow)
        except LogError as exc:
            return _end(f'{options.file}: {exc}')
    return _end(None)


def _selection(options):
    from .log.selection import Selection
    return Selection(options.type, options.file, options.function,
                     options.since, options.until, options.thread)


def analyse(options, messages):
    """Run `log analyse`; see cli.py."""
    from .log import analysis, report as texts
    with _Opened(options.files) as logs:
        found = texts.to_json(analysis.analyse(logs, _selection(options)))
    if options.json == '-':
        _print([json.dumps(found)])
    else:
        _print(texts.lines(found, options.limit))
        if options.json not in (None, '-'):
            data = json.dumps(found).encode() + b'\n'
            _write(options.json, logs, lambda out: out.write(data))
    return _end(found['error'])


def _end(error):
    return (EXIT_USAGE if error else EXIT_CLEAN), error, None


# --- files for viewers -------------------------------------------------------

# {name: (ending of the file, module below refmap)}. A module has
# write(analysis, logs, out): what they are given is an analysis.Analysis, the
# Logs, whose events can be read again, and a binary file.
_FORMATS = {
    'html': ('.html', 'html.log'),
    'perfetto': ('.perfetto.json', 'log.perfetto'),
    'pprof': ('.pb.gz', 'log.pprof'),
    'speedscope': ('.speedscope.json', 'log.speedscope'),
}


def export(options, messages):
    """Run `log export`; see cli.py."""
    from .log.analysis import analyse
    ending, module = _FORMATS[options.to]
    writer = importlib.import_module(f'.{module}', __package__)
    path = options.out or options.files[0] + ending
    with _Opened(options.files) as logs:
        found = analyse(logs, _selection(options))
        _write(path, logs, lambda out: writer.write(found, logs, out))
    messages.say(report.escape(f'refmap: {path} was written'))
    return _end(found.error)


def _is_same(path, other):
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False            # the one does not exist yet


def _write(path, logs, write):
    """Call write(a binary file) to write a file as a whole. Raise cli.Failed
    if that can't be, or it is one of the Logs, which must not be lost by a
    slip."""
    if any(_is_same(path, log.path) for log in logs):
        raise cli.Failed(f'{path} is one of the logs')
    try:
        cli.replace_by(path, write)
    except OSError as exc:
        raise cli.Failed(f'{path} cannot be written: {exc.strerror or exc}'
                         ) from None
