"""What a report shows of each round: facts, tables and charts, ready for the template.  Pure."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from fedspallm_secure.app.audit.charts import MOST_ROWS, course
from fedspallm_secure.app.audit.course import Silence, silences, stages
from fedspallm_secure.app.audit.sayings import clock, ended, lasted, moment, names
from fedspallm_secure.app.audit.timeline import Round
from fedspallm_secure.app.reporting.charts import Bar, share_panel
from fedspallm_secure.app.reporting.numbers import count, percent, plural, runs, size
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.protocol.audit.entries import EntryType
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.pruning.patterns import NofM, parse_target

PROFILES: Final = {
    "three-trip": "three trips: members sign the list of those in the sums before they help to open them",
    "two-trip": "two trips: nobody compares the list of those in the sums, so the thresholds are higher instead",
    "two-trip-witnessed": "two trips with witnesses, who sign the list of those in the sums",
    "one-trip": "one trip: members encrypt what they hand in, and a key holder decrypts the sums",
}
_STATES: Final = {
    "finished": "finished with a result",
    "no result": "ended without a result",
    "not finished": "not finished when this log was taken",
}


def overview(rounds: Sequence[Round]) -> list[list[str]]:
    """One row for each round: number, begun, took, target, members in the sums of those asked, vectors, outcome."""
    return [
        [
            str(found.number),
            clock(found.begun),
            "" if found.ended is None else lasted(found.ended - found.begun),
            target(found.plan),
            f"{len(found.counted)} of {len(found.members)}",
            size(_octets(found)),
            _outcome(found),
        ]
        for found in rounds
    ]


def _octets(found: Round) -> int:
    return sum(line.size or 0 for line in found.of(EntryType.CONTRIBUTION))


def _outcome(found: Round) -> str:
    return f"{_STATES[found.state]}: {ended(found.abort)}" if found.abort else _STATES[found.state]


def target(plan: Plan | None) -> str:
    """The sparsity that the plan asks for, as people write it."""
    return "not readable" if plan is None else str(parse_target(plan.target))


def _target_text(plan: Plan) -> str:
    pattern = parse_target(plan.target)
    if isinstance(pattern, NofM):
        return f"{pattern}: of every {pattern.m} neighbours in a matrix {pattern.n} stay"
    return f"{pattern} of the weights of each matrix are dropped"


def section(found: Round) -> dict[str, Any]:
    """Everything the template shows of one round."""
    silent = silences(found)
    order = [*dict.fromkeys(silence.member for silence in silent)]
    rows = [*order, *(member for member in found.members if member not in order)]
    return {
        "number": found.number,
        "summary": summary(found, silent),
        "facts": facts(found),
        "silent": silence_texts(silent),
        "trouble": [f"{clock(line.at)} UTC: {line.text} (entry {line.index})" for line in _trouble(found)],
        "course": course(found, rows[:MOST_ROWS]) if rows else None,
        "unshown": max(len(rows) - MOST_ROWS, 0),
        "members": member_rows(found),
        "groups": group_rows(found),
        "leakage": leakage(found),
        "leakage_panel": _leakage_panel(found),
        "layers": layer_rows(found),
        "digests": digest_rows(found),
        "files": [[file["name"], size(file["size"]), file["sha256"]] for file in found.files],
        "removed": [line.text for line in found.of(EntryType.RETENTION)],
    }


def summary(found: Round, silent: Sequence[Silence]) -> str:
    """The round in one or two sentences."""
    told = f"Begun {moment(found.begun)}, {_outcome(found)}"
    if found.ended is not None:
        told += f" after {lasted(found.ended - found.begun)}"
    missing = {silence.member for silence in silent}
    absent = (
        f" {plural(len(missing), 'member')} {_are(missing, 'was', 'were')} missing at some stage." if missing else ""
    )
    inside = plural(len(found.counted), "member") if found.counted else "None"
    return f"{told}. {inside} of the {len(found.members)} that were asked {_are(found.counted)} in the sums.{absent}"


def _are(ids: Collection[str], one: str = "is", many: str = "are") -> str:
    return one if len(ids) < 2 else many


def facts(found: Round) -> list[tuple[str, str]]:
    """Names and values."""
    plan, received = found.plan, found.of(EntryType.CONTRIBUTION)
    told = [("Asked", names(found.members, 8)), ("In the sums", names(found.counted, 8))]
    if plan is not None:
        told += [
            ("Target", _target_text(plan)),
            ("Layers", runs(group.gid for group in plan.groups)),
            ("Pruned with", f"{plan.pruner}, combined by {plan.strategy.value}; server program {plan.software}"),
            ("Profile", PROFILES[plan.profile.value]),
            ("Assumed", _assumed(plan)),
        ]
    told.append(("Vectors", f"{plural(len(received), 'package')}, {size(_octets(found))} in all"))
    spans = [f"{name} {lasted(end - begun)}" for name, begun, end in stages(found) if end is not None]
    told += [("Stages", ", ".join(spans))] if spans else []
    witnesses = found.who(EntryType.ENDORSEMENT, Role.WITNESS)
    return [*told, ("List signed by", f"witness {names(witnesses)}")] if witnesses else told


def _assumed(plan: Plan) -> str:
    if plan.key_holder is not None:
        return f"neither a member nor {plan.key_holder.party} works with the server"
    return f"up to {plural(plan.colluders, 'member')} may work with the server"


def silence_texts(silent: Sequence[Silence]) -> list[str]:
    """What members did not do or did in vain, and for which layers; those that failed alike in one sentence."""
    alike: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for one in silent:
        alike.setdefault((one.stage, one.groups), []).append(one.member)
    return [
        f"{names(members, 20)} {stage}" + (f" for layer{'s' * (len(groups) > 1)} {runs(groups)}" if groups else "")
        for (stage, groups), members in alike.items()
    ]


def _trouble(found: Round) -> list[Any]:
    kinds = (EntryType.REFUSAL, EntryType.EQUIVOCATION, EntryType.COMPLAINT, EntryType.GROUP_ENDED)
    return [line for line in found.lines if line.type in kinds]


def member_rows(found: Round) -> list[list[str]]:
    """Member, vectors of those asked for, in how many sums, signed, helped, bytes, last package."""
    rows = []
    signs = bool(found.who(EntryType.ENDORSEMENT))
    signed, answered = found.who(EntryType.ENDORSEMENT), found.who(EntryType.UNMASK_RESPONSE)
    for member in found.members:
        lines = [line for line in found.lines if line.who == f"member/{member}"]
        sent = [line for line in lines if line.type is EntryType.CONTRIBUTION]
        due = len(found.plan.groups_of(member)) if found.plan is not None else len(sent)
        sums = 0 if found.listed is None else sum(member in group.ids for group in found.listed.groups)
        rows.append(
            [
                member,
                f"{len(sent)} of {due}",
                str(sums),
                _yes(member in signed) if signs and sums else "not asked",
                _yes(member in answered) if member in found.asked else "not asked",
                size(sum(line.size or 0 for line in sent)),
                clock(lines[-1].at) if lines else "never",
            ]
        )
    return rows


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def group_rows(found: Round) -> list[list[str]]:
    """Layers, asked, in the sum, needed, answers needed, how it ended; equal layers in one row."""
    if found.plan is None:
        return []
    listed = {} if found.listed is None else {group.gid: len(group.ids) for group in found.listed.groups}
    over = {end.gid: end.code.value for end in (*_ended(found.listed), *_ended(found.result))}
    summed = set() if found.result is None else {group.gid for group in found.result.groups}
    alike: dict[tuple[str, ...], list[int]] = {}
    for group in found.plan.groups:
        how = "summed" if group.gid in summed else ended(over[group.gid]) if group.gid in over else "no sum"
        row = (
            str(len(group.cohort)),
            str(listed.get(group.gid, 0)),
            str(group.survivors),
            str(group.shares),
            how,
        )
        alike.setdefault(row, []).append(group.gid)
    return [[runs(layers), *row] for row, layers in alike.items()]


def _ended(outcome: Any) -> Sequence[Any]:
    return () if outcome is None else outcome.ended


def leakage(found: Round) -> str:
    """What the counts of the result give away, in one sentence; empty without a readable result."""
    unanimous, single = _shares(found)
    if unanimous is None or single is None:
        return ""
    return (
        f"Of the weights of all layers, {percent(unanimous)} were kept by all members in the sum or by none, so "
        f"everybody's choice there is known to whoever sees the counts; {percent(single, 2)} were kept by exactly one, "
        "whose weight is the sum."
    )


def _shares(found: Round) -> tuple[float | None, float | None]:
    if found.result is None or not found.result.groups:
        return None, None
    groups = found.result.groups
    weights = sum(group.weights for group in groups)
    return sum(group.unanimous for group in groups) / weights, sum(group.single for group in groups) / weights


def _leakage_panel(found: Round) -> Any:
    unanimous, single = _shares(found)
    if unanimous is None or single is None:
        return None
    return share_panel([Bar("all agree", unanimous), Bar("one kept it", single)], "What the counts tell")


def layer_rows(found: Round) -> list[list[str]]:
    """Layer, members in the sum, weights, shares of unanimous and single ones."""
    if found.result is None:
        return []
    return [
        [
            str(group.gid),
            str(group.survivors),
            count(group.weights),
            percent(group.unanimous / group.weights),
            percent(group.single / group.weights, 2),
        ]
        for group in found.result.groups
    ]


def digest_rows(found: Round) -> list[list[str]]:
    """What it is the digest of, and the digest."""
    words = {EntryType.PLAN: "plan", EntryType.SURVIVORS: "list of those in the sums", EntryType.RESULT: "result"}
    return [[words[type], hash] for type, hash in found.hashes.items() if type in words]
