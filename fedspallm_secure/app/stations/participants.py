"""Who takes part in a server's rounds: fixed by the first one, but for those whom a sum lacks (SPEC section 21.3)."""

from typing import Final

from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.protocol.rounds.plans import Plan

_MEMBERS: Final = "members"
_LEFT_OUT: Final = "left out"
_WHY: Final = "an earlier sum was made without, and with a later one over everybody it would give them away"


def keep_participants(post: Post, plan: Plan) -> str:
    """A round begins: note who is in it, inside of `post.at_once()`.  Returns who is left out from now on, in words."""
    members, before = dict(plan.sampling.budgets), post.journal.recall(_MEMBERS, "*")
    if members == before:
        return ""
    post.remember(_MEMBERS, "*", members)
    gone = sorted(set(before or ()).difference(members))
    if not gone:
        return ""
    post.remember(_LEFT_OUT, "*", {**post.journal.recall(_LEFT_OUT, "*", {}), **dict.fromkeys(gone, plan.round)})
    return f"round {plan.round} and those after it go on without {', '.join(gone)}: {_WHY}"


def told_participants(post: Post) -> dict[str, str]:
    """What those who are left out are told: id -> words."""
    gone = post.journal.recall(_LEFT_OUT, "*", {})
    return {id: f"rounds go on without {id} since round {number}: {_WHY}" for id, number in gone.items()}
