"""The loop of a server: what it says of a round."""

import pytest

from fedspallm_secure.app.service.live import Live
from fedspallm_secure.app.service.loops import Stop
from fedspallm_secure.app.service.server import _Loop
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended
from tests.app.service.stages import drive, open_round, settle
from tests.stationary import stations


@pytest.fixture
def found(tmp_path):
    with stations(tmp_path, members=4, layers=2) as made:
        yield made


def said(found) -> str:
    loop = _Loop(found.server.post, found.server, Live(found.folder / "live.json"), Stop())
    loop._say()
    return loop._said


def test_where_a_round_is(found):
    open_round(found, ("west",))
    assert said(found) == "round 1 is collecting"
    found.silent = set()
    drive(found, State.FINISHED)
    assert said(found) == "round 1 is finished"
    found.server.station.machine.ended[1] = Ended(1, EndCode.BAD_DEALING)
    assert said(found) == "round 1 is finished, without layers 1: BAD_DEALING"


def test_how_a_round_without_a_result_ended(found):
    open_round(found, ("west",))
    found.now += 4000
    while found.server.station.machine.state is not State.FINISHED:
        found.server.tick()
    assert said(found) == "round 1 ended without a result: TOO_FEW_CONTRIBUTIONS"
    settle(found)
    assert "ended without a result" not in said(found) and "cannot be summed" in said(found)
