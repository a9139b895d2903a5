"""How a secure simulation is asked for, and what cannot be asked."""

import pytest

from fedspallm_secure.app.rounds.playing import Stage
from fedspallm_secure.app.rounds.settings import SecureSettings, parse_drops
from fedspallm_secure.errors import UsageError
from fedspallm_secure.secagg.thresholds import Profile


def test_drops_are_read_and_added_up():
    found = parse_drops(["unmask:north", "contribution:south", "unmask:west", "unmask:a:b"])
    assert found == {Stage.UNMASK: {"north", "west", "a:b"}, Stage.CONTRIBUTION: {"south"}}
    assert parse_drops([]) == {}


@pytest.mark.parametrize("text", ["north", "unmask:", ":north", "umask:north", "UNMASK:north", ""])
def test_what_is_no_drop_is_refused(text):
    with pytest.raises(UsageError, match="STAGE one of contribution, endorsement, unmask"):
        parse_drops(["unmask:north", text])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"colluders": -1}, "--collude must be 0 or more, got -1"),
        ({"sum_bits": 8}, "--sum-bits must be 16 or 32, got 8"),
        ({"profile": Profile.TWO_TRIP, "drops": {Stage.ENDORSEMENT: frozenset({"a"})}}, "no silo endorses anything"),
        ({"profile": Profile.WITNESSED, "drops": {Stage.ENDORSEMENT: frozenset({"a"})}}, "no silo endorses anything"),
    ],
)
def test_what_cannot_be_asked(values, said):
    with pytest.raises(UsageError, match=said):
        SecureSettings(**values)


def test_a_drop_has_to_name_a_silo():
    settings = SecureSettings(drops={Stage.UNMASK: frozenset({"east", "north"})})
    settings.check_names({"north", "east"})
    with pytest.raises(UsageError, match=r"--drop names east, which is not a silo; silos: north, south$"):
        settings.check_names(["south", "north"])
    with pytest.raises(UsageError, match=r"silos: m-00, .*, m-11, …$"):
        settings.check_names([f"m-{number:02d}" for number in range(100)])


def test_plain_data_tell_settings_apart():
    one = SecureSettings(drops=parse_drops(["unmask:b", "unmask:a"]))
    assert one.to_dict() == {
        "profile": "three-trip",
        "colluders": None,
        "sum_bits": 32,
        "drops": {"unmask": ["a", "b"]},
    }
    assert one.to_dict() != SecureSettings().to_dict()
