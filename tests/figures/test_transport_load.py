"""The figures of the transport at a reduced size."""

import pytest

from benchmarks.upload_servers import HUB, MEBIBYTE, World, receiving
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.transport.guards import Limits
from tests.figures.loaded_server import arrived, members, sha256
from tests.figures.silent_connections import PAUSE, slow_connections
from tests.figures.transport_load import cut_uploads, failures, many_uploads

SERVER = {"memory of the server at most": 1 << 30, "errors that the server did not catch": 0}
GOOD = (
    {"uploads": 2, "completed": 2, "arrived": 2, "corrupt": 0, **SERVER},
    {"failed": 0, "kept connection, ratio": 2.0, "new connection, ratio": 2.0, **SERVER},
    {"uploads": 3, "equal": 3},
)


def test_the_server_has_behind_it_what_a_service_has(tmp_path):
    """A signature that is none is refused as soon as the head is there; what is good lies in the inbox, unchanged."""
    (member,) = members(1)
    world, path, spoilt = World.make([HUB, member]), tmp_path / "good", tmp_path / "spoilt"
    head = world.package(member, path, 3 * MEBIBYTE)
    data = bytearray(path.read_bytes())
    data[data.index(head.signature)] ^= 1
    spoilt.write_bytes(data)
    with receiving(world, tmp_path / "hub") as behind:
        for file, refused in ((spoilt, True), (path, False)):
            arrival = behind.shelf.arrival(member, head.digest.hex(), head.size)
            try:
                arrival.write(file.read_bytes()[:MEBIBYTE])
                assert not refused
            except FedSpaError:
                assert refused
            else:
                arrival.write(file.read_bytes()[MEBIBYTE:])
                arrival.finish()
            arrival.close()
        found = arrived(tmp_path / "hub")
        assert {digest: sha256(one) for digest, one in found.items()} == {head.digest.hex(): sha256(path)}
        behind.forget()
        assert not arrived(tmp_path / "hub"), "there is room for the next one"
        assert behind.shelf.arrival(member, head.digest.hex(), head.size) is not None


def test_figures_within_bounds_are_no_failure():
    assert failures(*GOOD) == []


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        (0, "completed", 1),
        (0, "arrived", 1),
        (0, "corrupt", 1),
        (0, "memory of the server at most", (1 << 30) + 1),
        (0, "errors that the server did not catch", 1),
        (1, "failed", 1),
        (1, "kept connection, ratio", 2.01),
        (1, "new connection, ratio", 2.01),
        (1, "memory of the server at most", (1 << 30) + 1),
        (1, "errors that the server did not catch", 1),
        (2, "equal", 2),
    ],
)
def test_a_figure_out_of_bounds_is_a_failure(place, key, value):
    changed = [dict(found) for found in GOOD]
    changed[place][key] = value
    assert len(failures(*changed)) == 1


@pytest.mark.slow
def test_uploads_at_once_arrive_whole():
    found = many_uploads(10, 2 * MEBIBYTE)
    assert found["completed"] == found["arrived"] == 10
    assert found["corrupt"] == 0
    assert found["memory of the server at most"] - found["memory of the server before"] < 200 * MEBIBYTE


def test_nobody_who_is_measured_asks_more_often_than_it_may():
    assert Limits().peer_rate > 2 / PAUSE, "it would be told to wait, for whole seconds, whatever the server does"


@pytest.mark.slow
def test_connections_that_say_nothing_do_not_stop_anybody():
    found = slow_connections(100, 1500, asked=20)
    assert found["failed"] == 0


@pytest.mark.slow
def test_cut_uploads_are_resumed_and_equal():
    found = cut_uploads(5)
    assert found["uploads"] == found["resumed"] == found["equal"] == 5
    assert found["cuts"] >= 5
