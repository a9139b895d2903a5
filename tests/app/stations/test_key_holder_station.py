"""A key holder on disk: one sum of each group, one key for each round, and nothing of either afterwards."""

import random
import shutil
from dataclasses import replace

import pytest

from fedspallm_secure.app.rounds import round_keys
from fedspallm_secure.app.rounds.planning import cipher_for
from fedspallm_secure.app.stations import key_holder_station
from fedspallm_secure.app.stations.station import check_sequence
from fedspallm_secure.errors import (
    NotAwaited,
    OutOfTurn,
    PlanDeclined,
    RecordDamaged,
    RevocationListStale,
    RolledBack,
    UnmaskingDeclined,
)
from fedspallm_secure.protocol.rounds.decrypting import Challenge
from fedspallm_secure.protocol.rounds.key_holder import KeyErased, SumDecrypted, SumShown, read_key_holder_record
from fedspallm_secure.protocol.rounds.outcomes import Abort
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.records_server import Challenged
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.pruning.strategies import Strategy
from tests.app.stations.holding import HOLDER, VAULT, check_sums, desk, record, renewed, setting, until
from tests.clear_cipher import clear
from tests.faults import When
from tests.figures import kills, played
from tests.figures.played import Scene
from tests.station_faults import tellable
from tests.stationary import HOUR, NAMES, Stations


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return record(tmp_path_factory.mktemp("kept"))


@pytest.fixture(autouse=True)
def _clear():
    with clear():
        yield


@pytest.fixture
def at(kept, tmp_path):
    """at(TYPE): a desk where a package of this type waits."""
    return lambda type, *others: desk(kept[type], tmp_path / "copy", *others)


def records(found, kind):
    all = found.vault.post.journal.records(1, read_key_holder_record)
    return [one for one in all if isinstance(one, kind)]


# --- rounds -----------------------------------------------------------------------------------------------------------


def test_everybody_is_reopened_before_every_action(tmp_path):
    """What parties keep in memory decides nothing."""
    draws = random.Random(3)
    with Stations(tmp_path, setting=setting()) as found:
        for _ in range(60):
            done = 0
            for action in found.due(lambda all: draws.sample(all, len(all))):
                if action.kind not in {"deliver", "departed"}:
                    found.reopen(action.party)
                done += found.act(action)
            if not done:
                break
        check_sums(found, [1])


def test_a_round_with_a_member_that_drops_out(tmp_path):
    with Stations(tmp_path, setting=setting(members=5)) as found:
        until(found, "member/north", "plan")
        found.silent = {"north"}
        found.wait()
        found.silent = set()
        assert found.model.done == [1]
        assert found.key_holders["vault"].machine.listed(0).ids == tuple(sorted(set(found.names) - {"north"}))


# --- one sum of a group -----------------------------------------------------------------------------------------------


def test_a_second_sum_is_refused_and_the_same_one_answered_again(at):
    with at("decrypt-request") as found:
        assert found.work() == []
        (shown,) = records(found, SumShown)
        message, total = found.said("decrypt-request"), bytes(found.hub.station.encrypted.sums.of(0))
        path = found.vault.folder / "round-1" / "0000.sum"
        assert path.read_bytes() == total
        other = bytearray(total)
        other[100] ^= 1
        found.restart()
        (error,) = found.send("decrypt-request", [message.body, other])
        assert isinstance(error, UnmaskingDeclined)
        assert error.check == "K5"
        assert (path.read_bytes(), found.made("decrypt-challenge")) == (total, 1)
        assert found.send("decrypt-request", [message.body, total]) == []
        assert (records(found, SumShown), found.made("decrypt-challenge")) == ([shown], 2)
        assert sorted(one.name for one in path.parent.iterdir()) == [path.name]  # nothing of what was refused


