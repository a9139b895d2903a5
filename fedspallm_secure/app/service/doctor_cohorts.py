"""A check of what a server's cohorts bear: how many of their members may fall silent before a round gives no sum."""

from fedspallm_secure.app.configuration.asking import assumed_colluders, smallest_cohort
from fedspallm_secure.app.configuration.federation import FederationConfig
from fedspallm_secure.app.service.findings import Finding, good, note
from fedspallm_secure.secagg.graphs import COMPLETE_LIMIT
from fedspallm_secure.secagg.thresholds import thresholds


def dropouts(config: FederationConfig, members: int) -> Finding:
    """members: how many are asked.  Raises PlanRefused where they are too few for a cohort."""
    size, colluders = smallest_cohort(config, members), assumed_colluders(config, members)
    profile = config.rounds.profile
    borne = thresholds(size, colluders, profile).dropouts
    with_them = f"{colluders} colluder{'' if colluders == 1 else 's'}"
    text = f"dropouts tolerated: {borne}, in cohorts of {size} members with {with_them} under {profile.value}"
    if len(config.pruning.targets) > 1:
        text += "; fewer from the second step on, since sums over a few members less would give those away"
    if borne:
        return good("cohorts", text)
    return note(
        "cohorts", f"{text}: whoever declines or is lost ends the round for all", _more(config, size, colluders)
    )


def _more(config: FederationConfig, size: int, colluders: int) -> str:
    """What helps: as many members as bear one dropout, with as many colluders."""
    for more in range(size + 1, COMPLETE_LIMIT + 1):
        if thresholds(more, colluders, config.rounds.profile).dropouts:
            where = "under [rounds] min_cohort" if config.rounds.spread else "in the roster"
            return f"before the first round, have {more} members {where}; later who takes part is fixed"
    return "assume fewer colluders under [rounds]"
