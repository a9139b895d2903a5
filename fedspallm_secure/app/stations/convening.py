"""Whether the next round can begin, and with which plan; or why it cannot (SPEC section 21.3)."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fedspallm_secure.app.stations.agenda import Agenda, Draft, draft_of, plan_of
from fedspallm_secure.app.stations.candidates import Bundles, Candidates, absence_text
from fedspallm_secure.app.stations.declines import decline_text, declines_kind
from fedspallm_secure.app.stations.encrypted_rounds import find_key
from fedspallm_secure.app.stations.finishing import Model
from fedspallm_secure.app.stations.handed_in import Past, past_of, why_no_sum
from fedspallm_secure.app.stations.holding_back import why_held_back
from fedspallm_secure.app.stations.objections import declining_text, who_declines
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.errors import PlanRefused, UsageError
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.cipher_keys import CipherKey
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.pruning.patterns import parse_target


@dataclass(frozen=True, slots=True)
class Ready:
    """A round that can begin.  bundles: of everybody in it; key: what vectors are encrypted with, if they are."""

    plan: Plan
    bundles: Bundles
    key: CipherKey | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why no round can begin, in words.  given_up: waiting changes nothing; done: all rounds are.

    told: id of a member -> why it is waited for, as it is told when it asks what there is for it.
    """

    text: str
    given_up: bool = False
    done: bool = False
    told: Mapping[str, str] = field(default_factory=dict)


def check_goes_on(post: Post, agenda: Agenda, model: Model, progress: Mapping[str, Any]) -> None:
    """Raise UsageError unless model and steps are those of the rounds so far, as far as these were noted.

    progress: as the director keeps it.
    """
    steps, origin = tuple(progress.get("steps", ())), post.journal.recall("origin", "*")
    if agenda.schedule[: len(steps)] != steps:
        done, here = (", ".join(str(parse_target(one)) for one in found) for found in (steps, agenda.schedule))
        raise UsageError(
            f"rounds went to {done}, and the steps under [pruning] are {here}",
            hint="steps that are done stay as they were, in front of those that are to come",
        )
    if origin is not None and origin != model.origin():
        raise UsageError(
            f"rounds began with the model {origin[:16]}, and that under [model] path is {model.origin()[:16]}",
            hint="name that model again; for another one begin another federation, with another work folder",
        )


def convene(
    post: Post, agenda: Agenda, model: Model, candidates: Candidates, progress: Mapping[str, Any]
) -> Ready | Waiting:
    """The next round, if everything that it takes is there.  progress: as the director keeps it.

    Raises PlanRefused, CapacityExceeded where the offers allow no round; DisclosureRefused where what its sums disclose
    takes too long to decide; RecordDamaged, StorageError.
    """
    budgets = candidates.budgets(model.layers)
    if budgets is None:
        return Waiting(candidates.waiting)
    past, number = past_of(post), progress["number"] + 1
    draft = draft_of(agenda, number, model.layers, budgets, model.bases)
    if draft is None:
        return Waiting("all rounds are done", done=True)
    if reason := why_no_sum(past, draft.groups, agenda.terms.colluders):
        fewer = {id: layers for id, layers in budgets.items() if id not in past.missed}
        without = _draft_without(agenda, number, model, fewer, past)
        if without is None:
            return Waiting(reason, given_up=True)
        draft, budgets = without, fewer
    if progress["failed"] >= agenda.attempts:
        last = decline_text(post.journal.recall_all(declines_kind(post.journal.last_round())))
        text = f"the round was tried {progress['failed']} times without a result: see fedprune server rounds"
        return Waiting(f"{text}; {last}" if last else text, given_up=True)
    if reason := why_held_back(post, agenda):
        return Waiting(reason)
    key = find_key(post, agenda, draft.groups) if agenda.key_holder else None
    if isinstance(key, str):
        return Waiting(key)
    bundles, absent = candidates.survey(budgets)
    if absent:
        return Waiting(absence_text(absent), told=_told({id: f"{why} {id}" for id, why in absent.items()}))
    uses = [PrekeyUse(id, bundle.statement.digest.hex(), index) for id, (bundle, index) in bundles.items()]
    previous = None if progress["previous"] == NONE else progress["previous"]
    terms = agenda if key is None else agenda.encrypted(key)
    plan = plan_of(terms, draft, post.journal.last_round() + 1, uses, post.trust, previous, post.now(), key)
    if declining := who_declines(post, plan, past, agenda.witnesses, model.origin()):
        return Waiting(declining_text(declining), told=_told({id: f"{id} {text}" for id, text in declining.items()}))
    return Ready(plan, bundles, key)


def _draft_without(agenda: Agenda, number: int, model: Model, fewer: dict[str, int], past: Past) -> Draft | None:
    """The round with those alone whom no sum lacks, if it can give all its sums: it gives nobody away (ADR 33)."""
    if past.barred.intersection(fewer):
        return None
    with suppress(PlanRefused):
        draft = draft_of(agenda, number, model.layers, fewer, model.bases)
        if draft is not None and not why_no_sum(past, draft.groups, agenda.terms.colluders):
            return draft
    return None


def _told(reasons: Mapping[str, str]) -> dict[str, str]:
    return {id: f"no round can begin: {why}" for id, why in reasons.items()}
