"""What a key holder takes in piece by piece: the sum of a group, and chunks of the vectors it is of (SPEC 24.4)."""

import os
from collections.abc import Iterator
from typing import BinaryIO

from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.rounds.deals import VectorHasher
from fedspallm_secure.protocol.rounds.decrypting import LENGTH, header_length, opened_sizes, parse_opened
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.key_holder import KeyHolder


class Inbound:
    """A plaintext on its way into a file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, piece: memoryview) -> None:
        """The next piece."""
        rest = piece
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


class SumInflow(Inbound):
    """A decrypt request: its header in memory, the places of the sum in a file, and their root."""

    def __init__(self, descriptor: int, group: GroupPlan) -> None:
        super().__init__(descriptor)
        self._group = group
        self._start = bytearray()
        self._header = bytearray()
        self._missing = -1  # bytes of the header, once its length is known
        self._size = 0
        self._hasher = VectorHasher(group.upload_tile)

    def write(self, piece: memoryview) -> None:
        """The next piece.  Raises FormatError for a header of no length, or more than a sum."""
        if self._missing < 0:
            missing = LENGTH - len(self._start)
            self._start += piece[:missing]
            piece = piece[missing:]
            if len(self._start) < LENGTH:
                return
            self._missing = header_length(bytes(self._start))
        if self._missing:
            taken = min(self._missing, len(piece))
            self._header += piece[:taken]
            self._missing -= taken
            piece = piece[taken:]
        self._size += len(piece)
        if self._size > self._group.upload_size:
            raise FormatError(f"more than a sum of group {self._group.gid} follows the request")
        super().write(piece)
        self._hasher.write(piece)

    def end(self) -> tuple[bytes, bytes]:
        """The header without its length, and root of the sum, 32 bytes.  Raises FormatError if some is missing."""
        if self._missing or self._size != self._group.upload_size:
            raise FormatError(f"the sum of group {self._group.gid} does not have {self._size} bytes")
        return bytes(self._header), self._hasher.root


class OpenedChunks:
    """The opened chunks in a file, read once from its start; each is checked against what its member signed.

    Whoever adds them up takes one of every survivor in turn, chunk by chunk, which is the order in which they lie.
    """

    def __init__(self, file: BinaryIO, machine: KeyHolder, group: GroupPlan) -> None:
        self._file, self._machine, self._group = file, machine, group
        survivors = machine.listed(group.gid).ids
        self._next = opened_sizes(group, survivors, machine.shown[group.gid].chunks)

    def of(self, member: str) -> Iterator[bytes]:
        """The places of one survivor.  Raises UnmaskingDeclined, FormatError."""
        for _ in self._machine.shown[self._group.gid].chunks:
            chunk, turn, size = next(self._next)
            if turn != member:
                raise RuntimeError("opened chunks are read in their order")
            found = parse_opened(self._group, chunk, self._file.read(size))
            self._machine.check_opened(self._group.gid, member, chunk, found)
            yield found.slot
