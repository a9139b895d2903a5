"""Homes held against their anchors: an old copy stops before any secret is used; a kill and a first start do not."""

import errno
import logging
import shutil
from contextlib import contextmanager

import pytest

from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.service.client import run_client
from fedspallm_secure.app.service.key_holder import run_key_holder
from fedspallm_secure.app.service.server import run_server
from fedspallm_secure.app.service.witness import run_witness
from fedspallm_secure.app.stations.anchoring import Anchoring
from fedspallm_secure.app.stations.opening import open_post, open_station
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import DiskFull, LimitExceeded, MissingInput, RecordDamaged, RolledBack, StorageError
from fedspallm_secure.storage.anchor import Anchor
from fedspallm_secure.storage.home_folder import Identity
from tests.ceremony import PASSWORD, Ceremony
from tests.faults import When
from tests.station_faults import failing, in_child, killing, tellable, watching
from tests.stationary import HUB, SERVER, Stations

NORTH = "member/north"


class Counting:
    """A home that has counted so far."""

    def __init__(self, folder, number=0):
        self.number = number
        self.anchor = Anchor(folder, Identity("lungs.example", Party("member", "north")), 1)

    def start(self, sole=True):
        return Anchoring(self.anchor, lambda: self.number, sole)


@pytest.fixture
def home(tmp_path):
    return Counting(tmp_path)


def test_the_first_start_makes_one_and_says_nothing(home, caplog):
    home.start()
    assert home.anchor.read() == 0
    assert not caplog.records


def test_one_that_is_missing_is_made_and_told(home, caplog):
    home.number = 3
    with caplog.at_level(logging.WARNING):
        home.start()
    assert home.anchor.read() == 3
    assert "though it has counted to 3" in caplog.text and str(home.anchor.path) in caplog.text


def test_it_goes_up_with_the_home(home):
    kept = home.start()
    for home.number in (1, 4):
        kept.advance()
        assert home.anchor.read() == home.number
    kept.advance()
    kept.check()


def test_one_that_is_behind_catches_up(home, caplog):
    """As after a kill between the two."""
    home.start()
    home.number = 1
    home.start()
    assert home.anchor.read() == 1
    assert not caplog.records


def test_one_that_is_ahead(home):
    home.number = 5
    kept = home.start()
    home.number = 4
    for stops in (home.start, kept.check, kept.advance, lambda: home.start(sole=False)):
        with pytest.raises(RolledBack, match=r"it has counted to 4, and its anchor, .*, to 5") as caught:
            stops()
        assert "enrol again" in caught.value.hint
    assert home.anchor.read() == 5


def test_two_copies_at_work_under_one_anchor(home):
    """Both have counted alike, and one of them has just gone on."""
    home.number = 5
    one, two = home.start(), home.start()
    home.number = 6
    one.advance()
    for stops in (two.check, two.advance):
        with pytest.raises(RolledBack):
            stops()
    one.check()


def test_one_that_only_looks_changes_nothing(home):
    home.number = 5
    kept = home.start(sole=False)
    assert home.anchor.read() is None
    home.start()
    home.number = 6
    kept.advance()
    home.start(sole=False)
    assert home.anchor.read() == 5
    home.start()
    kept.check()  # the service beside has made a package meanwhile
    home.number = 5
    with pytest.raises(RolledBack):
        kept.check()


def test_one_that_vanishes_is_written_again(home):
    kept = home.start()
    home.anchor.path.unlink()
    kept.check()
    home.number = 1
    kept.advance()
    assert home.anchor.read() == 1


