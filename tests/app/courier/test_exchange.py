"""Packages that are exported, carried and imported: what arrives, what is told, what is carried again."""

import pytest

from fedspallm_secure.errors import ForeignBundle, MediumIncomplete, OutputExists, RolledBack, UnknownSender
from fedspallm_secure.protocol.bundles import Bundle
from fedspallm_secure.protocol.statements import StatementType, make_statement
from tests.couriers import HUB, NORTH, SOUTH, Couriers, names


@pytest.fixture
def couriers(tmp_path):
    with Couriers(tmp_path / "homes") as found:
        yield found


@pytest.fixture(autouse=True)
def folders(tmp_path):
    for name in ("homes", "medium", "other"):
        (tmp_path / name).mkdir()


@pytest.fixture
def medium(tmp_path):
    return tmp_path / "medium"


def test_what_waits_arrives(couriers, medium):
    sent = [couriers.send(HUB, NORTH, b"x" * size) for size in (1, 70_000, 3 << 20)]
    exported = couriers.export(HUB, medium)
    assert [one.bundle.number for one in exported] == [1]
    assert len(names(medium, ".fspkg")) == 3
    outcome = couriers.take(NORTH, medium)[0]
    assert (outcome.state, sorted(outcome.arrived), outcome.errors) == ("taken", sorted(sent), [])
    assert couriers.inbox(NORTH) == sent
    assert [couriers.post(NORTH).depot.inside("in", digest).read_bytes() for digest in sent] == [
        couriers.post(HUB).depot.inside("out", digest).read_bytes() for digest in sent
    ]


def test_importing_twice_is_nothing_new(couriers, medium):
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    couriers.take(NORTH, medium)
    outcome = couriers.take(NORTH, medium)[0]
    assert (outcome.state, outcome.arrived, outcome.known, outcome.errors) == ("taken", [], [sent], [])


def test_a_package_counts_as_arrived_when_its_recipient_says_so(couriers, medium, tmp_path):
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    assert couriers.waiting(HUB) == [sent]  # it may have been lost
    couriers.take(NORTH, medium)
    back = tmp_path / "other"
    assert couriers.export(NORTH, back)[0].bundle.contents.received == (sent,)
    assert couriers.take(HUB, back)[0].told == 1
    assert couriers.waiting(HUB) == []
    assert couriers.export(HUB, medium, NORTH) == []


def test_after_a_lost_medium_the_same_bundle_is_made_again(couriers, medium, tmp_path):
    couriers.send(HUB, NORTH)
    first = couriers.export(HUB, medium)[0]
    second = couriers.export(HUB, tmp_path / "other")[0]
    assert (first.again, second.again) == (False, True)
    assert first.bundle == second.bundle
    assert names(medium) == names(tmp_path / "other")


def test_what_did_not_arrive_is_carried_again_with_what_is_new(couriers, medium, tmp_path):
    first = couriers.send(HUB, NORTH, b"first")
    couriers.export(HUB, medium)
    second = couriers.send(HUB, NORTH, b"second")
    exported = couriers.export(HUB, tmp_path / "other")[0]
    assert exported.bundle.number == 2
    outcome = couriers.take(NORTH, tmp_path / "other")[0]
    assert outcome.arrived == [first, second]
    assert outcome.gap == (1, 1)
    assert "bundle 1 of server/hub has not arrived" in outcome.gap_words


def test_a_bundle_that_comes_late_changes_nothing(couriers, medium, tmp_path):
    couriers.send(HUB, NORTH, b"first")
    couriers.export(HUB, medium)
    couriers.send(HUB, NORTH, b"second")
    couriers.export(HUB, tmp_path / "other")
    couriers.take(NORTH, tmp_path / "other")
    before = couriers.inbox(NORTH)
    assert [outcome.state for outcome in couriers.take(NORTH, medium)] == ["stale"]
    assert couriers.inbox(NORTH) == before


def test_several_exports_and_recipients_share_a_medium(couriers, medium):
    north, south = couriers.send(HUB, NORTH), couriers.send(HUB, SOUTH)
    assert [str(one.bundle.recipient) for one in couriers.export(HUB, medium)] == [NORTH, SOUTH]
    later = couriers.send(HUB, NORTH, b"later")
    couriers.export(HUB, medium, NORTH)
    outcomes = couriers.take(NORTH, medium)
    assert [outcome.state for outcome in outcomes] == ["taken", "taken", "other"]
    assert [outcome.arrived for outcome in outcomes] == [[north], [later], []]
    assert couriers.take(SOUTH, medium)[2].arrived == [south]
    assert couriers.export(NORTH, medium)  # back on the same medium
    assert [outcome.state for outcome in couriers.take(HUB, medium)].count("own") == 3


