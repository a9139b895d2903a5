"""A federation in memory: everything in it is what a stranger would accept, and nothing else."""

import time

import pytest
from cryptography import x509

from fedspallm_secure.app.federation import Federation
from fedspallm_secure.crypto.certificates import Purpose, check_leaf, check_root
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.profiles import DAY, DEVELOPMENT, Profiles
from fedspallm_secure.crypto.revocation import CLOCK_SKEW, Reason, RevocationList
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.errors import (
    BadSignature,
    CertificateExpired,
    CertificateRevoked,
    FormatError,
    LimitExceeded,
    RevocationListStale,
    UnknownSender,
    UsageError,
)
from fedspallm_secure.protocol.limits import PARTIES_LIMIT, ROSTER_LIMIT
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.storage.profiles import default_profiles

NOW = 1_790_000_000  # 2026-09-21
NAME = "lungs.example"
HUB, NORTH, SOUTH, WATCH = map(Party.parse, ("server/hub", "member/north", "member/south", "witness/watch"))
PARTIES = [NORTH, WATCH, HUB, SOUTH]
LUNGS = Federation.make(NAME, PARTIES, NOW, prekeys=3)
PROFILES = Profiles.parse(default_profiles())


def read_back() -> Trust:
    """What a stranger has, who was given the files."""
    root = check_root(LUNGS.trust.root.der, NAME, NOW)
    crl = RevocationList.parse(LUNGS.trust.crl.der, root)
    return Trust(root, Roster.parse(LUNGS.trust.roster.encode(), root), crl)


def test_a_stranger_accepts_all_of_it():
    trust = read_back()
    trust.roster.check_crl(trust.crl)
    assert [entry.party for entry in trust.roster.entries] == sorted(PARTIES)
    for entry in trust.roster.entries:
        for at in (NOW - CLOCK_SKEW, NOW, NOW + PROFILES.crl_days * DAY):
            check_leaf(entry.leaf.der, trust.root, entry.party, Purpose.SIGNING, at, trust.crl)
            entry.key_statement.check_time(at)
        assert LUNGS[entry.party].entry == entry


def test_each_party_holds_the_keys_that_its_certificate_and_statement_name():
    for party in PARTIES:
        one = LUNGS[party]
        assert one.signer.public == one.entry.leaf.public
        stated = {key.key_id: key for key in one.entry.key_statement.keys}
        assert {name: secret.recipient_key for name, secret in one.secrets.items()} == stated
        assert [key.kem for key in one.entry.key_statement.keys] == [Kem.HYBRID, Kem.X25519]
        assert one.reader.party == party
        assert {name: key.kem for name, key in one.reader.keys.items()} == {n: k.kem for n, k in stated.items()}
    assert len({LUNGS[party].signer.public for party in PARTIES}) == len(PARTIES)


def test_it_lasts_as_long_as_the_profiles_say():
    root, entry = LUNGS.trust.root, LUNGS[NORTH].entry
    assert (root.not_before, root.not_after) == (NOW - CLOCK_SKEW, NOW - CLOCK_SKEW + PROFILES.root.validity_days * DAY)
    days = PROFILES.signing.validity_days * DAY
    assert (entry.leaf.not_before, entry.leaf.not_after) == (NOW - CLOCK_SKEW, NOW - CLOCK_SKEW + days)
    assert entry.key_statement.not_after == NOW + PROFILES.key_statement_days * DAY
    assert LUNGS.trust.crl.next_update == NOW + PROFILES.crl_days * DAY
    with pytest.raises(CertificateExpired):
        check_leaf(entry.leaf.der, root, NORTH, Purpose.SIGNING, NOW - CLOCK_SKEW - 1, LUNGS.trust.crl)
    with pytest.raises(RevocationListStale):
        check_leaf(entry.leaf.der, root, NORTH, Purpose.SIGNING, LUNGS.trust.crl.next_update + 1, LUNGS.trust.crl)


def test_its_certificates_say_that_they_are_for_development():
    for der in (LUNGS.trust.root.der, LUNGS[HUB].entry.leaf.der):
        assert DEVELOPMENT in x509.load_der_x509_certificate(der).subject.rfc4514_string()
    real = Federation.make(NAME, [HUB], NOW, profiles=PROFILES)
    assert DEVELOPMENT not in x509.load_der_x509_certificate(real.trust.root.der).subject.rfc4514_string()


def test_two_of_the_same_name_share_no_key():
    other = Federation.make(NAME, PARTIES, NOW)
    assert other.trust.root.public != LUNGS.trust.root.public
    for party in PARTIES:
        assert other[party].signer.public != LUNGS[party].signer.public
        assert not other[party].secrets.keys() & LUNGS[party].secrets.keys()
    with pytest.raises(BadSignature):
        Roster.parse(LUNGS.trust.roster.encode(), other.trust.root)


