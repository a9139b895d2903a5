"""What may be named as a log, what a home knows of one, and which root an audit starts from."""

import pytest

from fedspallm_secure.app.audit.opening import open_log_at, read_root
from fedspallm_secure.app.audit.receipts import kept_receipts, read_receipts, write_receipts
from fedspallm_secure.app.audit.verifying import Basis, read_policy, trusted_root
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.notes import Checkpoint, cosign
from fedspallm_secure.errors import (
    FingerprintMismatch,
    FormatError,
    HostileFile,
    LimitExceeded,
    MissingInput,
    OutputExists,
    UsageError,
)
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.records_member import ReceiptHeld, VectorFrozen
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.journal import open_journal
from fedspallm_secure.storage.log_file import pack
from fedspallm_secure.storage.pem import CERTIFICATE, encode_pem
from fedspallm_secure.storage.register import open_register
from tests.app.audit.places import GENESIS, ROOT, history, home, note, published
from tests.protocol.audit import logs

HASH = "ab" * 32


def nobody(root):
    raise UsageError("nobody can be asked")


def test_a_folder_the_folder_around_it_and_one_file(tmp_path):
    log = published(tmp_path / "work/log", 9)
    pack(log, tmp_path / "hub.fslog")
    for path in (log, tmp_path / "work", tmp_path / "hub.fslog"):
        with open_log_at(path) as found:
            assert found.checkpoint.size == 9 and found.home is None and found.pinned_root is None
            assert list(found.source.entries(9)) == history(9)
            assert found.genesis().encode() == GENESIS and found.note_key() == logs.STATEMENT
            assert found.root_certificate() == ROOT


def test_what_is_no_log(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"anything")
    for path, error in (
        (tmp_path / "empty", MissingInput),
        (tmp_path / "none", MissingInput),
        (tmp_path / "file", FormatError),
    ):
        with pytest.raises(error), open_log_at(path):
            pass
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(HostileFile), open_log_at(tmp_path / "link"):
        pass


def test_a_log_that_does_not_begin_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.app.audit.places.GENESIS", GENESIS.replace(b'"type":"genesis"', b'"type":"software"'))
    with open_log_at(published(tmp_path / "log", 3)) as found, pytest.raises(FormatError):
        found.genesis()


def test_a_home_that_follows_a_log(tmp_path):
    """Its newest checkpoint is of entries that are there; one that came ahead of them is kept all the same."""
    path = home(tmp_path / "north", "member/north", 9, [note(5), note(9), note(14)])
    with open_log_at(path) as found:
        assert found.checkpoint == Checkpoint.parse(note(9).text)
        assert list(found.source.entries(9)) == history(9)
        assert len(list(found.source.leaves(9))) == 9
        assert found.source.cosigned() is None
        assert found.note_key() == logs.STATEMENT and found.pinned_root == ROOT
        assert [found.source.document(found.genesis().data[name], 4096) for name in ("root", "note_key")] == [
            ROOT,
            logs.STATEMENT.encode(),
        ]
        assert set(found.home.kept) == {note(size).encode() for size in (5, 9, 14)}
        with pytest.raises(MissingInput):
            found.source.document(HASH, 100)
        for read in (found.source.entries, found.source.leaves):
            with pytest.raises(MissingInput, match="9 entries"):
                read(10)


def test_documents_of_a_home_are_bounded(tmp_path):
    path = home(tmp_path / "hub", "server/hub", 9, [note(9)])
    register = path / folder.REGISTER
    with open_register(register, make=False) as opened:
        opened.connection.execute(
            "INSERT INTO log_documents VALUES (?, ?)",
            ("4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a", b"\x01"),
        )
    with open_log_at(path) as found:
        name = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"
        assert found.source.document(name, 1) == b"\x01"
        with pytest.raises(LimitExceeded):
            found.source.document(name, 0)


def test_a_home_that_has_seen_nothing(tmp_path):
    path = home(tmp_path / "north", "member/north", 0, [])
    with open_log_at(path) as found, pytest.raises(MissingInput, match="no checkpoint"):
        found.source.note()
    with open_journal(path / folder.REGISTER, "x", bytes(32)) as journal, journal.transaction():
        journal.forget("note key", "pinned")
    with pytest.raises(MissingInput, match="nothing of a log"), open_log_at(path):
        pass
    bare = tmp_path / "bare"
    home(bare, "member/north", 0, [])
    (bare / folder.REGISTER).unlink()
    with open_register(bare / folder.REGISTER):
        pass
    with pytest.raises(MissingInput, match="nothing of a log"), open_log_at(bare):
        pass


