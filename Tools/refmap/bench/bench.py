"""Time refmap against stock CPython, and write Doc/benchmarks.md.

usage: bench.py X.Y --build DIR [option...]     (Tools/refmap/bench/run)
       bench.py --report-only FILE.json [--output DIR]

Needs the interpreters DIR/X.Y-VARIANT/python, and CPython 3.9 or later to run
this script. Progress goes to stderr.
"""

import argparse
import json
import os
import sys
import tempfile
import time

import machine
import plot
import report
import sections
import visiting
from process import Failure

ROOT = os.path.normpath(os.path.join(sections.HERE, '..', '..', '..'))


class Run:
    """One run: its options, its interpreters and its results so far."""

    rounds = 16                 # of the small workloads; costly peers have fewer
    suite_rounds = 2            # of the test suite; each takes minutes
    suite_tests = ()            # all that --pgo stands for
    repeat = 5
    startup_rounds = 30
    workload_scale = 10
    sizes = (10**4, 10**5, 10**6, 10**7)
    memory_objects = 10**6
    block_objects = 3 * 10**5
    heap_sizes = visiting.SIZES
    heap_rounds = 3
    heap_passes = 2
    actual_sizes = (10**4, 10**5, 10**6)
    log_objects = 2 * 10**5
    log_rounds = 20             # of some tens of milliseconds each
    retained_objects = 10**6
    retained = (0, 1, 3, 10, 30, 100, 300, 1000)

    def __init__(self, options):
        self.version = options.version
        self.build = options.build
        self.json = options.json
        self.variants = options.variants
        self.section = '-'
        self.begin = time.monotonic()
        self.results = {'skipped': []}
        self.scratch = None
        if options.quick:
            self.be_quick()
        self.rounds = options.rounds or self.rounds
        self.suite_rounds = options.suite_rounds or self.suite_rounds

    def be_quick(self):
        """Only show that all works; the numbers mean little."""
        self.rounds = self.repeat = 2
        self.suite_rounds = 1
        self.startup_rounds = 3
        self.workload_scale = 1
        self.suite_tests = ('test_bisect', 'test_list')
        self.sizes = (10**4, 10**5)
        self.memory_objects = 10**5
        self.block_objects = 10**4
        self.heap_sizes = (10**4,)
        self.heap_rounds = self.heap_passes = 1
        self.actual_sizes = (10**4,)
        self.log_objects = 10**4
        self.log_rounds = 2
        self.retained_objects = 10**4
        self.retained = (0, 1, 10, 30)

    def python(self, variant):
        """The interpreter of a variant; Failure if it was not built."""
        path = os.path.join(self.build, f'{self.version}-{variant}', 'python')
        if not os.access(path, os.X_OK):
            raise Failure(f'the variant {variant} is missing; build it by '
                          f'Tools/refmap/build/build {self.version} {variant}')
        return path

    def say(self, text):
        elapsed = time.monotonic() - self.begin
        print(f'bench: {elapsed:6.0f} s ({self.section}) {text}',
              file=sys.stderr, flush=True)

    def skip(self, sentence):
        self.results['skipped'].append(sentence)
        self.say('skipped: ' + sentence)

    def save(self):
        """Write what there is; an interrupted run leaves its finished part."""
        if self.json:
            with open(self.json + '.new', 'w') as file:
                json.dump(self.results, file, indent=1)
            os.replace(self.json + '.new', self.json)

    def measure(self, names):
        for variant in self.variants:
            self.python(variant)
        # A file that can't be written shows now, not after an hour.
        self.save()
        self.results['machine'] = machine.describe(ROOT)
        self.results['machine']['busy'] = machine.busy_now()
        watch = machine.Watch()
        for name in names:
            self.section = name
            self.results[name] = sections.SECTIONS[name](self)
            self.results['machine']['others'] = watch.busy()
            self.results['machine']['stolen'] = watch.stolen()
            self.results['machine']['seconds'] = time.monotonic() - self.begin
            self.save()


