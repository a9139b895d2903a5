"""Hash trees as in RFC 6962 section 2.1, over SHA-256 (SPEC section 3)."""

import hashlib
from collections.abc import Sequence

HASH_SIZE = 32  # bytes


def leaf_hash(data: bytes | bytearray | memoryview) -> bytes:
    """Hash of one leaf: SHA-256(0x00 || data)."""
    hasher = hashlib.sha256(b"\x00")
    hasher.update(data)
    return hasher.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes; of no leaves, SHA-256 of nothing.  Linear time, logarithmic memory."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    complete: list[tuple[int, bytes]] = []  # (height, hash) of complete subtrees, the largest first
    for leaf in leaves:
        height, current = 0, leaf
        while complete and complete[-1][0] == height:
            current = node_hash(complete.pop()[1], current)
            height += 1
        complete.append((height, current))
    result = complete.pop()[1]
    while complete:
        result = node_hash(complete.pop()[1], result)
    return result


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of leaf `index` (RFC 6962 section 2.1.1), lowest first.  Raises IndexError outside the leaves."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} among {len(leaves)}")
    if len(leaves) == 1:
        return []
    split = _left_size(len(leaves))
    if index < split:
        return [*inclusion_proof(leaves[:split], index), root(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), root(leaves[:split])]


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root under which `path` puts `leaf` as number `index` of `size`; None if the path does not fit."""
    if not 0 <= index < size or any(len(entry) != HASH_SIZE for entry in (leaf, *path)):
        return None  # 31 and 33 bytes would hash to the same node as 32 and 32
    position, last, current = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while not position & 1 and position:  # this subtree stood alone on the right edge of some levels
                position, last = position >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        position, last = position >> 1, last >> 1
    return current if last == 0 else None


def _left_size(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1
