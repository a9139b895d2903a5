"""Commitments to shares and rows: the bytes of SPEC section 13; what was dealt can be neither exchanged nor denied."""

import hashlib
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure.errors import BadShare, FormatError
from fedspallm_secure.secagg import commitments, sharing
from fedspallm_secure.secagg.commitments import (
    Row,
    blind,
    check_row,
    deal_rows,
    open_share,
    row_commitment,
    share_commitment,
)
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.seeds import PRIME, encode_element
from fedspallm_secure.secagg.sharing import combine

PLAN = bytes(range(32))
CONTEXT = GroupContext("lungs.example", 3, PLAN, 7)
BLIND_SEED = bytes(range(100, 132))
SHARES = tuple(encode_element(value) for value in (5, PRIME - 1, 2**255, 0))
ROW = Row("north", "south", BLIND_SEED, SHARES)
HOLDERS = {"east": 1, "north": 2, "south": 4, "west": 5}


def by_hand(label: str, *parts: bytes) -> bytes:
    """The twin of a digest: SHA-256 over the pre-authentication encoding, written out."""
    encoded = struct.pack("<Q", len(parts) + 1)
    for part in (label.encode(), *parts):
        encoded += struct.pack("<Q", len(part)) + part
    return hashlib.sha256(encoded).digest()


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")


def commitments_by_hand(row: Row, group: int = 7) -> list[bytes]:
    found = []
    for number, share in enumerate(row.shares):
        blinding = by_hand("fsps/1/secagg/blind", row.blind_seed, struct.pack("<I", number))
        named = (row.dealer.encode(), row.holder.encode(), struct.pack("<I", number))
        found.append(by_hand("fsps/1/secagg/share", PLAN, struct.pack("<I", group), *named, share, blinding))
    return found


# --- the bytes --------------------------------------------------------------------------------------------------------


def test_commitments_as_by_hand():
    expected = commitments_by_hand(ROW)
    assert ROW.commitments(CONTEXT) == tuple(expected)
    assert ROW.commitment(CONTEXT) == by_hand("fsps/1/secagg/row", *expected) == row_commitment(expected)


def test_commitments_that_were_written_down():
    """Found once with the twin; another implementation has to find them too."""
    assert blind(BLIND_SEED, 1).hex() == "88d1cadd103088f72184d8d156129ad1ecc168da8feee846009a317968ae11d8"
    assert ROW.commitments(CONTEXT)[1].hex() == "2a0213c68c71d7d4e2562d7748a1560aa4db9f454a30a510ad940e1df06beffa"
    assert ROW.commitment(CONTEXT).hex() == "15a23a3b7ced3824296367ac4c14e56ec478f3ce7ae738c05e03339c76307154"


@given(st.integers(0, 2**32 - 1))
def test_blinds_as_by_hand(number):
    assert blind(BLIND_SEED, number) == by_hand("fsps/1/secagg/blind", BLIND_SEED, struct.pack("<I", number))


def test_everything_named_is_bound():
    """One change anywhere, and it is the commitment to something else."""
    plain = (CONTEXT, "north", "south", 1, SHARES[1], blind(BLIND_SEED, 1))
    changes = [
        (0, replace(CONTEXT, plan_hash=flipped(PLAN, 0))),
        (0, replace(CONTEXT, group=8)),
        (1, "west"),
        (2, "west"),
        (3, 2),
        (4, SHARES[0]),
        (5, blind(BLIND_SEED, 2)),
    ]
    found = {share_commitment(*plain)}
    found |= {share_commitment(*plain[:place], other, *plain[place + 1 :]) for place, other in changes}
    found |= {share_commitment(CONTEXT, "south", "north", *plain[3:])}
    found |= {share_commitment(CONTEXT, "norths", "outh", *plain[3:])}
    assert len(found) == len(changes) + 3


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=5), st.data())
def test_a_row_is_bound_to_all_its_shares_in_their_order(parts, drawn):
    place = drawn.draw(st.integers(0, len(parts) - 1))
    changed = [*parts[:place], flipped(parts[place], drawn.draw(st.integers(0, 255))), *parts[place + 1 :]]
    others = [changed, parts[:-1], [*parts, parts[0]], [b"".join(parts)] if len(parts) > 1 else [], parts[::-1]]
    for other in others:
        assert (row_commitment(other) == row_commitment(parts)) == (other == parts)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_does_not_print_what_it_hides():
    assert repr(ROW) == "Row(dealer='north', holder='south')"


@pytest.mark.parametrize(
    "change",
    [
        {"blind_seed": BLIND_SEED[:-1]},
        {"blind_seed": BLIND_SEED + b"\0"},
        {"blind_seed": b""},
        {"shares": ()},
        {"shares": (SHARES[0], SHARES[1][:-1])},
        {"shares": (SHARES[0], SHARES[1] + b"\0")},
        {"shares": (SHARES[0], PRIME.to_bytes(32, "big"))},
        {"shares": (b"\xff" * 32, SHARES[0])},
    ],
    ids=lambda change: f"{next(iter(change))}",
)
def test_half_valid_rows_do_not_exist(change):
    with pytest.raises(FormatError):
        replace(ROW, **change)


