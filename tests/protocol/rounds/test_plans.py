"""Plans, their groups and deals: what they say, what reads back, and every form that is refused."""

import copy
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.crypto.labels import Label
from fedspallm_secure.crypto.merkle import leaf_hash, root
from fedspallm_secure.crypto.signing import Ed25519Signer, sign
from fedspallm_secure.errors import BadSignature, CapacityExceeded, FormatError, PlanRefused, UsageError
from fedspallm_secure.protocol.limits import LATEST_TIME, TILE_SIZE
from fedspallm_secure.protocol.rounds.deals import (
    Deal,
    Handover,
    check_deal,
    deal_digest,
    deal_size,
    handover_size,
    sign_deal,
    vector_root,
)
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape, base_digest, is_ascending
from fedspallm_secure.protocol.rounds.limits import COHORT_LIMIT, GROUP_LIMIT, GROUPS_LIMIT, MATRIX_SIDE_LIMIT
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.plans import DRAWING_LIMIT, Deadlines, Plan, Sampling
from fedspallm_secure.pruning.strategies import Group, Strategy
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.envelopes import envelope_hash, envelope_size
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.graphs import circulant
from fedspallm_secure.secagg.thresholds import Profile
from tests.protocol.rounds.altering import HEX, OTHER_HEX, faults, near, replaced

