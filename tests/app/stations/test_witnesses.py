"""Whole rounds of the profile two-trip-witnessed between stations: witnesses sign, are away, or start anew."""

from dataclasses import replace
from pathlib import Path

import pytest

from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import cosigned_at, open_checkpoint
from fedspallm_secure.errors import UnmaskingDeclined
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.secagg.thresholds import Profile
from tests.app.courier.test_rounds import Courier, work
from tests.stationary import HUB, SERVER, Stations, stations

WATCHERS = ("wyn", "xan", "yva")
SETTING = {"members": 4, "layers": 1, "profile": Profile.WITNESSED, "witnesses": WATCHERS, "dishonest": 1}


def is_done(found: Stations) -> bool:
    return found.model.done == [1] and all(work.taken == [(1, 0)] for work in found.works.values())


def ends(found: Stations) -> set[EndCode]:
    """Why groups of the first round ended, as the members were told."""
    return {EndCode(code) for member in found.members.values() for code in member.machine.ended.values()}


def test_a_witnessed_round_needs_no_endorsement_of_members(tmp_path):
    with stations(tmp_path, **SETTING) as found:
        found.run()
        assert is_done(found)
        senders = [one.sender for one in found.carried if one.type == "endorsement"]
        assert sorted(senders) == [f"witness/{name}" for name in WATCHERS]
        assert [station.told for station in found.witnesses.values()] == [[], [], []]


def test_the_log_is_cosigned_by_all_as_far_as_it_goes(tmp_path):
    with stations(tmp_path, **SETTING) as found:
        found.run()
        log, key = found.post(HUB).log, found.server.scribe.key
        for station in found.witnesses.values():
            checkpoint = open_checkpoint(station.newest, key)
            assert (checkpoint.size, checkpoint.root) == (log.size, log.tree.root())
            assert cosigned_at(station.newest, station.statement.key) == found.now


def test_witnesses_that_start_anew_all_the_time_change_nothing(tmp_path):
    with stations(tmp_path, **SETTING) as found:
        for _ in range(30):
            for name in WATCHERS:
                found.reopen(f"witness/{name}")
            if not found.carry() + found.step():
                break
        assert is_done(found)


def test_a_witness_that_is_away_is_not_waited_for_where_a_quorum_signs(tmp_path):
    with stations(tmp_path, **{**SETTING, "dishonest": 0}) as found:
        found.silent = {"yva"}
        found.wait()
        assert is_done(found)


def test_too_few_witnesses_end_the_round(tmp_path):
    """Of three with one that may lie all have to sign: two lists with two signatures each would be possible."""
    with stations(tmp_path, **{**SETTING, "attempts": 1}) as found:
        found.silent = {"yva"}
        found.wait()
        assert not found.model.done
        assert ends(found) == {EndCode.TOO_FEW_ENDORSEMENTS}


@pytest.mark.parametrize(("witnesses", "dishonest"), [(("zed",), 0), (("wyn", "xan", "yva", "zed"), 2)])
def test_members_believe_the_witnesses_of_their_own_policy(tmp_path, witnesses, dishonest):
    """What they say in their offers the server asks before; here they change their minds after it."""
    with stations(tmp_path, **SETTING) as found:
        found.carry()
        for member in found.members.values():
            member.policy = replace(member.policy, witnesses=witnesses, dishonest=dishonest)
            member.renew()
        found.run()
        assert not found.model.done
        for member in found.members.values():
            (error,) = [error for arrived, error in member.told if arrived.type == "unmask-request"]
            assert isinstance(error, UnmaskingDeclined)
            assert error.check == "Q2"


# By hand


def _carry(found: Stations, folder: Path, sender: str, recipients: list[str]) -> None:
    """One medium from a party to others."""
    folder.mkdir()
    export(found.post(sender), folder, None, [Party.parse(one) for one in recipients], False, "", Silent())
    for party in recipients:
        with open_medium(folder) as opened:
            outcomes = import_from(found.post(party), opened, Silent())
        assert [str(error) for outcome in outcomes for error in outcome.errors] == []


def _visit_witnesses(found: Stations, folder: Path) -> None:
    """Somebody carries what waits to the witnesses, who sign, and brings it back."""
    folder.mkdir()
    watching = [f"witness/{name}" for name in WATCHERS]
    _carry(found, folder / "to", HUB, watching)
    for name, party in zip(WATCHERS, watching, strict=True):
        found.witnesses[name].work_through()
        _carry(found, folder / f"from-{name}", party, [str(SERVER)])
    work(found)


def test_by_hand_members_need_two_trips_and_witnesses_one_more(tmp_path):
    with stations(tmp_path / "parties", **SETTING) as found:
        courier = Courier(found, tmp_path / "media")
        for turn in range(6):
            courier.collect()
            work(found)
            _visit_witnesses(found, tmp_path / f"witnesses-{turn}")
            courier.distribute()
            work(found)
            if is_done(found):
                break
        assert is_done(found)
        assert courier.journeys == 2 * (1 + 2)  # offers and prekeys, then the round
