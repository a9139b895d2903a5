"""Limits: of one party, of connections that say nothing, of slow transfers, and of everybody together."""

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import replace

import pytest

from fedspallm_secure.errors import CannotListen, ConnectionBroken, Throttled
from fedspallm_secure.transport.client import Manners
from fedspallm_secure.transport.gate import Gate
from fedspallm_secure.transport.guards import Allowances, Limits
from fedspallm_secure.transport.line import Timeouts
from fedspallm_secure.transport.pacing import Bandwidth, Bucket, Pace
from fedspallm_secure.transport.patience import Patience
from tests.transport.depot import FolderDepot, digest_of, parcel
from tests.transport.ground import HASTY, HUB, NORTH, SOUTH, Town, asynchronous, running, until, write
from tests.transport.raw import Raw

ONCE = Manners(Timeouts(5.0, 5.0), Patience(1))
LONG = {"Upload-Length": "1000000", "Upload-Offset": "0", "Content-Length": "1000000"}


def path(number: int) -> str:
    return f"/v1/packages/{number:064x}"


# --- one party --------------------------------------------------------------------------------------------------------


@asynchronous
async def test_a_fifth_transfer_of_one_party_has_to_wait(tmp_path):
    async with running(tmp_path) as place:
        raws = [await Raw(place).__aenter__() for _ in range(5)]
        for number, raw in enumerate(raws[:4]):
            raw.send("PATCH", path(number), LONG, b"x")
        await until(lambda: len(place.depot._busy) == 4)
        status, answer, fields = await raws[4].ask("PATCH", path(4), LONG, b"x")
        assert (status, answer["error"], fields["retry-after"]) == (429, "Throttled", "1")
        assert answer["message"] == "member/north has 4 transfers under way, and may not have more"
        async with Raw(place, SOUTH) as other:
            other.send("PATCH", path(5), LONG, b"x")
            await until(lambda: len(place.depot._busy) == 5)
        await raws[0].__aexit__()
        await until(lambda: len(place.depot._busy) == 3)
        async with Raw(place) as raw:
            raw.send("PATCH", path(4), LONG, b"x")
            await until(lambda: len(place.depot._busy) == 4)
        for raw in raws[1:]:
            await raw.__aexit__()


@asynchronous
async def test_too_many_requests_one_after_another_have_to_wait(tmp_path):
    async with running(tmp_path, Limits(peer_rate=4, peer_burst=3)) as place:
        async with place.courier(manners=ONCE) as courier:
            for _ in range(3):
                await courier.hello()
            with pytest.raises(Throttled, match="member/north makes more than 4 requests per second"):
                await courier.hello()
        async with place.courier(SOUTH, manners=ONCE) as other:
            await other.hello()
        async with place.courier(manners=HASTY) as patient:
            await patient.hello()  # it waits as long as it is told to


@asynchronous
async def test_too_many_requests_at_once_are_refused(tmp_path):
    limits = Limits(peer_requests=2)
    async with running(tmp_path, limits) as place, place.courier(manners=ONCE) as courier:
        waiting = [asyncio.create_task(courier.listing(0, wait=20)) for _ in range(2)]
        await until(lambda: place.server._allowances._requests[NORTH] == 2)
        with pytest.raises(Throttled, match="2 requests under way"):
            await courier.hello()
        place.depot.put(NORTH, b"news")
        place.server.notify()
        await asyncio.gather(*waiting)
        await courier.hello()


@asynchronous
async def test_a_party_has_so_many_connections_and_the_oldest_idle_one_goes(tmp_path):
    async with running(tmp_path, Limits(peer_connections=3)) as place:
        raws = [await Raw(place).__aenter__() for _ in range(5)]
        for raw in raws:
            assert (await raw.ask("GET", "/v1/hello"))[0] == 200
        assert await raws[0].ended(5) < 5
        assert await raws[1].ended(5) < 5
        for raw in raws[2:]:
            assert (await raw.ask("GET", "/v1/hello"))[0] == 200
        for raw in raws:
            await raw.__aexit__()


# --- slow ones --------------------------------------------------------------------------------------------------------


