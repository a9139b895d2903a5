"""Rounds between stations on disk, against hostile servers, members and disks, and against bad luck."""

import asyncio
import os
import sqlite3
import time
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.service.client import _Loop
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.loops import Stop
from fedspallm_secure.app.service.networks import Visiting
from fedspallm_secure.app.stations.member_station import MemberStation
from fedspallm_secure.app.stations.models import MemberModel
from fedspallm_secure.app.stations.opening import open_station
from fedspallm_secure.app.stations.revisions import Revisions
from fedspallm_secure.app.walking.skeleton import Skeleton
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.key_records import prekeys_from
from fedspallm_secure.errors import DiskFull, LimitExceeded, PlanDeclined, RunLocked
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.rounds.member_own import PrivacyLeft
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.outcomes import GroupResult, Result
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended, SurvivorList, encode_survivors
from fedspallm_secure.protocol.rounds.unmasking import UnmaskResponse
from fedspallm_secure.storage.arrivals import part_of
from fedspallm_secure.storage.checkpoints.reader import Checkpoint
from fedspallm_secure.storage.home import open_home
from fedspallm_secure.storage.room import Quota
from fedspallm_secure.transport import line
from fedspallm_secure.transport.client import Manners
from fedspallm_secure.transport.problems import Route
from fedspallm_secure.transport.wire import Hello, Listing
from tests.ceremony import FEDERATION, PASSWORD
from tests.ground import make_ground
from tests.stationary import DIGEST, HUB, SERVER, Action, Stations, an_offer, keep, stations

NORTH = Party("member", "north")


def offer(found, name, layers=0, bundle=""):
    station = found.members[name]
    with station.post.at_once():
        body = an_offer(bundle or station.bundle, station.policy, layers).encode()
        station.post.send("offer", SERVER, [body])


def bundle_of(found, name, exchange=None, count=4):
    """Another bundle of a member, which it has signed."""
    station = found.members[name]
    leaves = [Prekey.from_bytes((exchange or key.leaf[:32]) + key.leaf[32:]) for key in prekeys_from(0, count)]
    signer = station.post.signer
    return Prekeys.make(signer, FEDERATION, station.party, 0, leaves, found.now, found.now + 86_400)


def reach(found, type, name="north"):
    """Go on until a package of a type lies in a member's inbox."""
    for _ in range(40):
        found.carry()
        if any(arrived.type == type for arrived in found.members[name].post.spool.arrived()):
            return
        found.step()
    raise AssertionError("it never comes")


def until(found, condition):
    for _ in range(40):
        if condition():
            return
        found.carry()
        found.step()
    raise AssertionError("it never happens")


def serve(found, type, plan, body, name="north", group="*"):
    """The server sends something to a member, which gets it."""
    with found.server.post.at_once():
        digest = found.server.post.send(type, Party("member", name), [body], plan.round, plan.hash, group)
    found.act(Action(f"member/{name}", "deliver", HUB, digest))


def plan_body(found, plan, name="north"):
    near = tuple(found.members[other].bundle for other in sorted(plan.neighbours_of(name)))
    return PlanBody(plan, near).encode()


def result_of(found, plan):
    """A result that the server makes up: nobody was asked for anything."""
    groups = [GroupResult(one.gid, one.weights, 3, "11" * 32, "22" * 32, 0, 0, DIGEST) for one in plan.groups]
    signer = found.server.post.signer
    return Result.make(signer, plan.federation, plan.round, plan.hash, "ee" * 32, groups, [], ["east"])


def take(found, party, *documents):
    """Import documents, and go on with them."""
    found.ceremony.take(party, *documents)
    post = found.post(party)
    post.renew(open_home(post.home.path))
    found.station(party).renew()


def loop_of(found, name):
    """The turns of `fedprune client`, without a network."""

    def prune(plan, due, contribute, sent, wanted):
        for group in due:
            contribute(group)

    bench = SimpleNamespace(offer=an_offer, prune=prune, spent=False, windows=lambda: None)
    station = found.members[name]
    return _Loop(station.post, station, bench, None, Live(found.folder / f"{name}.live"), Stop(), False)


