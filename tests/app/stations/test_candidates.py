"""Who would take part: offers, prekeys, and when enough of them are there."""

import pytest

from fedspallm_secure.app.stations.candidates import rounds_drawn
from fedspallm_secure.crypto.key_records import prekeys_from
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.rounds.plans import Sampling
from fedspallm_secure.storage.home import open_home
from tests.ceremony import FEDERATION
from tests.stationary import HUB, SERVER, Stations, an_offer


def federation(tmp_path, **setting):
    return Stations(tmp_path / "federation", **setting)


def test_everybody_of_the_roster_is_waited_for(tmp_path):
    with federation(tmp_path) as found:
        found.silent.add("north")
        found.run()
        assert found.server.waiting == "waiting for north to offer to take part"
        found.silent.clear()
        found.run()
        assert found.model.done == [1]


def test_enough_are_enough_after_a_while(tmp_path):
    with federation(tmp_path, members=5, open_after=100) as found:
        found.silent.add("north")
        found.run()
        assert found.server.station is None
        found.now += 99
        found.run()
        assert found.server.station is None
        found.now += 1
        found.run()
        assert found.model.done == [1]
        assert sorted(found.server.post.journal.recall("members", "*")) == ["east", "middle", "south", "west"]


def test_too_few_are_never_enough(tmp_path):
    with federation(tmp_path, open_after=100) as found:
        found.silent |= {"north", "south"}
        found.run()
        found.now += 10_000
        found.run()
        assert found.server.waiting == "waiting for north, south to offer to take part"


def test_who_takes_part_is_fixed_by_the_first_round(tmp_path):
    with federation(tmp_path, members=5, layers=1, schedule=("1/4", "1/2"), open_after=1) as found:
        found.silent.add("north")
        found.run()
        found.now += 1
        found.run()
        found.silent.clear()
        found.wait()
        assert found.model.done == [1, 2]
        assert "north" not in found.server.post.journal.recall("members", "*")


def test_an_offer_without_its_bundle_is_none(tmp_path):
    with federation(tmp_path) as found:
        found.silent.add("north")
        found.run()
        found.silent.clear()
        post = found.members["north"].post
        with post.at_once():
            post.send("offer", SERVER, [an_offer("cd" * 32).encode()])
        found.run()
        assert "north" in found.server.waiting
        found.offer("north")
        found.run()
        assert found.model.done == [1]


def test_the_newest_offer_counts_and_an_old_bundle_is_kept(tmp_path):
    with federation(tmp_path) as found:
        found.offer("north")
        found.carry()
        found.server.work_through()
        assert len(found.server.post.journal.recall_all("bundle")) == 4
        assert not found.server.told


def test_a_bundle_of_somebody_else_is_refused(tmp_path):
    with federation(tmp_path) as found:
        north, south = found.members["north"], found.members["south"]
        with north.post.at_once():
            north.post.send("prekeys", SERVER, [south.bundle.encode()])
        found.run()
        assert [one.type for one, _ in found.server.told] == ["prekeys"]
        assert found.model.done == [1]


def test_rounds_go_on_as_long_as_there_are_prekeys(tmp_path):
    with federation(tmp_path, members=4, layers=1, schedule=("1/4", "1/2"), prekeys=1) as found:
        found.wait()
        assert found.model.done == [1]
        assert found.server.waiting.startswith("no prekeys left of east, north, south, west: ")
        assert found.server.post.awaited["north"] == "no round can begin: no prekeys left of north"


def test_a_bundle_that_is_out_of_date_counts_for_nothing(tmp_path):
    with federation(tmp_path) as found:
        found.carry()
        found.server.work_through()
        assert len(found.server.candidates.bundles(found.names)) == 4
        found.clocks[HUB] = 20 * 365 * 86_400
        assert found.server.candidates.bundles(found.names) == {}


@pytest.mark.parametrize(("layers", "schedule", "rounds"), [(2, ("1/2",), 1), (2, ("1/4", "1/2"), 2)])
def test_how_many_rounds_are_drawn(layers, schedule, rounds):
    budgets = tuple((name, layers) for name in ("a", "b", "c", "d"))
    assert rounds_drawn(Sampling(1, layers, schedule, 3, False, budgets)) == rounds


# --- prekeys that members would decline -------------------------------------------------------------------------------


def told(found, bundle, name="north"):
    """What the server says of prekeys that a member sends."""
    with found.members[name].post.at_once():
        found.members[name].post.send("prekeys", SERVER, [bundle.encode()])
    found.carry()
    found.server.work_through()
    return [str(error) for _, error in found.server.told]


def bundle_of(found, leaves, name="north"):
    station = found.members[name]
    return Prekeys.make(station.post.signer, FEDERATION, station.party, 0, leaves, found.now, found.now + 1000)


def test_prekeys_that_can_be_used_are_kept(tmp_path):
    with federation(tmp_path) as found:
        bundle = bundle_of(found, [Prekey.from_bytes(key.leaf) for key in prekeys_from(0, 3)])
        assert told(found, bundle) == []
        assert found.server.post.journal.recall("bundle", bundle.statement.digest.hex()) is not None