@pytest.mark.parametrize("cut", [-1, 1])
def test_a_sum_of_another_length(at, cut):
    with at("decrypt-request") as found:
        found.drop()
        total = bytes(found.hub.station.encrypted.sums.of(0))
        parts = [found.said("decrypt-request").body, total[:cut] if cut < 0 else total + bytes(cut)]
        (error,) = found.send("decrypt-request", parts)
        assert "does not have" in str(error) or "more than a sum" in str(error)
        assert records(found, SumShown) == []
        assert not (found.vault.folder / "round-1" / "incoming.part").exists()


def opening(found):
    return bytearray(b"".join(found.hub.station.encrypted.sums.opened(0)))


@pytest.mark.parametrize("place", [0, 100, -1])
def test_an_opening_with_a_changed_byte_decrypts_nothing(at, place):
    with at("decrypt-opening") as found:
        vault = found.vault
        good, bad = opening(found), opening(found)
        bad[place] ^= 1
        found.drop()
        (error,) = found.send("decrypt-opening", [bad])
        assert isinstance(error, UnmaskingDeclined)
        assert error.check == "K8"
        assert (records(found, SumDecrypted), found.made("decrypt-response")) == ([], 0)
        assert sorted(one.name for one in (vault.folder / "round-1").iterdir()) == ["0000.sum"]
        assert found.send("decrypt-opening", [good]) == []
        assert (len(records(found, SumDecrypted)), found.made("decrypt-response")) == (1, 1)


def test_a_sum_that_is_not_that_of_what_is_opened(at):
    """The server shows one member's vector in place of the sum, and opens everybody's honestly."""
    with at("decrypt-request") as found:
        station = found.hub.station
        found.drop()
        with station.vault.read(station.machine.groups[0], "north") as source:
            alone = source.read()
        assert found.send("decrypt-request", [found.said("decrypt-request").body, alone]) == []
        (shown,) = records(found, SumShown)
        assert shown.chunks == (0,)
        machine = station.machine
        machine.challenged[0] = replace_challenge(found)
        (error,) = found.send("decrypt-opening", [opening(found)])
        assert isinstance(error, UnmaskingDeclined)
        assert "does not add up" in str(error)
        assert (records(found, SumDecrypted), found.made("decrypt-response")) == ([], 0)


def replace_challenge(found):
    """What a server takes down that answers a challenge which honest ones refuse."""
    (shown,) = records(found, SumShown)
    return Challenged(0, "ab" * 32, Challenge(shown.root, shown.chunks).encode())


def test_an_opening_that_comes_again_is_answered_in_the_same_words(at):
    with at("decrypt-opening") as found:
        body = opening(found)
        assert found.work() == []
        found.restart()
        assert found.send("decrypt-opening", [body]) == []
        assert (len(records(found, SumDecrypted)), found.made("decrypt-response")) == (1, 2)


def test_a_sum_whose_file_is_gone_ends_the_service(at):
    with at("decrypt-opening") as found:
        (found.vault.folder / "round-1" / "0000.sum").unlink()
        with pytest.raises(RecordDamaged, match="sum of group 0 is not there"):
            found.work()


def test_a_key_that_is_gone_ends_the_service(at):
    with at("decrypt-opening") as found:
        journal = found.vault.post.journal
        with journal.transaction():
            journal.forget_secret("cipher secret", found.vault.machine.key_hash)
        with pytest.raises(RecordDamaged, match="secret key of this round"):
            found.work()


def test_what_is_out_of_turn_or_not_for_a_key_holder(at):
    with at("decrypt-request") as found:
        found.drop()
        (error,) = found.send("decrypt-opening", [b"x"])
        assert isinstance(error, OutOfTurn)
        with pytest.raises(NotAwaited):  # at the door already
            found.send("survivors", [b"x"])
        found.found.now += 5 * 3600  # the deadlines are over
        (error,) = found.send("decrypt-request", [found.said("decrypt-request").body, bytes(10)])
        assert isinstance(error, OutOfTurn)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_key_is_wiped_after_the_result(at):
    with at("result") as found:
        secret, key = found.secret(), found.vault.machine.key_hash
        assert secret[40:80] in found.disk()
        assert found.work() == []
        assert found.vault.machine.over
        assert len(records(found, KeyErased)) == 1
        disk = found.disk()
        assert not any(secret[at : at + 40] in disk for at in range(0, len(secret) - 40, 8))
        assert key not in [one.hash for one in found.vault.held_keys()]
        assert list(found.vault.folder.iterdir()) == []  # no sum is kept either
        found.restart()
        assert found.vault.machine.over


