"""The main job with secure aggregation, end to end: the same model as with plain sums, or a reason why not."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch

from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds.settings import SecureSettings, parse_drops
from fedspallm_secure.app.runner import simulate
from fedspallm_secure.errors import PlanRefused, UsageError
from fedspallm_secure.pruning.aggregation import Strategy
from fedspallm_secure.pruning.patterns import NofM, Unstructured
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.texts import TextFile
from tests.app.test_simulation import tree, weights
from tests.ground import Ground, make_ground

FIVE = ("north", "south", "west", "east", "mid")
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Ground:
    """Five silos, for all tests here."""
    return make_ground(tmp_path_factory.mktemp("five"), FIVE)


@pytest.fixture
def run(ground: Ground, request) -> Run:
    """Simulate into a folder of this test's own, `a` or `b` by default plain; returns result."""

    def simulated(name: str, **settings: Any) -> dict[str, Any]:
        return simulate(ground.settings(f"{request.node.name}/{name}", **settings), Silent())

    (ground.folder / request.node.name).mkdir()
    return simulated


@pytest.fixture
def same(ground: Ground, request) -> Callable[[str, str], bool]:
    """Whether two of a test's runs wrote the same model, bit for bit."""

    def compare(one: str, two: str) -> bool:
        here = ground.folder / request.node.name
        return tree(here / one / "model") == tree(here / two / "model")

    return compare


def test_counts_are_the_plain_ones_and_weights_are_within_half_a_step(ground: Ground, run: Run, request):
    plain, secure = run("plain"), run("secure", secure=SecureSettings())
    assert secure["agreement"] == plain["agreement"] and secure["sparsity"] == plain["sparsity"]
    assert plain["secagg"] == []
    (found,) = secure["secagg"]
    assert found["exactness"]["weights"] == plain["sparsity"]["size"]
    assert 0 < found["exactness"]["worst_steps"] <= 0.5 + 1e-6, "and what float64 rounds in the comparison"
    here, dense = ground.folder / request.node.name, weights(ground.model)
    ours, theirs = weights(here / "secure/model"), weights(here / "plain/model")
    fraction, apart = found["groups"][0]["fraction"], 0.0
    for name in plain["sparsity"]["per_matrix"]:
        assert torch.equal(ours[name] == 0, theirs[name] == 0), name
        step = torch.exp2(torch.frexp(dense[name].abs().amax(dim=1))[1].double() - fraction)[:, None]
        difference = (ours[name].double() - theirs[name].double()).abs()
        rounding = theirs[name].double().abs() * 2.0**-23
        assert bool((difference <= step / 2 + rounding).all()), name
        apart += float(difference.sum())
    assert apart > 0, "else this compares plain sums with plain sums"


EXACT = {
    "wanda": {"pruner": Pruner.WANDA},
    "magnitude, 2:4": {"pruner": Pruner.MAGNITUDE, "schedule": (NofM(2, 4),)},
    "votes of sparsegpt": {"strategy": Strategy.VOTES},
    "votes of wanda": {"pruner": Pruner.WANDA, "strategy": Strategy.VOTES},
    "two passes": {
        "pruner": Pruner.WANDA,
        "schedule": (Unstructured(Fraction(3, 10)), Unstructured(Fraction(1, 2))),
    },
    "sampled cohorts": {"pruner": Pruner.WANDA, "budgets": {"north": 2, "mid": 1, "east": 2}},
    "spread over rounds": {
        "pruner": Pruner.WANDA,
        "budgets": dict.fromkeys(FIVE, 1),
        "spread": True,
    },
}
FORMS = {
    "wanda": {"profile": Profile.TWO_TRIP},
    "votes of wanda": {"profile": Profile.WITNESSED},
    "two passes": {"sum_bits": 16},
    "sampled cohorts": {"profile": Profile.WITNESSED, "sum_bits": 16},
}


@pytest.mark.parametrize("case", EXACT)
def test_where_nothing_is_rounded_the_model_is_the_plain_one_bit_for_bit(run: Run, same, case):
    plain = run("plain", **EXACT[case])
    secure = run("secure", **EXACT[case], secure=SecureSettings(**FORMS.get(case, {})))
    assert same("plain", "secure")
    assert secure["agreement"] == plain["agreement"] and secure["cohorts"] == plain["cohorts"]
    for found, plan in zip(secure["secagg"], plain["cohorts"], strict=True):
        assert found["round"] == plan["round"]
        assert {str(group["layer"]): sorted(group["survivors"]) for group in found["groups"]} == {
            layer: sorted(members) for layer, members in plan["layers"].items()
        }
        assert found["exactness"]["worst_steps"] == found["exactness"]["bf16_differs"] == 0


