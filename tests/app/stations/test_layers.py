"""Layers as they travel, and what a member checks in them (SPEC sections 16.4 and 17, L1 to L6)."""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.app.stations import layers
from fedspallm_secure.app.stations.layers import (
    check_layer,
    decode_layer,
    digest_of,
    encode_layer,
)
from fedspallm_secure.errors import LayerRefused, MissingInput, StorageError
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.layers import check_layer_package
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.pruning.aggregation import MatrixSums, aggregate
from fedspallm_secure.pruning.patterns import NofM, Pattern, Unstructured, spell_target
from fedspallm_secure.pruning.strategies import Group
from fedspallm_secure.storage.checkpoints import layers as files
from fedspallm_secure.storage.checkpoints import stored_layers
from fedspallm_secure.storage.checkpoints.layers import LayerMatrix, save_layer
from fedspallm_secure.storage.checkpoints.stored_layers import stored_layer
from tests.protocol.rounds.altering import HEX, OTHER_HEX
from tests.protocol.rounds.member_stage import incoming, lungs, plan, policy

SHAPES = (MatrixShape("layers.0.up", 6, 12), MatrixShape("layers.0.down", 8, 4), MatrixShape("layers.0.odd", 5, 8))
Matrices = dict[str, LayerMatrix]


def group(*shapes: MatrixShape, gid: int = 0) -> GroupPlan:
    return replace(plan().groups[0], gid=gid, matrices=shapes or SHAPES)


def drawn(seed: int = 0, shapes: tuple[MatrixShape, ...] = SHAPES) -> Matrices:
    """Any keep-mask at all."""
    draws, found = np.random.default_rng(seed), {}
    for shape in shapes:
        keep = torch.from_numpy(draws.integers(0, 2, (shape.rows, shape.columns)).astype(bool))
        weight = torch.from_numpy(draws.standard_normal((shape.rows, shape.columns)).astype(np.float32))
        found[shape.name] = LayerMatrix(weight.masked_fill(~keep, 0.0), keep)
    return found


def body(matrices: Mapping[str, LayerMatrix], of: GroupPlan | None = None) -> bytes:
    return b"".join(encode_layer(of or group(), matrices))


def same(one: Matrices, other: Matrices) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name].keep, other[name].keep)
        and torch.equal(one[name].weight.view(torch.int32), other[name].weight.view(torch.int32))
        for name in one
    )


# The body


def test_the_body_is_that_of_the_specification():
    """By hand: bits from the lowest, then the values that are kept."""
    keep = torch.tensor([[True, False, False, True, True], [False, False, False, False, True]])
    weight = torch.tensor([[1.5, 9.0, 9.0, -0.0, 2.0], [9.0, 9.0, 9.0, 9.0, -3.0]])
    small = group(MatrixShape("a", 2, 5))
    written = bytes([0b00011001, 0b10]) + struct.pack("<4f", 1.5, -0.0, 2.0, -3.0)
    matrix = LayerMatrix(weight, keep)
    assert body({"a": matrix}, small) == written
    dense = struct.pack("<10f", 1.5, 0, 0, -0.0, 2.0, 0, 0, 0, 0, -3.0)
    parts = [b"fsps/1/digest/layer", b"a", struct.pack("<Q", 2), struct.pack("<Q", 5)]
    parts += [hashlib.sha256(written[:2]).digest(), hashlib.sha256(dense).digest()]
    pae = struct.pack("<Q", len(parts)) + b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    assert digest_of(small, {"a": matrix}) == hashlib.sha256(pae).hexdigest()


def test_what_is_written_reads_back(tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "_TILE", 7)  # so that matrices take several
    for seed in range(5):
        matrices = drawn(seed)
        data = body(matrices)
        path = tmp_path / f"{seed}"
        path.write_bytes(data)
        for found in (decode_layer(group(), path), decode_layer(group(), BytesIO(data))):
            assert same(found, matrices)
            assert digest_of(group(), found) == digest_of(group(), matrices)


def test_tiles_change_nothing(monkeypatch):
    matrices = drawn()
    data, digest = body(matrices), digest_of(group(), matrices)
    monkeypatch.setattr(files, "TILE", 5)
    assert (body(matrices), digest_of(group(), matrices)) == (data, digest)


