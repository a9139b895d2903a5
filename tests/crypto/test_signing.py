"""Ed25519: what verifies and what does not, against the curve computed by hand, and keys that are refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto import signing
from fedspallm_secure.crypto.encoding import pae
from fedspallm_secure.crypto.labels import Label, digest
from fedspallm_secure.crypto.signing import Ed25519Signer, check_public_key, key_id, sign, verify, verify_raw
from fedspallm_secure.errors import BadSignature, WeakKey
from tests.crypto.reference import BASE, IDENTITY, TORSION, L, P, Point, add, challenge, encode, multiply, recover_x

SIGNER = Ed25519Signer(bytes(range(32)))
SECRET = 0x1234567890ABCDEF1234567890ABCDEF  # a secret scalar of ours, for keys that no honest signer has
NONCE = 0xFEDCBA0987654321


def holds(public: Point, r: Point, s: int, message: bytes) -> bool:
    """The cofactorless equation S·B = R + h·A."""
    return multiply(s, BASE) == add(r, multiply(challenge(encode(r), encode(public), message), public))


def forge(torsion_a: Point, torsion_r: Point, secret: int, nonce: int, message: bytes) -> tuple[Point, Point, int]:
    """A public key, R and S as a signer makes them who adds points of small order to both."""
    public, r = add(multiply(secret, BASE), torsion_a), add(multiply(nonce, BASE), torsion_r)
    return public, r, (nonce + challenge(encode(r), encode(public), message) * secret) % L


def pack(r: bytes, s: int) -> bytes:
    return r + s.to_bytes(32, "little")


def encodings(y: int, sign_bit: int) -> bytes:
    return (y | sign_bit << 255).to_bytes(32, "little")


# --- signing and verifying --------------------------------------------------------------------------------------------


@given(st.binary(max_size=50), st.sampled_from(list(Label)), st.sampled_from(list(Label)), st.binary(max_size=50))
def test_a_signature_is_for_one_label_and_one_payload(payload, label, other_label, other):
    signature = sign(SIGNER, label, payload)
    assert len(signature) == 64
    assert verify(SIGNER.public, label, payload, signature, "it") is None
    if (label, payload) != (other_label, other):
        with pytest.raises(BadSignature, match="the signature on it does not match"):
            verify(SIGNER.public, other_label, other, signature, "it")


@given(st.binary(max_size=20), st.integers(0, 511))
def test_every_changed_bit_of_a_signature_is_noticed(message, bit):
    signature = SIGNER.sign(message)
    changed = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big")
    assert verify_raw(SIGNER.public, message, signature)
    assert not verify_raw(SIGNER.public, message, changed)


def test_what_is_signed_is_the_pre_authentication_encoding():
    assert sign(SIGNER, Label.SIGN_ROSTER, b"x") == SIGNER.sign(pae(b"fsps/1/sign/roster", b"x"))


def test_another_key_did_not_sign_it():
    other, seed = Ed25519Signer.generate()
    assert len(seed) == 32 and Ed25519Signer(seed).public == other.public != SIGNER.public
    with pytest.raises(BadSignature):
        verify(other.public, Label.SIGN_ROSTER, b"x", sign(SIGNER, Label.SIGN_ROSTER, b"x"), "it")


@pytest.mark.parametrize("size", [0, 31, 33, 63, 65, 128])
def test_keys_and_signatures_of_another_size_do_not_verify(size):
    """In libsodium's call the signature stands before the message, so a longer one would move the border."""
    signature = sign(SIGNER, Label.SIGN_ROSTER, b"payload")
    if size != 32:
        with pytest.raises(BadSignature):
            verify((SIGNER.public * 4)[:size], Label.SIGN_ROSTER, b"payload", signature, "it")
        assert not verify_raw((SIGNER.public * 4)[:size], b"payload", SIGNER.sign(b"payload"))
    with pytest.raises(BadSignature):
        verify(SIGNER.public, Label.SIGN_ROSTER, b"payload", (signature * 2)[:size], "it")
    raw = SIGNER.sign(b"payload") + b"payload"
    assert not verify_raw(SIGNER.public, raw[size:], raw[:size])


def test_a_seed_of_another_size_is_a_defect():
    for size in (0, 31, 33, 64):
        with pytest.raises(ValueError, match="seed"):
            Ed25519Signer(bytes(size))


def test_a_signer_does_not_show_its_key():
    signer = Ed25519Signer(b"s" * 32)
    assert "s" * 32 not in repr(signer) + str(signer) and (b"s" * 32).hex() not in repr(signer)


def test_a_key_identifier_is_a_digest_of_the_key():
    assert key_id(SIGNER.public) == digest(Label.DIGEST_SIGNING_KEY, SIGNER.public).hex()


# --- S and R outside their range --------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", range(1, 16))
def test_s_must_be_below_the_group_order(times):
    """S + L satisfies the equation too; accepting it would give every signature a second spelling."""
    signature = SIGNER.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + times * L
    if s < 1 << 256:
        assert not verify_raw(SIGNER.public, b"message", pack(signature[:32], s))


