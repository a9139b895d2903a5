"""Hash trees against the recursive definition of RFC 6962, and proofs that prove one thing only."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.merkle import inclusion_proof, leaf_hash, node_hash, root, root_from_inclusion
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
