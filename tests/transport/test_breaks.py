"""Connections break, servers start again, and transfers go on where they stopped."""

import asyncio
import os
import random

import pytest

from fedspallm_secure.errors import ConnectionBroken, NotAdmitted, ProtocolViolation, Unreachable
from fedspallm_secure.transport.client import Manners
from fedspallm_secure.transport.guards import Limits
from fedspallm_secure.transport.line import Timeouts
from fedspallm_secure.transport.patience import Patience
from tests.transport.depot import FolderDepot, digest_of, parcel
from tests.transport.ground import HASTY, HUB, NORTH, Town, asynchronous, running, until, write
from tests.transport.raw import Raw
from tests.transport.relays import Wire

HANDSHAKE = 8_000  # bytes after which a connection has begun, both ways together
STUBBORN = Manners(Timeouts(5.0, 5.0), Patience(6, 0.01, 0.05))


@pytest.mark.parametrize("seed", range(6))
@asynchronous
async def test_an_upload_goes_on_after_cuts_at_random_offsets(tmp_path, seed):
    draw = random.Random(seed)
    data = parcel(str(NORTH), draw.randbytes(draw.randrange(2_000_000, 6_000_000)))
    cuts = [draw.randrange(HANDSHAKE, len(data)) for _ in range(draw.randrange(1, 5))]
    async with running(tmp_path) as place, Wire(place.port, iter(cuts)).open() as wire:
        town, written = place.town, []
        place.depot.on_write = lambda arrival: written.append(arrival.offset)
        async with town.courier(wire.port, manners=STUBBORN) as courier:
            await courier.push(digest_of(data), write(tmp_path, data), len(data))
        assert place.depot.inbox(digest_of(data)).read_bytes() == data
        assert 1 < wire.connections <= len(cuts) + 1
        assert written == sorted(set(written)), "nothing that has arrived is sent again"


@pytest.mark.parametrize("seed", range(6))
@asynchronous
async def test_a_download_goes_on_after_cuts_at_random_offsets(tmp_path, seed):
    draw = random.Random(seed)
    data = parcel(str(HUB), draw.randbytes(draw.randrange(2_000_000, 6_000_000)))
    cuts = [draw.randrange(HANDSHAKE, len(data)) for _ in range(draw.randrange(1, 5))]
    async with running(tmp_path) as place, Wire(place.port, iter(cuts)).open() as wire:
        listed, here = place.depot.put(NORTH, data), FolderDepot(tmp_path / "here")
        written = []
        here.on_write = lambda arrival: written.append(arrival.offset)
        async with place.town.courier(wire.port, manners=STUBBORN) as courier:
            await courier.pull(listed, here.arrival(HUB, listed.digest, listed.size))
        assert here.inbox(listed.digest).read_bytes() == data
        assert 1 < wire.connections <= len(cuts) + 1
        assert written == sorted(set(written))


@asynchronous
async def test_what_came_before_a_cut_is_kept_for_another_courier(tmp_path):
    data = parcel(str(NORTH), os.urandom(4_000_000))
    once = Manners(Timeouts(5.0, 5.0), Patience(1))
    async with running(tmp_path) as place, Wire(place.port, iter([3_000_000])).open() as wire:
        async with place.town.courier(wire.port, manners=once) as courier:
            with pytest.raises(ConnectionBroken):
                await courier.push(digest_of(data), write(tmp_path, data), len(data))
        async with place.courier() as courier:
            seen = []
            await courier.push(digest_of(data), write(tmp_path, data), len(data), seen.append)
        assert 2_500_000 < seen[0] < 3_000_000
        assert place.depot.inbox(digest_of(data)).read_bytes() == data


@asynchronous
async def test_an_upload_goes_on_with_a_server_that_started_again(tmp_path):
    data, town = parcel(str(NORTH), os.urandom(6_000_000)), Town()
    depot, slow = FolderDepot(tmp_path / "depot"), Manners(Timeouts(5.0, 5.0), Patience(20, 0.05, 0.1), up=4e6)
    first = town.server(depot)
    ((_, port),) = await first.start([("127.0.0.1", 0)])
    async with town.courier(port, manners=slow) as courier:
        job = asyncio.create_task(courier.push(digest_of(data), write(tmp_path, data), len(data)))
        written = []
        depot.on_write = lambda arrival: written.append(arrival.offset)
        await until(lambda: len(written) >= 2)
        await first.stop(0.0)
        second = town.server(depot)
        await second.start([("127.0.0.1", port)])
        await job
        await second.stop()
    assert depot.inbox(digest_of(data)).read_bytes() == data
    assert written == sorted(set(written))


