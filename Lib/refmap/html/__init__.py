"""Reports for people who look at them in a browser: one file, no network.

markup.py       elements and text; here everything is escaped and bounded
page.py         the document around a report
parts.py        tables, figures, what can be folded away
layers.py, graph.py, chart.py, flame.py     drawings, as SVG
source.py       lines of source files
hunt.py, diagnosis.py, suite.py     what a report has, each from the dicts that
                --json writes
log.py          the same for an event log
reports.py      which of them it is
style.css, script.js    how it looks; what it needs a script for
"""
