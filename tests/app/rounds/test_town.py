"""A federation in memory over several rounds: names, seeds, prekeys, and what a round says when it fails."""

from collections.abc import Mapping

import pytest

from fedspallm_secure.app.rounds.figures import package_size
from fedspallm_secure.app.rounds.planning import LayerBase, Terms
from fedspallm_secure.app.rounds.playing import Round, Stage
from fedspallm_secure.app.rounds.scale import DrawnWork, ScaleSettings
from fedspallm_secure.app.rounds.town import SERVER, Town, member_ids
from fedspallm_secure.app.rounds.vault import MemoryVault
from fedspallm_secure.app.rounds.wire import Parcel, Wire
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.errors import DisclosureRefused, RoundAborted, TileMismatch
from fedspallm_secure.protocol.rounds.groups import MatrixShape
from fedspallm_secure.protocol.rounds.plans import Sampling
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.memory import read_package

NOW = 1_790_000_000
NAMES = {f"m-{number}": f"Silo {number}" for number in range(5)}


class Moving(DrawnWork):
    """A member whose base is another one in every round, as if the last result had been taken up."""

    def __init__(self, number: int) -> None:
        self.number, self.round = number, 0
        super().__init__(ScaleSettings(5, 20), number, layer(0))

    def next(self, number: int, previous: str | None) -> None:
        super().__init__(ScaleSettings(5, 20), self.number, layer(number))
        self.previous = previous or "*"

    def model(self):
        found = super().model()
        return type(found)(found.groups, self.previous)


def layer(number: int) -> LayerBase:
    return LayerBase(f"{number:064x}", (MatrixShape("vector", 1, 20),))


def town(profile: Profile = Profile.THREE_TRIP, rounds: int = 1, wire: Wire | None = None) -> Town:
    works = {name: Moving(number) for number, name in enumerate(NAMES)}
    terms = Terms(profile, 1, Strategy.FEDSPALLM, "magnitude")
    return Town(works, terms, rounds, 5, lambda: NOW, wire)


def play(town: Town, drops: Mapping[Stage, set[str]] | None = None) -> Round:
    for member in town.members.values():
        member.work.next(town.number + 1, town.previous)  # type: ignore[attr-defined]
    sampling = Sampling(1, 1, ("1/2",), 3, False, tuple((name, 1) for name in NAMES))
    found = town.open_round(sampling, seed_bytes(1), {0: layer(town.number + 1)}, MemoryVault())
    found.play(drops or {})
    if found.server.machine.result is not None:
        town.previous = found.server.machine.result.hash
    return found


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["north", "a-1", "7"], ["north", "a-1", "7"]),
        (["North_1", "west", "Ost"], ["silo-1", "silo-2", "silo-3"]),
        (["-a", "b"], ["silo-1", "silo-2"]),
        (["a" * 64, "b"], ["silo-1", "silo-2"]),
        ([f"N{number:02d}" for number in range(10)], [f"silo-{number:02d}" for number in range(1, 11)]),
    ],
)
def test_names_are_ids_where_all_of_them_can_be(names, ids):
    found = member_ids(names)
    assert [found[name] for name in (names if names == ids else sorted(names))] == ids


@pytest.mark.parametrize("profile", [Profile.THREE_TRIP, Profile.WITNESSED])
def test_rounds_follow_each_other_and_every_one_has_prekeys_of_its_own(profile):
    federation = town(profile, rounds=3)
    used, hashes = [], []
    for number in (1, 2, 3):
        found = play(federation)
        found.check_complete()
        assert found.server.plan.round == number
        assert not any(member.refused for member in federation.members.values())
        used.append({use.index for use in found.server.plan.prekeys})
        hashes.append(found.server.machine.result.hash)
        assert all(len(member.ledger.releases) == number for member in federation.members.values())
    assert used == [{0}, {1}, {2}]
    assert len(set(hashes)) == 3


def test_bytes_are_those_of_one_round_and_contributions_have_the_size_of_the_formula():
    sizes: list[int] = []

    class Listening(Wire):
        def send(self, parcel: Parcel) -> None:
            if parcel.type == "contribution":
                head = read_package(parcel.package).head
                sizes.append(len(parcel.package) - len(head.encoded) - len(head.signature))
            super().send(parcel)

    federation = town(rounds=2, wire=Listening())
    first, second = play(federation), play(federation)
    for found in (first, second):
        sent = {type: packages for (_, type), (packages, _) in found.played.sent.items() if type == "contribution"}
        assert sent == {"contribution": 1}, "one per member and round, whatever was sent before"
        assert sum(packages for (_, type), (packages, _) in found.played.sent.items() if type == "contribution") == 5
    overhead = {size - package_size(first.server.plan.groups[0]) for size in sizes}
    assert len(sizes) == 10 and len(overhead) == 1 and 0 <= overhead.pop() < 64, "what is left is a frame of fixed size"


