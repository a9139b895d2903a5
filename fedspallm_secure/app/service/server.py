"""`fedprune server run`: the server as a service."""

import logging
import time
from contextlib import ExitStack
from pathlib import Path

import torch

from fedspallm_secure.app.configuration.asking import asked_members, assumed_colluders
from fedspallm_secure.app.configuration.federation import FederationConfig, read_federation
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.rounds.planning import Terms
from fedspallm_secure.app.service.live import Live, LiveProgress
from fedspallm_secure.app.service.loops import (
    Stop,
    Watch,
    check_not_withdrawn,
    renewed,
    stopping,
    tell_refused,
    tell_warnings,
)
from fedspallm_secure.app.service.metrics import serving_metrics
from fedspallm_secure.app.service.networks import Listening
from fedspallm_secure.app.service.status import status_of
from fedspallm_secure.app.stations.agenda import Agenda, Durations
from fedspallm_secure.app.stations.director import Director
from fedspallm_secure.app.stations.models import ServerModel
from fedspallm_secure.app.stations.opening import Unlock, check_role, open_station, quota_of
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.app.stations.revisions import Revisions
from fedspallm_secure.app.walking.skeleton import Skeleton
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.crypto.randomness import random_bytes
from fedspallm_secure.errors import FedSpaError, MissingInput, RoundAborted
from fedspallm_secure.protocol.rounds.server_state import ServerState, State
from fedspallm_secure.pruning.patterns import spell_target
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from fedspallm_secure.transport.guards import Limits
from fedspallm_secure.transport.tls import Credentials

_log = logging.getLogger(__name__)
_TURN = 1.0  # seconds between two looks at clock, home and controls
_LAST_LOOK = 3  # seconds for members to see that nothing more waits
_LINGER = 60  # seconds that a run which ends by itself stays for members to fetch the last result


def run_server(path: Path, unlock: Unlock, once: bool, progress: Progress, until_done: bool = False) -> int:
    """Run rounds until all are done and somebody stops the service; the exit code.

    path: of federation.toml; unlock: gives the password; once: do what can be done with what has arrived, listen to
    nobody, and end; until_done: end as soon as all rounds are done.
    Raises what reading the configuration, the home and the model raises; StorageError.
    """
    config = read_federation(path)
    check_role(config.server.home, Role.SERVER)
    data, live = config.server.data, Live(config.server.data / "live.json")
    shown = LiveProgress(progress, live)
    with ExitStack() as stack:
        stop = stack.enter_context(stopping())
        stack.callback(live.close)
        own = config.server
        opened = open_station(own.home, data, unlock, _clock, quota_of(config), anchors=own.anchor)
        post = stack.enter_context(opened)
        check_not_withdrawn(post.home)
        tell_warnings(post.home)
        post.archive = data if config.limits.archive else None
        live.phase("starting")
        checkpoint = Checkpoint.open(config.model.path)
        skeleton = Skeleton(checkpoint, torch.device("cpu"), torch.float32, None)
        director = Director(post, agenda_of(config, post), ServerModel(Revisions(skeleton, data, shown)), data)
        loop = _Loop(post, director, live, stop)
        if once:
            return loop.step()
        addresses = [(address.host, address.port) for address in config.server.listen]
        network = Listening(post, _credentials(post), addresses, _limits(config), live)
        network.start()
        stack.callback(network.stop)
        stack.enter_context(serving_metrics(config.server.metrics, lambda: status_of(path)))
        for address in network.bound:
            _log.info("listening at %s port %d", *address[:2])
        return loop.run(network, until_done)