@asynchronous
async def test_an_upload_that_stops_is_cut_off(tmp_path):
    async with running(tmp_path, Limits(rate=10_000, window=0.4)) as place, Raw(place) as raw:
        raw.send("PATCH", path(1), LONG, b"x" * 1000)
        status, answer, _ = await raw.answer()
        assert (status, answer["error"]) == (408, "ConnectionBroken")
        assert answer["message"] == "less than 10000 bytes per second came through over 0.4 seconds"
        assert await raw.ended(5) < 5
        assert place.depot.folder.joinpath(f"north.{1:064x}.part").stat().st_size == 1000, "it can go on from there"


@pytest.mark.parametrize(("piece", "survives"), [(8_000, True), (500, False)])
@asynchronous
async def test_a_trickle_is_cut_off_and_a_thin_line_is_not(tmp_path, piece, survives):
    async with running(tmp_path, Limits(rate=10_000, window=0.5)) as place, Raw(place) as raw:
        raw.send("PATCH", path(1), LONG, b"")
        answer = asyncio.create_task(raw.answer())
        for _ in range(15):
            await asyncio.sleep(0.1)
            raw.writer.write(b"x" * piece)
        assert answer.done() is not survives
        answer.cancel()


@asynchronous
async def test_who_does_not_read_a_download_is_cut_off(tmp_path):
    async with running(tmp_path, Limits(rate=10_000, window=0.4)) as place, Raw(place) as raw:
        listed = place.depot.put(NORTH, b"x" * 30_000_000)
        raw.writer.transport.pause_reading()
        raw.send("GET", f"/v1/packages/{listed.digest}")
        await until(lambda: place.server._active == 1)
        await until(lambda: place.server._active == 0)
        assert place.depot.gone == []


@asynchronous
async def test_waiting_for_our_own_disk_is_not_held_against_anybody(tmp_path):
    data = parcel(str(NORTH), os.urandom(3_500_000))

    async with running(tmp_path, Limits(rate=1e6, window=0.3)) as place, place.courier(manners=ONCE) as courier:
        place.depot.on_write = lambda _: threading_sleep(0.15)
        await courier.push(digest_of(data), write(tmp_path, data), len(data))
        assert place.depot.inbox(digest_of(data)).exists()


def threading_sleep(seconds: float) -> None:
    import time

    time.sleep(seconds)


# --- connections that say nothing -------------------------------------------------------------------------------------


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def closed(reader: asyncio.StreamReader, seconds: float = 5.0) -> bool:
    try:
        async with asyncio.timeout(seconds):
            while await reader.read(1 << 16):
                pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "half", "http"])
@asynchronous
async def test_a_handshake_that_does_not_come_ends(tmp_path, first):
    async with running(tmp_path, Limits(handshake=0.3)) as place:
        reader, writer = await connected(place.port)
        writer.write(first)
        assert await closed(reader)
        assert not place.server._gate._all
        writer.close()


@pytest.mark.parametrize("first", [b"", b"GET /v1/hello HTTP/1.1\r\nHost: h"], ids=["nothing", "half"])
@asynchronous
async def test_a_first_request_that_does_not_come_ends(tmp_path, first):
    async with running(tmp_path, Limits(header=0.3)) as place, Raw(place) as raw:
        raw.writer.write(first)
        assert await raw.ended(5) < 4


@pytest.mark.parametrize("first", [b"", b"GET /v1/hello HTTP/1.1\r\nHost: h"], ids=["nothing", "half"])
@asynchronous
async def test_an_idle_connection_ends(tmp_path, first):
    async with running(tmp_path, Limits(idle=0.4, header=0.2)) as place, Raw(place) as raw:
        assert (await raw.ask("GET", "/v1/hello"))[0] == 200
        raw.writer.write(first)
        assert 0.3 < await raw.ended(5) < 4


@asynchronous
async def test_the_oldest_that_says_nothing_makes_way(tmp_path):
    async with running(tmp_path, Limits(unproven=5)) as place:
        silent = [await connected(place.port) for _ in range(12)]
        for reader, _ in silent[:7]:
            assert await closed(reader)
        assert len(place.server._gate._silent) == 5
        async with place.courier(manners=ONCE) as courier:
            await courier.hello()
        for _, writer in silent:
            writer.close()


