"""`key-holder.toml`, and what the other files say of key holders: what is read, and what is refused."""

from pathlib import Path

import pytest

from fedspallm_secure.app.configuration.either import data_of, find_either, home_of, read_either, role_of
from fedspallm_secure.app.configuration.key_holder import KeyHolderConfig, read_key_holder
from fedspallm_secure.app.rounds.planning import cipher_for
from fedspallm_secure.app.service.key_holder import parameters_of, policy_of
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import CapacityExceeded, MissingInput
from fedspallm_secure.he import parameters
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile
from tests.app.configuration.test_reading import federation, member, spelled, told

LEAST = {"holder": 'home = "vault"', "server": 'id = "hub"', "keys": "members = 5"}


def key_holder(folder: Path, **more: str) -> KeyHolderConfig:
    path = folder / "key-holder.toml"
    path.write_text(spelled(LEAST, **more))
    return read_key_holder(path)


def test_a_key_holder_by_its_defaults(tmp_path):
    found = key_holder(tmp_path)
    assert (found.holder.home, found.holder.data) == (tmp_path / "vault", tmp_path / "decrypting")
    assert (found.server.id, found.server.url, found.server.proxy) == ("hub", "", "")
    keys, policy = found.keys, found.policy
    assert (keys.members, keys.strategy, keys.sum_bits, keys.stock) == (5, Strategy.FEDSPALLM, 32, 2)
    assert (policy.colluders, policy.least_cohort, policy.sample_least, policy.sample_most) == (1, 3, 1, 10)
    assert (policy.software, policy.horizon, policy.epochs) == ((), 90 * 86_400, 16)
    assert policy.counts_to == (Role.SERVER, Role.AUDITOR)
    server = Party(Role.SERVER.value, "hub")
    usual = Policy(server, 1, profiles=frozenset({Profile.ONE_TRIP}), least_cohort=3)
    assert policy_of(found) == usual
    assert parameters_of(found) == cipher_for(5, Strategy.FEDSPALLM, 32)


def test_a_key_holder_with_everything_said(tmp_path):
    found = key_holder(
        tmp_path,
        holder='data = "/srv/decrypting"',
        server='url = "https://hub.example.org:8443"\nproxy = "http://proxy:3128"\nupload_rate = "1 MiB/s"',
        keys='strategy = "votes"\nsum_bits = 16\nstock = 8',
        policy='colluders = 2\nleast_cohort = 6\nsample_least = 20\nsample_most = 1000\nhorizon = "2w"\nepochs = 3\n'
        'software = ["fedspallm-secure/0.1"]\ncounts_to = ["server"]',
    )
    assert found.holder.data == Path("/srv/decrypting")
    assert (found.server.upload_rate, found.keys.stock) == (1 << 20, 8)
    policy = policy_of(found)
    assert (policy.colluders, policy.least_cohort, policy.sample) == (2, 6, (20, 1000))
    assert (policy.horizon, policy.epochs) == (14 * 86_400, 3)
    assert policy.software == {"fedspallm-secure/0.1"}
    assert policy.counts_to == {Role.SERVER}
    assert parameters_of(found) == cipher_for(5, Strategy.VOTES, 16)


@pytest.mark.parametrize(
    ("section", "line", "words"),
    [
        ("holder", "home = 3", "[holder] home"),
        ("holder", 'model = "x"', "[holder] model"),
        ("server", 'url = "hub"', "[server] url"),
        ("server", 'id = "no such name"', "[server] id"),
        ("keys", "members = 1", "[keys] members"),
        ("keys", "members = 10001", "[keys] members"),
        ("keys", "members = true", "[keys] members"),
        ("keys", 'strategy = "sums"', "[keys] strategy"),
        ("keys", "sum_bits = 24", "[keys] sum_bits"),
        ("keys", "stock = 0", "[keys] stock"),
        ("keys", "stock = 9", "[keys] stock"),
        ("policy", "colluders = -1", "[policy] colluders"),
        ("policy", "least_cohort = 2", "[policy] least_cohort"),
        ("policy", "sample_least = 0", "[policy] sample_least"),
        ("policy", "sample_most = 1001", "[policy] sample_most"),
        ("policy", "sample_least = 51", "sample_least is more than sample_most"),
        ("policy", "sample_most = 4\nsample_least = 5", "sample_least is more than sample_most"),
        ("policy", 'horizon = "soon"', "[policy] horizon"),
        ("policy", 'counts_to = ["nobody"]', "[policy] counts_to"),
        ("policy", "epochs = 0", "[policy] epochs"),
        ("policy", 'software = ["0.1"]', "[policy] software"),
        ("policy", 'profiles = ["one-trip"]', "[policy] profiles"),
        ("texts", "seed = 0", "[texts]"),
    ],
)
def test_mistakes_are_told(tmp_path, section, line, words):
    key = line.partition(" ")[0]
    kept = {name: "" if value.startswith(f"{key} ") else value for name, value in LEAST.items()}
    path = tmp_path / "key-holder.toml"
    path.write_text(spelled(kept, **{section: line}))
    told(lambda: read_key_holder(path), words)


