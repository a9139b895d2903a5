"""The encrypted body: lengths, buffers, faults at every place, and nothing unverified that comes out."""

import pytest
from cryptography.exceptions import AlreadyFinalized
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure.crypto.body import (
    CHUNK_SIZE,
    ENCRYPTED_CHUNK_SIZE,
    BodyDecryptor,
    BodyEncryptor,
    body_length,
    decryption_room,
    encryption_room,
    plaintext_length,
)
from fedspallm_secure.errors import CannotDecrypt
from tests.crypto import reference

KEY, INFO, SALT = bytes(range(32)), b"i" * 32, bytes(range(24))
PLAIN = bytes(range(1, 252)) * 200  # 50,200 bytes, none of them zero: three chunks and a short one
BODY = reference.cobblestone(KEY, SALT, INFO, PLAIN)
AROUND = [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 16_399, 16_400, 16_401, 32_768, 49_152]


def encrypt(plaintext: bytes, sizes: list[int], key: bytes = KEY, info: bytes = INFO) -> bytes:
    encryptor, body, rest = BodyEncryptor(key, info), b"", plaintext
    for size in [*sizes, len(plaintext)]:
        piece, rest = rest[:size], rest[size:]
        buffer = bytearray(encryption_room(len(piece)))
        body += buffer[: encryptor.update_into(piece, buffer)]
    return body + encryptor.finish()


def decrypt(body: bytes, sizes: list[int], key: bytes = KEY, info: bytes = INFO) -> bytes:
    decryptor, plaintext, rest = BodyDecryptor(key, info), b"", body
    for size in [*sizes, len(body)]:
        piece, rest = rest[:size], rest[size:]
        buffer = bytearray(decryption_room(len(piece)))
        plaintext += buffer[: decryptor.update_into(piece, buffer)]
    return plaintext + decryptor.finish()


# --- lengths ----------------------------------------------------------------------------------------------------------


