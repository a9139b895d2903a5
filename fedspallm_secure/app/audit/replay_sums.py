"""Sums of a round once more, from whole packages: one group's sum in memory, and a tile of whoever is being added."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedspallm_secure.app.audit.replay_archive import Archive
from fedspallm_secure.app.audit.replay_book import CONTRIBUTIONS, SUMS, Book
from fedspallm_secure.app.audit.replay_log import LoggedRound, Sent
from fedspallm_secure.app.rounds.streams import Streams, SumFigures, word_sizes
from fedspallm_secure.errors import TileMismatch
from fedspallm_secure.protocol.rounds.answers import Unmasking
from fedspallm_secure.protocol.rounds.deals import Handover, VectorHasher, handover_size
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.secagg.masking import add_into, add_keystreams


@dataclass(frozen=True, slots=True)
class Summed:
    """What came out of a group.  survivors: how many members are in it."""

    group: GroupPlan
    streams: Streams
    survivors: int
    figures: SumFigures


class Adding:
    """Takes the plaintext of a contribution piece by piece, hashes its vector, and adds that to a sum.

    handover: what stands before the streams, once all of it is there.
    """

    def __init__(self, group: GroupPlan, total: Streams) -> None:
        self.handover = bytearray()
        self._before = handover_size(*group.deal_form)
        self._parts = list(zip(total.parts, word_sizes(group), strict=True))
        self._at = 0  # bytes of the present stream that were added
        self._held = b""  # less than a word
        self._hasher = VectorHasher()

    def write(self, piece: memoryview) -> None:
        """The next piece.  Raises TileMismatch for more than the plan has room for."""
        missing = self._before - len(self.handover)
        if missing:
            self.handover += piece[:missing]
            piece = piece[missing:]
        self._hasher.write(piece)
        while piece:
            if not self._parts:
                raise TileMismatch("the vector is longer than the plan says")
            part = self._parts[0][0]
            taken = piece[: len(part) - self._at - len(self._held)]
            piece = piece[len(taken) :]
            self._add(b"".join((self._held, taken)) if self._held else taken)
            if self._at == len(part):
                self._parts.pop(0)
                self._at = 0

    def _add(self, data: bytes | memoryview) -> None:
        part, size = self._parts[0]
        ends = self._at + len(data) == len(part)
        whole = len(data) if ends else len(data) - len(data) % size
        if whole:
            add_into(part[self._at : self._at + whole], data[:whole], size)
        self._at += whole
        self._held = bytes(data[whole:])

    def root(self) -> bytes:
        """The vector root, 32 bytes.  Raises TileMismatch where the vector is shorter than the plan says."""
        if self._parts:
            raise TileMismatch("the vector is shorter than the plan says")
        return self._hasher.root


def sum_again(archive: Archive, unmasking: Unmasking, sent: Mapping[str, Sent], book: Book) -> Summed | None:
    """Add up a group and take its keystreams off; None where a contribution cannot be added.

    sent: survivor -> its package in the log.
    """
    group = unmasking.group
    total = Streams.empty(group)
    complete = True
    for member in unmasking.survivors:
        what, added = f"the contribution of {member} to group {group.gid}", False
        with book.trying(CONTRIBUTIONS, what, member, group.gid):
            _add_member(archive, group, sent[member], total)
            added = True
        complete = complete and added
    if not complete:
        return None
    with book.on(SUMS):
        terms = (unmasking.count_terms, unmasking.sum_terms)
        for part, size, these in zip(total.parts, word_sizes(group), terms, strict=False):
            add_keystreams(part, these, size)
        count = len(unmasking.survivors)
        return Summed(group, total, count, SumFigures.of(group, total, count))


def _add_member(archive: Archive, group: GroupPlan, sent: Sent, total: Streams) -> None:
    adding = Adding(group, total)
    archive.contribution_through(sent, adding.write)
    root = adding.root()
    if Handover.parse(bytes(adding.handover), *group.deal_form).deal.vector_root != root:
        raise TileMismatch("its masked vector is not the one that its deal was signed for")


def compare_sums(logged: LoggedRound, archive: Archive, summed: Summed, book: Book) -> None:
    """Hold the sums of a group against the result and the tile hashes that were kept, bit for bit."""
    gid = summed.group.gid
    with book.trying(SUMS, f"group {gid}", group=gid):
        said = logged.result.group(gid)
        if said is None:
            ended = next((end.code for end in logged.result.ended if end.gid == gid), None)
            if ended is not EndCode.SUM_OUT_OF_RANGE or not summed.figures.violations:
                book.differs(SUMS, f"group {gid} has sums here and none in the result", group=gid)
            return
        if summed.figures.violations:
            text = f"group {gid}: {summed.figures.violations} sums are out of range, and the result does not say so"
            book.differs(SUMS, text, group=gid)
        kept = summed.streams.tile_hashes
        counts, sums = kept.roots
        here = (summed.group.weights, summed.survivors, counts, sums, summed.figures.unanimous, summed.figures.single)
        there = (said.weights, said.survivors, said.counts, said.sums, said.unanimous, said.single)
        for name, one, other in zip(
            ("weights", "survivors", "counts", "sums", "unanimous", "single"), here, there, strict=True
        ):
            if one != other:
                book.differs(SUMS, f"group {gid}: {name} are {one} here and {other} in the result", group=gid)
        if archive.tile_hashes(gid) != kept:
            book.differs(SUMS, f"group {gid}: the tile hashes that were kept are not those of the sums", group=gid)