class Line:
    """Stands for the line to a server that says what a test wants.  asked: how many listings."""

    skew = 0

    def __init__(self, post, listing):
        self.post, self.answer, self.asked = post, listing, 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def close(self):
        pass

    async def hang_up(self):
        pass

    async def hello(self):
        return Hello(FEDERATION, "x/1", 1, self.post.trust.roster.hash, 1, int(time.time()), 0)

    async def listing(self, after, wait):
        self.asked += 1
        await asyncio.sleep(0.001)
        return self.answer()

    async def push(self, *_):
        pass


def visit(found, listing, seconds):
    """A member's network side, for some seconds, at such a server: how often it asked, and what it says is wrong."""
    post = found.members["north"].post
    network = Visiting(post, None, Route("h", 1, SERVER, None), Manners(), Live(found.folder / "live"))
    there = Line(post, listing)
    network._make = lambda: there
    network.start()
    try:
        time.sleep(seconds)
        return there.asked, network.trouble or network._failure
    finally:
        network.stop()


# One home in two processes


def test_a_home_is_at_work_in_one_process_alone(tmp_path):
    """THREAT_MODEL T163: a home is used by two processes with two work folders."""
    with stations(tmp_path) as found, pytest.raises(RunLocked), ExitStack() as stack:
        home, data = found.ceremony.home("member/north"), tmp_path / "other-data"
        stack.enter_context(open_station(home, data, lambda _: PASSWORD, lambda: found.now))


def test_two_processes_on_one_home_do_not_endorse_two_lists(tmp_path):
    """THREAT_MODEL T164: two processes write into the journal of one home, and a server shows each another list."""
    with stations(tmp_path) as found, ExitStack() as stack:
        reach(found, "survivors")
        home = found.ceremony.home("member/north")
        try:
            opened = open_station(home, tmp_path / "other", lambda _: PASSWORD, lambda: found.now, sole=False)
            post = stack.enter_context(opened)
            second = MemberStation(post, found.policy, found.works["north"], found.works["north"])
            found.members["north"].work_through()
            machine = found.server.station.machine
            plan, ended = machine.plan, [Ended(machine.plan.groups[1].gid, EndCode.STOPPED)]
            said = (plan.federation, plan.round, machine.plan_hash, machine.listed.groups[:1], ended)
            other = SurvivorList.make(found.server.post.signer, *said)
            with found.server.post.at_once():
                body = [encode_survivors(other)]
                digest = found.server.post.send("survivors", NORTH, body, plan.round, machine.plan_hash)
            data = (found.data(HUB) / "spool" / "out" / f"{digest}.fspkg").read_bytes()
            arrival = post.spool.arrival(SERVER, digest, len(data))
            arrival.write(data)
            arrival.finish()
            second.work_through()
        except RunLocked:
            pass
        sent = [listed.type for listed in found.members["north"].post.spool.outgoing()]
        assert sent.count("endorsement") == 1


# What a server makes a member believe


def test_the_result_of_a_second_plan_for_a_round_is_no_base(tmp_path):
    """THREAT_MODEL T165: the server sends a second plan for a round, and a result for it that nobody contributed to."""
    with stations(tmp_path) as found:
        until(found, lambda: all(member.machine.accepted for member in found.members.values()))
        north, plan = found.members["north"], replace(found.server.station.plan, nonce="cd" * 32)
        accepted = north.machine.round.plan_hash
        serve(found, "plan", plan, plan_body(found, plan))
        north.work_through()
        assert north.results.plan_of(plan.round)[1] == accepted
        forged = result_of(found, plan)
        serve(found, "result", plan, forged.encode())
        for group in plan.groups:
            serve(found, "layer", plan, b'"made up"', group=str(group.gid))
        north.work_through()
        assert found.works["north"].model().previous != forged.hash


def test_a_plan_that_was_declined_does_not_end_what_is_followed(tmp_path):
    """THREAT_MODEL T166: a plan with a huge round number is declined, and would make all others look old."""
    with stations(tmp_path) as found:
        until(found, lambda: all(member.machine.accepted for member in found.members.values()))
        plan = replace(found.server.station.plan, nonce="cd" * 32, round=(1 << 53) - 1)
        serve(found, "plan", plan, plan_body(found, plan))
        found.run()
        assert found.works["south"].taken == [(1, 0), (1, 1)]
        assert found.works["north"].taken == [(1, 0), (1, 1)]


