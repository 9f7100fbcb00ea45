"""Which function lost the reference: ranks suspects from what was recorded.

The kind of each leak comes from who holds the leaked objects at the end
(owners); the function from the flow of tokens (tokens). Works on literal
records, in any interpreter.

Each leaked reference accuses a few functions, the most probable first, each
with a weight: how direct the evidence is (DIRECTNESS), halved for the second
function that the same evidence fits, a third for the third, and so on. The
score of a suspect is the mean of these weights over all leaked references: 1.0
would say that every one of them was left in this function, and was seen to be.
A low score is a hint where to look, and no more.
"""

from collections import namedtuple

from . import cuts, evidence, tokens, unseen
from .accusing import DIRECTNESS, Judge
from .calls import Call, Calls
from .functions import is_allocator, is_machinery
from .owners import HELD, HIDDEN, LOST, OVER, RAW, UNTRACKED
from .recording import Alloc, Free

MAX_SUSPECTS = 5
# Below that a function was only near.
MIN_SCORE = 0.04

# Whom these accuse is known from all that was done with the references.
_BY_TOKENS = (LOST, OVER, HELD)

# One object that leaked in the recorded runs. before: 0 if it was born in
# them; birth: its serial number, 0 if it is not known.
Leaked = namedtuple('Leaked', 'address type before after birth')


class Suspect:
    """A function that may be guilty.

    function, file, line -- where; the line is that of its last known call
                            with the reference
    kind -- of the leak, one of owners.KINDS
    rule -- stable name of the rule that found it
    type -- name of the type of the leaked object of the evidence
    references -- leaked a run, of all types, that accuse it and no suspect
                  before it
    score -- 0 to 1, see the module
    evidence -- a list of evidence.Step
    """

    def __init__(self, call, kind, rule, type, references, score, evidence):
        self.function = call.function
        self.file = call.file
        self.line = call.line
        self.kind = kind
        self.rule = rule
        self.type = type
        self.references = references
        self.score = score
        self.evidence = evidence

    def __repr__(self):
        return f'<Suspect {self.function}: {self.rule}, {self.score:.2f}>'


# suspects: at most MAX_SUSPECTS, the first is the most probable. roots: the
# Leaked that explain the others. wanted: names of types that should be watched
# in another run. notes: sentences, what could not be told and why.
Analysis = namedtuple('Analysis', 'suspects roots wanted notes')


# --- what kind of leak it is -------------------------------------------------

