"""Whole rounds between stations that have no network: everything travels on media."""

import shutil

import pytest

from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.secagg.thresholds import Profile
from tests.stationary import HUB, Stations, stations


class Courier:
    """Somebody with one medium, who goes round.  lost: number of the journey on which it is lost, counted from 1."""

    def __init__(self, found: Stations, folder, lost: int = 0) -> None:
        self.found, self.folder, self.lost = found, folder, lost
        self.journeys = 0
        self.names = found.names
        folder.mkdir()

    def collect(self) -> None:
        """From the members to the server."""
        self._journey([f"member/{name}" for name in self.names], [HUB])

    def distribute(self) -> None:
        """From the server to the members."""
        self._journey([HUB], [f"member/{name}" for name in self.names])

    def _journey(self, senders, recipients) -> None:
        self.journeys += 1
        medium = self.folder / str(self.journeys)
        medium.mkdir()
        for party in senders:
            export(self.found.post(party), medium, None, [], False, "", Silent())
        if self.journeys == self.lost:
            shutil.rmtree(medium)
            return
        for party in recipients if list(medium.glob("*.fsdoc")) else ():
            with open_medium(medium) as opened:
                outcomes = import_from(self.found.post(party), opened, Silent())
            assert [str(error) for outcome in outcomes for error in outcome.errors] == []


def work(found: Stations) -> None:
    """Everybody does what is due."""
    found.server.work_through()
    while found.server.tick():
        found.server.work_through()
    for station in found.members.values():
        station.work_through()
        for group in station.due():
            station.contribute_layer(group)


@pytest.mark.parametrize(("profile", "trips"), [(Profile.TWO_TRIP, 2), (Profile.THREE_TRIP, 3)])
def test_a_round_takes_as_many_trips_as_its_profile_says(tmp_path, profile, trips):
    with stations(tmp_path / "parties", members=6, layers=1, profile=profile) as found:
        courier = Courier(found, tmp_path / "media")
        _play(found, courier)
        assert courier.journeys == 2 * (1 + trips)  # offers and prekeys, then the round


@pytest.mark.slow
def test_some_parties_may_be_online(tmp_path):
    with stations(tmp_path / "parties", members=4, layers=1) as found:
        courier = Courier(found, tmp_path / "media")
        online = found.names[:2]
        courier.names = found.names[2:]
        for _ in range(8):
            _online(found, online)
            courier.collect()
            work(found)
            _online(found, online)
            courier.distribute()
            work(found)
        assert found.server.waiting == "all rounds are done"
        assert all(work.taken == [(1, 0)] for work in found.works.values())


def _online(found: Stations, names) -> None:
    """What a network does between the server and these members."""
    for name in names:
        member = f"member/{name}"
        for sender, recipient in ((HUB, member), (member, HUB)):
            source, target = found.post(sender), found.post(recipient)
            for listed in source.depot.outgoing():
                if listed.recipient != recipient or listed.departed:
                    continue
                arrival = target.depot.arrival(source.party, listed.digest, listed.size)
                if arrival is not None:
                    arrival.write(source.depot.departure(target.party, listed.digest).read_bytes())
                    arrival.finish()
                source.depot.departed(target.party, listed.digest)


@pytest.mark.slow
@pytest.mark.parametrize("lost", range(1, 9))
def test_a_medium_that_is_lost_costs_a_journey(tmp_path, lost):
    with stations(tmp_path / "parties", members=4, layers=1) as found:
        courier = Courier(found, tmp_path / "media", lost)
        _play(found, courier)
        assert courier.journeys == 10


def _play(found: Stations, courier: Courier) -> None:
    for _ in range(12):
        courier.collect()
        work(found)
        courier.distribute()
        work(found)
        if all(work.taken for work in found.works.values()):
            break
    assert found.server.waiting == "all rounds are done"
    assert found.model.done == [1]
    assert all(work.taken == [(1, 0)] for work in found.works.values())


def test_two_rounds_whose_messages_come_at_once(tmp_path):
    """The result of a round, its layers, the log that names it and the next plan lie on one medium."""
    setting = {"members": 6, "layers": 1, "schedule": ("1/4", "1/2"), "prekeys": 4}
    with stations(tmp_path / "parties", **setting) as found:
        courier = Courier(found, tmp_path / "media")
        for _ in range(8):
            courier.collect()
            work(found)
            courier.distribute()
            work(found)
        assert found.model.done == [1, 2]
        assert all(not member.told for member in found.members.values())
