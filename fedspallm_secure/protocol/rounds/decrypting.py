"""What server and key holder say to each other about one sum (SPEC section 24.4).

The server shows a sum, the key holder names the chunks that it wants to add up again, gets these chunks of all
survivors with proofs that they signed them, and decrypts the sum if it is theirs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from fedspallm_secure.crypto import merkle
from fedspallm_secure.crypto.draws import PublicDraws
from fedspallm_secure.crypto.encoding import (
    canonical_json,
    decode_base64,
    decode_hex,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import FormatError
from fedspallm_secure.he.parameters import CHUNKS_LIMIT
from fedspallm_secure.protocol.rounds.groups import GroupPlan, is_ascending
from fedspallm_secure.protocol.rounds.plans import SAMPLE_WHOLE
from fedspallm_secure.protocol.rounds.survivors import SurvivorList
from fedspallm_secure.protocol.rounds.unmasking import ForwardedDeal

LENGTH = 4  # bytes of the length before a header
HEADER_LIMIT = 1 << 27  # bytes: a list of the largest size in base64, and 2 KiB for every survivor
_BITS_LIMIT = CHUNKS_LIMIT // 4  # hex digits
_WHAT = "the decrypt request"
_CHALLENGE = "the decrypt challenge"


@dataclass(frozen=True, slots=True)
class DecryptRequest:
    """The first part of a package `decrypt-request`; the sum's chunks follow it.

    survivors: the list, of which nothing is checked yet; deals: of the survivors of the group, in cohort order.
    """

    survivors: SurvivorList
    deals: tuple[ForwardedDeal, ...]

    def encode(self) -> bytes:
        """Length (4 bytes) and canonical JSON."""
        header = canonical_json(
            {
                "survivors": encode_base64(self.survivors.encode()),
                "deals": [
                    {
                        "id": one.id,
                        "deal": encode_base64(one.deal),
                        "signature": encode_base64(one.signature),
                        "envelope": encode_base64(one.envelope),
                    }
                    for one in self.deals
                ],
            }
        )
        return len(header).to_bytes(LENGTH, "little") + header

    @classmethod
    def parse(cls, header: bytes) -> "DecryptRequest":
        """Read the header, without its length.  Raises FormatError or LimitExceeded."""
        found = fields(parse_canonical_json(header, _WHAT), {"survivors": str, "deals": list}, _WHAT)
        survivors = SurvivorList.parse(decode_base64(found["survivors"], _WHAT))
        return cls(survivors, tuple(map(_read_deal, found["deals"])))


def header_length(start: bytes) -> int:
    """Bytes of the header that these first four bytes announce.  Raises FormatError."""
    length = int.from_bytes(start, "little")
    if len(start) != LENGTH or not 0 < length <= HEADER_LIMIT:
        raise FormatError(f"{_WHAT} has no header, or one of {length} bytes")
    return length


def _read_deal(value: Any) -> ForwardedDeal:
    what = f"a deal in {_WHAT}"
    found = fields(value, {"id": str, "deal": str, "signature": str, "envelope": str}, what)
    parts = (decode_base64(found[name], f"{what}: {name}") for name in ("deal", "signature", "envelope"))
    return ForwardedDeal(found["id"], *parts)


@dataclass(frozen=True, slots=True)
class Challenge:
    """The body of a package `decrypt-challenge`.

    root: of the sum's chunks that it is about, hex; chunks: numbers of those to be opened, ascending.
    Raises FormatError.
    """

    root: str
    chunks: tuple[int, ...]

    def __post_init__(self) -> None:
        decode_hex(self.root, merkle.HASH_SIZE, f"{_CHALLENGE}: root")
        if not self.chunks or self.chunks[0] < 0 or not is_ascending(self.chunks):
            raise FormatError(f"{_CHALLENGE} asks for no chunks, or not in order, each once")

    def encode(self) -> bytes:
        """Canonical JSON; the numbers as a bit set in hex, since a list would be too long for it."""
        bits = bytearray(self.chunks[-1] // 8 + 1)
        for chunk in self.chunks:
            bits[chunk // 8] |= 1 << chunk % 8
        return canonical_json({"root": self.root, "chunks": bits.hex()})

    @classmethod
    def parse(cls, body: bytes) -> "Challenge":
        """Read it back.  Raises FormatError."""
        found = fields(parse_canonical_json(body, _CHALLENGE), {"root": str, "chunks": str}, _CHALLENGE)
        if len(found["chunks"]) > _BITS_LIMIT:  # before a number is made of every bit
            raise FormatError(f"{_CHALLENGE} asks for chunks that no vector has")
        try:
            bits = bytes.fromhex(found["chunks"])
        except ValueError:
            raise FormatError(f"{_CHALLENGE}: chunks are not in hex") from None
        chunks = tuple(8 * place + bit for place, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1)
        made = cls(found["root"], chunks)
        if made.encode() != body:
            raise FormatError(f"{_CHALLENGE} has another spelling")
        return made


def sample_size(chunks: int, sample: int) -> int:
    """How many of so many chunks are added up again.  sample: thousandths."""
    return max(1, ceil(chunks * sample / SAMPLE_WHOLE))


def draw_chunks(chunks: int, sample: int) -> tuple[int, ...]:
    """Which ones, drawn by the operating system, ascending (Floyd's algorithm: every set equally likely)."""
    drawn: set[int] = set()
    draws = PublicDraws(random_bytes(32), "chunks to be opened")  # from a seed that nobody is told
    for last in range(chunks - sample_size(chunks, sample), chunks):
        one = draws.below(last + 1)
        drawn.add(last if one in drawn else one)
    return tuple(sorted(drawn))


@dataclass(frozen=True, slots=True)
class OpenedChunk:
    """One chunk of one survivor.

    slot: its place, `GroupPlan.upload_tile` bytes; path: lowest first, up to the vector root of its deal.
    """

    slot: bytes = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)

    def is_under(self, root: bytes, chunk: int, chunks: int) -> bool:
        """Whether it is chunk number `chunk` of so many that have this vector root."""
        return merkle.root_from_inclusion(merkle.leaf_hash(self.slot), chunk, chunks, self.path) == root


