"""Where a key holder stands, as its journal shows it without a password."""

from collections.abc import Iterable
from typing import Any, Final

from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig
from fedspallm_secure.app.service.visits import server_of
from fedspallm_secure.app.service.watched import Watched
from fedspallm_secure.crypto.encoding import parse_canonical_json
from fedspallm_secure.protocol.rounds.key_holder import (
    KeyErased,
    KeyHolderRecord,
    PlanTaken,
    SumDecrypted,
    SumShown,
    read_key_holder_record,
)
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import SurvivorList

_SHOWN: Final = 20  # refusals, and kinds of packages that leave


def key_holder_facts(watched: Watched, config: KeyHolderConfig, now: int) -> dict[str, Any]:
    """Everything that is known of a key holder, as plain data.  Times are Unix seconds."""
    number, server = watched.last_round(), str(server_of(config.server))
    records = watched.records(number, read_key_holder_record) if number else []
    round = _round(records)
    last = max(watched.heard().get(server, 0), watched.departed_last())
    sent = watched.facts("cipher key sent")
    ready = [name for name in watched.names("cipher key") if sent.get(name) != "used"]
    return {
        "state": "waiting for a plan" if round is None or round["over"] else "decrypting",
        "server": server,
        "by_hand": not config.server.url,
        "round": round,
        "keys_ready": len(ready),
        "leaving": watched.leaving(now, _SHOWN),
        "last_contact": last or None,
        "refused": watched.refused(number, _SHOWN),
        "refusals": dict(watched.refusals()),
    }


def _round(records: Iterable[KeyHolderRecord]) -> dict[str, Any] | None:
    """The newest round: its groups, whose sums were shown and decrypted, and whether its key is gone."""
    plan: Plan | None = None
    shown: dict[int, SumShown] = {}
    decrypted: set[int] = set()
    over = False
    for record in records:
        match record:
            case PlanTaken():
                plan = Plan.from_dict(parse_canonical_json(record.plan, "the plan"))
            case SumShown():
                shown[record.gid] = record
            case SumDecrypted():
                decrypted.add(record.gid)
            case KeyErased():
                over = True
    if plan is None:
        return None
    groups = []
    for group in plan.groups:
        found = shown.get(group.gid)
        listed = None if found is None else SurvivorList.parse(found.survivors).group(group.gid)
        groups.append(
            {
                "layer": group.gid,
                "cohort": len(group.cohort),
                "survivors_needed": group.survivors,
                "survivors": 0 if listed is None else len(listed.ids),
                "sampled": 0 if found is None else len(found.chunks),
                "chunks": group.upload_size // group.upload_tile,
                "decrypted": group.gid in decrypted,
            }
        )
    return {"round": plan.round, "groups": groups, "over": over}
