"""Secure rounds inside a simulation: what is refused before anybody prunes, and how a killed run goes on."""

import json
from fractions import Fraction
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import pytest

from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds import simulated as module
from fedspallm_secure.app.rounds.playing import Round
from fedspallm_secure.app.rounds.settings import SecureSettings, parse_drops
from fedspallm_secure.app.rounds.simulated import SecureSilos
from fedspallm_secure.app.runner import simulate
from fedspallm_secure.app.server import write_aggregate
from fedspallm_secure.app.simulation import Simulation
from fedspallm_secure.errors import (
    DisclosureRefused,
    ForeignFile,
    PlanRefused,
    RecordDamaged,
    RoundAborted,
    SumOutOfRange,
)
from fedspallm_secure.protocol.plan import RoundPlan
from fedspallm_secure.pruning.aggregation import Strategy
from fedspallm_secure.pruning.patterns import Unstructured
from fedspallm_secure.pruning.pruners import Pruner
from fedspallm_secure.secagg.thresholds import Profile
from tests.app.test_simulation import tree
from tests.ground import Ground, make_ground

FIVE = ("north", "south", "west", "east", "mid")
TWO_PASSES = (Unstructured(Fraction(3, 10)), Unstructured(Fraction(1, 2)))
Layers = dict[int, list[str]]


PASSES = {"schedule": TWO_PASSES, "pruner": Pruner.WANDA, "secure": SecureSettings()}


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> Ground:
    """Files for all tests here; each of them has an output folder of its own."""
    return make_ground(tmp_path_factory.mktemp("five"), FIVE)


@pytest.fixture(scope="module")
def whole(five: Ground) -> dict[str, Any]:
    """The result of a run of two passes that nobody stopped, in `whole`."""
    return simulate(five.settings("whole", **PASSES), Silent())


