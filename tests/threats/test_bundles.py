"""THREAT_MODEL section 3, "Media that are carried": couriers, and those who prepare media, who do not play fair."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedspallm_secure.app.courier import media
from fedspallm_secure.errors import (
    BadSignature,
    BundleRefused,
    Equivocation,
    ForeignBundle,
    HostileFile,
    LimitExceeded,
    MediumIncomplete,
    OutputExists,
    RolledBack,
)
from fedspallm_secure.protocol.bundles import Contents
from tests.couriers import HUB, NORTH, SOUTH, Couriers, names

MIB = 1 << 20


@pytest.fixture
def couriers(tmp_path: Path) -> Iterator[Couriers]:
    (tmp_path / "homes").mkdir()
    with Couriers(tmp_path / "homes") as found:
        yield found


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    (tmp_path / "medium").mkdir()
    return tmp_path / "medium"


def errors(couriers: Couriers, medium: Path, name: str = NORTH) -> list[type]:
    return [type(error) for outcome in couriers.take(name, medium) for error in outcome.errors]


def index_of(medium: Path) -> Path:
    return next(medium.glob("bundle-*.fsdoc"))


def test_a_lost_medium_costs_a_journey(couriers, medium):
    """THREAT_MODEL T190: it is lost, and everything that was on it is carried again, byte for byte."""
    sent = couriers.send(HUB, NORTH)
    first = couriers.export(HUB, medium)[0].bundle
    shutil.rmtree(medium)
    medium.mkdir()
    assert couriers.export(HUB, medium)[0].bundle == first
    assert couriers.take(NORTH, medium)[0].arrived == [sent]


@pytest.mark.parametrize("damage", ["a byte", "cut", "longer", "removed", "swapped"])
def test_what_is_not_whole_is_not_taken_in(couriers, medium, damage):
    """THREAT_MODEL T191: changed, cut, made longer, removed, or exchanged for another package."""
    sent, good = couriers.send(HUB, NORTH, b"x" * 2 * MIB), couriers.send(HUB, NORTH, b"good")
    couriers.export(HUB, medium)
    path = medium / f"{sent}.fspkg"
    data = path.read_bytes()
    match damage:
        case "a byte":
            path.write_bytes(data[:-100] + bytes(100))
        case "cut":
            path.write_bytes(data[:MIB])
        case "longer":
            path.write_bytes(data + b"x")
        case "removed":
            path.unlink()
        case _:
            path.write_bytes((medium / f"{good}.fspkg").read_bytes())
    assert errors(couriers, medium) == [MediumIncomplete]
    assert couriers.inbox(NORTH) == [good]
    path.write_bytes(data)
    assert couriers.take(NORTH, medium)[0].arrived == [sent]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/passwd")])
def test_nothing_is_followed_or_waited_for(couriers, medium, make):
    """THREAT_MODEL T192: a pipe, a folder, a link, in the place of a package, and of the index."""
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    for path in (medium / f"{sent}.fspkg", index_of(medium)):
        path.unlink()
        make(path)
        assert errors(couriers, medium) == [HostileFile]
    assert couriers.inbox(NORTH) == []


def test_names_on_a_medium_lead_nowhere(couriers, medium, tmp_path):
    """THREAT_MODEL T193: names that steer terminals, differ in case alone, or stand for programs, lie beside."""
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    for name in ("\x1b[2J\n.fspkg", f"{sent}.FSPKG", "autorun.inf", ".hidden", "-rf"):
        (medium / name).write_bytes(b"x")
    index_of(medium).rename(medium / "bundle-\x1b]0;x\x07.fsdoc")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert errors(couriers, medium) == []
    with media.open_medium(medium) as opened:
        assert all(name.isprintable() for name in opened.others())
        assert len(opened.others()) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_medium_cannot_be_endless(couriers, medium, monkeypatch):
    """THREAT_MODEL T194: files of 1 TiB that hold nothing; more entries than are read."""
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    os.truncate(medium / f"{sent}.fspkg", 1 << 40)
    assert errors(couriers, medium) == [MediumIncomplete]
    os.truncate(index_of(medium), 1 << 40)
    assert errors(couriers, medium) == [LimitExceeded]
    monkeypatch.setattr(media, "MEDIUM_LIMIT", 10)
    for number in range(10):
        (medium / str(number)).touch()
    with pytest.raises(LimitExceeded):
        couriers.take(NORTH, medium)


def test_an_index_is_signed_by_its_sender(couriers, medium):
    """THREAT_MODEL T195: made by another party in the sender's name, or changed by one byte."""
    couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    good = index_of(medium).read_bytes()
    forged = couriers.index(HUB, NORTH, Contents(), signer=couriers.federation[SOUTH].signer)
    for data in (forged.encode(), good.replace(b'"seen":0', b'"seen":1')):
        index_of(medium).write_bytes(data)
        assert errors(couriers, medium) == [BadSignature]
    assert couriers.inbox(NORTH) == []


