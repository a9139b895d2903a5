"""Hash trees as in RFC 6962 section 2.1, over SHA-256 (SPEC section 3)."""

import hashlib
from collections.abc import Iterable, Sequence

HASH_SIZE = 32  # bytes
EMPTY_ROOT = hashlib.sha256(b"").digest()  # of no leaves


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
        return EMPTY_ROOT
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
    return Tree(leaves).inclusion(index, len(leaves))


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


class Tree:
    """A tree that grows at its end: the hash of every complete subtree, 64 bytes a leaf; proofs in logarithmic time."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        """leaves: leaf hashes.  Raises ValueError as `append` does."""
        self._levels = [bytearray()]  # by height: hashes of the complete subtrees of 2^height leaves, joined
        for leaf in leaves:
            self.append(leaf)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0]) // HASH_SIZE

    def append(self, leaf: bytes) -> int:
        """Add a leaf hash; its index.  Raises ValueError unless it has 32 bytes."""
        if len(leaf) != HASH_SIZE:
            raise ValueError(f"a leaf hash has {HASH_SIZE} bytes, not {len(leaf)}")
        index = position = self.size
        hashes = self._levels[0]
        hashes += leaf
        level = 0
        while position & 1:  # a right child: its parent is complete now
            parent = hashlib.sha256(b"\x01" + hashes[-2 * HASH_SIZE :]).digest()
            level, position = level + 1, position >> 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            hashes = self._levels[level]
            hashes += parent
        return index

    def truncate(self, size: int) -> None:
        """Forget all leaves from number `size` on.  Raises IndexError if there never were so many."""
        self._check_size(size)
        for level, hashes in enumerate(self._levels):
            del hashes[(size >> level) * HASH_SIZE :]

    def leaf(self, index: int) -> bytes:
        """The leaf hash number `index`.  Raises IndexError."""
        return self.node(0, index)

    def node(self, level: int, index: int) -> bytes:
        """Root of the complete subtree over leaves index * 2^level to (index + 1) * 2^level.  Raises IndexError."""
        if not 0 <= level < len(self._levels) or not 0 <= index < len(self._levels[level]) // HASH_SIZE:
            raise IndexError(f"no complete subtree {index} of height {level} among {self.size} leaves")
        return bytes(self._levels[level][index * HASH_SIZE : (index + 1) * HASH_SIZE])

    def root(self, size: int | None = None) -> bytes:
        """Root over the first `size` leaves, or over all.  Raises IndexError."""
        size = self.size if size is None else size
        self._check_size(size)
        return self._over(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The audit path of leaf `index` among the first `size` (RFC 6962 2.1.1), lowest first.  Raises IndexError."""
        self._check_size(size)
        if not 0 <= index < size:
            raise IndexError(f"no leaf {index} among {size}")
        path, start, end = [], 0, size
        while end - start > 1:
            middle = start + _left_size(end - start)
            if index < middle:
                path.append(self._over(middle, end))
                end = middle
            else:
                path.append(self._over(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int, size: int) -> list[bytes]:
        """That the first `old` leaves are the beginning of the first `size` (RFC 6962 2.1.2), lowest first.

        Empty where there is nothing to prove: of no leaves, or of as many.  Raises IndexError.
        """
        self._check_size(size)
        if not 0 <= old <= size:
            raise IndexError(f"{old} leaves are not the beginning of {size}")
        if old == 0:
            return []
        path, start, end = [], 0, size
        while end != old:
            middle = start + _left_size(end - start)
            if old <= middle:
                path.append(self._over(middle, end))
                end = middle
            else:
                path.append(self._over(start, middle))
                start = middle
        if start:  # otherwise this subtree is the old tree, whose root the verifier has
            path.append(self._over(start, end))
        return path[::-1]

    def _over(self, start: int, end: int) -> bytes:
        """Hash over the leaves of one subtree of the definition, start to end."""
        count = end - start
        level = count.bit_length() - 1
        if count == 1 << level:
            return self.node(level, start >> level)
        middle = start + _left_size(count)
        return node_hash(self._over(start, middle), self._over(middle, end))

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise IndexError(f"{size} leaves of a tree of {self.size}")


def is_consistent(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` leads from the root of `old` leaves to that of `size` (RFC 9162 section 2.1.4.2).

    Nothing is to be proven of no leaves, whose root is known, and of as many: there the proof must be empty.
    """
    if not 0 <= old <= size or any(len(entry) != HASH_SIZE for entry in (old_root, root, *proof)):
        return False
    if old in (0, size):
        return not proof and (old > 0 or old_root == EMPTY_ROOT) and (old < size or old_root == root)
    if not proof:
        return False
    position, last = old - 1, size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    entries = iter(proof)
    first = old_root if position == 0 else next(entries)  # a complete old tree is left out of the proof
    left, whole = first, first
    for entry in entries:
        if last == 0:
            return False
        if position & 1 or position == last:
            left, whole = node_hash(entry, left), node_hash(entry, whole)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            whole = node_hash(whole, entry)
        position, last = position >> 1, last >> 1
    return last == 0 and left == old_root and whole == root


def _left_size(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1
