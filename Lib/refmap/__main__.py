"""python -m refmap: the commands, and how each of them ends."""

import argparse
import atexit
import os
import sys

import refmap
from refmap import (cli, cli_bisect, cli_diagnose, cli_html, cli_hunt, cli_log,
                    judge, report, saferepr)

# Each is a module as cli.py describes it.
COMMANDS = [cli_hunt, cli_diagnose, cli_bisect, cli_html, cli_log]


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m refmap', description=refmap.__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def parse(argv):
    """Return the options for the arguments `argv`. May exit."""
    parser = make_parser()
    options = parser.parse_args(argv)
    options.check(parser, options)
    return options


def main(argv=None):
    """Run the command line; return the exit code. May exit for bad usage."""
    messages = cli.Messages(sys.stderr)
    options = parse(argv)
    verdict = None
    try:
        code, reason, verdict = options.run(options, messages)
    except cli.Failed as exc:
        code, reason = cli.EXIT_USAGE, str(exc)
    except BaseException as exc:
        # Such as MemoryError, or Ctrl-C.
        code = cli.EXIT_USAGE
        reason = f'the {options.noun} failed: {saferepr.safe_repr(exc)}'
    if verdict == judge.ERROR:
        atexit._run_exitfuncs()
    sys.stdout, lost = cli.drain(sys.__stdout__, 1)
    if lost and not reason:
        code = cli.EXIT_USAGE
        reason = f'the output of the program cannot be written: {lost}'
    if reason:
        messages.say(report.escape(f'refmap: {reason}'))
    sys.stderr, _ = cli.drain(sys.__stderr__, 2)
    if verdict == judge.ERROR:
        # Objects that lost references are not safe to destroy: the interpreter
        # might crash, and the exit code say something else.
        os._exit(code)
    return code


if __name__ == '__main__':
    sys.exit(main())