def test_a_bundle_is_for_one_party_of_one_federation(couriers, medium):
    """THREAT_MODEL T196: of another federation, or for somebody else; a good one beside them is taken."""
    index = couriers.index(HUB, NORTH, Contents(), federation="hearts.example")
    (medium / "bundle-1.fsdoc").write_bytes(index.encode())
    assert errors(couriers, medium) == [ForeignBundle]
    couriers.send(HUB, SOUTH)
    couriers.export(HUB, medium)
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    assert errors(couriers, medium) == [ForeignBundle]
    assert couriers.inbox(NORTH) == [sent]


def test_an_old_medium_changes_nothing(couriers, medium, tmp_path):
    """THREAT_MODEL T197: an old medium is brought again, with receipts and requests that are out of date."""
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    couriers.take(NORTH, medium)
    couriers.post(NORTH).journal.settle(sent, "damaged")
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    couriers.export(NORTH, old)  # it asks for the package once more
    couriers.post(NORTH).journal.settle(sent, "taken")
    assert couriers.export(NORTH, new)[0].bundle.number == 2
    couriers.take(HUB, new)
    before = couriers.waiting(HUB)
    assert [outcome.state for outcome in couriers.take(HUB, old)] == ["stale"]
    assert couriers.waiting(HUB) == before == []
    assert couriers.export(HUB, medium, NORTH) == []


def test_a_bundle_that_never_came_is_noticed(couriers, medium, tmp_path):
    """THREAT_MODEL T198: a courier keeps one back and brings the next one."""
    first = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    second, kept = couriers.send(HUB, NORTH), tmp_path / "kept"
    medium.rename(kept)
    medium.mkdir()
    couriers.export(HUB, medium)
    outcome = couriers.take(NORTH, medium)[0]
    assert (outcome.gap, outcome.arrived) == ((1, 1), [first, second])


def test_two_bundles_under_one_number_are_kept_as_a_proof(couriers, medium):
    """THREAT_MODEL T199: a sender tells two stories under one number."""
    for created in (couriers.federation.now, couriers.federation.now - 1):
        index = couriers.index(HUB, NORTH, Contents(), created=created)
        (medium / f"bundle-{created}.fsdoc").write_bytes(index.encode())
    assert errors(couriers, medium) == [Equivocation]
    assert len(list((couriers.post(NORTH).folder / "evidence").iterdir())) == 1


@pytest.mark.parametrize("lie", ["type", "round", "group"])
def test_an_index_says_what_its_packages_say(couriers, medium, lie):
    """THREAT_MODEL T200: the index says something else than the package, and carries one of somebody else."""
    sent = couriers.send(HUB, NORTH)
    file = couriers.export(HUB, medium)[0].bundle.contents.files[0]
    wrong = dataclasses.replace(file, **{lie: {"type": "plan", "round": 7, "group": "7"}[lie]})
    index_of(medium).write_bytes(couriers.index(HUB, NORTH, Contents((wrong,))).encode())
    assert errors(couriers, medium) == [BundleRefused]
    index_of(medium).write_bytes(couriers.index(SOUTH, NORTH, Contents((file,))).encode())
    assert errors(couriers, medium) == [BundleRefused]
    assert couriers.inbox(NORTH) == []
    assert names(medium, ".fspkg") == [f"{sent}.fspkg"]


