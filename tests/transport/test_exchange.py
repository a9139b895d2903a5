"""Packages move over HTTPS: up and down, whole or resumed, and only those that may move."""

import asyncio
import os
import random

import pytest

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import (
    FormatError,
    LimitExceeded,
    MissingInput,
    NotAwaited,
    PackageFormatError,
    StorageError,
)
from fedspallm_secure.transport.guards import Limits
from fedspallm_secure.transport.wire import Listing
from tests.transport.depot import FolderArrival, FolderDepot, digest_of, parcel
from tests.transport.ground import HUB, NORTH, SOFTWARE, SOUTH, asynchronous, running, until, write
from tests.transport.raw import Raw


@asynchronous
async def test_a_server_says_what_it_is(tmp_path):
    async with running(tmp_path) as place, place.courier() as courier:
        place.town.sequences[NORTH] = 7
        hello = await courier.hello()
        assert hello.federation == "lungs.example"
        assert hello.software == SOFTWARE
        assert (hello.roster_version, hello.roster_hash) == (1, place.town.roster.hash)
        assert (hello.crl, hello.sequence) == (1, 7)
        assert abs(courier.skew) <= 1


@pytest.mark.parametrize("size", [1, 1000, (1 << 20) - 40, 1 << 20, 5_000_001])
@asynchronous
async def test_a_package_goes_up(tmp_path, size):
    data = parcel(str(NORTH), os.urandom(size))
    async with running(tmp_path) as place, place.courier() as courier:
        seen = []
        await courier.push(digest_of(data), write(tmp_path, data), len(data), seen.append)
        assert place.depot.inbox(digest_of(data)).read_bytes() == data
        assert seen[0] == 0 and seen[-1] == len(data) and seen == sorted(seen)
        place.depot.on_write = lambda _: pytest.fail("nothing is sent a second time")
        await courier.push(digest_of(data), write(tmp_path, data), len(data))


@pytest.mark.parametrize("size", [1, 1000, 1 << 18, 1 << 20, 5_000_001])
@asynchronous
async def test_a_package_comes_down(tmp_path, size):
    data = parcel(str(HUB), os.urandom(size))
    async with running(tmp_path) as place, place.courier() as courier:
        listed = place.depot.put(NORTH, data)
        (found,) = (await courier.listing(0)).packages
        assert found == listed
        here, seen = FolderDepot(tmp_path / "here"), []
        await courier.pull(found, here.arrival(HUB, found.digest, found.size), seen.append)
        assert here.inbox(found.digest).read_bytes() == data
        assert seen[-1] == len(data) and seen == sorted(seen)
        await until(lambda: place.depot.gone == [(NORTH, found.digest)])


@asynchronous
async def test_what_waits_for_others_is_not_there(tmp_path):
    async with running(tmp_path) as place, place.courier(SOUTH) as courier:
        listed = place.depot.put(NORTH, b"for north")
        assert (await courier.listing(0)).packages == ()
        here = FolderDepot(tmp_path / "here").arrival(HUB, listed.digest, listed.size)
        with pytest.raises(MissingInput, match="server/hub says: this package does not wait for you"):
            await courier.pull(listed, here)
        assert place.depot.gone == []


# --- what may not be sent ---------------------------------------------------------------------------------------------


@asynchronous
async def test_nobody_delivers_for_somebody_else(tmp_path):
    data = parcel(str(SOUTH), os.urandom(3_000_000))
    async with running(tmp_path) as place, place.courier(NORTH) as courier:
        with pytest.raises(NotAwaited, match="member/north delivers a package of member/south"):
            await courier.push(digest_of(data), write(tmp_path, data), len(data))
        with pytest.raises(NotAwaited, match="was refused before"):
            await courier.push(digest_of(data), write(tmp_path, data), len(data))
        assert not list(place.depot.folder.iterdir())


