"""One-trip rounds between stations on disk, encrypted with TenSEAL."""

from fedspallm_secure.app.rounds.planning import cipher_for
from fedspallm_secure.he import parameters
from fedspallm_secure.pruning.strategies import Strategy
from tests import stationary
from tests.app.stations.holding import VAULT, check_sums, setting, until
from tests.clear_cipher import clear
from tests.stationary import Stations


def test_two_rounds(tmp_path):
    with Stations(tmp_path, setting=setting(schedule=("1/4", "1/2"))) as found:
        found.run()
        check_sums(found, [1, 2])
        vault = found.key_holders["vault"]
        assert vault.machine.over
        assert vault.machine.plan.round == 2
        assert [key.index for key in vault.held_keys()] == [3]  # the one that lies ready; two were used and are gone
        assert list(vault.folder.iterdir()) == []


def test_no_round_begins_without_a_key_and_one_does_as_soon_as_there_is(tmp_path):
    with clear(), Stations(tmp_path, setting=setting()) as found:
        found.silent = {"vault"}
        found.run()
        assert found.server.station is None
        assert found.server.waiting == "no key of key-holder/vault, who has to run fedprune key-holder run"
        assert found.model.done == []
        found.silent = set()
        found.run()
        check_sums(found, [1])


def test_keys_for_fewer_members_begin_no_round(tmp_path, monkeypatch):
    monkeypatch.setattr(stationary, "cipher_for", lambda _, *terms: cipher_for(3, *terms))
    with clear(), Stations(tmp_path, setting=setting()) as found:
        found.run()
        assert found.server.station is None
        assert "key-holder.toml has to say" in found.server.waiting
        assert 'strategy = "fedspallm", sum_bits = 32 and members = 4 or more' in found.server.waiting
        monkeypatch.undo()
        with clear():  # corrected, it goes on, although the others came first
            found.reopen(VAULT)
            found.run()
        check_sums(found, [1])


def test_keys_for_votes_begin_no_round_of_sums(tmp_path, monkeypatch):
    monkeypatch.setattr(stationary, "cipher_for", lambda members, *_: cipher_for(members, Strategy.VOTES, 32))
    with clear(), Stations(tmp_path, setting=setting()) as found:
        found.run()
        assert found.server.station is None
        assert "key-holder.toml has to say" in found.server.waiting
        assert found.server.post.journal.last_round() == 0  # no key and no prekey was spent on it


def test_the_server_says_what_a_round_will_cost(tmp_path):
    with clear(), Stations(tmp_path, setting=setting()) as found:
        until(found, "member/north", "plan")
        (told,) = found.server.news
        assert told.startswith("round 1: encrypted, a member sends up to 65.0 KiB in a round; by secure aggregation")


def test_vectors_that_nobody_could_encrypt_begin_no_round(tmp_path, monkeypatch):
    monkeypatch.setattr(parameters, "CHUNKS_LIMIT", 0)
    with clear(), Stations(tmp_path, setting=setting()) as found:
        found.run()
        assert found.server.station is None
        assert found.server.waiting.startswith("no round can begin: encrypted, 8 weights are")
        assert found.server.post.journal.last_round() == 0