def test_a_medium_that_changes_while_it_is_read_gives_nothing_away(couriers, medium, monkeypatch):
    """THREAT_MODEL T201: the body is exchanged after the head was found good."""
    sent = couriers.send(HUB, NORTH, b"x" * 2 * MIB)
    couriers.export(HUB, medium)
    depot = couriers.post(NORTH).depot
    arrival = depot.arrival

    def exchange(*arguments):
        os.truncate(medium / f"{sent}.fspkg", 0)
        os.truncate(medium / f"{sent}.fspkg", 3 * MIB)
        return arrival(*arguments)

    monkeypatch.setattr(depot, "arrival", exchange)
    assert errors(couriers, medium) == [MediumIncomplete]
    assert couriers.inbox(NORTH) == []


def test_an_export_writes_over_nothing(couriers, medium, tmp_path):
    """THREAT_MODEL T202: something waits on the medium under the name of a package, to be written through."""
    (tmp_path / "treasure").write_bytes(b"precious")
    sent = couriers.send(HUB, NORTH)
    (medium / f"{sent}.fspkg").symlink_to(tmp_path / "treasure")
    with pytest.raises(OutputExists):
        couriers.export(HUB, medium)
    assert (tmp_path / "treasure").read_bytes() == b"precious"
    assert names(medium, ".fsdoc") == []


def test_nobody_can_say_that_a_package_of_others_has_arrived(couriers, medium):
    """THREAT_MODEL T203: a member sends receipts, and requests, for what is not its own."""
    sent = couriers.send(HUB, NORTH)
    for name, contents in enumerate((Contents(received=(sent,)), Contents(again=(sent,)))):
        index = couriers.index(SOUTH, HUB, contents, name + 1)
        (medium / f"bundle-{name}.fsdoc").write_bytes(index.encode())
    assert errors(couriers, medium, HUB) == []
    assert couriers.waiting(HUB) == [sent]
    assert couriers.post(HUB).bundles.requests(couriers.post(SOUTH).party) == set()


def test_a_home_that_was_put_back_is_noticed(couriers, medium, tmp_path):
    """THREAT_MODEL T204: the register was put back, and would use numbers of bundles again."""
    couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    couriers.take(NORTH, medium)
    back = tmp_path / "back"
    back.mkdir()
    couriers.export(NORTH, back)
    couriers.posts[HUB] = couriers.open(HUB, tmp_path / "as it was")
    assert errors(couriers, back, HUB) == [RolledBack]


def test_an_old_copy_takes_in_nothing_from_its_server(couriers, medium, tmp_path):
    """THREAT_MODEL T204: also nothing of what the server made before it had seen that bundle."""
    couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    there = tmp_path / "there"
    there.mkdir()
    couriers.send(NORTH, HUB)
    couriers.export(NORTH, there)
    couriers.take(HUB, there)
    couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    now, couriers.posts[NORTH] = couriers.posts[NORTH], couriers.open(NORTH, tmp_path / "as it was")
    with pytest.raises(RolledBack, match="has seen bundle 1 of yours"):
        couriers.take(NORTH, medium)
    assert couriers.inbox(NORTH) == []
    couriers.posts[NORTH] = now
    assert errors(couriers, medium) == []
    assert len(couriers.inbox(NORTH)) == 2


def test_only_a_server_that_signed_it_stops_an_import(couriers, medium):
    """THREAT_MODEL T204: neither a member nor a forged index keeps anybody from taking in the rest."""
    sent = couriers.send(NORTH, HUB)
    couriers.export(NORTH, medium)
    (medium / "bundle-x.fsdoc").write_bytes(couriers.index(SOUTH, HUB, Contents(seen=9), 1).encode())
    assert errors(couriers, medium, HUB) == [RolledBack]
    assert couriers.inbox(HUB) == [sent]
    (medium / "bundle-x.fsdoc").unlink()
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    forged = couriers.index(HUB, NORTH, Contents(seen=9), 9, signer=couriers.federation[SOUTH].signer)
    (medium / "bundle-y.fsdoc").write_bytes(forged.encode())
    assert errors(couriers, medium) == [BadSignature]
    assert couriers.inbox(NORTH) == [sent]
