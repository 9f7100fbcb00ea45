"""Known findings that are not to be reported again: --refmap-suppress FILE.

A line of the file names a type, optionally a test, and why:

    TYPE in TEST  # the reason
    TYPE          # the reason

TYPE and TEST are patterns as of the fnmatch module, and case matters. A rule
without a reason is an error. Blank lines, and lines that are only a comment,
are skipped.
"""

import fnmatch
import io
import os
import stat

# What a file of rules may hold, in bytes.
MAX_SIZE = 1 << 20


class Error(Exception):
    """A line is no rule; str() says which one and why."""


def parse_line(line):
    """Return [type pattern, test pattern, reason], or None for no rule."""
    rule, mark, reason = line.partition('#')
    rule, reason = rule.strip(), reason.strip()
    if not rule:
        return None
    if not mark or not reason:
        raise Error('a rule needs a comment that says why: TYPE in TEST # why')
    type_pattern, separator, test_pattern = rule.rpartition(' in ')
    if not separator:
        type_pattern, test_pattern = rule, '*'
    if 'in' in (rule.split()[0], rule.split()[-1]):
        raise Error('a rule is TYPE in TEST # why')
    return [type_pattern.strip(), test_pattern.strip(), reason]


def parse(lines, name='<rules>'):
    """Return the rules of a file: lists of three strings, fit for JSON.

    lines -- an iterable of strings
    name -- the file, for messages
    Raise Error for the first line that is no rule.
    """
    rules = []
    for number, line in enumerate(lines, 1):
        try:
            rule = parse_line(line)
        except Error as exc:
            raise Error(f'{name}:{number}: {exc}') from None
        if rule is not None:
            rules.append(rule)
    return rules


def read_bytes(path):
    """Return what a file holds. Raise OSError, or Error if it is none that has
    an end, or too large."""
    # Does not wait for somebody to write into a FIFO.
    fd = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0))
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
            raise Error(f'{path}: not a regular file')
        with open(fd, 'rb', closefd=False) as file:
            data = file.read(MAX_SIZE + 1) or b''
    finally:
        os.close(fd)
    if len(data) > MAX_SIZE:
        raise Error(f'{path}: larger than {MAX_SIZE >> 20} MiB')
    return data


def read(path):
    """Return the rules of the file at `path`. Raise Error or OSError."""
    try:
        # Some editors begin a file with a byte order mark.
        text = read_bytes(path).decode('utf-8-sig')
    except UnicodeDecodeError as exc:
        raise Error(f'{path}: not UTF-8: {exc.reason}, byte {exc.start}') \
            from None
    return parse(io.StringIO(text, newline=None), path)


def find(rules, type_name, test_name):
    """Return the index of the first rule that matches, or None."""
    for index, (type_pattern, test_pattern, _reason) in enumerate(rules):
        if (fnmatch.fnmatchcase(type_name, type_pattern)
                and fnmatch.fnmatchcase(test_name, test_pattern)):
            return index
    return None


def apply(rules, findings, test_name):
    """Mark the findings that a rule matches.

    rules -- as parse() returns them
    findings -- the dicts of judge.judge()['types'], changed in place: a
                suppressed one gets the key 'suppressed', the reason
    Return the sorted indexes of the rules that were used.
    """
    used = set()
    for finding in findings:
        index = find(rules, finding['type'], test_name)
        if index is not None:
            finding['suppressed'] = rules[index][2]
            used.add(index)
    return sorted(used)


def unused(rules, used):
    """Return a line for each rule whose index is not in `used`."""
    return [f'{type_pattern} in {test_pattern}  # {reason}'
            for index, (type_pattern, test_pattern, reason) in enumerate(rules)
            if index not in used]
