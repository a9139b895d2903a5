"""Names and bytes of tiles and bundles: the examples of C2SP, a slow twin, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.audit.tiles import (
    bundle_paths,
    encode_bundle,
    entries_path,
    parse_bundle,
    tile_path,
    tile_paths,
)
from tests.crypto import reference

SIZES = [0, 1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 70_000]


def test_names_are_those_of_c2sp():
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tile_path(63, 0, 255) == "tile/63/000.p/255"
    assert entries_path(999) == "tile/entries/999"
    assert entries_path(1_000, 1) == "tile/entries/x001/000.p/1"
    assert entries_path(1_000_000) == "tile/entries/x001/x000/000"


def test_a_log_of_70_000_has_the_tiles_that_c2sp_counts():
    tiles = list(tile_paths(70_000))
    of_level = {level: [tile.path for tile in tiles if tile.level == level] for level in range(4)}
    assert [len(paths) for paths in of_level.values()] == [274, 2, 1, 0]
    assert of_level[0][-2:] == ["tile/0/272", "tile/0/273.p/112"]
    assert of_level[1] == ["tile/1/000", "tile/1/001.p/17"]
    assert of_level[2] == ["tile/2/000.p/1"]
    assert [tile.path for tile in tile_paths(256)] == ["tile/0/000", "tile/1/000.p/1"]


@pytest.mark.parametrize("size", SIZES)
def test_tiles_and_bundles_cover_the_log_in_order(size):
    widths: dict[int, int] = {}
    for tile in tile_paths(size):
        assert tile.index * 256 == widths.get(tile.level, 0), "every tile before the last one is full"
        widths[tile.level] = tile.index * 256 + tile.width
        assert tile.path == tile_path(tile.level, tile.index, tile.width)
    assert widths == {level: size // 256**level for level in range(8) if size // 256**level}
    at = 0
    for bundle in bundle_paths(size):
        assert (bundle.start, bundle.path) == (at, entries_path(bundle.index, bundle.width))
        at += bundle.width
    assert at == size


def test_tiles_hold_what_the_definition_says():
    data = [b"entry %d" % number for number in range(600)]
    tree = Tree(map(leaf_hash, data))
    for tile in tile_paths(600):
        span = 256**tile.level
        starts = [(tile.index * 256 + place) * span for place in range(tile.width)]
        expected = [reference.tree_root(data[start : start + span]) for start in starts]
        assert tile.hashes(tree) == b"".join(expected)
    with pytest.raises(IndexError):
        list(tile_paths(601))[2].hashes(tree)


@pytest.mark.parametrize(("level", "index", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_there_are_no_other_names(level, index, width):
    with pytest.raises(ValueError, match="there is no"):
        tile_path(level, index, width)
    if level == 0:
        with pytest.raises(ValueError, match="there is no"):
            entries_path(index, width)


def test_a_bundle_has_lengths_in_two_bytes():
    assert encode_bundle([b"", b"a"]) == b"\x00\x00\x00\x01a"
    entries = [b"", b"x" * 65_535, b"y"]
    assert parse_bundle(encode_bundle(entries), 3) == entries


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_bundles_read_back(entries):
    assert parse_bundle(encode_bundle(entries), len(entries)) == entries


@pytest.mark.parametrize("entries", [[], [b""] * 257, [b"x" * 65_536]], ids=["none", "many", "long"])
def test_other_bundles_are_not_written(entries):
    with pytest.raises(ValueError, match="bundle"):
        encode_bundle(entries)


def test_a_bundle_holds_the_entries_asked_for_and_nothing_else():
    data = encode_bundle([b"one", b"", b"three"])
    for end in range(len(data)):
        with pytest.raises(FormatError):
            parse_bundle(data[:end], 3)
    for more in (b"\x00", b"\x00\x00", b"\x00\x01"):
        with pytest.raises(FormatError):
            parse_bundle(data + more, 3)
    for count in (0, 1, 2, 4, 256):
        with pytest.raises(FormatError):
            parse_bundle(data, count)