COHORT = ("east", "mid", "north", "south", "west")
SHAPES = (MatrixShape("layers.3.up", 3, 5), MatrixShape("layers.3.down", 5, 3))
GROUP = GroupPlan(3, HEX, SHAPES, COHORT, 4, 4, 0, CountField(4, 5), SumWord.default(32, 5))
SAMPLING = Sampling(1, 4, ("1/2", "2/3"), 3, True, tuple((member, 2) for member in COHORT))
USES = tuple(PrekeyUse(member, HEX, number) for number, member in enumerate(COHORT))
PLAN = Plan(
    federation="lungs.example",
    round=7,
    nonce=HEX,
    roster=OTHER_HEX,
    crl=2,
    software="fedspallm-secure/0.1.0",
    profile=Profile.WITNESSED,
    colluders=1,
    strategy=Strategy.FEDSPALLM,
    pruner="sparsegpt",
    target="2:4",
    compare=Group.ROW,
    previous="*",
    seed=HEX,
    sampling=SAMPLING,
    groups=(GROUP, replace(GROUP, gid=4, base=OTHER_HEX, cohort=COHORT)),
    prekeys=USES,
    deadlines=Deadlines(10, 20, 30, 40),
    counts_to=(Role.AUDITOR, Role.SERVER),
)
VALUE = {  # by hand, from SPEC section 16.2
    "v": 1,
    "federation": "lungs.example",
    "round": 7,
    "nonce": HEX,
    "roster": OTHER_HEX,
    "crl": 2,
    "software": "fedspallm-secure/0.1.0",
    "profile": "two-trip-witnessed",
    "colluders": 1,
    "strategy": "fedspallm",
    "pruner": "sparsegpt",
    "target": "2:4",
    "compare": "row",
    "previous": "*",
    "seed": HEX,
    "sampling": {
        "number": 1,
        "layers": 4,
        "schedule": ["1/2", "2/3"],
        "min_cohort": 3,
        "spread": True,
        "budgets": [{"id": member, "layers": 2} for member in COHORT],
    },
    "groups": [
        {
            "gid": gid,
            "base": base,
            "matrices": [
                {"name": "layers.3.up", "rows": 3, "columns": 5},
                {"name": "layers.3.down", "rows": 5, "columns": 3},
            ],
            "cohort": list(COHORT),
            "shares": 4,
            "survivors": 4,
            "degree": 0,
            "count_bits": 4,
            "sum": {"bits": 32, "fraction": 25, "bound": (2**31 - 1) // 5},
            "cipher": {},
        }
        for gid, base in ((3, HEX), (4, OTHER_HEX))
    ],
    "prekeys": [{"id": member, "bundle": HEX, "index": number} for number, member in enumerate(COHORT)],
    "deadlines": {"contribution": 10, "endorsement": 20, "unmask": 30, "abort": 40},
    "counts_to": ["auditor", "server"],
    "key_holder": {},
}
VOTES = replace(PLAN, strategy=Strategy.VOTES, groups=tuple(replace(one, sums=None) for one in PLAN.groups))


def by_the_specification(*parts: bytes) -> bytes:
    return len(parts).to_bytes(8, "little") + b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def labelled(label: str, *parts: bytes) -> bytes:
    return hashlib.sha256(by_the_specification(label.encode(), *parts)).digest()


# Plans


def test_a_plan_says_what_the_specification_lists():
    assert PLAN.to_dict() == VALUE
    assert PLAN.encode() == canonical_json(VALUE)
    assert PLAN.hash == labelled("fsps/1/digest/plan", canonical_json(VALUE)).hex()


@pytest.mark.parametrize("plan", [PLAN, VOTES, replace(PLAN, previous=OTHER_HEX, counts_to=())])
def test_a_plan_reads_back(plan):
    assert Plan.from_dict(parse_canonical_json(plan.encode(), "it")) == plan


def test_reading_changes_nothing():
    value = copy.deepcopy(VALUE)
    assert Plan.from_dict(value) == Plan.from_dict(value) == PLAN
    assert value == VALUE


def test_votes_have_no_sums():
    assert [group["sum"] for group in VOTES.to_dict()["groups"]] == [{}, {}]
    assert [group.sum_size for group in VOTES.groups] == [0, 0]


ACCEPTED = {  # another plan, and no fault in itself
    *(f"it.groups[{number}].matrices is turned" for number in (0, 1)),
    "it.sampling.schedule is turned",
    *(f"it.sampling.schedule[{number}] is there twice" for number in (0, 1)),
}


def test_plans_with_one_fault():
    accepted = set()
    for what, value in faults(VALUE):
        try:
            found = Plan.from_dict(copy.deepcopy(value))
        except (FormatError, CapacityExceeded):
            continue
        assert found.to_dict() == value, what
        accepted.add(what)
    assert accepted == ACCEPTED


def test_what_is_accepted_with_another_value_is_another_plan():
    hashes = {PLAN.hash}
    for path, other in (
        (("federation",), "hearts.example"),
        (("round",), 8),
        (("nonce",), OTHER_HEX),
        (("roster",), HEX),
        (("crl",), 3),
        (("software",), "fedspallm-secure/0.1.1"),
        (("profile",), "two-trip"),
        (("colluders",), 0),
        (("pruner",), "wanda"),
        (("target",), "1/2"),
        (("compare",), "matrix"),
        (("previous",), HEX),
        (("seed",), OTHER_HEX),
        (("sampling", "spread"), False),
        (("sampling", "number"), 2),
        (("groups", 0, "base"), OTHER_HEX),
        (("groups", 0, "matrices", 0, "rows"), 4),
        (("groups", 1, "shares"), 3),
        (("groups", 1, "sum", "fraction"), 24),
        (("prekeys", 0, "index"), 5),
        (("deadlines", "abort"), 41),
        (("counts_to",), ["auditor"]),
    ):
        hashes.add(Plan.from_dict(replaced(copy.deepcopy(VALUE), *path, by=other)).hash)
    assert len(hashes) == 23


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"federation": "Lungs"}, "cannot name a federation"),
        ({"nonce": HEX[:-1]}, "nonce must be 64"),
        ({"roster": HEX.upper()}, "roster must be 64"),
        ({"seed": ""}, "seed must be 64"),
        ({"previous": "**"}, "previous must be 64"),
        ({"pruner": "Wanda"}, "no pruner"),
        ({"pruner": ""}, "no pruner"),
        ({"software": ""}, "no software"),
        ({"software": "name"}, "no software"),
        ({"software": "name/"}, "no software"),
        ({"software": "/1"}, "no software"),
        ({"software": "name/1/2"}, "no software"),
        ({"software": "Name/1"}, "no software"),
        ({"software": "name/1 "}, "no software"),
        ({"software": "name/1\n"}, "no software"),
        ({"software": "name/" + 60 * "1"}, "no software"),
        ({"round": 0}, "out of range"),
        ({"round": 1 << 53}, "out of range"),
        ({"crl": 0}, "out of range"),
        ({"colluders": -1}, "out of range"),
        ({"groups": ()}, "no groups"),
        ({"groups": PLAN.groups[::-1]}, "not in order"),
        ({"groups": (GROUP, GROUP)}, "not in order"),
        ({"groups": (GROUP,) * (GROUPS_LIMIT + 1)}, "too many"),
        ({"prekeys": USES[::-1]}, "prekeys are not in order"),
        ({"prekeys": (*USES[:1], *USES)}, "prekeys are not in order"),
        ({"prekeys": USES[1:]}, "every member of a cohort"),
        ({"prekeys": (*USES, PrekeyUse("zoe", HEX, 0))}, "and no other"),
        ({"strategy": Strategy.VOTES}, "sums go with"),
        ({"groups": (GROUP, replace(PLAN.groups[1], sums=None))}, "sums go with"),
        ({"counts_to": (Role.SERVER, Role.AUDITOR)}, "counts_to is not in order"),
        ({"counts_to": (Role.SERVER, Role.SERVER)}, "counts_to is not in order"),
    ],
    ids=str,
)
def test_other_plans_do_not_exist(changes, message):
    with pytest.raises(FormatError, match=message):
        replace(PLAN, **changes)