class _Loop:
    """Messages, time and controls, in turn."""

    def __init__(self, post: Post, director: Director, live: Live, stop: Stop) -> None:
        self._post, self._director, self._live, self._stop = post, director, live, stop
        self._watch = Watch(post.home.path)
        self._said = ""
        self._ended = self._emptied = 0
        post.spool.notify = stop.wake.set

    def step(self) -> int:
        """Until nothing is left to do with what has arrived; the exit code."""
        while self._turn() and not self._stop.wanted:
            pass
        return 0

    def run(self, network: Listening, until_done: bool) -> int:
        """Until somebody stops it; the exit code.  Raises RoundAborted if nothing but new rounds could help."""
        while not self._stop.wanted:
            network.check()
            busy = self._turn()
            if busy:
                network.notify()
            if until_done and self._director.done and not busy and self._all_fetched():
                break
            if until_done and not busy and self._post.journal.recall("given up", "*") is not None:
                raise RoundAborted(self._director.waiting)
            if not busy:
                self._stop.wake.wait(_TURN)
                self._stop.wake.clear()
        _log.info("stopped")
        return 0

    def _turn(self) -> bool:
        director = self._director
        if renewed(self._post, self._watch):
            director.renew()
        self._obey()
        moved = director.work_through() > 0
        moved = director.tick() or moved
        tell_refused(director.told)
        while director.news:
            _log.warning("%s", director.news.pop(0))
        self._say()
        return moved

    def _all_fetched(self) -> bool:
        """Whether every member that was here lately has the last result; whoever is silent is not waited for long."""
        now = self._post.now()
        waiting = any(not listed.departed for listed in self._post.spool.outgoing())
        self._ended = self._ended or now
        self._emptied = 0 if waiting else self._emptied or now
        return now > self._ended + _LINGER or (not waiting and now >= self._emptied + _LAST_LOOK)

    def _obey(self) -> None:
        """Do what the operator asked for from another process."""
        journal = self._post.journal
        asked = journal.recall("control", "abort")
        if asked is None:
            return
        station = self._director.station
        if station is not None and asked["round"] == station.plan.round:
            _log.warning("round %d is aborted by the operator: %s", station.plan.round, asked["reason"])
            self._director.abort()
            with self._post.at_once():
                self._post.remember("aborted", str(asked["round"]), asked)
        with self._post.at_once():
            self._post.later(lambda: journal.forget("control", "abort"))

    def _say(self) -> None:
        station, waiting = self._director.station, self._director.waiting
        text = waiting if station is None else f"round {station.plan.round} {_course(station.machine)}"
        if text and text != self._said:
            self._said = text
            _log.info("%s", text)
            self._live.phase(text)


def _course(machine: ServerState) -> str:
    """Where a round is, or how it ended."""
    if machine.state is not State.FINISHED:
        return f"is {machine.state.name.lower()}"
    codes = ", ".join(sorted({end.code.value for end in machine.ended.values()}))
    if machine.result is None:
        return f"ended without a result: {codes}"
    return (
        f"is finished, without layers {', '.join(map(str, sorted(machine.ended)))}: {codes}" if codes else "is finished"
    )


def agenda_of(config: FederationConfig, post: Post) -> Agenda:
    """What federation.toml asks for, with what has to be the same in every run of the program."""
    rounds, pruning, stages = config.rounds, config.pruning, config.deadlines
    members = asked_members(config, post.trust.roster)
    colluders = assumed_colluders(config, len(members))
    terms = Terms(
        rounds.profile,
        colluders,
        pruning.strategy,
        pruning.pruner,
        pruning.compare,
        rounds.sum_bits,
        frozenset(rounds.counts_to),
        sample=rounds.sample,
    )
    return Agenda(
        rounds.members,
        tuple(spell_target(target) for target in pruning.targets),
        rounds.min_cohort,
        rounds.spread,
        terms,
        rounds.seed or _drawn_seed(post),
        Durations(stages.contribution, stages.endorsement, stages.unmask, stages.abort),
        rounds.open_after,
        rounds.patience,
        rounds.attempts,
        rounds.witnesses,
        rounds.dishonest,
        rounds.key_holder or "",
    )


def _drawn_seed(post: Post) -> bytes:
    """The seed of these rounds, drawn once."""
    found = post.journal.recall("seed", "*")
    if found is None:
        found = random_bytes(32).hex()
        with post.at_once():
            post.remember("seed", "*", found)
    return bytes.fromhex(found)


def _credentials(post: Post) -> Credentials:
    if post.tls_key is None:
        raise MissingInput(f"{post.home.path} has no TLS key")
    return Credentials(post.home.tls.der, post.tls_key)


def _limits(config: FederationConfig) -> Limits:
    return Limits(up=float(config.limits.upload_rate) or None, down=float(config.limits.download_rate) or None)


def _clock() -> int:
    return int(time.time())


__all__ = ["FedSpaError", "agenda_of", "run_server"]
