"""Hash trees against the recursive definition of RFC 6962, and proofs that prove one thing only."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.merkle import (
    EMPTY_ROOT,
    Tree,
    inclusion_proof,
    is_consistent,
    leaf_hash,
    node_hash,
    root,
    root_from_inclusion,
)
from tests.crypto import reference


def data(size: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(size)]


def hashes(size: int) -> list[bytes]:
    return [leaf_hash(leaf) for leaf in data(size)]


def test_leaves_and_nodes_are_told_apart():
    assert leaf_hash(b"ab") == hashlib.sha256(b"\x00ab").digest()
    assert node_hash(b"a", b"b") == hashlib.sha256(b"\x01ab").digest()
    assert leaf_hash(b"") != root([])
    for kind in (bytes, bytearray, memoryview):
        assert leaf_hash(kind(b"ab")) == leaf_hash(b"ab")


@pytest.mark.parametrize("size", [*range(36), 63, 64, 65, 100])
def test_roots_and_paths_are_those_of_the_definition(size):
    leaves = hashes(size)
    assert root(leaves) == reference.tree_root(data(size))
    for index in range(size):
        path = inclusion_proof(leaves, index)
        assert path == reference.tree_path(index, data(size))
        assert root_from_inclusion(leaves[index], index, size, path) == root(leaves)


def test_roots_of_different_lists_differ():
    roots = [root(hashes(size)) for size in range(40)]
    assert len(set(roots)) == 40
    leaves = hashes(9)
    assert root([*leaves, leaves[-1]]) != root(leaves), "a doubled last leaf must not be the same tree"
    assert root(leaves[::-1]) != root(leaves)


def test_an_inner_node_is_no_leaf():
    a, b, c = hashes(3)
    assert root([node_hash(a, b), c]) == root([a, b, c]), "leaf hashes are given, so their data has to be hashed by us"
    assert root([leaf_hash(a + b), c]) != root([a, b, c])


@given(st.integers(1, 40), st.data())
def test_a_proof_is_for_one_leaf_at_one_place_in_one_size(size, drawn):
    leaves = hashes(size)
    index = drawn.draw(st.integers(0, size - 1))
    path = inclusion_proof(leaves, index)
    proven = root(leaves)
    assert root_from_inclusion(leaf_hash(b"other"), index, size, path) != proven
    other = drawn.draw(st.integers(-2, size + 2))
    if other != index:
        assert root_from_inclusion(leaves[index], other, size, path) != proven
    assert root_from_inclusion(leaves[index], index, size, [*path, bytes(32)]) is None
    if path:
        assert root_from_inclusion(leaves[index], index, size, path[:-1]) is None
        at, bit = drawn.draw(st.integers(0, len(path) - 1)), drawn.draw(st.integers(0, 255))
        changed = (int.from_bytes(path[at], "big") ^ 1 << bit).to_bytes(32, "big")
        assert root_from_inclusion(leaves[index], index, size, [*path[:at], changed, *path[at + 1 :]]) != proven


def test_a_path_of_the_length_for_another_size_is_refused():
    """Sizes whose path has the same length may give the root too: the size is authenticated by whoever signs both."""
    leaves = hashes(5)
    lengths = {size: len(inclusion_proof(hashes(size), 0)) for size in range(1, 20)}
    path = inclusion_proof(leaves, 0)
    for size, length in lengths.items():
        assert (root_from_inclusion(leaves[0], 0, size, path) is None) == (length != len(path))


@pytest.mark.parametrize("sizes", [(31, 33), (33, 31), (0, 64), (64, 0), (32, 31), (32, 33)])
def test_hashes_of_another_size_are_refused(sizes):
    """31 and 33 bytes hash to the same node as 32 and 32 do."""
    leaves = hashes(2)
    joined = leaves[0] + leaves[1] + b"x"
    leaf, sibling = joined[: sizes[0]], joined[sizes[0] : sum(sizes)]
    assert root_from_inclusion(leaf, 0, 2, [sibling]) is None


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (7, 3)])
def test_there_is_no_proof_outside_the_leaves(index, size):
    with pytest.raises(IndexError, match=f"no leaf {index} among {size}"):
        inclusion_proof(hashes(size), index)
    assert root_from_inclusion(leaf_hash(b""), index, size, []) is None


def test_a_large_tree_needs_no_recursion():
    leaves = [bytes(32)] * 70_000
    path = inclusion_proof(leaves, 69_999)
    assert root_from_inclusion(bytes(32), 69_999, 70_000, path) == root(leaves)
    assert len(path) <= 17


# --- Trees that grow, and consistency ---------------------------------------------------------------------------------

GROWN = Tree(hashes(80))
ROOTS = [reference.tree_root(data(size)) for size in range(81)]


@pytest.mark.parametrize("size", range(71))
def test_a_tree_has_the_roots_and_proofs_of_the_definition(size):
    tree = Tree(hashes(size))
    assert tree.size == size
    assert tree.root() == tree.root(size) == GROWN.root(size) == ROOTS[size]
    for index in range(size):
        assert tree.leaf(index) == leaf_hash(b"leaf %d" % index)
        assert GROWN.inclusion(index, size) == tree.inclusion(index, size) == reference.tree_path(index, data(size))
    for old in range(size + 1):
        proof = GROWN.consistency(old, size)
        assert proof == tree.consistency(old, size) == (reference.tree_proof(old, data(size)) if old else [])
        assert is_consistent(old, ROOTS[old], size, ROOTS[size], proof)


def test_nodes_are_the_roots_of_complete_subtrees():
    for level in range(7):
        for index in range(80 >> level):
            leaves = data(80)[index << level : (index + 1) << level]
            assert GROWN.node(level, index) == reference.tree_root(leaves)


def wrong_proofs(proof):
    """Every byte changed, every hash left out, doubled or exchanged for its neighbour, and one more at either end."""
    for at, entry in enumerate(proof):
        for place in range(32):
            changed = entry[:place] + bytes([entry[place] ^ 1 << place % 8]) + entry[place + 1 :]
            yield [*proof[:at], changed, *proof[at + 1 :]]
        yield [*proof[:at], *proof[at + 1 :]]
        yield [*proof[:at], entry, *proof[at:]]
        yield [*proof[:at], entry[:-1], *proof[at + 1 :]]
        if at:
            yield [*proof[: at - 1], entry, proof[at - 1], *proof[at + 1 :]]
    yield [bytes(32), *proof]
    yield [*proof, bytes(32)]


@pytest.mark.parametrize("size", [*range(1, 18), 70])
def test_every_wrong_consistency_proof_is_refused(size):
    for old in range(size + 1):
        proof = GROWN.consistency(old, size)
        for wrong in wrong_proofs(proof):
            assert not is_consistent(old, ROOTS[old], size, ROOTS[size], wrong)
        if proof:
            assert not is_consistent(old, ROOTS[old], size, ROOTS[size], [])


@pytest.mark.parametrize("size", [*range(1, 18), 70])
def test_every_wrong_path_is_refused(size):
    for index in range(size):
        leaf, path = GROWN.leaf(index), GROWN.inclusion(index, size)
        for wrong in wrong_proofs(path):
            assert root_from_inclusion(leaf, index, size, wrong) != ROOTS[size]
        for other in (index - 1, index + 1):
            assert root_from_inclusion(leaf, other, size, path) != ROOTS[size]


@pytest.mark.parametrize("size", range(1, 34))
def test_a_consistency_proof_is_for_two_trees(size):
    """Sizes off by one with their own roots, and roots of other trees with these sizes."""
    for old in range(1, size):
        proof = GROWN.consistency(old, size)
        for other, whole in ((old - 1, size), (old + 1, size), (old, size - 1), (old, size + 1)):
            if 0 <= other <= whole:
                assert not is_consistent(other, ROOTS[other], whole, ROOTS[whole], proof)
        assert not is_consistent(old, ROOTS[old + 1], size, ROOTS[size], proof)
        assert not is_consistent(old, ROOTS[old], size, ROOTS[size + 1], proof)
        assert not is_consistent(size, ROOTS[size], old, ROOTS[old], proof)
        assert not is_consistent(old, ROOTS[old][:-1], size, ROOTS[size], proof)
        assert not is_consistent(old, ROOTS[old], size, ROOTS[size] + b"x", proof)


def test_a_proof_of_the_shape_for_other_sizes_is_refused():
    """Other sizes with these roots: only where the proof has the same shape, as the size is signed with the root."""
    for size in range(2, 34):
        for old in range(1, size):
            proof = GROWN.consistency(old, size)
            for other, whole in ((old - 1, size), (old + 1, size), (old, size - 1), (old, size + 1)):
                if 0 < other < whole and len(GROWN.consistency(other, whole)) != len(proof):
                    assert not is_consistent(other, ROOTS[old], whole, ROOTS[size], proof)


def test_nothing_and_everything_need_no_proof_but_the_right_root():
    assert is_consistent(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert is_consistent(0, EMPTY_ROOT, 5, ROOTS[5], [])
    assert is_consistent(5, ROOTS[5], 5, ROOTS[5], [])
    for old, old_root, size, new_root, proof in (
        (0, ROOTS[1], 5, ROOTS[5], []),
        (0, ROOTS[1], 0, ROOTS[1], []),
        (0, EMPTY_ROOT, 0, ROOTS[1], []),
        (0, EMPTY_ROOT, 5, ROOTS[5], [ROOTS[5]]),
        (5, ROOTS[5], 5, ROOTS[4], []),
        (5, ROOTS[5], 5, ROOTS[5], [ROOTS[5]]),
        (-1, EMPTY_ROOT, 5, ROOTS[5], []),
        (6, ROOTS[6], 5, ROOTS[5], []),
    ):
        assert not is_consistent(old, old_root, size, new_root, proof)


@given(st.integers(1, 200), st.data())
def test_histories_that_part_are_never_consistent(size, drawn):
    at = drawn.draw(st.integers(0, size - 1))
    old = drawn.draw(st.integers(at + 1, size))
    leaves = hashes(size)
    other = Tree([*leaves[:at], leaf_hash(b"other"), *leaves[at + 1 :]])
    tree = Tree(leaves)
    assert is_consistent(old, tree.root(old), size, tree.root(), tree.consistency(old, size))
    for proof in (tree.consistency(old, size), other.consistency(old, size)):
        assert not is_consistent(old, tree.root(old), size, other.root(), proof)
        assert not is_consistent(old, other.root(old), size, tree.root(), proof)
    assert is_consistent(at, tree.root(at), size, other.root(), other.consistency(at, size)), "up to there they agree"


@given(st.integers(0, 70), st.integers(0, 70), st.integers(0, 70))
def test_a_tree_that_was_cut_grows_as_if_it_never_had_more(before, cut, after):
    tree = Tree(hashes(before))
    tree.truncate(min(cut, before))
    assert tree.root() == ROOTS[min(cut, before)]
    fresh = hashes(min(cut, before))
    for number in range(after):
        assert tree.append(leaf_hash(b"more %d" % number)) == len(fresh)
        fresh.append(leaf_hash(b"more %d" % number))
    assert tree.size == len(fresh)
    assert tree.root() == root(fresh)
    with pytest.raises(IndexError):
        tree.leaf(len(fresh))


def test_what_a_tree_does_not_have_is_not_invented():
    tree = Tree(hashes(5))
    for call in (
        lambda: tree.root(6),
        lambda: tree.root(-1),
        lambda: tree.truncate(6),
        lambda: tree.truncate(-1),
        lambda: tree.leaf(5),
        lambda: tree.leaf(-1),
        lambda: tree.node(1, 2),
        lambda: tree.node(3, 0),
        lambda: tree.node(-1, 0),
        lambda: tree.inclusion(0, 6),
        lambda: tree.inclusion(3, 3),
        lambda: tree.inclusion(-1, 3),
        lambda: tree.consistency(4, 3),
        lambda: tree.consistency(-1, 3),
        lambda: tree.consistency(3, 6),
    ):
        with pytest.raises(IndexError):
            call()
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            tree.append(bytes(size))
    assert tree.root() == ROOTS[5]
