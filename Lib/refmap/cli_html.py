"""python -m refmap html: a report for a browser from what --json wrote."""

import argparse
import json

from . import cli, saferepr


def line_number(text):
    """Return the number of a line, from 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f'{saferepr.safe_repr(text)} is not the number of a line')
    return number


def add_parser(commands):
    """Add the parser of this command; see cli.py."""
    parser = commands.add_parser(
        'html', help='make a report for a browser of saved findings',
        description='Make an HTML report of what --json or --refmap-json wrote. '
                    'Lines of source are read from the files that are here.',
        epilog='Exit code: 0 the report was written, 2 it was not.')
    parser.add_argument('--line', type=line_number, metavar='N',
                        help='the line of FINDINGS (default: the last)')
    parser.add_argument('findings', metavar='FINDINGS',
                        help='a file that --json wrote')
    parser.add_argument('report', metavar='REPORT', help='the file to write')
    parser.set_defaults(run=run, check=check, noun='report')


def check(parser, options):
    """No usage is bad that the parser accepts."""


def read_line(path, number):
    """Return a line of a file, by default the last one with text. Raise Failed
    or OSError."""
    with open(path, encoding='utf-8') as file:
        lines = [line for line in file if line.strip()]
    wanted = number or len(lines)
    if not 0 < wanted <= len(lines):
        raise cli.Failed(f'{path} has no line {wanted}' if number else
                         f'{path} is empty')
    return lines[wanted - 1]


def run(options, messages):
    """Run the command; see cli.py."""
    try:
        line = read_line(options.findings, options.line)
        cli.replace(options.report, cli.html_text(json.loads(line)))
    except OSError as exc:
        raise cli.Failed(str(exc)) from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError,
            TypeError, ValueError) as exc:
        raise cli.Failed(f'{options.findings} has no findings as --json writes '
                         f'them: {saferepr.safe_repr(exc)}') from None
    return cli.EXIT_CLEAN, None, None
