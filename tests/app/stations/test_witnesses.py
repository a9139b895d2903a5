"""Whole rounds of the profile two-trip-witnessed between stations, with witnesses that sign, are away, or lie."""

import shutil

import pytest

from fedspallm_secure.app.courier.exporting import export
from fedspallm_secure.app.courier.importing import import_from
from fedspallm_secure.app.courier.media import open_medium
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.errors import UnmaskingDeclined
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.secagg.thresholds import Profile
from tests.app.service.stages import drive
from tests.stationary import HUB, Stations, stations

WATCHERS = ("wyn", "xan", "yva")
SETTING = {"members": 4, "layers": 1, "profile": Profile.WITNESSED, "witnesses": WATCHERS, "dishonest": 1}


def is_done(found: Stations) -> bool:
    return found.model.done == [1] and all(work.taken == [(1, 0)] for work in found.works.values())


def test_a_witnessed_round(tmp_path):
    with stations(tmp_path, **SETTING) as found:
        found.run()
        assert is_done(found)
        types = [(one.sender.partition("/")[0], one.type) for one in found.carried if one.round]
        assert types.count(("witness", "endorsement")) == 3
        assert ("member", "endorsement") not in types
        assert [station.told for station in found.witnesses.values()] == [[], [], []]


def test_witnesses_cosign_the_log_as_it_grows(tmp_path):
    with stations(tmp_path, **SETTING) as found:
        found.run()
        sizes = {station._cosigner_of(station.newest_log).size for station in found.witnesses.values()}
        assert sizes == {found.post(HUB).log.size}