def test_what_witnesses_cosigned_is_kept_too(tmp_path):
    path = home(tmp_path / "wyn", "witness/wyn", 0, [])
    cosigned = cosign(logs.WITNESS_SIGNERS[0], logs.WITNESSES[0], note(6), 1_800_000_000)
    with open_journal(path / folder.REGISTER, "x", bytes(32)) as journal, journal.transaction():
        journal.remember(f"cosigned {logs.LOG.name}", "6", encode_base64(cosigned.encode()))
    with open_log_at(path) as found:
        assert found.home.kept == (cosigned.encode(),)


def test_nothing_in_a_home_changes(tmp_path):
    path = home(tmp_path / "north", "member/north", 9, [note(9)])
    before = (path / folder.REGISTER).read_bytes()
    with open_log_at(path) as found:
        list(found.source.entries(9))
        with pytest.raises(Exception, match="readonly"):
            found.home.store.connection.execute("DELETE FROM log_entries")
    assert (path / folder.REGISTER).read_bytes() == before


# The root


def test_the_root_that_was_named_or_pinned_counts(tmp_path):
    log = published(tmp_path / "log", 3)
    for data in (b"another root", encode_pem(CERTIFICATE, b"another root")):
        (tmp_path / "root").write_bytes(data)
        with open_log_at(log) as found:
            assert trusted_root(found, Basis(root=tmp_path / "root"), nobody) == b"another root"
    with open_log_at(log) as found, pytest.raises(FingerprintMismatch):
        trusted_root(found, Basis(root=tmp_path / "root", fingerprint=fingerprint(ROOT)), nobody)
    assert read_root(tmp_path / "root") == b"another root"


def test_the_root_of_the_log_needs_its_fingerprint(tmp_path):
    asked = []
    with open_log_at(published(tmp_path / "log", 3)) as found:
        with pytest.raises(UsageError):
            trusted_root(found, Basis(), nobody)
        assert trusted_root(found, Basis(), asked.append) == ROOT and asked == [ROOT]
        assert trusted_root(found, Basis(fingerprint=fingerprint(ROOT)), nobody) == ROOT
        with pytest.raises(FingerprintMismatch):
            trusted_root(found, Basis(fingerprint=fingerprint(b"another")), nobody)


def test_a_policy_is_read_from_its_file(tmp_path):
    assert read_policy(None) is None
    (tmp_path / "policy").write_bytes(make_policy(logs.LOG, logs.WITNESSES[:3], 2).encode())
    assert read_policy(tmp_path / "policy").logs == (logs.LOG,)


# Receipts


def receipt(round: int, group: int) -> Receipt:
    return Receipt.make(logs.SERVER_SIGNER, logs.FEDERATION, round, HASH, group, "north", HASH, HASH)


def test_receipts_go_from_a_home_to_an_auditor(tmp_path):
    path = home(tmp_path / "north", "member/north", 0, [])
    with pytest.raises(MissingInput, match="no receipts"):
        kept_receipts(path)
    with open_journal(path / folder.REGISTER, "x", bytes(32)) as journal, journal.transaction():
        for round, group in ((2, 3), (1, 10), (1, 9)):
            journal.append(round, [VectorFrozen(group, HASH), ReceiptHeld(group, receipt(round, group).encode())])
    found = kept_receipts(path)
    assert [(one.round, one.group) for one in found] == [(1, 9), (1, 10), (2, 3)]
    written = write_receipts(found, tmp_path / "out")
    assert written[0].name == "north-round-1-layer-9.receipt.fsdoc"
    assert write_receipts(found, tmp_path / "out") == written  # the same again
    assert set(read_receipts(tmp_path / "out")) == {one.encode() for one in found}
    written[0].write_bytes(b"something else")
    with pytest.raises(OutputExists):
        write_receipts(found, tmp_path / "out")


def test_a_folder_of_receipts_holds_nothing_large(tmp_path):
    (tmp_path / "a").write_bytes(bytes(4097))
    with pytest.raises(LimitExceeded):
        read_receipts(tmp_path)
