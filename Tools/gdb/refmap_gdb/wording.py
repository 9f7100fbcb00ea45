"""Text for people: one line stays one line, whatever is in a name."""


def plural(n, noun):
    """Return '1 noun' or 'n nouns'."""
    return f'{n} {noun}' if n == 1 else f'{n} {noun}s'


def escape(text):
    """Return `text` with what does not print, such as a newline in the name
    of a type, as it is written in the literal of a string."""
    if text.isprintable():
        return text
    return ''.join(char if char.isprintable() else ascii(char)[1:-1]
                   for char in text)


def escape_controls(text):
    """Return `text` as the interpreter shows the name of a type: the bytes of
    what controls a terminal or ends a line are written as escapes."""
    def is_control(char):
        return char < ' ' or '\x7f' <= char < '\xa0' or char in '\u2028\u2029'
    return ''.join(''.join(f'\\x{byte:02x}' for byte in char.encode())
                   if is_control(char) else char for char in text)


def say(line=''):
    """Print one line; nothing in it can begin another one."""
    print(escape(line))


def say_all(lines):
    """Print lines one by one, as they come."""
    for line in lines:
        say(line)


def record_key(change, name, address):
    """Sorts records as the interpreter does: the largest change first."""
    return -abs(change), name.encode('utf-8', 'replace'), address