class Case:
    """One analysis: what leaked, who holds it, and whom that accuses."""

    def __init__(self, recording, leaked, ownership, symbols, contracts, runs,
                 blind=''):
        self.recording = recording
        self.leaked = leaked
        self.ownership = ownership
        self.symbols = symbols
        self.runs = max(1, runs)
        self.flow = tokens.Flow(recording, symbols)
        self.judge = Judge(self.flow, contracts)
        self.born = {item.address for item in leaked if not item.before}
        self.wanted = set()
        self.notes = []
        self.blind = blind
        self.whole = unseen.whole(recording, leaked) if blind else None

    def holders(self, item):
        """Return the Holders of a leaked object."""
        own = self.ownership.get(item.address)
        return list(own.visited) + list(own.hidden) if own else []

    def lost(self, item):
        """Return how many references to an object nobody has."""
        own = self.ownership.get(item.address)
        gained = item.after - item.before
        if own is None:
            return max(0, gained)
        # Of an older object only what it got counts, and what it got from
        # other leaked objects is theirs.
        theirs = sum(holder.count for holder in self.holders(item)
                     if holder.address in self.born)
        return max(0, min(own.unowned, gained - theirs))

    def life(self, item):
        return self.flow.life(item.address, item.birth)

    def kind(self, item):
        """Return the kind of an object's leak; None if another one explains
        it."""
        if item.after < item.before:
            return OVER
        own = self.ownership.get(item.address)
        if own is None:
            return LOST
        return own.kind if own.root else None

    def roots(self):
        """Return [(kind, leaked objects that explain others)], the kinds that
        leave least doubt first."""
        found = {kind: [] for kind in (LOST, OVER, HIDDEN, UNTRACKED, HELD)}
        for item in self.leaked:
            kind = self.kind(item)
            if kind in found:
                found[kind].append(item)
        return [(kind, items) for kind, items in found.items() if items]

    def is_known(self, kind, item):
        """Was all seen that tells whom an object accuses?"""
        return (self.whole is None or kind not in _BY_TOKENS
                or item.address in self.whole)

    # Each of these returns, per leaked reference, a list of Accusation.

    def accuse(self, kind, item):
        return {LOST: self.accuse_lost, OVER: self.accuse_thief,
                HIDDEN: self.accuse_hiding, UNTRACKED: self.accuse_maker,
                HELD: self.accuse_holder}[kind](item)

    def left(self, item):
        """Return the tokens left of an object that no living owner has."""
        life = self.life(item)
        # Where an older object was found it may have been before.
        owners = () if item.before else {holder.address
                                         for holder in self.holders(item)}
        return [token for token in (life.left() if life else ())
                if not any(place.base in owners
                           for place in token.places.values())]

    def accuse_lost(self, item):
        left = self.left(item)
        left.sort(key=lambda token: FATES.index(self.judge.fate(token)))
        # Where more are left than were lost the evidence against some is weak.
        found = [self.judge.accuse(token) for token in left]
        found.sort(key=weight_of, reverse=True)
        return found[:self.lost(item)]

    def accuse_thief(self, item):
        life = self.life(item)
        found = []
        for release in life.unmatched if life else ():
            calls = release.calls
            if self.judge.is_cut(release.event.frames):
                continue
            if release.event.deaths:
                # The object that gave it up should not have had it: whoever
                # made that object put a reference in it that it did not own.
                container = release.event.deaths[0]
                calls = self.maker(container)
                if calls is None:
                    self.wanted.add(self.recording.type_name(container.type))
                    continue
            found.append(self.judge.weighed(calls, 'over-decref', 1, None,
                                            release))
        return found

    def maker(self, container):
        """Return the calls that made an object, without those that make
        objects for anybody; None if it was not watched."""
        for life in self.flow.lives:
            if (life.address == container.address and life.born is not None
                    and life.birth == container.birth):
                return self.makers(self.recording.events[life.born].frames)
        return None

    def makers(self, frames):
        """Return the calls on the stack of a birth from the one on whose
        behalf the object was made.

        Who allocates, and functions that by contract return a new reference,
        make it for their caller. What called that function, by way of the
        machinery of calls, did not see the object being made.
        """
        calls = self.flow.calls.of(frames)
        end = next((i for i, call in enumerate(calls) if is_machinery(call)),
                   len(calls))
        start = max((i + 1 for i, call in enumerate(calls[:end])
                     if is_allocator(call)
                     or self.judge.contracts.returns_new(call.function)),
                    default=0)
        if not calls[start:]:
            self.judge.is_cut(frames)
        return calls[start:]

    def accuse_hiding(self, item):
        found = []
        for holder in self.ownership[item.address].hidden:
            if holder.gc and holder.traverse is not None:
                calls = [Call(site.function, site.file, site.line, 0)
                         for site in (holder.traverse, holder.caller) if site]
                found += [self.judge.weighed(calls, 'missing-visit', 1, None,
                                             holder)]
            else:
                found += self.accuse_storing(item, holder)
        return found

    def accuse_storing(self, item, holder):
        """Who stored a reference in an object that the collector ignores?"""
        life = self.life(item)
        left = life.left() if life else []
        there = [token for token in left
                 if any(place.base == holder.address
                        for place in token.places.values())]
        if not there:
            # Not found there while it was recorded. The file that defines a
            # type has the functions that store in its objects.
            home = self.judge.slots.home(holder.type_address)
            there = [token for token in left
                     if any(call.file == home
                            for call in token.at(token.last_slot()))]
        return [self.judge.weighed(self.judge.storing(token), 'no-gc', 1,
                                   token, holder) for token in there]

    def accuse_maker(self, item):
        life = self.life(item)
        if life is None or life.born is None:
            return []
        frames = self.recording.events[life.born].frames
        return [self.judge.weighed(self.makers(frames), 'untracked', 1,
                                   life.tokens[0])]

    def accuse_holder(self, item):
        """Who took the references that visible owners have now?"""
        left = self.life(item).left() if self.life(item) else []
        return [self.judge.weighed(self.judge.storing(token), 'held', 1, token)
                for token in left[:item.after - item.before]]

    # Together

    def suspects(self):
        found = []
        roots = []
        for kind, items in self.roots():
            roots += items
            if found and kind == HELD:
                continue        # a cache that filled while something leaked
            ballot, unknown = Ballot(kind, self), Ballot(kind, self)
            for item in items:
                if self.is_known(kind, item):
                    ballot.add(item, self.accuse(kind, item))
                else:
                    unknown.add(item, [])
            found += ballot.suspects()
            if unknown.items:
                self.notes.append(
                    f'{kind}: unknown who, of {unknown.types()}: references were '
                    f'counted without hooks, as these do: {self.blind}')
            if ballot.items and not ballot.accused:
                self.notes.append(f'{kind}: nothing that was recorded tells '
                                  f'who, of {ballot.types()}')
        self.notes += cuts.sentences(self.symbols, self.judge.ways_out)
        return found[:MAX_SUSPECTS], roots


