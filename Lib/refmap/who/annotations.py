"""Suspects as lines that GitHub shows beside the source: workflow commands."""

from . import rules

_COMMANDS = {'error': 'error', 'warning': 'warning', 'note': 'notice'}


def escape_data(text):
    """Escape the message of a command: it ends with the line."""
    for character in '%\r\n':
        text = text.replace(character, f'%{ord(character):02X}')
    return text


def escape_property(text):
    """Escape the value of a property, which ends at a comma or colon."""
    return escape_data(text).replace(':', '%3A').replace(',', '%2C')


def command(name, properties, text):
    """Return the line of one workflow command."""
    values = ','.join(f'{key}={escape_property(str(value))}'
                      for key, value in properties.items())
    return f'::{name} {values}::{escape_data(text)}'


def annotation(suspect, position, case):
    """Return the line for one suspect; position is from 0."""
    place = next(filter(rules.has_source, (suspect, case)), None)
    properties = {'file': place.file, 'line': place.line} if place else {}
    properties['title'] = f'refmap: {suspect.rule}'
    text = '\n'.join([rules.message(suspect, case.name),
                      *rules.steps(suspect)])
    return command(_COMMANDS[rules.level(suspect, position)], properties, text)


def document(cases):
    """Return the lines, without line ends, for several rules.Cases."""
    lines = []
    for case in cases:
        lines += [annotation(suspect, position, case)
                  for position, suspect in enumerate(case.suspects)]
        if rules.leaks(case) and not case.suspects:
            place = ({'file': case.file, 'line': case.line}
                     if rules.has_source(case) else {})
            lines.append(command('warning', {**place, 'title': 'refmap: leak'},
                                 rules.nobody(case)))
    return lines


def annotations(suspects, *, name='', file='', line=0):
    """Return the lines for what was found in one run. See sarif.sarif()."""
    return document([rules.Case(name, list(suspects), None, file, line)])