@asynchronous
async def test_a_lying_head_is_refused_as_soon_as_it_is_there(tmp_path):
    data = parcel(str(NORTH), os.urandom(9_000_000)) + b"more"
    async with running(tmp_path) as place, place.courier() as courier:
        written = []
        place.depot.on_write = lambda arrival: written.append(arrival.offset)
        with pytest.raises(PackageFormatError, match="not as long as its head says"):
            await courier.push(digest_of(data), write(tmp_path, data), len(data))
        assert written == [0]


@asynchronous
async def test_what_is_not_what_was_announced_is_refused(tmp_path):
    data = parcel(str(NORTH), os.urandom(100_000))
    async with running(tmp_path) as place, place.courier() as courier:
        with pytest.raises(PackageFormatError, match="not what was announced"):
            await courier.push("ab" * 32, write(tmp_path, data), len(data))
        assert not list(place.depot.folder.iterdir())


@asynchronous
async def test_a_quota_is_kept_before_a_byte_is_sent(tmp_path):
    data = parcel(str(NORTH), os.urandom(2_000))
    async with running(tmp_path, quota=1_000) as place, place.courier() as courier:
        place.depot.on_write = lambda _: pytest.fail("nothing may be sent")
        with pytest.raises(LimitExceeded, match="server/hub says: 0 bytes of member/north wait here already"):
            await courier.push(digest_of(data), write(tmp_path, data), len(data))


@asynchronous
async def test_what_goes_wrong_inside_of_the_server_is_not_told(tmp_path):
    data = parcel(str(NORTH), os.urandom(2_000))

    def fail(arrival: FolderArrival) -> None:
        raise StorageError(f"cannot write {arrival._path}")

    async with running(tmp_path) as place, place.courier() as courier:
        place.depot.on_write = fail
        with pytest.raises(StorageError) as caught:
            await courier.push(digest_of(data), write(tmp_path, data), len(data))
        assert str(caught.value) == "server/hub says: it could not be stored or read"
        assert caught.value.hint == "tell the operator of the server"


@asynchronous
async def test_a_file_that_is_not_as_announced_is_not_sent(tmp_path):
    async with running(tmp_path) as place, place.courier() as courier:
        with pytest.raises(MissingInput, match="has 5 bytes, not 6"):
            await courier.push("ab" * 32, write(tmp_path, b"12345"), 6)
        with pytest.raises(MissingInput, match="cannot read"):
            await courier.push("ab" * 32, tmp_path / "none", 6)
        assert not list(place.depot.folder.iterdir())


@asynchronous
async def test_a_file_that_shrinks_on_the_way_is_said_so(tmp_path, monkeypatch):
    path = write(tmp_path, parcel(str(NORTH), os.urandom(3_000_000)))
    size = path.stat().st_size
    async with running(tmp_path) as place, place.courier() as courier:
        monkeypatch.setattr(os, "pread", lambda *_: b"")
        with pytest.raises(MissingInput, match="the package ends after 0 of"):
            await courier.push("ab" * 32, path, size)