def test_a_layer_that_the_model_does_not_have_stops_nobody(tmp_path):
    """THREAT_MODEL T167: a layer of a group that the member's model does not have."""
    (tmp_path / "ground").mkdir()
    ground = make_ground(tmp_path / "ground", ("north",))
    skeleton = Skeleton(Checkpoint.open(ground.model), torch.device("cpu"), torch.float32, None)
    with stations(tmp_path / "f") as found:
        until(found, lambda: found.server.station is not None)
        north, plan = found.members["north"], found.server.station.plan
        north.results._applier = MemberModel(Revisions(skeleton, tmp_path / "work", Silent()))
        north.book.look_up = lambda *_: None  # as if the log said the same
        plan = replace(
            plan, nonce="cd" * 32, round=9, groups=tuple(replace(one, gid=50 + one.gid) for one in plan.groups)
        )
        serve(found, "plan", plan, plan_body(found, plan))
        serve(found, "result", plan, result_of(found, plan).encode())
        serve(found, "layer", plan, b"\xff" + bytes(32), group="50")
        north.work_through()
        assert not north.post.spool.arrived()


# What one member does to the server


def test_an_offer_that_allows_no_round_stops_no_server(tmp_path):
    """THREAT_MODEL T168: a member offers so few layers that no round can be drawn."""
    with stations(tmp_path) as found:
        offer(found, "north", layers=1)
        found.run()
        found.reopen(HUB)
        found.server.tick()
        assert found.server.waiting


def test_an_offer_with_the_bundle_of_somebody_else_stops_no_server(tmp_path):
    """THREAT_MODEL T169: a member names the prekeys of another one."""
    with stations(tmp_path) as found:
        offer(found, "north", 0, found.members["south"].bundle.statement.digest.hex())
        found.run()
        found.reopen(HUB)
        found.server.tick()


def test_prekeys_that_nobody_can_use_are_refused_when_they_come(tmp_path):
    """THREAT_MODEL T170: a member publishes prekeys that all others would decline by P9."""
    with stations(tmp_path) as found:
        bundle = bundle_of(found, "north", bytes(32))
        with found.members["north"].post.at_once():
            found.members["north"].post.send("prekeys", SERVER, [bundle.encode()])
        offer(found, "north", 0, bundle.statement.digest.hex())
        found.carry()
        found.server.work_through()
        assert [arrived.type for arrived, _ in found.server.told] == ["prekeys"]


def test_bundles_of_prekeys_do_not_pile_up(tmp_path):
    """THREAT_MODEL T171: a member sends one bundle of prekeys after the other."""
    with stations(tmp_path) as found:
        north = found.members["north"].post
        with north.at_once():
            for _ in range(12):
                north.send("prekeys", SERVER, [bundle_of(found, "north", count=1).encode()])
        found.carry()
        found.server.work_through()
        assert len(found.server.post.journal.recall_all("bundle")) <= 2 * len(found.names)


def test_what_was_only_announced_leaves_nothing_behind(tmp_path):
    """THREAT_MODEL T172: a member announces packages and sends none of them."""
    with stations(tmp_path) as found:
        spool = found.server.post.spool
        for number in range(300):
            try:
                arrival = spool.arrival(NORTH, f"{number:064x}", 1000)
            except LimitExceeded:
                break
            arrival.close()
        assert len(list((spool.folder / "part").iterdir())) <= 64


def test_room_on_the_disk_is_promised_once(tmp_path, monkeypatch):
    """THREAT_MODEL T173: uploads at the same time, each of which fits alone."""
    with stations(tmp_path, quota=Quota(free=10_000)) as found:
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=110, f_frsize=1000))
        found.server.post.spool.arrival(NORTH, "aa" * 32, 100_000)
        with pytest.raises(DiskFull):
            found.server.post.spool.arrival(NORTH, "bb" * 32, 100_000)


