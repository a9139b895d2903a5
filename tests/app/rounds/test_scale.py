"""One secure round over made-up vectors."""

import pytest

from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds import scale as module
from fedspallm_secure.app.rounds.scale import MEMBERS_LIMIT, ScaleSettings, measure_round
from fedspallm_secure.app.rounds.settings import SecureSettings, parse_drops
from fedspallm_secure.app.rounds.vault import FolderVault
from fedspallm_secure.app.rounds.vectors import Streams
from fedspallm_secure.errors import (
    CiphertextRefused,
    FormatError,
    PlanRefused,
    RoundAborted,
    SumOutOfRange,
    UsageError,
)
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile
from tests.clear_cipher import clear


class Recorder(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def update(self, task: str, done: int, total: int, unit: str) -> None:
        self.told.append((task, done, total))


def settings(members: int = 5, weights: int = 301, strategy: Strategy = Strategy.FEDSPALLM, **secure) -> ScaleSettings:
    return ScaleSettings(members, weights, strategy, SecureSettings(**secure))


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("profile", list(Profile))
def test_a_round_of_every_profile_gives_the_plain_sums(profile, strategy):
    found = measure_round(settings(profile=profile, strategy=strategy), Silent())
    assert found["survivors"] == found["members"] == 5
    assert (found["profile"], found["strategy"], found["colluders"]) == (profile.value, strategy.value, 1)
    assert found["vector_bytes"] == 151 + (0 if strategy is Strategy.VOTES else 4 * 301)
    assert (
        found["contribution_bytes_by_formula"]
        < found["contribution_bytes"]
        < found["contribution_bytes_by_formula"] + 3000
    )
    assert found["equal_to_plain"]


@pytest.mark.parametrize(("stage", "left"), [("contribution", 4), ("endorsement", 5), ("unmask", 5)])
def test_dropouts_at_every_stage_leave_the_sum_of_the_survivors(stage, left):
    found = measure_round(settings(drops=parse_drops([f"{stage}:m-0002"]), sum_bits=16), Silent())
    assert found["survivors"] == left
    with pytest.raises(RoundAborted, match="3 of 5, 4 needed"):
        measure_round(settings(drops=parse_drops([f"{stage}:m-0002", f"{stage}:m-0005"])), Silent())


@pytest.mark.parametrize("strategy", list(Strategy))
def test_who_drops_out_of_a_one_trip_round_is_in_no_sum(strategy):
    """Encrypted, the other four are summed; a fifth less is too few."""
    drops, profile = ["contribution:m-0002"], Profile.ONE_TRIP
    found = measure_round(settings(profile=profile, strategy=strategy, drops=parse_drops(drops)), Silent())
    assert found["survivors"] == 4 and found["equal_to_plain"]
    kinds = {"decrypt-request", "decrypt-challenge", "decrypt-opening", "decrypt-response"}
    assert {kind: found["wire"]["by_type"][kind]["packages"] for kind in kinds} == dict.fromkeys(kinds, 1)
    assert not {"unmask-request", "endorsement"} & found["wire"]["by_type"].keys()
    with clear(), pytest.raises(RoundAborted, match="3 of 5, 4 needed"):
        measure_round(settings(profile=profile, drops=parse_drops([*drops, "contribution:m-0004"])), Silent())


@pytest.mark.parametrize(("at", "error"), [(4, RoundAborted), (9, CiphertextRefused), (-1, FormatError)])
def test_a_ciphertext_changed_in_the_vault_does_not_pass(monkeypatch, at, error):
    """One that still is a ciphertext, which nobody signed; one that is none; and one with something after it."""

    class Changing(FolderVault):
        def keep(self, gid, member, streams):
            if member == "m-0003":
                streams.parts[0][at] ^= 1
            super().keep(gid, member, streams)

    monkeypatch.setattr(module, "FolderVault", Changing)
    with clear(), pytest.raises(error):
        measure_round(settings(profile=Profile.ONE_TRIP), Silent())


def test_progress_comes_to_an_end():
    recorder = Recorder()
    measure_round(settings(), recorder)
    assert recorder.told[0] == ("enrol", 0, 5) and ("enrol", 5, 5) in recorder.told
    assert recorder.told[-1] == ("contribute", 5, 5)


class Leaky(FolderVault):
    """Changes one word of one kept vector."""

    bit, stream = 0, 0

    def keep(self, gid: int, member: str, streams: Streams) -> None:
        if member == "m-0003":
            streams.parts[self.stream][4] ^= 1 << self.bit
        super().keep(gid, member, streams)


@pytest.mark.parametrize(
    ("stream", "bit", "error", "said"),
    [
        # Sums: an honest-looking one passes the server's check of the range and is found by comparing.
        (1, 0, SumOutOfRange, "is not the plain one"),
        # Counts: most changes lead to a sum that its count does not allow, and the group ends.
        (0, 3, RoundAborted, "SUM_OUT_OF_RANGE"),
    ],
)
def test_a_masked_vector_changed_in_the_vault_does_not_pass(monkeypatch, stream, bit, error, said):
    monkeypatch.setattr(Leaky, "stream", stream)
    monkeypatch.setattr(Leaky, "bit", bit)
    monkeypatch.setattr(module, "FolderVault", Leaky)
    with pytest.raises(error, match=said):
        measure_round(settings(), Silent())


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"members": 2}, UsageError, "--members must lie between 3 and 1000, got 2"),
        ({"members": MEMBERS_LIMIT + 1}, UsageError, "--members"),
        ({"weights": 0}, UsageError, "--vector must lie between 1 and"),
        ({"weights": (1 << 24) + 1}, UsageError, "--vector"),
        ({"drops": parse_drops(["unmask:north"])}, UsageError, "--drop names north"),
        ({"colluders": 3}, PlanRefused, "a cohort of 5 is too small: with 3 colluders a sum needs 6 survivors"),
    ],
)
def test_what_cannot_be_measured(values, error, said):
    with pytest.raises(error, match=said):
        measure_round(settings(**values), Silent())


@pytest.mark.slow
def test_beyond_two_hundred_the_graph_is_sparse_and_a_witness_draws_it():
    found = measure_round(settings(201, 50, Strategy.VOTES, colluders=5), Silent())
    assert found["degree"] < 100 and found["survivors"] == 201
    assert {"opening", "beacon"} <= set(found["wire"]["by_type"])