# --- requests that no courier makes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "status", "words"),
    [
        ("PUT", {}, 400, "Upload-Length must be a whole number"),
        ("PUT", {"Upload-Length": "-1"}, 400, "Upload-Length must be a whole number"),
        ("PUT", {"Upload-Length": "1e3"}, 400, "Upload-Length must be a whole number"),
        ("PUT", {"Upload-Length": "0"}, 413, "bytes of member/north wait here"),
        ("PUT", {"Upload-Length": "9", "Content-Length": "3"}, 400, "a body where none belongs"),
        ("PATCH", {"Upload-Length": "9", "Content-Length": "3"}, 400, "Upload-Offset must be a whole number"),
        ("PATCH", {"Upload-Length": "9", "Upload-Offset": "5", "Content-Length": "3"}, 409, "0 bytes are here, not 5"),
        ("PATCH", {"Upload-Length": "9", "Upload-Offset": "0", "Content-Length": "10"}, 413, "10 bytes are to follow"),
        ("PATCH", {"Upload-Length": "9", "Upload-Offset": "0", "Transfer-Encoding": "chunked"}, 400, "as it is"),
        (
            "PATCH",
            {"Upload-Length": "9", "Upload-Offset": "0", "Content-Length": "3", "Content-Encoding": "gzip"},
            400,
            "as it is",
        ),
        ("POST", {}, 404, "there is no such thing here"),
        ("DELETE", {}, 404, "there is no such thing here"),
        ("GET", {"Range": "bytes=-5"}, 400, "a range must be bytes=START-"),
        ("GET", {"Range": "bytes=0-5,7-"}, 400, "a range must be bytes=START-"),
        ("GET", {"Range": "bytes=9-"}, 400, "the package has 9 bytes"),
    ],
)
@asynchronous
async def test_other_requests_are_refused_in_words(tmp_path, method, headers, status, words):
    async with running(tmp_path) as place:
        digest = place.depot.put(NORTH, b"123456789").digest
        async with Raw(place) as raw:
            body = b"0\r\n\r\n" if "Transfer-Encoding" in headers else b"x" * int(headers.get("Content-Length", "0"))
            found, answer, fields = await raw.ask(method, f"/v1/packages/{digest}", headers, body)
        assert found == status
        assert words in answer["message"]
        assert set(answer) == {"error", "message", "hint", "code"}
        assert status != 409 or fields["upload-offset"] == "0"


@asynchronous
async def test_the_statuses_of_an_upload(tmp_path):
    data = parcel(str(NORTH), b"x" * 100)
    path, length = f"/v1/packages/{digest_of(data)}", {"Upload-Length": str(len(data))}
    async with running(tmp_path) as place, Raw(place) as raw:

        async def ask(method: str, sent: bytes = b"", offset: int = 0) -> tuple[int, str]:
            more = {"Upload-Offset": str(offset), "Content-Length": str(len(sent))} if method == "PATCH" else {}
            status, _, fields = await raw.ask(method, path, length | more, sent)
            assert fields["upload-length"] == str(len(data))
            return status, fields["upload-offset"]

        whole = str(len(data))
        assert await ask("PUT") == (201, "0")
        assert await ask("HEAD") == (200, "0")
        assert await ask("PATCH", data[:10]) == (204, "10")
        assert await ask("PUT") == (200, "10")
        assert await ask("HEAD") == (200, "10")
        assert await ask("PATCH", data[:10]) == (409, "10")
        assert await ask("PATCH", data[10:], 10) == (204, whole)
        assert await ask("PUT") == (204, whole)
        assert await ask("HEAD") == (200, whole)
        assert await ask("PATCH", data[:10]) == (204, whole)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/packages/", "/v1/packages/AB", "/v1/packages/../hello", "/v2/hello"])
@asynchronous
async def test_other_paths_are_not_there(tmp_path, path):
    async with running(tmp_path) as place, Raw(place) as raw:
        status, answer, _ = await raw.ask("GET", path, {})
        assert (status, answer["error"]) == (404, "MissingInput")


@pytest.mark.parametrize("query", ["after=-1", "after=x", "wait=1.5", "after=99999999999999999"])
@asynchronous
async def test_other_queries_are_refused(tmp_path, query):
    async with running(tmp_path) as place, Raw(place) as raw:
        status, answer, _ = await raw.ask("GET", f"/v1/packages?{query}", {})
        assert (status, answer["error"]) == (400, "FormatError")


@asynchronous
async def test_a_body_longer_than_announced_does_not_get_in(tmp_path):
    """The second half would be another request; nothing of it is written."""
    async with running(tmp_path) as place, Raw(place) as raw:
        headers = {"Upload-Length": "9", "Upload-Offset": "0", "Content-Length": "9"}
        data = parcel(str(NORTH), b"")[:8] + b"\n"
        status, _, _ = await raw.ask("PATCH", "/v1/packages/" + "ab" * 32, headers, data + b"and more")
        assert status == 400
        assert not list(place.depot.folder.iterdir())


# --- listings ---------------------------------------------------------------------------------------------------------


