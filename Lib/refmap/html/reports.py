"""From what --json wrote to an HTML document."""

from . import diagnosis, hunt, log, page, suite


def document(found):
    """Return the HTML of a report, a str.

    found -- the dict of a hunt, a diagnosis, a test file of regrtest, or the
             analysis of a log
    Its keys and their types are taken for what they should be: the exceptions
    of others are KeyError, TypeError and the like.
    """
    if 'suspects' in found:
        made = diagnosis.make(found)
    elif 'sums' in found:
        made = suite.make(found)
    elif 'logs' in found:
        made = log.make(found)
    else:
        made = hunt.make(found)
    return page.document(made)
