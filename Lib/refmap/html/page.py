"""The document around a report: head, contents, style, script."""

import base64
import functools
import hashlib
import pkgutil
from collections import namedtuple

from .markup import Markup, element, shown

# How a verdict looks: a sign, as colours alone say nothing to many.
SIGNS = {'error': '\u2716', 'leak': '\u25cf', 'suspicious': '\u25b2',
         'clean': '\u2713'}

# kind -- of the report, such as 'hunt'
# title -- what was hunted, diagnosed or logged
# verdict -- one of SIGNS, or None
# lead -- what is to be known first: what content() takes
# sections -- a list of (id, what the contents call it or None, Markup of
#             parts.section())
Report = namedtuple('Report', 'kind title verdict lead sections')


@functools.cache
def resource(name):
    """Return the text of a file of this package."""
    return pkgutil.get_data(__package__, name).decode()


def digest(text):
    """Return the source expression that allows this style or script."""
    found = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(found).decode()}'"


def policy():
    """Return the Content-Security-Policy: nothing is loaded, and nothing runs
    but this one script."""
    return '; '.join([
        "default-src 'none'",
        f'style-src {digest(resource("style.css"))}',
        f'script-src {digest(resource("script.js"))}',
        "base-uri 'none'", "form-action 'none'"])


def head(report):
    """Return the head; the policy comes before all that it is about."""
    title = f'{report.verdict or report.kind}: {shown(report.title, 120)}'
    # A document is read as UTF-8 from here on.
    return element(
        'head', element('meta', charset='utf-8'),
        element('meta', http_equiv='Content-Security-Policy', content=policy()),
        element('meta', name='viewport',
                content='width=device-width, initial-scale=1'),
        element('meta', name='color-scheme', content='light dark'),
        element('meta', name='referrer', content='no-referrer'),
        element('title', f'{title} \u2013 refmap'),
        element('style', Markup(resource('style.css'))))


def badge(verdict):
    """Return a verdict: a sign and a word."""
    return element('strong', element('span', SIGNS.get(verdict, '\u25a0'),
                                     aria_hidden='true'), f' {verdict}',
                   class_='badge', data_verdict=verdict)


def masthead(report):
    """Return what is above everything: the verdict, and the cause."""
    verdict = badge(report.verdict) if report.verdict else None
    return element(
        'header',
        element('p', verdict, element('span', f'refmap {report.kind}',
                                      class_='kind'), class_='eyebrow'),
        element('h1', shown(report.title, 200)),
        element('div', report.lead, class_='lead'))


def contents(sections):
    """Return the links to the sections."""
    links = [element('li', element('a', heading, href=f'#{ident}'))
             for ident, heading, _ in sections if heading]
    return element('div', element('nav', element('ul', links),
                                  aria_label='Sections'), class_='bar')


def document(report):
    """Return a Report as the text of an HTML file."""
    body = element(
        'body', element('a', 'Skip to the report', href='#report',
                        class_='skip'),
        masthead(report), contents(report.sections),
        element('main', [part for _, _, part in report.sections], id='report',
                tabindex='-1'),
        element('footer', element('p', 'One file, made by refmap: it loads '
                                       'nothing from anywhere.')),
        element('script', Markup(resource('script.js'))))
    html = element('html', head(report), body, lang='en')
    return f'<!DOCTYPE html>\n{html}\n'
