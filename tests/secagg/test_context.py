"""What every secret of a group is bound to."""

import pytest

from fedspallm_secure.secagg.context import GroupContext


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_plan_hash_of_another_size_is_refused(size: int):
    with pytest.raises(ValueError, match=f"has 32 bytes, not {size}"):
        GroupContext("lungs.example", 1, bytes(size), 0)


def test_what_digests_and_keys_begin_with():
    context = GroupContext("lungs.example", 1, bytes(range(32)), 0x01020304)
    assert context.parts == (bytes(range(32)), b"\x04\x03\x02\x01")
