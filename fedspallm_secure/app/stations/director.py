"""The server from round to round: who offers to take part, when a round opens, and when its stages close.

Between rounds it remembers three things: who takes part with how many layers (fixed when the first round opens, for
sums over changing cohorts would give members away), how far it has come, and the deals that members made last.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.app.rounds.costs import cost_of
from fedspallm_secure.app.rounds.wire import Parcel
from fedspallm_secure.app.stations.agenda import Agenda
from fedspallm_secure.app.stations.candidates import Candidates
from fedspallm_secure.app.stations.cipher_keys import drop_keys, keep_key, use_key
from fedspallm_secure.app.stations.convening import Ready, Waiting, check_goes_on, convene
from fedspallm_secure.app.stations.declines import note_decline, nothing_more_comes
from fedspallm_secure.app.stations.finishing import Model
from fedspallm_secure.app.stations.handed_in import note_handed_in
from fedspallm_secure.app.stations.holding_back import go_on, hold_back
from fedspallm_secure.app.stations.participants import keep_participants, told_participants
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.resealing import seal_again
from fedspallm_secure.app.stations.scribe import Scribe
from fedspallm_secure.app.stations.server_station import ServerStation
from fedspallm_secure.app.stations.station import FATAL, arrived_of, take_in
from fedspallm_secure.app.stations.vault_disk import DiskVault
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import FedSpaError, NotAwaited
from fedspallm_secure.protocol.offers import Offer
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import ServerOwn, State
from fedspallm_secure.secagg.disclosure import HONEST
from fedspallm_secure.storage.log_folder import LOG_FOLDER
from fedspallm_secure.storage.spool import Arrived

_OUTSIDE: Final = frozenset({"offer", "prekeys", "cosignature", "cipher-key"})
_NOBODY: Final[Mapping[str, str]] = {}
_BEGINNING: Final = {"number": 0, "previous": NONE, "failed": 0, "round": 0}


class Director:
    """The server, for any number of rounds.

    station: the round that is going on; waiting: why none is, in words; done: whether none will follow; told: what was
    refused, with the reason; news: what else an operator should know, in words.
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
        self.news: list[str] = []
        self.scribe = Scribe(post, folder / LOG_FOLDER, agenda.witnesses, agenda.dishonest)
        least = max(agenda.min_cohort, agenda.terms.colluders + HONEST)
        self.candidates = Candidates(post, agenda.members, least, agenda.open_after)
        self._own = self._new_own()
        self._enough_since: tuple[State, int] | None = None
        number = post.journal.last_round()
        if number and post.journal.recall("concluded", str(number)) is None:
            self.station = self._restored(number)
        elif number:
            self._vault(number).clear()  # a kill may have come just before
        self._seal_again()
        post.awaited = told_participants(post)

    def _vault(self, number: int) -> DiskVault:
        return DiskVault(self.folder / f"round-{number}" / "vectors")

    def _restored(self, number: int) -> ServerStation:
        return ServerStation.restore(self.post, self._own, number, self._vault(number), self.model, self.scribe)

    def _new_own(self) -> ServerOwn:
        post, agenda = self.post, self.agenda
        return ServerOwn(post.party, post.signer, post.trust, agenda.witnesses, agenda.dishonest)

    def renew(self) -> None:
        """Go on with a newer roster or revocation list, which the post has read.  Raises StorageError."""
        self._own = self._new_own()
        if self.station is not None:
            self.station.machine.own = self._own
        with self.post.at_once():
            self.scribe.sync()
        self._seal_again()

    def _seal_again(self) -> None:
        past = seal_again(self.post, self.station, self._progress["round"], self._restored)
        if past is not None and past.machine.result is not None:
            self.model.complete(past.plan, past.machine.result, past.proof())  # removes what was made for sending

    # Messages

    def work_through(self) -> int:
        """Act on everything in the inbox; how many packages were settled.  Errors: as of `take_in`."""
        settled = take_in(self.post, self.act, lambda arrived, error: self.told.append((arrived, error)))
        self.scribe.publish()
        return settled

    def act(self, parcel: Parcel) -> None:
        """Take in an offer, prekeys or a cosignature, or what belongs to the round that is going on."""
        if parcel.type in _OUTSIDE:
            opened = self.post.open(arrived_of(parcel), Awaited(types=_OUTSIDE))
            sender, body = opened.head.context.sender, bytes(opened.body)
            match parcel.type:
                case "offer":
                    self.candidates.on_offer(sender, Offer.parse(body, self.post.party))
                case "prekeys":
                    self.candidates.on_prekeys(sender, Prekeys.parse(body))
                case "cipher-key":
                    keep_key(self.post, sender, body)
                case _:
                    self._on_cosignature(sender, body)
        elif parcel.type == "decline":
            opened = self.post.open(arrived_of(parcel), Awaited(types=frozenset({"decline"})))
            if self.station is not None:
                incoming = Incoming(opened.head, bytes(opened.body))
                text = note_decline(self.post, self.scribe, self.station.machine, incoming)
                self.news += [text] if text else []
        elif self.station is None:
            raise NotAwaited("no round is going on")
        else:
            self.station.act(parcel)

    def _on_cosignature(self, sender: Party, body: bytes) -> None:
        """What a witness signed, and who of the round under way may have waited for it."""
        if self.scribe.on_cosignature(sender, body):
            self.scribe.note_witnesses()
            if self.station is not None and self.station.machine.state is State.UNMASKING:
                self.station.tell_log()
        # It may have begun from another size, or not have seen the newest entries.
        for party, error in self.scribe.ask_witnesses():
            self.news.append(f"{party} cannot be asked to cosign the log: {error}")

    # Time

    def tick(self) -> bool:
        """Do what is due now; whether anything was.  Errors: as of `work_through`."""
        due = self._tick()
        self.scribe.publish()
        return due

    def _tick(self) -> bool:
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
        if nothing_more_comes(self.post, machine):
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
        plan, machine, journal = station.plan, station.machine, self.post.journal
        progress, result = self._progress, machine.result
        files: Sequence[Mapping[str, Any]] = ()
        if result is None:
            progress = {**progress, "failed": progress["failed"] + 1}
        else:
            station.publish()
            self.model.complete(plan, result, station.proof())
            files = self.model.files()
            number, steps = plan.sampling.number, plan.sampling.schedule
            progress = {"number": number, "previous": result.hash, "failed": 0, "round": plan.round}
            progress["steps"] = list(steps[: steps.index(plan.target) + 1])
        with self.post.at_once():
            self.post.remember("progress", "*", progress)
            concluded = {"result": "" if result is None else result.hash, "at": self.post.now()}
            self.post.remember("concluded", str(plan.round), concluded)
            note_handed_in(self.post, machine)
            if result is None:
                hold_back(self.post, machine, self.agenda, progress["failed"])
            drop_keys(self.post, plan)
            removed = () if self.post.archive else ("contributions", "answers")
            self.scribe.end(plan.round, "" if result is None else result.hash, files, removed)
            station.tell_log()
            if not machine.blamed:  # else they are the proof
                self.post.later(lambda: journal.forget_secrets(plan.round))
        station.vault.clear()
        self.station = None

    # Opening a round

    def _open(self) -> bool:
        """Begin the next round, or say why that cannot be: what a member has offered stops no server.

        Raises UsageError for another model or other steps than those of the rounds so far.
        """
        check_goes_on(self.post, self.agenda, self.model, self._progress)
        try:
            return self._try()
        except FATAL:
            raise
        except FedSpaError as error:
            left_out = f"; left out: {self.candidates.left_out}" if self.candidates.left_out else ""
            return self._wait(f"no round can begin: {error}; {error.hint}{left_out}")

    def _try(self) -> bool:
        found = convene(self.post, self.agenda, self.model, self.candidates, self._progress)
        if isinstance(found, Waiting):
            self.done = self.done or found.done
            return self._wait(found.text, found.given_up, found.told)
        self._begin(found)
        return True

    def _wait(self, text: str, given_up: bool = False, told: Mapping[str, str] = _NOBODY) -> bool:
        """No round begins, and why.  given_up, told: as of `Waiting`."""
        self.waiting = text
        self.post.awaited = {**told_participants(self.post), **told}
        if given_up != (self.post.journal.recall("given up", "*") is not None):
            with self.post.at_once():
                self.post.remember("given up", "*", text) if given_up else self.post.forget("given up", "*")
        return False

    @property
    def _progress(self) -> dict[str, Any]:
        """number, round: of the newest result; previous: its digest; failed: attempts since."""
        found: dict[str, Any] = self.post.journal.recall("progress", "*", _BEGINNING)
        return found

    def _begin(self, ready: Ready) -> None:
        journal, plan, key = self.post.journal, ready.plan, ready.key
        cost = cost_of(plan.groups)
        history = {
            id: [PastDeal.from_dict(deal) for deal in deals] for id, deals in journal.recall_all("deals").items()
        }
        with self.post.at_once():
            for bundle, _ in ready.bundles.values():
                self.scribe.prekeys(bundle)
            vault = self._vault(plan.round)
            station = ServerStation.open(self.post, self._own, plan, vault, self.model, self.scribe)
            mine = {id: bundle for id, (bundle, _) in ready.bundles.items()}
            station.say(station.machine.invite(mine, history=history, cipher_key=key))
            if key is not None:
                use_key(self.post, key)
            for use in plan.prekeys:
                self.post.remember("next prekey", use.bundle, use.index + 1)
            self.post.remember("opened", str(plan.round), self.post.now())
            left_out = keep_participants(self.post, plan)
            self.post.remember("origin", "*", self.model.origin())
            self.post.forget("given up", "*")
            go_on(self.post)
        self.station, self.waiting, self.post.awaited = station, "", told_participants(self.post)
        self.news += [] if cost is None else [f"round {plan.round}: {cost}"]
        self.news += [left_out] if left_out else []
        # Who was away may still fetch the last result.
        self.post.spool.discard(self._progress["round"] or plan.round - 1)
