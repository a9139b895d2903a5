"""The machine of a round, brought back from what the log names and the archive has, without anybody's signing key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from fedspallm_secure.app.audit.replay_archive import Archive
from fedspallm_secure.app.audit.replay_book import ANSWERS, CONTRIBUTIONS, Book
from fedspallm_secure.app.audit.replay_log import LoggedRound, Sent
from fedspallm_secure.crypto.certificates import Root
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.errors import ForeignFile, MissingInput
from fedspallm_secure.protocol.audit.entries import EntryType
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.answers import Unmasking, response_limit
from fedspallm_secure.protocol.rounds.collecting import check_handover, check_sender
from fedspallm_secure.protocol.rounds.deals import Handover, deal_digest, handover_size
from fedspallm_secure.protocol.rounds.links import Links
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.records_server import (
    Decrypted,
    GroupEnded,
    ListMade,
    Opened,
    Received,
    Requested,
    ServerRecord,
)
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import ServerOwn
from fedspallm_secure.protocol.rounds.survivors import EndCode, ListedGroup


@dataclass(frozen=True, slots=True)
class _Silent:
    """Stands for the server's signing key where nothing is signed."""

    public: bytes

    def sign(self, message: bytes) -> NoReturn:
        """Nobody asks for this: what would be signed was signed in the round."""
        raise RuntimeError("a replay signs nothing")


def survivors_of(logged: LoggedRound, listed: ListedGroup) -> dict[str, Sent]:
    """The contributions that are added up in a group, in cohort order.  Raises MissingInput."""
    found = {}
    for member in listed.members:
        sent = logged.contributions.get((listed.gid, member.id))
        if sent is None:
            raise MissingInput(f"the log has no contribution of {member.id} to group {listed.gid}")
        found[member.id] = sent
    return found


def read_handovers(logged: LoggedRound, archive: Archive, book: Book) -> dict[tuple[int, str], bytes]:
    """What survivors handed in beside their vectors, checked by S1 to S5; only the beginning of a package is read."""
    handovers: dict[tuple[int, str], bytes] = {}
    for listed in logged.survivors.groups:
        with book.on(CONTRIBUTIONS):
            group = logged.plan.group(listed.gid)
            if group is None:
                book.differs(CONTRIBUTIONS, f"the plan has no group {listed.gid}", group=listed.gid)
                continue
            links = Links.of(logged.plan, logged.plan.hash, group)
        for member in listed.members:
            what = f"the contribution of {member.id} to group {listed.gid}"
            with book.trying(CONTRIBUTIONS, what, member.id, listed.gid):
                handovers[listed.gid, member.id] = _handover(logged, archive, links, member.id, member.deal)
    return handovers


def _handover(logged: LoggedRound, archive: Archive, links: Links, member: str, deal: str) -> bytes:
    group = links.group
    sent = logged.contributions.get((group.gid, member))
    if sent is None:
        raise MissingInput("it does not stand in the log")
    with archive.contribution(sent) as sealed:
        check_sender(sealed.head, logged.number, logged.plan.hash, {group.gid: group})
        body = sealed.plain(0, handover_size(*group.deal_form))
    dealt = Handover.parse(body, *group.deal_form).deal
    roster = logged.roster_of(sent.head.context.roster)
    check_handover(sent.head, links, body, dealt.vector_root, roster)  # the vector itself comes later
    if not deal_digest(links.context, member, dealt.encode()) == deal == sent.deal:
        raise ForeignFile("its deal is not the one that log and survivor list name")
    return body


def bring_back(
    logged: LoggedRound, handovers: Mapping[tuple[int, str], bytes], root: Root, crl: RevocationList
) -> Server:
    """The machine as it was when it began to take in answers.  Raises FormatError, MissingInput, UnknownSender."""
    roster = logged.roster
    signer = _Silent(roster.entry(logged.server).leaf.public)
    records: list[ServerRecord] = [Opened(logged.document)]
    for (gid, member), body in handovers.items():
        sent = logged.contributions[gid, member]
        records.append(Received(gid, member, sent.head.digest.hex(), sent.deal, body))
    records.append(ListMade(logged.survivors.encode()))
    few = [end for end in logged.result.ended if end.code is EndCode.TOO_FEW_ENDORSEMENTS]
    records += [*map(GroupEnded, few), Requested()]
    return Server.restore(ServerOwn(logged.server, signer, Trust(root, roster, crl)), records)


def open_answers(logged: LoggedRound, archive: Archive, machine: Server, book: Book) -> dict[int, Unmasking]:
    """Take in the answers by R1 to R4, open the seeds by R5, and see that the same groups end as in the result.

    Returns what is left to do for each group; nothing where something differs.
    """
    if logged.plan.key_holder is not None:
        return _decrypted(logged, machine, book)
    limit = response_limit(logged.plan.groups)
    for member, sent in logged.answers.items():
        with book.trying(ANSWERS, f"the answer of {member}", member):
            head, body = archive.answer(sent, limit)
            machine.on_response(Incoming(head, body))
    with book.on(ANSWERS):
        if logged.result.answered != tuple(sorted(logged.answers)):
            book.differs(ANSWERS, "the result names others as those who answered than the log")
        if book.failed(ANSWERS):
            return {}
        _, unmaskings = machine.close_unmasking()
        for gid, code in _ends(logged, machine).items():
            book.differs(ANSWERS, f"group {gid} ended as {code} in one of replay and result alone", group=gid)
        summed = {group.gid for group in logged.result.groups}
        for gid in summed - unmaskings.keys():
            book.differs(ANSWERS, f"group {gid} does not open with these answers", group=gid)
    book.steps[ANSWERS].done = f"{len(logged.answers)} answers"
    return {} if book.failed(ANSWERS) else unmaskings


def _decrypted(logged: LoggedRound, machine: Server, book: Book) -> dict[int, Unmasking]:
    """Where a key holder decrypted the sums: which groups have one, as in the result."""
    found: dict[int, Unmasking] = {}
    with book.on(ANSWERS):
        for (type, gid), sent in logged.decryptions.items():
            if type is EntryType.DECRYPT_RESPONSE:
                machine.apply(Decrypted(gid, sent.head.digest.hex()))
        _, found = machine.close_unmasking()
        for gid, code in _ends(logged, machine).items():
            book.differs(ANSWERS, f"group {gid} ended as {code} in one of replay and result alone", group=gid)
    book.steps[ANSWERS].done = f"{len(found)} sums of the key holder"
    return {} if book.failed(ANSWERS) else found


def _ends(logged: LoggedRound, machine: Server) -> dict[int, str]:
    """Groups that ended before there was a sum, in the result or here, and not in the other."""
    said = {(end.gid, end.code) for end in logged.result.ended if end.code is not EndCode.SUM_OUT_OF_RANGE}
    here = {(end.gid, end.code) for end in machine.ended.values()}
    return {gid: code.value for gid, code in sorted(said ^ here)}
