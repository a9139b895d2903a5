"""A share of the tiles of a round's sums, recomputed, and followed to the roots in the result.

Of each package only what these tiles need is read and decrypted.  Whoever changed sums in k of n tiles escapes s drawn
ones with a chance of at most (1 - k/n)^s; the archived tile hashes are not trusted, a Merkle proof leads from each
recomputed tile to the root that the server has signed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

import numpy as np

from fedspallm_secure.app.audit.replay_archive import Archive, Sealed
from fedspallm_secure.app.audit.replay_book import CONTRIBUTIONS, SUMS, Book
from fedspallm_secure.app.audit.replay_log import LoggedRound, Sent
from fedspallm_secure.app.rounds.streams import Octets, word_sizes
from fedspallm_secure.crypto import merkle
from fedspallm_secure.crypto.draws import PublicDraws
from fedspallm_secure.crypto.encoding import decode_hex
from fedspallm_secure.errors import ForeignFile, UsageError
from fedspallm_secure.protocol.limits import TILE_SIZE
from fedspallm_secure.protocol.packages import NONE, tile_count
from fedspallm_secure.protocol.rounds.answers import Unmasking
from fedspallm_secure.protocol.rounds.deals import handover_size
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.secagg.masking import Term, add_into, add_keystreams

_AT_ONCE: Final = 32  # tiles of a sum in memory
_SHARE: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{0,9})?|\.[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Sample:
    """What to draw.  share: of the tiles of each stream, above 0 and at most 1; seed: 32 bytes that decide which."""

    share: Fraction
    seed: bytes

    def tiles(self, number: int, gid: int, stream: str, count: int) -> list[int]:
        """Tiles of a stream of `count` tiles, in order: the share, rounded up, so one at least."""
        draws = PublicDraws(self.seed, f"replay of round {number}: {stream} of group {gid}")
        return sorted(draws.permutation(range(count))[: ceil(self.share * count)])


def parse_share(text: str) -> Fraction:
    """Read `5%` or `0.05`.  Raises UsageError."""
    number, percent = text.removesuffix("%"), text.endswith("%")
    share = Fraction(number) / (100 if percent else 1) if _SHARE.fullmatch(number) else Fraction(0)
    if not 0 < share <= 1:
        raise UsageError(f"a share of the tiles is written 5% or 0.05, got {text[:40]!r}")
    return share


@dataclass(frozen=True, slots=True)
class _Stream:
    """One stream of a group.  before: bytes of a contribution that stand before it; size: of its words, bytes."""

    name: str
    length: int
    before: int
    size: int
    terms: tuple[Term, ...]
    root: str
    leaves: list[bytes]

    def piece(self, tile: int) -> tuple[int, int]:
        """Where a tile begins in the stream, and how many bytes it has."""
        return tile * TILE_SIZE, min(TILE_SIZE, self.length - tile * TILE_SIZE)


def sample_group(
    logged: LoggedRound, archive: Archive, unmasking: Unmasking, sent: Mapping[str, Sent], sample: Sample, book: Book
) -> int:
    """Recompute tiles of one group; how many.  sent: survivor -> its package in the log."""
    group, done = unmasking.group, 0
    with book.trying(SUMS, f"group {group.gid}", group=group.gid):
        for stream in _streams(logged, archive, unmasking, book):
            drawn = sample.tiles(logged.number, group.gid, stream.name, tile_count(stream.length))
            for start in range(0, len(drawn), _AT_ONCE):
                tiles = drawn[start : start + _AT_ONCE]
                totals = _totals(archive, group, unmasking.survivors, sent, stream, tiles, book)
                for tile, total in zip(tiles, totals, strict=bool(totals)):
                    _compare(group, stream, tile, total, book)
                    done += 1
    return done


def _streams(logged: LoggedRound, archive: Archive, unmasking: Unmasking, book: Book) -> Iterator[_Stream]:
    group = unmasking.group
    said = logged.result.group(group.gid)
    if said is None:
        raise ForeignFile("the result has no sums of it; a full replay says whether they are out of range")
    if (said.weights, said.survivors) != (group.weights, len(unmasking.survivors)):
        raise ForeignFile("the result is over other numbers of weights or survivors than plan and list")
    leaves = archive.tile_hashes(group.gid)
    sizes, before = word_sizes(group), handover_size(*group.deal_form)
    for index, (name, root) in enumerate((("counts", said.counts), ("sums", said.sums))):
        length = (group.count_size, group.sum_size)[index]
        if index == len(sizes):
            if root != NONE or leaves[index]:
                book.differs(SUMS, f"group {group.gid}: there are sums where votes alone were asked for", "", group.gid)
            return
        if len(leaves[index]) != tile_count(length):
            raise ForeignFile(f"{len(leaves[index])} tile hashes of {name} were kept, not {tile_count(length)}")
        terms = (unmasking.count_terms, unmasking.sum_terms)[index]
        yield _Stream(name, length, before, sizes[index], terms, root, leaves[index])
        before += length


def _totals(
    archive: Archive,
    group: GroupPlan,
    survivors: tuple[str, ...],
    sent: Mapping[str, Sent],
    stream: _Stream,
    tiles: list[int],
    book: Book,
) -> list[Octets]:
    """Unmasked tiles; none where a contribution cannot be read."""
    totals = [np.zeros(stream.piece(tile)[1], np.uint8) for tile in tiles]
    complete = True
    for member in survivors:
        what, added = f"the contribution of {member} to group {group.gid}", False
        with book.trying(CONTRIBUTIONS, what, member, group.gid), archive.contribution(sent[member]) as sealed:
            _add(sealed, stream, tiles, totals)
            added = True
        complete = complete and added
    if not complete:
        return []
    for tile, total in zip(tiles, totals, strict=True):
        add_keystreams(total, stream.terms, stream.size, stream.piece(tile)[0])
    return totals


def _add(sealed: Sealed, stream: _Stream, tiles: list[int], totals: list[Octets]) -> None:
    for tile, total in zip(tiles, totals, strict=True):
        start, length = stream.piece(tile)
        add_into(total, sealed.plain(stream.before + start, length), stream.size)


def _compare(group: GroupPlan, stream: _Stream, tile: int, total: Octets, book: Book) -> None:
    leaf = merkle.leaf_hash(total.data)
    where = f"group {group.gid}: tile {tile} of the {stream.name}"
    if leaf != stream.leaves[tile]:
        book.differs(SUMS, f"{where} is not the one whose hash was kept", group=group.gid)
    path = merkle.inclusion_proof(stream.leaves, tile)
    found = merkle.root_from_inclusion(leaf, tile, len(stream.leaves), path)
    if found != decode_hex(stream.root, merkle.HASH_SIZE, stream.name):
        book.differs(SUMS, f"{where} does not lead to the root in the result", group=group.gid)
