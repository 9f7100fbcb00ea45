"""python -m refmap hunt: find the objects that a program leaks."""

import functools
import json
import os

from . import (cli, hunting, judge, lastwords, measure, program, report,
               suppress)
from .cli import EXIT_CLEAN, EXIT_LEAK, EXIT_USAGE
from .witness import Witness

# pytest keeps objects of each session, so that clean tests seem to leak.
PYTEST = ('refmap: pytest keeps objects of each session; to judge test by test: '
          'python -m pytest -p refmap.pytest_plugin --refmap-leaks')


def add_parser(commands):
    """Add the parser of this command."""
    parser = commands.add_parser(
        'hunt', help='run a program repeatedly and find what it leaks',
        usage='python -m refmap hunt [options] [--] SCRIPT [ARG...]\n'
              '       python -m refmap hunt [options] -m MODULE [ARG...]',
        description='Run a program several times in one process, and report '
                    'the objects that it leaks.',
        epilog='Exit code: 0 no leak, 1 a leak or an over-decref, 2 no '
               'verdict: bad usage, or the program failed.')
    cli.add_runs(parser)
    parser.add_argument('--raw', action='store_true',
                        help='list all references that changed in the last run')
    parser.add_argument('--strict', action='store_true',
                        help='exit with 1 for suspicious objects, too')
    cli.add_common(parser, 'findings')
    cli.add_program(parser)
    parser.set_defaults(run=run, check=cli.check_program, noun='hunt')


def show(result, options, target, rules, messages):
    """Print what there is to say about a result."""
    if options.quiet and result['verdict'] == judge.CLEAN:
        return
    program.say_status(target, messages)
    messages.say('\n'.join(report.lines(result)))
    unused = suppress.unused(rules, result['rules'])
    if unused:
        messages.say('refmap: suppressions that matched nothing:')
    for line in unused:
        messages.say(report.escape(f'  {line}'))


def json_text(result):
    return json.dumps(result) + '\n'


NOT_WRITTEN = 'the findings cannot be written'

# Option, the function that makes its text, the one that writes it.
_FILES = [
    ('json', json_text, cli.append),
    ('html', cli.html_text, cli.replace),
]


def testify_of(recorder, name, rules, options, messages):
    """Return what a Witness calls when the program's process has died: it reports the
    `done` runs before."""
    count = sum(options.counts)

    def testify(crashed, done):
        where = f'in run {done + 1} of {count}'
        found = hunting.conclude_early(recorder, done, name, where, rules,
                                       options.raw)
        text = '\n'.join(report.lines(found)) + '\n' if found else ''
        messages.say(lastwords.of_death(f'{where} of {report.escape(name)}', text,
                                        crashed), end='')
        reason = cli.write(options, _FILES, found) if found else None
        if reason:
            messages.say(report.escape(f'refmap: {NOT_WRITTEN}: {reason}'))

    return testify


def record(target, recorder, witness, progress):
    """Call a Program as often as a Recorder wants, with a Witness of each run."""
    def finished(done):
        witness.renew(done)
        if progress is not None:
            progress(done)

    real = os._exit
    # Without it the exit code might be that of a program without leaks.
    os._exit = functools.partial(witness.exit, code=EXIT_USAGE)
    try:
        witness.renew(0)
        for _ in hunting.turns(recorder, progress=finished):
            target()
    finally:
        os._exit = real
        witness.dismiss()


def run(options, messages):
    """Run the command; see cli.py."""
    target, name, rules = program.prepare(options, messages,
                                          [name for name, *_ in _FILES])
    if options.module and options.module[0] == 'pytest':
        messages.say(PYTEST)
    recorder = measure.Recorder(*options.counts)
    witness = Witness(testify_of(recorder, name, rules, options, messages))
    record(target, recorder, witness, cli.progress_of(options, messages))
    result = hunting.conclude(recorder, name, rules, raw=options.raw)
    verdict = result['verdict']
    show(result, options, target, rules, messages)
    reason = cli.write(options, _FILES, result)
    if reason:
        return EXIT_USAGE, f'{NOT_WRITTEN}: {reason}', verdict
    failing = {judge.ERROR, judge.LEAK}
    if options.strict:
        failing.add(judge.SUSPICIOUS)
    return EXIT_LEAK if verdict in failing else EXIT_CLEAN, None, verdict