def test_an_r_of_small_order_is_refused_in_every_spelling():
    """With the identity for R the equation holds, whatever its spelling."""
    spellings = [encode(IDENTITY), encodings(1, 1), encodings(P + 1, 0), encodings(P + 1, 1)]
    spellings += [encode(point) for point in TORSION[1:]] + [encodings(P, 0), encodings(P, 1)]
    public = multiply(SECRET, BASE)
    held = 0
    for number, r in enumerate(spellings):
        s = challenge(r, encode(public), b"m") * SECRET % L
        held += multiply(s, BASE) == multiply(challenge(r, encode(public), b"m"), public) and number < 4
        assert not verify_raw(encode(public), b"m", pack(r, s))
    assert held == 4


def test_an_r_that_is_no_point_is_refused():
    no_point = next(y for y in range(2, 50) if recover_x(y, 0) is None)
    assert not verify_raw(SIGNER.public, b"m", pack(encodings(no_point, 0), 5))
    assert not verify_raw(encodings(no_point, 0), b"m", SIGNER.sign(b"m"))


# --- the whole policy: points of small order in the key, in R, in both ------------------------------------------------


@pytest.mark.parametrize("message", [b"0", b"1"])
def test_verification_is_cofactorless_without_small_orders(message):
    """Every mixture of a secret or none, a nonce or none, and eight points of small order in the key and in R."""
    outcomes = set()
    for secret, nonce in itertools.product((0, SECRET), (0, NONCE)):
        for torsion_a, torsion_r in itertools.product(TORSION, TORSION[:3]):
            public, r, s = forge(torsion_a, torsion_r, secret, nonce, message)
            expected = holds(public, r, s, message) and public not in TORSION and r not in TORSION
            assert verify_raw(encode(public), message, pack(encode(r), s)) == expected
            outcomes.add((secret != 0, nonce != 0, torsion_a == IDENTITY, expected))
    assert (True, True, True, True) in outcomes and (True, True, True, False) in outcomes


def test_a_key_of_mixed_order_would_sign_some_messages_and_deny_others():
    """One message in eight or fewer verifies, which ones its holder can choose: that is why such keys are refused."""
    for torsion in TORSION[1:]:
        valid = 0
        for number in range(12):
            message = bytes([number])
            public, r, s = forge(torsion, IDENTITY, SECRET, NONCE, message)
            valid += verify_raw(encode(public), message, pack(encode(r), s))
        assert valid < 12
        with pytest.raises(WeakKey):
            check_public_key(encode(public), "member/north")


# --- keys -------------------------------------------------------------------------------------------------------------


def weak_keys() -> dict[str, bytes]:
    """Everything but the canonical encoding of a point of the prime-order subgroup that is not the identity."""
    keys = {f"small order {number}": encode(point) for number, point in enumerate(TORSION)}
    for scalar in (1, SECRET, L - 1):
        for number, torsion in enumerate(TORSION[1:], start=1):
            keys[f"mixed order {number}, scalar {scalar:x}"] = encode(add(multiply(scalar, BASE), torsion))
    for y, sign_bit in itertools.product(range(19), (0, 1)):
        keys[f"y = p + {y}, sign {sign_bit}"] = encodings(P + y, sign_bit)
    keys |= {"identity with a sign": encodings(1, 1), "order two with a sign": encodings(P - 1, 1)}
    no_points = [y for y in range(2, 60) if recover_x(y, 0) is None]
    return keys | {f"no point, y = {y}": encodings(y, 0) for y in no_points}


WEAK = weak_keys()


@pytest.mark.parametrize("name", WEAK)
def test_weak_keys_are_refused(name):
    with pytest.raises(WeakKey, match="the signing key of member/north is not a point of the prime-order group"):
        check_public_key(WEAK[name], "member/north")


def test_the_list_of_weak_keys_is_long_enough():
    assert len(TORSION) == len(set(TORSION)) == 8
    assert sum(name.startswith("mixed") for name in WEAK) == 21 and len(set(WEAK.values())) > 75


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_keys_of_another_size_are_weak(size):
    with pytest.raises(WeakKey):
        check_public_key((SIGNER.public * 2)[:size], "member/north")


@given(st.binary(min_size=32, max_size=32))
def test_keys_of_signers_are_accepted(seed):
    check_public_key(Ed25519Signer(seed).public, "member/north")


@given(st.binary(min_size=32, max_size=32))
def test_of_any_32_bytes_those_are_keys_that_lie_in_the_subgroup(data):
    y, sign_bit = int.from_bytes(data, "little") & (1 << 255) - 1, data[31] >> 7
    x = recover_x(y, sign_bit) if y < P else None
    good = x is not None and x != 0 and multiply(L, (x, y)) == IDENTITY
    try:
        check_public_key(data, "member/north")
    except WeakKey:
        assert not good
    else:
        assert good


@pytest.mark.parametrize("scalar", [1, 2, SECRET, L - 1])
def test_points_of_the_subgroup_are_accepted(scalar):
    check_public_key(encode(multiply(scalar, BASE)), "member/north")


def test_keys_are_checked_by_one_library_alone():
    """Two libraries disagree on some signatures; a record has to verify the same everywhere."""
    names = {name for name in vars(signing) if not name.startswith("_")}
    assert "nacl" in names and not {"Ed25519PublicKey", "cryptography"} & names
