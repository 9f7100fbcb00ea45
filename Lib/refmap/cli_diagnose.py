"""python -m refmap diagnose: find the C function that leaks."""

import json

from . import cli, cli_crash, hunting, judge, measure, program
from .cli import EXIT_CLEAN, EXIT_LEAK, EXIT_USAGE


def add_parser(commands):
    """Add the parser of this command."""
    parser = commands.add_parser(
        'diagnose', help='run a program repeatedly and find who leaks',
        usage='python -m refmap diagnose [options] [--] SCRIPT [ARG...]\n'
              '       python -m refmap diagnose [options] -m MODULE [ARG...]',
        description='Run a program several times in one process. If it leaks, '
                    'record what happens to the leaked objects in further '
                    'runs, and name the C functions that are to blame.',
        epilog='Exit code: 0 no leak, 1 a leak or an over-decref, 2 no '
               'verdict: bad usage, or the program failed.')
    cli.add_runs(parser)
    cli.add_common(parser, 'diagnosis')
    parser.add_argument('--sarif', metavar='FILE',
                        help='write the suspects to FILE as SARIF 2.1.0')
    parser.add_argument('--junit', metavar='FILE',
                        help='write the diagnosis to FILE as JUnit XML')
    parser.add_argument('--github', action='store_true',
                        help='print the suspects as annotations of GitHub')
    cli.add_program(parser)
    parser.set_defaults(run=run, check=cli.check_program, noun='diagnosis')


# --- output ------------------------------------------------------------------

def case_of(diagnosis, options):
    """Return the diagnosis as the reports for machines take it."""
    from .who import rules
    return rules.Case(
        name=diagnosis.findings['test'], suspects=diagnosis.suspects,
        leaks=is_failure(diagnosis.verdict), notes=diagnosis.notes,
        file=options.script[0] if options.script else '',
        line=1 if options.script else 0,
        seconds=sum(diagnosis.seconds[name]
                    for name in ('hunt', 'recording', 'analysis')))


def is_failure(verdict):
    """Does the command fail for it?"""
    return verdict in (judge.ERROR, judge.LEAK)


def json_text(diagnosis, _case):
    return json.dumps(diagnosis.to_json()) + '\n'


def sarif_text(_diagnosis, case):
    from .who import sarif
    return json.dumps(sarif.document([case]), indent=1) + '\n'


def junit_text(_diagnosis, case):
    from .who import junit
    return junit.junit([case]) + '\n'


def html_text(diagnosis, _case):
    return cli.html_text(diagnosis.to_json())


# Option, the function that makes its text, the one that writes it.
_FILES = [
    ('json', json_text, cli.append),
    ('sarif', sarif_text, cli.overwrite),
    ('junit', junit_text, cli.overwrite),
    ('html', html_text, cli.replace),
]


def show(diagnosis, options, target, messages):
    """Print what there is to say."""
    if options.quiet and diagnosis.verdict == judge.CLEAN:
        return
    program.say_status(target, messages)
    messages.say(str(diagnosis))
    if options.github:
        from .who import annotations
        for line in annotations.document([case_of(diagnosis, options)]):
            messages.say(line)


def write(diagnosis, options):
    """Write the files; return a sentence if one can't be written, or None."""
    reason = cli.write(options, _FILES, diagnosis, case_of(diagnosis, options))
    return f'the diagnosis cannot be written: {reason}' if reason else None


def write_early(findings, options):
    """Write the files of a program whose process died, as write() does."""
    from .who import diagnosis as who
    diagnosis = who.Diagnosis(findings)
    diagnosis.notes.append(f'the process died {findings["died"]}, so nobody was found')
    return write(diagnosis, options)


def run(options, messages):
    """Run the command; see cli.py."""
    from .who import diagnosis as who

    target, name, rules = program.prepare(options, messages,
                                          [name for name, *_ in _FILES])
    recorder = measure.Recorder(*options.counts)
    with cli_crash.attended(recorder, name, rules, messages,
                            lambda found: write_early(found, options),
                            cli.progress_of(options, messages)) as finished:
        findings = who.hunt(target, recorder, hunting.clean_up, rules, finished, name)
        diagnosis = who.investigate(target, findings)
    verdict = diagnosis.verdict
    show(diagnosis, options, target, messages)
    reason = write(diagnosis, options)
    if reason:
        return EXIT_USAGE, reason, verdict
    return (EXIT_LEAK if is_failure(verdict) else EXIT_CLEAN), None, verdict