@pytest.mark.parametrize("went_on", [False, True])
def test_a_home_that_was_put_back_is_told_by_the_medium_that_it_used_before(couriers, medium, tmp_path, went_on):
    couriers.send(NORTH, HUB, b"first")
    couriers.export(NORTH, medium)
    couriers.posts[NORTH] = couriers.open(NORTH, tmp_path / "put back")
    couriers.send(NORTH, HUB, b"second")
    if went_on:
        assert [one.bundle.number for one in couriers.export(NORTH, tmp_path / "other")] == [1]
    before = names(medium)
    with pytest.raises(RolledBack, match="has bundle 1 of member/north for server/hub from earlier"):
        couriers.export(NORTH, medium)
    assert names(medium) == before


def test_what_somebody_else_made_in_our_name_stops_no_export(couriers, medium):
    couriers.send(NORTH, HUB)
    (made,) = couriers.export(NORTH, medium)
    value = {**made.bundle.statement.value, "number": 7, "previous": made.bundle.digest}
    south = couriers.federation[SOUTH].signer
    forged = Bundle.parse(make_statement(StatementType.BUNDLE, value, [south]).encode())
    (medium / forged.name).write_bytes(forged.encode())
    (medium / "bundle-.fsdoc").write_bytes(b"no index")
    couriers.send(NORTH, HUB, b"more")
    assert [one.bundle.number for one in couriers.export(NORTH, medium)] == [2]


def test_only_those_are_served_who_were_named(couriers, medium):
    couriers.send(HUB, NORTH)
    south = couriers.send(HUB, SOUTH)
    assert [file.digest for one in couriers.export(HUB, medium, SOUTH) for file in one.bundle.contents.files] == [south]


def test_nobody_who_is_not_in_the_roster_is_served(couriers, medium):
    with pytest.raises(UnknownSender):
        couriers.export(HUB, medium, "member/nobody")


def test_a_medium_for_others_is_refused(couriers, medium):
    couriers.send(HUB, SOUTH)
    couriers.export(HUB, medium)
    with pytest.raises(ForeignBundle, match="for member/south"):
        couriers.take(NORTH, medium)


def test_a_medium_without_an_index_is_incomplete(couriers, medium):
    couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    next(medium.glob("*.fsdoc")).unlink()
    with pytest.raises(MediumIncomplete):
        couriers.take(NORTH, medium)


def test_what_is_missing_is_named_and_the_rest_taken(couriers, medium):
    lost, sent = couriers.send(HUB, NORTH, b"lost"), couriers.send(HUB, NORTH, b"sent")
    couriers.export(HUB, medium)
    saved = (medium / f"{lost}.fspkg").rename(medium.parent / "saved")
    outcome = couriers.take(NORTH, medium)[0]
    assert outcome.arrived == [sent]
    assert [trouble.digest for trouble in outcome.missing] == [lost]
    assert [type(error) for error in outcome.errors] == [MediumIncomplete]
    saved.rename(medium / f"{lost}.fspkg")  # found after all
    assert couriers.take(NORTH, medium)[0].arrived == [lost]


def test_what_is_missing_and_has_come_another_way_is_not_asked_for(couriers, medium):
    sent = couriers.send(HUB, NORTH)
    post = couriers.post(NORTH)
    data = couriers.post(HUB).depot.inside("out", sent).read_bytes()
    arrival = post.depot.arrival(couriers.post(HUB).party, sent, len(data))
    arrival.write(data)
    arrival.finish()
    couriers.export(HUB, medium)
    (medium / f"{sent}.fspkg").unlink()
    outcome = couriers.take(NORTH, medium)[0]
    assert (outcome.known, outcome.missing) == ([sent], [])


