"""What `certs show` says of a statement that belongs to a round: what it claims to be, and that nobody verified it."""

import pytest

from fedspallm_secure.app.showing_files import show_file
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import NoteKey, NoteKind
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.statements import StatementType, make_statement
from tests.authority import FEDERATION, signer

KINDS = [StatementType.OPENING, StatementType.SURVIVORS, StatementType.RESULT, StatementType.RECEIPT]


@pytest.mark.parametrize("kind", StatementType, ids=lambda kind: kind.value)
def test_every_type_can_be_shown_or_is_refused(kind, tmp_path):
    (tmp_path / "file").write_bytes(make_statement(kind, {"federation": FEDERATION}, [signer("server/hub")]).encode())
    if kind in (*KINDS, StatementType.ROSTER):
        assert show_file(tmp_path / "file", None).title.endswith(f"of {FEDERATION}")
    else:
        with pytest.raises(FormatError):
            show_file(tmp_path / "file", None)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_a_statement_of_a_round_is_a_claim(kind, tmp_path):
    value = {"federation": FEDERATION, "round": 3, "plan_hash": 40 * "0a"}
    made = make_statement(kind, value, [signer("server/hub")])
    (tmp_path / "file").write_bytes(made.encode())
    shown = show_file(tmp_path / "file", None)
    assert (shown.kind, shown.title) == (kind.value, f"{kind.value} of round 3 of {FEDERATION}")
    assert not shown.verified and "nothing here was verified" in shown.note
    assert [(row.label, row.text) for row in shown.rows][:2] == [
        ("digest", made.digest.hex()),
        ("plan", 40 * "0a"),
    ]


def test_a_receipt_says_for_which_contribution(tmp_path):
    made = Receipt.make(signer("server/hub"), FEDERATION, 3, 32 * "0a", 7, "north", 32 * "0b", 32 * "0c")
    (tmp_path / "file").write_bytes(made.encode())
    rows = [(row.label, row.text) for row in show_file(tmp_path / "file", None).rows]
    assert rows[2:] == [("of", "north, group 7"), ("package", 32 * "0b")]


def test_the_key_of_a_log_is_shown(tmp_path):
    party, key = Party.parse("server/hub"), NoteKey(f"{FEDERATION}/log/hub", NoteKind.LOG, signer("log").public)
    made = NoteKeyStatement.make(signer("server/hub"), FEDERATION, party, key, 1_790_000_000)
    (tmp_path / "file").write_bytes(made.encode())
    shown = show_file(tmp_path / "file", None)
    assert (shown.title, shown.verified) == (f"note-key of server/hub of {FEDERATION}", False)
    assert shown.rows[0].text == key.vkey


def test_whatever_it_holds_it_is_shown_short(tmp_path):
    value = {"federation": 200 * "x", "round": [True], "plan_hash": {"a": 200 * "y"}}
    (tmp_path / "file").write_bytes(make_statement(StatementType.RESULT, value, [signer("server/hub")]).encode())
    shown = show_file(tmp_path / "file", None)
    assert len(shown.title) < 200 and all(len(row.text) < 110 for row in shown.rows)
