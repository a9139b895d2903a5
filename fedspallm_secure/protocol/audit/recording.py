"""What of a round stands in the log: from the records of the server's machine to entries (SPEC section 22.2).

Nothing of a record that opens somebody's vector comes through here: shares and answers stay where they are.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.protocol.audit.entries import EntryType, head_data
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.records_server import (
    Answered,
    Blamed,
    Challenged,
    Decrypted,
    Endorsed,
    Finished,
    GroupEnded,
    ListMade,
    Opened,
    OutOfRange,
    Received,
    Refused,
    Requested,
    ServerRecord,
    Unmasked,
)
from fedspallm_secure.protocol.rounds.server_state import ServerState, State
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended, SurvivorList
from fedspallm_secure.secagg.thresholds import Profile


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry that has no place yet.  documents: what it names, to be kept beside the log."""

    type: EntryType
    actor: Party
    data: Mapping[str, Any]
    documents: tuple[bytes, ...] = ()


def document_name(document: bytes) -> str:
    """Under what name a document is kept: its SHA-256 in hex."""
    return hashlib.sha256(document).hexdigest()


def drafts_of(record: ServerRecord, state: ServerState, head: Head | None = None) -> list[Draft]:
    """What one record of a round adds to the log.

    state: the round with this record, and with the others of its step; head: of the package that led to it, where one
    did.  Raises ValueError where a package has to be shown and none is given.
    """
    server = state.own.party
    match record:
        case Opened():
            plan = {"hash": state.plan_hash, "document": document_name(record.plan)}
            return [
                Draft(EntryType.ROUND_OPEN, server, {"opening": ""}),
                Draft(EntryType.PLAN, server, plan, (record.plan,)),
            ]
        case Received():
            contribution = {"group": record.gid, "package": record.package, "deal": record.deal, "head": _shown(head)}
            return [Draft(EntryType.CONTRIBUTION, _member(record.member), contribution)]
        case Refused():
            refusal = {"type": record.type, "group": record.group, "package": record.package, "check": record.check}
            return [Draft(EntryType.REFUSAL, Party.parse(record.sender), {**refusal, "head": _shown(head)})]
        case Blamed():
            named = {"guilty": list(record.guilty), "suspects": list(record.suspects)}
            return [Draft(EntryType.COMPLAINT, server, {"group": record.gid, "check": record.check, **named})]
        case ListMade():
            survivors = {"hash": SurvivorList.parse(record.statement).hash, "document": document_name(record.statement)}
            draft = Draft(EntryType.SURVIVORS, server, survivors, (record.statement,))
            asks = state.plan.profile in (Profile.TWO_TRIP, Profile.ONE_TRIP) and state.state is State.UNMASKING
            return [draft, _request(state)] if asks else [draft]
        case Endorsed():
            signature = encode_base64(record.signature)
            endorsement = {"survivors": state.listed.hash, "signature": signature, "head": _shown(head)}
            return [Draft(EntryType.ENDORSEMENT, Party.parse(record.sender), endorsement)]
        case Requested():
            return [_request(state)]
        case Answered():
            shown = _shown(head)
            package = head.digest.hex() if head is not None else ""
            return [Draft(EntryType.UNMASK_RESPONSE, _member(record.member), {"package": package, "head": shown})]
        case Challenged():
            challenge = {"group": record.gid, "package": record.package, "head": _shown(head)}
            return [Draft(EntryType.DECRYPT_CHALLENGE, state.key_holders()[0], challenge)]
        case Decrypted():
            response = {"group": record.gid, "package": record.package, "head": _shown(head)}
            return [Draft(EntryType.DECRYPT_RESPONSE, state.key_holders()[0], response)]
        case GroupEnded():
            return [_ended(server, record.end)]
        case OutOfRange():
            return [_ended(server, Ended(record.gid, EndCode.SUM_OUT_OF_RANGE))]
        case Finished():
            result = {"hash": Result.parse(record.statement).hash, "document": document_name(record.statement)}
            return [Draft(EntryType.RESULT, server, result, (record.statement,))]
        case Unmasked():
            return []


def abort_of(state: ServerState) -> Draft:
    """The end of a round without a result: the code of the group that ended last."""
    return Draft(EntryType.ABORT, state.own.party, {"code": state.last_code.value})


def _request(state: ServerState) -> Draft:
    recipients = [] if state.key_holders() else sorted(state.asked())  # no member answers where a key holder does
    return Draft(EntryType.UNMASK_REQUEST, state.own.party, {"recipients": recipients})


def _ended(server: Party, end: Ended) -> Draft:
    return Draft(EntryType.GROUP_ENDED, server, {"group": end.gid, "code": end.code.value, "named": list(end.named)})


def _member(id: str) -> Party:
    return Party(Role.MEMBER.value, id)


def _shown(head: Head | None) -> dict[str, Any]:
    if head is None:
        raise ValueError("the package that led to this has to be shown")
    return head_data(head.encoded, head.signature)
