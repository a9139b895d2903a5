"""What different places saw of one log: one history, two, or too little to tell."""

import pytest

from fedspallm_secure.app.audit.comparing import compare, read_view
from fedspallm_secure.crypto.notes import Note, NoteKey, NoteKind
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import AuditIncomplete, BadSignature, LogRefused, MissingInput, UsageError
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.split_view import SplitViewProof
from fedspallm_secure.storage.log_file import pack
from tests.app.audit.places import checkpoint_file, home, note, published
from tests.protocol.audit import logs


def views(*paths):
    return [read_view(path) for path in paths]


def test_places_that_saw_one_history(tmp_path):
    log = published(tmp_path / "log", 20)
    pack(log, tmp_path / "log.fslog")
    member = home(tmp_path / "north", "member/north", 12, [note(5), note(12), note(15)])
    witness = home(tmp_path / "wyn", "witness/wyn", 0, [note(7)])
    file = checkpoint_file(tmp_path / "seen", 20)
    found = compare(views(log, tmp_path / "log.fslog", member, witness, file))
    assert found.proof is None and not found.undecided
    assert found.origin == logs.LOG.name
    sizes = {(held.name, held.checkpoint.size) for held in found.held}
    assert sizes == {
        (str(log), 20), (str(tmp_path / "log.fslog"), 20), (str(member), 5), (str(member), 12), (str(member), 15),
        (str(witness), 7), (str(file), 20),
    }  # fmt: skip
    within = {held.checkpoint.size: held.within for held in found.held}
    assert str(member) in within[12] and str(member) not in within[15]


@pytest.mark.parametrize("size", [13, 20, 26])
@pytest.mark.parametrize("kind", ["file", "folder", "home"])
def test_two_histories_give_a_proof(tmp_path, size, kind):
    """Of a smaller, the same and a larger size; the proof holds by itself."""
    log = published(tmp_path / "log", 20)
    other = {
        "file": lambda: checkpoint_file(tmp_path / "seen", size, 9),
        "folder": lambda: published(tmp_path / "other", size, 9),
        "home": lambda: home(tmp_path / "north", "member/north", size, [note(size, 9)], 9),
    }[kind]()
    if kind == "file" and size == 26:
        found = compare(views(log, other))
        assert found.proof is None and [held.checkpoint.size for held in found.undecided] == [26]
        return
    found = compare(views(log, other))
    assert set(found.between) == {str(log), str(other)}
    small, large = SplitViewProof.parse(found.proof.encode()).check()
    assert {small.size, large.size} == {20, size}


def test_a_home_that_was_shown_two_histories(tmp_path):
    """Its entries are of one, a checkpoint that came along another way is of the other."""
    found = compare(views(home(tmp_path / "north", "member/north", 12, [note(12), note(8, 3)])))
    assert found.proof is not None


def test_without_a_larger_log_it_cannot_be_told(tmp_path):
    log, file = published(tmp_path / "log", 20), checkpoint_file(tmp_path / "seen", 21)
    found = compare(views(log, file))
    assert [held.name for held in found.undecided] == [str(file)]
    twice = compare(views(file, checkpoint_file(tmp_path / "again", 21)), logs.LOG)
    assert not twice.undecided


def test_checkpoints_alone_need_a_key(tmp_path):
    first, second = checkpoint_file(tmp_path / "a", 8), checkpoint_file(tmp_path / "b", 8, 3)
    with pytest.raises(UsageError, match="whose checkpoints"):
        compare(views(first, second))
    with pytest.raises(LogRefused, match="two histories"):
        compare(views(first, second), logs.LOG)
    proof = compare(views(first, second, published(tmp_path / "log", 8))).proof
    assert proof is not None


def test_nothing_to_compare(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint"):
        compare(views(home(tmp_path / "wyn", "witness/wyn", 0, [])))
    with pytest.raises(MissingInput):
        read_view(tmp_path / "nothing")


def test_a_checkpoint_that_the_log_has_not_signed(tmp_path):
    log, file = published(tmp_path / "log", 20), checkpoint_file(tmp_path / "seen", 8)
    text = file.read_bytes()
    file.write_bytes(text.replace(b"\n8\n", b"\n9\n"))
    with pytest.raises(BadSignature, match="seen"):
        compare(views(log, file))


def test_entries_that_do_not_give_the_checkpoint_beside_them(tmp_path):
    """A log whose hashes were changed proves nothing against anybody."""
    log, file = published(tmp_path / "log", 20), checkpoint_file(tmp_path / "seen", 8)
    tile = log / "tile/0/000.p/20"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    with pytest.raises(AuditIncomplete, match="not those"):
        compare(views(log, file))


def test_two_keys_of_one_log(tmp_path):
    signer = Ed25519Signer(b"\x55" * 32)
    key = NoteKey(logs.LOG.name, NoteKind.LOG, signer.public)
    other = NoteKeyStatement.make(logs.SERVER_SIGNER, logs.FEDERATION, logs.SERVER, key, 1_800_000_000)
    member = home(tmp_path / "north", "member/north", 12, [note(12)], statement=other)
    with pytest.raises(LogRefused, match="different keys"):
        compare(views(published(tmp_path / "log", 20), member))


def test_cosigned_checkpoints_count_too(tmp_path):
    from fedspallm_secure.crypto.notes import cosign

    cosigned = cosign(logs.WITNESS_SIGNERS[0], logs.WITNESSES[0], note(11), 1_800_000_100)
    log = published(tmp_path / "log", 20, cosigned=cosigned)
    assert {held.checkpoint.size for held in compare(views(log)).held} == {11, 20}
    (log / "checkpoint.cosigned").write_bytes(
        Note.encode(cosign(logs.WITNESS_SIGNERS[0], logs.WITNESSES[0], note(11, 4), 5))
    )
    assert compare(views(log)).proof is not None
