"""HTML reports of event logs: from literal logs, read by refmap.log."""

import io
import os
import tempfile
import unittest

from refmap.html import log as html_log
from refmap.log import analysis, events
from test.test_refmap import log_records
from test.test_refmap.test_html import HOSTILE, Document, ReportTestCase


def program(name='Node', function='f'):
    """Return a log of five lists, two of which die, and a Node. It begins with a
    message, and ends within a chunk."""
    log = log_records.Log(argv=['x.py'])
    log.thread(1)
    a_list, node = log.type('list', 56), log.type(name, 48)
    inner, outer = log.code(function, '/src/a.py', (10,)), log.code('main', 'm.py')
    place = log.place((inner, 0), (outer, 0))
    log.message(f'begin of {name}')
    for i in range(5):
        log.new(0x1000 + 64 * i, a_list, place)
    log.new(0x2000, node, place)
    for i in range(2):
        log.delete(0x1000 + 64 * i, a_list, place, i + 1)
    return log


class LogReportTests(ReportTestCase):

    def report(self, data):
        """Return the HTML of a log, bytes."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'x.log')
            with open(path, 'wb') as file:
                file.write(data)
            with events.Log(path) as log:
                out = io.BytesIO()
                html_log.write(analysis.analyse([log]), [log], out)
        return out.getvalue().decode()

    def test_report(self):
        text = self.report(bytes(program().end()))
        self.check(Document(text))
        self.assertIn('4 objects made and alive at the end', text)
        self.assertIn('begin of Node', text)
        # The outer frame is above the inner one.
        frames = [text.index(f'<title>{name}: 4 of 4')
                  for name in ('Py main (m.py:1)', 'Py f (/src/a.py:10)')]
        self.assertEqual(frames, sorted(frames))
        self.assertIn('<title>T list: 3 of 4, 75 %', text)

    def test_growth(self):
        text = self.report(bytes(program().end()))
        legend = text[text.index('class="legend"'):]
        self.assertLess(legend.index('<code>list</code> +3'),
                        legend.index('<code>Node</code> +1'))

    def test_nothing_is_alive(self):
        text = self.report(bytes(log_records.Log().end()))
        self.check(Document(text))
        self.assertIn('Nothing that was made is alive at the end.', text)

    def test_cut_off(self):
        data = bytes(program())
        for size in range(len(data) - 40, len(data)):
            text = self.report(data[:size])
            self.check(Document(text))
            self.assertIn('was cut off', text)

    def test_damaged(self):
        log = program()
        log.record(99)
        text = self.report(bytes(log))
        self.check(Document(text))
        self.assertIn('Not all could be read', text)
        self.assertIn('4 objects made and alive at the end', text)

    def test_hostile_names(self):
        for name in HOSTILE:
            if '\ud800' in name:
                continue        # no UTF-8, so in no log
            text = self.report(bytes(program(name, name).end()))
            self.check(Document(text))
            self.assertLess(len(text), 200_000)


if __name__ == '__main__':
    unittest.main()
