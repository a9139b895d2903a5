"""Both sides of row P11 carry the same file to the same disk: otherwise the ratio would mean nothing."""

import pytest

from benchmarks import p11_upload, upload_servers
from fedspallm_secure.errors import NotAwaited


@pytest.mark.slow
def test_a_small_row():
    (row,) = p11_upload.measure(1, size=2)
    assert row.name == "P11"
    assert len(row.ratios) == 1 and row.median > 0


def test_our_server_checks_what_arrives_and_takes_it_again_once_it_was_forgotten(tmp_path):
    world = upload_servers.World.make()
    head = world.package(upload_servers.NORTH, tmp_path / "package", 2_500_000)
    digest, data = head.digest.hex(), (tmp_path / "package").read_bytes()
    with upload_servers.receiving(world, tmp_path / "hub") as behind:
        with pytest.raises(NotAwaited):  # each sends its own
            behind.shelf.arrival(upload_servers.HUB, digest, head.size).write(data)
        for _ in range(2):
            arrival = behind.shelf.arrival(upload_servers.NORTH, digest, head.size)
            arrival.write(data)
            arrival.finish()
            arrival.close()
            (found,) = behind.spool.arrived()
            assert found.path.read_bytes() == data
            behind.forget()
            assert not found.path.exists()


def test_both_ends_come_out_of_bytes():
    world = upload_servers.World.make()
    assert {str(entry.party) for entry in world.trust().roster.entries} == {"member/north", "server/hub"}
    for party in (upload_servers.HUB, upload_servers.NORTH):
        world.credentials(party)
