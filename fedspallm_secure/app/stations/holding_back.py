"""When a round is tried again that members declined: once something has changed (SPEC section 21.3).

What a member declined it declines again, and each attempt costs every other member a prekey.  The server cannot see
what was mended at a member's machine, so the passing of time counts as well, only not soon.
"""

import hashlib
import json
import time
from dataclasses import asdict
from typing import Any, Final

from fedspallm_secure.app.stations.agenda import Agenda
from fedspallm_secure.app.stations.declines import decline_text, declines_kind
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.protocol.rounds.server_state import ServerState

_KIND: Final = "held back"
_FIRST: Final = 3600  # seconds until the second attempt; doubled for each further one
_LONGEST: Final = 24 * 3600


def hold_back(post: Post, machine: ServerState, agenda: Agenda, failed: int) -> None:
    """A round has ended without a result: keep whose declining left a group too small; inside of `post.at_once()`.

    failed: attempts without a result, this one included.
    """
    declined = post.journal.recall_all(declines_kind(machine.plan.round))
    short = [group for group in machine.groups.values() if len(set(group.cohort) - set(declined)) < group.survivors]
    needed = sorted({id for group in short for id in group.cohort if id in declined})
    if needed:
        until = post.now() + min(_FIRST << (failed - 1), _LONGEST)
        value = {
            "declined": {id: declined[id] for id in needed},
            "offers": {id: _offers(post, id) for id in needed},
            "setting": _setting(post, agenda),
            "until": until,
        }
        post.remember(_KIND, "*", value)


def go_on(post: Post) -> None:
    """The next attempt begins; inside of `post.at_once()`."""
    post.forget(_KIND, "*")


def why_held_back(post: Post, agenda: Agenda) -> str:
    """Why the next attempt has to wait, in words; empty where it has not."""
    found = post.journal.recall(_KIND, "*")
    if found is None or post.now() >= found["until"] or found["setting"] != _setting(post, agenda):
        return ""
    silent = {id: one for id, one in found["declined"].items() if _offers(post, id) == found["offers"][id]}
    if not silent:
        return ""
    return (
        f"{decline_text(silent)}; the next attempt begins once {', '.join(silent)} "
        f"{'has' if len(silent) == 1 else 'have'} offered to take part again, as a client does that is started with a "
        "changed member.toml or has a newer roster; when federation.toml, or roster or revocation list of this server, "
        f"changed; or at {time.strftime('%H:%M UTC', time.gmtime(found['until']))}"
    )


def _offers(post: Post, id: str) -> int:
    """How many offers of a member have come so far."""
    offer: dict[str, Any] = post.journal.recall("offer", id, {})
    return int(offer.get("count", 0))


def _setting(post: Post, agenda: Agenda) -> str:
    """Digest of everything at the server that a plan is made from, and a member might decline it for."""
    value = [asdict(agenda), post.trust.roster.hash, post.trust.crl.number]
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> str:
    """What JSON has no form for; sets have no order of their own."""
    return str(sorted(map(str, value)) if isinstance(value, frozenset) else value)