def test_no_secret_is_printed():
    text = repr(LUNGS) + repr(LUNGS[NORTH])
    assert "secrets=" not in text and "signer=" not in text and "authority=" not in text


def test_what_cannot_be_a_federation_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="twice"):
        Federation.make(NAME, [NORTH, HUB, NORTH], NOW)
    with pytest.raises(FormatError, match="cannot name a federation"):
        Federation.make("Lungs", [NORTH], NOW)
    with pytest.raises(LimitExceeded, match="prekeys are made 1 to 256 at a time, not 257"):
        Federation.make(NAME, [NORTH], NOW, prekeys=257)
    monkeypatch.setattr("fedspallm_secure.app.federation.PARTIES_LIMIT", 3)
    with pytest.raises(LimitExceeded, match="at most 3 parties, not 4"):
        Federation.make(NAME, PARTIES, NOW)
    Federation.make(NAME, PARTIES[:3], NOW)


def test_a_stranger_is_not_in_it():
    with pytest.raises(UnknownSender):
        LUNGS[Party.parse("member/east")]
    with pytest.raises(UnknownSender):
        LUNGS[Party.parse("witness/north")]


# Prekeys


def test_members_have_prekeys_and_nobody_else():
    for party in PARTIES:
        assert (LUNGS[party].prekeys is not None) == (party.role is Role.MEMBER)
    for party in (HUB, WATCH):
        with pytest.raises(UsageError, match="has no prekeys"):
            LUNGS.bundle(party, NOW)
    with pytest.raises(UsageError, match="has no prekeys"):
        Federation.make(NAME, [NORTH], NOW).bundle(NORTH, NOW)


def test_bundles_are_those_of_the_secrets_and_signed():
    lungs = Federation.make(NAME, PARTIES, NOW, prekeys=3)
    held = lungs[NORTH].prekeys
    bundle = Prekeys.parse(lungs.bundle(NORTH, NOW).encode())
    bundle.check(lungs[NORTH].entry.leaf.public, NAME, NORTH)
    for at in (NOW - CLOCK_SKEW, NOW + PROFILES.prekeys_days * DAY):
        bundle.check_time(at)
    assert [leaf.raw for leaf in bundle.leaves] == held.public_leaves()
    with pytest.raises(BadSignature):
        bundle.check(lungs[SOUTH].entry.leaf.public, NAME, NORTH)
    assert (bundle.first, held.burn(0).leaf) == (0, bundle.leaves[0].raw)
    assert lungs.bundle(NORTH, NOW).first == 1
    second = lungs.bundle(NORTH, NOW, first=held.extend(2))
    assert (second.first, len(second.leaves)) == (3, 2)
    assert second.bundle != bundle.bundle
    for index in range(1, 5):
        held.burn(index)
    with pytest.raises(FormatError, match="0 leaves"):
        lungs.bundle(NORTH, NOW)


# Withdrawing


def test_the_withdrawn_are_on_the_next_list():
    lungs = LUNGS.withdraw([NORTH], NOW)
    later = lungs.withdraw([SOUTH], NOW, Reason.SUPERSEDED)
    assert [f.trust.crl.number for f in (LUNGS, lungs, later)] == [1, 2, 3]
    assert later.trust.roster.hash == LUNGS.trust.roster.hash
    for federation, withdrawn in ((LUNGS, []), (lungs, [NORTH]), (later, [NORTH, SOUTH])):
        crl = RevocationList.parse(federation.trust.crl.der, LUNGS.trust.root)
        for party in PARTIES:
            leaf = federation[party].entry.leaf
            if party in withdrawn:
                with pytest.raises(CertificateRevoked):
                    check_leaf(leaf.der, LUNGS.trust.root, party, Purpose.SIGNING, NOW, crl)
            else:
                check_leaf(leaf.der, LUNGS.trust.root, party, Purpose.SIGNING, NOW, crl)
    with pytest.raises(UnknownSender):
        LUNGS.withdraw([Party.parse("member/east")], NOW)


@pytest.mark.slow
def test_a_thousand_members_and_those_around_them():
    members = [Party("member", f"m{number:04}".ljust(63, "x")) for number in range(PARTIES_LIMIT - 100)]
    begin = time.perf_counter()
    large = Federation.make(NAME, [HUB, WATCH, Party.parse("witness/other"), *members], NOW)
    assert time.perf_counter() - begin < 60
    assert len(large.trust.roster.entries) == 1003
    assert len(large.trust.roster.encode()) < ROSTER_LIMIT
    assert large.trust.roster.entry(members[-1]).leaf.public == large[members[-1]].signer.public