def test_a_row_is_checked_against_its_commitment():
    committed = ROW.commitment(CONTEXT)
    ROW.check(CONTEXT, committed)
    others = [
        (replace(ROW, dealer="west"), CONTEXT, committed),
        (replace(ROW, holder="west"), CONTEXT, committed),
        (replace(ROW, blind_seed=flipped(BLIND_SEED, 3)), CONTEXT, committed),
        (replace(ROW, shares=SHARES[:-1]), CONTEXT, committed),
        (replace(ROW, shares=(*SHARES, SHARES[0])), CONTEXT, committed),
        (replace(ROW, shares=(SHARES[1], SHARES[0], *SHARES[2:])), CONTEXT, committed),
        (replace(ROW, shares=(flipped(SHARES[0], 200), *SHARES[1:])), CONTEXT, committed),
        (ROW, replace(CONTEXT, group=8), committed),
        (ROW, replace(CONTEXT, plan_hash=bytes(32)), committed),
        (ROW, CONTEXT, committed[:-1]),
        (ROW, CONTEXT, committed + b"\0"),
        (ROW, CONTEXT, b""),
        *((ROW, CONTEXT, flipped(committed, bit)) for bit in range(256)),
    ]
    for row, context, other in others:
        with pytest.raises(BadShare, match=f"^the row that {row.dealer} dealt to {row.holder} is not the one it"):
            row.check(context, other)


# --- passing on one share of a row ------------------------------------------------------------------------------------


def test_one_share_opens_with_the_commitments_of_the_rest():
    """What the server has: the dealer's commitment to the row; from the holder one share, its blind, and hashes."""
    committed = ROW.commitment(CONTEXT)
    passed = ROW.commitments(CONTEXT)
    check_row("north", "south", passed, committed)
    for number, value in enumerate((5, PRIME - 1, 2**255, 0)):
        blinding = blind(BLIND_SEED, number)
        opened = open_share(CONTEXT, "north", "south", number, SHARES[number], blinding, passed[number])
        assert opened == value


def test_a_holder_cannot_exchange_a_share():
    committed, passed = ROW.commitment(CONTEXT), ROW.commitments(CONTEXT)
    lie = encode_element(6)
    plain = (CONTEXT, "north", "south", 0, SHARES[0], blind(BLIND_SEED, 0), passed[0])
    assert open_share(*plain) == 5
    changes = [(0, replace(CONTEXT, group=8)), (1, "west"), (2, "west"), (3, 1), (4, lie), (4, SHARES[0][:-1])]
    changes += [(5, blind(BLIND_SEED, 1)), (5, b""), (6, passed[1]), (6, b"")]
    for place, other in changes:
        with pytest.raises(BadShare, match="passed on is not the one it was dealt"):
            open_share(*plain[:place], other, *plain[place + 1 :])
    # It can make a commitment that fits its lie, but then the row is not the one the dealer signed.
    fitting = share_commitment(CONTEXT, "north", "south", 0, lie, blind(BLIND_SEED, 0))
    assert open_share(CONTEXT, "north", "south", 0, lie, blind(BLIND_SEED, 0), fitting) == 6
    with pytest.raises(BadShare, match="the row that north dealt to south is not the one it committed to"):
        check_row("north", "south", [fitting, *passed[1:]], committed)


@pytest.mark.parametrize("share", [PRIME.to_bytes(32, "big"), b"\xff" * 32, bytes(31), bytes(33), b""])
def test_a_dealer_may_not_commit_to_what_is_no_element(share):
    committed = share_commitment(CONTEXT, "north", "south", 0, share, b"b" * 32)
    with pytest.raises(BadShare, match="north dealt south a share of secret 0 that is no element of the field"):
        open_share(CONTEXT, "north", "south", 0, share, b"b" * 32, committed)


# --- dealing ----------------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.lists(st.integers(0, PRIME - 1), min_size=1, max_size=5), st.integers(2, 4))
def test_rows_hold_the_shares_of_every_secret(secrets, threshold):
    rows = deal_rows("north", HOLDERS, secrets, threshold)
    assert [row.holder for row in rows] == list(HOLDERS)
    assert {row.dealer for row in rows} == {"north"}
    assert len({row.blind_seed for row in rows}) == len(rows)
    for number, secret in enumerate(secrets):
        held = {HOLDERS[row.holder]: int.from_bytes(row.shares[number], "big") for row in rows}
        assert combine(held, threshold) == secret
        with pytest.raises(BadShare):
            combine(dict(list(held.items())[: threshold - 1]), threshold)


def test_rows_take_their_chance_from_the_system(monkeypatch):
    """Coefficients and blind seeds, each drawn for itself and in no other way."""
    numbers, seeds = iter([10, 20]), iter([bytes([fill]) * 32 for fill in range(1, 5)])
    monkeypatch.setattr(sharing, "draw_element", lambda: next(numbers))
    monkeypatch.setattr(commitments, "random_bytes", lambda size: next(seeds)[:size])
    rows = deal_rows("north", HOLDERS, [1, 2], 2)
    assert [[int.from_bytes(share, "big") for share in row.shares] for row in rows] == [
        [11, 22],
        [21, 42],
        [41, 82],
        [51, 102],
    ]
    assert [row.blind_seed for row in rows] == [bytes([fill]) * 32 for fill in range(1, 5)]
    assert not list(numbers) and not list(seeds)


def test_dealing_refuses_what_splitting_refuses():
    with pytest.raises(ValueError, match="could never be 5"):
        deal_rows("north", HOLDERS, [1], 5)
    with pytest.raises(ValueError, match="distinct points"):
        deal_rows("north", {"north": 1, "south": 1}, [1], 2)
    with pytest.raises(ValueError, match="below p"):
        deal_rows("north", HOLDERS, [PRIME], 2)
    with pytest.raises(ValueError, match="a dealer has at least one secret"):
        deal_rows("north", HOLDERS, [], 2)