def test_a_quota_counts_what_is_promised(tmp_path):
    """THREAT_MODEL T173: uploads at the same time, each of which fits alone."""
    with stations(tmp_path, quota=Quota(sender=100_000, free=0)) as found:
        found.server.post.spool.arrival(NORTH, "aa" * 32, 100_000)
        with pytest.raises(LimitExceeded):
            found.server.post.spool.arrival(NORTH, "bb" * 32, 100_000)


def test_an_upload_that_goes_on_is_counted_once(tmp_path):
    """THREAT_MODEL T174: an upload that was cut counts twice, so that nobody can finish it."""
    with stations(tmp_path, quota=Quota(sender=100_000, free=0)) as found:
        spool = found.server.post.spool
        arrival = spool.arrival(NORTH, "ab" * 32, 80_000)
        os.pwrite(arrival._descriptor, bytes(50_000), 0)
        arrival.close()
        assert spool.arrival(NORTH, "ab" * 32, 80_000).offset == 50_000


def test_an_answer_is_no_larger_than_the_plan_allows(tmp_path, monkeypatch):
    """THREAT_MODEL T175: an answer of hundreds of MiB of JSON."""
    read = []
    parse = UnmaskResponse.parse
    monkeypatch.setattr(UnmaskResponse, "parse", lambda body: read.append(len(body)) or parse(body))
    with stations(tmp_path) as found:
        reach(found, "unmask-request")
        station, north = found.server.station, found.members["north"].post
        with north.at_once():
            body = [b"[" + b"{}," * 500_000 + b"{}]"]
            digest = north.send("unmask-response", SERVER, body, station.plan.round, station.machine.plan_hash)
        found.act(Action(HUB, "deliver", "member/north", digest))
        found.server.work_through()
        assert max(read, default=0) < 1_000_000


# Rounds that never end


def test_a_round_that_members_would_decline_is_not_tried_again(tmp_path):
    """THREAT_MODEL T176: a member falls silent, and the others' ledgers refuse every repetition, one attempt after the
    other.
    """
    with stations(tmp_path, prekeys=4) as found:
        until(found, lambda: found.server.station is not None)
        found.silent = {"east"}
        found.run()
        found.now = found.server.station.plan.deadlines.contribution + 1
        found.silent = set()
        found.wait()
        assert found.model.done == [] and found.server.post.journal.last_round() == 1
        assert "north, south, west had a part in round 1, which ended with TOO_FEW" in found.server.waiting
        found.reopen(HUB)
        assert not found.server.tick() and "cannot be summed" in found.server.waiting


def test_a_round_that_nobody_contributed_to_is_tried_again(tmp_path):
    """THREAT_MODEL T176: a member falls silent, and the others' ledgers refuse every repetition, one attempt after the
    other.
    """
    with stations(tmp_path, prekeys=4) as found:
        until(found, lambda: found.server.station is not None)
        found.silent = set(found.names)
        found.now = found.server.station.plan.deadlines.contribution + 1
        found.run()
        found.silent = set()
        found.run()
        assert found.model.done == [2]


def test_a_member_whose_certificate_was_withdrawn_is_not_waited_for(tmp_path):
    """THREAT_MODEL T177: a member is withdrawn, and the server waits for it in silence."""
    with stations(tmp_path, prekeys=4, members=5, schedule=("1/4", "1/2")) as found:
        until(found, lambda: found.model.done == [1])
        found.silent = {"north"}
        crl = found.ceremony.revoke("member/north")
        for party in found.parties:
            if party != "member/north":
                take(found, party, crl)
        found.run()
        assert found.server.station is None
        assert found.server.waiting.startswith("certificate withdrawn of north: who takes part was fixed")


def test_a_member_that_missed_layers_gets_them_later(tmp_path):
    """THREAT_MODEL T178: a member misses layers of a result, and can follow no later plan."""
    with stations(tmp_path, prekeys=8, members=5, schedule=("1/4", "1/2")) as found:
        until(found, lambda: found.server.station is not None and found.server.station.machine.result is not None)
        name, post = "middle", found.members["middle"].post
        for listed in found.server.post.spool.outgoing():
            if listed.recipient == f"member/{name}" and listed.type == "result":
                found.act(Action(f"member/{name}", "deliver", HUB, listed.digest))
        found.members[name].work_through()
        found.silent = {name}
        found.wait()
        found.silent = set()
        found.run()
        assert not [arrived for arrived in post.spool.arrived() if arrived.type == "plan"]


