"""A whole round between services over mutual TLS, and what it is worth: the model of the simulation, bit for bit."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.rounds.settings import SecureSettings
from fedspallm_secure.app.runner import simulate
from fedspallm_secure.app.service import client
from fedspallm_secure.app.service.client import run_client
from fedspallm_secure.app.service.control import leave
from fedspallm_secure.app.service.live import LiveProgress
from fedspallm_secure.app.service.loops import Stopped
from fedspallm_secure.app.service.server import run_server
from fedspallm_secure.app.service.status import status_of
from fedspallm_secure.app.stations.opening import open_station
from fedspallm_secure.errors import CertificateRevoked, UsageError
from fedspallm_secure.pruning.patterns import Unstructured, parse_sparsity
from tests.ceremony import PASSWORD
from tests.services import SECONDS, Services


def test_two_rounds_give_everybody_the_model_of_the_simulation(tmp_path):
    lines = '[pruning]\nschedule = ["0.3", "0.5"]\n'
    with Services(tmp_path, server=lines) as found:
        found.start("hub", *found.members)
        assert found.wait("hub") == 0
        assert [found.wait(name) for name in found.members] == [0, 0, 0, 0]
        models = {found.model(name) for name in ("hub", *found.members)}
        assert len(models) == 1
        schedule = tuple(Unstructured(parse_sparsity(text)) for text in ("0.3", "0.5"))
        simulate(found.ground.settings(schedule=schedule, secure=SecureSettings(colluders=1)), Silent())
        assert models == {(tmp_path / "out" / "model" / "model.safetensors").read_bytes()}


@pytest.mark.slow
def test_a_member_whose_policy_keeps_the_round_from_beginning_is_told_so_by_the_server(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with Services(tmp_path) as found:
        path = found.configs["north"]
        told = path.read_text()
        path.write_text(told + "[policy]\nleast_cohort = 9\n")
        found.start("hub", *found.members)
        said, end = "the server says: no round can begin: north would decline it by P7", time.monotonic() + SECONDS
        while not any(said in record.getMessage() for record in caplog.records):
            assert time.monotonic() < end, "it is never told"
            time.sleep(0.2)
        path.write_text(told)
        assert found.wait("hub") == 0
        assert [found.wait(name) for name in found.members] == [0, 0, 0, 0]
        told_by = [record.getMessage() for record in caplog.records if "the server says" in record.getMessage()]
        assert all("north" in line for line in told_by), "it is of no concern to the others"


@pytest.mark.slow
def test_a_member_that_torchrun_starts_brings_what_one_process_would(tmp_path):
    """The command of the README, with two ranks on one CPU: the model is that of the simulation, bit for bit."""
    found, password = Services(tmp_path), tmp_path / "password"
    password.write_bytes(b"open sesame\n")
    password.chmod(0o600)
    torchrun = Path(sys.executable).with_name("torchrun")
    ranks = [torchrun, "--standalone", "--nproc-per-node", "2", "-m", "fedprune_cli"]
    words = ["client", "run", "--config", found.configs["north"], "--until-done", "--password-file", password]
    with found:
        found.start("hub", *found.members[1:])
        north = subprocess.run([*ranks, *words], capture_output=True, text=True, timeout=SECONDS, check=False)
        assert north.returncode == 0, north.stderr
        assert found.wait("hub") == 0
        models = {found.model(name) for name in ("hub", *found.members)}
    simulate(found.ground.settings(secure=SecureSettings(colluders=1)), Silent())
    assert models == {(tmp_path / "out" / "model" / "model.safetensors").read_bytes()}


@pytest.mark.slow
def test_two_rounds_with_noise_are_paid_for_by_every_member_and_no_third_is(tmp_path):
    pytest.importorskip("dp_accounting")
    lines = '[pruning]\nschedule = ["0.3", "0.5"]\npruner = "wanda"\n'
    with Services(tmp_path, server=lines, member="[privacy]\nepsilon = 8\nrounds = 2\n") as found:
        found.start("hub", *found.members)
        assert found.wait("hub") == 0
        assert [found.wait(name) for name in found.members] == [0, 0, 0, 0]
        assert len({found.model(name) for name in ("hub", *found.members)}) == 1
    for name in found.members:
        told = status_of(found.configs[name])["privacy"]
        assert (told["releases"], told["releases_left"], told["records"]) == (2, 0, 6)
        assert 7.9 < told["spent"] <= 8
        assert not list((tmp_path / f"work-{name}").rglob("noised-*"))  # no longer needed once it is in the model


@pytest.mark.slow
def test_a_plan_by_another_pruner_is_declined_by_who_prunes_with_noise(tmp_path):
    pytest.importorskip("dp_accounting")
    found = Services(tmp_path, ("north", "south", "west", "east", "middle"))
    path = found.configs["north"]
    path.write_text(path.read_text() + "[privacy]\nepsilon = 8\n")
    with found:
        found.start("hub", *found.members)
        assert found.wait("hub") == 0
        for name in found.members:
            found.wait(name)
    told = status_of(path)
    assert told["privacy"]["releases"] == 0
    assert any("by wanda alone, and the plan says sparsegpt" in one["reason"] for one in told["refused"])


def test_who_wants_to_leave_needs_no_server_for_it(tmp_path):
    found = Services(tmp_path)
    home, work = found.ceremony.home("member/north"), tmp_path / "work-north"
    with open_station(home, work, lambda _: PASSWORD, lambda: int(time.time())):
        pass  # it has run before
    leave(found.configs["north"])
    assert run_client(found.configs["north"], lambda _: PASSWORD, True, Silent()) == 0
    with pytest.raises(UsageError, match="takes part in no more rounds"):
        run_client(found.configs["north"], lambda _: PASSWORD, True, Silent())


def test_a_server_that_was_withdrawn_does_not_start(tmp_path):
    found = Services(tmp_path)
    found.ceremony.take("server/hub", found.ceremony.revoke("server/hub"))
    with pytest.raises(CertificateRevoked, match="withdrawn the certificate of server/hub"):
        run_server(found.configs["hub"], lambda _: PASSWORD, True, Silent())


def test_a_changed_file_is_another_configuration(tmp_path, monkeypatch):
    """By its digest a member knows that it has to offer again."""
    found, digests = Services(tmp_path), []

    def loop(*given):
        digests.append(given[-1])
        assert isinstance(given[1].hiding.progress, LiveProgress), "masking and sealing is not shown"
        raise Stopped

    monkeypatch.setattr(client, "_Loop", loop)
    path = found.configs["north"]
    for more in ("", "", "[budget]\nlayers = 1\n"):
        path.write_text(path.read_text() + more)
        assert run_client(path, lambda _: PASSWORD, True, Silent()) == 0
    assert digests[0] == digests[1] != digests[2]
