"""What the server of a round sends out, message by message, as a function of what it knows (SPEC 16.2 and 16.4)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import UsageError
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.rounds.answers import Ballot
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.decrypting import DecryptRequest
from fedspallm_secure.protocol.rounds.messages import Outgoing
from fedspallm_secure.protocol.rounds.openings import Opening
from fedspallm_secure.protocol.rounds.outcomes import Abort
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal, PlanBody
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.records_server import Received
from fedspallm_secure.protocol.rounds.server_state import ServerState, State
from fedspallm_secure.protocol.rounds.survivors import encode_survivors
from fedspallm_secure.protocol.rounds.unmasking import Endorser, ForwardedDeal, RequestedGroup, UnmaskRequest
from fedspallm_secure.protocol.statements import Statement, make_statement
from fedspallm_secure.secagg.thresholds import Profile


def invitations(
    plan: Plan,
    bundles: Mapping[str, Prekeys],
    opening: Opening | None,
    beacons: Mapping[str, bytes],
    history: Mapping[str, Sequence[PastDeal]],
    cipher_key: CipherKey | None = None,
) -> list[Outgoing]:
    """The plan to all its members and its key holder, each member with the bundles of its neighbours and its own past.

    bundles: of every member; beacons: id of a witness -> signature over the opening; history: member -> its last deals;
    cipher_key: the one that the plan names.
    Raises UsageError unless the bundles are those of the plan.
    """
    for use in plan.prekeys:
        if use.id not in bundles or bundles[use.id].statement.digest.hex() != use.bundle:
            raise UsageError(f"the prekey bundle of {use.id} that the plan names is not there")
    messages = []
    for use in plan.prekeys:
        near = tuple(bundles[other] for other in sorted(plan.neighbours_of(use.id)))
        past = tuple(history.get(use.id, ()))
        body = PlanBody(plan, near, opening, tuple(sorted(beacons.items())), past, cipher_key)
        messages.append(Outgoing("plan", _member(use.id), body.encode()))
    if plan.key_holder is not None:
        messages.append(Outgoing("plan", plan.key_holder.party, PlanBody(plan, ()).encode()))
    return messages


def receipt(server: ServerState, record: Received) -> Outgoing:
    """The server's word that it has a contribution, the same bytes every time."""
    plan, member = server.plan, record.member
    found = Receipt.make(
        server.own.signer,
        plan.federation,
        plan.round,
        server.plan_hash,
        record.gid,
        member,
        record.package,
        record.deal,
    )
    return Outgoing("receipt", _member(member), found.encode(), str(record.gid))


def aborts(server: ServerState, gids: Iterable[int]) -> list[Outgoing]:
    """The end of groups, to everybody in their cohorts."""
    bodies = [(gid, Abort(gid, server.ended[gid].code, server.ended[gid].named).encode()) for gid in gids]
    return [Outgoing("abort", _member(id), body) for gid, body in bodies for id in server.groups[gid].cohort]


def announcements(server: ServerState) -> list[Outgoing]:
    """What everybody has to know, or is asked for, in the state that the round is in."""
    match server.state:
        case State.COLLECTING:
            return [receipt(server, record) for record in server.received.values()]
        case State.ENDORSING:
            return _lists(server)
        case State.UNMASKING if server.plan.profile is Profile.TWO_TRIP:
            return _lists(server) + _requests(server)
        case State.UNMASKING if server.plan.profile is Profile.ONE_TRIP:
            return _lists(server) + _sums(server) + openings(server, server.challenged)
        case State.UNMASKING:
            return _requests(server)
        case State.FINISHED:
            return _ends(server)
        case _:
            return []


def reminders(server: ServerState) -> list[Outgoing]:
    """The list again, for those who were still to endorse it when unmasking began: no request is answered without."""
    if server.state is not State.UNMASKING or server.plan.profile in (Profile.TWO_TRIP, Profile.ONE_TRIP):
        return []
    return [message for message in _lists(server) if str(message.recipient) not in server.endorsements]


def _lists(server: ServerState) -> list[Outgoing]:
    # Also to those who are on no list: what the sums of others give away about them goes into their ledgers.
    body = encode_survivors(replace(server.listed, statement=_signed(server, server.listed.statement)))
    return [Outgoing("survivors", party, body) for party in server.members() + server.witnesses()]


def _requests(server: ServerState) -> list[Outgoing]:
    endorsers = tuple(Endorser(party, signature) for party, signature in sorted(server.endorsements.items()))
    messages = []
    for holder in sorted(server.asked() - server.answers.keys()):
        ballots = [server.ballots[group.gid] for group in server.running]
        groups = tuple(_requested(ballot, holder) for ballot in ballots if holder in ballot.handovers)
        request = UnmaskRequest(server.listed.hash, endorsers, groups)
        messages.append(Outgoing("unmask-request", _member(holder), request.encode()))
    return messages


def _sums(server: ServerState) -> list[Outgoing]:
    """The sums that are still to be decrypted; the chunks of each follow its message."""
    messages = []
    for group in server.running:
        if group.gid not in server.decrypted:
            dealt = server.ballots[group.gid].handovers.items()
            deals = tuple(
                ForwardedDeal(id, found.deal.encode(), found.signature, found.envelopes[0]) for id, found in dealt
            )
            body = DecryptRequest(server.listed, deals).encode()
            messages += [Outgoing("decrypt-request", one, body, str(group.gid)) for one in server.key_holders()]
    return messages


def openings(server: ServerState, gids: Iterable[int]) -> list[Outgoing]:
    """What the key holder asked to see of sums that are not decrypted yet; whoever has the chunks makes the bodies."""
    wanted = [gid for gid in gids if gid not in server.decrypted and gid not in server.ended]
    return [Outgoing("decrypt-opening", one, b"", str(gid)) for gid in wanted for one in server.key_holders()]


def _requested(ballot: Ballot, holder: str) -> RequestedGroup:
    deals = []
    for dealer in ballot.dealers(holder):
        if dealer != holder:
            handover = ballot.handovers[dealer]
            envelope = handover.envelopes[ballot.links.neighbours(dealer).index(holder)]
            deals.append(ForwardedDeal(dealer, handover.deal.encode(), handover.signature, envelope))
    return RequestedGroup(ballot.links.group.gid, tuple(deals))


def _ends(server: ServerState) -> list[Outgoing]:
    if server.result is None:  # no group is left: the round ends for the reason of the last one
        body = Abort(None, server.last_code).encode()
        return [Outgoing("abort", party, body) for party in server.members() + server.key_holders()]
    auditors = [entry.party for entry in server.own.trust.roster.entries if entry.party.role is Role.AUDITOR]
    body = replace(server.result, statement=_signed(server, server.result.statement)).encode()
    return [Outgoing("result", party, body) for party in server.members() + server.key_holders() + auditors]


def _signed(server: ServerState, statement: Statement) -> Statement:
    """What the server has said, signed by the key that members accept now; its digest is the same."""
    return make_statement(statement.type, statement.value, [server.own.signer])


def _member(id: str) -> Party:
    return Party(Role.MEMBER.value, id)
