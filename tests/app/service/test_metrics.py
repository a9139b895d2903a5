"""Figures for Prometheus: what a scrape says, where it listens, and where it does not."""

import re
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from fedspallm_secure.app.configuration.values import Address
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.service.client import run_client
from fedspallm_secure.app.service.control import leave
from fedspallm_secure.app.service.metrics import MEMBER_STATES, SERVER_STATES, serving_metrics
from fedspallm_secure.app.service.status import status_of
from fedspallm_secure.errors import CannotListen, MissingExtra, StorageError, UsageError
from tests.ceremony import PASSWORD
from tests.services import Services

pytest.importorskip("prometheus_client")

BOXES = {"inbox": {"packages": 2, "bytes": 30}, "outbox": {"packages": 0, "bytes": 0}, "disk_free": 1000}
GROUP = {"delivered": ["a", "b"], "awaited": ["c"], "ended": None}
SERVER = {
    "role": "server", "now": 1000, "state": "collecting", **BOXES,
    "rounds": {"done": 1, "of": 4, "failed": 0},
    "round": {
        "round": 2, "deadline": 1060, "groups": [GROUP, {**GROUP, "awaited": [], "ended": "STOPPED"}],
        "endorsements": {"here": ["member/a"], "awaited": []}, "answers": {"here": [], "awaited": ["a", "b"]},
    },
    "members": [{"member": "a", "prekeys": 3}, {"member": "b", "prekeys": None}],
    "refusals": {"S4": 2, "": 1}, "errors": {"112": 5}, "trouble": "no connection", "bytes": {"up": 7, "down": 8},
    "transfers": [{"direction": "down", "rate": 5}, {"direction": "down", "rate": 6}],
}  # fmt: skip
MEMBER = {
    "role": "member", "now": 1000, "state": "planned", **BOXES, "prekeys": 9, "refusals": {},
    "round": {"round": 2, "deadline": 900, "layers": [{"state": "due"}, {"state": "sent"}, {"state": "due"}]},
    "follows": {"missing": [1, 2]},
}  # fmt: skip


@pytest.fixture
def scrape(unused_port):
    """What Prometheus is told about a snapshot."""
    with ExitStack() as stack:

        def ask(snapshot):
            stack.enter_context(serving_metrics(Address("127.0.0.1", unused_port), snapshot))
            with urllib.request.urlopen(f"http://127.0.0.1:{unused_port}/metrics", timeout=10) as answer:
                return answer.read().decode()

        yield ask


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    "line",
    [
        "up 1.0", 'state{state="collecting"} 1.0', 'state{state="done"} 0.0', "trouble 1.0",
        'errors_total{code="112"} 5.0', 'refused_packages_total{check="S4"} 2.0', "rounds_planned 4.0", "round 2.0",
        "deadline_seconds 60.0", "contributions_received 4.0", "contributions_awaited 1.0", "layers_ended 1.0",
        "answers_awaited 2.0", "endorsements_received 1.0", 'moved_bytes_total{direction="down"} 8.0',
        'transfers{direction="down"} 2.0', 'transfer_bytes_per_second{direction="down"} 11.0',
        'waiting_bytes{box="inbox"} 30.0', "disk_free_bytes 1000.0", 'member_prekeys_left{member="a"} 3.0',
    ],
)  # fmt: skip
def test_a_server(server_text, line):
    assert f"\nfedprune_{line}\n" in server_text


@pytest.fixture(scope="module")
def server_text():
    from prometheus_client import CollectorRegistry, generate_latest

    from fedspallm_secure.app.service.metrics import Figures

    registry = CollectorRegistry()
    registry.register(Figures(lambda: SERVER))
    return generate_latest(registry).decode()


def test_a_member_over_http(scrape):
    text = scrape(lambda: MEMBER)
    for line in ('own_layers{state="due"} 2.0', "layers_missing 2.0", "prekeys_left 9.0", "deadline_seconds -100.0"):
        assert f"\nfedprune_{line}\n" in text
    assert "process_resident_memory_bytes" in text or not sys.platform.startswith("linux")


def test_before_anything_has_run(scrape):
    text = scrape(lambda: {"role": "member", "now": 1, "state": "not begun", "round": None, **BOXES})
    assert '\nfedprune_state{state="not begun"} 1.0\n' in text


def test_a_snapshot_that_fails(scrape):
    def fail():
        raise StorageError("gone")

    text = scrape(fail)
    assert "\nfedprune_up 0.0\n" in text
    assert "fedprune_state" not in text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hub.example.org"])
def test_only_this_machine_is_told(host):
    with pytest.raises(UsageError, match="other machines"), serving_metrics(Address(host, 0), lambda: SERVER):
        pass


def test_a_port_that_is_taken(scrape, unused_port):
    scrape(lambda: SERVER)
    again = serving_metrics(Address("127.0.0.1", unused_port), lambda: SERVER)
    with pytest.raises(CannotListen, match="cannot listen on"), again:
        pass


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra) as caught, serving_metrics(Address("127.0.0.1", 0), lambda: SERVER):
        pass
    assert "fedspallm-secure[metrics]" in caught.value.hint


def test_every_name_is_described(server_text):
    described = (Path(__file__).parents[3] / "docs/OPERATING.md").read_text()
    for name in re.findall(r"^# TYPE (fedprune_\w+)", server_text, re.M):
        assert f"`{name}`" in described, name
    for state in (*SERVER_STATES, *MEMBER_STATES):
        assert f"| {state} |" in described, state


def test_a_member_that_waits_tells_prometheus_and_stops_telling(tmp_path, unused_port):
    found = Services(tmp_path)
    path, url = found.configs["north"], f"http://127.0.0.1:{unused_port}/metrics"
    told = path.read_text().replace("[server]", f'metrics = "127.0.0.1:{unused_port}"\n[server]')
    path.write_text(re.sub(r"^url = .*$", 'url = ""', told, flags=re.M))
    ended: list[int] = []
    member = Thread(target=lambda: ended.append(run_client(path, lambda _: PASSWORD, False, Silent())), daemon=True)
    member.start()
    text, end = "", time.monotonic() + 60
    while 'fedprune_state{state="waiting for a plan"} 1.0' not in text and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            time.sleep(0.1)
    assert f"\nfedprune_prekeys_left {status_of(path)['prekeys']}.0\n" in text
    leave(path)
    member.join(60)
    assert ended == [0]
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=10)
