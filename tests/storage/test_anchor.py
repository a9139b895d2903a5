"""The anchor of a home on disk: it reads back what was written, or is refused, whatever fails while it is written."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import (
    DiskFull,
    HostileFile,
    LimitExceeded,
    MissingInput,
    RecordDamaged,
    StorageError,
    UsageError,
)
from fedspallm_secure.storage.anchor import Anchor, anchor_folder, prepare_anchors
from fedspallm_secure.storage.home_folder import Identity, prepare_home
from fedspallm_secure.storage.register import open_register
from tests.faults import count_points, every_point, failing, run_and_kill

NORTH = Identity("lungs.example", Party("member", "north"))
SOUTH = Identity("lungs.example", Party("member", "south"))


def apart(folder: Path) -> tuple[Path, Path]:
    """Home and work folder."""
    return folder / "home", folder / "data"


@pytest.fixture
def anchor(tmp_path):
    return Anchor(tmp_path, NORTH, 0x1234)


def test_what_was_written_is_read(anchor):
    assert anchor.read() is None
    for number in (0, 7, 1 << 40):
        anchor.write(number)
        assert anchor.read() == number
    assert [path.name for path in anchor.folder.iterdir()] == ["member-north-0000000000001234.json"]
    assert anchor.path.stat().st_mode & 0o777 == 0o600


def test_homes_have_names_of_their_own(anchor):
    """Two homes of one user, of one party or of two, and of one name in two federations."""
    others = [replace(anchor, mark=2), replace(anchor, identity=SOUTH), Anchor(anchor.folder, NORTH, 3)]
    paths = {one.path for one in (anchor, *others)}
    assert len(paths) == 4


def test_every_changed_byte_is_noticed(anchor):
    anchor.write(7)
    whole = anchor.path.read_bytes()
    for place in range(len(whole)):
        for changed in (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], whole[:place]):
            anchor.path.write_bytes(changed)
            with pytest.raises(RecordDamaged, match="is damaged") as caught:
                anchor.read()
            assert "a new one" in caught.value.hint


@pytest.mark.parametrize(
    "other",
    [
        Anchor(Path(), NORTH, 5),
        Anchor(Path(), SOUTH, 0x1234),
        Anchor(Path(), replace(NORTH, federation="b.example"), 0x1234),
    ],
    ids=["home", "party", "federation"],
)
def test_one_of_another_home_is_none(anchor, other):
    other = replace(other, folder=anchor.folder)
    other.write(3)
    other.path.rename(anchor.path)
    with pytest.raises(RecordDamaged):
        anchor.read()


def test_numbers_below_none_are_refused(anchor):
    anchor.path.write_bytes(anchor._encode(-1))
    with pytest.raises(RecordDamaged):
        anchor.read()


def test_what_is_no_file_or_too_large_is_refused(anchor):
    anchor.path.mkdir()
    with pytest.raises(HostileFile):
        anchor.read()
    anchor.path.rmdir()
    anchor.path.write_bytes(b" " * 5000)
    with pytest.raises(LimitExceeded):
        anchor.read()
    anchor.path.unlink()
    anchor.path.symlink_to("nowhere")
    with pytest.raises(MissingInput):  # somebody has put it there: that is not the same as none
        anchor.read()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_it_is_the_old_one_or_the_new_one_whatever_fails(anchor, code):
    anchor.write(1)
    for point in range(1, len(count_points(lambda _: anchor.write(2))) + 1):
        anchor.write(1)
        with pytest.raises(DiskFull if code == errno.ENOSPC else StorageError):
            failing(lambda _: anchor.write(2), point, code)
        assert anchor.read() in (1, 2)
        assert len(list(anchor.folder.iterdir())) == 1


def test_it_is_the_old_one_or_the_new_one_wherever_it_is_killed(anchor):
    anchor.write(1)
    for point, _, when in every_point(lambda _: anchor.write(2)):
        anchor.write(1)
        assert run_and_kill(lambda _: anchor.write(2), point, when).killed
        assert anchor.read() in (1, 2)
    anchor.write(3)
    assert anchor.read() == 3


# Where it lies


def test_the_usual_place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert prepare_anchors(None, *apart(tmp_path)) == tmp_path / "state/fedprune/anchors"
    assert (tmp_path / "state/fedprune/anchors").stat().st_mode & 0o777 == 0o700
    assert prepare_anchors(None, *apart(tmp_path)).is_dir()
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for nothing in ("", "relative"):  # the XDG specification: a relative one is ignored
        monkeypatch.setenv("XDG_STATE_HOME", nothing)
        assert anchor_folder(None) == tmp_path / "me/.local/state/fedprune/anchors"


def test_a_user_without_a_home_folder(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "")

    def unknown(path):
        raise RuntimeError

    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(MissingInput, match="no usual place"):
        anchor_folder(None)


def test_a_place_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(StorageError):
        prepare_anchors(None, *apart(tmp_path))


def test_a_place_that_was_named_is_never_made(tmp_path):
    """Its disk may not be there: then an anchor would be made beside it, and the home be taken for a new one."""
    named = tmp_path / "stick"
    with pytest.raises(MissingInput, match="is not there") as caught:
        prepare_anchors(named, *apart(tmp_path))
    assert "mounted" in caught.value.hint
    assert not named.exists()
    named.mkdir()
    assert prepare_anchors(named, *apart(tmp_path)) == anchor_folder(named) == named


# The number that tells homes apart


def test_a_home_has_its_number_from_the_beginning(tmp_path):
    """So that a copy from before the first start has it, too."""
    prepare_home(tmp_path / "north", NORTH)
    with open_register(tmp_path / "north/register.sqlite", make=False) as register:
        (before,) = register.connection.execute("SELECT value FROM counters WHERE name = 'mark'").fetchone()
        assert register.mark() == before == register.mark()
        assert register.last_sequence() == 0
    prepare_home(tmp_path / "south", NORTH)
    with open_register(tmp_path / "south/register.sqlite", make=False) as register:
        assert register.mark() != before


def test_an_older_home_gets_one(tmp_path):
    with open_register(tmp_path / "register.sqlite") as register:
        assert register.next_sequence() == 1
        found = register.mark()
        assert 0 <= found < 1 << 63
        assert (register.mark(), register.last_sequence()) == (found, 1)


def test_it_says_what_it_is(anchor):
    anchor.write(7)
    said = json.loads(anchor.path.read_bytes())
    said.pop("check")
    assert said == {
        "format": "fedspallm-secure/1 anchor",
        "federation": "lungs.example",
        "role": "member",
        "id": "north",
        "home": "0000000000001234",
        "sequence": 7,
    }


@pytest.mark.parametrize("inside", ["home", "data", "home/anchors", "link"])
def test_an_anchor_is_not_where_it_would_be_put_back_with_the_home(tmp_path, inside):
    for folder in ("home/anchors", "data"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(UsageError, match="whoever puts that back puts back the anchor, too"):
        prepare_anchors(tmp_path / inside, *apart(tmp_path))
