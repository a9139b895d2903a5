"""Sizes as people read them."""

import pytest

from fedspallm_secure.storage.room import _spelled

SIZES = {
    0: "0 bytes",
    1023: "1023 bytes",
    1024: "1.0 KiB",
    1 << 20: "1.0 MiB",
    3 << 29: "1.5 GiB",
    1 << 55: "32768.0 TiB",
}


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size):
    assert _spelled(size) == SIZES[size]