@pytest.mark.parametrize("point", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("lasting", [False, True])
def test_a_write_that_failed_is_made_up_for(home, point, lasting):
    kept = home.start()
    home.number = 1
    with watching(failing(point, errno.ENOSPC, lasting)), pytest.raises(DiskFull):
        kept.advance()
    kept.check()
    home.number = 2
    kept.advance()
    assert home.anchor.read() == 2


# --- at stations ------------------------------------------------------------------------------------------------------


@pytest.fixture
def found(tmp_path):
    with tellable(), Stations(tmp_path / "federation", members=4, layers=1) as found:
        found.carry()
        yield found


def anchor_of(found, party=NORTH):
    (path,) = found.anchors.glob(f"{party.replace('/', '-')}-*.json")
    return path


def number_of(found):
    post = found.members["north"].post
    return post.anchoring._anchor.read(), post.journal.register.last_sequence()


def play(found, until):
    """Action by action."""
    for _ in range(60):
        for action in found.due():
            if until():
                return
            found.see(action)
            found.act(action)
    raise AssertionError("it does not get that far")


@contextmanager
def copied(found, *, anchor=False):
    """Everything of a member is put back together to how it was when this began."""
    folders = [found.ceremony.home(NORTH), found.data(NORTH), *([found.anchors] if anchor else [])]
    found.close(NORTH)
    for folder in folders:
        shutil.copytree(folder, found.folder / "kept" / folder.name)
    found.open(NORTH)
    yield
    found.close(NORTH)
    for folder in folders:
        shutil.rmtree(folder)
        shutil.copytree(found.folder / "kept" / folder.name, folder)


def sent(found, type):
    return [one for one in found.carried if (one.sender, one.type) == (NORTH, type)]


def waits_for(found, type):
    return lambda: any(one.type == type for one in found.members["north"].post.spool.arrived())


@pytest.mark.parametrize(("type", "after"), [("contribution", "plan"), ("unmask-response", "unmask-request")])
@pytest.mark.parametrize("anchored", [True, False], ids=["anchor", "twin without"])
def test_home_and_work_folder_put_back_by_hand(found, type, after, anchored):
    """Nobody greets: with its anchor the member stops at its start, without it a second one leaves."""
    play(found, waits_for(found, after))
    with copied(found, anchor=not anchored):
        play(found, lambda: sent(found, type))
    if anchored:
        before = {path: path.read_bytes() for path in found.ceremony.home(NORTH).glob("*.key")}
        with pytest.raises(RolledBack, match="and its anchor"):
            found.open(NORTH)
        assert {path: path.read_bytes() for path in before} == before  # no prekey was burned
        assert len(sent(found, type)) == 1
    else:
        found.open(NORTH)
        play(found, lambda: len(sent(found, type)) > 1)


def test_put_back_under_a_process_that_runs(found):
    """As a machine does that is put back while it sleeps, with all its memory."""
    play(found, lambda: bool(found.members["north"].due()))
    post, (ahead, _) = found.members["north"].post, number_of(found)
    post.anchoring._anchor.write(ahead + 1)
    before = post.prekeys.next_index()
    (group,) = found.members["north"].due()
    with pytest.raises(RolledBack):
        found.members["north"].contribute_layer(group)
    assert post.prekeys.next_index() == before
    with pytest.raises(RolledBack), post.at_once():
        post.send("offer", SERVER, [b"body"])
    assert number_of(found) == (ahead + 1, ahead + 1)


def test_messages_are_not_acted_on_by_an_old_copy(found):
    play(found, waits_for(found, "plan"))
    post = found.members["north"].post
    post.anchoring._anchor.write(1000)
    waiting = len(post.spool.arrived())
    with pytest.raises(RolledBack):
        found.members["north"].work_through()
    assert len(post.spool.arrived()) == waiting
    anchor_of(found).write_bytes(b" " * 5000)  # what is wrong with it is not the message's fault, either
    with pytest.raises(LimitExceeded):
        found.members["north"].work_through()
    assert len(post.spool.arrived()) == waiting


def test_it_goes_up_before_a_package_may_leave(found):
    post, seen = found.members["north"].post, []
    advance = post.anchoring.advance

    def looked():
        seen.append(len(post.spool.outgoing()))
        advance()
        seen.append(post.anchoring._anchor.read() == post.journal.register.last_sequence())

    post.anchoring.advance = looked
    before = len(post.spool.outgoing())
    with post.at_once():
        post.send("offer", SERVER, [b"body"])
    assert seen == [before, True]
    assert len(post.spool.outgoing()) == before + 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_nothing_leaves_where_it_cannot_be_written(found, code):
    post = found.members["north"].post
    before, real = len(post.spool.outgoing()), post.anchoring._anchor.write

    def fails(_, number):
        with watching(failing(1, code, True)):
            real(number)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DiskFull if code == errno.ENOSPC else StorageError):
        patch.setattr(Anchor, "write", fails)
        with post.at_once():
            post.send("offer", SERVER, [b"body"])
    assert len(post.spool.outgoing()) == before
    found.reopen(NORTH)
    there, counted = number_of(found)
    assert there == counted


def test_killed_at_any_call_of_a_message_it_starts_again(found):
    """Also between journal and anchor: the anchor is never ahead."""
    post = found.members["north"].post

    def sends(step):
        with watching(step), post.at_once():
            post.send("offer", SERVER, [b"body"])

    names = []
    sends(lambda number, name, call: (names.append(name), call())[1])
    found.close(NORTH)
    shutil.copytree(found.folder, found.folder.parent / "kept")
    behind = set()
    for point in range(1, len(names) + 1):
        for when in When:
            shutil.rmtree(found.folder)
            shutil.copytree(found.folder.parent / "kept", found.folder)

            def action(_, point=point, when=when):
                nonlocal post
                found.open(NORTH)
                post = found.members["north"].post
                sends(killing(point, when))

            assert in_child(action).killed
            path = anchor_of(found)
            found.open(NORTH)
            there, counted = number_of(found)
            assert there == counted
            behind.add(counted)
            found.close(NORTH)
            assert path.exists()
    assert len(behind) == 2  # the number was used up, or was not
    found.open(NORTH)