def test_a_witness_is_there_where_the_profile_asks_for_one():
    assert not town().witnesses
    federation = town(Profile.WITNESSED)
    found = play(federation)
    assert len(federation.witnesses) == 1 and "witness" in found.played.seconds
    assert ("witness/witness", "endorsement") in found.played.sent


STAGES = [
    (Stage.CONTRIBUTION, "TOO_FEW_CONTRIBUTIONS", "(3 of 5, 4 needed)"),
    (Stage.ENDORSEMENT, "TOO_FEW_ENDORSEMENTS", "(3 of 5, 4 needed)"),
    (Stage.UNMASK, "TOO_FEW_RESPONSES", "(3 of 5, 4 needed)"),
]


@pytest.mark.parametrize(("stage", "code", "shortfall"), STAGES)
def test_one_may_fall_silent_and_two_end_the_round_with_the_reason(stage, code, shortfall):
    one = play(town(), {stage: {"m-1"}})
    one.check_complete()
    assert one.server.released[0].survivors == (4 if stage is Stage.CONTRIBUTION else 5)
    two = play(town(), {stage: {"m-1", "m-4"}})
    assert two.server.released == {}
    with pytest.raises(RoundAborted) as caught:
        two.check_complete(NAMES)
    assert str(caught.value) == f"group 0 ended without a sum: {code} {shortfall}"


def test_a_member_that_declines_says_why_under_its_name():
    federation = town(rounds=2)
    play(federation, {Stage.CONTRIBUTION: {"m-2"}}).check_complete()
    found = play(federation)
    with pytest.raises(RoundAborted, match=r"\(\d of 5, 4 needed\); Silo 0 refused the plan: P13: .* over m-2 only$"):
        found.check_complete(NAMES)


class Spoiling(Wire):
    """Changes one byte near the end of one member's contribution."""

    def send(self, parcel: Parcel) -> None:
        if parcel.type == "contribution" and parcel.sender.id == "m-3":
            package = bytearray(parcel.package)
            package[-40] ^= 1
            parcel = Parcel(parcel.sender, parcel.recipient, parcel.type, bytes(package))
        super().send(parcel)


def test_a_contribution_changed_on_its_way_never_counts():
    found = play(town(wire=Spoiling()))
    found.check_complete()
    assert found.played.survivors[0] == ("m-0", "m-1", "m-2", "m-4")
    assert [(parcel.sender.id, parcel.type, type(error)) for parcel, error in found.server.refused] == [
        ("m-3", "contribution", TileMismatch)
    ]


def test_members_keep_what_they_sent_only_if_they_are_to():
    federation = town()
    federation.members["m-0"].keeps_sealed = False
    found = play(federation)
    assert not found.members["m-0"].sealed and set(found.members["m-1"].sealed) == {0}


def test_the_server_takes_in_each_contribution_before_the_next_is_made():
    waiting: list[int] = []

    class Counting(Wire):
        def send(self, parcel: Parcel) -> None:
            if parcel.type == "contribution":
                waiting.append(len(self._waiting[SERVER]))
            super().send(parcel)

    play(town(wire=Counting()))
    assert waiting == [0] * 5


def test_who_was_dropped_out_of_a_sum_is_in_no_later_one_that_it_could_be_taken_from():
    federation = town(rounds=2)
    play(federation, {Stage.CONTRIBUTION: {"m-2"}}).check_complete()
    play(federation)
    dropped = federation.members["m-2"]
    assert [release.survivors for release in dropped.ledger.releases] == [frozenset({"m-0", "m-1", "m-3", "m-4"})]
    assert any(isinstance(error, DisclosureRefused) for _, error in dropped.refused)


def test_in_two_trips_a_second_round_over_the_same_matrix_is_refused_by_everybody():
    federation = town(Profile.TWO_TRIP, rounds=2)
    play(federation).check_complete()
    found = play(federation)
    with pytest.raises(RoundAborted, match=r"P13: .* released once and never again"):
        found.check_complete(NAMES)