@pytest.mark.parametrize("section", LEAST)
def test_what_has_to_be_said_is_asked_for(tmp_path, section):
    path = tmp_path / "key-holder.toml"
    path.write_text(spelled({name: lines for name, lines in LEAST.items() if name != section}))
    told(lambda: read_key_holder(path), section)


def test_keys_that_no_modulus_holds_are_refused_before_any_is_made(tmp_path, monkeypatch):
    found = key_holder(tmp_path)
    monkeypatch.setattr(parameters, "COEFFICIENT_BITS", range(30, 31))
    parameters.choose.cache_clear()
    with pytest.raises(CapacityExceeded):
        parameters_of(found)
    parameters.choose.cache_clear()


def test_the_file_is_known_by_its_name_and_by_what_is_in_it(tmp_path, monkeypatch):
    key_holder(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = find_either(None)
    assert path.name == "key-holder.toml"
    other = tmp_path / "vault.toml"
    other.write_text(path.read_text())
    for one in (path, other):
        found = read_either(one)
        assert isinstance(found, KeyHolderConfig)
        assert (home_of(found), data_of(found)) == (tmp_path / "vault", tmp_path / "decrypting")
        assert role_of(found) is Role.KEY_HOLDER
    path.unlink()
    with pytest.raises(MissingInput, match=r"key-holder\.toml"):
        read_key_holder(path)


# What the others say of key holders


def test_a_federation_with_a_key_holder(tmp_path):
    found = federation(tmp_path, rounds='profile = "one-trip"\nkey_holder = "vault"\nsample = 20').rounds
    assert (found.profile, found.key_holder, found.sample) == (Profile.ONE_TRIP, "vault", 20)
    assert (federation(tmp_path).rounds.key_holder, federation(tmp_path).rounds.sample) == (None, 10)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('profile = "one-trip"', "key_holder"),
        ('key_holder = "vault"', "key_holder"),
        ('profile = "one-trip"\nkey_holder = "no such name"', "[rounds] key_holder"),
        ('profile = "one-trip"\nkey_holder = "vault"\nsample = 0', "[rounds] sample"),
        ('profile = "one-trip"\nkey_holder = "vault"\nsample = 1001', "[rounds] sample"),
    ],
)
def test_mistakes_in_a_federation(tmp_path, lines, words):
    told(lambda: federation(tmp_path, rounds=lines), words)


def test_a_member_that_trusts_a_key_holder(tmp_path):
    lines = 'profiles = ["one-trip"]\nkey_holders = ["vault", "other"]\nsample_least = 20\nsample_most = 80'
    found = member(tmp_path, policy=lines).policy
    assert found.key_holders == ("other", "vault")
    assert (found.sample_least, found.sample_most) == (20, 80)
    usual = member(tmp_path).policy
    assert (usual.key_holders, usual.sample_least, usual.sample_most) == ((), 1, 10)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('profiles = ["one-trip"]', "one-trip needs key_holders"),
        ('key_holders = ["no such name"]', "[policy] key_holders"),
        ("sample_least = 60", "sample_least is more than sample_most"),
        ("sample_most = 0", "[policy] sample_most"),
    ],
)
def test_mistakes_of_a_member(tmp_path, lines, words):
    told(lambda: member(tmp_path, policy=lines), words)
