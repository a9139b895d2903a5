"""The network side of a service: it tries again after trouble, and what should not have happened ends the service."""

import asyncio
import socket
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from fedspallm_secure.app.service import networks, shelf
from fedspallm_secure.app.service.client import _Loop as ClientLoop
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.loops import Stop
from fedspallm_secure.app.service.networks import Network, Visiting
from fedspallm_secure.app.service.server import _Loop as ServerLoop
from fedspallm_secure.app.service.shelf import Shelf
from fedspallm_secure.app.service.visits import Visits
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import ConnectionBroken, LimitExceeded, Unreachable, WrongRoster
from fedspallm_secure.storage.home import Unlocking, open_home
from fedspallm_secure.storage.home_folder import TLS_KEY
from fedspallm_secure.transport.client import Manners
from fedspallm_secure.transport.depot import Listed
from fedspallm_secure.transport.problems import Route
from fedspallm_secure.transport.tls import Credentials
from fedspallm_secure.transport.wire import Hello, Listing
from tests.ceremony import FEDERATION, PASSWORD
from tests.stationary import HUB, SERVER, Action, an_offer, stations

NORTH, SOUTH = Party("member", "north"), Party("member", "south")


class Fake:
    """Stands for a courier.  pushes, listings: when each was asked for; push, listing, hello: what happens then."""

    skew = 0

    def __init__(self, post):
        self.post = post
        self.pushes, self.listings = [], []
        self.fail = {}

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def hang_up(self):
        pass

    def _do(self, what):
        if what in self.fail:
            raise self.fail[what]

    async def hello(self):
        self._do("hello")
        return Hello(FEDERATION, "x/1", 1, self.post.trust.roster.hash, 1, int(time.time()), 0)

    async def listing(self, after, wait):
        self.listings.append(time.monotonic())
        self._do("listing")
        await asyncio.sleep(0.01)
        return Listing((), ())

    async def push(self, *_):
        self.pushes.append(time.monotonic())
        self._do("push")


@pytest.fixture
def found(tmp_path):
    with stations(tmp_path / "federation", members=2) as made:
        yield made


@pytest.fixture
def visiting(found):
    """A member's network, not started, and what stands for its courier."""
    post = found.members["north"].post
    network = Visiting(post, None, Route("h", 1, SERVER, None), Manners(), Live(found.folder / "live.json"))
    network.courier = Fake(post)
    network._make = lambda: network.courier
    yield network
    if network._thread.is_alive():
        network.stop()


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.01)


def test_everything_is_brought_once(visiting):
    visiting.start()
    until(lambda: visiting.idle)
    assert (len(visiting.courier.pushes), visiting.trouble) == (2, None)
    visiting.check()


def test_what_the_server_waits_for_is_heard_with_every_listing(visiting, monkeypatch):
    said = iter(["north would decline it"] * 3)

    async def listing(after, wait):
        await asyncio.sleep(0.01)
        return Listing((), (), next(said, ""))

    monkeypatch.setattr(visiting.courier, "listing", listing)
    heard = []
    monkeypatch.setattr(networks, "_POLL", 0.01)
    visiting.start()
    until(lambda: heard.append(visiting.waiting) or (len(set(heard)) > 1 and heard[-1] == ""))
    assert "north would decline it" in heard


def test_a_member_is_not_idle_while_it_fetches(visiting, monkeypatch):
    visiting.start()
    until(lambda: visiting.idle)
    fetching, go_on = [], []
    waits = SimpleNamespace(digest="ab" * 32, number=1)
    listings = iter([Listing((waits,), ())])

    async def listing(after, wait):
        await asyncio.sleep(0.01)
        return next(listings, Listing((), ()))

    async def take(courier, listed):
        fetching.append(listed)
        while not go_on:
            await asyncio.sleep(0.01)

    monkeypatch.setattr(visiting, "_take", take)
    monkeypatch.setattr(visiting.courier, "listing", listing)
    until(lambda: fetching)
    assert not visiting.idle
    go_on.append(True)
    until(lambda: visiting.idle)


