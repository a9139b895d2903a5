"""`fedprune client run`: a member as a service."""

import hashlib
import logging
import time
from contextlib import suppress
from pathlib import Path

from fedspallm_secure.app.configuration.member import MemberConfig, read_member
from fedspallm_secure.app.privacy.releases import MemberLedger
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.ranks import Ranks, join_ranks
from fedspallm_secure.app.service.live import Live, LiveProgress
from fedspallm_secure.app.service.loops import (
    Stop,
    Stopped,
    Watch,
    check_not_withdrawn,
    renewed,
    stopping,
    tell_refused,
    tell_warnings,
)
from fedspallm_secure.app.service.member_policies import policy_of, read_log_policy
from fedspallm_secure.app.service.metrics import serving_metrics
from fedspallm_secure.app.service.networks import Visiting
from fedspallm_secure.app.service.pruning import Bench, RoundOver, serve
from fedspallm_secure.app.service.status import status_of
from fedspallm_secure.app.service.visits import Visits, check_server, visiting
from fedspallm_secure.app.service.watched import SAYS
from fedspallm_secure.app.stations.candidates import rounds_drawn
from fedspallm_secure.app.stations.kept_results import lacking
from fedspallm_secure.app.stations.member_station import MemberStation
from fedspallm_secure.app.stations.opening import Unlock, check_role, open_station
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.errors import FedSpaError, PlanRefused, UsageError
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.storage.files import sha256_file
from fedspallm_secure.storage.home import open_home

_log = logging.getLogger(__name__)
_FEW = 2  # prekeys: with fewer left, new ones are made before the next round


def run_client(path: Path, unlock: Unlock, once: bool, progress: Progress, until_done: bool = False) -> int:
    """Take part in rounds until somebody stops the service; the exit code.

    path: of member.toml; unlock: gives the password; once: end as soon as nothing is left to do, for cron; until_done:
    end as soon as the last round that the newest plan knows of is over, and its layers are here.
    Raises what reading the configuration, the home, the model and the texts raises; RolledBack; StorageError; with
    `once` RoundError or PlanRefused for a plan that was declined, after everything else was done.
    """
    config = read_member(path)
    ranks = join_ranks()
    try:
        if ranks.rank:
            return serve(config, ranks)
        return _lead(config, unlock, once, until_done, progress, ranks)
    finally:
        ranks.close()


def _lead(config: MemberConfig, unlock: Unlock, once: bool, until_done: bool, progress: Progress, ranks: Ranks) -> int:
    me = check_role(config.member.home, Role.MEMBER)
    home = open_home(config.member.home)
    check_not_withdrawn(home)
    tell_warnings(home)
    data, live = config.member.data, Live(config.member.data / "live.json")
    shown = LiveProgress(progress, live)
    figures = serving_metrics(None if once else config.member.metrics, lambda: status_of(config.file))
    opened = open_station(config.member.home, data, unlock, lambda: int(time.time()), anchors=config.member.anchor)
    with stopping() as stop, opened as post, figures:
        if post.journal.recall("left", "*") is not None:
            raise UsageError(f"{me} takes part in no more rounds", hint="to come back: fedprune client leave --undo")
        check_server(config.server, post)
        live.phase("starting")
        if (lack := lacking(data, post.journal.recall)) is not None:
            _log.warning("%s: %s", lack.text, lack.fix)
        ledger = None if config.terms is None else MemberLedger(post.journal, config.terms)
        bench = Bench(config, me.id, ranks, shown, stop.check, ledger)
        log_policy = read_log_policy(config, post.home.identity.federation)
        station = MemberStation(post, policy_of(config), bench.model, bench.model, log_policy)
        station.hiding.progress = shown
        network = visiting(config.server, post, live, once)
        try:
            return _Loop(post, station, bench, network, live, stop, once, until_done, sha256_file(config.file)).run()
        except Stopped:
            _log.info("stopped in the middle of pruning; it goes on where it was")
            return 0
        finally:
            if network is not None:
                network.stop()
            with suppress(FedSpaError):
                ranks.tell({"stop": True})
            live.close()