def test_a_damaged_one_stops_the_start(found):
    found.close(NORTH)
    anchor_of(found).write_bytes(b"{}\n")
    with pytest.raises(RecordDamaged, match="is damaged"):
        found.open(NORTH)
    anchor_of(found).unlink()
    found.open(NORTH)


def test_the_home_of_the_same_party_that_enrolled_again_has_another(found, tmp_path):
    found.close(NORTH)
    before, ceremony = anchor_of(found), found.ceremony
    shutil.rmtree(ceremony.home(NORTH))
    shutil.rmtree(found.data(NORTH))
    crl = ceremony.revoke(NORTH)
    ceremony.take(NORTH, ceremony.sign(ceremony.request(NORTH, prekeys=2)))
    ceremony.take(NORTH, crl, ceremony.roster())
    found.open(NORTH)
    assert len(list(found.anchors.glob("member-north-*"))) == 2 and before.exists()
    assert number_of(found) == (0, 0)


def test_after_a_renewal_it_is_the_same(found, caplog):
    """The keys are others, and the home is not: its numbers go on."""
    found.close(NORTH)
    ceremony = found.ceremony
    ceremony.take(NORTH, ceremony.sign(ceremony.renew(NORTH)))
    ceremony.take(NORTH, ceremony.roster())
    found.open(NORTH)
    assert anchor_of(found).exists() and not caplog.records
    assert number_of(found) == (2, 2)


@pytest.mark.parametrize("party", [HUB, NORTH])
def test_everybody_has_one(found, party):
    found.run()
    post = found.post(party)
    assert post.anchoring._anchor.read() == post.journal.register.last_sequence() > 0


def test_a_place_that_was_named_has_to_be_there(found, tmp_path):
    """That is told before anybody types a password."""
    found.close(NORTH)
    home, data, gone = found.ceremony.home(NORTH), found.data(NORTH), tmp_path / "gone"
    with pytest.raises(MissingInput), open_station(home, data, pytest.fail, lambda: found.now, anchors=gone):
        pass


def test_an_old_copy_hands_no_bundle_to_a_courier(found):
    """`fedprune bundle` beside or without the service looks at the anchor that the configuration names, too."""
    path = found.folder / "member.toml"
    path.write_text(
        f'[member]\nhome = "{found.ceremony.home(NORTH)}"\ndata = "{found.data(NORTH)}"\n'
        f'anchor = "{found.anchors}"\n[server]\nid = "hub"\n[model]\npath = "model"\n[texts]\nfiles = ["a.txt"]\n'
    )
    with copied(found):
        with open_post(path, lambda _: PASSWORD, lambda: found.now):
            pass
        with found.members["north"].post.at_once():
            found.members["north"].post.send("offer", SERVER, [b"body"])
    with pytest.raises(RolledBack), open_post(path, lambda _: PASSWORD, lambda: found.now):
        pass


SERVICES = {
    "server/hub": ("[server]", '[model]\npath = "model"\n', lambda *of: run_server(*of, True, Silent())),
    "member/north": (
        "[member]",
        '[server]\nid = "hub"\n[model]\npath = "model"\n[texts]\nfiles = ["a.txt"]\n',
        lambda *of: run_client(*of, True, Silent()),
    ),
    "witness/wyn": ("[witness]", '[server]\nid = "hub"\n', lambda *of: run_witness(*of, True)),
    "key-holder/vault": (
        "[holder]",
        '[server]\nid = "hub"\n[keys]\nmembers = 5\n',
        lambda *of: run_key_holder(*of, True),
    ),
}


@pytest.mark.parametrize("party", SERVICES)
def test_every_service_looks_where_its_file_says(tmp_path, party):
    ceremony = Ceremony(tmp_path)
    ceremony.enrol(party)
    ceremony.take(party, ceremony.roster())
    section, more, run = SERVICES[party]
    path = tmp_path / "config.toml"
    path.write_text(f'{section}\nhome = "{ceremony.home(party)}"\ndata = "data"\nanchor = "gone"\n{more}')
    with pytest.raises(MissingInput, match=r"the folder for the anchor, .*gone, is not there"):
        run(path, lambda _: PASSWORD)
