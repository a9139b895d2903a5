"""What a witness cosigns of a log and what it does not (SPEC section 22.5), each beside a twin that is not right."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import (
    Checkpoint,
    Note,
    NoteKey,
    NoteKind,
    cosign,
    cosigned_at,
    open_checkpoint,
    sign_checkpoint,
)
from fedspallm_secure.errors import FormatError, LogRefused, SplitView
from fedspallm_secure.protocol.audit.cosigning import HASHES_LIMIT, Answer, Cosigner, Shown
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement, log_name
from tests.protocol.audit.logs import (
    FEDERATION,
    LOG,
    LOG_SIGNER,
    SERVER_SIGNER,
    STATEMENT,
    WITNESS_SIGNERS,
    WITNESSES,
    checkpoint,
    tree,
)
from tests.protocol.rounds.altering import faults

NOW = 1_800_000_000
COSIGNER, WYN = WITNESS_SIGNERS[0], Party.parse("witness/w0")
OWN = NoteKeyStatement.make(SERVER_SIGNER, FEDERATION, WYN, WITNESSES[0], NOW)


def shown(start: int, size: int, parted: int | None = None) -> Shown:
    proof = tree(size, parted).consistency(start, size) if start <= size else []
    return Shown(STATEMENT, checkpoint(size, parted), start, tuple(proof))


def cosigner(size: int | None = None, **other) -> Cosigner:
    """A witness that has cosigned so much."""
    made = Cosigner(COSIGNER, OWN.key, LOG, **other)
    if size is not None:
        assert made.on_checkpoint(shown(0, size), NOW).signed
    return made


def refuses(found: Cosigner, what: Shown, error: type[LogRefused], words: str) -> None:
    """It is refused for this reason, and the state is as before."""
    before = found.newest
    verdict = found.on_checkpoint(what, NOW + 1)
    assert (verdict.newest, verdict.signed, found.newest) == (before, False, before)
    assert type(verdict.refusal) is error
    assert words in str(verdict.refusal)
    assert (verdict.contradicted is not None) == (error is SplitView)


# What it cosigns


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8])
def test_the_first_checkpoint_of_any_size_is_cosigned(size):
    found = cosigner()
    assert found.size == 0
    verdict = found.on_checkpoint(shown(0, size), NOW)
    assert verdict.signed
    assert verdict.refusal is None
    assert verdict.newest == found.newest
    assert open_checkpoint(verdict.newest, LOG).size == found.size == size
    assert cosigned_at(verdict.newest, OWN.key) == NOW


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_it_cosigns_whatever_extends_what_it_has(old, more):
    found = cosigner(old)
    assert found.on_checkpoint(shown(old, old + more), NOW + 1).signed
    assert found.size == old + more


def test_it_cosigns_the_same_again_with_the_present_time():
    found = cosigner(5)
    verdict = found.on_checkpoint(shown(5, 5), NOW + 60)
    assert verdict.signed
    assert cosigned_at(verdict.newest, OWN.key) == NOW + 60


def test_cosignatures_do_not_go_back_in_time():
    found = cosigner(5)
    assert cosigned_at(found.on_checkpoint(shown(5, 6), NOW - 60).newest, OWN.key) == NOW


def test_lines_of_others_are_left_away():
    found = cosigner()
    others = cosign(WITNESS_SIGNERS[1], WITNESSES[1], checkpoint(3), NOW)
    verdict = found.on_checkpoint(replace(shown(0, 3), note=others), NOW)
    assert [line.name for line in verdict.newest.signatures] == [LOG.name, OWN.key.name]


def test_it_goes_on_where_it_was():
    newest = Note.parse(cosigner(5).newest.encode())
    found = cosigner(newest=newest)
    assert found.size == 5
    assert found.on_checkpoint(shown(5, 9), NOW).signed


# What it does not


@pytest.mark.parametrize("start", [0, 4, 6])
def test_a_proof_from_another_size_is_answered_with_what_it_has(start):
    found = cosigner(5)
    before = found.newest
    verdict = found.on_checkpoint(shown(start, 9), NOW + 1)
    assert (verdict.newest, verdict.signed, verdict.refusal) == (before, False, None)
    assert found.newest == before


def test_before_the_first_it_has_nothing_to_answer_with():
    verdict = cosigner().on_checkpoint(shown(3, 9), NOW)
    assert (verdict.newest, verdict.signed, verdict.refusal) == (None, False, None)


@pytest.mark.parametrize("size", [0, 4])
def test_a_smaller_log_is_refused(size):
    found = cosigner(5)
    refuses(found, shown(5, size), LogRefused, f"the first 5 of {size} entries")


def test_a_log_that_was_written_anew_is_refused():
    found = cosigner(5)
    refuses(found, shown(5, 9, 3), LogRefused, "nothing shows")
    assert found.on_checkpoint(shown(5, 9), NOW).signed


@pytest.mark.parametrize("change", ["without", "longer", "other", "swapped"])
def test_a_proof_that_is_not_right_is_refused(change):
    right = shown(5, 9)
    assert len(right.proof) > 1
    proofs = {
        "without": (),
        "longer": (*right.proof, bytes(32)),
        "other": (bytes(32), *right.proof[1:]),
        "swapped": right.proof[::-1],
    }
    refuses(cosigner(5), replace(right, proof=proofs[change]), LogRefused, "nothing shows")


def test_the_first_proof_is_empty():
    refuses(cosigner(), replace(shown(0, 3), proof=(bytes(32),)), LogRefused, "nothing shows")


def test_two_roots_of_one_size_are_a_contradiction():
    found = cosigner(5)
    refuses(found, shown(5, 5, 2), SplitView, "two roots of 5 entries")
    assert found.on_checkpoint(shown(0, 5, 2), NOW).contradicted == found.newest


def test_a_contradiction_to_something_earlier_is_found_too():
    kept = {}
    found = cosigner(earlier=kept.get)
    for start, size in ((0, 3), (3, 8)):
        kept[size] = found.on_checkpoint(shown(start, size), NOW).newest
    refuses(found, shown(8, 3, 2), SplitView, "two roots of 3 entries")
    assert found.on_checkpoint(shown(0, 3), NOW).refusal is None


def other_signer():
    key = NoteKey(LOG.name, NoteKind.LOG, WITNESS_SIGNERS[1].public)
    return sign_checkpoint(WITNESS_SIGNERS[1], key, Checkpoint(key.name, 9, tree(9).root()))


def other_log():
    key = NoteKey(log_name(FEDERATION, "rim"), NoteKind.LOG, LOG.public)
    return sign_checkpoint(LOG_SIGNER, key, Checkpoint(key.name, 9, tree(9).root()))


def spoiled():
    right = checkpoint(9)
    line = right.signatures[0]
    return Note(right.text, (replace(line, signature=bytes([line.signature[0] ^ 1]) + line.signature[1:]),))


def of_another_root():
    return Note(checkpoint(9, 0).text, checkpoint(9).signatures)


@pytest.mark.parametrize("make", [other_signer, other_log, spoiled, of_another_root])
def test_what_the_log_did_not_sign_is_refused(make):
    refuses(cosigner(5), replace(shown(5, 9), note=make()), LogRefused, "no checkpoint of lungs.example/log/hub")


# The bodies

ASKED = {
    "note_key": encode_base64(STATEMENT.encode()),
    "note": encode_base64(checkpoint(9).encode()),
    "from": 5,
    "proof": [one.hex() for one in tree(9).consistency(5, 9)],
}


def test_bodies_read_back():
    body = shown(5, 9)
    assert parse_canonical_json(body.encode(), "body") == ASKED
    assert Shown.parse(body.encode()) == body
    for newest in (None, cosigner(5).newest):
        answer = Answer(OWN, newest)
        assert Answer.parse(answer.encode()) == answer


@pytest.mark.parametrize(
    "value",
    [
        *(bad for what, bad in faults(ASKED) if not what.endswith(("turned", "twice"))),  # those are other proofs
        {**ASKED, "from": -1},
        {**ASKED, "note": ""},
        {**ASKED, "proof": [7]},
        {**ASKED, "proof": ["ab"]},
        {**ASKED, "proof": ["ab" * 32] * (HASHES_LIMIT + 1)},
    ],
)
def test_bodies_that_are_none(value):
    with pytest.raises(FormatError):
        Shown.parse(canonical_json(value))


@pytest.mark.parametrize("changes", [{"note": "x"}, {"note": 3}, {"note_key": ""}, {"more": 1}])
def test_answers_that_are_none(changes):
    good = parse_canonical_json(Answer(OWN, cosigner(5).newest).encode(), "body")
    with pytest.raises(FormatError):
        Answer.parse(canonical_json({**good, **changes}))