def test_many_groups_are_too_many_even_in_order():
    replace(PLAN, groups=tuple(replace(GROUP, gid=gid) for gid in range(GROUPS_LIMIT)))
    with pytest.raises(FormatError, match="too many"):
        replace(PLAN, groups=tuple(replace(GROUP, gid=gid) for gid in range(GROUPS_LIMIT + 1)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("v",), 2),
        (("profile",), "four-trip"),
        (("strategy",), "vote"),
        (("compare",), "layer"),
        (("counts_to",), ["king"]),
        (("counts_to",), [["server"]]),
        (("target",), "0.5"),
        (("target",), "2/4"),
        (("target",), "3/2"),
        (("target",), "half"),
        (("deadlines", "endorsement"), 9),
        (("sampling", "schedule"), [1]),
        (("groups", 0, "cohort"), [1, 2, 3, 4, 5]),
        (("groups", 0, "sum"), {}),
        (("groups", 0, "cohort", 2), "mid"),
    ],
    ids=str,
)
def test_spellings_that_no_plan_has(path, value):
    with pytest.raises(FormatError):
        Plan.from_dict(replaced(copy.deepcopy(VALUE), *path, by=value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("count_bits",), 8),
        (("count_bits",), 3),
        (("sum", "bound"), (2**31 - 1) // 5 + 1),
        (("sum", "bound"), 0),
        (("sum", "bits"), 24),
        (("sum", "fraction"), 31),
    ],
    ids=str,
)
def test_numbers_that_could_overflow_are_of_no_plan(path, value):
    """P12."""
    with pytest.raises(CapacityExceeded):
        Plan.from_dict(replaced(copy.deepcopy(VALUE), "groups", 0, *path, by=value))


@given(near(VALUE))
def test_whatever_is_read_is_written_as_it_was(value):
    try:
        found = Plan.from_dict(copy.deepcopy(value))
    except (FormatError, CapacityExceeded):
        return
    assert found.to_dict() == value