def test_the_key_is_wiped_after_an_abort_of_the_round_and_not_of_a_group(at):
    with at("decrypt-request") as found:
        secret = found.secret()
        assert found.send("abort", [Abort(0, EndCode.STOPPED).encode()]) == []
        assert secret[40:80] in found.disk()
        assert not found.vault.machine.over
        assert found.send("abort", [Abort(None, EndCode.STOPPED).encode()], group="*") == []
        assert secret[40:80] not in found.disk()
        assert found.vault.machine.over


def test_an_aborted_round_leaves_no_key(at):
    with at("decrypt-opening") as found:
        secret = found.secret()
        found.drop()
        found.hub.abort()
        found.found.carry()
        assert found.work() == []
        assert found.vault.machine.over
        assert secret[40:80] not in found.disk()
        (error,) = found.send("decrypt-opening", [b"x"])
        assert isinstance(error, OutOfTurn)


def indices(vault):
    return [key.index for key in vault.held_keys()]


def test_the_stock_is_kept_and_not_exceeded(at):
    with at("plan") as found:
        vault = found.vault
        assert (indices(vault), found.made("cipher-key")) == ([1], 1)
        assert found.work() == []
        assert (indices(vault), found.made("cipher-key")) == ([1, 2], 2)  # one is in use
        for _ in range(2):
            found.restart()
            assert (indices(found.vault), found.made("cipher-key")) == ([1, 2], 2)


def again(found, parameters=None, stock=1):
    """The key holder with another configuration."""
    vault = found.vault
    cipher = parameters or cipher_for(4, Strategy.FEDSPALLM, 32)
    return key_holder_station.KeyHolderStation(vault.post, vault.policy, cipher, vault.folder, stock)


def test_a_larger_stock_and_other_parameters(at):
    with at("plan") as found:
        assert indices(again(found, stock=3)) == [1, 2, 3]
        other = again(found, cipher_for(9, Strategy.VOTES, 32), stock=2)
        assert indices(other) == [1, 2, 3, 4, 5]
        assert [key.parameters.members for key in other.held_keys()] == [4, 4, 4, 9, 9]


def test_keys_that_end_are_replaced_and_erased_once_they_have(at, monkeypatch):
    with at("plan") as found:
        monkeypatch.setattr(round_keys, "VALID", 25 * HOUR)
        assert indices(again(found, stock=2)) == [1, 2]
        monkeypatch.undo()
        with clear():
            for hours, left in ((0.5, [1, 2]), (2, [1, 2, 3]), (24, [1, 3])):
                found.found.now += int(hours * HOUR)
                assert indices(again(found, stock=2)) == left
        rows = found.vault.post.journal.connection.execute("SELECT name FROM facts WHERE kind = 'cipher secret'")
        assert {name for (name,) in rows} == {key.hash for key in found.vault.held_keys()}


def test_the_secrets_of_a_round_that_nobody_ends_are_erased_after_it(at):
    with at("decrypt-request") as found:
        assert found.work() == [] and found.secret()
        found.found.now = found.hub.station.plan.deadlines.abort
        found.vault.work_through()
        assert found.secret() and not found.vault.machine.over
        found.found.now += 1
        found.vault.work_through()
        assert found.vault.machine.over
        with pytest.raises(IndexError):
            found.secret()
        assert again(found).machine.over