@pytest.mark.parametrize("stage", ["contribution", "endorsement", "unmask"])
def test_a_silo_that_falls_silent_leaves_the_sum_of_the_others_or_its_own_in_it(ground: Ground, run: Run, same, stage):
    secure = run("secure", pruner=Pruner.WANDA, secure=SecureSettings(drops=parse_drops([f"{stage}:west"])))
    left = tuple(silo for silo in ground.silos if silo.name != "west") if stage == "contribution" else ground.silos
    run("plain", pruner=Pruner.WANDA, silos=left)
    assert same("secure", "plain")
    (found,) = secure["secagg"]
    assert found["answered"] == ["east", "mid", "north", "south"]
    assert all(len(group["survivors"]) == len(left) for group in found["groups"])
    assert found["wire"]["sent_by_silo"]["west"] < found["wire"]["sent_by_silo"]["north"]


def test_the_silo_that_is_missing_makes_a_difference(run: Run, same):
    """The twin of the test above: without it, two equal models would prove nothing."""
    run("all", pruner=Pruner.WANDA, secure=SecureSettings())
    run("four", pruner=Pruner.WANDA, secure=SecureSettings(drops=parse_drops(["contribution:west"])))
    assert not same("all", "four")


def test_names_that_are_no_ids_come_back_in_every_figure(ground: Ground, run: Run):
    names = ("North_1", "South", "west", "EAST", "mid-5-")
    silos = tuple(TextFile(name, silo.path) for name, silo in zip(names, ground.silos, strict=True))
    drops = parse_drops(["unmask:mid-5-"])
    (found,) = run("out", silos=silos, secure=SecureSettings(drops=drops))["secagg"]
    assert set(found["groups"][0]["survivors"]) == set(names)
    assert set(found["answered"]) == {"North_1", "South", "west", "EAST"}
    assert set(found["wire"]["sent_by_silo"]) == set(names)


def test_bytes_and_seconds_are_those_of_the_protocol(run: Run):
    result = run("out", secure=SecureSettings())
    (found,) = result["secagg"]
    sent = found["wire"]["by_type"]["contribution"]
    assert sent["packages"] == 5 * 3
    assert 0 < sent["bytes"] - found["wire"]["contributions_by_formula"] < 3000 * sent["packages"], "headers are left"
    for silo, payload in result["bytes_per_silo"].items():
        assert found["wire"]["sent_by_silo"][silo] > payload
    assert {"enrol", "aggregate", "check"} <= set(result["seconds"])
    assert set(found["seconds"]) == {
        *("plan", "contribution", "intake", "survivors", "endorsement", "request", "unmask", "sum", "result")
    }


def test_what_counts_tell_is_what_the_histograms_say(run: Run):
    result = run("out", secure=SecureSettings())
    (found,), leak = result["secagg"], result["secagg"][0]["leakage"]
    histogram = [
        sum(column) for column in zip(*(one["histogram"] for one in result["agreement"]["layers"]), strict=True)
    ]
    weights_, silos = sum(histogram), len(FIVE)
    assert leak["positions"] == weights_ == found["exactness"]["weights"]
    assert leak["unanimous"] == pytest.approx((histogram[0] + histogram[-1]) / weights_)
    assert leak["single"] == pytest.approx(histogram[1] / weights_)
    majority = sum(weights * max(kept, silos - kept) for kept, weights in enumerate(histogram))
    assert leak["count_accuracy"] == pytest.approx(majority / (weights_ * silos))
    assert leak["excess"] == pytest.approx(leak["count_accuracy"] - leak["guess_accuracy"])


def test_sixteen_bits_send_less_and_are_exact_to_a_whole_step(run: Run):
    wide, narrow = run("wide", secure=SecureSettings()), run("narrow", secure=SecureSettings(sum_bits=16))
    assert sum(narrow["bytes_per_silo"].values()) * 36 == sum(wide["bytes_per_silo"].values()) * 20
    assert 0.5 < narrow["secagg"][0]["exactness"]["worst_steps"] <= 1.0
    assert narrow["agreement"] == wide["agreement"]


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        (
            {"drops": parse_drops(["unmask:lost"])},
            UsageError,
            "--drop names lost, which is not a silo; silos: east, mid",
        ),
        ({"colluders": 3}, PlanRefused, "a cohort of 5 is too small: with 3 colluders a sum needs 6 survivors"),
    ],
)
def test_what_cannot_be_simulated_is_said_at_once(ground: Ground, run: Run, settings, error, said):
    with pytest.raises(error, match=said):
        run("out", secure=SecureSettings(**settings))


def test_two_silos_are_too_few_for_secure_sums_whatever_the_smallest_cohort(ground: Ground, run: Run):
    with pytest.raises(PlanRefused, match="a cohort of 2 is too small: with 0 colluders a sum needs 3 survivors"):
        run("out", silos=ground.silos[:2], min_cohort=2, secure=SecureSettings())
