"""AES-256-GCM with one size of everything; its vectors run in test_wycheproof.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.aead import decrypt, encrypt
from fedspallm_secure.errors import CannotDecrypt

KEY, NONCE = bytes(range(32)), bytes(range(12))


@given(st.binary(max_size=50), st.binary(max_size=20), st.data())
def test_what_is_encrypted_is_decrypted_and_every_change_noticed(message, aad, drawn):
    sealed = encrypt(KEY, NONCE, message, aad)
    assert len(sealed) == len(message) + 16
    assert decrypt(KEY, NONCE, sealed, aad) == message
    at = drawn.draw(st.integers(0, len(sealed) - 1))
    changed = sealed[:at] + bytes([sealed[at] ^ 1 << drawn.draw(st.integers(0, 7))]) + sealed[at + 1 :]
    others = [(KEY, NONCE, changed, aad), (KEY, NONCE, sealed, aad + b"x"), (KEY[::-1], NONCE, sealed, aad)]
    others += [(KEY, NONCE[::-1], sealed, aad), (KEY, NONCE, sealed[:-1], aad), (KEY, NONCE, sealed + b"x", aad)]
    for other in others:
        with pytest.raises(CannotDecrypt):
            decrypt(*other)


@pytest.mark.parametrize(
    ("key", "nonce"), [(0, 12), (16, 12), (24, 12), (31, 12), (33, 12), (32, 0), (32, 8), (32, 13), (32, 16)]
)
def test_other_sizes_are_refused(key, nonce):
    """The library would take 16 and 24 bytes for a weaker cipher, and nonces that collide sooner."""
    with pytest.raises(ValueError, match="a key of 32 and a nonce of 12 bytes"):
        encrypt(bytes(key), bytes(nonce), b"x", b"")
    with pytest.raises(CannotDecrypt):
        decrypt(bytes(key), bytes(nonce), bytes(17), b"")


@pytest.mark.parametrize("size", range(16))
def test_what_is_shorter_than_a_tag_is_refused_like_the_rest(size):
    with pytest.raises(CannotDecrypt) as raised:
        decrypt(KEY, NONCE, bytes(size), b"")
    assert raised.value.__cause__ is None
