"""What was diagnosed as JUnit XML: a test case each, failed if it leaks."""

from xml.etree import ElementTree

from . import rules
from ..report import escape

# What can be printed can be in XML; all else is escaped.


def failure_of(case):
    """Return (type, message, text) of why a case fails."""
    notes = map(escape, case.notes)
    if not case.suspects:
        return 'leak', rules.nobody(case), '\n'.join(notes)
    lines = []
    for suspect in case.suspects:
        place = (f'{escape(suspect.file)}:{suspect.line}: '
                 if rules.has_source(suspect) else '')
        lines += [place + rules.message(suspect), *rules.steps(suspect), '']
    first = case.suspects[0]
    return (escape(first.rule), rules.message(first),
            '\n'.join([*lines, *notes]).rstrip())


def test_case(case, classname):
    """Return the element for one rules.Case."""
    attributes = {'classname': escape(classname), 'name': escape(case.name)}
    if rules.has_source(case):
        attributes.update(file=escape(case.file), line=str(case.line))
    if case.seconds is not None:
        attributes['time'] = f'{case.seconds:.3f}'
    element = ElementTree.Element('testcase', attributes)
    if rules.leaks(case):
        kind, message, text = failure_of(case)
        failure = ElementTree.SubElement(element, 'failure', type=kind,
                                         message=message)
        failure.text = text
    return element


def junit(cases, *, suite='refmap'):
    """Return the XML, a str, of several rules.Cases.

    suite -- the name of the test suite, and of the class of its test cases
    """
    cases = list(cases)
    counts = {'tests': str(len(cases)), 'errors': '0', 'skipped': '0',
              'failures': str(sum(map(rules.leaks, cases))),
              'time': f'{sum(case.seconds or 0 for case in cases):.3f}'}
    root = ElementTree.Element('testsuites')
    element = ElementTree.SubElement(root, 'testsuite', name=escape(suite),
                                     **counts)
    element.extend(test_case(case, suite) for case in cases)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding='unicode',
                                xml_declaration=True) + '\n'
