"""The courier of a demonstration: packages go between the server and one member in folders, by `fedprune bundle`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from fedspallm_secure.app.reporting.numbers import SPACE, plural, size
from fedspallm_secure.app.service.town import SERVER, Town
from fedspallm_secure.app.service.troupe import Troupe
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.storage.files import disk_errors

Facts = Mapping[str, Any]  # what `status_of` says of a party
_LOADS: Final = {  # type of a package -> what a courier with it carries; the first one there names the journey
    "unmask-response": "the shares that open the sums, trip 3 of 3",
    "endorsement": "its signature on that list, trip 2 of 3",
    "contribution": "its contributions, trip 1 of 3",
    "decline": "that it declines the plan",
    "offer": "its offer to take part",
    "layer": "the pruned layers and the signed result",
    "result": "the signed result",
    "unmask-request": "the request to open the sums",
    "survivors": "the list of those in the sums",
    "plan": "the plan",
}
_SETTLED: Final = frozenset({"receipt"})  # for this alone nobody goes


class Carriage:
    """Journeys so far, as plain data: from, to, what, packages, bytes."""

    def __init__(self, town: Town, troupe: Troupe, say: Callable[[str], None]) -> None:
        self.journeys: list[dict[str, Any]] = []
        self._town, self._troupe, self._say = town, troupe, say
        self._member = str(Party(Role.MEMBER.value, town.carried))
        self._taken: set[tuple[Any, ...]] = set()
        self._before: list[list[Facts]] = [[], []]
        self._medium = town.folder / "medium"
        with disk_errors(self._medium):
            self._medium.mkdir(mode=0o700, exist_ok=True)

    def look(self, server: Facts, member: Facts, hold: bool) -> bool:
        """Go where something waits that was not carried before, and was all there at the last look; whether one went.

        hold: contributions stay where they are.  Raises RoundAborted, StorageError.
        """
        there = self._new(member.get("leaving", ()))
        back = self._new(row for row in server.get("leaving", ()) if row["recipient"] == self._member)
        (last_there, last_back), self._before = self._before, [there, back]
        working = bool((member.get("round") or {}).get("due"))  # it goes once all of its layers are there
        kept = hold and any(row["type"] == "contribution" for row in there)
        if there and there == last_there and not working and not kept:
            self._go(self._town.carried, SERVER, there)
            return True
        if back == last_back and {row["type"] for row in back} - _SETTLED:
            self._go(SERVER, self._town.carried, back)
            return True
        return False

    def confirm(self) -> None:
        """The last journey: word that everything has arrived."""
        self._go(self._town.carried, SERVER, [])

    def _new(self, rows: Iterable[Facts]) -> list[Facts]:
        return [row for row in rows if _key(row) not in self._taken]

    def _go(self, here: str, there: str, rows: list[Facts]) -> None:
        with disk_errors(self._medium):
            folder = self._medium / f"{1 + sum(1 for _ in self._medium.iterdir()):02}"
            folder.mkdir(mode=0o700)
        recipient = f"server/{SERVER}" if there == SERVER else self._member
        export = ["bundle", "export", "--to", str(folder), "--for", recipient, *self._of(here)]
        made = self._troupe.run(export)["bundles"]
        self._taken |= {_key(row) for row in rows}
        if not made:
            return
        self._troupe.run(["bundle", "import", "--from", str(folder), *self._of(there)])
        types = {row["type"] for row in rows}
        what = next((words for type, words in _LOADS.items() if type in types), "word that everything has arrived")
        what = what.partition(", trip")[0] if self._town.holder else what  # there is one trip
        packages, octets = (sum(one[name] for one in made) for name in ("packages", "bytes"))
        self.journeys.append({"from": here, "to": there, "what": what, "packages": packages, "bytes": octets})
        amount = f": {plural(packages, 'package')}, {size(octets)}".replace(SPACE, " ") if packages else ""
        self._say(f"a courier goes from {here} to {there} with {what}{amount}")

    def _of(self, name: str) -> list[str]:
        return ["--config", str(self._town.config(name)), "--json"]


def _key(row: Facts) -> tuple[Any, ...]:
    return row["recipient"], row["type"], row["round"], row["packages"]