def listed(known):
    """An argument type: a comma-separated list of known words."""
    def parse(text):
        words = text.split(',')
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError(
                    f'{word!r} is none of {",".join(known)}')
        # In their usual order, each once.
        return [word for word in known if word in words]
    return parse


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is less than 1')
    return int(text)


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog='run', usage='run X.Y [option...]', allow_abbrev=False)
    parser.add_argument('version', nargs='?', help=argparse.SUPPRESS)
    parser.add_argument('--build', help=argparse.SUPPRESS)
    parser.add_argument('--rounds', type=positive, metavar='N',
                        help=f'of the workloads (default: {Run.rounds})')
    parser.add_argument('--suite-rounds', type=positive, metavar='N',
                        help='of python -m test --pgo (default: '
                             f'{Run.suite_rounds}; one takes 6 minutes or so)')
    parser.add_argument('--only', type=listed(list(sections.SECTIONS)),
                        default=list(sections.SECTIONS), metavar='a,b,...',
                        help='some of ' + ','.join(sections.SECTIONS))
    parser.add_argument('--variants', metavar='V,...',
                        type=listed(sections.VARIANTS + sections.MORE_VARIANTS),
                        default=list(sections.VARIANTS),
                        help='some of ' + ','.join(sections.VARIANTS)
                             + ' (the default), or of '
                             + ','.join(sections.MORE_VARIANTS))
    parser.add_argument('--quick', action='store_true',
                        help='a trial of a minute or two')
    parser.add_argument('--no-build', action='store_true',
                        help='measure the interpreters that are there')
    parser.add_argument('--json', metavar='FILE', help='the raw results')
    parser.add_argument('--report-only', metavar='FILE',
                        help='measure nothing, report these raw results')
    parser.add_argument('--output', metavar='DIR',
                        help='where the report goes (default: Doc after a whole '
                             'run, else beside the raw results)')
    options = parser.parse_args(argv)
    if not options.report_only and not (options.version and options.build):
        parser.error('X.Y and --build are needed')
    return options


def command_of(options):
    """The command that repeats the measurement, without paths."""
    words = ['Tools/refmap/bench/run', options.version]
    for name in ('rounds', 'suite_rounds'):
        if getattr(options, name):
            words += ['--' + name.replace('_', '-'), str(getattr(options, name))]
    if len(options.only) < len(sections.SECTIONS):
        words += ['--only', ','.join(options.only)]
    if options.variants != list(sections.VARIANTS):
        words += ['--variants', ','.join(options.variants)]
    if options.quick:
        words.append('--quick')
    return ' '.join(words) if len(words) > 2 else 'make bench'


def is_whole(options):
    return (not options.quick and len(options.only) == len(sections.SECTIONS)
            and set(options.variants) >= set(sections.VARIANTS))


def write_report(results, directory):
    """Write benchmarks.md and benchmarks.svg."""
    os.makedirs(directory, exist_ok=True)
    for name, text in (('benchmarks.svg', plot.figure(results)),
                       ('benchmarks.md', report.document(results))):
        path = os.path.join(directory, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        print('bench: wrote ' + os.path.relpath(path), file=sys.stderr)


def measure(options):
    """Measure, and return the results."""
    if options.json is None:
        options.json = os.path.join(options.build, 'bench',
                                    options.version + '.json')
        os.makedirs(os.path.dirname(options.json), exist_ok=True)
    run = Run(options)
    run.results.update(command=command_of(options), version=options.version)
    with tempfile.TemporaryDirectory(prefix='refmap-bench-') as run.scratch:
        run.measure(options.only)
    return run.results


def main(argv):
    options = parse_arguments(argv)
    try:
        if options.report_only:
            with open(options.report_only) as file:
                results = json.load(file)
            directory = options.output or os.path.dirname(
                os.path.abspath(options.report_only))
        else:
            results = measure(options)
            directory = options.output or (
                os.path.join(ROOT, 'Doc') if is_whole(options)
                else os.path.dirname(os.path.abspath(options.json)))
        write_report(results, directory)
    except (Failure, OSError, json.JSONDecodeError) as error:
        print(f'bench: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('bench: interrupted', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
