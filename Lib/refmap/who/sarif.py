"""Suspects as SARIF 2.1.0, for code scanning and editors.

A result needs a place in a source file: services such as GitHub refuse a whole
file for one result without. A suspect whose source is unknown is reported
where what was diagnosed is defined, or, if that is unknown, too, as a
notification of the run.
"""

import hashlib
from urllib.parse import quote

from . import rules
from ..report import escape

SCHEMA = 'https://json.schemastore.org/sarif-2.1.0.json'
VERSION = '2.1.0'

# Relative paths start at the source tree: of CPython, or of the extension.
ROOT = '%SRCROOT%'

# Change it when what is hashed changes.
FINGERPRINT = 'refmapSuspect/v1'


def artifact(file):
    """Return the artifactLocation of a source file."""
    # What was no text is no readable name, but must not be an error.
    uri = quote(file, errors='backslashreplace')
    if file.startswith('/'):
        return {'uri': 'file://' + uri}
    return {'uri': uri, 'uriBaseId': ROOT}


def physical(place):
    """Return the physicalLocation of something with file and line."""
    return {'artifactLocation': artifact(place.file),
            'region': {'startLine': place.line}}


def fingerprint(suspect):
    """Return a hash that is the same after lines were inserted above, and in
    another checkout."""
    file = suspect.file
    if file.startswith('/'):
        file = file.rpartition('/')[2]
    parts = suspect.rule, file, suspect.function, suspect.type or ''
    text = '\0'.join(parts).encode(errors='replace')
    return hashlib.sha256(text).hexdigest()


def flow(suspect):
    """Return the codeFlows of the evidence, or [].

    A step without a place is told with the one before it.
    """
    told = []
    before = ''
    for step in suspect.evidence:
        words = escape(step.text)
        if rules.has_source(step):
            told.append((before + words, step))
            before = ''
        elif told:
            text, place = told[-1]
            told[-1] = f'{text}; {words}', place
        else:
            before += words + '; '
    locations = [{'location': {'message': {'text': text},
                               'physicalLocation': physical(place)},
                  'executionOrder': order}
                 for order, (text, place) in enumerate(told, 1)]
    return [{'threadFlows': [{'locations': locations}]}] if locations else []


def result(suspect, position, case, index):
    """Return the result for a suspect, or None if it has no place.

    position -- of the suspect in its case, from 0
    index -- of its rule
    """
    place = next(filter(rules.has_source, (suspect, case)), None)
    if place is None:
        return None
    function = escape(suspect.function)
    answer = {
        'ruleId': suspect.rule,
        'ruleIndex': index,
        'level': rules.level(suspect, position),
        'message': {'text': rules.message(suspect, case.name)},
        'locations': [{
            'physicalLocation': physical(place),
            'logicalLocations': [{'name': function, 'kind': 'function',
                                  'fullyQualifiedName': function}],
        }],
        'partialFingerprints': {FINGERPRINT: fingerprint(suspect)},
        'rank': round(100 * min(max(suspect.score, 0), 1), 1),
        'properties': {'kind': suspect.kind,
                       'type': escape(suspect.type or ''),
                       'references': suspect.references,
                       'position': position + 1,
                       'diagnosed': escape(case.name)},
    }
    flows = flow(suspect)
    if flows:
        answer['codeFlows'] = flows
    return answer


def notification(level, text):
    return {'level': level, 'message': {'text': text}}


def describe(rule):
    """Return the reportingDescriptor of a Rule."""
    words = rule.id.split('-')
    help = rule.help or rule.full
    return {
        'id': rule.id,
        'name': ''.join(word.capitalize() for word in words),
        'shortDescription': {'text': rule.short},
        'fullDescription': {'text': rule.full},
        'help': {'text': help, 'markdown': help},
        'defaultConfiguration': {'level': rule.level},
        'properties': {'tags': ['reference counting', 'leak']},
    }


def document(cases):
    """Return the SARIF log of several rules.Cases: a dict, fit for JSON."""
    known = dict(rules.RULES)
    results, notifications = [], []
    for case in cases:
        for position, suspect in enumerate(case.suspects):
            known.setdefault(suspect.rule, rules.rule_of(suspect))
            found = result(suspect, position, case,
                           list(known).index(suspect.rule))
            if found:
                results.append(found)
            else:
                notifications.append(notification(
                    rules.level(suspect, position),
                    rules.message(suspect, case.name)))
        if rules.leaks(case) and not case.suspects:
            notifications.append(notification('warning', rules.nobody(case)))
        notifications += [notification('note', escape(note))
                          for note in case.notes]
    return {
        '$schema': SCHEMA,
        'version': VERSION,
        'runs': [{
            'tool': {'driver': {'name': 'refmap', 'rules': [
                describe(rule) for rule in known.values()]}},
            'originalUriBaseIds': {ROOT: {'description': {
                'text': 'The source tree of CPython, or of the extension.'}}},
            'invocations': [{'executionSuccessful': True,
                             'toolExecutionNotifications': notifications}],
            'columnKind': 'unicodeCodePoints',
            'results': results,
        }],
    }


def sarif(suspects, *, name='', file='', line=0, notes=()):
    """Return the SARIF log of what was found in one run: a dict, fit for JSON.

    suspects -- objects like suspects.Suspect, the most probable first
    name -- of what was diagnosed
    file, line -- where it is defined, if known
    notes -- sentences, what could not be told and why
    """
    case = rules.Case(name, list(suspects), None, file, line, notes)
    return document([case])
