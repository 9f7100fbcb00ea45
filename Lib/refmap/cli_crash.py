"""What the commands that run a program again and again say if its process dies."""

import contextlib

from . import hunting, lastwords, report
from .cli import EXIT_USAGE
from .witness import Witness


@contextlib.contextmanager
def attended(recorder, name, rules, messages, write, progress=None, raw=False):
    """Report the finished runs if the process dies in the block.

    recorder -- a measure.Recorder
    name, rules, raw -- as of hunting.conclude()
    write -- called with the findings, to write files; returns a sentence if it failed
    progress -- called with the number of finished runs, too
    Yield what is to be called with the number of finished runs.
    """
    count = recorder.warmups + recorder.runs

    def testify(crashed, done):
        where = (f'in run {done + 1} of {count}' if done < count
                 else 'while it was recorded')
        found = hunting.conclude_early(recorder, done, name, where, rules, raw)
        text = '\n'.join(report.lines(found)) + '\n' if found else ''
        messages.say(lastwords.of_death(f'{where} of {report.escape(name)}', text,
                                        crashed), end='')
        reason = write(found) if found else None
        if reason:
            messages.say(report.escape(f'refmap: {reason}'))

    witness = Witness(testify)

    def finished(done):
        witness.renew(done)
        if progress is not None:
            progress(done)

    # The exit code of os._exit() might be that of a program without leaks.
    with witness.attend(EXIT_USAGE):
        yield finished
