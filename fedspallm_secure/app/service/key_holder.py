"""`fedprune key-holder`: a key holder as a service, or once by hand."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig, read_key_holder
from fedspallm_secure.app.rounds.planning import cipher_for
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.loops import (
    Stop,
    Watch,
    check_not_withdrawn,
    renewed,
    stopping,
    tell_refused,
    tell_warnings,
)
from fedspallm_secure.app.service.networks import Visiting
from fedspallm_secure.app.service.visits import Visits, server_of, visiting
from fedspallm_secure.app.stations.key_holder_station import KeyHolderStation
from fedspallm_secure.app.stations.opening import Unlock, check_role, open_station
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.home import open_home

_log = logging.getLogger(__name__)


def run_key_holder(path: Path, unlock: Unlock, once: bool) -> int:
    """Make keys and decrypt sums until somebody stops the service; the exit code.

    path: of key-holder.toml; unlock: gives the password; once: end as soon as nothing is left to do, for cron.
    Raises what reading the configuration and the home raises; CertificateRevoked; MissingExtra; RolledBack;
    StorageError.
    """
    config = read_key_holder(path)
    check_role(config.holder.home, Role.KEY_HOLDER)
    home = open_home(config.holder.home)
    check_not_withdrawn(home)
    tell_warnings(home)
    live = Live(config.holder.data / "live.json")
    with stopping() as stop, _station(config, unlock) as station:
        network = visiting(config.server, station.post, live, once)
        try:
            return _Loop(station, network, live, stop, once).run()
        finally:
            if network is not None:
                network.stop()
            live.close()


class _Loop:
    """Messages and newer rosters, in turn."""

    def __init__(self, station: KeyHolderStation, network: Visiting | None, live: Live, stop: Stop, once: bool) -> None:
        self._station, self._live, self._stop = station, live, stop
        self._visits = Visits(station.post, network, stop, once)
        self._watch = Watch(station.post.home.path)
        self._said = ""

    def run(self) -> int:
        """Until somebody stops it; the exit code."""
        if not self._visits.begin():
            return 0
        while not self._stop.wanted:
            self._visits.check()
            if not self._turn():
                if self._visits.is_over():
                    break
                self._visits.rest()
        _log.info("stopped")
        return 0

    def _turn(self) -> bool:
        station = self._station
        if renewed(station.post, self._watch):
            station.renew()
        moved = station.work_through() > 0
        tell_refused(station.told)
        if moved:
            self._visits.notify()
        self._say()
        return moved

    def _say(self) -> None:
        machine = self._station.machine
        if machine.taken is None or machine.over:
            text = "waiting for a plan"
        else:
            text = f"round {machine.plan.round}: {len(machine.decrypted)} of {len(machine.plan.groups)} sums decrypted"
        if text != self._said:
            self._said = text
            _log.info("%s", text)
            self._live.phase(text)


def policy_of(config: KeyHolderConfig) -> Policy:
    """What the key holder insists on."""
    found = config.policy
    return Policy(
        server_of(config.server),
        found.colluders,
        profiles=frozenset({Profile.ONE_TRIP}),
        horizon=found.horizon,
        counts_to=frozenset(found.counts_to),
        epochs=found.epochs,
        software=frozenset(found.software) or None,
        least_cohort=found.least_cohort,
        sample=(found.sample_least, found.sample_most),
    )


def parameters_of(config: KeyHolderConfig) -> Parameters:
    """What its keys are for.  Raises CapacityExceeded."""
    return cipher_for(config.keys.members, config.keys.strategy, config.keys.sum_bits)


@contextmanager
def _station(config: KeyHolderConfig, unlock: Unlock) -> Iterator[KeyHolderStation]:
    check_role(config.holder.home, Role.KEY_HOLDER)
    with open_station(config.holder.home, config.holder.data, unlock, lambda: int(time.time())) as post:
        sums = config.holder.data / "sums"
        yield KeyHolderStation(post, policy_of(config), parameters_of(config), sums, config.keys.stock)
