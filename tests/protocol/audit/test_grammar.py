"""The order of entries: every order that the specification allows is taken, every other refused at its index.

What is allowed is written down here a second time, as a regular expression over one letter for each entry of a round.
"""

import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import AuditGrammar
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.grammar import Grammar
from tests.protocol.audit.samples import GOOD, NORTH, OUTSIDE, SOUTH, entry

LETTERS = {
    "O": (EntryType.ROUND_OPEN, {}),
    "P": (EntryType.PLAN, {}),
    "c": (EntryType.CONTRIBUTION, {"actor": NORTH}),
    "C": (EntryType.CONTRIBUTION, {"actor": SOUTH}),
    "d": (EntryType.CONTRIBUTION, {"actor": NORTH, "data": {**GOOD[EntryType.CONTRIBUTION][1], "group": 1}}),
    "S": (EntryType.SURVIVORS, {}),
    "e": (EntryType.ENDORSEMENT, {}),  # of a witness
    "E": (EntryType.ENDORSEMENT, {"actor": NORTH}),
    "Q": (EntryType.UNMASK_REQUEST, {}),
    "a": (EntryType.UNMASK_RESPONSE, {"actor": NORTH}),
    "A": (EntryType.UNMASK_RESPONSE, {"actor": SOUTH}),
    "R": (EntryType.RESULT, {}),
    "M": (EntryType.MODEL, {}),
    "X": (EntryType.ABORT, {}),
    "f": (EntryType.REFUSAL, {}),
    "q": (EntryType.EQUIVOCATION, {}),
    "k": (EntryType.COMPLAINT, {}),
    "g": (EntryType.GROUP_ENDED, {}),
    "t": (EntryType.RETENTION, {}),
}
ANYWHERE, LATE = "fqkgt", "fqt"
_COLLECTED = f"OP[cCd{ANYWHERE}]*"
_LISTED = f"{_COLLECTED}S[eE{ANYWHERE}]*"
_ASKED = f"{_LISTED}Q[aA{ANYWHERE}]*"
_ROUND = re.compile(
    f"O|{_COLLECTED}|{_LISTED}|{_ASKED}|{_ASKED}R[{LATE}]*(M[{LATE}]*)?|({_COLLECTED}|{_LISTED}|{_ASKED})X[{LATE}]*"
)
_ONCE = "cCdeEaA"


def allowed(word: str) -> bool:
    """Whether a round may begin like this."""
    return bool(_ROUND.fullmatch(word)) and all(word.count(letter) <= 1 for letter in _ONCE)


@cache
def made(letter: str, seq: int, round: int) -> Entry:
    type, changes = LETTERS[letter]
    return entry(type, seq, round, **changes)


def begun() -> Grammar:
    """Of a log with a genesis."""
    grammar = Grammar()
    grammar.take(entry(EntryType.GENESIS))
    return grammar


def taken(word: str, grammar: Grammar | None = None, round: int = 1, first: int = 1) -> Grammar:
    """A round that goes like this."""
    grammar = grammar or begun()
    for seq, letter in enumerate(word, first):
        grammar.take(made(letter, seq, round))
    return grammar


def refuses(grammar: Grammar, one: Entry) -> str:
    """It is refused, with its index, and nothing was taken; the message."""
    before = deepcopy(grammar.rounds)
    with pytest.raises(AuditGrammar) as found:
        grammar.take(one)
    assert found.value.indices == (one.seq,)
    assert grammar.rounds == before
    assert grammar.current == (before[max(before)] if before else None)
    return str(found.value)


def prefixes() -> Iterator[str]:
    """One allowed beginning for each set of entries that a round may have, with and without another one last."""
    queue, known = [""], set()
    while queue:
        word = queue.pop(0)
        yield word
        for letter in LETTERS:
            longer = word + letter
            key = frozenset(longer.translate(str.maketrans("", "", ANYWHERE))), letter in ANYWHERE
            if key not in known and (not longer or allowed(longer)):
                known.add(key)
                queue.append(longer)


PREFIXES = list(prefixes())


def test_the_beginnings_are_many():
    assert len(PREFIXES) > 500
    assert {letter for word in PREFIXES for letter in word} >= set(LETTERS) - set(ANYWHERE)


def test_after_every_beginning_what_is_allowed_is_taken_and_nothing_else():
    for word in PREFIXES:
        grammar = taken(word)
        seq = len(word) + 1
        for letter in LETTERS:
            one = made(letter, seq, 1)
            if allowed(word + letter):
                deepcopy(grammar).take(one)
            else:
                assert f"entry {seq}: " in refuses(grammar, one), word + letter


def test_what_a_round_has_is_known():
    grammar = taken("OPcCfSEeQaAkRtM")
    found = grammar.rounds[1]
    assert grammar.current is found
    assert found.types == {
        EntryType.ROUND_OPEN,
        EntryType.PLAN,
        EntryType.CONTRIBUTION,
        EntryType.REFUSAL,
        EntryType.SURVIVORS,
        EntryType.ENDORSEMENT,
        EntryType.UNMASK_REQUEST,
        EntryType.UNMASK_RESPONSE,
        EntryType.COMPLAINT,
        EntryType.RESULT,
        EntryType.RETENTION,
        EntryType.MODEL,
    }
    assert [taken(word).rounds[1].is_over for word in ("OP", "OPX", "OPSQ", "OPSQR")] == [False, True, False, True]