class _Loop:
    """Messages, own work and controls, in turn."""

    def __init__(
        self,
        post: Post,
        station: MemberStation,
        bench: Bench,
        network: Visiting | None,
        live: Live,
        stop: Stop,
        once: bool,
        until_done: bool = False,
        config: str = "",
    ) -> None:
        """config: digest of member.toml."""
        self._config = config
        self._post, self._station, self._bench = post, station, bench
        self._visits = Visits(post, network, stop, once)
        self._live, self._stop = live, stop
        self._server = station.policy.server
        self._watch = Watch(post.home.path)
        self._said = self._noted = ""
        self._left = False
        self._once, self._until_done = once, until_done
        self._declined: list[FedSpaError] = []  # by this process
        self._sat_out = ""  # hash of an accepted plan that the privacy budget does not cover any more
        machine = station.machine
        if machine.accepted is not None:
            live.lost(machine.round.plan.round, sorted(machine.frozen.keys() - machine.deals.keys()))

    def run(self) -> int:
        """Until somebody stops it; the exit code.  Raises as `run_client`."""
        self._obey()
        if self._left:
            return 0
        if not self._visits.begin():
            return 0
        self._offer()
        while not self._stop.wanted and not self._left:
            self._visits.check()
            if not self._turn():
                layers = self._once and bool(self._station.results.missing())  # a server seals one after the other
                if self._visits.is_over(layers) or (self._until_done and self._is_done()):
                    break
                self._visits.rest()
        _log.info("stopped")
        if self._once and self._declined:
            raise self._declined[0]
        return 0

    def _is_done(self) -> bool:
        """Whether the last round that a plan told of is over, with everything fetched and brought.

        A server may draw more rounds later; nothing that a member knows rules that out.
        """
        results = self._station.results
        followed = results.plan_of(results.applied)
        if followed is None or results.missing() or results.newest > results.applied or not self._visits.idle:
            return False
        return followed[0].sampling.number >= rounds_drawn(followed[0].sampling)

    def _turn(self) -> bool:
        station = self._station
        if renewed(self._post, self._watch):
            station.renew()
            self._offer()
        self._obey()
        moved = self._take_in()
        due = station.due()
        if due and station.machine.round.plan_hash != self._sat_out:
            self._prune(due)
            moved = True
        if moved:
            self._visits.notify()
            self._offer()
        if moved or not self._said or self._visits.waiting != self._noted:
            self._say()
        return moved

    def _take_in(self) -> bool:
        """Act on what has arrived; whether anything had."""
        station = self._station
        moved = station.work_through() > 0
        self._declined += [error for arrived, error in station.told if arrived.type == "plan" and _declines(error)]
        tell_refused(station.told)
        return moved

    def _prune(self, groups: list[GroupPlan]) -> None:
        """Prune these layers, and contribute those that are still due when they are there.

        What arrives meanwhile is taken in before each contribution: after the end of a round one would give no sum, and
        use up its base weights.
        """
        station, accepted = self._station, self._station.machine.round

        def due() -> set[int]:
            self._take_in()
            same = station.machine.round.plan_hash == accepted.plan_hash
            return {group.gid for group in station.due()} if same else set()

        def contribute(group: GroupPlan) -> None:
            if group.gid in due():
                station.contribute_layer(group)

        try:
            self._bench.prune(accepted.plan, groups, contribute, self._visits.notify, lambda: bool(due()))
        except RoundOver:
            _log.warning("round %d takes no more contributions: pruning for it stops", accepted.plan.round)
            self._live.work(self._bench.task(accepted.plan.round), 1, 1, "layers")
        except PlanRefused as error:  # the others go on without this member's layers
            _log.warning("round %d is sat out: %s; %s", accepted.plan.round, error, error.hint)
            self._sat_out = accepted.plan_hash
            self._declined.append(error)

    def _offer(self) -> None:
        """Tell the server what this member would take part with, if that has changed and no round is going on.

        Raises what reading the texts raises, and has told nothing then.  That its privacy budget is spent it tells at
        once: when the round is over, the next one may have begun.
        """
        station, post = self._station, self._post
        if post.prekeys is None or (self._busy and not self._bench.spent):
            return
        if not self._busy and post.prekeys.remaining() < _FEW:
            post.refill()
            _log.info("new prekeys were made")
        renewed(post, self._watch)
        station.renew()
        bundle = station.bundles.newest
        offer = self._bench.offer(bundle.statement.digest.hex(), station.policy)
        made = {
            "offer": hashlib.sha256(offer.encode()).hexdigest(),
            "roster": post.trust.roster.hash,  # an offer that was made under another one does not open any more
            "config": self._config,  # a server that waits for a declined plan to be mended learns it by that
        }
        if post.journal.recall("offered", "*") == made:
            return
        self._bench.windows()  # what is wrong with the texts shows before others prune for a round that needs them
        with post.at_once():
            station.bundles.publish()
            post.send("prekeys", self._server, [bundle.encode()])
            post.send("offer", self._server, [offer.encode()])
            post.remember("offered", "*", made)
        self._visits.notify()

    @property
    def _busy(self) -> bool:
        """Whether a round goes on here, as far as the member knows, and within the time that it was given."""
        machine = self._station.machine
        if machine.accepted is None or machine.state is State.CLOSED:
            return False
        return self._post.now() <= machine.round.plan.deadlines.abort

    def _obey(self) -> None:
        """Leave, if the operator of this member has asked for that from another process."""
        journal = self._post.journal
        if journal.recall("control", "leave") is None:
            return
        machine = self._station.machine
        if machine.accepted is not None and machine.state is not State.CLOSED and machine.deals:
            return  # others depend on the answer to what was sent
        with self._post.at_once():
            self._post.remember("left", "*", {"at": self._post.now()})
            self._post.later(lambda: journal.forget("control", "leave"))
        _log.info("left: this member takes part in no more rounds")
        self._left = True

    def _say(self) -> None:
        machine, declined = self._station.machine, self._station.results.declined(self._station.machine.accepted)
        if declined:
            text = f"the plan of round {declined} was declined"
        elif machine.accepted is None:
            text = "waiting for a plan"
        elif machine.state is State.CLOSED and machine.result is None:
            codes = ", ".join(sorted({*machine.ended.values()}))
            text = f"round {machine.round.plan.round} ended without a result: {codes}"
        elif machine.state is State.CLOSED and (missing := self._station.results.missing()):
            text = f"round {machine.round.plan.round} has a result; of its layers are awaited: {len(missing)}"
        else:
            text = f"round {machine.round.plan.round} is {machine.state.name.lower()}"
        self._noted = self._visits.waiting
        text = f"{SAYS}{self._noted}" if self._noted else text
        if text != self._said:
            self._said = text
            _log.info("%s", text)
            self._live.phase(text)


def _declines(error: FedSpaError) -> bool:
    """Whether a plan was declined by a check that concerns the operator; an old plan does not."""
    return getattr(error, "check", "") not in ("", "P4")
