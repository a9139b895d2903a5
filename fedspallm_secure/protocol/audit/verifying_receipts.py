"""Step V7: what the server gave receipts for stands in its log, and nothing else of those who handed theirs in."""

from collections.abc import Mapping, Sequence

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import FedSpaError, UnknownSender
from fedspallm_secure.protocol.audit.known_parties import KnownParties
from fedspallm_secure.protocol.audit.reports import Findings
from fedspallm_secure.protocol.rounds.receipts import Receipt

Contributions = Mapping[tuple[int, int, str], tuple[str, str, int]]  # round, group, member -> package, deal, index


def check_receipts(
    receipts: Sequence[bytes], contributions: Contributions, parties: KnownParties, findings: Findings
) -> None:
    """Hold receipts against the log.  receipts: statements, of any members."""
    held: set[tuple[int, int, str]] = set()
    for number, data in enumerate(receipts, 1):
        try:
            receipt = Receipt.parse(data)
            server = _server_key(parties)
            receipt.statement.verify_by(server)
        except FedSpaError as error:
            findings.add("V7", f"receipt {number} is none of this server: {error}")
            continue
        place = receipt.round, receipt.group, receipt.member
        what = f"the contribution of {receipt.member} to group {receipt.group} of round {receipt.round}"
        held.add(place)
        logged = contributions.get(place)
        if logged is None:
            findings.add("V7", f"the server gave a receipt for {what}, and its log does not have it")
        elif logged[:2] != (receipt.package, receipt.deal):
            findings.add("V7", f"the log has another package for {what} than the receipt", logged[2])
    members = {(round, member) for round, _, member in held}
    for (round, group, member), (_, _, index) in contributions.items():
        if (round, member) in members and (round, group, member) not in held:
            findings.add("V7", f"{member} handed in no receipt for group {group} of round {round}", index)


def _server_key(parties: KnownParties) -> bytes:
    if parties.roster is not None:
        for entry in parties.roster.entries:
            if entry.party.role is Role.SERVER:
                return entry.leaf.public
    raise UnknownSender("the log shows no server")


def member(id: str) -> Party:
    """The member with this id."""
    return Party(Role.MEMBER.value, id)