def test_a_plan_on_its_way_survives_new_prekeys(tmp_path):
    """THREAT_MODEL T179: new prekeys are published while a plan that names the old ones is on its way."""
    with stations(tmp_path, schedule=("1/4", "1/2")) as found:
        loops = [loop_of(found, name) for name in found.names]
        for _ in range(20):
            found.carry()
            for loop in loops:
                loop._turn()
            while found.server.work_through() or (found.server.tick() and _round(found) < 2):
                pass
            if _round(found) == 2:
                break
        for name, loop in zip(found.names, loops, strict=True):  # the result is there first, the plan after it
            for listed in found.server.post.spool.outgoing():
                if listed.type in ("log", "result") and (listed.recipient, listed.departed) == (
                    f"member/{name}",
                    False,
                ):
                    found.act(Action(f"member/{name}", "deliver", HUB, listed.digest))
            loop._turn()
        for _ in range(3):
            found.carry()
            for loop in loops:
                loop._turn()
        assert [found.members[name].plan.round for name in found.names] == [2, 2, 2, 2]


def _round(found: Stations) -> int:
    return found.server.station.plan.round if found.server.station else 0


def test_an_offer_that_met_a_newer_roster_is_made_again(tmp_path):
    """THREAT_MODEL T180: a newer roster comes between an offer and its opening."""
    with stations(tmp_path) as found:
        loop, roster = loop_of(found, "north"), found.ceremony.roster()
        take(found, HUB, roster)
        loop._offer()
        spool = found.members["north"].post.spool
        for listed in spool.outgoing():
            found.act(Action(HUB, "deliver", "member/north", listed.digest))
            spool.departed(SERVER, listed.digest)  # WrongRoster is a PackageRefused: the client does not try again
        assert found.turned_away
        found.ceremony.take("member/north", roster)
        loop._turn()
        assert [listed.type for listed in spool.outgoing() if not listed.departed] == ["prekeys", "offer"]


def test_a_result_that_met_a_newer_roster_is_not_lost(tmp_path):
    """THREAT_MODEL T181: a newer roster makes a result and its layers unreadable."""
    with stations(tmp_path, prekeys=4, schedule=("1/4", "1/2")) as found:
        until(found, lambda: found.server.station is not None and found.server.station.machine.result is not None)
        roster = found.ceremony.roster()
        for party in found.parties:
            take(found, party, roster)
        found.run()
        assert [work.taken[:2] for work in found.works.values()] == [[(1, 0), (1, 1)]] * 4


def test_who_enrolled_again_is_no_old_copy(tmp_path):
    """THREAT_MODEL T182: a member that enrolled again is taken for an old copy."""
    with stations(tmp_path, prekeys=4) as found:
        found.run()
        found.close("member/north")
        for path in (found.ceremony.home("member/north"), found.data("member/north")):
            path.rename(path.with_name(path.name + "-lost"))
        crl = found.ceremony.revoke("member/north")
        found.ceremony.take("member/north", found.ceremony.sign(found.ceremony.request("member/north", prekeys=4)))
        roster = found.ceremony.roster()
        found.ceremony.take("member/north", crl, roster)
        take(found, HUB, crl, roster)
        found.open("member/north")
        found.members["north"].check_sequence(found.server.post.spool.last_sequence(NORTH))


def test_an_answer_that_could_not_be_sealed_is_told_and_made_up_for(tmp_path):
    """THREAT_MODEL T183: the revocation list ends while an answer is made."""
    with stations(tmp_path) as found:
        north = found.members["north"]
        end = north.post.trust.crl.next_update
        found.now = end - 50
        reach(found, "unmask-request")
        ticks = iter([end])
        north.post.now = north.clock = lambda: next(ticks, end + 1)  # the list ends while the answer is made
        north.work_through()
        north.post.now = north.clock = lambda: end
        north.work_through()
        sent = [listed.type for listed in north.post.spool.outgoing()]
        assert north.told or (north.machine.state is State.ANSWERED) == ("unmask-response" in sent)


# The network side of a member