def test_who_is_in_what():
    first = replace(GROUP, cohort=COHORT[:4], shares=3, counts=CountField(4, 4), sums=SumWord.default(32, 4))
    plan = replace(PLAN, groups=(first, PLAN.groups[1]))
    assert plan.group(3) is first and plan.group(5) is None
    assert plan.groups_of("west") == (plan.groups[1],) and plan.groups_of("zoe") == ()
    assert plan.neighbours_of("west") == set(COHORT[:4]) and plan.neighbours_of("zoe") == set()
    assert plan.context(4, plan.hash) == GroupContext("lungs.example", 7, bytes.fromhex(plan.hash), 4)
    circle = replace(PLAN, groups=(replace(GROUP, degree=2, shares=3),))
    graph = circulant(5, 2, bytes.fromhex(HEX), 3)
    assert circle.neighbours_of("mid") == {COHORT[other] for other in graph.neighbours(1)}


# Sampling and deadlines


def test_the_cohorts_can_be_drawn_again():
    """The second of the rounds of the first pass: each takes two of the four layers, and everybody takes both."""
    drawn = [replace(SAMPLING, number=number).draw(bytes(32)).cohorts for number in (1, 2, 3, 4)]
    assert sorted([*drawn[0], *drawn[1]]) == sorted([*drawn[2], *drawn[3]]) == [0, 1, 2, 3]
    assert all(len(members) == 5 for one in drawn for members in one.values())
    assert replace(SAMPLING, number=1).draw(bytes(32)).cohorts == drawn[0]
    with pytest.raises(UsageError, match="4 rounds"):
        replace(SAMPLING, number=5).draw(bytes(32))
    with pytest.raises(PlanRefused):
        replace(SAMPLING, min_cohort=6).draw(bytes(32))
    with pytest.raises(UsageError):
        replace(SAMPLING, schedule=("1/2", "1/3")).draw(bytes(32))


LAYERS = 2_300  # three members with all of them can be drawn, a fourth not


def test_what_cannot_be_drawn_in_a_while_is_refused_unread():
    many = tuple((f"m{number:04}", LAYERS) for number in range(3))
    assert LAYERS * 3 * (LAYERS + 1) <= DRAWING_LIMIT < LAYERS * 4 * (LAYERS + 1)
    replace(SAMPLING, schedule=("1/2",), layers=LAYERS, budgets=many)
    for changes in (
        {"schedule": ("1/2",) * 2, "budgets": many},
        {"budgets": (*many, ("z", LAYERS))},
        {"schedule": ("1/2",) * 100, "budgets": tuple((f"m{number:04}", 0) for number in range(10_000))},
    ):
        with pytest.raises(FormatError, match="too long"):
            replace(SAMPLING, **{"schedule": ("1/2",), "layers": LAYERS, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": 0}, "out of range"),
        ({"min_cohort": 0}, "out of range"),
        ({"layers": 0, "budgets": ()}, "out of range"),
        ({"layers": GROUPS_LIMIT + 1}, "out of range"),
        ({"budgets": (("a", -1),)}, "budget of a is out of range"),
        ({"budgets": (("a", 5),)}, "budget of a is out of range"),
        ({"budgets": (("A", 1),)}, "cannot name a party"),
        ({"schedule": ("1/2", "half")}, "sparsity must be"),
        ({"schedule": ("0.5",)}, "another spelling"),
        ({"schedule": ("1/2 ",)}, "another spelling"),
    ],
    ids=str,
)
def test_other_samplings_do_not_exist(changes, message):
    with pytest.raises(FormatError, match=message):
        replace(SAMPLING, **changes)


@pytest.mark.parametrize("budgets", [(("b", 1), ("a", 1)), (("a", 1), ("a", 1))])
def test_budgets_are_in_order(budgets):
    with pytest.raises(FormatError, match="budgets are not in order"):
        replace(SAMPLING, budgets=budgets)


@pytest.mark.parametrize("times", [(0, 0, 0, 0), (1, 2, 2, 9), (0, 0, 0, LATEST_TIME)])
def test_deadlines_in_order(times):
    assert Deadlines.from_dict(Deadlines(*times).to_dict()) == Deadlines(*times)