def test_nothing_of_a_dropped_weight_travels_or_counts():
    matrices = drawn()
    for matrix in matrices.values():
        matrix.weight[~matrix.keep] = float("nan")
    assert (body(matrices), digest_of(group(), matrices)) == (body(drawn()), digest_of(group(), drawn()))


def test_a_layer_on_disk_is_encoded_and_hashed_as_one_in_memory(tmp_path, monkeypatch):
    for tile in (8, 1 << 18):
        monkeypatch.setattr(files, "TILE", tile)
        monkeypatch.setattr(stored_layers, "TILE", tile)
        matrices = drawn(tile)
        save_layer(tmp_path / "layer", matrices, {})
        stored = stored_layer(tmp_path / "layer")
        assert b"".join(encode_layer(group(), stored)) == body(matrices)
        assert digest_of(group(), stored) == digest_of(group(), matrices)


def test_one_matrix_at_a_time():
    """Encoding and hashing ask for a matrix when it is its turn, and once."""

    class Asked(Mapping[str, LayerMatrix]):
        def __init__(self) -> None:
            self.names: list[str] = []

        def __getitem__(self, name: str) -> LayerMatrix:
            self.names.append(name)
            return drawn()[name]

        def __iter__(self) -> Iterator[str]:
            raise AssertionError

        def __len__(self) -> int:
            raise AssertionError

    for use in (
        lambda m: list(encode_layer(group(), m)),
        lambda m: digest_of(group(), m),
    ):
        asked = Asked()
        use(asked)
        assert asked.names == [shape.name for shape in SHAPES]
    asked = Asked()
    next(iter(encode_layer(group(), asked)))
    assert asked.names == [SHAPES[0].name]


def test_every_change_of_a_layer_is_another_digest():
    digests = {digest_of(group(), drawn())}
    one = drawn()
    one["layers.0.up"].weight[one["layers.0.up"].keep] *= -1
    digests.add(digest_of(group(), one))
    two = drawn()
    place = tuple(torch.nonzero(two["layers.0.odd"].keep)[0])
    two["layers.0.odd"].weight[place] = 0.0
    zero = digest_of(group(), two)
    two["layers.0.odd"].keep[place] = False  # a kept zero is not a dropped weight
    digests |= {zero, digest_of(group(), two)}
    digests.add(digest_of(group(*SHAPES[::-1]), drawn()))
    turned = MatrixShape("layers.0.down", 4, 8)
    three = drawn()
    three["layers.0.down"] = LayerMatrix(
        *(t.view(4, 8) for t in (three["layers.0.down"].weight, three["layers.0.down"].keep))
    )
    digests.add(digest_of(group(SHAPES[0], turned, SHAPES[2]), three))
    assert len(digests) == 6


def test_other_shapes_are_not_encoded():
    for shape in (MatrixShape("layers.0.up", 12, 6), MatrixShape("layers.0.up", 6, 11)):
        for use in (
            lambda g: list(encode_layer(g, drawn())),
            lambda g: digest_of(g, drawn()),
        ):
            with pytest.raises(ValueError, match=r"layers\.0\.up is"):
                use(group(shape))


# Reading what is not right


def refused(data: bytes, check: str, message: str) -> None:
    with pytest.raises(LayerRefused, match=message) as caught:
        decode_layer(group(), BytesIO(data))
    assert caught.value.check == check


def test_only_the_exact_length_is_a_layer():
    data = body(drawn())
    for end in range(len(data)):
        refused(data[:end], "L3", "ends within")
    refused(data + b"\0", "L3", "goes on")


def test_spare_bits_are_zero():
    shape = MatrixShape("a", 1, 9)
    data = body({"a": LayerMatrix(torch.ones(1, 9), torch.ones(1, 9, dtype=torch.bool))}, group(shape))
    decode_layer(group(shape), BytesIO(data))
    for bit in range(1, 8):
        with pytest.raises(LayerRefused, match="unused bits") as caught:
            decode_layer(group(shape), BytesIO(data[:1] + bytes([data[1] | 1 << bit]) + data[2:]))
        assert caught.value.check == "L3"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_are_finite(value):
    matrices = drawn()
    place = tuple(torch.nonzero(matrices["layers.0.down"].keep)[-1])
    matrices["layers.0.down"].weight[place] = value
    refused(body(matrices), "L5", r"layers\.0\.down holds NaN or infinite")