def test_a_date_that_is_none_is_no_date():
    """THREAT_MODEL T184: a server sends a date that no clock can show."""
    assert line._skew("Mon, 01 Jan 99999999999 00:00:00 GMT") == 0


def test_a_network_that_has_ended_is_noticed(tmp_path):
    """THREAT_MODEL T185: the network side of a service ends, and nobody notices."""

    def listing():
        raise FileNotFoundError("a part that another process has finished")

    with stations(tmp_path) as found:
        _, wrong = visit(found, listing, 0.5)
        assert wrong is not None


def test_a_part_that_vanishes_is_no_error_of_python(tmp_path):
    """THREAT_MODEL T186: a file of the spool vanishes while it is looked at."""
    with stations(tmp_path, quota=Quota(sender=100, free=0)) as found:
        spool = found.members["north"].post.spool
        arrival = spool.arrival(SERVER, "cd" * 32, 90)
        arrival.write(b"x")
        arrival.close()
        part_of(spool.folder / "part", SERVER, "cd" * 32).unlink()
        assert spool.arrival(SERVER, "ab" * 32, 100) is not None


def test_a_server_that_asks_again_for_what_is_gone_is_not_asked_all_the_time(tmp_path):
    """THREAT_MODEL T187: a server asks for a package again and again that its sender no longer has."""
    with stations(tmp_path) as found:
        asked, _ = visit(found, lambda: Listing((), ("ab" * 32,)), 0.5)
        assert asked <= 5


# What stays on disk


def test_secrets_of_a_round_that_never_ended_go_with_the_next_one(tmp_path):
    """THREAT_MODEL T188: a server never says how a round ended, so that its secrets stay."""
    with stations(tmp_path, prekeys=4) as found:
        until(found, lambda: bool(found.members["north"].machine.deals))
        found.silent = {"north"}
        for folder in (found.model.folder, *(work.folder for work in found.works.values())):
            keep(folder / "done-1.json", "ab" * 32)  # so that the next plan has another base
        found.server.abort()
        found.run()
        found.server.post.spool.discard(2)  # what ended the round never arrives
        found.silent = set()
        found.run()
        north = found.members["north"]
        assert north.plan.round == 2
        with sqlite3.connect(north.post.journal.path) as connection:
            assert connection.execute("SELECT count(*) FROM records WHERE secret = 1 AND round = 1").fetchone() == (0,)


def test_own_layers_go_when_their_round_is_part_of_the_model(tmp_path):
    """THREAT_MODEL T189: a member's own pruned layers stay on its disk, in the clear."""
    nothing = SimpleNamespace(folder=tmp_path, advance=lambda *_: None, write_model=lambda _: None)
    model, plan = MemberModel(nothing), SimpleNamespace(round=1, sampling=SimpleNamespace(number=0, schedule=()))
    own = model.own_folder(1)
    own.mkdir(parents=True)
    (own / "layer-0000.safetensors").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedspallm_secure.app.stations.models.rounds_drawn", lambda _: 5)
        model.complete(plan, SimpleNamespace(hash="aa", groups=()))
    assert not list(own.glob("*"))


@pytest.mark.parametrize("left", [PrivacyLeft(0), PrivacyLeft(0, ((7,),)), PrivacyLeft(9)])
def test_no_plan_costs_more_of_a_privacy_budget_than_its_member_allows(tmp_path, monkeypatch, left):
    """THREAT_MODEL T255: rounds that a privacy budget does not cover, and a pruner that noise does not go with."""
    with stations(tmp_path / "federation", members=5, layers=1) as found:
        works, spent = found.works["north"], left.releases == 0
        model = works.model
        monkeypatch.setattr(works, "model", lambda: replace(model(), privacy=left))
        if spent:  # plans of this federation are by sparsegpt: as if noise went with it
            monkeypatch.setattr("fedspallm_secure.protocol.rounds.plan_checks.PRIVATE_PRUNER", "sparsegpt")
        found.wait()
        ((arrived, error),) = found.members["north"].told
        assert (arrived.type, type(error), error.check) == ("plan", PlanDeclined, "P14")
        assert ("budget is spent" if spent else "by wanda alone, and the plan says sparsegpt") in str(error)
        assert found.members["north"].machine.deals == {} and found.model.done == [1]  # the others go on
