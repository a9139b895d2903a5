"""Taking in what has arrived: each package with all that follows from it, or not at all."""

import pytest

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import DiskFull, FedSpaError, MissingInput
from tests.station_faults import failing, tellable, watching
from tests.stationary import HUB, SERVER, Stations, an_offer

NORTH = Party.parse("member/north")


@pytest.fixture
def found(tmp_path):
    with tellable(), Stations(tmp_path / "federation") as stations:
        yield stations


def waiting(found, type):
    return next(one for one in found.server.post.spool.arrived() if one.type == type and one.sender == str(NORTH))


def until_contributed(found):
    """To the moment at which all contributions lie in the inbox of the server."""
    found.carry()
    found.step()
    while not any(one.type == "contribution" for one in found.server.post.spool.arrived()):
        for action in found.due():
            if action.kind in {"deliver", "departed"} or action.party != HUB:
                found.see(action)
                found.act(action)
            elif action.kind == "tick":
                found.act(action)
    found.carry()


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def grow(path):
    path.write_bytes(path.read_bytes() + b"x")


def link(path):
    path.with_suffix(".copy").hardlink_to(path)


DAMAGES = {
    "its body": lambda path: flip(path, -1),
    "its head": lambda path: flip(path, 300),
    "its beginning": lambda path: flip(path, 0),
    "cut": cut,
    "longer": grow,
    "gone": lambda path: path.unlink(),
    "with another name": link,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_package_that_the_disk_damaged_comes_again(found, damage):
    until_contributed(found)
    arrived = waiting(found, "contribution")
    DAMAGES[damage](arrived.path)
    found.server.work_through()
    assert found.server.post.spool.again(NORTH) == [arrived.digest]
    assert (0, "north") not in found.server.station.machine.received
    found.members["north"].post.spool.undeparted(SERVER, arrived.digest)
    found.run()
    assert found.model.done == [1]
    assert found.server.post.spool.again(NORTH) == []


def test_a_whole_one_is_taken_in_once(found):
    until_contributed(found)
    arrived = waiting(found, "contribution")
    found.server.work_through()
    assert not arrived.path.exists()
    assert found.server.post.spool.arrival(NORTH, arrived.digest, 10_000) is None
    assert not found.server.told


def test_nothing_is_taken_in_while_the_disk_is_full(found):
    found.carry()
    before = [one.digest for one in found.server.post.spool.arrived()]
    with watching(failing(1, 28, True)), pytest.raises(DiskFull):
        found.server.work_through()
    found.reopen(HUB)
    assert [one.digest for one in found.server.post.spool.arrived()] == before
    assert found.server.post.journal.recall_all("offer") == {}
    found.run()
    assert found.model.done == [1]


def test_own_files_that_are_missing_are_not_the_fault_of_the_plan(found):
    work, model = found.works["north"], found.works["north"].model

    def missing():
        raise MissingInput("the model is not there")

    found.carry()
    found.server.work_through()
    found.server.tick()
    found.carry()
    work.model = missing
    with pytest.raises(MissingInput):
        found.members["north"].work_through()
    work.model = model
    found.reopen("member/north")
    found.run()
    assert found.model.done == [1]
    assert len(found.server.post.journal.recall_all("deals")) == 4


def test_what_is_refused_is_refused_for_good_and_the_others_count(found):
    found.run()
    post = found.members["north"].post
    with post.at_once():
        post.send("prekeys", SERVER, [b"no bundle"])
        post.send("offer", SERVER, [an_offer("cd" * 32, layers=1, software="test/2").encode()])
    found.run()
    assert [(one.type, isinstance(error, FedSpaError)) for one, error in found.server.told] == [("prekeys", True)]
    assert found.server.post.journal.recall("offer", "north")["software"] == "test/2"


def test_one_number_on_two_packages_is_proved_before_it_is_settled(found):
    """An old copy of a home makes another package with the same number: the proof is kept."""
    post = found.members["north"].post
    sent = len(post.spool.outgoing())
    with post.at_once():
        post.send("offer", SERVER, [an_offer("ab" * 32, software="test/2").encode()])
    found.carry()
    found.server.work_through()
    post.journal.connection.execute("UPDATE counters SET value = value - 1 WHERE name = 'sequence'")
    with post.at_once():
        post.send("offer", SERVER, [an_offer("ab" * 32, software="test/3").encode()])
    found.carry()
    evidence = found.server.post.home.evidence
    assert not list(evidence.glob("*.json"))
    with watching(failing(2, 28, True)), pytest.raises(FedSpaError):
        found.server.work_through()  # no room for it: then it is not settled, either
    found.reopen(HUB)
    found.server.work_through()
    assert len(list(evidence.glob("*.json"))) == 1
    assert [type(error).__name__ for _, error in found.server.told] == ["Equivocation"]
    assert sent == 2
