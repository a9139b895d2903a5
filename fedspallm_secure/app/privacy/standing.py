"""What a member promises about its records and what it has spent, as plain data and in words.  Free of torch.

The words are those of a claim about the member's own release: it holds for nobody else, and not for who takes part.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fedspallm_secure.app.privacy.accounting import composed_epsilon
from fedspallm_secure.app.privacy.releases import Release, read_releases, steps_left
from fedspallm_secure.app.privacy.settings import MemberTerms
from fedspallm_secure.errors import MissingExtra, UsageError

Standing = Mapping[str, Any]


def standing(terms: MemberTerms | None, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Terms, what was spent and what is left; None for a member that never had a privacy budget.

    facts: those of the kind `privacy` in its journal.  epsilon, delta, clip, records, rounds: the present terms, None
    without noise; releases: how many there were; spent: their epsilon together at `delta`, None where that cannot be
    computed here; left: epsilon that is left, as a difference; releases_left: how many more are paid for, or None.
    Raises RecordDamaged.
    """
    releases = read_releases(facts)
    if terms is None:
        if not releases:
            return None
        none = dict.fromkeys(("epsilon", "clip", "records", "rounds", "left"))
        last = releases[-1]
        return {**none, "delta": last.delta, "releases": len(releases), "spent": last.spent, "releases_left": 0}
    spent, more = _spent(terms, releases), _releases_left(terms, releases)
    left = None if spent is None else max(terms.settings.epsilon - spent, 0.0)
    return {**terms.to_dict(), "releases": len(releases), "spent": spent, "left": left, "releases_left": more}


def _spent(terms: MemberTerms, releases: Sequence[Release]) -> float | None:
    if not releases:
        return 0.0
    if releases[-1].delta == terms.settings.delta:
        return releases[-1].spent
    with suppress(MissingExtra):
        return composed_epsilon([one.multiplier for one in releases], terms.settings.delta)
    return None


def _releases_left(terms: MemberTerms, releases: Sequence[Release]) -> int | None:
    if all(one.keeps(terms) for one in releases):  # so that whoever looks on need not load the accounting
        return max(terms.rounds - len(releases), 0)
    try:
        return terms.rounds - len(releases) if steps_left(terms, releases) else 0
    except UsageError:
        return 0
    except MissingExtra:
        return None


def sentence(found: Standing) -> str:
    """What is claimed, or what there is to spend, in one sentence without an end."""
    if found["epsilon"] is None:
        return (
            f"off: you prune without noise now. {_claim(found)} says nothing about what is released from now on"
            if found["releases"]
            else "off: you prune without noise"
        )
    if not found["releases"]:
        return f"nothing is spent yet; there is {_budget(found)}; {_records(found)}"
    return f"{_claim(found)}; left of {_budget(found)}: {_left(found)}; {_records(found)}"


def claim(spent: float | None, delta: float, rounds: int, whose: str, who: str) -> str:
    """The promise, with its conditions in it.  spent: epsilon; whose, who: the member, as a possessor and by name."""
    epsilon = "unknown here" if spent is None else f"{spent:.3g}"
    return (
        f"({epsilon}, {delta:g}) record-level differential privacy for the released keep-masks with respect to {whose} "
        f"calibration records, for {_rounds(rounds)}, assuming {who} runs the published clipping and noise code"
    )


def _claim(found: Standing) -> str:
    return claim(found["spent"], found["delta"], found["releases"], "your", "this machine")


def _left(found: Standing) -> str:
    epsilon = "nobody here can say how much" if found["left"] is None else f"epsilon {found['left']:.2f}"
    more = found["releases_left"]
    return f"{epsilon}, {'no round' if not more else _rounds(more)}"


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count:,} rounds"


def _budget(found: Standing) -> str:
    return f"epsilon {found['epsilon']:g} at delta {found['delta']:g} for {_rounds(found['rounds'])}"


def _records(found: Standing) -> str:
    return f"a record is one of {found['records']:,} calibration windows, its clip {found['clip']:g}"