def test_receipts_are_repeated_until_they_are_known_to_have_arrived(couriers, medium, tmp_path):
    first = couriers.send(HUB, NORTH, b"first")
    couriers.export(HUB, medium)
    couriers.take(NORTH, medium)
    lost = tmp_path / "other"
    couriers.export(NORTH, lost)  # and nobody brings it
    couriers.send(NORTH, HUB, b"answer")
    second = couriers.send(HUB, NORTH, b"second")
    couriers.export(HUB, medium)
    couriers.take(NORTH, medium)
    back = tmp_path / "back"
    back.mkdir()
    assert couriers.export(NORTH, back)[0].bundle.contents.received == (first, second)
    couriers.take(HUB, back)
    couriers.send(HUB, NORTH, b"third")
    exported = couriers.export(HUB, medium)[0]
    assert [file.digest for file in exported.bundle.contents.files] != []
    assert exported.bundle.contents.seen == 2
    couriers.take(NORTH, medium)
    assert first not in couriers.post(NORTH).bundles.receipts(couriers.post(HUB).party)


def test_what_was_damaged_at_the_other_end_is_sent_again(couriers, medium, tmp_path):
    sent = couriers.send(HUB, NORTH)
    couriers.export(HUB, medium)
    couriers.take(NORTH, medium)
    couriers.export(NORTH, tmp_path / "other")
    couriers.take(HUB, tmp_path / "other")
    assert couriers.waiting(HUB) == []
    couriers.post(NORTH).journal.settle(sent, "damaged", "a disk that forgets")
    back = couriers.export(NORTH, tmp_path / "other")[0].bundle.contents
    assert (back.again, back.received) == ((sent,), ())
    couriers.take(HUB, tmp_path / "other")
    assert [file.digest for file in couriers.export(HUB, medium)[0].bundle.contents.files] == [sent]
    assert [outcome.arrived for outcome in couriers.take(NORTH, medium)] == [[sent], []]  # bundle 1 has it too
    couriers.export(NORTH, tmp_path / "other")
    couriers.take(HUB, tmp_path / "other")
    assert couriers.export(HUB, medium, NORTH) == []


def test_everything_can_be_asked_for(couriers, medium, tmp_path):
    sent = couriers.send(HUB, NORTH)
    couriers.post(HUB).depot.departed(couriers.post(NORTH).party, sent)
    assert couriers.export(HUB, medium) == []
    assert couriers.export(HUB, medium, everything=True)[0].bundle.contents.files[0].digest == sent


def test_a_single_file_holds_several_bundles(couriers, tmp_path):
    sent = {name: [couriers.send(HUB, name, b"x" * size) for size in (5, 2 << 20)] for name in (NORTH, SOUTH)}
    single = tmp_path / "carried.fsbundle"
    couriers.export(HUB, None, single=single)
    for name, digests in sent.items():
        assert [one.arrived for one in couriers.take(name, single) if one.state == "taken"] == [digests]
    with pytest.raises(OutputExists):
        couriers.export(HUB, None, single=single)


def test_nothing_to_say_makes_no_file(couriers, medium):
    assert couriers.export(HUB, None, single=medium / "x") == []
    assert couriers.export(HUB, medium) == []
    assert names(medium) == []


def test_large_packages_are_cut_and_joined(couriers, medium, monkeypatch):
    monkeypatch.setattr("fedspallm_secure.protocol.bundles.PART_SIZE", 300_000)
    sent = couriers.send(HUB, NORTH, b"large" * 200_000)
    couriers.export(HUB, medium)
    assert names(medium, "fspkg") == []
    parts = [name for name in names(medium) if "fspkg" in name]
    assert parts == [f"{sent}.fspkg.00{number}" for number in (1, 2, 3, 4)]
    assert max((medium / name).stat().st_size for name in parts) == 300_000
    assert couriers.take(NORTH, medium)[0].arrived == [sent]
    (medium / parts[2]).unlink()
    couriers.export(HUB, medium)  # it goes on after what is whole
    assert [name for name in names(medium) if "fspkg" in name] == parts


def test_an_import_that_was_interrupted_goes_on(couriers, medium):
    sent = couriers.send(HUB, NORTH, b"y" * (5 << 20))
    couriers.export(HUB, medium)
    path = medium / f"{sent}.fspkg"
    whole = path.read_bytes()
    path.write_bytes(whole[: 3 << 20] + bytes(len(whole) - (3 << 20)))
    outcome = couriers.take(NORTH, medium)[0]
    assert [trouble.digest for trouble in outcome.missing] == [sent]
    arrival = couriers.post(NORTH).depot.arrival(couriers.post(HUB).party, sent, len(whole))
    assert 1 << 20 < arrival.offset <= 3 << 20  # what was checked was kept, and nothing else
    arrival.close()
    path.write_bytes(whole)
    assert couriers.take(NORTH, medium)[0].arrived == [sent]
    assert couriers.post(NORTH).depot.inside("in", sent).read_bytes() == whole