def test_what_the_server_has_no_room_for_is_tried_more_and_more_seldom(visiting, monkeypatch):
    monkeypatch.setattr(networks, "_PAUSE", 0.05)
    monkeypatch.setattr(networks, "_LONGEST", 0.2)
    visiting.courier.fail["push"] = LimitExceeded("no room")
    visiting.start()
    until(lambda: len(visiting.courier.pushes) > 5)
    pauses = [
        after - before for before, after in zip(visiting.courier.pushes, visiting.courier.pushes[1:], strict=False)
    ]
    for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.2, 0.2), strict=False):
        assert least - 0.02 < pause
    assert isinstance(visiting.trouble, LimitExceeded)
    assert not visiting.idle
    visiting.courier.fail.clear()
    until(lambda: visiting.idle)
    assert visiting.trouble is None


def test_a_full_inbox_is_no_server_that_was_away(visiting, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(networks, "_PAUSE", 0.05)
    visiting.courier.fail["push"] = LimitExceeded("no room")
    visiting.start()
    until(lambda: visiting.trouble is not None)
    visiting.courier.fail.clear()
    until(lambda: visiting.idle)
    said = [record.getMessage() for record in caplog.records]
    assert "no room; it is tried again" in said
    assert "the server takes and gives packages again" in said
    assert "the server is reached again" not in said


def test_who_ends_soon_tries_once_and_says_it_once(found, caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        post = found.members["north"].post
        way = Route("127.0.0.1", taken.getsockname()[1], SERVER, None)
        home = post.home
        credentials = Credentials(home.tls.der, home.tls_key(Unlocking(PASSWORD).key(home.path / TLS_KEY)))
        network = Visiting(post, credentials, way, Manners(), Live(found.folder / "live.json"), once=True)
        began = time.monotonic()
        with pytest.raises(Unreachable):
            Visits(post, network, Stop(), once=True).begin()
        network.stop()
    assert time.monotonic() - began < 5
    assert not [record for record in caplog.records if "cannot be reached" in record.getMessage()]


def test_trouble_with_one_thing_stays_while_another_goes_well(visiting, monkeypatch):
    monkeypatch.setattr(networks, "_POLL", 0.02)
    visiting.courier.fail["push"] = LimitExceeded("no room")
    visiting.start()
    until(lambda: len(visiting.courier.listings) > 5)
    assert isinstance(visiting.trouble, LimitExceeded)


def test_a_look_at_an_empty_outbox_is_no_contact(visiting, monkeypatch):
    """While the server is away, though nothing is to be brought."""
    monkeypatch.setattr(networks, "_POLL", 0.02)
    visiting.start()
    until(lambda: visiting.idle)
    assert visiting._live.snapshot()["contacts"].keys() == {str(SERVER)}
    visiting.courier.fail["listing"] = ConnectionBroken("it is away")
    until(lambda: visiting.trouble)
    last = visiting._live.snapshot()["contacts"]
    time.sleep(0.3)  # fifteen looks
    assert visiting._live.snapshot()["contacts"] == last


def test_a_server_that_does_not_wait_is_not_asked_all_the_time(visiting):
    visiting.start()
    until(lambda: visiting.courier.listings)
    time.sleep(0.3)
    assert len(visiting.courier.listings) <= 2


@pytest.mark.parametrize("what", ["hello", "listing", "push"])
def test_what_is_no_error_of_ours_ends_the_network_and_is_raised(visiting, what):
    woken = []
    visiting.wake = lambda: woken.append(visiting._failure)
    defect = visiting.courier.fail[what] = OverflowError("a defect")
    with suppress(OverflowError):  # or as soon as it begins
        visiting.start()
    until(lambda: not visiting._thread.is_alive())
    assert woken[-1] is defect
    with pytest.raises(OverflowError):
        visiting.check()


@pytest.mark.parametrize("what", ["hello", "listing", "push"])
def test_a_member_without_a_network_does_not_go_on(found, visiting, what):
    visiting.courier.fail[what] = OverflowError("a defect")
    station = found.members["north"]
    bench = SimpleNamespace(offer=an_offer, spent=False, windows=lambda: None)
    loop = ClientLoop(station.post, station, bench, visiting, Live(found.folder / "live.json"), Stop(), False)
    with pytest.raises(OverflowError):
        loop.run()


class Short(Network):
    """Ends as soon as it is told to."""

    def notify(self):
        pass

    async def work(self, stopping, ready):
        ready()
        await stopping.wait()
        raise OverflowError("a defect")


def test_a_server_without_a_network_does_not_go_on(found):
    network = Short()
    network.start()
    network.stop()
    loop = ServerLoop(found.server.post, found.server, Live(found.folder / "live.json"), Stop())
    with pytest.raises(OverflowError):
        loop.run(network, False)


def test_a_server_that_ends_by_itself_lets_members_see_that_nothing_waits(found):
    loop = ServerLoop(found.server.post, found.server, Live(found.folder / "live.json"), Stop())
    assert not loop._all_fetched()
    found.now += 2
    assert not loop._all_fetched()
    found.now += 1
    assert loop._all_fetched()


def test_who_was_asked_for_a_package_again_is_left_alone_for_a_while(found, monkeypatch):
    post, now = found.server.post, [1000.0]
    monkeypatch.setattr(shelf.time, "monotonic", lambda: now[0])
    found.carry()
    digest = next(one.digest for one in post.spool.arrived() if one.sender == str(NORTH))
    with post.journal.transaction():
        post.journal.settle(digest, "damaged", "a reason")
    server = Shelf(post.spool, Live(found.folder / "live.json"), post.why_awaited)
    assert server.again(SOUTH) == []
    assert server.again(NORTH) == [digest]
    assert server.again(NORTH) == []
    now[0] += shelf.AGAIN
    assert server.again(NORTH) == [digest]
    found.act(Action(HUB, "deliver", "member/north", digest))
    now[0] += shelf.AGAIN
    assert server.again(NORTH) == []


# A roster that is behind


def refusing(visiting, packages=3):
    """The server has packages, all made under a roster that this home has not; `pulled` says which were asked for."""
    pulled: list[str] = []
    listed = [Listed(number, f"{number:064x}", 10, "plan", 1, "*") for number in range(1, packages + 1)]

    async def listing(after, wait):
        await asyncio.sleep(0.01)
        return Listing(tuple(one for one in listed if one.number > after), ())

    async def pull(one, arrival, show):
        pulled.append(one.digest)
        arrival.close()
        raise WrongRoster("made under another roster")

    visiting.courier.listing, visiting.courier.pull = listing, pull
    return pulled


def test_a_roster_that_is_behind_is_told_once_with_what_to_do_and_ends_a_run_for_cron(visiting, caplog):
    pulled = refusing(visiting)
    visits = Visits(visiting._post, visiting, Stop(), once=True)
    visits.begin()
    until(lambda: visiting.idle)
    said = [record.getMessage() for record in caplog.records if "was refused" in record.getMessage()]
    assert len(pulled) == 3
    assert said == [f"a package of type plan was refused: made under another roster; {WrongRoster.hint}"]
    with pytest.raises(WrongRoster):
        visits.is_over()


def test_a_run_for_cron_gives_the_server_time_for_the_next_layer(visiting):
    visits = Visits(visiting._post, visiting, Stop(), once=True)
    visits.begin()
    until(lambda: visiting.idle)
    assert visits.is_over() and not visits.is_over(more=True)
    visits._moved -= 10
    assert visits.is_over(more=True)
    visits.notify()
    assert not visits.is_over(more=True)
    by_hand = Visits(visiting._post, None, Stop(), once=True)
    assert by_hand.is_over(more=True), "nothing comes to somebody who is carried"


def test_what_was_refused_is_fetched_again_under_a_newer_roster(found, visiting):
    pulled = refusing(visiting)
    visiting.start()
    until(lambda: visiting.idle)
    before, post = len(pulled), visiting._post
    found.ceremony.take("member/north", found.ceremony.roster())
    post.renew(open_home(post.home.path))
    until(lambda: len(pulled) == 2 * before)


@pytest.mark.parametrize(("theirs", "advice"), [(2, "fedprune certs import"), (0, "its operator has to import")])
def test_of_two_rosters_it_is_said_who_has_the_older_one(visiting, caplog, theirs, advice):
    async def hello():
        return Hello(FEDERATION, "x/1", theirs, "ab" * 32, 1, int(time.time()), 0)

    visiting.courier.hello = hello
    visiting.start()
    until(lambda: visiting.hello is not None)
    assert [advice in record.getMessage() for record in caplog.records if "the server has" in record.getMessage()] == [
        True
    ]
