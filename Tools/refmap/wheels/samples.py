"""Hunt in one package of stock wheels, in the interpreter that runs this.

usage: samples.py NAME REPEATS      NAME is one of SAMPLES or PLANTED below

Prints a line for each thing that is wrong, and exits with 1 if there is one.
"""

import os
import sys


class Item:
    """Lives as long as the process."""


ITEM = Item()
# How often a run calls a planted function.
CALLS = 5


# --- clean functions -------------------------------------------------------------

def numpy():
    import numpy as np
    numbers = np.arange(1000).reshape(10, 100)
    str(numbers @ numbers.T)
    objects = np.array([ITEM, [], {}, 'x'] * 10, dtype=object)
    objects[::2].copy().tolist()
    np.sort(numbers, axis=None)
    np.random.default_rng(1).normal(size=10)


def pandas():
    import pandas as pd
    frame = pd.DataFrame({'a': [1, 2, 3, 4] * 10, 'b': list('abcd') * 10,
                          'c': [1.5] * 40})
    frame.groupby('b').sum()
    frame.sort_values('a').to_json()
    frame.merge(frame.head(4), on='b')


def lxml():
    from lxml import etree
    root = etree.fromstring('<a><b x="1">t</b><c/></a>')
    for element in root.iter():
        element.tag, element.attrib, element.text
    root.xpath('//b[@x]')
    etree.tostring(root)


def yaml():
    import yaml
    text = 'a: [1, 2, {b: c}]\nd: 1.5\ne: 2020-01-01\n'
    yaml.load(text, Loader=yaml.CSafeLoader)
    try:
        yaml.load('{', Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        pass


def msgpack():
    import msgpack
    data = {'a': [1, 2.5, 'x', b'y', None, {'z': []}]}
    msgpack.unpackb(msgpack.packb(data))


def cffi():
    import cffi
    ffi = cffi.FFI()
    numbers = ffi.new('int[10]')
    numbers[3] = 4
    list(numbers)
    ffi.buffer(numbers)[:]
    try:
        numbers[11]
    except IndexError:
        pass


def regex():
    import regex
    regex.findall(r'(?P<x>\w+)\s*(?:foo){e<=1}', 'abc fo def foo' * 10)


def greenlet():
    import greenlet
    main = greenlet.getcurrent()

    def work(value):
        for _ in range(5):
            value = main.switch([value])
        return value

    other = greenlet.greenlet(work)
    value = other.switch(1)
    while not other.dead:
        value = other.switch(value)


def orjson():
    import orjson
    orjson.loads(orjson.dumps({'a': [1, 2.5, 'x', None, True], 'd': {'e': 'f'}}))
    try:
        orjson.loads('{')
    except orjson.JSONDecodeError:
        pass


def pydantic_core():
    from pydantic_core import SchemaValidator, ValidationError, core_schema
    fields = {'a': core_schema.int_schema(),
              'b': core_schema.list_schema(core_schema.str_schema())}
    validator = SchemaValidator(core_schema.typed_dict_schema(
        {name: core_schema.typed_dict_field(schema)
         for name, schema in fields.items()}))
    validator.validate_python({'a': '3', 'b': ['x']})
    try:
        validator.validate_json('{"a": "x", "b": 3}')
    except ValidationError as error:
        error.errors()


def markupsafe():
    import markupsafe
    markupsafe.escape('<a>')
    markupsafe.Markup('<b>%s</b>') % 'x&'


def balanced():
    import planted
    for _ in range(CALLS):
        planted.pair(ITEM)
        planted.borrow(ITEM)
        planted.error_path(1)


# --- planted leaks -----------------------------------------------------------------

def new_object():
    import planted
    for _ in range(CALLS):
        planted.new_object()


def keep_argument():
    import planted
    for _ in range(CALLS):
        planted.keep_argument(ITEM)


def over_decref():
    import planted
    for _ in range(CALLS):
        planted.over_decref(ITEM)


def error_path():
    import planted
    for _ in range(CALLS):
        try:
            planted.error_path(ITEM)
        except TypeError:
            pass


SAMPLES = [numpy, pandas, lxml, yaml, msgpack, cffi, regex, greenlet, orjson,
           pydantic_core, markupsafe, balanced]
# Function: verdict, {type: references a run}.
PLANTED = {
    new_object: ('leak', {'list': CALLS}),
    keep_argument: ('leak', {'Item': CALLS}),
    over_decref: ('error', {'Item': -CALLS}),
    error_path: ('leak', {'tuple': CALLS, 'Item': CALLS}),
}


# --- hunts -----------------------------------------------------------------------

def is_exact():
    info = sys.refmap_info()
    return info.mapped + info.unattributed == info.total


def hunt_clean(function, repeats):
    """Generate what is wrong."""
    import refmap
    for i in range(repeats):
        # The first one fills the caches.
        result = refmap.hunt(function, warmups=1 if i else 3)
        if result.verdict != 'clean':
            yield f'hunt {i + 1} of {repeats}: {result}'
        if not result.findings['unhooked']:
            yield 'no module without hooks is known'
        if not is_exact():
            yield f'not exact: {sys.refmap_info()}'


def hunt_planted(function, verdict, expected):
    """Generate what is wrong. What it finds is exactly what is leaked."""
    import refmap
    if verdict == 'error':
        # Enough references for the runs that take them away.
        ITEM.kept = [ITEM] * 1000
    result = refmap.hunt(function)
    found = {f['type']: f['refs'] for f in result.findings['types']}
    if result.verdict != verdict:
        yield f'the verdict is {result.verdict}: {result}'
    if found != {name: [refs] * 3 for name, refs in expected.items()}:
        yield f'found are {found}: {result}'
    if not is_exact():
        yield f'not exact: {sys.refmap_info()}'


def main(argv):
    name, repeats = argv
    planted = {function.__name__: function for function in PLANTED}
    if name in planted:
        problems = list(hunt_planted(planted[name], *PLANTED[planted[name]]))
    else:
        functions = {function.__name__: function for function in SAMPLES}
        problems = list(hunt_clean(functions[name], int(repeats)))
    print('\n'.join(problems), end='')
    # An object with too few references may not be destroyed.
    sys.stdout.flush()
    os._exit(bool(problems))


if __name__ == '__main__':
    main(sys.argv[1:])
