"""Code that mutants run: small, without lasting effects, and wide.

WORKLOADS: functions that reach releases, in errors as much as in success.
CYCLES: functions that return an object of a garbage cycle, for what traverse
functions must report; each should come back to itself through C.
Each imports what it needs, so that one job costs no more than it must.
"""

import contextlib
import sys

WORKLOADS = {}
CYCLES = {}


def workload(function):
    WORKLOADS[function.__name__] = function
    return function


def cycle(function):
    CYCLES[function.__name__] = function
    return function


def fails(*call):
    """Call something that is expected to raise."""
    function, *args = call
    with contextlib.suppress(Exception):
        function(*args)


class Thing:
    """With attributes of its own."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Text(str):
    pass


class Bad:
    """Every operation fails."""

    def _fail(self, *args):
        raise ValueError('no')

    __eq__ = __lt__ = __gt__ = __le__ = __len__ = __iter__ = __getitem__ = _fail
    __index__ = __bool__ = __add__ = __radd__ = __call__ = __repr__ = _fail
    __format__ = __float__ = __contains__ = __setitem__ = __enter__ = _fail
    __hash__ = object.__hash__


# --- objects ----------------------------------------------------------------------

@workload
def lists():
    a = [[i] for i in range(20)]
    b = a[3:7] + a[::2] * 2
    b[2:4] = [[1], [2], [3]]
    b[::3] = [[0]] * len(b[::3])
    del b[1:3], b[-1]
    b.insert(2, ['x'])
    b.extend(tuple(a[:4]))
    b.pop()
    b.remove(['x'])
    b.sort(key=len, reverse=True)
    b.reverse()
    sorted(b, key=lambda x: -len(x))
    b *= 2
    b += (1, 2)
    b.index([0]), b.count([1]), [3] in b, b == a, b < a
    repr(a), list(reversed(b)), b.copy()
    fails(b.index, 'missing')
    fails(b.remove, 'missing')
    fails(b.pop, 1000)
    fails(sorted, [1, 'a', [2]])
    fails(sorted, [Bad(), Bad()])
    fails(list, Bad())
    fails(b.extend, Bad())
    fails(b.__setitem__, slice(0, 4, 2), [1])
    fails(b.__getitem__, 'x')
    b.clear()


@workload
def tuples():
    a = tuple([i] for i in range(10))
    a[2:5], a + a, a * 3, a.index([3]), a.count([3]), hash((1, 'a', 2.5))
    repr(a), a == a[:], a < a[1:]
    first, *rest = a
    fails(hash, a)
    fails(tuple, Bad())
    fails(a.index, 'missing')
    fails(lambda: a + [1])


@workload
def dicts():
    d = {('k', i): [i] for i in range(30)}
    e = dict(d, extra=[1])
    e.update({1: [2]}, other=[3])
    e |= {5: [6]}
    d | e
    d.setdefault('new', ['x'])
    d.pop('new'), d.pop('new', None), d.popitem()
    del d['k', 3]
    list(d), list(d.items()), list(d.values()), list(reversed(d))
    d.keys() & e.keys(), d.keys() | e.keys(), d.keys() - e.keys()
    d.keys() ^ e.keys(), d.keys().isdisjoint([1])
    dict.fromkeys('abc', ['v']), dict([('a', [1])]), dict(zip('ab', 'cd'))
    d == e, repr(d), d.copy(), ('k', 4) in d, d.get('x')
    fails(d.__getitem__, 'missing')
    fails(d.__delitem__, 'missing')
    fails(d.__getitem__, [])
    fails(dict, [(1, 2, 3)])
    fails(dict, [1])
    fails(d.update, Bad())
    fails(dict.fromkeys, Bad())
    fails(d.popitem().__getitem__, 7)

    def changing():
        for key in d:
            d[key, 1] = 1

    fails(changing)
    d.clear()


@workload
def sets():
    a = {(i,) for i in range(20)}
    b = frozenset((i,) for i in range(10, 30))
    a | b, a & b, a - b, a ^ b, a <= b, a > b, a.isdisjoint(b)
    c = a.copy()
    c.add(('new',))
    c.discard(('new',))
    c.update([(1, 2)], {(3, 4): 5})
    c.intersection_update(a)
    c.difference_update(b)
    c.symmetric_difference_update(b)
    c |= b
    c -= a
    c.pop()
    repr(c), hash(b), c == b, list(c), set([(1,)]) in {b}
    a.union([1], [2]), a.intersection([1], a), a.difference([1], a)
    fails(a.remove, 'missing')
    fails(a.add, [])
    fails(set, Bad())
    fails(a.__contains__, [])
    fails(set().pop)
    fails(a.update, Bad())


@workload
def numbers():
    n = 10 ** 40
    n + 1, n - 1, n * n, n // 7, n % 7, n / 3, n ** 3, -n, abs(-n), ~n
    n << 70, n >> 20, n & 12345, n | 3, n ^ 5, divmod(n, 1234567), pow(n, 5, 997)
    pow(3, -1, 997), round(n, -5), int('123456789' * 4), str(n), hex(n), f'{n:,d}'
    int.from_bytes(b'1' * 20, 'big'), n.to_bytes(30, 'little'), n.bit_count()
    x = 1234.5
    x + n, x * 2, x // 3, x % 3, x ** 2.5, divmod(x, 7), round(x, 1), float('1e300')
    x.as_integer_ratio(), x.hex(), float.fromhex('0x1.8p3'), f'{x:10.3f}', repr(x)
    z = complex(1, 2)
    z * z, z / (1 + 1j), abs(z), z ** 2, complex('1+2j'), repr(z), z.conjugate()
    sum([n, n, 1.5]), max(n, x), min([n, x], key=abs)
    for call in ((int, 'x'), (float, 'x'), (complex, 'x'), (divmod, n, 0),
                 (pow, 2, -1, 4), (int, Bad()), (float, Bad()), (round, Bad()),
                 (int.from_bytes, 'x', 'big'), (max, []), (sum, Bad()),
                 (format, n, 'q'), (format, x, 'q'), (hex, x), (abs, 'x')):
        fails(*call)


@workload
def texts():
    s = 'text with spaces, ' + chr(0x20ac) * 3
    s.split(), s.split(','), s.rsplit(' ', 1), s.partition(' '), s.splitlines()
    s.replace('t', 'TT'), s.upper(), s.title(), s.casefold(), s.center(60, '*')
    s.strip('tx'), s.find('with'), s.translate({ord('t'): 'zz', ord('x'): None})
    s.encode('utf-16'), s.encode('ascii', 'replace'), s.encode('latin-1', 'ignore')
    s.encode('ascii', 'xmlcharrefreplace'), s.encode('ascii', 'backslashreplace')
    '-'.join([s, 'b', s]), '%s %r %5d %-8.3f %x %c' % (s, s, 5, 2.5, 255, 'c')
    '%(a)s' % {'a': [1]}, '{0} {a.x} {b[1]!r:>5}'.format(1, a=Thing(x=1), b='xyz')
    f'{s!r:>40}{[1]}', s * 3, s[2:9], s[::2], s in s * 2, s < 'b', str.maketrans('ab', 'cd')
    str(b'abc', 'utf-8'), s.isidentifier(), s.expandtabs(), s.zfill(50), ascii(s)
    for call in ((s.encode, 'ascii'), (s.encode, 'nosuch'), (s.index, 'q'),
                 ('%d'.__mod__, 'x'), ('%s %s'.__mod__, 'x'), ('%q'.__mod__, 1),
                 ('{}'.format,), ('{a}'.format,), ('{0.x}'.format, 1), ('{'.format,),
                 ('-'.join, [1]), ('-'.join, Bad()), (s.split, ''), (str, b'\xff', 'ascii'),
                 (s.translate, Bad()), (format, s, 'd'), (s.replace, 1, 2),
                 ('%(a)s'.__mod__, 5), ('%*d'.__mod__, ('x', 5)), (chr, -1), (str, Bad()),
                 ('%s'.__mod__, Bad()), (s.startswith, (1,))):
        fails(*call)


@workload
def byte_strings():
    b = bytes(range(65, 90)) * 2
    b.split(b'C'), b.replace(b'A', b'zz'), b.join([b'1', b'2']), b.find(b'C'), b.hex()
    bytes.fromhex('00 ff'), b.decode('latin-1'), b'%s %d %a' % (b'x', 5, 'y'), b[2:9]
    b.partition(b'C'), b.translate(None, b'A'), b.upper(), b.strip(b'A'), b.rsplit(b'C', 1)
    a = bytearray(b)
    a += b'more'
    a[2:5] = b'other'
    a.extend([1, 2])
    a.append(3), a.insert(1, 4), a.pop(), a.remove(65), a.reverse()
    del a[::2]
    a.replace(b'A', b'zz'), repr(a), a * 2, a + b, bytes(a), a.split(b'C'), a.join([b'1'])
    m = memoryview(a)
    m[2:4].tobytes(), m.tolist(), m.cast('B'), m == m[:], m.hex(), repr(m)
    fails(a.append, 3)
    m.release()
    for call in ((bytes, Bad()), (bytes, [300]), (bytes, ['x']), (b.join, [1]),
                 (bytes.fromhex, 'zz'), (b.index, b'?'), (b.decode, 'ascii', 'nosuch'),
                 (b'\xff'.decode, 'utf-8'), (b'%d'.__mod__, 'x'), (b'%s'.__mod__, 'x'),
                 (bytearray, Bad()), (bytearray, [1, 'x']), (a.remove, 300), (a.pop, 999),
                 (a.extend, Bad()), (memoryview, 5), (m.tobytes,), (bytes, 'x', 'nosuch'),
                 (b'%(a)s'.__mod__, 5), (a.__setitem__, slice(0, 1), 'x')):
        fails(*call)


@workload
def classes():
    class Meta(type):
        def __call__(cls, *args):
            return super().__call__(*args)

    class Descriptor:
        def __set_name__(self, owner, name):
            self.name = name

        def __get__(self, instance, owner):
            return self if instance is None else instance.__dict__[self.name]

        def __set__(self, instance, value):
            instance.__dict__[self.name] = value

    class Base(metaclass=Meta):
        field = Descriptor()

        def __init__(self, value):
            self.field = value

        def __init_subclass__(cls, **kwargs):
            cls.options = kwargs

        def __getattr__(self, name):
            if name == 'magic':
                return [name]
            raise AttributeError(name)

        def __eq__(self, other):
            return self.field == other.field

        def __hash__(self):
            return 5

    class Derived(Base, option=[1]):
        __slots__ = ('a',)

        @property
        def prop(self):
            return [self.field]

        @prop.setter
        def prop(self, value):
            self.field = value

        @classmethod
        def cm(cls, x=[1], *args, **kwargs):
            return cls

        @staticmethod
        def sm():
            return [1]

    o = Derived(['v'])
    o.a = ['slot']
    o.prop = o.prop + [2]
    o.cm(1, 2, k=3), o.sm(), o.magic, o == Derived(1), hash(o), {o: 1}
    super(Derived, o).__init__(3)
    vars(o), dir(o), repr(o), type(o).mro(), isinstance(o, (int, Base)), o.__class__
    getattr(o, 'none', None), hasattr(o, 'none'), o.__reduce_ex__(2)
    type('Dynamic', (Derived,), {'x': 1}).x
    Derived.__bases__ = (Base,)
    del o.a
    for call in ((getattr, o, 'missing'), (setattr, o, 'cm', 1), (type, 'X', (int, str), {}),
                 (type, 'X', (Derived, Base, Derived), {}), (Derived,), (o,), (delattr, o, 'q'),
                 (type, 'X', (), {'__slots__': ('a', 'a b')}), (type, 'X', (bool,), {}),
                 (setattr, Derived, '__bases__', (int,)), (object.__new__, 5),
                 (super, 5, 5), (type, 'X', (), {'d': Thing(__set_name__=1)}),
                 (setattr, Derived, '__name__', 5), (lambda: o < o,), (o.__setattr__, 5, 1),
                 (type, 5, (), {}), (isinstance, o, 5), (issubclass, 5, int)):
        fails(*call)


@workload
def operators():
    class N:
        def __init__(self, v=1):
            self.v = [v]

        def __add__(self, other):
            return N(self.v[0])

        __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __and__ = __add__
        __or__ = __xor__ = __lshift__ = __rshift__ = __pow__ = __matmul__ = __add__
        __radd__ = __iadd__ = __rsub__ = __divmod__ = __add__

        def __neg__(self):
            return N()

        __pos__ = __abs__ = __invert__ = __neg__

        def __getitem__(self, key):
            return [key]

        def __setitem__(self, key, value):
            self.v = [value]

        __delitem__ = __getitem__

        def __len__(self):
            return len(self.v)

        def __bool__(self):
            return True

        def __contains__(self, x):
            return [x] == self.v

        def __iter__(self):
            return iter(self.v)

        def __index__(self):
            return 10 ** 20

        __int__ = __trunc__ = __index__

        def __float__(self):
            return 1.5

        def __call__(self, *args, **kwargs):
            return [args, kwargs]

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return False

        def __repr__(self):
            return 'N' + '()'

        def __lt__(self, other):
            return [1]

    a, b = N(1), N(2)
    a + b, a - b, a * b, a / b, a // b, a % b, a & b, a | b, a ^ b, a << b, a >> b
    a ** b, a @ b, 1 + a, 1 - a, -a, +a, abs(a), ~a, divmod(a, b), int(a), float(a)
    a[1], a[1:2], len(a), bool(a), 1 in a, list(a), hex(a), a(1, k=2), repr(a), a < b
    a += b
    a[1] = 2
    del a[1]
    with a as c:
        pass
    for call in ((lambda: a == a > b,), (lambda: Bad() + 1,), (lambda: 1 + Bad(),),
                 (lambda: [1] + Bad(),), (lambda: Bad()[1],), (lambda: Bad() < Bad(),),
                 (len, Bad()), (bool, Bad()), (iter, Bad()), (Bad(),), (repr, Bad()),
                 (lambda: 1 in Bad(),), (lambda: {}[Bad()],), (lambda: object() + 1,),
                 (lambda: -object(),), (lambda: object()[1],), (lambda: object() @ 1,)):
        fails(*call)


@workload
def functions():
    def f(a, b=[1], /, c=[2], *args, d, e=[3], **kwargs):
        return a, b, c, args, d, e, kwargs

    f(1, d=2), f(1, 2, 3, 4, 5, d=6, x=7), f(*[1, 2], **{'d': [4]})
    g = lambda x: [x]
    g.__defaults__ = ([5],)
    g.__kwdefaults__ = {'k': [1]}
    g.__annotations__ = {'x': [1]}
    g.__name__, g.__qualname__ = 'n', 'q'
    g.attribute = [1]
    f.__code__.replace(co_name='other'), f.__get__(5), f.__code__.co_varnames, repr(f)
    type(f)(f.__code__, {}, 'n', f.__defaults__, None)

    def outer(x):
        def inner():
            nonlocal x
            x = [x]
            return x
        return inner

    outer(1)(), outer(2).__closure__[0].cell_contents
    for call in ((f,), (f, 1), (f, 1, 2, 3), (g, 1, 2, 3),
                 (eval, 'f(1, d=1, d=2)'), (lambda: f(**{'d': 1, 5: 2}),), (lambda: f(*5),),
                 (lambda: f(1, d=1, **5),), (lambda: f(1, a=1, d=2, **{'d': 3}),),
                 (setattr, g, '__code__', 5), (setattr, g, '__defaults__', 5),
                 (type(f), f.__code__, {}, 'n', None, (1, 2)), (len, 1, 2), (len,), (int, 1, 2, 3), (sorted, [1], 2)):
        fails(*call)
    fails(lambda: sorted([1], nosuch=2))
    fails(lambda: int('5', nosuch=2))


@workload
def generators():
    def gen(n):
        try:
            for i in range(n):
                got = yield [i]
                if got:
                    raise KeyError(got)
        except ValueError:
            yield ['caught']
        finally:
            [n]

    def delegating():
        result = yield from gen(3)
        return [result]

    list(gen(3)), list(delegating()), [x for x in gen(2)], list(x for x in gen(2))
    g = gen(5)
    next(g), g.send(None)
    g.throw(ValueError('v'))
    g.close()
    g = gen(5)
    next(g)
    fails(g.send, ['x'])
    g = delegating()
    next(g)
    fails(g.throw, TypeError)
    g = gen(3)
    fails(g.send, 5)
    fails(g.throw, Bad())
    g.gi_frame, g.gi_code, repr(g)
    a, *b = gen(4)

    async def coroutine():
        return [1]

    async def agen():
        yield [1]
        yield [2]

    async def main():
        async for x in agen():
            pass
        [x async for x in agen()]
        return await coroutine()

    c = main()
    fails(c.send, None)
    coroutine().close()
    fails(next, iter([]))
    fails(lambda: (lambda: (yield from Bad()))().send(None))


@workload
def errors():
    class Group(ExceptionGroup):
        def derive(self, excs):
            return Group(self.message, excs)

    try:
        try:
            raise KeyError(['k'])
        except KeyError as e:
            raise ValueError('v') from e
    except ValueError as e:
        e.add_note('note')
        e.__traceback__.tb_frame, e.with_traceback(None), repr(e), str(e), e.args
        e.__cause__, e.__context__, e.__reduce__()
        e.__setstate__({'a': [1]})
    try:
        raise Group('g', [KeyError(1), Group('h', [ValueError(2), OSError(3)])])
    except* KeyError:
        pass
    except* (ValueError, OSError) as g:
        g.split(OSError), g.subgroup(lambda x: True), repr(g), g.exceptions
    for e in (OSError(2, 'text', 'file', None, 'other'), ImportError('m', name='n', path='p'),
              AttributeError('a', name='n', obj=[1]), NameError('n', name='x'),
              SyntaxError('s', ('f', 1, 2, 't', 3, 4)), StopIteration([1]), SystemExit([2]),
              UnicodeDecodeError('utf-8', b'x', 0, 1, 'r'), KeyError(['k']),
              UnicodeEncodeError('utf-8', 'x', 0, 1, 'r'), BlockingIOError(1, 'a', 2),
              UnicodeTranslateError('x', 0, 1, 'r'), FileNotFoundError(2, 'a', 'b')):
        str(e), repr(e), e.__reduce__()
        try:
            raise e
        except BaseException:
            pass

    def raising(what, cause=None):
        if cause:
            raise what from cause
        raise what

    for call in ((raising, KeyError), (raising, 5), (raising, KeyError, ValueError),
                 (raising, KeyError, 5), (raising, KeyError(1), ValueError(2)),
                 (OSError, 1, 2, 3, 4, 5, 6), (ImportError, 5, 1),
                 (SyntaxError, 's', (1,)), (UnicodeDecodeError, 1), (ExceptionGroup, 'x', [5]),
                 (ExceptionGroup, 'x', []), (setattr, e, '__cause__', 5),
                 (setattr, e, 'args', 5), (e.with_traceback, 5), (e.add_note, 5)):
        fails(*call)
    fails(lambda: ImportError('m', nosuch=1))
    sys.exc_info()


@workload
def weak():
    import weakref

    class C:
        pass

    o = C()
    calls = []
    r = weakref.ref(o, calls.append)
    p = weakref.proxy(o, calls.append)
    p.x = [1]
    p.x, r(), repr(r), repr(p), hash(r), r == weakref.ref(o), weakref.getweakrefs(o)
    d = weakref.WeakValueDictionary(a=o)
    k = weakref.WeakKeyDictionary({o: [1]})
    s = weakref.WeakSet([o])
    m = weakref.WeakMethod(Thing.__init__.__get__(o))
    f = weakref.finalize(o, calls.append, 5)
    list(d.items()), list(k), list(s), m(), f.peek()
    fails(getattr, p, 'missing')
    fails(weakref.ref, 5)
    f.detach()
    del o
    fails(getattr, p, 'x')
    r(), len(d), len(k), len(s), calls


@workload
def iterators():
    import itertools as it
    a = [[i] for i in range(6)]
    for x in (it.accumulate(range(5), lambda p, q: p + q), it.batched(a, 4), it.chain(a, a),
              it.chain.from_iterable([a, a]), it.combinations(a, 2), it.islice(it.count(10 ** 20), 3),
              it.combinations_with_replacement(a, 2), it.compress(a, [1, 0, 1]),
              it.islice(it.cycle(a), 15), it.dropwhile(lambda x: x[0] < 2, a),
              it.filterfalse(None, a), it.islice(a, 1, 5, 2), it.pairwise(a), it.permutations(a, 2),
              it.product(a, repeat=2), it.repeat(a, 3), it.starmap(max, [([1], [2])]),
              it.takewhile(lambda x: x[0] < 2, a), it.zip_longest(a, [1], fillvalue=[0]),
              map(max, a, a), filter(None, a), zip(a, a), enumerate(a, 10 ** 20), reversed(a),
              iter([1, 2, 3].pop, 1), iter('abc'), iter(range(3)), iter({1: 2}), iter({3})):
        list(x), repr(x)
    for key, group in it.groupby(a, lambda x: x[0] // 2):
        list(group)
    first, second = it.tee(a)
    next(first), list(second), list(first)
    for call in ((list, it.accumulate([1, 'a'])), (it.batched, a, 0), (it.combinations, a, -1),
                 (list, it.chain(5)), (it.islice, a, -1), (list, it.starmap(max, [5])),
                 (list, map(Bad(), a)), (list, filter(Bad(), a)), (list, map(len, [5])),
                 (zip, a, Bad()), (map, len, Bad()), (enumerate, Bad()), (it.cycle, Bad()),
                 (list, it.groupby(a, Bad())), (list, it.takewhile(Bad(), a)),
                 (it.product, a, Bad()), (it.tee, Bad()), (it.zip_longest, a, Bad()),
                 (list, it.dropwhile(Bad(), a)), (list, it.filterfalse(Bad(), a)),
                 (it.compress, a, Bad()),
                 (it.count, 'x'), (next, it.repeat(1, 0)), (reversed, Bad())):
        fails(*call)
    fails(lambda: list(zip(a, [1], strict=True)))
    fails(lambda: list(zip([1], a, strict=True)))


@workload
def builtin_functions():
    code = compile('x = [1]\ndef f(): return x', 'file', 'exec')
    space = {}
    exec(code, space)
    eval('f()', space), eval(compile('1 + 2', 'f', 'eval'))
    all([1, [1]]), any([[], 1]), ascii(['x']), bin(5), callable(len), chr(0x20ac), dir(), dir(space)
    divmod(17, 5), format(2.5, '.1f'), getattr(5, 'real'), globals(), hash('x'), id(5)
    isinstance(5, int | str), issubclass(int, (str, int)), len([1]), list(map(str, [1]))
    max([1], [2]), max([[1], [2]], key=len), min([], default=[5]), next(iter([[1]]), None)
    next(iter([]), ['d']), oct(8), ord('x'), pow(2, 10), repr([1]), round(2.5), slice(1, [2])
    sorted([3, 1]), sum([[1], [2]], []), vars(Thing(a=1)), __import__('sys'), print(end='', file=Thing(
        write=lambda s: None, flush=lambda: None), flush=True)
    for call in ((compile, 'x =', 'f', 'exec'), (compile, '1', 'f', 'nosuch'), (eval, '1 +'),
                 (exec, 'raise KeyError([1])'), (exec, 'x', {}), (eval, 'nosuch', {}), (exec, 5),
                 (all, Bad()), (any, [Bad()]), (max, [1, 'a']), (min, Bad()), (max, 1, 'a'),
                 (sum, ['a']), (sum, [1], ''), (__import__, 'nosuch'), (getattr, 5, 'nosuch'),
                 (hasattr, Bad(), 5), (vars, 5), (ord, 'ab'), (input, 1, 2), (next, iter([])),
                 (next, 5), (hash, []), (isinstance, 1, Bad()), (round, 1.5, 'x'), (open, '/nosuch'),
                 (__build_class__, 5, 'C'), (__build_class__, lambda: 1 / 0, 'C'), (chr, 'x')):
        fails(*call)


@workload
def type_hints():
    import types
    import typing
    T = typing.TypeVar('T', bound=[1])
    P = typing.ParamSpec('P')
    Ts = typing.TypeVarTuple('Ts')
    list[T][int], dict[str, list[T]][int], tuple[*Ts][int, str], tuple[int, ...]
    int | str | None, (int | list[T])[str], hash(int | str), repr(list[int] | None)
    list[int] == list[int], hash(list[int]), repr(dict[str, T]), list[int].__mro_entries__(())
    list[int]([1]), list[T].__parameters__, types.GenericAlias(list, (int,)).__args__, T.__bound__
    isinstance(5, int | str)
    space = {}
    exec('type A[X: (int, str), *Y, **Z] = dict[X, list[Z]]\n'
         'class G[X]: pass\ndef f[X = int](a: X) -> list[X]: return [a]\n', space)
    space['A'].__value__, space['A'][int, str, [int]], space['G'][int], space['f'](1)
    space['A'].__type_params__[0].__constraints__, repr(space['A'])
    for call in ((lambda: list[T][int, str],), (lambda: list[int][str],), (lambda: int | 5,),
                 (isinstance, [], list[int]), (typing.TypeVar, 5), (typing.TypeVar, 'T', int),
                 (lambda: (list[T] | int)[int, int],), (lambda: [][int],), (setattr, list[int], 'x', 1)):
        fails(*call)
    for clean in typing._cleanups:
        clean()


@workload
def matching():
    class P:
        __match_args__ = ('x', 'y')

        def __init__(self, x, y):
            self.x, self.y = x, y

    def match(subject):
        match subject:
            case {'k': [a, *rest], **others}:
                return a, rest, others
            case [1, [b], *_]:
                return b
            case P(x=[c], y=d) | P([c, _], d):
                return c, d
            case str() | bytes():
                return [subject]
            case {'e': int(f)}:
                return f
            case _:
                return None

    for subject in ({'k': [[1], [2]], 'z': [3]}, [1, [['b']], 2], P([[1]], 2), P([1, 2], 3),
                    's', {'e': 5}, P(5, 6), 7, [1, 2], {'k': 5}):
        match(subject)
    P.__match_args__ = 5
    fails(match, P(1, 2))


@workload
def compiling():
    source = '''
import os as o
from sys import path as p, argv
@d(1)
class C(B, k=v):
    """doc"""
    a: int = 5
    def m(self, *a, b=2, **k):
        nonlocal z
try:
    with open(x) as f, y:
        [i + j for i in range(3) if i for j in q]
        {k: v for k, v in w}
        yield_ = lambda: (yield)
except (A, B) as e:
    raise X from e
else:
    del a[1:2], b.c
finally:
    assert z, "msg"
async def g():
    async with a as b:
        await c
    async for d in e: pass
    return f"{x!r:>{width}} {y=}"
for i in 1, 2.5, 3j, b"x", "y", ..., None, True, (1, (2, 3)), {4, 5} :
    if i in {1, 2}: continue
    elif not i: break
else: pass
while True: x = y = z; x, *y = z; x += 1; x[1] @= 2; (w := 5)
match x:
    case {"a": [1, *r], **k} if r: pass
    case C(y=2) | 5 as t: pass
'''.replace('        nonlocal z\n', '        global z\n')
    import ast
    tree = ast.parse(source)
    compile(tree, 'f', 'exec', flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    compile(source, 'f', 'exec', optimize=2)
    ast.dump(tree), ast.unparse(tree), ast.literal_eval('{"a": [1, (2.5, None)]}')
    for bad in ('x = ', 'def f(:', '(', 'return', 'x = yield', 'break', 'f(a=1, a=2)',
                'def f(a, a): pass', 'nonlocal x', 'from __future__ import nosuch', '"abc',
                'if x:\npass', '\tx\n  y', 'f"{x"', '1 = 2', 'del f()', 'match x:\n case a: 1\n case b: 2',
                'class C: return 1', 'async def f(): [(yield) for x in y]', 'import a.b as', "b'\xe9'",
                'global x\nx: int', 'def f():\n x = 1\n global x', '*a', 'a, *b, *c = d', '0777', "'\\N{x}'"):
        fails(compile, bad, 'file', 'exec')
    for node in (ast.Module([5], []), ast.Expression(ast.Name('x', ast.Store())), ast.Module('x', []),
                 ast.Expression(5), ast.Interactive([ast.Pass()]), ast.Expression(ast.Constant([]))):
        fails(compile, node, 'file', 'exec')
    ast.Name('x', ast.Load(), lineno=1).lineno
    fails(ast.Name, 1, 2, 3, 4)
    import symtable
    symtable.symtable(source, 'f', 'exec').get_children()


# --- the library --------------------------------------------------------------------

@workload
def collections_():
    import collections as c
    d = c.deque([[1], [2]], 5)
    d.append([3]), d.appendleft([0]), d.extend([[4], [5]]), d.extendleft([[9]]), d.rotate(2)
    d.pop(), d.popleft(), d.insert(1, ['x']), d.remove(['x']), d.index(d[-1]), d.count([1])
    d.copy(), d + d, d * 2, repr(d), d == d.copy(), list(reversed(d)), d.reverse(), [1] in d
    d[0] = [7]
    del d[0]
    o = c.OrderedDict(a=[1], b=[2], c=[3])
    o.move_to_end('a'), o.popitem(False), o.pop('a'), o.setdefault('n', [1]), o.copy(), repr(o)
    o == c.OrderedDict(o), list(reversed(o)), list(o.items()), o | {'z': [1]}, o.update(y=[2])
    del o['y']
    f = c.defaultdict(list, {'a': [1]})
    f['b'].append(2), repr(f), f.copy(), f | {}, f.__reduce__()
    n = c.Counter('abcab')
    n + n, n - n, n & n, n.most_common(1), n.update('xy')
    N = c.namedtuple('N', 'x y', defaults=[[1]])
    N([1])._replace(x=2)._asdict(), N(1, 2).x, repr(N(1)), c.ChainMap({1: 2}, {3: 4})[3]
    c.UserDict(a=1), c.UserList([1]), c.UserString('x')
    for call in ((c.deque, Bad()), (c.deque, [], -1), (c.deque().pop,), (d.remove, 'q'), (d.index, 'q'),
                 (d.extend, Bad()), (d.rotate, 'x'), (o.pop, 'q'), (o.move_to_end, 'q'), (c.OrderedDict, [1]),
                 (c.OrderedDict().popitem,), (c.defaultdict, 5), (c.defaultdict().__getitem__, 1),
                 (c.Counter, 5), (c.namedtuple, 'N', 'x x'), (N,), (d.__getitem__, 99), (o.__delitem__, 'q'),
                 (c.defaultdict(Bad()).__getitem__, 1), (o.update, Bad()), (c.OrderedDict, Bad())):
        fails(*call)


@workload
def functools_():
    import functools as f

    @f.lru_cache(maxsize=3)
    def cached(x, y=1):
        return [x]

    @f.cache
    def unbounded(x):
        return [x]

    for i in range(6):
        cached(i), cached(i, y=i), unbounded(i)
    cached(1.0), cached.cache_info(), cached.cache_clear(), unbounded.cache_clear()
    p = f.partial(max, [1], key=len)
    p([2]), f.partial(p, [3])([4]), repr(p), p.__reduce__()
    p.__setstate__((max, ([1],), {}, {'a': [1]}))
    f.reduce(lambda a, b: a + b, [[1], [2]], []), sorted([3, 1], key=f.cmp_to_key(lambda a, b: a - b))
    f.wraps(len)(lambda: 1)

    @f.singledispatch
    def d(x):
        return 1

    d.register(int, lambda x: 2)
    d(5), d('x')
    d._clear_cache()
    for call in ((cached, []), (unbounded, []), (f.reduce, max, []), (f.reduce, Bad(), [1, 2]),
                 (f.reduce, max, Bad()), (f.partial,), (f.partial, 5), (p.__setstate__, 5), (f.partial(Bad()),),
                 (sorted, [1, 2], ), (f.cmp_to_key(Bad())(1).__lt__, f.cmp_to_key(Bad())(2)),
                 (f.lru_cache(5)(Bad()), 1), (f.lru_cache(None)(Bad()), 1), (f.lru_cache(0)(Bad()), 1)):
        fails(*call)


@workload
def operator_():
    import operator as o
    o.itemgetter(1, 'a')({1: [2], 'a': [3]}), o.attrgetter('a.b', 'c')(Thing(a=Thing(b=[1]), c=2))
    o.methodcaller('append', [1])([]), o.methodcaller('m', 1, k=2)(Thing(m=lambda *a, **k: a))
    repr(o.itemgetter(1)), repr(o.attrgetter('x')), repr(o.methodcaller('m', 1, k=2))
    o.itemgetter(1).__reduce__(), o.attrgetter('x', 'y').__reduce__(), o.methodcaller('m', k=2).__reduce__()
    o.concat([1], [2]), o.countOf([[1]], [1]), o.indexOf([[1]], [1]), o.length_hint([1]), o.iconcat([1], [2])
    for call in ((o.itemgetter,), (o.attrgetter, 5), (o.methodcaller, 5), (o.itemgetter(1), 5),
                 (o.attrgetter('q.r'), Thing(q=1)), (o.methodcaller('q'), 5), (o.indexOf, [1], 2),
                 (o.countOf, Bad(), 1), (o.length_hint, Bad()), (o.attrgetter('a', 'b'), Thing(a=[1])),
                 (o.itemgetter(0, 9), [[1]]), (o.concat, 1, 2)):
        fails(*call)


@workload
def io_():
    import io

    class Raw(io.RawIOBase):
        data = b'line one\nline two\r\nlast'

        def readable(self):
            return True

        def writable(self):
            return True

        def seekable(self):
            return True

        def seek(self, *args):
            return 0

        def tell(self):
            return 0

        def readinto(self, b):
            n = min(len(b), len(self.data))
            b[:n], self.data = self.data[:n], self.data[n:]
            return n

        def write(self, b):
            return len(b)

    b = io.BytesIO(b'one\ntwo\nthree')
    b.readline(), b.read(2), b.readlines(), b.seek(0), b.write(b'X'), b.getvalue(), b.getbuffer()
    b.truncate(5), b.tell(), list(b), b.readinto(bytearray(3)), b.writelines([b'a', b'b']), b.__getstate__()
    b.__setstate__((b'abc', 1, {'a': [1]}))
    s = io.StringIO('one\ntwo', newline=None)
    s.readline(), s.read(), s.seek(0), s.write('x'), s.getvalue(), list(s), s.__getstate__(), s.newlines
    s.__setstate__(('abc', '\n', 1, {'a': [1]}))
    r = io.BufferedReader(Raw())
    r.peek(), r.read(3), r.readline(), r.read1(2), r.readinto(bytearray(2)), r.read(), repr(r), r.raw
    r.close()
    w = io.BufferedWriter(Raw())
    w.write(b'abc'), w.flush(), w.tell(), w.seek(0)
    w.close()
    x = io.BufferedRandom(Raw())
    x.read(2), x.write(b'y'), x.flush(), x.close()
    p = io.BufferedRWPair(Raw(), Raw())
    p.read(2), p.write(b'x'), p.flush(), p.peek(1), p.close()
    t = io.TextIOWrapper(io.BytesIO(b'one\r\ntwo\n\xe2\x82\xac'), 'utf-8', newline=None)
    t.readline(), t.tell(), t.read(1), t.seek(0), list(t), t.write('abc'), t.flush(), repr(t), t.newlines
    t.reconfigure(errors='replace', line_buffering=True), t.writelines(['a\n']), t.detach()
    with open('/dev/null', 'w+b', 0) as f:
        f.write(b'x'), f.read(1), f.readall(), f.readinto(bytearray(2)), f.seek(0), f.fileno(), repr(f)
    with open('/dev/null', 'w', encoding='utf-8') as f:
        f.write('x'), f.name, f.mode
    io.IncrementalNewlineDecoder(None, True).decode('a\r\nb'), io.text_encoding(None)
    for call in ((open, '/nosuch/x'), (open, '/dev/null', 'q'), (open, '/dev/null', 'rb', 1, 'utf-8'),
                 (io.TextIOWrapper, io.BytesIO(), 'nosuch'), (io.TextIOWrapper, io.BytesIO(), 'utf-8', 'nosuch', 5),
                 (b.write, 'x'), (s.write, b'x'), (b.seek, 'x'), (io.BufferedReader, Bad()), (b.close,), (b.read,),
                 (io.BufferedRWPair, Raw(), 5), (t.read,), (io.TextIOWrapper(io.BytesIO(b'\xff'), 'ascii').read,),
                 (io.TextIOWrapper(Thing(read=lambda n: 5, readable=lambda: True, writable=lambda: True, closed=False,
                  seekable=lambda: False, flush=lambda: None, close=lambda: None), 'ascii').read, 5), (io.FileIO, -5), (io.FileIO, 'x', 'q'),
                 (io.BytesIO, 'x'), (io.StringIO, b'x'), (io.StringIO, 'x', 'q'), (r.read,), (io.BytesIO().writelines, Bad()),
                 (io.StringIO().writelines, Bad()), (io.BufferedReader(Thing(readable=lambda: True, closed=False,
                  readinto=lambda b: 'x', tell=lambda: 0, seekable=lambda: True, flush=lambda: None, close=lambda: None)).read, 3)):
        fails(*call)


@workload
def json_():
    import json
    value = {'a': [1, 2.5, None, True, 'text' + chr(0x20ac)], 'b': {'c': []}, '5': 10 ** 30}
    json.dumps(value), json.dumps(value, indent=2, sort_keys=True), json.dumps(value, ensure_ascii=False)
    text = json.dumps(value)
    json.loads(text), json.loads(text, object_hook=list), json.loads(text, object_pairs_hook=list)
    json.loads(text, parse_float=str, parse_int=str), json.loads(text.encode()), json.loads('[NaN, "\\u20ac"]')
    json.dumps({1: 2, None: 3, 2.5: 4}, default=str), json.dumps([object], default=repr)
    loop = []
    loop.append(loop)
    for bad in ('{', '[1,', '"abc', '{"a" 1}', '[1 2]', 'nul', '{"a": }', '"\\q"', '[1, ]', '{1: 2}', '"\\ud8"'):
        fails(json.loads, bad)
    for call in ((json.dumps, object()), (json.dumps, {(1,): 2}), (json.dumps, float('nan'), ), (json.dumps, loop),
                 (json.dumps, [{'a': object()}]), (json.loads, 5)):
        fails(*call)
    fails(lambda: json.dumps([1, float('inf')], allow_nan=False))
    fails(lambda: json.dumps([[object()]], default=Bad()))
    fails(lambda: json.loads('[1.5]', parse_float=Bad()))
    fails(lambda: json.loads('[{"a": 1}]', object_hook=Bad()))
    fails(lambda: json.loads('[{"a": 1}]', object_pairs_hook=Bad()))


@workload
def pickling():
    import copy
    import copyreg
    import io
    import pickle

    class External(pickle.Pickler):
        def persistent_id(self, obj):
            return ['id'] if obj == 'external' else None

        def reducer_override(self, obj):
            return NotImplemented

    class Loader(pickle.Unpickler):
        def persistent_load(self, pid):
            return [pid]

        def find_class(self, module, name):
            return super().find_class(module, name)

    shared = ['shared']
    value = [shared, shared, (1, shared), {'k': {1, 2}}, frozenset([3]), b'b' * 300, 'u' * 300, 10 ** 50, 2.5,
             bytearray(b'x'), len, int, Thing(a=[1]), slice(1, [2]), KeyError('k'), 1 + 2j, range(5), ..., None]
    value.append(value)
    for protocol in range(6):
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(value, protocol))
    buffers = []
    data = pickle.dumps(pickle.PickleBuffer(bytearray(b'x')), 5, buffer_callback=buffers.append)
    pickle.loads(data, buffers=buffers)
    file = io.BytesIO()
    pickler = External(file)
    pickler.dump(['external', 'x', Thing(b=1)])
    dict(pickler.memo.copy()), pickler.clear_memo()
    file.seek(0)
    Loader(file).load()
    copy.copy(Thing(a=[1])), copy.deepcopy([Thing(a=[1]), {1: [2]}])
    for call in ((pickle.dumps, lambda: 1), (pickle.loads, b''), (pickle.loads, b'\x80\x04]'), (pickle.loads, b'cno\nsuch\n.'),
                 (pickle.loads, b'(lp0\nI1\n'), (pickle.loads, b'\x80\x04\x95\xff\x00'), (pickle.dumps, [1, Thing(a=lambda: 1)]),
                 (pickle.loads, b'I1\nb.'), (pickle.loads, b'g5\n.'), (pickle.loads, b'\x8c\x05ab'), (pickle.dumps, 1, 99),
                 (pickle.Pickler, 5), (pickle.Unpickler, 5), (pickle.dumps, {Bad(): Bad(), 1: lambda: 1}), (pickle.loads, 5),
                 (pickle.dumps, {1: [lambda: 2]}), (pickle.dumps, (1, lambda: 2)), (pickle.dumps, {lambda: 1}),
                 (pickle.loads, b'cbuiltins\nlen\n(I1\ntR.'), (pickle.loads, b'Q.'), (pickle.loads, b'(I1\nd.')):
        fails(*call)


@workload
def marshalling():
    import marshal
    value = [1, 10 ** 30, 2.5, 1j, 'text', b'x', (1, 2), {'a': [1]}, {1, 2}, frozenset([3]), None, True, ..., 's' * 300]
    data = marshal.dumps(value)
    marshal.loads(data)
    code = marshal.dumps(marshalling.__code__)
    marshal.loads(code)
    for end in range(1, len(data), 37):
        fails(marshal.loads, data[:end])
    for end in range(5, len(code), 101):
        fails(marshal.loads, code[:end])
    fails(marshal.dumps, object())
    fails(marshal.dumps, [1, object()])
    fails(marshal.loads, b'?')


@workload
def regular_expressions():
    import re
    p = re.compile(r'(?P<word>\w+)\s+(\d+)?', re.I)
    m = p.match('word 42')
    m.group(), m.group(1, 2), m.groups(), m.groupdict(), m.span(1), m['word'], m.expand(r'\1-\g<word>'), repr(m), m.regs
    p.findall('a 1 b 2'), list(p.finditer('a 1 b 2')), p.sub(r'<\1>', 'a 1 b 2'), p.sub(lambda m: 'x', 'a 1'), p.split('a 1 b')
    p.subn('x', 'a 1', count=1), p.search('!! a 1'), p.fullmatch('a 1'), repr(p), p == re.compile('x'), hash(p), p.groupindex
    re.sub(b'x', b'y', b'axb'), re.escape('a.b'), p.scanner('a 1').search(), re.compile('a|b|cd*?[^x-z](?=e)(?<!f)')
    re.purge()
    for call in ((re.compile, '('), (re.compile, '*'), (p.sub, r'\9', 'a 1'), (p.match, b'x'), (m.group, 9), (m.group, 'q'),
                 (m.expand, r'\9'), (p.sub, Bad(), 'a 1'), (p.sub, 5, 'a 1'), (p.findall, 5), (p.split, 5), (re.compile, 5),
                 (p.scanner, 5), (m.__getitem__, []), (p.finditer, 5)):
        fails(*call)
    re.purge()


@workload
def struct_array():
    import array
    import struct
    s = struct.Struct('<i4sdq?')
    data = s.pack(1, b'abcd', 2.5, 10 ** 15, True)
    s.unpack(data), s.unpack_from(data), list(struct.iter_unpack('i', bytes(8))), s.pack_into(bytearray(40), 2, 1, b'', 1.0, 2, 0)
    struct.calcsize('3i'), s.format, repr(s)
    a = array.array('q', range(10))
    a.append(5), a.extend([1, 2]), a.extend(a), a.insert(1, 3), a.pop(), a.remove(3), a.index(4), a.count(1), a.reverse()
    a.tobytes(), a.tolist(), a[2:5], a + a, a * 2, repr(a), a == a[:], a.byteswap(), a.buffer_info(), a.__reduce_ex__(3)
    a.frombytes(bytes(16)), a.fromlist([1]), list(a), array.array('d', [1.5]), array.array('w', 'text').tounicode(), memoryview(a)[1]
    a[1:3] = array.array('q', [7])
    del a[0]
    for call in ((struct.pack, 'i', 'x'), (struct.pack, 'q', 10 ** 30), (struct.unpack, 'i', b''), (struct.Struct, 'z'),
                 (s.pack, 1), (struct.pack, '4s', 5), (struct.iter_unpack, 'i', b'123'), (s.pack_into, b'x', 0, 1), (struct.pack, 'i', Bad()),
                 (array.array, 'q', ['x']), (array.array, 'z'), (a.append, 'x'), (a.extend, Bad()), (a.fromlist, [1, 'x']), (a.remove, 99),
                 (a.frombytes, b'1'), (a.index, 99), (array.array, 'u', 5), (a.__setitem__, 0, 'x'), (array.array, 'q', Bad()),
                 (struct.pack, 'd', 'x'), (struct.pack, '?', Bad())):
        fails(*call)


@workload
def dates():
    import datetime as d
    import zoneinfo
    tz = d.timezone(d.timedelta(hours=2), 'name')
    t = d.datetime(2024, 2, 29, 12, 30, 15, 99, tzinfo=tz)
    t + d.timedelta(1), t - t, t.astimezone(d.timezone.utc), t.isoformat(), t.strftime('%Y %z %Z %f %:z'), t.replace(year=2020), repr(t)
    t.utctimetuple(), t.timetuple(), t.date(), t.timetz(), t.isocalendar(), d.datetime.fromisoformat('2024-01-02T03:04:05.123+02:00'), hash(t)
    t.__reduce_ex__(4), str(t), t.timestamp(), d.datetime.fromtimestamp(0, tz), d.datetime.strptime('2020', '%Y'), t == t.replace(fold=1), t < t
    day = d.date(2024, 2, 29)
    day - day, day + d.timedelta(1), day.isoformat(), day.ctime(), d.date.fromordinal(700000), d.date.fromisocalendar(2020, 1, 1), hash(day), repr(day)
    x = d.timedelta(1, 2, 3)
    x * 2, x / 2, x // 3, x % d.timedelta(2), divmod(x, x), -x, abs(x), x / x, x * 1.5, repr(x), str(x), hash(x), x.total_seconds(), x == 5
    u = d.time(1, 2, 3, 4, tz)
    u.isoformat(), u.utcoffset(), u.replace(hour=2), repr(u), hash(u), u == u, d.time.fromisoformat('01:02:03+01:00'), u.strftime('%H')
    repr(tz), str(tz), tz.utcoffset(t), tz.fromutc(t.replace(tzinfo=tz)), tz.__getinitargs__(), hash(tz), tz == tz
    with contextlib.suppress(zoneinfo.ZoneInfoNotFoundError):
        z = zoneinfo.ZoneInfo.no_cache('Europe/Berlin')
        t.astimezone(z), z.utcoffset(t), z.tzname(t), repr(z), str(z)

    class Zone(d.tzinfo):
        def utcoffset(self, t):
            return 'x'

        def tzname(self, t):
            return [1]

        dst = utcoffset

    bad = d.datetime(2020, 1, 1, tzinfo=Zone())
    for call in ((d.date, 0, 1, 1), (d.datetime, 'x'), (bad.utcoffset,), (bad.tzname,), (bad.isoformat,), (bad.utctimetuple,), (bad.strftime, '%Z'),
                 (bad.astimezone,), (lambda: bad - t,), (lambda: t < bad,), (lambda: t < day,), (lambda: x / 'x',), (d.timedelta, 'x'),
                 (d.timedelta, 10 ** 30), (d.timezone, 5), (d.timezone, x * 9), (d.datetime.fromisoformat, 'x'), (d.date.fromisoformat, 'x'),
                 (d.time.fromisoformat, 'x'), (lambda: t + x * 10 ** 9,), (d.datetime.fromtimestamp, 1e30), (hash, bad), (repr, bad),
                 (d.time, 1, 2, 3, 4, 5), (zoneinfo.ZoneInfo, 'No/Such'), (d.datetime.strptime, 'x', '%Y'), (x.__mul__, 'x'), (t.replace, 0)):
        fails(*call)


@workload
def decimals():
    import decimal as d
    import fractions
    D = d.Decimal
    a, b = D('1.25'), D(3)
    a + b, a - b, a * b, a / b, a // b, a % b, a ** b, divmod(a, b), -a, abs(a), a < b, a == 1.25, hash(a), repr(a), str(a), round(a, 1)
    a.quantize(D('0.1')), a.sqrt(), a.ln(), a.exp(), a.as_tuple(), a.as_integer_ratio(), a.compare(b), a.fma(b, a), int(b), float(a), f'{a:.3f}'
    D.from_float(2.5), D((0, (1, 2), -1)), D('nan').is_nan(), a.normalize(), a.max(b), a.to_eng_string()
    with d.localcontext(prec=5, traps=[d.Inexact]) as c:
        c.copy(), repr(c), c.flags, c.traps, c.create_decimal('1.5'), c.sqrt(D(4)), c.divide(1, 2), c.clear_flags(), dict(c.flags), c.__reduce__()
        fails(lambda: D(1) / D(3))
        fails(setattr, c, 'prec', 'x')
        fails(setattr, c, 'rounding', 5)
    d.setcontext(d.Context(prec=28))
    for call in ((D, 'x'), (D, Bad()), (lambda: a / 0,), (lambda: a + 'x',), (D('sNaN').sqrt,), (a.quantize, 'x'), (D, (1, 2)), (d.Context, 'x'),
                 (d.setcontext, 5), (format, a, 'q'), (a.compare, 'x'), (int, D('inf')), (D.from_float, 'x'), (D, (0, 'x', 1)), (round, a, 'x')):
        fails(*call)
    fractions.Fraction('3/7') + fractions.Fraction(1.5)
    d.getcontext().clear_flags()


@workload
def ctypes_():
    import ctypes as c

    class Point(c.Structure):
        _fields_ = [('x', c.c_int), ('y', c.c_double), ('name', c.c_char_p), ('bits', c.c_int, 3), ('o', c.py_object)]

    class Union(c.Union):
        _fields_ = [('i', c.c_int), ('p', c.POINTER(Point))]

    p = Point(1, 2.5, b'n')
    p.name = b'other' * 3
    p.o = [1]
    p.x, p.y, p.name, p.bits, p.o, repr(p), bytes(c.c_int(5)), c.sizeof(p), c.addressof(p), c.string_at(b'abc')
    u = Union(i=5)
    u.p = c.pointer(p)
    u.p.contents.x, u.p[0].y
    a = (c.c_int * 4)(1, 2, 3)
    a[1:3], a[0], len(a), list(a)
    a[2] = 7
    (c.c_char * 5)(*b'abc').value, c.create_string_buffer(b'abc').raw, c.create_unicode_buffer('abc').value, c.c_wchar_p('x').value
    f = c.CDLL(None).strlen
    f.argtypes, f.restype = [c.c_char_p], c.c_size_t
    f.errcheck = lambda result, function, args: [result]
    f(b'hello'), repr(f), f.argtypes
    callback = c.CFUNCTYPE(c.c_int, c.c_int, c.c_int)(lambda x, y: x + y)
    callback(1, 2)
    c.byref(p, 4), c.cast(c.pointer(c.c_int(5)), c.c_void_p).value, c.POINTER(c.c_int)(), c.py_object([1]).value
    Point.from_buffer(bytearray(64)), Point.from_buffer_copy(bytes(64)), c.c_int.from_address(c.addressof(a)), c.c_int.from_param(5), c.resize(a, 64)
    import copy
    copy.copy(c.c_int(5))
    for call in ((f, 5), (f,), (c.c_int, 'x'), (Point, 1, 2, 3, 4, 5, 6), (Point, 'x'), (setattr, p, 'x', 'y'), (a.__getitem__, 9),
                 (a.__setitem__, 0, 'x'), (c.CDLL, '/nosuch'), (getattr, c.CDLL(None), 'nosuch'), (c.pointer, 5), (c.cast, 'x', c.c_int), (c.byref, 5),
                 (type(c.Structure), 'S', (c.Structure,), {'_fields_': [('x', 5)]}), (type(c.Structure), 'S', (c.Structure,), {'_fields_': 5}),
                 (c.c_int.from_buffer, b'x'), (c.c_int.from_buffer, bytearray(1)), (c.POINTER(c.c_int), 'x'), (lambda: c.POINTER(c.c_int)().contents,),
                 (c.CFUNCTYPE(c.c_int), 5), (setattr, f, 'argtypes', [5]), (setattr, f, 'restype', 5), (setattr, f, 'errcheck', 5), (c.c_char_p, 5)):
        fails(*call)
    c._pointer_type_cache.pop(Point)


@workload
def database():
    import sqlite3 as s
    c = s.connect(':memory:')
    c.execute('create table t (a integer, b text)')
    c.executemany('insert into t values (?, ?)', [(i, str(i)) for i in range(5)])
    c.execute('insert into t values (:a, :b)', {'a': 9, 'b': None})
    list(c.execute('select * from t')), c.execute('select 1, 2.5, "x", x\'00\', null').fetchone(), c.execute('select a from t').fetchmany(2)
    c.row_factory = s.Row
    row = c.execute('select a, b from t').fetchone()
    row['a'], row[1], row.keys(), tuple(row), row == row, hash(row), repr(row), row[0:2]
    c.create_function('f', 1, lambda x: x)
    c.create_function('bad', 1, Bad())

    class Sum:
        def __init__(self):
            self.v = 0

        def step(self, x):
            self.v += x

        def finalize(self):
            return self.v

    c.create_aggregate('mysum', 1, Sum)
    c.create_collation('coll', lambda x, y: 0)
    c.execute('select f(a), mysum(a) from t group by b order by b collate coll').fetchall()
    c.set_trace_callback(lambda x: None), c.set_progress_handler(lambda: 0, 5), c.set_authorizer(lambda *a: 0)
    c.execute('select 5').fetchall()
    c.set_trace_callback(None), c.set_progress_handler(None, 0), c.set_authorizer(None)
    c.text_factory = bytes
    c.execute('select b from t').fetchall()
    c.text_factory = str
    with c:
        c.execute('delete from t where a = 1')
    list(c.iterdump()), c.total_changes, c.in_transaction, c.commit(), c.rollback()
    for call in ((c.execute, 'nonsense'), (c.execute, 'select ?'), (c.execute, 'select ?', 5), (c.execute, 'select ?', [object()]), (c.execute, 5),
                 (c.execute, 'select bad(1)'), (c.executemany, 'insert into t values (?, ?)', Bad()),
                 (c.execute, 'select :x', {}), (c.create_function, 'f', 'x', 5), (s.connect, '/nosuch/x'), (c.executescript, 'select 1; nonsense'),
                 (row.__getitem__, 'q'), (row.__getitem__, 99), (s.Row, 5, 5), (c.executemany, 'insert into t values (?, ?)', [(1,), 5]), (s.Cursor, 5)):
        fails(*call)
    c.close()
    fails(c.execute, 'select 1')


@workload
def xml():
    import xml.etree.ElementTree as E
    from xml.parsers import expat
    root = E.fromstring('<a x="1"><b>t<c/>tail</b><!-- c --><?pi x?><b k="v"/></a>')
    root.find('b'), root.findall('.//c'), root.findtext('b'), list(root.iter()), list(root.itertext()), root.get('x'), root.items(), root.keys()
    E.tostring(root), root[0], root[0:1], len(root), repr(root), root.attrib, root.makeelement('x', {})
    e = E.SubElement(root, 'new', {'a': 'b'}, c='d')
    e.text, e.tail = 'text', 'tail'
    root.append(E.Element('x')), root.insert(0, E.Element('y')), root.remove(e), root.extend([E.Element('z')])
    root[0:2] = [E.Element('w')]
    del root[0]
    import copy
    copy.copy(root), copy.deepcopy(root), root.__getstate__(), root.__setstate__({'tag': 'q', 'attrib': {}, '_children': [], 'text': None, 'tail': None})
    p = E.XMLPullParser(['start', 'end', 'start-ns', 'end-ns', 'comment', 'pi'])
    p.feed('<a xmlns:n="u"><n:b/><!--c--></a>')
    list(p.read_events())
    t = E.TreeBuilder()
    t.start('a', {}), t.data('x'), t.end('a'), t.close()
    parser = expat.ParserCreate(intern={}, namespace_separator=' ')
    parser.StartElementHandler = lambda n, a: None
    parser.EndElementHandler = parser.CharacterDataHandler = lambda *a: None
    parser.buffer_text = True
    parser.Parse('<!DOCTYPE a [<!ELEMENT a (b|c)*><!ENTITY e "v">]><a k="v">text&e;</a>', True)
    parser.GetInputContext(), parser.intern

    def raising(*args):
        raise KeyError(args)

    bad = expat.ParserCreate()
    bad.StartElementHandler = raising
    for call in ((E.fromstring, '<a>'), (E.fromstring, '<a>&q;</a>'), (bad.Parse, '<a/>', True), (E.Element,), (E.Element, 'a', 5), (root.append, 5),
                 (root.remove, e), (root.__getitem__, 99), (root.__setitem__, 0, 5), (root.insert, 'x', e), (E.TreeBuilder().end, 'x'), (E.TreeBuilder().close,),
                 (E.XMLParser, 5), (parser.Parse, 5), (setattr, parser, 'StartElementHandler', 5), (E.fromstring, '<a/>', E.XMLParser(target=Thing(
                  start=raising, close=lambda: 5))), (root.__setstate__, 5), (root.extend, Bad()), (expat.ParserCreate, 'utf-8', 'ab'), (e.set, 1)):
        fails(*call)


@workload
def compression():
    import binascii
    import bz2
    import lzma
    import zlib
    data = b'some data ' * 50
    z = zlib.compress(data)
    zlib.decompress(z), zlib.crc32(data), zlib.adler32(data)
    c = zlib.compressobj(zdict=b'some')
    c.compress(data), c.copy(), c.flush()
    d = zlib.decompressobj()
    d.decompress(z + b'more', 20), d.unconsumed_tail, d.unused_data, d.copy(), d.flush(), d.eof
    bz2.decompress(bz2.compress(data)), lzma.decompress(lzma.compress(data))
    x = lzma.LZMADecompressor()
    x.decompress(lzma.compress(data), 10), x.needs_input, x.unused_data
    b = bz2.BZ2Decompressor()
    b.decompress(bz2.compress(data) + b'more', 10), b.decompress(b''), b.unused_data
    binascii.b2a_base64(data), binascii.a2b_base64(binascii.b2a_base64(data)), binascii.hexlify(data, '-'), binascii.unhexlify('00ff'), binascii.b2a_qp(data)
    for call in ((zlib.decompress, b'x'), (zlib.compress, 'x'), (zlib.decompressobj, 99), (d.decompress, 'x'), (bz2.decompress, b'x'), (lzma.decompress, b'x'),
                 (bz2.BZ2Decompressor().decompress, b'xxxxxxxxxxxxxxx'), (lzma.LZMADecompressor, 99), (lzma.compress, data, 99), (zlib.compressobj, 99),
                 (binascii.a2b_base64, 'x'), (binascii.unhexlify, 'x'), (binascii.hexlify, data, '--'), (binascii.a2b_hex, chr(0x20ac)),
                 (lzma.LZMACompressor, lzma.FORMAT_RAW), (lzma.LZMACompressor, 3, -1, None, [{'id': 'x'}]), (zlib.decompressobj, 15, 5)):
        fails(*call)


@workload
def hashing():
    import hashlib
    import hmac
    import random
    import secrets
    for name in ('md5', 'sha1', 'sha256', 'sha3_256', 'blake2b', 'blake2s', 'sha512'):
        h = hashlib.new(name, b'data')
        h.update(b'more'), h.hexdigest(), h.digest(), h.copy(), h.name, repr(h)
    hashlib.shake_128(b'x').digest(5), hashlib.pbkdf2_hmac('sha256', b'p', b's', 2), hashlib.blake2b(b'x', key=b'k', salt=b's', person=b'p')
    m = hmac.new(b'k', b'm', 'sha256')
    m.update(b'x'), m.hexdigest(), m.copy(), hmac.digest(b'k', b'm', 'sha1'), hmac.compare_digest('a', 'b'), secrets.token_hex(4)
    r = random.Random(5)
    r.random(), r.getrandbits(100), r.getstate(), r.setstate(r.getstate()), r.choice([[1]]), r.sample(range(9), 3), r.shuffle([1, 2]), r.seed('x')
    for call in ((hashlib.new, 'nosuch'), (hashlib.md5, 'x'), (hashlib.sha3_256, 5), (hmac.new, 'k', b'', 'md5'), (hmac.new, b'k', b'', 'nosuch'),
                 (hashlib.blake2b, b'', ), (hashlib.shake_128().digest, -1), (r.getrandbits, -1), (r.setstate, (1, 2, 3)), (r.seed, []), (hmac.compare_digest, 'x', 5),
                 (hashlib.pbkdf2_hmac, 'nosuch', b'', b'', 1), (hashlib.pbkdf2_hmac, 'sha1', b'', b'', 0)):
        fails(*call)
    fails(lambda: hashlib.blake2b(b'', digest_size=999))


@workload
def tls():
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options, context.verify_mode, context.get_ciphers(), context.set_ciphers('AES256-SHA'), context.get_ca_certs(), context.cert_store_stats()
    context.set_alpn_protocols(['http/1.1'])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.sni_callback = lambda *args: None
    server.sni_callback = None
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    a.write(b'x'), a.read(), a.pending, a.write_eof()
    o = context.wrap_bio(ssl.MemoryBIO(), b, server_hostname='host')
    fails(o.do_handshake)
    b.read(), o.version(), o.cipher(), o.server_hostname, o.session, o.context, o.selected_alpn_protocol()
    ssl.RAND_bytes(5), ssl.get_default_verify_paths()
    import _ssl
    _ssl.txt2obj('2.5.29.37'), _ssl.nid2obj(13)
    for call in ((context.set_ciphers, 'nosuch'), (context.load_verify_locations, '/nosuch'), (context.load_cert_chain, '/nosuch'), (setattr, context, 'options', 'x'),
                 (context.load_verify_locations, None, None, 'nonsense'), (context.load_dh_params, '/nosuch'), (context.set_ecdh_curve, 'nosuch'), (_ssl.txt2obj, 'x'),
                 (setattr, context, 'sni_callback', 5), (context.wrap_bio, 5, 5), (ssl.SSLContext, 99), (setattr, context, 'verify_mode', 'x'), (o.read, 5), (o.write, b'x'),
                 (context.set_alpn_protocols, [5]), (ssl.DER_cert_to_PEM_cert, 5), (_ssl.nid2obj, -5), (context.load_verify_locations, None, None, 5)):
        fails(*call)


@workload
def sockets():
    import select
    import socket
    a, b = socket.socketpair()
    with a, b:
        a.send(b'x'), b.recv(5), a.sendall(bytearray(b'y')), b.recv_into(bytearray(5)), a.sendmsg([b'a', b'b'])
        b.recvmsg(10, 100), a.getsockname(), a.getpeername(), a.fileno(), repr(a), a.settimeout(0.01), a.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4)
        a.send(b'x'), b.recvfrom(2), a.send(b'y'), b.recvfrom_into(bytearray(2)), a.dup().close()
        select.select([a], [b], [], 0)
        p = select.poll()
        p.register(a, select.POLLOUT), p.poll(0), p.modify(a, select.POLLIN), p.unregister(a)
        with select.epoll() as e:
            e.register(a, select.EPOLLOUT), e.poll(0), e.unregister(a)
        socket.inet_aton('1.2.3.4'), socket.inet_pton(socket.AF_INET6, '::1'), socket.inet_ntop(socket.AF_INET, bytes(4)), socket.gethostname(), socket.if_nameindex()
        for call in ((a.send, 'x'), (a.bind, 5), (a.connect, 5), (a.setsockopt, 1, 2, 'x'), (a.sendmsg, [5]), (a.sendmsg, [b'x'], [5]), (a.recv_into, b'x'), (a.recv, -1),
                     (select.select, [5.5], [], []), (select.select, 5, [], []), (select.poll().modify, 5, 5), (select.poll().register, 'x'), (socket.inet_aton, 'x'),
                     (socket.socket, 99, 99), (a.sendto, b'x', 5), (socket.getaddrinfo, 5, 5), (a.accept,), (a.getsockopt, 99, 99),
                     (socket.inet_pton, 5, 'x'), (socket.if_nametoindex, 'nosuch'), (a.recvmsg, 10, -1), (select.epoll, 0), (a.sendmsg, [b'x'], [(1, 2, 'x')])):
            fails(*call)
    for family, address in ((socket.AF_INET, ('1.2.3.4', 99999)), (socket.AF_INET6, ('::1', 5, 6)), (socket.AF_UNIX, 'x' * 300)):
        with contextlib.suppress(OSError), socket.socket(family) as s:
            fails(s.bind, address)
            fails(s.connect, address + (1,) if isinstance(address, tuple) else 5)


@workload
def operating_system():
    import os
    import stat
    import tempfile
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, 'file')
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        os.write(fd, b'data'), os.lseek(fd, 0, 0), os.read(fd, 5), os.fstat(fd), os.pread(fd, 2, 0), os.writev(fd, [b'a', b'b']), os.readv(fd, [bytearray(2)])
        os.close(fd)
        os.stat(path).st_mtime_ns, os.listdir(d), os.rename(path, path + '2'), os.utime(path + '2', (1.5, 2.5)), os.chmod(path + '2', 0o600), os.access(path, 4)
        os.listdir(os.fsencode(d)), os.symlink('x', path), os.readlink(path), os.lstat(path), os.link(path + '2', path + '3'), os.truncate(path + '3', 2)
        with os.scandir(d) as entries:
            for e in entries:
                e.name, e.path, e.is_dir(), e.is_file(), e.stat(follow_symlinks=False), e.inode(), repr(e), os.fspath(e), e.is_symlink()
        os.makedirs(os.path.join(d, 'a', 'b')), list(os.walk(d)), os.rmdir(os.path.join(d, 'a', 'b'))
    os.environ.copy(), os.getcwd(), os.getpid(), os.uname(), os.times(), os.strerror(2), os.cpu_count(), os.sched_getaffinity(0)
    os.stat_result(range(10)), os.fsencode('x'), os.fsdecode(b'x'), os.path.realpath('/usr/../bin'), os.statvfs('/'), os.getgroups(), os.sysconf('SC_PAGE_SIZE'), os.confstr('CS_PATH')
    r, w = os.pipe()
    os.close(r), os.close(w)
    os.putenv('REFMAP_X', 'y'), os.unsetenv('REFMAP_X')
    for call in ((os.stat, '/nosuch'), (os.stat, 5.5), (os.open, '/nosuch', 0), (os.open, 'x\0', 0), (os.listdir, '/nosuch'), (os.listdir, 5.5), (os.rename, '/nosuch', '/n'), (os.scandir, '/nosuch'),
                 (os.utime, '/nosuch', 5), (os.utime, '/tmp', ('x', 1)), (os.chmod, '/nosuch', 'x'), (os.read, -1, 5), (os.write, 1, 'x'), (os.putenv, 5, 5), (os.putenv, 'a=b', 'c'), (os.execv, '/nosuch', []),
                 (os.execv, '/nosuch', [5]), (os.execve, '/nosuch', ['x'], {5: 6}), (os.execve, '/nosuch', ['x'], 5), (os.posix_spawn, '/nosuch', ['x'], {}), (os.stat_result, [1]), (os.fspath, 5), (os.readv, 0, [5]),
                 (os.posix_spawn, '/nosuch', ['x'], {}, ), (os.sched_setaffinity, 0, Bad()), (os.mkdir, '/nosuch/x'), (os.symlink, 'x', '/nosuch/x'), (os.link, '/nosuch', '/x'), (os.writev, 1, Bad()), (os.kill, 'x', 5),
                 (os.setgroups, Bad()), (os.getxattr, '/nosuch', 'user.x'), (os.waitpid, 99999999, 0), (os.sysconf, 'nosuch'), (os.unsetenv, 5), (os.readlink, '/nosuch'), (os.truncate, '/nosuch', 5)):
        fails(*call)
    fails(lambda: os.posix_spawn('/nosuch', ['x'], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 1, 'x', 0, 0), 5]))
    stat.filemode(0o100644)


@workload
def async_():
    import asyncio

    async def leaf(x):
        await asyncio.sleep(0)
        return [x]

    async def failing():
        await asyncio.sleep(0)
        raise KeyError(['k'])

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        await asyncio.gather(leaf(1), leaf(2))
        await asyncio.gather(failing(), leaf(3), return_exceptions=True)
        t = asyncio.create_task(leaf(5), name='n')
        t.add_done_callback(lambda t: None)
        t.get_coro(), t.get_name(), t.get_context(), repr(t), t.get_stack()
        await t
        t.result(), t.exception(), t.done()
        f = loop.create_future()
        f.add_done_callback(g := lambda f: None)
        f.remove_done_callback(g)
        loop.call_soon(f.set_result, [1])
        await f
        c = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        c.cancel('message')
        with contextlib.suppress(asyncio.CancelledError):
            await c
        q = asyncio.Queue()
        await q.put([1])
        await q.get()
        e = asyncio.Event()
        e.set()
        await e.wait()
        async with asyncio.Lock(), asyncio.timeout(5):
            pass
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(5), 0)
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(failing())
        done = loop.create_future()
        done.set_exception(ValueError('v'))
        for call in ((done.result,), (done.set_result, 1), (loop.create_future().result,), (loop.create_future().set_exception, 5), (asyncio.Task, 5), (f.cancel, ),
                     (loop.create_future().set_exception, StopIteration()), (t.set_result, 5), (t.set_exception, 5), (loop.call_soon, 5)):
            fails(*call)
        done.exception()
        async def bad_await():
            await Thing(__await__=1)
        with contextlib.suppress(TypeError):
            await bad_await()
        async def yields_wrong():
            class A:
                def __await__(self):
                    yield 5
            await A()
        with contextlib.suppress(RuntimeError):
            await asyncio.create_task(yields_wrong())

    asyncio.run(main())


@workload
def threads():
    import _thread
    import queue
    import threading
    local = threading.local()
    local.x = [1]
    results = []

    def run(x, *, k):
        local.x = [x]
        results.append(k)

    t = threading.Thread(target=run, args=([1],), kwargs={'k': [2]})
    t.start()
    t.join()
    lock = threading.RLock()
    with lock, threading.Lock(), threading.Condition():
        repr(lock)
    q = queue.SimpleQueue()
    q.put([1]), q.get(), q.put_nowait([2]), q.get_nowait(), q.qsize()
    fails(q.get_nowait)
    fails(lambda: q.get(timeout=-5))
    fails(lambda: q.get(timeout='x'))
    fails(_thread.start_new_thread, 5, ())
    fails(_thread.start_new_thread, len, 5)
    fails(_thread.allocate_lock().release)
    fails(getattr, local, 'missing')
    fails(threading.local, 5)
    del local.x


@workload
def contexts():
    import contextvars
    var = contextvars.ContextVar('v', default=['d'])
    token = var.set([1])
    var.get(), token.old_value, token.var, repr(token), repr(var)
    var.reset(token)
    context = contextvars.copy_context()
    context.run(var.set, [2])
    context[var], list(context), list(context.items()), list(context.values()), len(context), var in context, context.copy(), context == context.copy(), context.get(var)
    many = [contextvars.ContextVar(f'v{i}') for i in range(40)]

    def fill():
        for v in many:
            v.set([v.name])

    context.run(fill)
    other = context.copy()
    other.run(many[3].set, 5)
    list(other.items()), other == context
    for call in ((var.reset, token), (contextvars.ContextVar, 5), (context.run, 5), (context.run,), (context.__getitem__, 5), (contextvars.copy_context().__getitem__, contextvars.ContextVar('q')),
                 (contextvars.ContextVar('q').get,), (var.reset, 5), (context.run, context.run, len), (context.run, Bad())):
        fails(*call)


@workload
def imports():
    import importlib
    import importlib.util
    import types
    m = types.ModuleType('name', 'doc')
    m.x = [1]
    repr(m), dir(m), m.__dict__, vars(m)
    m.__getattr__ = lambda name: [name]
    m.missing
    spec = importlib.util.find_spec('json')
    importlib.util.module_from_spec(spec), repr(spec), importlib.import_module('json.decoder')
    sys.modules['refmap_mutant'] = m
    import refmap_mutant
    from refmap_mutant import x, other
    del m.__getattr__
    exec('from json import *', {})
    for call in ((exec, 'import nosuch.module'), (exec, 'from json import nosuch'), (exec, 'from . import x', {}), (exec, 'from .x import y', {'__package__': 5}), (exec, 'from refmap_mutant import nosuch'), (exec, 'import json.nosuch'),
                 (types.ModuleType, 5), (getattr, m, 'nosuch'), (importlib.import_module, '.x'), (exec, 'import x', {'__builtins__': {}}), (importlib.reload, 5), (importlib.reload, m), (exec, 'from json import *', {'__builtins__': {'__import__': Bad()}}),
                 (setattr, m, '__dict__', 5), (delattr, m, 'nosuch')):
        fails(*call)
    del sys.modules['refmap_mutant']
    import warnings
    with warnings.catch_warnings(record=True):
        warnings.simplefilter('always')
        warnings.warn('w', DeprecationWarning), warnings.warn_explicit('w', UserWarning, 'f', 1, registry={})
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fails(warnings.warn, 'w')
        fails(warnings.warn, 'w', 5)
        fails(warnings.warn_explicit, 'w', UserWarning, 'f', 1, 5, 5)


@workload
def system():
    sys.getrefcount([1]), sys.getsizeof([1]), sys._getframe().f_locals, sys._getframe().f_code, sys.intern('x' * 5 + 'y'), sys.exc_info(), sys.getrecursionlimit()
    frame = sys._getframe()
    frame.f_lineno, frame.f_globals, frame.f_back, repr(frame), frame.f_trace
    frame.f_locals['new'] = [1]
    dict(frame.f_locals), list(frame.f_locals.items()), frame.f_locals.get('new'), frame.f_locals | {}
    del frame

    def tracer(frame, event, arg):
        return tracer

    sys.settrace(tracer)
    len([1])
    (lambda x: [x])(1)
    sys.settrace(None)
    sys.setprofile(lambda *args: None)
    len([1])
    sys.setprofile(None)
    m = sys.monitoring
    m.use_tool_id(4, 'x')
    m.register_callback(4, m.events.PY_START, lambda *a: m.DISABLE), m.set_events(4, m.events.PY_START), m.get_tool(4)
    (lambda x: [x])(1)
    m.set_events(4, 0), m.register_callback(4, m.events.PY_START, None), m.free_tool_id(4)
    old, sys.displayhook = sys.displayhook, lambda x: None
    sys.displayhook = old
    for call in ((sys.intern, 5), (sys.setrecursionlimit, 'x'), (sys.settrace,), (sys._getframe, 9999), (sys.getsizeof, Bad()), (m.use_tool_id, 99, 'x'), (m.set_events, 4, 1), (m.register_callback, 99, 1, None), (sys.set_int_max_str_digits, 5),
                 (sys.setswitchinterval, -1), (sys.call_tracing, 5, 5), (sys.call_tracing, len, ([1],)), (sys.set_asyncgen_hooks, 5), (sys.unraisablehook, 5), (sys.excepthook, 5)):
        fails(*call)

    def deep(n):
        return deep(n + 1)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(150)
    fails(deep, 0)
    sys.setrecursionlimit(limit)
    hook, sys.unraisablehook = sys.unraisablehook, lambda args: None

    class Dying:
        def __del__(self):
            raise KeyError([1])

    Dying()
    sys.unraisablehook = hook


@workload
def mathematics():
    import bisect
    import heapq
    import math
    import statistics
    big = 10 ** 40
    math.prod([big, 2.5]), math.comb(50, 20), math.perm(30, 10), math.factorial(30), math.gcd(big, 12), math.lcm(big, 14), math.isqrt(big), math.fsum([1.5, big]), math.dist([1, 2], [3, 4]), math.hypot(1, 2, 3)
    math.sumprod([1, big], [2, 3]), math.frexp(2.5), math.modf(2.5), math.log(big), math.ceil(2.5), math.floor(big), math.trunc(2.5), math.isclose(1, 1.0), math.log2(big), math.ldexp(1.5, 5)
    heap = [[i] for i in range(9, 0, -1)]
    heapq.heapify(heap), heapq.heappush(heap, [0]), heapq.heappop(heap), heapq.heappushpop(heap, [5]), heapq.heapreplace(heap, [6]), heapq.nlargest(2, heap), heapq._heappop_max(heap), heapq.merge([1], [2])
    bisect.bisect([[1], [2]], [1]), bisect.insort(heap, [3]), bisect.bisect_left([1, 2], 2, key=lambda x: x)
    statistics.mean([1, 2.5])
    for call in ((math.prod, Bad()), (math.comb, 1.5, 2), (math.comb, -1, 2), (math.factorial, 1.5), (math.gcd, 1.5), (math.isqrt, -1), (math.fsum, ['x']), (math.dist, [1], [1, 2]), (math.sumprod, [1], [1, 2]), (math.log, 0), (math.ceil, 'x'), (math.perm, 2, 'x'),
                 (math.floor, Bad()), (math.prod, ['a', 'b']), (math.sumprod, ['a'], ['b']), (math.hypot, 'x'), (math.sqrt, -1), (math.trunc, 'x'), (math.fsum, Bad()), (heapq.heappop, []), (heapq.heapify, 5), (heapq.heapify, [1, 'a']),
                 (heapq.heappush, [Bad()], Bad()), (bisect.bisect, [1], 'a'), (bisect.insort, [1], 'a'), (bisect.bisect, [1], 2, -1), (math.log, -big), (math.lcm, 'x'), (math.dist, Bad(), [1]), (math.pow, 'x', 1)):
        fails(*call)


@workload
def tables():
    import csv
    import locale
    import unicodedata
    rows = []
    writer = csv.writer(Thing(write=rows.append), delimiter=';', quoting=csv.QUOTE_NONNUMERIC, lineterminator='\n')
    writer.writerow(['a', 1, None, 2.5, 'q"q']), writer.writerows([[1], ['x']]), writer.dialect.delimiter
    list(csv.reader(['a;b;"c;d"', '1;2;3'], delimiter=';')), csv.Sniffer().sniff('a,b\n1,2\n'), list(csv.DictReader(['a,b', '1,2']))
    csv.register_dialect('refmap', delimiter='|')
    csv.get_dialect('refmap').delimiter, csv.list_dialects(), csv.unregister_dialect('refmap'), csv.field_size_limit()
    unicodedata.name('a'), unicodedata.lookup('LATIN SMALL LETTER A'), unicodedata.normalize('NFKD', '\u00e9\u1e9b'), unicodedata.decomposition('\u00e9'), unicodedata.category('a'), unicodedata.numeric('5')
    locale.localeconv(), locale.strcoll('a', 'b'), locale.strxfrm('x')
    for call in ((csv.writer, 5), (writer.writerow, 5), (writer.writerows, [5]), (csv.reader, 5), (csv.get_dialect, 'nosuch'), (csv.unregister_dialect, 'nosuch'), (csv.register_dialect, 5), (csv.field_size_limit, 'x'), (csv.writer(Thing(write=Bad())).writerow, [1]),
                 (list, csv.reader([5])), (list, csv.reader(['"x'], strict=True)), (list, csv.reader(['a\rb'])), (writer.writerow, [Bad()]), (unicodedata.name, chr(5)), (unicodedata.lookup, 'nosuch'), (unicodedata.normalize, 'q', 'x'), (unicodedata.numeric, 'x')):
        fails(*call)
    fails(lambda: csv.writer(Thing(write=len), delimiter='xx'))
    fails(lambda: csv.writer(Thing(write=len), quoting=99))
    fails(lambda: csv.writer(Thing(write=len), quoting=csv.QUOTE_NONE).writerow(['a,b']))
    fails(lambda: csv.reader([], nosuch=1))


@workload
def encodings_():
    import codecs
    text = 'text \u20ac \u3042'
    for name in ('utf-8', 'utf-7', 'utf-16', 'utf-32', 'utf-8-sig', 'raw_unicode_escape', 'unicode_escape', 'shift_jis', 'gb18030', 'euc_kr', 'iso2022_jp'):
        with contextlib.suppress(UnicodeError):
            text.encode(name, 'replace').decode(name)
    'abc'.encode('cp1252'), 'abc'.encode('idna'), 'a-b'.encode('punycode'), codecs.encode('abc', 'rot13'), codecs.decode(b'616263', 'hex'), codecs.lookup('utf-8').name
    d = codecs.getincrementaldecoder('shift_jis')()
    d.decode(b'\x82'), d.getstate(), d.setstate(d.getstate()), d.reset()
    e = codecs.getincrementalencoder('iso2022_jp')()
    e.encode('\u3042'), e.getstate(), e.reset()
    u = codecs.getincrementaldecoder('utf-8')('replace')
    u.decode(b'\xe2\x82'), u.decode(b'\xff', True)
    codecs.charmap_build('abc' * 90), codecs.escape_decode(b'a\\n'), codecs.unicode_escape_decode(b'\\u20ac'), codecs.charmap_encode('ab', 'strict', {97: b'x', 98: 5}), codecs.charmap_decode(b'ab', 'strict', {97: 'x', 98: 5})
    codecs.lookup_error('replace')(UnicodeEncodeError('a', 'b', 0, 1, 'r')), codecs.lookup_error('xmlcharrefreplace')(UnicodeEncodeError('a', 'b', 0, 1, 'r')), codecs.lookup_error('backslashreplace')(UnicodeDecodeError('a', b'b', 0, 1, 'r'))
    for call in (('\u20ac'.encode, 'shift_jis', 'nosuch'), (b'\xff\xff'.decode, 'shift_jis'), (b'\xff'.decode, 'utf-7'), (b'\x00\xd8'.decode, 'utf-16'), (b'x'.decode, 'utf-32'), ('\ud800'.encode, 'utf-8'), (codecs.lookup, 'nosuch'), (codecs.lookup_error, 'nosuch'), (d.setstate, 5),
                 (codecs.charmap_encode, 'a', 'strict', {97: []}), (codecs.charmap_decode, b'a', 'strict', {97: []}), (codecs.charmap_encode, 'a', 'strict', Bad()), (b'\\ux'.decode, 'unicode_escape'), (codecs.register, 5), (codecs.register_error, 'x', 5), (codecs.decode, 'x', 'hex'),
                 (codecs.lookup_error('strict'), 5), (codecs.lookup_error('replace'), KeyError()), (codecs.encode, 'x', 'hex'), ('\u20ac'.encode, 'latin-1'), (b'\x81'.decode, 'cp1252')):
        fails(*call)


@workload
def subinterpreters():
    with contextlib.suppress(ImportError):
        import _interpqueues as queues
        import _interpreters
        for value in (5, 'text', b'bytes', (1, 'x'), 2.5, None):
            _interpreters.is_shareable(value)
        interp = _interpreters.create()
        _interpreters.exec(interp, 'x = [1]'), _interpreters.set___main___attrs(interp, {'a': 5, 'b': 'text'}), _interpreters.list_all()
        fails(_interpreters.exec, interp, 'raise KeyError(1)')
        fails(_interpreters.exec, interp, 'x =')
        fails(_interpreters.exec, interp, 5)
        _interpreters.destroy(interp)
        q = queues.create(2, 1, 1)
        queues.put(q, 'x', 0, 1), queues.get(q), queues.get_count(q), queues.list_all()
        fails(queues.get, q)
        fails(queues.put, q, object(), 0, 1)
        queues.destroy(q)
        fails(queues.get, 9999)


@workload
def various():
    import cmath
    import dis
    import enum
    import dataclasses
    import opcode
    import timeit
    import uuid

    class Color(enum.Enum):
        RED = [1]
        BLUE = 'b'

    class Flag(enum.Flag):
        A = 1
        B = 2

    Color('b'), Color['RED'], Flag.A | Flag.B, list(Color), repr(Color.RED)
    fails(Color, 'q')

    @dataclasses.dataclass(order=True)
    class D:
        x: list = dataclasses.field(default_factory=list)
        y: int = 5

    D([1]) < D([2]), repr(D()), dataclasses.replace(D(), y=2), dataclasses.asdict(D([1]))
    dis.get_instructions(various), opcode.stack_effect(opcode.opmap['POP_TOP']), uuid.uuid4().hex, uuid.UUID(int=5), cmath.sqrt(-1), cmath.polar(1j)
    a = slice(1, [2], 3)
    slice(1, 9, 2).indices(5), a == slice(1, [2], 3), repr(a), hash(slice(1, 2)), range(10 ** 20)[5:99:3], range(5) == range(0, 5), hash(range(5)), range(10 ** 20).index(7), 5 in range(9), reversed(range(10 ** 20))
    for call in ((range, 'x'), (range, 1, 2, 0), (range(5).index, 99), (slice, ), (slice(1, 'x').indices, 5), (cmath.log, 0), (cmath.sqrt, 'x'), (uuid.UUID, 'x'), (opcode.stack_effect, 9999), (range(5).__getitem__, 99), (range(5).__getitem__, 'x')):
        fails(*call)


# --- cycles ---------------------------------------------------------------------------

def selfish(make):
    """Return a thing that holds what make(thing) gives."""
    thing = Thing()
    thing.held = make(thing)
    return thing


def simple_cycles():
    """Name cycles through what one call makes of an object."""
    import asyncio
    import collections
    import contextvars
    import csv
    import ctypes
    import functools
    import io
    import itertools
    import json
    import operator
    import queue
    import re
    import threading
    import types
    import typing
    import weakref
    import xml.etree.ElementTree as ET
    import _csv
    import _elementtree
    import _io
    import _json
    import _pickle
    import pickle

    class Raw(io.RawIOBase):
        def readable(self):
            return True

        writable = seekable = readable

        def seek(self, *args):
            return 0

        tell = seek

        def write(self, b):
            return len(b)

    def raw_of(x):
        r = Raw()
        r.x = x
        return r

    class Sequence:
        def __init__(self, x):
            self.x = x

        def __getitem__(self, i):
            return self.x

    def local_of(x):
        local = threading.local()
        local.x = x
        return local

    def set_attribute(o, x, name='x'):
        setattr(o, name, x)
        return o

    def partial_next(iterator):
        next(iterator, None)
        return iterator

    def code_holder(x):
        def f(a=x, *, k=x):
            return x
        f.extra = x
        f.__annotations__ = {'a': x}
        return f

    def generator_of(x):
        def g(y):
            try:
                raise KeyError(y)
            except KeyError:
                yield y
        return partial_next(g(x))

    def async_generator_of(x):
        async def g(y):
            yield y
        return g(x)

    def coroutine_of(x):
        async def c(y):
            await asyncio.sleep(y)
        return c(x)

    def error_of(x, kind=KeyError):
        try:
            try:
                raise ValueError(x)
            except ValueError as e:
                raise kind(x) from e
        except kind as e:
            return e

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return None

    def deque_of(x):
        return collections.deque([x] * 70, 100)

    def ctypes_structure(x):
        class S(ctypes.Structure):
            _fields_ = [('o', ctypes.py_object), ('p', ctypes.POINTER(ctypes.c_int))]
        return S(x)

    def ctypes_callback(x):
        return ctypes.CFUNCTYPE(ctypes.c_int)(lambda: x)

    def ctypes_function(x):
        f = ctypes.CDLL(None).strlen
        f.errcheck = lambda *args: x
        return f

    def alias(x):
        space = {'x': x}
        exec('type A[T] = dict[T, x]', space)
        return space['A']

    def typevar(x):
        space = {'x': x}
        exec('def f[T: x, *Ts, **P](a): pass', space)
        f = space['f']
        x.params = f.__type_params__
        f.__type_params__[0].__bound__
        return f

    def task_of(x):
        loop = asyncio.new_event_loop()
        loop.close()
        f = asyncio.Future(loop=loop)
        f.add_done_callback(lambda f: x)
        f.add_done_callback(lambda f: [x])
        return f

    def finished_future(x):
        loop = asyncio.new_event_loop()
        loop.close()
        f = asyncio.Future(loop=loop)
        f.set_result(x)
        return f

    def element(x):
        e = ET.Element('a', {'k': x})
        e.text, e.tail = x, x
        e.append(ET.Element('b', {'c': e}))
        return e

    def builder(x):
        return ET.TreeBuilder(lambda *a: x, comment_factory=lambda *a: x, pi_factory=lambda *a: x)

    def open_builder(x):
        b = ET.TreeBuilder()
        e = b.start('a', {'k': x})
        b.data('x')
        return b

    def xml_parser(x):
        return ET.XMLParser(target=set_attribute(Thing(start=lambda *a: x, end=lambda *a: x, data=lambda *a: x, comment=lambda *a: x,
                                                       pi=lambda *a: x, close=lambda *a: x, doctype=lambda *a: x, start_ns=lambda *a: x), x))

    def expat(x):
        import pyexpat
        p = pyexpat.ParserCreate()
        p.StartElementHandler = lambda *a: x
        return p

    def cached(x):
        f = functools.lru_cache(3)(lambda *a: x)
        f(x), f(5)
        return f

    def context_of(x):
        var = contextvars.ContextVar('v')
        context = contextvars.copy_context()
        context.run(var.set, x)
        return context

    def token_of(x):
        var = contextvars.ContextVar('v', default=x)
        context = contextvars.copy_context()
        return context.run(var.set, x)

    def groupby(x):
        g = itertools.groupby([x, x], lambda y: x)
        x.group = next(g)
        return g

    def tee(x):
        a, b = itertools.tee(iter([x] * 5))
        next(a)
        return a, b

    def sqlite(x):
        import sqlite3
        c = sqlite3.connect(':memory:')
        c.row_factory = lambda *a: x
        c.text_factory = lambda *a: x
        c.set_trace_callback(lambda *a: x)
        c.set_progress_handler(lambda *a: x, 1000)
        c.set_authorizer(lambda *a: 0 if x else 1)
        cursor = c.execute('select 1')
        cursor.row_factory = lambda *a: x
        x.cursor = cursor
        cursor.close()
        c.close()
        return c

    def tls(x):
        import ssl
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.sni_callback = lambda *a: x
        return c

    def simple_queue(x):
        q = queue.SimpleQueue()
        q.put(x)
        return q

    def frame_of(x):
        try:
            raise KeyError
        except KeyError as e:
            return e.__traceback__.tb_frame

    def ordered(x):
        d = collections.OrderedDict({1: x})
        x.items = iter(d.items())
        next(x.items)
        return d

    def structure_sequence(x):
        import time
        return time.struct_time([x] * 9)

    def module_of(x):
        m = types.ModuleType('m')
        m.x = x
        return m

    def abc_of(x):
        import abc
        class A(metaclass=abc.ABCMeta):
            held = x
        class B:
            held = x
        A.register(B)
        isinstance(5, A)
        return A

    def type_with(x):
        class Meta(type):
            pass
        class C(metaclass=Meta):
            __slots__ = ('a', 'b', '__dict__')
            held = x
        c = C()
        c.a = x
        c.b = c
        c.z = C
        return c

    def string_io(x):
        s = io.StringIO('x', newline=None)
        s.x = x
        return s

    return {
        'list': lambda x: [x], 'tuple': lambda x: (x,), 'dict': lambda x: {1: x}, 'dict_key': lambda x: {x: 1}, 'split_dict': lambda x: Thing(x=x),
        'set': lambda x: {x}, 'frozenset': lambda x: frozenset([x]), 'slice': lambda x: slice(x, x, x), 'cell': lambda x: (lambda: x).__closure__[0],
        'method': lambda x: Thing.__init__.__get__(x), 'builtin': lambda x: [x].append, 'method_wrapper': lambda x: [x].__add__,
        'property': lambda x: property(lambda s: x, lambda s, v: x, lambda s: x, x), 'classmethod': lambda x: classmethod(x), 'staticmethod': lambda x: set_attribute(staticmethod(lambda: x), x),
        'super': lambda x: super(Thing, x), 'function': code_holder, 'generator': generator_of, 'async_generator': async_generator_of, 'class': type_with,
        'error': error_of, 'system_exit': lambda x: SystemExit(x), 'stop_iteration': lambda x: StopIteration(x), 'attribute_error': lambda x: AttributeError(name='n', obj=x),
        'os_error': lambda x: OSError(x, x, x, None, x), 'import_error': lambda x: ImportError(x, name=x, path=x), 'name_error': lambda x: NameError(x),
        'syntax_error': lambda x: SyntaxError(x, ('f', 1, 2, 't')), 'group': lambda x: ExceptionGroup('g', [KeyError(x)]), 'key_error': lambda x: set_attribute(KeyError(5), x),
        'frame': frame_of, 'weakref': lambda x: weakref.ref(x, lambda r: x), 'proxy': lambda x: weakref.proxy(x, lambda r: x), 'mappingproxy': lambda x: types.MappingProxyType({1: x}),
        'keys': lambda x: {x: 1}.keys(), 'items': lambda x: {1: x}.items(), 'list_iterator': lambda x: iter([x]), 'reversed_list': lambda x: reversed([x]), 'tuple_iterator': lambda x: iter((x,)),
        'dict_iterator': lambda x: iter({1: x}.items()), 'set_iterator': lambda x: iter({x}), 'call_iterator': lambda x: iter(lambda: x, x), 'sequence_iterator': lambda x: iter(Sequence(x)),
        'enumerate': lambda x: partial_next(enumerate([x, x])), 'zip': lambda x: partial_next(zip([x, x], [1, 2])), 'map': lambda x: map(lambda y: x, [x]), 'filter': lambda x: filter(lambda y: x, [x]), 'reversed': lambda x: reversed(collections.UserList([x])),
        'generic_alias': lambda x: list[x], 'union': lambda x: (list[x] | int), 'type_alias': alias, 'typevar': typevar, 'simple_namespace': lambda x: types.SimpleNamespace(x=x), 'module': module_of, 'memoryview': lambda x: memoryview(set_attribute(type('B', (bytearray,), {})(b'x'), x)),
        'deque': deque_of, 'deque_iterator': lambda x: iter(deque_of(x)), 'defaultdict': lambda x: collections.defaultdict(lambda: x, {1: x}), 'ordered_dict': ordered, 'namedtuple_field': lambda x: set_attribute(type('T', (tuple,), {})([x]), x),
        'partial': lambda x: functools.partial(max, x, key=x), 'lru_cache': cached, 'cmp_to_key': lambda x: functools.cmp_to_key(lambda a, b: x)(x), 'itemgetter': lambda x: operator.itemgetter(x), 'attrgetter': lambda x: set_attribute(Thing(), operator.attrgetter('a')), 'methodcaller': lambda x: operator.methodcaller('m', x, k=x),
        'accumulate': lambda x: partial_next(itertools.accumulate([x, x], lambda a, b: x, initial=x)), 'batched': lambda x: itertools.batched([x], 1), 'chain': lambda x: partial_next(itertools.chain([x, x], [x])), 'combinations': lambda x: partial_next(itertools.combinations([x, x, x], 2)), 'combinations_r': lambda x: partial_next(itertools.combinations_with_replacement([x, x], 2)),
        'compress': lambda x: itertools.compress([x], [x]), 'count': lambda x: itertools.count(2.5, 10 ** 20), 'cycle': lambda x: partial_next(itertools.cycle([x, x])), 'dropwhile': lambda x: itertools.dropwhile(lambda y: x, [x]), 'filterfalse': lambda x: itertools.filterfalse(lambda y: x, [x]),
        'groupby': groupby, 'islice': lambda x: itertools.islice([x, x], 5), 'pairwise': lambda x: partial_next(itertools.pairwise([x, x, x])), 'permutations': lambda x: partial_next(itertools.permutations([x, x], 2)), 'product': lambda x: partial_next(itertools.product([x, x], [x])), 'repeat': lambda x: itertools.repeat(x),
        'starmap': lambda x: itertools.starmap(lambda y: x, [(x,)]), 'takewhile': lambda x: itertools.takewhile(lambda y: x, [x]), 'tee': tee, 'zip_longest': lambda x: partial_next(itertools.zip_longest([x, x], [x], fillvalue=x)),
        'bytes_io': lambda x: set_attribute(io.BytesIO(b'x'), x), 'string_io': string_io, 'buffered_reader': lambda x: io.BufferedReader(raw_of(x)), 'buffered_writer': lambda x: io.BufferedWriter(raw_of(x)), 'buffered_random': lambda x: io.BufferedRandom(raw_of(x)), 'buffered_pair': lambda x: io.BufferedRWPair(raw_of(x), raw_of(x)),
        'text_wrapper': lambda x: io.TextIOWrapper(io.BufferedReader(raw_of(x)), 'utf-8'), 'newline_decoder': lambda x: io.IncrementalNewlineDecoder(set_attribute(Thing(), x), True),
        'json_scanner': lambda x: json.JSONDecoder(object_hook=lambda y: x, parse_float=lambda y: x, parse_int=lambda y: x, parse_constant=lambda y: x, object_pairs_hook=lambda y: x).scan_once, 'json_encoder': lambda x: _json.make_encoder({}, lambda y: x, lambda y: x, None, ':', ',', False, False, True),
        'csv_writer': lambda x: csv.writer(Thing(write=lambda y: x)), 'csv_reader': lambda x: csv.reader([x]), 'pickler': lambda x: pickle.Pickler(Thing(write=lambda y: x)), 'unpickler': lambda x: pickle.Unpickler(Thing(read=lambda n: x, readline=lambda: x)), 'own_pickler': lambda x: set_attribute(Pickler(io.BytesIO()), x),
        'pattern_match': lambda x: re.compile('x').match(set_attribute(Text('x'), x)), 'simple_queue': simple_queue, 'local': local_of, 'context': context_of, 'token': token_of, 'future': task_of, 'finished_future': finished_future,
        'ctypes_structure': ctypes_structure, 'ctypes_callback': ctypes_callback, 'ctypes_object': lambda x: ctypes.py_object(x), 'ctypes_function': ctypes_function, 'element': element, 'tree_builder': builder, 'open_builder': open_builder, 'xml_parser': xml_parser, 'expat': expat, 'sqlite': sqlite, 'tls': tls,
        'struct_sequence': structure_sequence, 'abc': abc_of, 'range_iterator': lambda x: [iter(range(10 ** 20)), x],
    }


def load_cycles():
    """Fill CYCLES. What importing makes is no part of a cycle."""
    for name, make in simple_cycles().items():
        CYCLES['cycle_' + name] = functools_partial(selfish, make)


def functools_partial(function, argument):
    def call():
        return function(argument)
    return call
