"""Both sides of row P11 carry the same file to the same disk: otherwise the ratio would mean nothing."""

import pytest

from benchmarks import p11_upload, upload_servers


@pytest.mark.slow
def test_a_small_row():
    (row,) = p11_upload.measure(1, size=2)
    assert row.name == "P11"
    assert len(row.ratios) == 1 and row.median > 0


def test_the_folder_keeps_what_it_is_given(tmp_path):
    depot = upload_servers.Folder(tmp_path)
    arrival = depot.arrival(upload_servers.NORTH, "ab" * 32, 6)
    for piece in (b"123", b"456"):
        arrival.write(piece)
    assert arrival.offset == arrival.size == 6
    assert (tmp_path / ("ab" * 32)).read_bytes() == b"123456"
    arrival.finish()
    arrival.close()
    assert not list(tmp_path.iterdir()), "there is room for the next one"


def test_both_ends_come_out_of_bytes():
    world = upload_servers.World.make()
    assert {str(entry.party) for entry in world.trust().roster.entries} == {"member/north", "server/hub"}
    for party in (upload_servers.HUB, upload_servers.NORTH):
        world.credentials(party)
