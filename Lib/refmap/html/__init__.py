"""Reports for people who look at them in a browser: one file, no network.

markup.py       elements and text; here everything is escaped and bounded
page.py         the document around a report, and how it is written
parts.py        tables, figures, what can be folded away
graph.py, chart.py, flame.py    drawings, as SVG
source.py       lines of source files
hunt.py, diagnosis.py, log.py, suite.py     what a report has, each from the
                dicts that --json writes
style.css, script.js    how it looks; what it needs a script for
"""