@pytest.mark.parametrize("times", [(2, 1, 3, 4), (1, 3, 2, 4), (1, 2, 4, 3), (-1, 0, 0, 0), (0, 0, 0, LATEST_TIME + 1)])
def test_deadlines_out_of_order(times):
    with pytest.raises(FormatError, match="deadlines"):
        Deadlines(*times)


# Groups


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": HEX[1:]}, "base must be 64"),
        ({"gid": -1}, "out of range"),
        ({"gid": GROUP_LIMIT}, "out of range"),
        ({"matrices": ()}, "no matrices"),
        ({"matrices": SHAPES[:1] * 2}, "one of them twice"),
        ({"cohort": ()}, "is empty"),
        ({"cohort": COHORT[::-1]}, "not in order"),
        ({"cohort": (*COHORT[:2], *COHORT[1:4])}, "not in order"),
        ({"cohort": ("East", *COHORT[1:])}, "cannot name a party"),
        ({"shares": 0}, "0 shares"),
        ({"shares": 6, "survivors": 6}, "6 shares"),
        ({"shares": 4, "survivors": 3}, "3 survivors"),
        ({"survivors": 6}, "6 survivors"),
        ({"degree": 3}, "degree 3"),
        ({"degree": 6, "shares": 4}, "degree 6"),
        ({"degree": -2, "shares": 1}, "degree -2"),
        ({"degree": 2, "shares": 4}, "degree 2"),
        ({"counts": CountField(4, 6)}, "another number of members"),
        ({"sums": SumWord.default(32, 4)}, "another number of members"),
    ],
    ids=str,
)
def test_other_groups_do_not_exist(changes, message):
    with pytest.raises(FormatError, match=message):
        replace(GROUP, **changes)


def test_a_cohort_has_a_limit():
    members = tuple(f"m{number:05}" for number in range(COHORT_LIMIT + 1))

    def of(size: int) -> GroupPlan:
        return replace(GROUP, cohort=members[:size], counts=CountField.for_cohort(size), sums=None)

    assert of(COHORT_LIMIT).neighbours == COHORT_LIMIT - 1
    with pytest.raises(FormatError, match="too large"):
        of(COHORT_LIMIT + 1)


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("", 1, 1),
        ("a b", 1, 1),
        ("a\n", 1, 1),
        ("é", 1, 1),
        ("x" * 257, 1, 1),
        ("x", 0, 1),
        ("x", 1, 0),
        ("x", MATRIX_SIDE_LIMIT + 1, 1),
        ("x", 1, MATRIX_SIDE_LIMIT + 1),
        ("x", -1, 1),
    ],
)
def test_other_matrices_do_not_exist(name, rows, columns):
    with pytest.raises(FormatError, match=r"no name of a matrix|is -?[0-9]+ x [0-9]+"):
        MatrixShape(name, rows, columns)


def test_matrices_up_to_their_limits():
    found = MatrixShape("~" * 256, MATRIX_SIDE_LIMIT, MATRIX_SIDE_LIMIT)
    assert found.weights == MATRIX_SIDE_LIMIT**2 and MatrixShape.from_dict(found.to_dict()) == found


def test_the_sizes_of_a_group():
    assert GROUP.weights == 30 and GROUP.count_size == 15 and GROUP.sum_size == 120
    odd = replace(GROUP, matrices=(MatrixShape("odd", 3, 3),))
    assert odd.count_size == 5
    assert GROUP.neighbours == 4 and replace(GROUP, degree=2, shares=3).neighbours == 2


def test_the_graph_of_a_group():
    assert GROUP.graph(bytes(32)).neighbours(1) == (0, 2, 3, 4)
    seed = bytes.fromhex(HEX)
    assert replace(GROUP, degree=2, shares=3).graph(seed) == circulant(5, 2, seed, 3)


