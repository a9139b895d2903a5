"""What `certs show` says of a statement that belongs to a round: what it claims to be, and that nobody verified it."""

import pytest

from fedspallm_secure.app.showing_files import show_file
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.statements import StatementType, make_statement
from tests.authority import FEDERATION, signer

KINDS = [StatementType.OPENING, StatementType.SURVIVORS, StatementType.RESULT]


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
    assert [(row.label, row.text) for row in shown.rows] == [
        ("digest", made.digest.hex()),
        ("plan", 40 * "0a"),
    ]


def test_whatever_it_holds_it_is_shown_short(tmp_path):
    value = {"federation": 200 * "x", "round": [True], "plan_hash": {"a": 200 * "y"}}
    (tmp_path / "file").write_bytes(make_statement(StatementType.RESULT, value, [signer("server/hub")]).encode())
    shown = show_file(tmp_path / "file", None)
    assert len(shown.title) < 200 and all(len(row.text) < 110 for row in shown.rows)
