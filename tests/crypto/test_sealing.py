"""HPKE around a file key: opens for the right key and context alone, and the same as RFC 9180 done by hand."""

import pytest
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure.crypto import sealing
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.sealing import (
    Kem,
    RecipientKey,
    RecipientSecret,
    choose,
    supported_kems,
    unwrap,
    wrap,
    x25519,
)
from fedspallm_secure.errors import CannotDecrypt, FormatError, WeakKey
from tests.crypto import reference
from tests.crypto.reference import P

FILE_KEY = bytes(range(100, 132))
INFO = digest(Label.KEM, b"context")
SECRETS = {kem: RecipientSecret(kem, bytes(range(kem.secret_size))) for kem in Kem}
both = pytest.mark.parametrize("kem", Kem, ids=lambda kem: kem.value)

# The u-coordinates of the points of order 1, 2, 4 and 8 on the curve and its twist; P and P + 1 are second spellings.
SMALL = [0, 1, P - 1, P, P + 1]
SMALL += [0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0]
SMALL += [0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F]


def small(u: int) -> bytes:
    return u.to_bytes(32, "little")


# --- wrapping ---------------------------------------------------------------------------------------------------------


@both
def test_what_is_wrapped_is_unwrapped(kem):
    wrapped = wrap(FILE_KEY, SECRETS[kem].recipient_key, INFO)
    assert len(wrapped) == kem.wrap_size == {Kem.X25519: 80, Kem.HYBRID: 1168}[kem]
    assert unwrap(wrapped, SECRETS[kem], INFO) == FILE_KEY
    assert wrap(FILE_KEY, SECRETS[kem].recipient_key, INFO) != wrapped, "a new encapsulation every time"


def test_what_we_wrap_opens_by_hand():
    for kem, opened in ((Kem.X25519, reference.hpke_open_x25519), (Kem.HYBRID, reference.hpke_open_hybrid)):
        wrapped = wrap(FILE_KEY, SECRETS[kem].recipient_key, INFO)
        assert opened(wrapped, SECRETS[kem].secret, INFO) == FILE_KEY
        with pytest.raises(InvalidTag):
            opened(wrapped, SECRETS[kem].secret, INFO + b"x")


@both
def test_another_context_does_not_open(kem):
    wrapped = wrap(FILE_KEY, SECRETS[kem].recipient_key, INFO)
    for info in (b"", INFO[:-1], INFO + b"\0", digest(Label.KEM, b"contexu")):
        with pytest.raises(CannotDecrypt):
            unwrap(wrapped, SECRETS[kem], info)


@both
def test_another_key_does_not_open(kem):
    wrapped = wrap(FILE_KEY, SECRETS[kem].recipient_key, INFO)
    for secret in (RecipientSecret.generate(kem), *(SECRETS[other] for other in Kem if other is not kem)):
        with pytest.raises(CannotDecrypt):
            unwrap(wrapped, secret, INFO)


def test_both_halves_of_the_hybrid_are_needed():
    """Whoever breaks one of the two problems still does not open it."""
    secret = SECRETS[Kem.HYBRID].secret
    wrapped = wrap(FILE_KEY, SECRETS[Kem.HYBRID].recipient_key, INFO)
    for half in (b"\xff" * 64 + secret[64:], secret[:64] + b"\xff" * 32):
        with pytest.raises(CannotDecrypt):
            unwrap(wrapped, RecipientSecret(Kem.HYBRID, half), INFO)


@both
@settings(max_examples=60)
@given(st.data())
def test_every_changed_bit_is_noticed(kem, data):
    """No bit of `enc` is ignored, although X25519 ignores the highest of a public key: HPKE hashes what was sent."""
    wrapped = wrap(FILE_KEY, SECRETS[kem].recipient_key, INFO)
    forced = {Kem.X25519: [255], Kem.HYBRID: [8 * 1088 + 255]}[kem]
    for bit in (*forced, data.draw(st.integers(0, 8 * len(wrapped) - 1))):
        changed = bytearray(wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CannotDecrypt):
            unwrap(bytes(changed), SECRETS[kem], INFO)


@both
@given(st.binary(max_size=1300))
def test_any_bytes_are_refused_with_the_one_message(kem, data):
    with pytest.raises(CannotDecrypt) as raised:
        unwrap(data, SECRETS[kem], INFO)
    assert str(raised.value) == "the body cannot be decrypted"
    assert raised.value.__cause__ is None


@both
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 48, 79, 81, 1120, 1167, 1169, 4000])
def test_any_size_is_refused(kem, size):
    wrapped = wrap(FILE_KEY, SECRETS[kem].recipient_key, INFO)
    with pytest.raises(CannotDecrypt):
        unwrap((wrapped * 60)[:size], SECRETS[kem], INFO)


@both
@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_only_file_keys_are_wrapped(kem, size):
    with pytest.raises(ValueError, match=f"a file key has 32 bytes, not {size}"):
        wrap(bytes(size), SECRETS[kem].recipient_key, INFO)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_only_file_keys_are_unwrapped(size):
    """A sender can put anything into a ciphertext; what is no file key does not come out."""
    secret = SECRETS[Kem.X25519]
    ephemeral = RecipientSecret(Kem.X25519, b"\x07" * 32)
    enc, public = ephemeral.recipient_key.public, secret.recipient_key.public
    shared = reference.dhkem_shared(x25519(ephemeral.secret, public), enc, public)
    assert unwrap(reference.hpke_seal(reference.DHKEM, enc, shared, INFO, FILE_KEY), secret, INFO) == FILE_KEY
    with pytest.raises(CannotDecrypt):
        unwrap(reference.hpke_seal(reference.DHKEM, enc, shared, INFO, bytes(size)), secret, INFO)