@pytest.fixture(scope="module")
def stopped(five: Ground) -> Path:
    """The same run, stopped when the second round was played and nothing of it written."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_round(patch, 2, 0)
        with pytest.raises(KeyboardInterrupt):
            simulate(five.settings("stopped", **PASSES), Silent())
    return five.folder / "stopped"


def silos(rounds: list[Layers], secure: SecureSettings | None = None, layers: int = 3) -> SecureSilos:
    """The secure part of a simulation with these cohorts, as it is made before anything is read."""
    names = sorted({name for cohorts in rounds for cohort in cohorts.values() for name in cohort})
    plans = []
    for number, cohorts in enumerate(rounds, start=1):
        assignment = {name: tuple(layer for layer, cohort in cohorts.items() if name in cohort) for name in names}
        plans.append(RoundPlan(number, Unstructured(Fraction(1, 2)), tuple(cohorts), assignment))
    budgets = {name: max(len(plan.assignment[name]) for plan in plans) for name in names}
    linear = SimpleNamespace(size=64)
    blocks: Any = [SimpleNamespace(index=index, linears=[linear]) for index in range(layers)]
    spec: Any = type("Spec", (), {"strategy": Strategy.FEDSPALLM, "group": "matrix"})
    return SecureSilos(
        secure or SecureSettings(), spec, "wanda", budgets, blocks, plans, ("1/2",) * len(plans), 3, False, bytes(32)
    )


MANY = [f"s-{number:03d}" for number in range(201)]


@pytest.mark.parametrize(
    ("rounds", "secure", "error", "said"),
    [
        ([{0: FIVE, 1: FIVE[:2]}], {}, PlanRefused, "a cohort of 2 is too small"),
        ([{0: FIVE}], {"colluders": 3}, PlanRefused, "with 3 colluders a sum needs 6 survivors"),
        ([{0: FIVE}, {0: FIVE[:4]}], {}, DisclosureRefused, "round 2, layer 0"),
        ([{0: FIVE}, {0: FIVE}], {"drops": parse_drops(["contribution:mid"])}, DisclosureRefused, "over mid only"),
        ([{0: MANY}], {"colluders": 5}, PlanRefused, "a witness draws who prunes what"),
        ([{0: MANY}], {"colluders": 5, "profile": Profile.TWO_TRIP}, PlanRefused, "ends at 200 members"),
    ],
)
def test_what_no_round_could_give_is_refused_before_anybody_prunes(rounds, secure, error, said):
    with pytest.raises(error, match=said):
        silos(rounds, SecureSettings(**secure))


def test_large_cohorts_are_fine_where_everybody_prunes_everything():
    silos([dict.fromkeys(range(3), MANY)], SecureSettings(colluders=5))


def test_a_refused_round_costs_no_pruning(five: Ground, monkeypatch):
    monkeypatch.setattr(Simulation, "federate", None)
    secure = SecureSettings(drops=parse_drops(["contribution:mid"]))
    with pytest.raises(DisclosureRefused, match=r"round 2, layer 0: .* over mid only"):
        simulate(five.settings("refused", schedule=TWO_PASSES, secure=secure), Silent())
    assert not (five.folder / "refused/run.json").exists()


def test_too_many_dropouts_end_the_run_with_the_reason_and_leave_no_model(five: Ground):
    secure = SecureSettings(drops=parse_drops(["unmask:mid", "contribution:west"]))
    with pytest.raises(RoundAborted, match=r"group 0 ended without a sum: TOO_FEW_RESPONSES \(3 of 5, 4 needed\)"):
        simulate(five.settings("aborted", secure=secure), Silent())
    assert not (five.folder / "aborted/model").exists()


def count_rounds(monkeypatch) -> list[int]:
    """The numbers of the rounds that are really played from here on."""
    played: list[int] = []
    play = Round.play

    def counted(self: Round, *arguments: Any) -> Any:
        played.append(self.server.plan.round)
        return play(self, *arguments)

    monkeypatch.setattr(Round, "play", counted)
    return played


def interrupt_round(monkeypatch, number: int, after: int) -> None:
    """Stop while round `number` is written, after so many of its layers."""
    written = 0

    def stopping(block: Any, revision: Any, sums: Any, spec: Any, folder: Any, members: int) -> Any:
        nonlocal written
        if folder.name == f"round-{number}":
            if written == after:
                raise KeyboardInterrupt
            written += 1
        return write_aggregate(block, revision, sums, spec, folder, members)

    monkeypatch.setattr(module, "write_aggregate", stopping)


def test_a_killed_run_plays_no_finished_round_again(five: Ground, whole, stopped, monkeypatch):
    copytree(stopped, five.folder / "second")
    played = count_rounds(monkeypatch)
    result = simulate(five.settings("second", **PASSES), Silent())
    assert played == [2]
    assert tree(five.folder / "second/model") == tree(five.folder / "whole/model")
    assert [found["round"] for found in result["secagg"]] == [1, 2]
    for ours, theirs in zip(result["secagg"], whole["secagg"], strict=True):
        for part in ("groups", "leakage", "exactness"):
            assert ours[part] == theirs[part]


def test_a_round_that_was_written_in_part_is_played_again(five: Ground, whole, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_round(patch, 1, 2)
        with pytest.raises(KeyboardInterrupt):
            simulate(five.settings("first", **PASSES), Silent())
    played = count_rounds(monkeypatch)
    simulate(five.settings("first", **PASSES), Silent())
    assert played == [1, 2]
    assert tree(five.folder / "first/model") == tree(five.folder / "whole/model")


def test_a_killed_run_still_knows_what_it_released(five: Ground, stopped):
    """Without that, the second part could release sums that the whole run would have refused."""
    copytree(stopped, five.folder / "forgetful")
    record = five.folder / "forgetful/work/server/round-1/secagg.json"
    known = json.loads(record.read_text())
    for group in known["groups"]:
        group["survivors"].remove("mid")
    record.write_text(json.dumps(known))
    with pytest.raises(RoundAborted, match=r"TOO_FEW_CONTRIBUTIONS .* refused the plan: P13: .* over mid only"):
        simulate(five.settings("forgetful", **PASSES), Silent())


@pytest.mark.parametrize(("content", "error"), [("[]", RecordDamaged), ("{}", RecordDamaged), ("{", ForeignFile)])
def test_a_record_that_was_damaged_is_not_believed(five: Ground, stopped, tmp_path, content, error):
    copytree(stopped, tmp_path / "out")
    (tmp_path / "out/work/server/round-1/secagg.json").write_text(content)
    with pytest.raises(error):
        simulate(five.settings(out=str(tmp_path / "out"), **PASSES), Silent())


def test_sums_that_are_not_the_plain_ones_end_the_run(five: Ground, monkeypatch):
    """The corrupted twin of every figure: contributions that change between the protocol and the comparison."""
    plain = module.sum_contributions

    def another(block: Any, contributions: Any, strategy: Any) -> Any:
        return plain(block, [*contributions[1:], contributions[1]], strategy)

    monkeypatch.setattr(module, "sum_contributions", another)
    with pytest.raises(SumOutOfRange, match="a keep count from secure aggregation is not the plain one"):
        simulate(five.settings("another", secure=SecureSettings()), Silent())


def test_bases_are_read_once_while_they_fit(five: Ground, monkeypatch):
    read: list[int] = []
    matrices = module.Revision.matrices

    def counted(self: Any, block: Any) -> Any:
        read.append(block.index)
        return matrices(self, block)

    monkeypatch.setattr(module.Revision, "matrices", counted)
    simulate(five.settings("held", pruner=Pruner.WANDA, secure=SecureSettings()), Silent())
    held = len(read)
    monkeypatch.setattr(module, "_HELD", 0)
    simulate(five.settings("read", pruner=Pruner.WANDA, secure=SecureSettings()), Silent())
    assert held <= 3 * 3 and len(read) - held >= held + 5 * 3 - 3
    assert tree(five.folder / "held/model") == tree(five.folder / "read/model")


def test_nothing_of_the_masked_vectors_is_left(five: Ground, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("fedspallm_secure.app.runner.remove_tree", lambda _: None)
        simulate(five.settings("left", secure=SecureSettings()), Silent())
    assert (five.folder / "left/work/server/round-1/secagg.json").exists()
    assert not list((five.folder / "left").rglob("*.vector"))