def test_the_base_digest_is_that_of_the_specification():
    up, down = (np.arange(15, dtype="<f4") + offset for offset in (0, 100))
    found = base_digest(
        [(SHAPES[0], hashlib.sha256(up.tobytes()).digest()), (SHAPES[1], hashlib.sha256(down.tobytes()).digest())]
    )
    parts = []
    for name, rows, columns, weights in (("layers.3.up", 3, 5, up), ("layers.3.down", 5, 3, down)):
        sides = rows.to_bytes(8, "little"), columns.to_bytes(8, "little")
        parts += [name.encode(), *sides, hashlib.sha256(weights.tobytes()).digest()]
    assert found == labelled("fsps/1/digest/base", *parts).hex()


@given(st.lists(st.integers(0, 5)))
def test_ascending_is_sorted_and_each_once(items):
    assert is_ascending(items) == (items == sorted(set(items)))


# Deals


def part(number: int, size: int = 32) -> bytes:
    return bytes([number]) * size


CONTEXT = GroupContext("lungs.example", 7, bytes.fromhex(HEX), 3)
DEAL = Deal(part(1), part(2), (part(3), part(4)), (part(5), part(6), part(7)), (part(8), part(9)))
SIGNER, _ = Ed25519Signer.generate()


def test_a_deal_is_its_parts_in_their_order():
    assert DEAL.encode() == b"".join(part(number) for number in range(1, 10))
    assert deal_size(2, 2) == 32 * (2 + 2 + 3 + 2) == len(DEAL.encode())
    assert Deal.parse(DEAL.encode(), 2, 2) == DEAL


@pytest.mark.parametrize("neighbours", [0, 1, 2, 7])
def test_deals_of_every_size_read_back(neighbours):
    raw = bytes(range(256)) * 8
    raw = raw[: deal_size(neighbours, neighbours)]
    found = Deal.parse(raw, neighbours, neighbours)
    assert found.encode() == raw
    assert (len(found.edges), len(found.rows), len(found.envelopes)) == (neighbours, neighbours + 1, neighbours)
    for other in (raw[:-1], raw + b"\0", raw[:-32], b""):
        with pytest.raises(FormatError, match="a deal among"):
            Deal.parse(other, neighbours, neighbours)


@pytest.mark.parametrize(
    "changes",
    [
        {"vector_root": part(1, 31)},
        {"self_commitment": b""},
        {"edges": (part(3), part(4, 33))},
        {"rows": (part(5), part(6), part(7, 31))},
        {"envelopes": (part(8, 31), part(9))},
        {"edges": (part(3),)},
        {"rows": (part(5), part(6))},
        {"envelopes": (part(8),)},
        {"envelopes": (part(8),) * 3},
    ],
    ids=str,
)
def test_other_deals_do_not_exist(changes):
    with pytest.raises(FormatError):
        replace(DEAL, **changes)


def test_a_signed_deal_belongs_to_its_plan_group_and_member():
    raw = DEAL.encode()
    signature = sign_deal(SIGNER, CONTEXT, "mid", raw)
    bound = by_the_specification(bytes.fromhex(HEX), (3).to_bytes(4, "little"), b"mid", raw)
    assert signature == sign(SIGNER, Label.SIGN_DEAL, bound)
    check_deal(SIGNER.public, CONTEXT, "mid", raw, signature)
    other, _ = Ed25519Signer.generate()
    for given_ in (
        (other.public, CONTEXT, "mid", raw, signature),
        (SIGNER.public, replace(CONTEXT, group=4), "mid", raw, signature),
        (SIGNER.public, replace(CONTEXT, plan_hash=bytes(32)), "mid", raw, signature),
        (SIGNER.public, CONTEXT, "north", raw, signature),
        (SIGNER.public, CONTEXT, "mid", raw[:-1] + b"\0", signature),
        (SIGNER.public, CONTEXT, "mid", raw, bytes(64)),
        (SIGNER.public, CONTEXT, "mid", raw, signature[:-1]),
        (SIGNER.public, CONTEXT, "mid", raw, signature + b"\0"),
    ):
        with pytest.raises(BadSignature):
            check_deal(*given_)


