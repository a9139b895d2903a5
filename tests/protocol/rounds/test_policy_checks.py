"""What a server asks of its own plan, with the policy that a member offered, is what the member asks of it."""

from dataclasses import fields

import pytest

from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import PlanDeclined
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.protocol.rounds.policy_checks import first_objection
from fedspallm_secure.secagg.thresholds import Profile
from tests.parties import DAY, NOW
from tests.protocol.rounds.member_stage import ME, Case, plan, plan_key, policy

# Rule of a policy -> the check by which the plan of the stage fails, None where it passes; the other rules let it pass.
RULES = [
    ({}, None),
    ({"least_cohort": 100}, "P7"),
    ({"colluders": 50}, "P7"),
    ({"profiles": frozenset({Profile.TWO_TRIP})}, "P7"),
    ({"beacons": ("ant", "bee")}, "P8"),
    ({"pinned_base": False}, "P10"),
    ({"upload_limit": 1}, "P11"),
    ({"horizon": 1}, "P14"),
    ({"horizon": 900 * DAY}, None),
    ({"counts_to": frozenset({Role.AUDITOR})}, "P14"),
    ({"software": frozenset({"other/1"})}, "P14"),
    ({"pruners": frozenset({"other"})}, "P14"),
    ({"key_holders": frozenset({"somebody"})}, "P15"),
    ({"sample": (999, 1000)}, "P15"),
]
# These decide nothing about a plan alone: whom the member obeys, what was released before, and who endorses.
OTHERS = {"server", "epochs", "witnesses", "dishonest"}


@pytest.mark.parametrize("profile", [Profile.THREE_TRIP, Profile.ONE_TRIP], ids=str)
@pytest.mark.parametrize(("rules", "check"), RULES, ids=[str(sorted(rules)) for rules, _ in RULES])
def test_the_server_foresees_what_the_member_says(rules, check, profile):
    encrypts = profile is Profile.ONE_TRIP
    case = Case(plan(profile), policy=dict(rules), cipher_key=plan_key() if encrypts else None)
    asked = first_objection(case.plan, ME, policy(**rules), (), NOW)
    if check is None or (check == "P15" and not encrypts):
        assert asked is None
        case.run()
    else:
        with pytest.raises(PlanDeclined) as said:
            case.run()
        assert asked is not None
        assert (asked.check, str(asked)) == (said.value.check, str(said.value)) and asked.check == check


def test_no_rule_is_forgotten():
    assert {field.name for field in fields(Policy)} - OTHERS == {name for rules, _ in RULES for name in rules}
