"""Who takes no part in the round under way, as members say themselves: nobody waits for them until the deadline.

A member that declines could as well be silent, so what it says is believed, and changes nothing but how long the server
waits.
"""

from collections.abc import Mapping
from typing import Any

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.scribe import Scribe
from fedspallm_secure.errors import NotAwaited
from fedspallm_secure.protocol.audit.entries import EntryType, head_data
from fedspallm_secure.protocol.declines import Decline
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.server_state import ServerState, State


def declines_kind(round: int) -> str:
    """The kind of the facts about who declined the plan of a round: id -> check, reason and time."""
    return f"declined {round}"


def note_decline(post: Post, scribe: Scribe, machine: ServerState, incoming: Incoming) -> str:
    """Keep that a member declined the plan; inside of `post.at_once()`.

    Returns that in words, or nothing where it is known, or about a round that is over.  Raises NotAwaited for somebody
    whom the plan does not name, or another plan; FormatError.
    """
    context, plan = incoming.head.context, machine.plan
    if context.round < plan.round:
        return ""
    if (context.round, context.plan_hash) != (plan.round, machine.plan_hash) or context.sender not in machine.members():
        raise NotAwaited(f"{context.sender} declines a plan that it was not sent")
    found, member = Decline.parse(incoming.body), context.sender.id
    if post.journal.recall(declines_kind(plan.round), member) is not None:
        return ""
    value = {"check": found.check, "reason": found.reason, "at": post.now()}
    post.remember(declines_kind(plan.round), member, value)
    refusal = {"type": context.type, "group": NONE, "package": incoming.head.digest.hex(), "check": found.check}
    shown = head_data(incoming.head.encoded, incoming.head.signature)
    scribe.write(EntryType.REFUSAL, context.sender, {**refusal, "head": shown}, plan.round)
    return f"{decline_text({member: value})} (round {plan.round})"


def decline_text(declined: Mapping[str, Mapping[str, Any]]) -> str:
    """Who declined a plan and why, in words, those for the same reason together; empty for nobody."""
    return by_what({id: f"declined the plan by {one['check']}: {one['reason']}" for id, one in declined.items()})


def by_what(said: Mapping[str, str]) -> str:
    """Who does what, those who do the same together.  said: id -> what, in words that follow a name."""
    alike: dict[str, list[str]] = {}
    for id, what in sorted(said.items()):
        alike.setdefault(what, []).append(id)
    return "; ".join(f"{', '.join(ids)} {what}" for what, ids in alike.items())


def nothing_more_comes(post: Post, machine: ServerState) -> bool:
    """Whether collecting may end before its deadline: whoever has not contributed has declined, or too many have.

    Too many are those without whom no group can reach n_min; the others need not prune for nothing, and above all need
    not use up their base weights for it.
    """
    if machine.state is not State.COLLECTING:
        return False
    declined = post.journal.recall_all(declines_kind(machine.plan.round))
    if not declined:
        return False
    out = {(gid, id) for gid in machine.groups for id in declined if (gid, id) not in machine.received}
    left = {gid: [id for id in group.cohort if (gid, id) not in out] for gid, group in machine.groups.items()}
    said = all((gid, id) in machine.received for gid, ids in left.items() for id in ids)
    return said or all(len(ids) < machine.groups[gid].survivors for gid, ids in left.items())