def test_what_could_not_be_sealed_was_not_decided(at, monkeypatch):
    """The revocation list ends while a sum is looked at: nothing of it counts before it is written down."""
    with at("decrypt-request") as found:
        vault, now = found.vault, found.found.now
        given = vault.machine.on_request

        def slowly(*arguments):
            step = given(*arguments)
            found.found.now = vault.post.trust.crl.next_update + 1
            return step

        monkeypatch.setattr(vault.machine, "on_request", slowly)
        (error,) = found.work()
        assert isinstance(error, RevocationListStale)
        assert vault.machine.shown == {} and found.made("decrypt-challenge") == 0
        found.found.now = now
        assert found.work() == [] and found.made("decrypt-challenge") == 1
        assert again(found).machine.shown == vault.machine.shown != {}


def test_one_key_for_one_round(at):
    """A plan of another round with a key that a plan has named: K2, whether that round has ended or not."""
    with at("plan") as found:
        plan = found.hub.station.plan
        assert found.work() == []
        later = replace(plan, round=2)
        (error,) = found.send("plan", [PlanBody(later, ()).encode()], round=2, plan_hash=later.hash, group="*")
        assert isinstance(error, PlanDeclined)
        assert error.check == "K2"
        assert found.vault.machine.plan.round == 1
        assert found.secret()
        assert found.send("plan", [PlanBody(plan, ()).encode()], group="*") == []


def test_a_plan_with_a_foreign_key(at):
    with at("plan") as found:
        journal = found.vault.post.journal
        with journal.transaction():
            journal.forget("cipher key", found.vault.held_keys()[0].hash)
        (error,) = found.work()
        assert isinstance(error, NotAwaited)
        assert "names no key that I have" in str(error)


# --- newer rosters, old copies, kills ---------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["plan", "decrypt-request", "decrypt-opening"])
def test_a_newer_roster_with_a_round_under_way(kept, tmp_path, type):
    with desk(kept[type], tmp_path / "copy", *(f"member/{name}" for name in NAMES[:4])) as found:
        if type == "plan":
            found.work()
        renewed(found.found)
        found.found.run()
        found.found.wait()
        assert found.found.model.done == [2 if type == "plan" else 1]  # contributions on their way were void
        assert found.vault.machine.over


def test_keys_that_lie_ready_are_sealed_again_under_a_newer_roster(at):
    with at("plan") as found:
        found.work()
        before = found.made("cipher-key")
        renewed(found.found)
        assert (indices(found.vault), found.made("cipher-key")) == ([1, 2], before + 1)
        found.restart()
        assert found.made("cipher-key") == before + 1


@pytest.mark.parametrize("whole", [False, True], ids=["home", "home and work folder"])
@pytest.mark.parametrize("anchored", [False, True], ids=["greeting", "anchor"])
def test_a_home_that_was_put_back_is_noticed(kept, at, whole, anchored):
    """It would decrypt a second sum: it has forgotten the first."""
    with at("decrypt-opening") as found:
        parties, then = found.found, Stations(kept["decrypt-request"], new=False, setting=setting())
        seen = found.hub.post.spool.last_sequence(HOLDER)
        parties.close(VAULT)
        for folder in (home, Stations.data) if whole else (home,):
            shutil.rmtree(folder(parties, VAULT))
            shutil.copytree(folder(then, VAULT), folder(parties, VAULT))
        for path in parties.anchors.glob("key-holder-*") if not anchored else ():
            path.unlink()
        with pytest.raises(RolledBack):
            parties.open(VAULT)
            assert not anchored
            check_sequence(found.vault.post, seen)


def home(found, party):
    return found.ceremony.home(party)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    with clear(), tellable():
        yield played.record(folder, Scene(setting(), VAULT), 0)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["plan-taken", "sum-shown", "sum-decrypted", "key-erased"])
def test_killed_around_each_decision(recording, tmp_path, point):
    found = [one for one in kills.points(recording, random.Random(0)) if point in one.point.told]
    chosen = [one for one in found if one.before.action.party == VAULT]
    assert chosen
    for when in (When.BEFORE, When.AFTER):
        one = next(one for one in chosen if one.when is when)
        told, wrong = kills.killed(recording, replace(one, again=0), tmp_path / "copy")
        assert ("kills" in told, wrong) == (True, []), str(one)