def test_lengths_are_those_of_the_specification():
    lengths = {56 + p + 16 * (p // 16_384 + 1): p for p in range(50_000)}
    assert len(lengths) == 50_000
    for p in (*range(40), *range(16_300, 16_500), *range(32_700, 32_800)):
        assert body_length(p) == 56 + p + 16 * (p // 16_384 + 1)
    for body in range(-5, max(lengths)):
        assert plaintext_length(body) == lengths.get(body)


@given(st.integers(0, 2**36))
def test_lengths_of_large_bodies(p):
    assert plaintext_length(body_length(p)) == p
    assert body_length(p + 1) > body_length(p)


@pytest.mark.parametrize("length", AROUND)
def test_a_body_has_the_length_foretold(length):
    assert len(encrypt(PLAIN[:length], [])) == body_length(length)


def test_the_smallest_body():
    assert body_length(0) == 72 and plaintext_length(71) is None
    assert decrypt(encrypt(b"", []), []) == b""
    assert BodyDecryptor(KEY, INFO) and decrypt(BodyEncryptor(KEY, INFO).finish(), []) == b""


# --- pieces -----------------------------------------------------------------------------------------------------------

pieces = st.lists(st.sampled_from(AROUND) | st.integers(0, 20_000), max_size=8)


@given(pieces, pieces, st.sampled_from([0, 1, 16_383, 16_384, 16_385, 32_768, 50_200]))
def test_pieces_of_any_size_give_the_same(first, second, length):
    body = encrypt(PLAIN[:length], first)
    assert body == reference.cobblestone(KEY, body[:24], INFO, PLAIN[:length])
    assert decrypt(body, second) == PLAIN[:length]


def test_every_body_has_another_salt():
    assert len({encrypt(b"x", [])[:24] for _ in range(50)}) == 50


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_data_and_buffers_of_every_kind(kind):
    buffer = memoryview(bytearray(3 * ENCRYPTED_CHUNK_SIZE))
    decryptor = BodyDecryptor(KEY, INFO)
    count = decryptor.update_into(kind(BODY[:20_000]), buffer[16:])
    assert bytes(buffer[16 : 16 + count]) == PLAIN[:CHUNK_SIZE] and not any(buffer[:16])
    count = decryptor.update_into(kind(BODY[20_000:]), buffer)
    assert bytes(buffer[:count]) + decryptor.finish() == PLAIN[CHUNK_SIZE:]


@settings(max_examples=15)
@given(st.sampled_from(AROUND), st.integers(0, 40_000))
def test_the_room_is_enough_and_less_is_refused(before, size):
    """Whatever waits inside; the refusal comes before the data is taken, so a larger buffer still works."""
    for coder, data, room in (
        (BodyEncryptor(KEY, INFO), PLAIN, encryption_room),
        (BodyDecryptor(KEY, INFO), BODY, decryption_room),
    ):
        head, piece = data[: before % len(data)], data[before : before + size]
        assert coder.update_into(head, bytearray(room(len(head)))) <= room(len(head))
        needed = room(len(piece))
        if needed:
            with pytest.raises(ValueError, match=f"the buffer has {needed - 1} bytes, {needed} are needed"):
                coder.update_into(piece, bytearray(needed - 1))
        assert coder.update_into(piece, bytearray(needed)) <= needed


def test_the_rooms_are_as_small_as_can_be():
    """For every size there is something that may wait inside with which all of the room is used."""
    for size in (0, 1, 2, 16_383, 16_384, 16_385, 16_400, 32_769):
        encryptor, decryptor = BodyEncryptor(KEY, INFO), BodyDecryptor(KEY, INFO)
        given = PLAIN[:16_383] if size else b""
        encryptor.update_into(given, bytearray(encryption_room(len(given))))
        written = encryptor.update_into(bytes(size), bytearray(encryption_room(size)))
        assert written == encryption_room(size) - 56, "only the first call needs the 56 bytes"
        decryptor.update_into(BODY[: 56 + 16_399], bytearray(decryption_room(56 + 16_399)))
        left = BODY[56 + 16_399 : 56 + 16_399 + size]
        assert decryptor.update_into(left, bytearray(decryption_room(size))) == decryption_room(size)


def test_plaintext_comes_as_soon_as_its_chunk_is_verified():
    decryptor, buffer = BodyDecryptor(KEY, INFO), bytearray(decryption_room(ENCRYPTED_CHUNK_SIZE))
    end = 56 + ENCRYPTED_CHUNK_SIZE
    assert decryptor.update_into(BODY[:56], buffer) == 0
    assert decryptor.update_into(BODY[56 : end - 1], buffer) == 0 and not any(buffer)
    assert decryptor.update_into(BODY[end - 1 : end], buffer) == CHUNK_SIZE
    assert bytes(buffer) == PLAIN[:CHUNK_SIZE]


# --- faults -----------------------------------------------------------------------------------------------------------


def refused(body: bytes, key: bytes = KEY, info: bytes = INFO) -> bool:
    for sizes in ([], [56], [1000] * 60, [ENCRYPTED_CHUNK_SIZE] * 4):
        with pytest.raises(CannotDecrypt) as raised:
            decrypt(body, sizes, key, info)
        assert str(raised.value) == "the body cannot be decrypted" and raised.value.__cause__ is None
    return True


@given(st.integers(0, 8 * len(BODY) - 1))
def test_every_changed_bit_is_noticed(bit):
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8
    assert refused(bytes(changed))


@given(st.integers(0, len(BODY) - 1))
def test_every_truncation_is_noticed(length):
    assert refused(BODY[:length])


def test_truncation_between_two_chunks_is_noticed():
    """The case that a stream of sealed chunks without an end does not notice."""
    for chunks in range(4):
        assert refused(BODY[: 56 + chunks * ENCRYPTED_CHUNK_SIZE])
    full = reference.cobblestone(KEY, SALT, INFO, PLAIN[:CHUNK_SIZE])
    assert decrypt(full, []) == PLAIN[:CHUNK_SIZE]
    assert refused(full[:-16]), "the empty last chunk is missing"


@pytest.mark.parametrize("extra", [b"x", bytes(16), BODY[-1000:], BODY[56 : 56 + ENCRYPTED_CHUNK_SIZE], BODY])
def test_what_follows_the_end_is_noticed(extra):
    assert refused(BODY + extra)


def test_moved_chunks_are_noticed():
    head, rest = BODY[:56], BODY[56:]
    a, b, c, last = (rest[at : at + ENCRYPTED_CHUNK_SIZE] for at in range(0, len(rest), ENCRYPTED_CHUNK_SIZE))
    assert decrypt(head + a + b + c + last, []) == PLAIN
    for order in (
        (b, a, c, last),
        (a, c, last),
        (a, b, last),
        (a, a, b, c, last),
        (a, b, c, last, last),
        (last,),
        (a, b, c),
    ):
        assert refused(head + b"".join(order))


def test_another_key_context_or_salt_does_not_open():
    assert refused(BODY, key=KEY[::-1])
    for info in (b"", INFO[:-1], INFO + b"\0"):
        assert refused(BODY, info=info)
    other = reference.cobblestone(KEY, SALT[::-1], INFO, PLAIN)
    assert refused(SALT + other[24:])
    assert refused(other[:56] + BODY[56:])


def test_the_commitment_is_checked_before_any_chunk():
    """One body cannot be made to open as two texts under two keys: the commitment names the key."""
    forged = SALT + bytes(32) + BODY[56:]  # every chunk authentic under KEY
    decryptor = BodyDecryptor(KEY, INFO)
    assert decryptor.update_into(forged[:55], bytearray(decryption_room(55))) == 0
    with pytest.raises(CannotDecrypt):
        decryptor.update_into(forged[55:56], bytearray(decryption_room(1)))


@pytest.mark.parametrize("at", [56, 56 + ENCRYPTED_CHUNK_SIZE, 56 + 2 * ENCRYPTED_CHUNK_SIZE + 5])
def test_nothing_unverified_stays_in_the_buffer(at):
    """The library leaves the plaintext of the chunk there whose tag did not match."""
    changed = bytearray(BODY)
    changed[at] ^= 1
    backing = bytearray(b"\xaa") * 70_000
    buffer = memoryview(backing)[100:69_900]
    with pytest.raises(CannotDecrypt):
        BodyDecryptor(KEY, INFO).update_into(bytes(changed), buffer)
    assert not any(buffer)
    assert backing[:100] == backing[69_900:] == b"\xaa" * 100


def test_a_refused_body_stays_refused():
    decryptor = BodyDecryptor(KEY, INFO)
    buffer = bytearray(decryption_room(len(BODY)))
    changed = bytearray(BODY)
    changed[100] ^= 1
    for _ in range(2):
        with pytest.raises(CannotDecrypt):
            decryptor.update_into(bytes(changed), buffer)
    with pytest.raises(CannotDecrypt):
        decryptor.update_into(b"", buffer)
    for _ in range(2):
        with pytest.raises(CannotDecrypt):
            decryptor.finish()


def test_a_finished_body_takes_nothing_more():
    decryptor, encryptor = BodyDecryptor(KEY, INFO), BodyEncryptor(KEY, INFO)
    buffer = bytearray(encryption_room(len(BODY)))
    decryptor.update_into(BODY, buffer)
    decryptor.finish()
    encryptor.finish()
    with pytest.raises(CannotDecrypt):
        decryptor.update_into(b"x", buffer)
    with pytest.raises(AlreadyFinalized):
        encryptor.update_into(b"x", buffer)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_file_keys_of_another_size(size):
    with pytest.raises(ValueError, match="32 bytes"):
        BodyEncryptor(bytes(size), INFO)
    with pytest.raises(CannotDecrypt):
        BodyDecryptor(bytes(size), INFO)
