"""Whether a member takes part in a plan: P1 to P14 of SPEC section 17, as functions of verified state.

Each raises PlanDeclined with its number, P13 DisclosureRefused.  P12 is done where the plan is read, since no plan
exists whose numbers could overflow; P6 is asked of the log (`app.stations`).  What is about keys: `plan_key_checks`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import BadSignature, CapacityExceeded, FedSpaError, PlanDeclined
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds import policy_checks
from fedspallm_secure.protocol.rounds.deals import check_deal, deal_digest
from fedspallm_secure.protocol.rounds.member_own import PRIVATE_PRUNER, LocalModel, Own, Situation
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.pruning.patterns import spell_target
from fedspallm_secure.secagg.disclosure import Ledger
from fedspallm_secure.secagg.graphs import group_thresholds


@contextmanager
def declining(check: str) -> Iterator[None]:
    """Turn any error of this toolkit into PlanDeclined with the number of the check in which it came up."""
    try:
        yield
    except PlanDeclined:
        raise
    except FedSpaError as error:
        raise PlanDeclined(str(error), check=check) from None


def read_plan(incoming: Incoming) -> tuple[PlanBody, str]:
    """P1, and P12 as far as the plan could not be read otherwise: the body, and the plan hash."""
    try:
        body = PlanBody.parse(incoming.body)
    except CapacityExceeded as error:
        raise PlanDeclined(str(error).removeprefix("P12: "), check="P12") from None
    except FedSpaError as error:
        raise PlanDeclined(str(error), check="P1") from None
    context, plan_hash = incoming.head.context, body.plan.hash
    if (context.type, context.round, context.plan_hash) != ("plan", body.plan.round, plan_hash):
        raise PlanDeclined("the package is for another round or plan than the one in it", check="P1")
    return body, plan_hash


def check_server(incoming: Incoming, policy: Policy) -> None:
    """P2: the sender is the server that I obey."""
    sender = incoming.head.context.sender
    if sender != policy.server:
        raise PlanDeclined(f"{sender} sent the plan, and I obey {policy.server} alone", check="P2")


def check_federation(plan: Plan, own: Own) -> None:
    """P3: federation, roster and revocation list are mine."""
    roster, crl = own.trust.roster, own.trust.crl
    if plan.federation != roster.federation or plan.roster != roster.hash:
        raise PlanDeclined("the plan is that of another federation, or was made under another roster", check="P3")
    if crl.number < plan.crl:
        raise PlanDeclined(f"the plan asks for revocation list {plan.crl}, and I hold {crl.number}", check="P3")


def check_round(plan: Plan, accepted: bool, last_round: int) -> None:
    """P4, for a plan that is not the one I accepted: I accepted none, and its round is later than my last one."""
    if accepted:
        raise PlanDeclined("I accepted another plan; the first one counts", check="P4")
    if plan.round <= last_round:
        raise PlanDeclined(f"round {plan.round} is not later than round {last_round}, which I was in", check="P4")


def check_history(body: PlanBody, own: Own, situation: Situation) -> None:
    """P5: I know every deal in the history that my key signed."""
    me = own.party.id
    for past in body.history:
        context = past.context(body.plan.federation)
        try:
            check_deal(own.signer.public, context, me, past.deal, past.signature)
        except BadSignature:
            continue  # it proves nothing about me
        if deal_digest(context, me, past.deal) not in situation.deals:
            raise PlanDeclined(
                f"I signed a deal in round {past.round} that my records do not know: they are an old copy",
                check="P5",
                hint="never put back a copy of a home; make new prekeys before you take part again",
            )


def check_groups(plan: Plan, own: Own) -> None:
    """P7: whom the plan brings together, and how many of them have to work together to open anything."""
    if not plan.groups_of(own.party.id):
        raise PlanDeclined("I am in no cohort", check="P7")
    policy_checks.check_cohorts(plan, own.party.id, own.policy)
    check_protection(plan, own)


def check_protection(plan: Plan, own: Own) -> None:
    """P7 but for what concerns me alone: who may be in a cohort, colluders, profile and thresholds."""
    members = {entry.party.id for entry in own.trust.roster.entries if entry.party.role is Role.MEMBER}
    for group in plan.groups:
        if not members.issuperset(group.cohort):
            raise PlanDeclined(f"the cohort of group {group.gid} has somebody who is not in the roster", check="P7")
    policy_checks.check_protection(plan, own.policy)
    check_thresholds(plan)


def check_thresholds(plan: Plan) -> None:
    """P7, last part: t, n_min and k of every group are those of SPEC section 14 for the plan's own c and profile."""
    with declining("P7"):
        sizes = {len(group.cohort) for group in plan.groups}
        expected = {size: group_thresholds(size, plan.colluders, plan.profile) for size in sizes}
    for group in plan.groups:
        right = expected[len(group.cohort)]
        degree = 0 if right.holders is None else right.holders - 1
        if (group.shares, group.survivors, group.degree) != (right.shares, right.survivors, degree):
            numbers = f"{right.shares} shares, {right.survivors} survivors and degree {degree}"
            raise PlanDeclined(f"group {group.gid} needs {numbers}", check="P7")


