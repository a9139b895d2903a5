"""The server from round to round: who offers to take part, when a round opens, and when its stages close.

Between rounds it remembers three things: who takes part with how many layers (fixed when the first round opens, for
sums over changing cohorts would give members away), how far it has come, and the deals that members made last.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from fedspallm_secure.app.rounds.planning import LayerBase, Terms, make_plan
from fedspallm_secure.app.rounds.wire import Parcel
from fedspallm_secure.app.stations.candidates import Bundles, Candidates, rounds_drawn
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.server_station import Finisher, ServerStation
from fedspallm_secure.app.stations.station import arrived_of, take_in
from fedspallm_secure.app.stations.vault_disk import DiskVault
from fedspallm_secure.errors import FedSpaError, NotAwaited
from fedspallm_secure.protocol.offers import Offer
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.openings import PrekeyUse
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal
from fedspallm_secure.protocol.rounds.plans import Deadlines, Plan, Sampling
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import ServerOwn, State
from fedspallm_secure.secagg.disclosure import HONEST
from fedspallm_secure.storage.spool import Arrived

_OUTSIDE: Final = frozenset({"offer", "prekeys"})


class Model(Finisher, Protocol):
    """The model that is pruned, as the server has it.  layers: decoder layers."""

    layers: int

    def bases(self, gids: Collection[int]) -> Mapping[int, LayerBase]:
        """The layers as the next round starts from them."""

    def complete(self, plan: Plan, result: Result, proof: Mapping[str, object]) -> None:
        """A round has its result: its layers are what the next one starts from.  Again for the same round: nothing.

        proof: plain data, to be published with the model.
        """


@dataclass(frozen=True, slots=True)
class Durations:
    """How long each stage may take, seconds."""

    contribution: int
    endorsement: int
    unmask: int
    abort: int

    def from_now(self, now: int) -> Deadlines:
        """The deadlines of a round that opens now."""
        first = now + self.contribution
        second = first + self.endorsement
        third = second + self.unmask
        return Deadlines(first, second, third, third + self.abort)


@dataclass(frozen=True, slots=True)
class Agenda:
    """What the operator wants of all rounds.

    members: ids of those awaited, empty for all members of the roster; schedule: targets as a plan spells them; seed:
    32 bytes; open_after: seconds to wait for more offers than are needed; patience: seconds to wait for the rest of a
    stage once enough have answered; attempts: how often a round is tried.
    """

    members: tuple[str, ...]
    schedule: tuple[str, ...]
    min_cohort: int
    spread: bool
    terms: Terms
    seed: bytes
    durations: Durations
    open_after: int = 0
    patience: int = 60
    attempts: int = 2


class Director:
    """The server, for any number of rounds.

    station: the round that is going on; waiting: why none is, in words; done: whether none will follow; told: what was
    refused, with the reason.
    """

    def __init__(self, post: Post, agenda: Agenda, model: Model, folder: Path) -> None:
        """folder: where rounds keep masked vectors.  Raises RecordDamaged."""
        self.post = post
        self.agenda = agenda
        self.model = model
        self.folder = folder
        self.station: ServerStation | None = None
        self.waiting, self.done = "", False
        self.told: list[tuple[Arrived, FedSpaError]] = []
        least = max(agenda.min_cohort, agenda.terms.colluders + HONEST)
        self.candidates = Candidates(post, agenda.members, least, agenda.open_after)
        self._own = ServerOwn(post.party, post.signer, post.trust)
        self._enough_since: tuple[State, int] | None = None
        number = post.journal.last_round()
        if number and post.journal.recall("concluded", str(number)) is None:
            self.station = ServerStation.restore(post, self._own, number, self._vault(number), model)
        elif number:
            self._vault(number).clear()  # a kill may have come just before

    def _vault(self, number: int) -> DiskVault:
        return DiskVault(self.folder / f"round-{number}" / "vectors")

    def renew(self) -> None:
        """Go on with a newer roster or revocation list, which the post has read."""
        self._own = ServerOwn(self.post.party, self.post.signer, self.post.trust)
        if self.station is not None:
            self.station.machine.own = self._own

    # Messages

    def work_through(self) -> int:
        """Act on everything in the inbox; how many packages were settled.  Errors: as of `take_in`."""
        return take_in(self.post, self.act, lambda arrived, error: self.told.append((arrived, error)))

    def act(self, parcel: Parcel) -> None:
        """Take in an offer or prekeys, or what belongs to the round that is going on."""
        if parcel.type in _OUTSIDE:
            opened = self.post.open(arrived_of(parcel), Awaited(types=_OUTSIDE))
            sender, body = opened.head.context.sender, bytes(opened.body)
            if parcel.type == "offer":
                self.candidates.on_offer(sender, Offer.parse(body))
            else:
                self.candidates.on_prekeys(sender, Prekeys.parse(body))
        elif self.station is None:
            raise NotAwaited("no round is going on")
        else:
            self.station.act(parcel)

    # Time

    def tick(self) -> bool:
        """Do what is due now; whether anything was.  Errors: as of `work_through`."""
        station = self.station
        if station is None:
            return self._open()
        machine, now = station.machine, self.post.now()
        if machine.state is State.COLLECTING:
            for gid in machine.groups:
                station.add_early(gid)
        if machine.state is State.FINISHED:
            self._conclude(station)
        elif self._stage_is_over(machine, now):
            station.close()
        else:
            return False
        return True

    def _stage_is_over(self, machine: Server, now: int) -> bool:
        if machine.state is State.SUMMING or machine.ready or now > self._deadline(machine.plan, machine.state):
            return True
        return machine.state is not State.COLLECTING and machine.enough and self._patience_ends(machine.state) <= now

    def _patience_ends(self, state: State) -> int:
        now = self.post.now()
        if self._enough_since is None or self._enough_since[0] is not state or now < self._enough_since[1]:
            self._enough_since = state, now  # also when the clock was put back
        return self._enough_since[1] + self.agenda.patience

    @staticmethod
    def _deadline(plan: Plan, state: State) -> int:
        deadlines = plan.deadlines
        by_state = {State.COLLECTING: deadlines.contribution, State.ENDORSING: deadlines.endorsement}
        return by_state.get(state, deadlines.unmask)

    def abort(self) -> None:
        """The operator ends the round that is going on.  Raises OutOfTurn when it is over, NotAwaited without one."""
        if self.station is None:
            raise NotAwaited("no round is going on", hint="fedprune server rounds shows the past ones")
        self.station.stop()

    def _conclude(self, station: ServerStation) -> None:
        """The round is over: publish what came out, and remember how far we are."""
        plan, result = station.plan, station.machine.result
        journal, round = self.post.journal, str(station.plan.round)
        progress = journal.recall("progress", "*", {"number": 0, "previous": NONE, "failed": 0})
        if result is None:
            progress = {**progress, "failed": progress["failed"] + 1}
        else:
            station.publish()
            self.model.complete(plan, result, station.proof())
            progress = {"number": plan.sampling.number, "previous": result.hash, "failed": 0}
        with self.post.at_once():
            self.post.remember("progress", "*", progress)
            concluded = {"result": "" if result is None else result.hash, "at": self.post.now()}
            self.post.remember("concluded", round, concluded)
        station.vault.clear()
        self.station = None

    # Opening a round

    def _open(self) -> bool:
        progress = self.post.journal.recall("progress", "*", {"number": 0, "previous": NONE, "failed": 0})
        budgets = self.candidates.budgets(self.model.layers)
        if budgets is None:
            self.waiting = self.candidates.waiting
            return False
        sampling = Sampling(
            progress["number"] + 1,
            self.model.layers,
            self.agenda.schedule,
            self.agenda.min_cohort,
            self.agenda.spread,
            tuple(sorted(budgets.items())),
        )
        if progress["number"] >= rounds_drawn(sampling):
            self.waiting, self.done = "all rounds are done", True
            return False
        if progress["failed"] >= self.agenda.attempts:
            self.waiting = (
                f"the round was tried {progress['failed']} times without a result: see fedprune server rounds"
            )
            return False
        bundles = self.candidates.bundles(budgets)
        if len(bundles) < len(budgets):
            self.waiting = f"no prekeys left of {', '.join(sorted(budgets.keys() - bundles.keys()))}"
            return False
        self._begin(sampling, bundles, progress["previous"])
        return True

    def _begin(self, sampling: Sampling, bundles: Bundles, previous: str) -> None:
        drawn, now, journal = sampling.draw(self.agenda.seed), self.post.now(), self.post.journal
        uses = [PrekeyUse(id, bundle.statement.digest.hex(), index) for id, (bundle, index) in bundles.items()]
        plan = make_plan(
            journal.last_round() + 1,
            drawn,
            sampling,
            self.agenda.seed,
            self.model.bases(drawn.layers),
            self.agenda.terms,
            uses,
            self.post.trust,
            None if previous == NONE else previous,
            now,
        )
        plan = replace(plan, deadlines=self.agenda.durations.from_now(now))
        history = {
            id: [PastDeal.from_dict(deal) for deal in deals] for id, deals in journal.recall_all("deals").items()
        }
        with self.post.at_once():
            station = ServerStation.open(self.post, self._own, plan, self._vault(plan.round), self.model)
            mine = {id: bundle for id, (bundle, _) in bundles.items()}
            station.say(station.machine.invite(mine, history=history))
            for use in plan.prekeys:
                self.post.remember("next prekey", use.bundle, use.index + 1)
            if journal.recall("members", "*") is None:
                self.post.remember("members", "*", dict(sampling.budgets))
        self.station, self.waiting = station, ""
        self.post.spool.discard(plan.round - 1)
