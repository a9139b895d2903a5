"""Who would take part: offers, prekeys, and when enough of them are there."""

import pytest

from fedspallm_secure.app.stations.candidates import rounds_drawn
from fedspallm_secure.protocol.offers import Offer
from fedspallm_secure.protocol.rounds.plans import Sampling
from tests.stationary import HUB, SERVER, Stations


def federation(tmp_path, **setting):
    return Stations(tmp_path / "federation", **setting)


def test_everybody_of_the_roster_is_waited_for(tmp_path):
    with federation(tmp_path) as found:
        found.silent.add("north")
        found.run()
        assert found.server.waiting == "waiting for north to offer to take part"
        found.silent.clear()
        found.run()
        assert found.model.done == [1]


def test_enough_are_enough_after_a_while(tmp_path):
    with federation(tmp_path, members=5, open_after=100) as found:
        found.silent.add("north")
        found.run()
        assert found.server.station is None
        found.now += 99
        found.run()
        assert found.server.station is None
        found.now += 1
        found.run()
        assert found.model.done == [1]
        assert sorted(found.server.post.journal.recall("members", "*")) == ["east", "middle", "south", "west"]


def test_too_few_are_never_enough(tmp_path):
    with federation(tmp_path, open_after=100) as found:
        found.silent |= {"north", "south"}
        found.run()
        found.now += 10_000
        found.run()
        assert found.server.waiting == "waiting for north, south to offer to take part"


def test_who_takes_part_is_fixed_by_the_first_round(tmp_path):
    with federation(tmp_path, members=5, layers=1, schedule=("1/4", "1/2"), open_after=1) as found:
        found.silent.add("north")
        found.run()
        found.now += 1
        found.run()
        found.silent.clear()
        found.wait()
        assert found.model.done == [1, 2]
        assert "north" not in found.server.post.journal.recall("members", "*")


def test_an_offer_without_its_bundle_is_none(tmp_path):
    with federation(tmp_path) as found:
        found.silent.add("north")
        found.run()
        found.silent.clear()
        post = found.members["north"].post
        with post.at_once():
            post.send("offer", SERVER, [Offer("test/2", 0, "cd" * 32).encode()])
        found.run()
        assert "north" in found.server.waiting
        found.offer("north")
        found.run()
        assert found.model.done == [1]


def test_the_newest_offer_counts_and_an_old_bundle_is_kept(tmp_path):
    with federation(tmp_path) as found:
        found.offer("north")
        found.carry()
        found.server.work_through()
        assert len(found.server.post.journal.recall_all("bundle")) == 4
        assert not found.server.told


def test_a_bundle_of_somebody_else_is_refused(tmp_path):
    with federation(tmp_path) as found:
        north, south = found.members["north"], found.members["south"]
        with north.post.at_once():
            north.post.send("prekeys", SERVER, [south.bundle.encode()])
        found.run()
        assert [one.type for one, _ in found.server.told] == ["prekeys"]
        assert found.model.done == [1]


def test_rounds_go_on_as_long_as_there_are_prekeys(tmp_path):
    with federation(tmp_path, members=4, layers=1, schedule=("1/4", "1/2"), prekeys=1) as found:
        found.wait()
        assert found.model.done == [1]
        assert found.server.waiting.startswith("no prekeys left of east, north, south, west: ")


def test_a_bundle_that_is_out_of_date_counts_for_nothing(tmp_path):
    with federation(tmp_path) as found:
        found.carry()
        found.server.work_through()
        assert len(found.server.candidates.bundles(found.names)) == 4
        found.clocks[HUB] = 20 * 365 * 86_400
        assert found.server.candidates.bundles(found.names) == {}


@pytest.mark.parametrize(("layers", "schedule", "rounds"), [(2, ("1/2",), 1), (2, ("1/4", "1/2"), 2)])
def test_how_many_rounds_are_drawn(layers, schedule, rounds):
    budgets = tuple((name, layers) for name in ("a", "b", "c", "d"))
    assert rounds_drawn(Sampling(1, layers, schedule, 3, False, budgets)) == rounds
