"""Evidence of a split view: what proves it, and what only looks like it."""

import pytest

from fedspallm_secure.crypto.encoding import canonical_json, encode_base64, parse_canonical_json
from fedspallm_secure.crypto.merkle import EMPTY_ROOT
from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, NoteKind, NoteSignature, sign_checkpoint
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import BadSignature, FedSpaError, FormatError, LimitExceeded
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.split_view import SplitViewProof
from tests.protocol.audit.logs import FEDERATION, LOG, SERVER, SERVER_SIGNER, STATEMENT, checkpoint, tree


def leaves(size, parted=None):
    return [tree(size, parted).leaf(index) for index in range(size)]


SAME = SplitViewProof.make(STATEMENT, (checkpoint(9), checkpoint(9, parted=4)))
OTHER = SplitViewProof.make(STATEMENT, (checkpoint(6), checkpoint(9, parted=4)), leaves(9, parted=4))


@pytest.mark.parametrize("proof", [SAME, OTHER], ids=["one size", "two sizes"])
def test_evidence_reads_back_and_proves(proof):
    found = SplitViewProof.parse(proof.encode())
    assert found == proof
    small, large = found.check()
    assert small.origin == large.origin == LOG.name
    assert small != large
    found.note_key.check(SERVER_SIGNER.public, FEDERATION, SERVER)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 17])
def test_all_contradictions_are_proven_with_the_notes_in_any_order(size):
    for old in range(1, size + 1):
        for parted in range(old):
            notes = checkpoint(old), checkpoint(size, parted)
            made = SplitViewProof.make(STATEMENT, notes, leaves(size, parted))
            assert made == SplitViewProof.make(STATEMENT, notes[::-1], leaves(size, parted))
            assert [found.size for found in made.check()] == [old, size]


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9])
def test_a_log_that_only_grew_cannot_be_accused(size):
    for old in range(size + 1):
        for parted in (None, old):
            notes = checkpoint(old), checkpoint(size, parted if old < size else None)
            with pytest.raises(FormatError, match=r"contradict|twice"):
                SplitViewProof.make(STATEMENT, notes, leaves(size, parted))


def test_a_proof_that_fails_shows_nothing():
    honest = checkpoint(6), checkpoint(9)
    for root, proof in (
        (bytes(32), OTHER.proof),
        (OTHER.root, OTHER.proof),
        (tree(6).root(), tuple(tree(9).consistency(6, 9))),
        (tree(5).root(), tuple(tree(9).consistency(5, 9))),
        (EMPTY_ROOT, ()),
        (b"", ()),
    ):
        with pytest.raises(FormatError, match="contradict"):
            SplitViewProof(STATEMENT, honest, root, proof).check()


def test_two_sizes_need_the_whole_larger_tree():
    notes = checkpoint(6), checkpoint(9, parted=4)
    for wrong in ([], leaves(8, parted=4), leaves(10, parted=4)):
        with pytest.raises(FormatError, match="needs the 9 leaves"):
            SplitViewProof.make(STATEMENT, notes, wrong)
    for wrong in (leaves(9), leaves(9, parted=5)):
        with pytest.raises(FormatError, match="contradict"):
            SplitViewProof.make(STATEMENT, notes, wrong)


def test_nothing_is_a_beginning_of_everything():
    with pytest.raises(FormatError):
        SplitViewProof(STATEMENT, (checkpoint(0), checkpoint(3)), bytes(32), ()).check()


def test_only_the_log_s_own_signatures_count():
    mallory = Ed25519Signer(b"\x66" * 32)
    key = NoteKey(LOG.name, NoteKind.LOG, mallory.public)
    forged = sign_checkpoint(mallory, key, Checkpoint(LOG.name, 9, bytes(32)))
    wearing = Note(forged.text, (NoteSignature(LOG.name, LOG.id, forged.signatures[0].signature),))
    for note in (forged, wearing):
        with pytest.raises(BadSignature):
            SplitViewProof.make(STATEMENT, (checkpoint(9), note))
        with pytest.raises(BadSignature):
            SplitViewProof(STATEMENT, (checkpoint(9), note), b"", ()).check()
    own = NoteKeyStatement.make(mallory, FEDERATION, SERVER, key, 1)
    other = sign_checkpoint(mallory, key, Checkpoint(LOG.name, 9, bytes([1]) * 32))
    made = SplitViewProof.make(own, (forged, other))
    with pytest.raises(BadSignature):
        made.note_key.check(SERVER_SIGNER.public, FEDERATION, SERVER)


def test_the_notes_stand_in_their_order():
    for proof in (SAME, OTHER):
        turned = SplitViewProof(STATEMENT, proof.notes[::-1], proof.root, proof.proof)
        with pytest.raises(FormatError, match="larger first"):
            turned.check()
    for root, hashes in ((OTHER.root, ()), (b"", OTHER.proof)):
        with pytest.raises(FormatError, match="contradict"):
            SplitViewProof(STATEMENT, SAME.notes, root, hashes).check()


VALUE = parse_canonical_json(OTHER.encode(), "it")
NOTES = VALUE["notes"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "fedspallm-secure/2 split-view"},
        {"more": 1},
        {"notes": NOTES[:1]},
        {"notes": [*NOTES, NOTES[0]]},
        {"notes": [NOTES[0], 1]},
        {"notes": [NOTES[0], NOTES[1][:-4]]},
        {"note_key": encode_base64(b"x")},
        {"root": VALUE["root"].upper()},
        {"root": VALUE["root"][:-2]},
        {"proof": [VALUE["proof"][0][:-2]]},
        {"proof": [1]},
        {"proof": [VALUE["proof"]]},
        {"leaves": []},
    ],
    ids=range(13),
)
def test_the_form_is_closed(change):
    with pytest.raises(FormatError):
        SplitViewProof.parse(canonical_json({**VALUE, **change}))


def test_evidence_is_bounded():
    with pytest.raises(LimitExceeded):
        SplitViewProof.parse(OTHER.encode() + b" " * 300_000)


def test_every_changed_byte_is_noticed():
    for proof in (SAME, OTHER):
        data = proof.encode()
        for at in range(len(data)):
            try:
                found = SplitViewProof.parse(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
                found.check()
                found.note_key.check(SERVER_SIGNER.public, FEDERATION, SERVER)
            except FedSpaError:
                continue
            pytest.fail(f"byte {at} may be changed")