@asynchronous
async def test_a_listing_waits_for_something_to_list(tmp_path):
    async with running(tmp_path) as place, place.courier() as courier:
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(courier.listing(0, wait=30))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        listed = place.depot.put(NORTH, b"news")
        before = loop.time()
        await loop.run_in_executor(None, place.server.notify)  # from another thread
        assert (await waiting).packages == (listed,)
        assert loop.time() - before < 1


@asynchronous
async def test_a_listing_ends_empty_when_its_time_is_over(tmp_path):
    async with running(tmp_path, Limits(wait=0.2)) as place, place.courier() as courier:
        assert (await courier.listing(0, wait=30)).packages == ()


@asynchronous
async def test_news_for_others_do_not_end_a_wait(tmp_path):
    async with running(tmp_path) as place, place.courier() as courier:
        waiting = asyncio.create_task(courier.listing(0, wait=1))
        await asyncio.sleep(0.1)
        place.depot.put(SOUTH, b"news")
        place.server.notify()
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert (await waiting).packages == ()


@asynchronous
async def test_a_listing_goes_on_after_a_number_and_is_cut(tmp_path):
    async with running(tmp_path, Limits(listed=2)) as place, place.courier() as courier:
        made = [place.depot.put(NORTH, bytes([number])) for number in range(5)]
        assert list((await courier.listing(0)).packages) == made[:2]
        assert list((await courier.listing(2)).packages) == made[2:4]
        assert list((await courier.listing(4)).packages) == made[4:]


@asynchronous
async def test_a_listing_asks_for_what_was_damaged(tmp_path):
    async with running(tmp_path) as place, place.courier() as courier:
        place.depot.damaged[NORTH].append("cd" * 32)
        assert list((await courier.listing(0, wait=30)).again) == ["cd" * 32]


@asynchronous
async def test_a_listing_says_why_the_peer_is_awaited(tmp_path):
    async with running(tmp_path) as place, place.courier() as courier:
        assert (await courier.listing(0)).waiting == ""
        place.depot.awaited[NORTH] = "no round can begin: north would decline it" + "." * 1000
        said = (await courier.listing(0)).waiting
        assert said.startswith("no round can begin: north would decline it") and len(said) == 500


def test_a_listing_that_says_too_much_is_refused():
    said = b'{"again":[],"packages":[],"waiting":"' + b"." * 500 + b'"}'
    assert Listing.parse(said, 0).waiting == "." * 500
    with pytest.raises(FormatError, match="more than 500 characters"):
        Listing.parse(said.replace(b'."', b'.."'), 0)


@asynchronous
async def test_everybody_but_servers_may_ask(tmp_path):
    async with running(tmp_path) as place:
        for name in ("member/south", "auditor/watch", "key-holder/vault", "witness/wit"):
            async with place.courier(Party.parse(name)) as courier:
                assert (await courier.hello()).federation == "lungs.example"


# --- many at once -----------------------------------------------------------------------------------------------------


@asynchronous
async def test_several_go_at_once(tmp_path):
    draw = random.Random(1)
    parcels = [parcel(str(NORTH), draw.randbytes(draw.randrange(1, 3_000_000))) for _ in range(12)]
    async with running(tmp_path) as place, place.courier() as courier:
        jobs = []
        for number, data in enumerate(parcels):
            path = tmp_path / str(number)
            path.write_bytes(data)
            jobs.append(courier.push(digest_of(data), path, len(data)))
        gate = asyncio.Semaphore(4)

        async def one(job):
            async with gate:
                await job

        await asyncio.gather(*map(one, jobs))
        for data in parcels:
            assert place.depot.inbox(digest_of(data)).read_bytes() == data


def test_texts_of_numbers_have_one_spelling():
    from fedspallm_secure.transport.wire import read_number

    assert read_number("0", "n") == 0
    for text in (None, "", "00", "+1", "1 ", "١", "1_0", "-0", "9" * 17):
        with pytest.raises(FormatError):
            read_number(text, "n")