def test_the_digest_of_a_deal_is_that_of_the_specification():
    raw = DEAL.encode()
    expected = labelled("fsps/1/digest/deal", bytes.fromhex(HEX), (3).to_bytes(4, "little"), b"mid", raw)
    assert deal_digest(CONTEXT, "mid", raw) == expected.hex()


def handover() -> Handover:
    """Of a member with two neighbours; commitments and envelopes are those of the deal."""
    rows = tuple(tuple(part(10 * row + column) for column in range(3)) for row in range(3))
    envelopes = tuple(bytes([number]) * envelope_size(3) for number in (1, 2))
    deal = replace(
        DEAL,
        rows=tuple(labelled("fsps/1/secagg/row", *row) for row in rows),
        envelopes=tuple(map(envelope_hash, envelopes)),
    )
    return Handover(deal, part(7, 64), rows, envelopes)


def test_a_handover_is_its_parts_in_their_order():
    found = handover()
    raw = found.encode()
    rows = b"".join(part(10 * row + column) for row in range(3) for column in range(3))
    assert raw == found.deal.encode() + part(7, 64) + rows + b"".join(found.envelopes)
    size = 1168 + 32 + 32 + 32 * 3 + 16
    assert len(raw) == handover_size(2, 2) == deal_size(2, 2) + 64 + 32 * 9 + 2 * size
    assert Handover.parse(raw, 2, 2) == found
    for other in (raw[:-1], raw + b"\0", b""):
        with pytest.raises(FormatError, match="this part of a contribution"):
            Handover.parse(other, 2, 2)
    with pytest.raises(FormatError):
        Handover.parse(raw, 3, 3)


def test_a_handover_without_neighbours_has_no_envelopes():
    raw = bytes(handover_size(0, 0))
    found = Handover.parse(raw, 0, 0)
    assert found.envelopes == () and found.rows == ((bytes(32),),) and found.encode() == raw


def test_rows_and_envelopes_fit_the_deal():
    """S4 and S5."""
    found = handover()
    assert found.rows_fit() and found.envelopes_fit()
    raw = found.encode()
    for at, fits in ((deal_size(2, 2) + 64, "rows_fit"), (len(raw) - 1, "envelopes_fit")):
        changed = Handover.parse(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :], 2, 2)
        for name in ("rows_fit", "envelopes_fit"):
            assert getattr(changed, name)() == (name != fits)


@pytest.mark.parametrize(
    "sizes",
    [
        (),
        (0,),
        (1,),
        (TILE_SIZE,),
        (TILE_SIZE - 1,),
        (TILE_SIZE + 1,),
        (10, 20),
        (10, TILE_SIZE - 10),
        (10, TILE_SIZE - 9),
        (TILE_SIZE, 5),
        (TILE_SIZE + 5, TILE_SIZE),
        (3, 4, TILE_SIZE, 5),
        (2 * TILE_SIZE + 7, 2 * TILE_SIZE + 9),
        (5, 0, 6),
    ],
    ids=str,
)
def test_the_vector_root_is_over_tiles_of_the_streams_one_after_the_other(sizes):
    whole = np.random.default_rng(sum(sizes)).integers(0, 256, sum(sizes), np.uint8).tobytes()
    streams, at = [], 0
    for size in sizes:
        streams.append(memoryview(whole[at : at + size]))
        at += size
    leaves = [leaf_hash(whole[start : start + TILE_SIZE]) for start in range(0, len(whole), TILE_SIZE)]
    assert vector_root(streams) == root(leaves)


def test_the_vector_root_takes_words_as_bytes():
    words = np.arange(1000, dtype="<u4")
    assert vector_root([memoryview(words)]) == root([leaf_hash(words.tobytes())])


def test_the_values_above_are_plain():
    assert json.loads(json.dumps(VALUE)) == VALUE