def test_reads_are_bounded_and_may_be_short(monkeypatch):
    monkeypatch.setattr(layers, "_TILE", 16)

    class Trickle(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None and 1 <= size <= 64
            return super().read(min(size, 3))

    matrices = drawn()
    assert same(decode_layer(group(), Trickle(body(matrices))), matrices)


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises((MissingInput, StorageError)):
        decode_layer(group(), tmp_path / "none")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read_as_what_they_are(data):
    try:
        found = decode_layer(group(), BytesIO(data))
    except LayerRefused:
        return
    assert body(found) == data


# L1 and L2


def layer_head(gid: str = "0", **changes):
    return incoming("layer", b"", plan(), group=gid, **changes).head


def test_a_layer_of_any_group_of_the_plan_is_one():
    for gid in (0, 1):
        assert check_layer_package(layer_head(str(gid)), plan(), plan().hash, policy().server) == plan().group(gid)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sender": "server/spare"}, "obey server/hub"),
        ({"round": 8}, "no layer for the plan"),
        ({"plan_hash": HEX}, "no layer for the plan"),
        ({"type": "result"}, "no layer for the plan"),
        ({"group": "2"}, "no group 2"),
        ({"group": "*"}, r"no group \*"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_l1(changes, message):
    fields = {"type": "layer", "group": "0", **changes}
    with pytest.raises(LayerRefused, match=f"L1: .*{message}"):
        check_layer_package(
            incoming(fields.pop("type"), b"", plan(), **fields).head, plan(), plan().hash, policy().server
        )


# L2 to L6


class Pruned:
    """A layer that the server step made, and the round that it is of."""

    def __init__(self, pattern: Pattern, compare: Group = Group.MATRIX, frozen: Pattern | None = None, seed: int = 0):
        draws, self.matrices, self.frozen = np.random.default_rng(seed), {}, {}
        self.group = group()
        for shape in SHAPES:
            size = (shape.rows, shape.columns)
            base = torch.from_numpy(draws.standard_normal(size).astype(np.float32))
            before = None
            if frozen is not None:
                first = aggregate(MatrixSums(torch.ones(size, dtype=torch.int32), None, 3), base, frozen, compare)
                before = self.frozen[shape.name] = ~first.keep
                base = first.weight
            count = torch.from_numpy(draws.integers(0, 6, size).astype(np.int32))
            result = aggregate(MatrixSums(count, None, 5), base, pattern, compare, before)
            self.matrices[shape.name] = LayerMatrix(result.weight, result.keep)
        self.plan: Plan = replace(plan(sums=True), target=spell_target(pattern), compare=compare)

    def result(self, *layer: str) -> Result:
        digest = layer[0] if layer else digest_of(self.group, self.matrices)
        one = GroupResult(0, self.group.weights, 5, HEX, HEX, 1, 1, digest)
        signer = lungs()["server/hub"].signer
        return Result.make(signer, self.plan.federation, self.plan.round, self.plan.hash, HEX, [one], [], ["east"])

    def check(self, result: Result | None = None) -> None:
        check_layer(self.plan, self.group, result or self.result(), self.matrices, self.frozen)

    def refuses(self, check: str, message: str, result: Result | None = None) -> None:
        with pytest.raises(LayerRefused, match=message) as caught:
            self.check(result)
        assert caught.value.check == check


def share(number: int, of: int) -> Unstructured:
    return Unstructured(Fraction(number, of))


CASES = [
    *((share(*half), compare, None) for half in ((1, 2), (1, 3), (0, 1), (19, 20)) for compare in Group),
    *((share(2, 3), compare, share(1, 2)) for compare in Group),
    *((share(1, 3), compare, share(1, 2)) for compare in Group),  # less than what is gone already
    *((share(1, 2), Group.ROW, NofM(1, 4)), (share(1, 2), Group.MATRIX, NofM(2, 4))),
    *((pattern, Group.MATRIX, None) for pattern in (NofM(2, 4), NofM(1, 4), NofM(1, 2))),
    (NofM(2, 4), Group.MATRIX, share(1, 3)),
    (NofM(2, 4), Group.MATRIX, NofM(1, 4)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case)))
def test_what_the_server_step_keeps_is_accepted_and_one_weight_more_or_less_is_not(case):
    for seed in range(3):
        pruned = Pruned(*case, seed=seed)
        pruned.check()
        for name, matrix in pruned.matrices.items():
            before = pruned.frozen.get(name, torch.zeros_like(matrix.keep))
            for place in (torch.nonzero(matrix.keep), torch.nonzero(~matrix.keep & ~before)):
                if len(place):
                    where = tuple(place[len(place) // 2])
                    old = matrix.weight[where].item()
                    matrix.keep[where] = ~matrix.keep[where]
                    matrix.weight[where] = 1.0 if matrix.keep[where] else 0.0
                    pruned.refuses("L4", f"{name} does not have exactly the sparsity")
                    matrix.keep[where] = ~matrix.keep[where]
                    matrix.weight[where] = old
        pruned.check()


def test_the_rule_is_that_of_the_rows_where_rows_are_compared():
    """As many weights of the matrix, in other rows."""
    pruned = Pruned(share(1, 2), Group.ROW)
    matrix = pruned.matrices["layers.0.up"]
    drop, take = torch.nonzero(matrix.keep[0])[0], torch.nonzero(~matrix.keep[1])[0]
    matrix.keep[0, drop], matrix.weight[0, drop] = False, 0.0
    matrix.keep[1, take], matrix.weight[1, take] = True, 1.0
    pruned.refuses("L4", "within each row")
    pruned.plan = replace(pruned.plan, compare=Group.MATRIX)
    pruned.check()


def test_a_matrix_that_the_pattern_does_not_fit_is_not_of_its_sparsity():
    pruned = Pruned(share(1, 2))
    pruned.plan = replace(pruned.plan, target="4:8")
    pruned.refuses("L4", "does not have exactly the sparsity 4:8")


def test_what_was_dropped_stays_dropped():
    """L6: as many as there should be, and one of them back from the dead."""
    pruned = Pruned(share(2, 3), Group.MATRIX, share(1, 2))
    matrix, before = pruned.matrices["layers.0.odd"], pruned.frozen["layers.0.odd"]
    back, away = tuple(torch.nonzero(before)[0]), tuple(torch.nonzero(matrix.keep)[0])
    matrix.keep[back], matrix.weight[back] = True, 0.5
    matrix.keep[away], matrix.weight[away] = False, 0.0
    pruned.refuses("L6", r"layers\.0\.odd has weights again")
    pruned.frozen = {}
    pruned.check()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_kept_is_finite(value):
    pruned = Pruned(share(1, 2))
    matrix = pruned.matrices["layers.0.down"]
    matrix.weight[tuple(torch.nonzero(matrix.keep)[0])] = value
    pruned.refuses("L5", "NaN or infinite")


def test_the_result_names_the_layer():
    pruned = Pruned(share(1, 2))
    pruned.refuses("L3", "not the one that the result names", pruned.result(OTHER_HEX))
    pruned.refuses("L2", "names no layer of group 0", pruned.result("*"))
    right = pruned.result()
    pruned.group = group(gid=1)
    pruned.refuses("L2", "has no sums of group 1", right)
    pruned.group = group()
    pruned.plan = replace(pruned.plan, round=8)
    pruned.refuses("L2", "has no sums", right)


def test_every_change_of_the_layer_is_noticed():
    pruned = Pruned(share(1, 2))
    right = pruned.result()
    for matrix in pruned.matrices.values():
        for where in map(tuple, torch.nonzero(matrix.keep)):
            old = matrix.weight[where].item()
            matrix.weight[where] = -old
            pruned.refuses("L3", "not the one", right)
            matrix.weight[where] = old
    pruned.check(right)