# How a token was lost, the most direct evidence first.
FATES = ('missing-decref', 'overwritten-field', 'container-not-released',
         'stored', 'held')


class Ballot:
    """Adds up whom the leaked references of one kind accuse."""

    def __init__(self, kind, case):
        self.kind = kind
        self.case = case
        self.items = []
        # (leaked object, its accusations), one for each reference; the list is
        # empty if nobody is accused.
        self.references = []
        # (function, file) -> [(leaked object, Accusation, all of that
        # reference)]
        self.accused = {}

    def add(self, item, lists):
        self.items.append(item)
        for accusations in lists or [[]]:
            self.references.append((item, accusations))
            for accusation in accusations:
                self.accused.setdefault(key_of(accusation), []).append(
                    (item, accusation, accusations))

    def types(self):
        return ', '.join(sorted({item.type for item in self.items}))

    def score(self, key):
        weights = [accusation.weight for _, accusation, _ in self.accused[key]]
        return sum(weights) / len(self.references)

    def suspects(self):
        ranked = sorted((key for key in self.accused
                         if self.score(key) >= MIN_SCORE),
                        key=self.score, reverse=True)
        rest = self.references
        found = []
        for key in ranked[:MAX_SUSPECTS]:
            # Each reference counts for the first suspect that it accuses.
            mine = [item for item, accusations in rest
                    if key in map(key_of, accusations)]
            rest = [(item, accusations) for item, accusations in rest
                    if key not in map(key_of, accusations)]
            found.append(self.suspect(key, len(mine)))
        return found

    def suspect(self, key, references):
        item, best, accusations = max(self.accused[key],
                                      key=lambda found: found[1].weight)
        steps = evidence.steps(self.case, item, best, accusations)
        return Suspect(best.call, self.kind, best.rule, item.type,
                       references / self.case.runs, round(self.score(key), 3),
                       steps)


def weight_of(accusations):
    """Return how direct the evidence of a reference is, 0 if it accuses
    nobody."""
    return max((accusation.weight for accusation in accusations), default=0)


def key_of(accusation):
    return accusation.call.function, accusation.call.file


# --- raw memory --------------------------------------------------------------

def raw_memory(recording, symbols, runs):
    """Return the suspects of blocks that were allocated and not given back,
    and notes."""
    blocks = {}
    for event in recording.events:
        if isinstance(event, Alloc):
            blocks[event.address] = event
        elif isinstance(event, Free):
            blocks.pop(event.address, None)
    calls = Calls(symbols)
    by_function, ways_out = {}, set()
    for event in blocks.values():
        stack = [call for call in calls.of(event.frames)
                 if not is_allocator(call)]
        if stack:
            key = stack[0].function, stack[0].file
            by_function.setdefault(key, []).append((stack, event))
        else:
            ways_out.add(cuts.end_of(event.frames))
    found = []
    for group in by_function.values():
        if len(group) < runs:
            continue            # not in every run: something grew once
        stack, event = group[0]
        share = len(group) / len(blocks)
        found.append(Suspect(
            stack[0], RAW, 'raw-memory', '', len(group) / runs,
            round(DIRECTNESS['raw-memory'] * share, 3),
            evidence.block_steps(recording, stack, event, len(group))))
    found.sort(key=lambda suspect: suspect.score, reverse=True)
    return found, cuts.sentences(symbols, ways_out)


# --- all of it ---------------------------------------------------------------

def analyse(recording, leaked, ownership, symbols, contracts, runs, blind=''):
    """Tell who leaked.

    recording -- a recording.Recording of some runs
    leaked -- the Leaked objects of these runs
    ownership -- {address: owners.Ownership} of them, at the end
    symbols -- a symbols.Symbols, or what has its methods
    contracts -- a contracts.Contracts
    runs -- how many runs were recorded
    blind -- the binaries that count references without the recorder, as text: an
             object's tokens are believed only if they explain its true counts
    Return an Analysis. Where the evidence does not suffice there are no
    suspects, and a note says what is missing.
    """
    if not leaked:
        symbols.resolve(recording.pcs())
        suspects, notes = raw_memory(recording, symbols, runs)
        if not suspects:
            notes.append('no object leaked while it was recorded')
        return Analysis(suspects[:MAX_SUSPECTS], [], [], notes)
    case = Case(recording, leaked, ownership, symbols, contracts, runs, blind)
    suspects, roots = case.suspects()
    notes = case.notes
    if recording.lost.records:
        notes.append(f'{recording.lost.records} records did not fit')
    elif recording.lost.tokens and not suspects:
        notes.append(f'{recording.lost.tokens} times there was no time to '
                     f'search memory for a reference')
    return Analysis(suspects, roots, sorted(case.wanted), notes)
