"""What is told of a round between services: packages, stages, and sums that are those of the members' contributions."""

import pytest

from fedspallm_secure.app import runner
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.service import accounts
from fedspallm_secure.app.service.accounts import round_account, seconds_account, wire_account
from fedspallm_secure.app.service.watched import Seen, Sent
from fedspallm_secure.app.simulation import Simulation
from fedspallm_secure.errors import RoundAborted
from tests.services import Services


def seen(sender: str, type: str, size: int) -> Seen:
    return Seen(sender, type, 1, "*", size, 100, "taken", "")


def sent(recipient: str, type: str, size: int, departed: int | None, at: int = 100) -> Sent:
    return Sent(recipient, type, 1, "*", size, at, departed)


def test_packages_count_once_they_have_arrived():
    inbox = [seen("member/north", "contribution", 10), seen("member/south", "contribution", 11)]
    outbox = [
        sent("member/north", "layer", 100, 7),
        sent("member/south", "layer", 1000, None),
        sent("member/west", "layer", 5000, None),
    ]
    found = wire_account(inbox, outbox, ["south"], ["north", "south", "west"])
    assert found["by_type"] == {
        "contribution": {"packages": 2, "bytes": 21},
        "layer": {"packages": 2, "bytes": 1100},
    }
    assert found["sent_by_silo"] == {"north": 10, "south": 11, "west": 0}
    assert found["by_party"]["south"]["received"] == {"packages": 1, "bytes": 1000}
    assert found["by_party"]["west"]["received"] == {"packages": 0, "bytes": 0}


def test_stages_last_from_what_begins_them_to_what_begins_the_next():
    outbox = [
        sent("member/north", type, 1, None, at)
        for type, at in [("plan", 10), ("plan", 11), ("receipt", 12), ("survivors", 15), ("unmask-request", 18)]
    ]
    assert seconds_account(outbox) == {"collecting": 5.0, "endorsing": 3.0}
    assert seconds_account([*outbox, sent("member/north", "result", 1, None, 30)])["unmasking"] == 12.0
    assert seconds_account([]) == {}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    with Services(tmp_path_factory.mktemp("services")) as found:
        found.start("hub", *found.members)
        for name in ("hub", *found.members):
            found.wait(name)
        yield found


def simulation(found: Services, out: str, **changes: object) -> Simulation:
    run = runner._prepare(found.ground.settings(out, **changes), Silent())
    (run.work / "spill").mkdir(parents=True, exist_ok=True)
    return run


def test_the_sums_are_those_of_the_contributions_bit_for_bit(played):
    account = round_account(played.configs["hub"], simulation(played, "out"), played.members)
    layers = len(account["groups"])
    assert layers > 1 and account["recomputed"] == {"layers": layers, "equal": layers}
    assert account["exactness"]["worst_steps"] <= 0.501
    assert account["answered"] == sorted(played.members) and account["clipped"] == 0
    assert all(set(group["survivors"]) == set(played.members) for group in account["groups"])
    wire = account["wire"]["by_type"]
    members = len(played.members)
    assert wire["contribution"]["packages"] == wire["layer"]["packages"] == layers * members
    assert wire["result"]["packages"] == members


def test_other_contributions_do_not_add_up_to_it(played):
    account = round_account(played.configs["hub"], simulation(played, "other", samples=5), played.members)
    assert account["recomputed"]["equal"] == 0


def test_a_round_without_a_result_has_no_account(played, monkeypatch):
    monkeypatch.setattr(accounts, "round_of", lambda *_: None)
    with pytest.raises(RoundAborted, match="round 1 has no result"):
        round_account(played.configs["hub"], simulation(played, "none"), played.members)
