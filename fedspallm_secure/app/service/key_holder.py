"""`fedprune key-holder`: a key holder as a service, or once by hand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig, read_key_holder
from fedspallm_secure.app.rounds.planning import cipher_for
from fedspallm_secure.app.service.attendants import attend
from fedspallm_secure.app.service.visits import check_server, server_of
from fedspallm_secure.app.stations.key_holder_station import KeyHolderStation
from fedspallm_secure.app.stations.opening import Unlock, check_role, open_station
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.he.parameters import Parameters
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.secagg.thresholds import Profile


def run_key_holder(path: Path, unlock: Unlock, once: bool) -> int:
    """Make keys and decrypt sums until somebody stops the service; the exit code.

    path: of key-holder.toml; unlock: gives the password; once: end as soon as nothing is left to do, for cron.
    Raises what reading the configuration and the home raises; CertificateRevoked; MissingExtra; RolledBack;
    StorageError.
    """
    config = read_key_holder(path)
    part = config.holder
    return attend(part.home, Role.KEY_HOLDER, part.data, config.server, lambda: _station(config, unlock), _phase, once)


def _phase(station: KeyHolderStation) -> str:
    machine = station.machine
    if machine.taken is None or machine.over:
        return "waiting for a plan"
    return f"round {machine.plan.round}: {len(machine.decrypted)} of {len(machine.plan.groups)} sums decrypted"


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
    found = config.holder
    with open_station(found.home, found.data, unlock, lambda: int(time.time()), anchors=found.anchor) as post:
        check_server(config.server, post)
        sums = config.holder.data / "sums"
        yield KeyHolderStation(post, policy_of(config), parameters_of(config), sums, config.keys.stock)
