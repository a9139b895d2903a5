"""When the courier of the demonstration goes, and with what; the commands are a fake."""

from typing import Any

import pytest

from fedspallm_secure.app.service.carriage import Carriage
from fedspallm_secure.app.service.town import Town
from tests.ground import Ground, make_ground


class FakeTroupe:
    """Notes the commands.  made: what an export prints."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.made = [{"packages": 2, "bytes": 3 << 20}]

    def run(self, words: list[str]) -> dict[str, Any]:
        self.commands.append(words)
        return {"bundles": self.made}


class Place:
    def __init__(self, ground: Ground) -> None:
        folder = ground.folder / "federation"
        folder.mkdir()
        self.told: list[str] = []
        self.troupe = FakeTroupe()
        self.town = Town(folder, ground.settings(), "south", "west")
        self.carriage = Carriage(self.town, self.troupe, self.told.append)  # type: ignore[arg-type]

    def look(self, server=(), member=(), due=0, hold=False) -> bool:
        """Twice the same, as if nothing had happened in between."""
        facts = {"leaving": list(server)}, {"leaving": list(member), "round": {"due": due}}
        return self.carriage.look(*facts, hold) or self.carriage.look(*facts, hold)


@pytest.fixture
def place(tmp_path):
    return Place(make_ground(tmp_path))


def row(type: str, recipient: str = "server/hub", packages: int = 2) -> dict[str, Any]:
    return {"type": type, "recipient": recipient, "round": 1, "packages": packages}


def test_contributions_are_carried_once(place):
    assert place.look(member=[row("contribution")])
    medium = str(place.town.folder / "medium/01")
    south, hub = (["--config", str(place.town.config(name)), "--json"] for name in ("south", "hub"))
    assert place.troupe.commands == [
        ["bundle", "export", "--to", medium, "--for", "server/hub", *south],
        ["bundle", "import", "--from", medium, *hub],
    ]
    words = "a courier goes from south to hub with its contributions, trip 1 of 3: 2 packages, 3.0 MiB"
    assert place.told == [words]
    assert not place.look(member=[row("contribution")])
    [journey] = place.carriage.journeys
    assert (journey["from"], journey["to"], journey["bytes"]) == ("south", "hub", 3 << 20)


def test_nobody_goes_while_more_is_coming(place):
    assert not place.carriage.look({}, {"leaving": [row("contribution", packages=1)]}, False)
    assert not place.carriage.look({}, {"leaving": [row("contribution", packages=2)]}, False)
    assert not place.look(member=[row("contribution")], due=1)
    assert place.look(member=[row("contribution")])


def test_contributions_are_held_and_nothing_else_is(place):
    assert not place.look(member=[row("contribution")], hold=True)
    assert place.look(member=[row("offer")], hold=True)
    assert place.look(member=[row("contribution")])


def test_what_is_for_others_and_receipts_alone_stay(place):
    assert not place.look(server=[row("plan", "member/north"), row("receipt", "member/south")])
    assert place.troupe.commands == []
    assert place.look(server=[row("receipt", "member/south"), row("survivors", "member/south")])
    assert "from hub to south with the list of those in the sums" in place.told[0]
    assert not place.look(server=[row("receipt", "member/south"), row("survivors", "member/south")])


def test_an_empty_bundle_is_not_carried(place):
    place.troupe.made = []
    place.carriage.confirm()
    assert len(place.troupe.commands) == 1
    assert place.carriage.journeys == [] and place.told == []


def test_journeys_go_on_counting_after_a_restart(place):
    place.look(member=[row("offer")])
    again = Carriage(place.town, place.troupe, place.told.append)
    again.confirm()
    assert sorted(path.name for path in (place.town.folder / "medium").iterdir()) == ["01", "02"]
