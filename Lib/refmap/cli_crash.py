"""What the commands that run a program again and again say if its process dies."""

from . import hunting, lastwords, report
from .witness import Witness


def witness_of(recorder, name, rules, messages, write, raw=False):
    """Return a Witness that reports the finished runs if the process dies; its renew()
    takes their number.

    recorder -- a measure.Recorder
    name, rules, raw -- as of hunting.conclude()
    write -- called with the findings, to write files; returns a sentence if it failed
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

    return Witness(testify)


def renewing(witness, progress=None):
    """Return what is to be called with the number of finished runs."""
    def finished(done):
        witness.renew(done)
        if progress is not None:
            progress(done)

    return finished
