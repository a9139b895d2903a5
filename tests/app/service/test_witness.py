"""A witnessed round between services over mutual TLS, and a witness whose home was put back."""

import time

import pytest

from fedspallm_secure.app.configuration.federation import read_federation
from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.loops import Stop
from fedspallm_secure.app.service.server import check_supported
from fedspallm_secure.app.service.status import status_of
from fedspallm_secure.app.service.witness import _Loop
from fedspallm_secure.errors import RolledBack, UsageError
from fedspallm_secure.transport.wire import Hello
from tests.ceremony import FEDERATION
from tests.services import Services
from tests.stationary import stations

WATCHERS = ("wyn", "xan", "yva")
ROUNDS = 'profile = "two-trip-witnessed"\nwitnesses = ["wyn", "xan", "yva"]\ndishonest = 1\n'
POLICY = '[policy]\nprofiles = ["two-trip-witnessed"]\nwitnesses = ["wyn", "xan", "yva"]\ndishonest = 1\n'


@pytest.mark.slow
def test_a_witnessed_round_over_tls(tmp_path):
    with Services(tmp_path, server=ROUNDS, member=POLICY, witnesses=WATCHERS) as found:
        found.start("hub", *found.members, *WATCHERS)
        assert found.wait("hub") == 0
        assert [found.wait(name) for name in (*found.members, *WATCHERS)] == [0] * 7
        assert len({found.model(name) for name in ("hub", *found.members)}) == 1
        for name in WATCHERS:
            status = status_of(found.configs[name])
            assert (status["state"], status["signed"]) == ("cosigning", {"round": 1, "types": ["endorsement"]})
            assert status["last_contact"]
            assert status["refusals"] == {}


def test_beacons_are_still_refused(tmp_path):
    found = Services(tmp_path, server='beacons = ["wyn"]\n', members=("north",))
    with pytest.raises(UsageError, match="witnesses draw"):
        check_supported(read_federation(found.configs["hub"]))


class Said:
    """Stands for a network whose server says what it has of this witness."""

    trouble = None

    def __init__(self, post, sequence):
        trust = post.trust
        self.hello = Hello(FEDERATION, "x/1", 1, trust.roster.hash, 1, int(time.time()), sequence)

    def start(self):
        pass

    def check(self):
        pass


def test_a_witness_that_was_put_back_signs_nothing(tmp_path):
    with stations(tmp_path / "federation", members=2, witnesses=("wyn",)) as found:
        station = found.witnesses["wyn"]
        made = station.post.journal.register.last_sequence()
        loop = _Loop(station, Said(station.post, made + 1), Live(tmp_path / "live.json"), Stop(), True)
        with pytest.raises(RolledBack):
            loop.run()