@both
@pytest.mark.parametrize("u", SMALL)
def test_an_encapsulation_of_small_order_is_refused(kem, u):
    wrapped = wrap(FILE_KEY, SECRETS[kem].recipient_key, INFO)
    start = 0 if kem is Kem.X25519 else 1088
    with pytest.raises(CannotDecrypt):
        unwrap(wrapped[:start] + small(u) + wrapped[start + 32 :], SECRETS[kem], INFO)


# --- keys -------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("u", SMALL)
def test_nothing_is_wrapped_for_a_key_of_small_order(kem, u):
    """In the hybrid too: its X25519 half would protect nothing."""
    public = SECRETS[kem].recipient_key.public[:-32] + small(u)
    with pytest.raises(FormatError, match="this recipient key cannot be sealed to"):
        wrap(FILE_KEY, RecipientKey(kem, public), INFO)


@both
def test_keys_have_the_sizes_of_the_specification(kem):
    sizes = {Kem.X25519: (32, 32), Kem.HYBRID: (1216, 96)}
    assert (kem.public_size, kem.secret_size) == sizes[kem]
    assert len(SECRETS[kem].recipient_key.public) == kem.public_size


@both
def test_keys_of_another_size_are_refused(kem):
    for difference in (-1, 1, -kem.secret_size, 32):
        with pytest.raises(FormatError, match=f"a {kem.value} secret has {kem.secret_size} bytes"):
            RecipientSecret(kem, bytes(kem.secret_size + difference))
    for difference in (-1, 1, -kem.public_size, 32):
        with pytest.raises(FormatError, match=f"a {kem.value} key has {kem.public_size} bytes"):
            RecipientKey(kem, bytes(kem.public_size + difference))


def test_an_mlkem_key_that_is_not_reduced_is_refused():
    """FIPS 203 section 7.2: every coefficient below 3329; twelve bits could hold more."""
    public = bytearray(SECRETS[Kem.HYBRID].recipient_key.public)
    public[0:3] = b"\xff\xff\xff"
    with pytest.raises(FormatError, match="not a mlkem768-x25519 public key"):
        RecipientKey(Kem.HYBRID, bytes(public))


@both
def test_key_identifiers_depend_on_kem_and_key(kem):
    key = SECRETS[kem].recipient_key
    assert key.key_id == digest(Label.DIGEST_RECIPIENT_KEY, kem.value.encode(), key.public).hex()
    assert key.key_id != RecipientSecret.generate(kem).recipient_key.key_id


@both
def test_secrets_are_not_shown(kem):
    secret = RecipientSecret(kem, b"s" * kem.secret_size)
    assert "sss" not in repr(secret) + str(secret) and "7373" not in repr(secret)


@both
def test_new_keys_take_their_bytes_from_the_one_source(kem, monkeypatch):
    monkeypatch.setattr(sealing, "random_bytes", lambda size: b"r" * size)
    assert RecipientSecret.generate(kem) == RecipientSecret(kem, b"r" * kem.secret_size)


# --- choosing a kem ---------------------------------------------------------------------------------------------------


def test_the_hybrid_is_preferred():
    assert supported_kems() == [Kem.HYBRID, Kem.X25519] == list(Kem)


def test_without_mlkem_there_is_x25519(monkeypatch):
    def unsupported(_: bytes) -> None:
        raise UnsupportedAlgorithm("no ML-KEM in this build")

    monkeypatch.setattr(sealing.MLKEM768PrivateKey, "from_seed_bytes", staticmethod(unsupported))
    assert supported_kems() == [Kem.X25519]


def test_the_first_key_that_both_can_use_is_taken():
    hybrid, plain = (SECRETS[kem].recipient_key for kem in (Kem.HYBRID, Kem.X25519))
    assert choose([hybrid, plain], list(Kem)) is hybrid
    assert choose([plain, hybrid], list(Kem)) is plain, "the recipient's order counts"
    assert choose([hybrid, plain], [Kem.X25519]) is plain
    for offered, supported in (([hybrid], [Kem.X25519]), ([], list(Kem)), ([plain], [])):
        with pytest.raises(FormatError, match="offers no key"):
            choose(offered, supported)


# --- X25519 by itself -------------------------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_both_sides_agree(one, other):
    publics = [RecipientSecret(Kem.X25519, secret).recipient_key.public for secret in (one, other)]
    assert x25519(one, publics[1]) == x25519(other, publics[0]) != bytes(32)


@pytest.mark.parametrize("u", SMALL)
@pytest.mark.parametrize("high_bit", [0, 1])
def test_a_shared_secret_that_everybody_knows_is_refused(u, high_bit):
    public = small(u | high_bit << 255)
    with pytest.raises(WeakKey, match="small order") as raised:
        x25519(b"\x55" * 32, public)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(("secret", "public"), [(31, 32), (33, 32), (32, 31), (32, 33), (0, 0), (32, 64)])
def test_x25519_keys_of_another_size_are_refused(secret, public):
    with pytest.raises(FormatError, match=f"X25519 keys have 32 bytes, got {secret} and {public}"):
        x25519(b"\x09" * secret, b"\x09" * public)
