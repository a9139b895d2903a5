"""Sums of a one-trip round once more: what members encrypted is added up again, what it holds the key holder has said.

Nobody but the key holder could decrypt a sum, and its key is gone.  What can be recomputed is that the sum it was shown
is the sum of the contributions in the log; that it decrypted that sum rightly is its word, in a package that it signed.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from fedspallm_secure.app.audit.replay_archive import Archive
from fedspallm_secure.app.audit.replay_book import CONTRIBUTIONS, SUMS, Book
from fedspallm_secure.app.audit.replay_log import LoggedRound, Sent
from fedspallm_secure.app.audit.replay_sums import Summed
from fedspallm_secure.app.rounds.ciphers import added, parameters_of
from fedspallm_secure.app.rounds.streams import SumFigures, plain_streams
from fedspallm_secure.errors import MissingInput, TileMismatch
from fedspallm_secure.he import bfv
from fedspallm_secure.protocol.audit.entries import EntryType
from fedspallm_secure.protocol.rounds.answers import Unmasking
from fedspallm_secure.protocol.rounds.deals import Handover, VectorHasher, handover_size
from fedspallm_secure.protocol.rounds.decrypting import Challenge
from fedspallm_secure.protocol.rounds.groups import GroupPlan

_CHALLENGE_LIMIT = 1 << 20  # bytes


class _Copying:
    """Takes the plaintext of a contribution piece by piece, hashes its vector, and writes that to a file."""

    def __init__(self, path: Path, group: GroupPlan) -> None:
        self.handover = bytearray()
        self.hasher = VectorHasher(group.upload_tile)
        self._before = handover_size(*group.deal_form)
        self._file = path.open("wb")

    def write(self, piece: memoryview) -> None:
        missing = self._before - len(self.handover)
        if missing:
            self.handover += piece[:missing]
            piece = piece[missing:]
        self.hasher.write(piece)
        self._file.write(piece)

    def close(self) -> None:
        self._file.close()


def decrypted_again(
    logged: LoggedRound, archive: Archive, unmasking: Unmasking, sent: Mapping[str, Sent], work: Path, book: Book
) -> Summed | None:
    """Add up what was encrypted, hold that against what the key holder looked at, and read what it decrypted.

    sent: survivor -> its package in the log; work: a folder for the vectors of one group.  None where something is
    missing or another.
    """
    group, paths = unmasking.group, {}
    for member in unmasking.survivors:
        with book.trying(CONTRIBUTIONS, f"the contribution of {member} to group {group.gid}", member, group.gid):
            paths[member] = _copy(archive, group, sent[member], work / f"{group.gid}-{member}")
    found = None
    if len(paths) == len(unmasking.survivors):
        with book.trying(SUMS, f"group {group.gid}", group=group.gid):
            found = _compare(logged, archive, group, paths, book)
    for path in paths.values():
        path.unlink()
    return found


def _copy(archive: Archive, group: GroupPlan, sent: Sent, path: Path) -> Path:
    copying = _Copying(path, group)
    try:
        archive.contribution_through(sent, copying.write)
    finally:
        copying.close()
    if Handover.parse(bytes(copying.handover), *group.deal_form).deal.vector_root != copying.hasher.root:
        raise TileMismatch("its encrypted vector is not the one that its deal was signed for")
    return path


def _compare(
    logged: LoggedRound, archive: Archive, group: GroupPlan, paths: Mapping[str, Path], book: Book
) -> Summed | None:
    pair = bfv.generate(parameters_of(group))  # any key will do: adding uses none, and the library asks for one
    pair.secret.wipe()
    hasher = VectorHasher(group.upload_tile)
    with ExitStack() as stack:
        sources = {member: stack.enter_context(path.open("rb")) for member, path in paths.items()}
        for place in added(group, pair.public, sources):
            hasher.write(memoryview(place))
    challenge = Challenge.parse(archive.decryption(_of(logged, EntryType.DECRYPT_CHALLENGE, group), _CHALLENGE_LIMIT))
    if challenge.root != hasher.root.hex():
        book.differs(SUMS, f"group {group.gid}: the key holder was shown another sum", group=group.gid)
        return None
    body = archive.decryption(_of(logged, EntryType.DECRYPT_RESPONSE, group), group.count_size + group.sum_size)
    if len(body) != group.count_size + group.sum_size:
        raise TileMismatch("what was decrypted does not have the length of the sums")
    streams = plain_streams(memoryview(body), group)
    return Summed(group, streams, len(paths), SumFigures.of(group, streams, len(paths)))


def _of(logged: LoggedRound, type: EntryType, group: GroupPlan) -> Sent:
    sent = logged.decryptions.get((type, group.gid))
    if sent is None:
        raise MissingInput(f"the log has no {type.value} for it")
    return sent
