"""All rounds there were, as one party's journal shows them without a password."""

from collections.abc import Mapping
from typing import Any, Final

from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.service.status_member import Part, part_of
from fedspallm_secure.app.service.status_server import Round, round_of
from fedspallm_secure.app.service.watched import Watched
from fedspallm_secure.app.stations.declines import declines_kind
from fedspallm_secure.app.stations.kept_results import result_of
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.pruning.patterns import parse_target

_NOT_MINE: Final = ("", "P1", "P2", "P4")  # checks of plans that are of no new round of the member's server


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
    """All rounds that a member took part in, or was asked to and declined, the first one first.  me: its id."""
    declined = {
        number: seen for number, seen in watched.refused_plans().items() if seen.refusal()["check"] not in _NOT_MINE
    }
    rows = []
    for number in sorted({*watched.rounds(), *declined}):
        part = part_of(watched, number)
        if part is not None:
            rows.append(_row(watched, me, number, part.plan, part))
        elif number in declined:
            followed = watched.fact("followed", str(number))
            plan = None if followed is None else Plan.from_dict(followed["plan"])
            refusal = declined[number].refusal()
            check, reason = refusal["check"], refusal["reason"].removeprefix(f"{refusal['check']}: ")
            told = {"ended": "declined", "check": check, "reason": reason}
            rows.append(_row(watched, me, number, plan, None) | told)
    return rows


def _row(watched: Watched, me: str, number: int, plan: Plan | None, part: Part | None) -> dict[str, Any]:
    """plan: None where it is not kept any more; part: None where the member takes none."""
    result, inbox = result_of(watched.fact, number), watched.inbox(number)
    layers = [] if plan is None else [group.gid for group in plan.groups_of(me)]
    ends = [seen.at for seen in inbox if seen.type in ("result", "abort") and seen.state == "taken"]
    over = part is None or part.state(me, False) == "closed"
    return {
        "round": number,
        "step": None if plan is None else plan.sampling.number,
        "target": None if plan is None else str(parse_target(plan.target)),
        "layers": layers,
        "in_the_sum": [] if part is None else [gid for gid in layers if gid in part.listed_layers(me)],
        "ended": "" if part is None else _member_ending(part),
        "check": "",
        "reason": "",
        "result": None if result is None else result.hash,
        "opened": min((seen.at for seen in inbox), default=None),  # when the plan came
        "over": max(ends, default=None) if over else None,
    }


def _member_ending(part: Part) -> str:
    if part.closed_by is not None:
        return "result"
    codes = sorted(set(part.ended.values()))
    return ", ".join(codes) or "going on"
