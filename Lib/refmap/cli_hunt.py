"""python -m refmap hunt: find the objects that a program leaks."""

import json

from . import cli, cli_crash, hunting, judge, measure, program, report, suppress
from .cli import EXIT_CLEAN, EXIT_LEAK, EXIT_USAGE

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


# Option, the function that makes its text, the one that writes it.
_FILES = [
    ('json', json_text, cli.append),
    ('html', cli.html_text, cli.replace),
]


def write(result, options):
    """Write the files; return a sentence if one can't be written, or None."""
    reason = cli.write(options, _FILES, result)
    return f'the findings cannot be written: {reason}' if reason else None


def measure_program(target, name, rules, options, messages):
    """Call a Program as often as the options say; return a measure.Recorder. If its
    process dies the runs before are reported."""
    recorder = measure.Recorder(*options.counts)
    with cli_crash.attended(recorder, name, rules, messages,
                            lambda found: write(found, options),
                            cli.progress_of(options, messages),
                            options.raw) as finished:
        for _ in hunting.turns(recorder, progress=finished):
            target()
    return recorder


def run(options, messages):
    """Run the command; see cli.py."""
    target, name, rules = program.prepare(options, messages,
                                          [name for name, *_ in _FILES])
    if options.module and options.module[0] == 'pytest':
        messages.say(PYTEST)
    recorder = measure_program(target, name, rules, options, messages)
    result = hunting.conclude(recorder, name, rules, raw=options.raw)
    verdict = result['verdict']
    show(result, options, target, rules, messages)
    reason = write(result, options)
    if reason:
        return EXIT_USAGE, reason, verdict
    failing = {judge.ERROR, judge.LEAK}
    if options.strict:
        failing.add(judge.SUSPICIOUS)
    return EXIT_LEAK if verdict in failing else EXIT_CLEAN, None, verdict