def check_cohorts(plan: Plan) -> None:
    """P8, first half: cohorts and target are those that sampling and seed give."""
    with declining("P8"):
        drawn = plan.sampling.draw(bytes.fromhex(plan.seed))
    if spell_target(drawn.target) != plan.target:
        raise PlanDeclined("the target is not the one of this step of the schedule", check="P8")
    if drawn.cohorts != {group.gid: list(group.cohort) for group in plan.groups}:
        raise PlanDeclined("the cohorts are not those that sampling and seed give", check="P8")


def check_base(plan: Plan, own: Own, model: LocalModel) -> None:
    """P10: the round starts from the weights that I have, and from where I stand."""
    for group in plan.groups_of(own.party.id):
        mine = model.groups.get(group.gid)
        if mine is None or mine.base != group.base:
            raise PlanDeclined(f"the base weights of group {group.gid} are not those of my files", check="P10")
    policy_checks.check_beginning(plan, own.policy)
    if plan.previous not in (NONE, model.previous):
        raise PlanDeclined("the round starts from another result than the last one that I verified", check="P10")


def check_load(plan: Plan, own: Own, model: LocalModel) -> None:
    """P11: the vector is about my model's matrices, and not too long to send."""
    for group in plan.groups_of(own.party.id):
        if group.matrices != model.groups[group.gid].matrices:
            raise PlanDeclined(f"the matrices of group {group.gid} are not those of my model", check="P11")
    policy_checks.check_upload(plan, own.party.id, own.policy)


def check_disclosure(plan: Plan, own: Own, ledger: Ledger) -> None:
    """P13: with all that was released before, sums over my cohorts give nobody away.  Raises DisclosureRefused."""
    for group in plan.groups_of(own.party.id):
        names = [matrix.name for matrix in group.matrices]
        epochs, split = own.policy.epochs, plan.split
        ledger.check(names, group.base, group.cohort, plan.colluders, epochs=epochs, split=split, step="P13")


def check_privacy(plan: Plan, own: Own, model: LocalModel) -> None:
    """P14, last part: what I promise about single records of mine covers what the plan asks for."""
    left = model.privacy
    if left is None:
        return
    if plan.pruner != PRIVATE_PRUNER:
        raise PlanDeclined(
            f"I prune with noise for differential privacy, by {PRIVATE_PRUNER} alone, and the plan says {plan.pruner}; "
            f'[pruning] pruner = "{PRIVATE_PRUNER}" in federation.toml would do',
            check="P14",
            hint=f"ask the server's operator for rounds by {PRIVATE_PRUNER}; without epsilon under [privacy] you would "
            "prune without noise",
        )
    layers = tuple(group.gid for group in plan.groups_of(own.party.id))
    if left.releases < 1 and layers not in left.paid:
        raise PlanDeclined(
            "my privacy budget is spent",
            check="P14",
            hint="more rounds tell more about your records: decide whether they are worth a larger epsilon, and more "
            "rounds, under [privacy]",
        )