# Whole logs


@st.composite
def rounds(draw: st.DrawFn) -> str:
    """An honest round in one of the three profiles, ended at any moment, with whatever may come in between."""
    endorsed = draw(st.sampled_from(["", "e", "E", "eE"]))  # two-trip, witnessed, three-trip
    stages = ["P", draw(st.permutations("cCd").map("".join)), "S", endorsed, "Q", draw(st.sampled_from(["a", "Aa"]))]
    word, end = "", draw(st.integers(1, len(stages)))
    between = st.text("fqkgt", max_size=2)
    for stage in stages[:end]:
        word += "".join(letter + draw(between) for letter in stage)
    late = st.text("fqt", max_size=2)
    if end == len(stages) and draw(st.booleans()):
        return f"O{word}R{draw(late)}{draw(st.sampled_from(['', 'M']))}{draw(late)}"
    return f"O{word}X{draw(late)}"


def numbered(words: list[str]) -> list[Entry]:
    """The log of these rounds, with entries of no round between them."""
    log, letters = [entry(EntryType.GENESIS)], [(number, word) for number, word in enumerate(words, 1)]
    for number, word in letters:
        log.append(entry(EntryType.REVOCATIONS, len(log)))
        for letter in word:
            log.append(made(letter, len(log), number))
    return log


@given(st.lists(rounds(), min_size=1, max_size=3))
def test_honest_logs_are_taken(words):
    assert all(map(allowed, words))
    grammar = Grammar()
    for one in numbered(words):
        grammar.take(one)
    assert list(grammar.rounds) == list(range(1, len(words) + 1))
    assert all(found.is_over for found in grammar.rounds.values())


@given(rounds(), st.data())
def test_one_change_is_refused_where_the_order_ends(word, data):
    """An entry that is missing, there twice, or exchanged with the next one."""
    at = data.draw(st.integers(0, len(word) - 1))
    kind = data.draw(st.sampled_from(["missing", "twice", "exchanged"]))
    if kind == "missing":
        other = word[:at] + word[at + 1 :]
    elif kind == "twice":
        other = word[: at + 1] + word[at:]
    else:
        other = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
    good = next((n for n in range(len(other)) if not allowed(other[: n + 1])), len(other))
    grammar = taken(other[:good])
    if good < len(other):
        refuses(grammar, made(other[good], good + 1, 1))


# Between rounds


def test_a_log_begins_with_its_genesis_and_has_one():
    for type in EntryType:
        if type is not EntryType.GENESIS:
            grammar = Grammar()
            assert "begins with its genesis" in refuses(grammar, entry(type))
            grammar.take(entry(EntryType.GENESIS))
    refuses(begun(), entry(EntryType.GENESIS, 1))
    refuses(taken("OP"), entry(EntryType.GENESIS, 3))


def test_entries_of_no_round_come_at_any_time():
    grammar = begun()
    for seq, letter in enumerate("OPcSEQaRM", 1):
        for type in (*OUTSIDE[1:], EntryType.EQUIVOCATION, EntryType.RETENTION):
            grammar.take(entry(type, seq, 0))
        grammar.take(made(letter, seq, 1))


@pytest.mark.parametrize("number", [2, 3, 2**53 - 1])
def test_rounds_begin_at_one(number):
    refuses(begun(), made("O", 1, number))


@pytest.mark.parametrize("end", ["OPX", "OPSQR"])
def test_rounds_count_up_and_come_one_after_the_other(end):
    grammar = taken(end)
    seq = len(end) + 1
    for number in (1, 3):
        refuses(grammar, made("O", seq, number))
    grammar.take(made("O", seq, 2))
    refuses(grammar, made("O", seq + 1, 3))
    refuses(grammar, made("P", seq + 1, 1))
    taken("PcSQaR", grammar, 2, seq + 1)
    assert list(grammar.rounds) == [1, 2]


@pytest.mark.parametrize("word", ["O", "OP", "OPcSE", "OPcSEQa"])
def test_no_round_opens_while_another_is_going_on(word):
    assert "is going on" in refuses(taken(word), made("O", len(word) + 1, 2))


@pytest.mark.parametrize("letter", [letter for letter in LETTERS if letter != "O"])
def test_nothing_is_of_a_round_that_was_not_opened(letter):
    assert "was not opened" in refuses(taken("OPX"), made(letter, 4, 2))


def test_of_an_earlier_round_what_may_follow_its_end_still_may():
    grammar = taken("OP", taken("OPSQR"), 2, 6)
    for seq, letter in enumerate("fqtM", 8):
        grammar.take(made(letter, seq, 1))
    for letter in "cSEQaRXkgM":
        refuses(grammar, made(letter, 12, 1))