def opening_size(group: GroupPlan, survivors: int, chunks: Sequence[int]) -> int:
    """Bytes of the body of a package `decrypt-opening`, exactly."""
    return sum(survivors * _opened_size(group, chunk) for chunk in chunks)


def encode_opened(opened: OpenedChunk) -> bytes:
    """Slot and path, one after the other; of all survivors in cohort order, chunk by chunk, this is the opening."""
    return b"".join((opened.slot, *opened.path))


def opened_sizes(group: GroupPlan, survivors: Sequence[str], chunks: Sequence[int]) -> Iterator[tuple[int, str, int]]:
    """(chunk, survivor, bytes) of everything in an opening, in its order."""
    for chunk in chunks:
        for member in survivors:
            yield chunk, member, _opened_size(group, chunk)


def parse_opened(group: GroupPlan, chunk: int, data: bytes) -> OpenedChunk:
    """Read one.  Raises FormatError for any other length."""
    if len(data) != _opened_size(group, chunk):
        raise FormatError(f"an opened chunk {chunk} of group {group.gid} does not have {len(data)} bytes")
    size = group.upload_tile
    hashes = data[size:]
    path = tuple(hashes[start : start + merkle.HASH_SIZE] for start in range(0, len(hashes), merkle.HASH_SIZE))
    return OpenedChunk(data[:size], path)


def _opened_size(group: GroupPlan, chunk: int) -> int:
    return group.upload_tile + merkle.HASH_SIZE * path_length(chunk, group.upload_size // group.upload_tile)


def path_length(index: int, size: int) -> int:
    """Hashes in the inclusion proof of leaf `index` among `size` (RFC 6962 section 2.1.1)."""
    length, last = 0, size - 1
    while last:
        length += index & 1 or index != last
        index, last = index >> 1, last >> 1
    return length
