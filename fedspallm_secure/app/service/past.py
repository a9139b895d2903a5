"""All rounds there were, as one party's journal shows them without a password."""

from collections.abc import Mapping
from typing import Any

from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.service.status_member import Part, part_of
from fedspallm_secure.app.service.status_server import Round, round_of
from fedspallm_secure.app.service.watched import Watched
from fedspallm_secure.app.stations.declines import declines_kind
from fedspallm_secure.app.stations.kept_results import result_of
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.pruning.patterns import parse_target


def server_rounds(watched: Watched, config: FederationConfig) -> list[dict[str, Any]]:
    """All rounds, the first one first; times are Unix seconds, of the first and the last thing that is known."""
    rows = []
    for number in watched.rounds():
        found = round_of(watched, number, config)
        if found is None:
            continue
        plan, concluded = found.plan, watched.fact("concluded", str(number))
        aborted, declined = watched.fact("aborted", str(number)), watched.facts(declines_kind(number))
        sizes = sorted(len(group.cohort) for group in plan.groups)
        opened, over = _times(watched, number, concluded)
        took = sorted({id for one in found.listed.groups for id in one.ids} if found.listed is not None else ())
        rows.append(
            {
                "round": number,
                "step": plan.sampling.number,
                "target": str(parse_target(plan.target)),
                "layers": len(plan.groups),
                "cohorts": f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}",
                "in_the_sum": took,
                "left_out": sorted({use.id for use in plan.prekeys}.difference(took)),
                "declined": [{"member": id, **one} for id, one in declined.items()],
                "reason": "" if aborted is None else aborted["reason"],
                "ended": _ending(found, concluded),
                "result": None if found.result is None else found.result.hash,
                "opened": watched.fact("opened", str(number), opened),
                "over": over,
            }
        )
    return rows


def _ending(found: Round, concluded: Mapping[str, Any] | None) -> str:
    codes = sorted({end.code.value for end in found.ended.values()})
    if found.result is not None:
        without = "1 layer" if len(found.ended) == 1 else f"{len(found.ended)} layers"
        return f"result, without {without}: {', '.join(codes)}" if codes else "result"
    if found.state is State.FINISHED or concluded is not None:
        return ", ".join(codes) or "no result"
    return found.state.name.lower()


def _times(watched: Watched, number: int, concluded: Mapping[str, Any] | None) -> tuple[int | None, int | None]:
    """The first and the last thing that is known of a round; what was sent is forgotten one round later."""
    times = [sent.at for sent in watched.outbox(number)] + [seen.at for seen in watched.inbox(number)]
    end = None if concluded is None else concluded.get("at", max(times, default=None))
    return min(times, default=None), end


def member_rounds(watched: Watched, me: str) -> list[dict[str, Any]]:
    """All rounds that a member took part in, the first one first.  me: its id."""
    rows = []
    for number in watched.rounds():
        part = part_of(watched, number)
        if part is None:
            continue
        result = result_of(watched.fact, number)
        layers = [group.gid for group in part.plan.groups_of(me)]
        rows.append(
            {
                "round": number,
                "step": part.plan.sampling.number,
                "target": str(parse_target(part.plan.target)),
                "layers": layers,
                "in_the_sum": [gid for gid in layers if gid in part.listed_layers(me)],
                "ended": _member_ending(part),
                "result": None if result is None else result.hash,
                "opened": min((seen.at for seen in watched.inbox(number)), default=None),  # when the plan came
                "over": None,
            }
        )
    return rows


def _member_ending(part: Part) -> str:
    if part.closed_by is not None:
        return "result"
    codes = sorted(set(part.ended.values()))
    return ", ".join(codes) or "going on"