@pytest.mark.parametrize("place", [0, 2])
def test_every_key_has_to_be_of_use(tmp_path, place):
    with federation(tmp_path) as found:
        leaves = [key.leaf for key in prekeys_from(0, 3)]
        for altered in (bytes(32) + leaves[place][32:], leaves[place][:-32] + bytes(32)):  # both X25519 keys of a leaf
            changed = [altered if number == place else leaf for number, leaf in enumerate(leaves)]
            found.server.told.clear()
            assert len(told(found, bundle_of(found, list(map(Prekey.from_bytes, changed))))) == 1


def test_no_key_stands_twice(tmp_path):
    with federation(tmp_path) as found:
        leaves = [Prekey.from_bytes(key.leaf) for key in prekeys_from(0, 3)]
        assert told(found, bundle_of(found, [*leaves[:2], leaves[0]])) == [
            "an X25519 key stands twice in the prekeys of north"
        ]
        found.server.told.clear()
        assert told(found, bundle_of(found, leaves)) == []
        found.reopen(HUB)
        respelt = bytes([*leaves[1].exchange[:31], leaves[1].exchange[31] | 128])  # the same point (RFC 7748 section 5)
        other = Prekey.from_bytes(respelt + prekeys_from(0, 1)[0].leaf[32:])
        assert told(found, bundle_of(found, [other], "south"), "south") == [
            "north and south have the same X25519 key among their prekeys"
        ]


def test_the_bundle_that_was_offered_is_kept(tmp_path):
    with federation(tmp_path) as found:
        for _ in range(5):
            assert told(found, bundle_of(found, [Prekey.from_bytes(key.leaf) for key in prekeys_from(0, 1)])) == []
        journal = found.server.post.journal
        offered = found.members["north"].bundle.statement.digest.hex()
        kept = journal.recall("bundles of", "north")
        assert len(kept) == 3 and kept[0] == offered
        assert all(journal.recall("bundle", one) and journal.recall("next prekey", one) == 0 for one in kept)
        assert len(journal.recall_all("bundle")) == len(journal.recall_all("next prekey")) == 6
        found.run()
        assert found.model.done == [1]


# --- members without a certificate, and offers that allow no round ----------------------------------------------------


def take(found, party, *documents):
    """Import documents, and go on with them."""
    found.ceremony.take(party, *documents)
    found.post(party).renew(open_home(found.ceremony.home(party)))
    found.station(party).renew()


def withdraw(found, *parties):
    crl = [found.ceremony.revoke(party) for party in parties][-1]
    for party in set(found.parties).difference(parties):
        take(found, party, crl)
    found.now += 1


def test_the_first_round_goes_on_without_a_member_that_is_gone(tmp_path):
    with federation(tmp_path, members=5) as found:
        withdraw(found, "member/north")
        found.wait()
        assert found.model.done == [1]
        assert "north" not in found.server.post.journal.recall("members", "*")


def test_too_few_are_left_for_a_first_round(tmp_path):
    with federation(tmp_path, members=5) as found:
        withdraw(found, "member/north", "member/south")
        found.run()
        assert found.server.station is None
        assert found.server.waiting.startswith("no round can begin: a cohort of 3 is too small")
        assert found.server.waiting.endswith("; left out: certificate withdrawn of north, south")


def test_who_is_left_out_is_told_while_others_are_waited_for(tmp_path):
    with federation(tmp_path, members=5) as found:
        withdraw(found, "member/north")
        found.silent.add("south")
        found.run()
        said = "waiting for south to offer to take part; left out: certificate withdrawn of north"
        assert found.server.waiting == said


def test_a_slip_in_a_name_that_was_configured_leaves_nobody_out(tmp_path):
    with federation(tmp_path, awaited=("nort", "south", "east", "west", "middle"), members=5) as found:
        found.run()
        assert found.server.waiting == "waiting for nort to offer to take part (not in the roster: nort)"
        assert found.server.station is None


def test_a_better_offer_heals_a_bad_one(tmp_path):
    with federation(tmp_path) as found:
        north = found.members["north"].post
        with north.at_once():
            body = an_offer(found.members["north"].bundle, layers=1).encode()
            north.send("offer", SERVER, [body])
        found.run()
        assert "of 2 layers are offered: east 2, north 1, south 2, west 2" in found.server.waiting
        assert found.server.post.journal.last_round() == 0
        found.offer("north")
        found.run()
        assert found.model.done == [1]


def test_a_member_that_lost_its_keys_has_no_valid_prekeys(tmp_path):
    with federation(tmp_path) as found:
        found.carry()
        found.server.work_through()
        crl = found.ceremony.revoke("member/north")
        found.ceremony.home("member/north").rename(tmp_path / "lost")
        found.ceremony.take("member/north", found.ceremony.sign(found.ceremony.request("member/north", prekeys=4)))
        take(found, HUB, crl, found.ceremony.roster())
        found.server.tick()
        assert found.server.waiting == ("waiting for north to offer to take part (no valid prekeys of north)")