@asynchronous
async def test_the_oldest_that_stops_in_the_middle_of_a_handshake_makes_way(tmp_path):
    """Whoever sends nothing at all costs less and is not counted with them."""
    async with running(tmp_path, Limits(handshakes=3, unproven=50)) as place:
        silent = [await connected(place.port) for _ in range(4)]
        slow = []
        for _ in range(8):
            slow.append(await connected(place.port))
            slow[-1][1].write(b"\x16")
            await until(lambda: len(place.server._gate._shaking) == min(len(slow), 3))
            await asyncio.sleep(0.02)
        for reader, _ in slow[:5]:
            assert await closed(reader)
        assert len(place.server._gate._shaking) == 3
        assert len(place.server._gate._silent) == 4
        async with place.courier(manners=ONCE) as courier:
            await courier.hello()
        for _, writer in silent + slow:
            writer.close()


@asynchronous
async def test_whoever_has_begun_a_handshake_does_not_make_way_for_those_that_say_nothing(tmp_path):
    async with running(tmp_path, Limits(unproven=3)) as place:
        slow, writer = await connected(place.port)
        writer.write(b"\x16")
        await until(lambda: len(place.server._gate._shaking) == 1)
        silent = [await connected(place.port) for _ in range(6)]
        for reader, _ in silent[:4]:
            assert await closed(reader)
        assert len(place.server._gate._shaking) == 1 and len(place.server._gate._silent) == 2
        assert not slow.at_eof()
        for _, other in [*silent, (slow, writer)]:
            other.close()


@asynchronous
async def test_a_handshake_that_has_ended_still_has_to_be_followed_by_a_request(tmp_path):
    """It counts among those that have begun until then."""
    async with running(tmp_path, Limits(handshakes=2)) as place:
        raws = [await Raw(place).__aenter__() for _ in range(3)]
        assert await raws[0].ended(5) < 5
        for raw in raws[1:]:
            assert (await raw.ask("GET", "/v1/hello"))[0] == 200
        assert not place.server._gate._shaking
        for raw in raws:
            await raw.__aexit__()


@asynchronous
async def test_whoever_has_made_a_request_does_not_make_way(tmp_path):
    async with running(tmp_path, Limits(unproven=2, connections=6)) as place:
        raws = [await Raw(place).__aenter__() for _ in range(2)]
        for raw in raws:
            await raw.ask("GET", "/v1/hello")
        silent = [await connected(place.port) for _ in range(9)]
        for reader, _ in silent[:7]:
            assert await closed(reader)
        for raw in raws:
            assert (await raw.ask("GET", "/v1/hello"))[0] == 200
            await raw.__aexit__()
        for _, writer in silent:
            writer.close()


@asynchronous
async def test_a_full_server_lets_nobody_in(tmp_path):
    async with running(tmp_path, Limits(connections=2)) as place:
        raws = [await Raw(place).__aenter__() for _ in range(2)]
        for raw in raws:
            await raw.ask("GET", "/v1/hello")
        reader, writer = await connected(place.port)
        assert await closed(reader)
        assert len(place.server._gate._all) == 2
        writer.close()
        for raw in raws:
            await raw.__aexit__()


