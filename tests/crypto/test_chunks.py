"""Single chunks of bodies that the library made: the same plaintext, from any place, and nothing that was changed."""

import pytest

from fedspallm_secure.crypto.body import CHUNK_SIZE, BodyEncryptor, body_length, encryption_room
from fedspallm_secure.crypto.chunks import PREFIX_SIZE, ChunkDecryptor, chunk_place, chunks_of
from fedspallm_secure.errors import CannotDecrypt

KEY, INFO = bytes(range(32)), b"a context"
SIZES = (0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE + 700)


def made(size: int) -> tuple[bytes, bytes]:
    """A plaintext and its body."""
    plain = bytes(number * 7 % 251 for number in range(size))
    encryptor, buffer = BodyEncryptor(KEY, INFO), bytearray(encryption_room(size))
    count = encryptor.update_into(plain, buffer)
    body = bytes(buffer[:count]) + encryptor.finish()
    assert len(body) == body_length(size)
    return plain, body


def chunk(body: bytes, number: int) -> bytes:
    return body[chunk_place(number) : chunk_place(number + 1)]


@pytest.mark.parametrize("size", SIZES)
def test_every_chunk_opens_alone_and_in_any_order(size):
    plain, body = made(size)
    decryptor = ChunkDecryptor(KEY, INFO, body[:PREFIX_SIZE])
    for number in reversed(range(size // CHUNK_SIZE + 1)):
        expected = plain[number * CHUNK_SIZE : (number + 1) * CHUNK_SIZE]
        assert decryptor.open(number, chunk(body, number)) == expected


@pytest.mark.parametrize(
    ("start", "length", "numbers"),
    [
        (0, 1, [0]),
        (0, CHUNK_SIZE, [0]),
        (0, CHUNK_SIZE + 1, [0, 1]),
        (CHUNK_SIZE - 1, 2, [0, 1]),
        (CHUNK_SIZE, 1, [1]),
        (5 * CHUNK_SIZE + 3, 2 * CHUNK_SIZE, [5, 6, 7]),
    ],
)
def test_which_chunks_hold_a_piece(start, length, numbers):
    assert list(chunks_of(start, length)) == numbers


def test_nothing_opens_at_another_place_or_changed():
    _, body = made(3 * CHUNK_SIZE)
    decryptor = ChunkDecryptor(KEY, INFO, body[:PREFIX_SIZE])
    good = chunk(body, 1)
    changed = bytes([good[0] ^ 1]) + good[1:]
    for number, wrong in ((0, good), (2, good), (1, changed), (1, good[:-1]), (1, b""), (1 << 20, good)):
        with pytest.raises(CannotDecrypt):
            decryptor.open(number, wrong)


@pytest.mark.parametrize("wrong", ["key", "info", "salt", "commitment", "short", "long", "empty"])
def test_a_prefix_commits_to_key_and_context(wrong):
    _, body = made(10)
    key, info, prefix = KEY, INFO, bytearray(body[:PREFIX_SIZE])
    match wrong:
        case "key":
            key = bytes(32)
        case "info":
            info = b"another"
        case "salt":
            prefix[0] ^= 1
        case "commitment":
            prefix[-1] ^= 1
        case "short":  # here and in the next one what keys and commitment are derived from stays the same
            info = bytes([prefix.pop(-33)]) + INFO
        case "long":
            prefix.insert(-32, INFO[0])
            info = INFO[1:]
        case _:
            prefix.clear()
    with pytest.raises(CannotDecrypt):
        ChunkDecryptor(key, info, bytes(prefix))
