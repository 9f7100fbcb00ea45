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
# Lines before and after those that are marked, of which there are so many.
AROUND = 3
MAX_MARKED = 4


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

        numbers -- of lines, the most important first
        """
        lines = self.lines(file) if file else None
        if lines is None or not 0 < numbers[0] <= len(lines):
            return None
        known = dict.fromkeys(n for n in numbers if 0 < n <= len(lines))
        marked = sorted(list(known)[:MAX_MARKED])
        wanted = sorted({number for mark in marked for number in range(
            max(1, mark - AROUND), min(len(lines), mark + AROUND) + 1)})
        width = len(str(wanted[-1]))
        shown, before = [], wanted[0] - 1
        for number in wanted:
            if number != before + 1:
                shown.append(element('span', Markup('\u22ee\n')))
            shown.append(source_line(number, width, lines[number - 1],
                                     number in marked))
            before = number
        return element('pre', shown, class_='source', tabindex='0',
                       role='region', aria_label=f'{file}, lines {wanted[0]} '
                                                 f'to {wanted[-1]}')


def source_line(number, width, text, marked):
    """Return one line of an excerpt. The mark is a sign, not only a colour."""
    line = text.expandtabs(8).rstrip()
    return element('span', Markup('\u25b6 ' if marked else '  '),
                   element('span', f'{number:{width}}', class_='lineno'),
                   ' ', shown(line, MAX_LINE), Markup('\n'),
                   class_='marked' if marked else None)