@asynchronous
async def test_whoever_comes_back_ends_its_own_dead_transfer(tmp_path):
    """A member whose line went dead without a word need not wait until the server has noticed."""
    data = parcel(str(NORTH), os.urandom(100_000))
    digest = digest_of(data)
    async with running(tmp_path) as place, Raw(place) as raw:
        headers = {"Upload-Length": str(len(data)), "Upload-Offset": "0", "Content-Length": str(len(data))}
        raw.send("PATCH", f"/v1/packages/{digest}", headers, data[:40_000])  # and then nothing more
        await until(lambda: digest in place.depot._busy)
        seen = []
        async with place.courier() as courier:
            await courier.push(digest, write(tmp_path, data), len(data), seen.append)
        assert seen[0] == 40_000
        assert place.depot.inbox(digest).read_bytes() == data
        assert await raw.ended(5) < 5


@asynchronous
async def test_a_wrong_offset_is_put_right(tmp_path):
    """Somebody else with the same identity has got further meanwhile."""
    data = parcel(str(NORTH), os.urandom(300_000))
    digest = digest_of(data)
    async with running(tmp_path) as place, place.courier() as courier:
        real = place.server._uploads.create

        async def meanwhile(peer, name, request):
            answer = await real(peer, name, request)
            arrival = place.depot.arrival(peer, name, len(data))
            arrival.write(data[arrival.offset : arrival.offset + 1000])
            arrival.close()
            return answer

        place.server._uploads.create = meanwhile
        await courier.push(digest, write(tmp_path, data), len(data))
        assert place.depot.inbox(digest).read_bytes() == data


@asynchronous
async def test_a_server_that_keeps_on_naming_offsets_is_not_believed(tmp_path):
    data = parcel(str(NORTH), os.urandom(300_000))
    async with running(tmp_path) as place, place.courier() as courier:
        place.server._uploads._append = append_nothing
        with pytest.raises(ProtocolViolation, match="keeps on naming other offsets"):
            await courier.push(digest_of(data), write(tmp_path, data), len(data))


async def append_nothing(request, arrival, start):
    from aiohttp import web

    while await request.content.readany():
        pass
    return web.Response(status=409, headers={"Upload-Offset": "0", "Upload-Length": str(arrival.size)})


@asynchronous
async def test_a_server_that_closes_lets_transfers_finish(tmp_path):
    data, town = parcel(str(NORTH), os.urandom(3_000_000)), Town()
    depot, slow = FolderDepot(tmp_path / "depot"), Manners(Timeouts(5.0, 5.0), Patience(1), up=3e6)
    server = town.server(depot)
    ((_, port),) = await server.start([("127.0.0.1", 0)])
    async with town.courier(port, manners=slow) as courier, town.courier(port, manners=slow) as other:
        waiting = asyncio.create_task(other.listing(0, wait=40))
        job = asyncio.create_task(courier.push(digest_of(data), write(tmp_path, data), len(data)))
        written = []
        depot.on_write = written.append
        await until(lambda: written)
        await server.stop(10.0)
        await job
        assert (await waiting).packages == ()
        with pytest.raises((Unreachable, NotAdmitted, ConnectionBroken)):
            await courier.hello()
    assert depot.inbox(digest_of(data)).read_bytes() == data


@asynchronous
async def test_a_server_that_closes_does_not_wait_for_ever(tmp_path):
    loop = asyncio.get_running_loop()
    async with running(tmp_path, Limits()) as place, Raw(place) as raw:
        headers = {"Upload-Length": "1000", "Upload-Offset": "0", "Content-Length": "1000"}
        raw.send("PATCH", "/v1/packages/" + "ab" * 32, headers, b"x" * 10)
        await until(lambda: "ab" * 32 in place.depot._busy)
        before = loop.time()
        await place.server.stop(0.3)
        assert loop.time() - before < 3
        assert not place.depot._busy


@asynchronous
async def test_after_enough_tries_it_ends(tmp_path):
    data = parcel(str(NORTH), os.urandom(900_000))
    async with running(tmp_path) as place, Wire(place.port, iter([HANDSHAKE + 2000] * 50)).open() as wire:
        async with place.town.courier(wire.port, manners=HASTY) as courier:
            with pytest.raises(ConnectionBroken):
                await courier.push(digest_of(data), write(tmp_path, data), len(data))
        assert wire.connections < 50


def test_pauses_grow_differ_and_have_an_end():
    patience = Patience(10, 1.0, 30.0)
    for failures, most in ((1, 1), (2, 2), (3, 4), (6, 30), (60, 30)):
        pauses = [patience._pause(failures) for _ in range(50)]
        assert most / 2 <= min(pauses) < max(pauses) <= most