# --- everybody together -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "up", "down", "slow"),
    [
        (Limits(up=4e6), None, None, (True, False)),
        (Limits(down=4e6), None, None, (False, True)),
        (Limits(), 4e6, 4e6, (True, True)),
    ],
    ids=["of the server, up", "of the server, down", "of the courier"],
)
@asynchronous
async def test_bandwidth_is_limited(tmp_path, limits, up, down, slow):
    loop, data = asyncio.get_running_loop(), parcel(str(NORTH), os.urandom(4_000_000))
    manners = replace(ONCE, up=up, down=down)
    async with running(tmp_path, limits) as place, place.courier(manners=manners) as courier:
        listed, here = place.depot.put(NORTH, parcel(str(HUB), data)), FolderDepot(tmp_path / "here")
        start = loop.time()
        await courier.push(digest_of(data), write(tmp_path, data), len(data))
        middle = loop.time()
        await courier.pull(listed, here.arrival(HUB, listed.digest, listed.size))
        assert (middle - start > 0.6, loop.time() - middle > 0.6) == slow


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
@asynchronous
async def test_addresses_of_both_kinds(tmp_path, host):
    town = Town()
    server = town.server(FolderDepot(tmp_path))
    bound = await server.start([(host, 0)])
    assert {address for address, _ in bound} <= {"127.0.0.1", "::1"}
    async with town.courier(bound[0][1], host=bound[0][0]) as courier:
        await courier.hello()
    await server.stop()


@asynchronous
async def test_several_addresses_at_once(tmp_path):
    town = Town()
    server = town.server(FolderDepot(tmp_path))
    bound = await server.start([("127.0.0.1", 0), ("::1", 0)])
    for host, port in bound:
        async with town.courier(port, host=host) as courier:
            await courier.hello()
    await server.stop()


@asynchronous
async def test_an_address_that_is_taken_is_said_so(tmp_path):
    server = Town().server(FolderDepot(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = f"cannot listen on 127.0.0.1 port {port}: Address already in use"
        with pytest.raises(CannotListen, match=f"^{said}$"):
            await server.start([("127.0.0.1", 0), ("127.0.0.1", port)])
        with pytest.raises(CannotListen, match=r"^cannot listen on nowhere\.invalid port 1: [A-Z][^(]*$"):
            await server.start([("nowhere.invalid", 1)])
    assert not server._gate._listeners
    await server.stop()


# --- the parts --------------------------------------------------------------------------------------------------------


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_fills_up_again():
    clock = Time()
    bucket = Bucket(2.0, 3.0, clock)
    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take() == pytest.approx(0.5)
    clock.now = 0.5
    assert bucket.take() == 0.0
    clock.now = 100.0
    assert bucket.owe(3.0) == 0.0
    assert bucket.owe(4.0) == pytest.approx(2.0)


def test_pieces_are_small_on_a_slow_line():
    assert Bandwidth(None).piece(1 << 18) == 1 << 18
    assert Bandwidth(400_000).piece(1 << 18) == 100_000
    assert Bandwidth(1_000).piece(1 << 18) == 1 << 14


@asynchronous
async def test_a_pace_gives_no_credit_beyond_its_window():
    pace = Pace(1000, 0.2)
    with pytest.raises(ConnectionBroken):
        async with pace():
            pace.moved(1_000_000_000)
            await asyncio.sleep(5)


@asynchronous
async def test_other_timeouts_pass_through_a_pace():
    with pytest.raises(TimeoutError):
        async with Pace(1000, 5)():
            raise TimeoutError


def test_allowances_are_given_back():
    allowances = Allowances(Limits(peer_transfers=1))
    for _ in range(3):
        with pytest.raises(ValueError), allowances.transfer(NORTH):
            raise ValueError
    with allowances.transfer(NORTH), pytest.raises(Throttled), allowances.transfer(NORTH):
        pass


@asynchronous
async def test_a_connection_that_is_dropped_as_its_handshake_ends_leaves_its_descriptor_alone(tmp_path, monkeypatch):
    """It says farewell for a while; closed behind its back, its number would be that of the next connection."""
    began, dropped = Gate.began, []

    def drop_first(gate, connection, *rest):
        began(gate, connection, *rest)
        if not dropped:
            dropped.append(connection)
            connection.drop()

    monkeypatch.setattr(Gate, "began", drop_first)
    async with running(tmp_path) as place:
        first = Raw(place)
        with suppress(OSError, EOFError):
            await first.__aenter__()
        await until(lambda: bool(dropped))
        try:
            async with place.courier(manners=ONCE) as courier:
                await courier.hello()
            await until(lambda: dropped[0] not in place.server._gate._all)
        finally:
            place.server._gate._all.clear()  # what is never forgotten would be waited for at the end
