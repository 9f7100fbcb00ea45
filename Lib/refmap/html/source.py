"""Lines of source files, as far as the files are here.

A report may be made of findings from elsewhere. Only what has the name of a
source file is read, so that nobody finds other files of theirs in it.
"""

import os
import stat
import sysconfig

from .markup import Markup, element, shown

SUFFIXES = ('.c', '.cc', '.cpp', '.cxx', '.h', '.hh', '.hpp', '.m', '.mm',
            '.py', '.pyi', '.pyx', '.pxd', '.pxi', '.rs', '.inc')
# Bytes of a file that are read, characters of a line that are shown.
MAX_SIZE = 1 << 22
MAX_LINE = 160
# Lines before and after the one in question; lines of an excerpt.
AROUND = 3
MAX_EXCERPT = 24


def candidates(file):
    """Yield the paths where a file may be that a report names."""
    if os.path.isabs(file):
        yield file
        return
    yield file
    if file.startswith('Lib/'):
        yield os.path.join(sysconfig.get_path('stdlib'), file[4:])
    root = sysconfig.get_config_var('srcdir')
    if root:
        yield os.path.join(root, file)


def read(path):
    """Return the lines of a file, or None."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read(MAX_SIZE).split('\n')
    except (OSError, ValueError):
        return None


class Sources:
    """Source files that were read.

    read -- in place of read(), for tests
    """

    def __init__(self, read=read):
        self._read = read
        self._files = {}

    def lines(self, file):
        """Return the lines of a file as it is named in a report, or None."""
        if file not in self._files:
            self._files[file] = self._find(file)
        return self._files[file]

    def _find(self, file):
        if not file.endswith(SUFFIXES) or '..' in file.split('/'):
            return None
        for path in candidates(file):
            lines = self._read(path)
            if lines is not None:
                return lines
        return None

    def line(self, file, number):
        """Return one line without its indentation, or None."""
        lines = self.lines(file) if file else None
        if lines is None or not 0 < number <= len(lines):
            return None
        return lines[number - 1].strip() or None

    def excerpt(self, file, numbers):
        """Return the lines around some, which are marked; None if unknown.

        numbers -- of lines; those too far from the first are left out
        """
        lines = self.lines(file) if file else None
        if lines is None or not 0 < numbers[0] <= len(lines):
            return None
        room = MAX_EXCERPT - 2 * AROUND
        marked = {number for number in numbers
                  if abs(number - numbers[0]) < room // 2 + 1
                  and 0 < number <= len(lines)}
        first = max(1, min(marked) - AROUND)
        last = min(len(lines), max(marked) + AROUND)
        width = len(str(last))
        return element('pre', [
            source_line(number, width, lines[number - 1], number in marked)
            for number in range(first, last + 1)],
            class_='source', tabindex='0', role='region',
            aria_label=f'{file}, lines {first} to {last}')


def source_line(number, width, text, marked):
    """Return one line of an excerpt. The mark is a sign, not only a colour."""
    line = text.expandtabs(8).rstrip()
    return element('span', Markup('\u25b6 ' if marked else '  '),
                   element('span', f'{number:{width}}', class_='lineno'),
                   ' ', shown(line, MAX_LINE), Markup('\n'),
                   class_='marked' if marked else None)
