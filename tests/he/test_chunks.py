"""Vectors of ciphertexts on disk: one form, exact lengths, nothing before and nothing after.  And what holds a key."""

import io
import pickle

import pytest

from fedspallm_secure.errors import CapacityExceeded, FormatError
from fedspallm_secure.he.chunks import MAGIC, read_vector, vector_least, vector_most, write_vector
from fedspallm_secure.he.keys import KEY_LIMIT, KeyPair, SecretKey, wipe
from fedspallm_secure.he.parameters import CHUNKS_LIMIT, choose

PARAMETERS = choose(1000, 2_147_483)
WEIGHTS = 2 * PARAMETERS.weights_per_chunk + 1
CHUNKS = [bytes([number]) * (PARAMETERS.chunk_least + number) for number in range(3)]


def written(chunks=CHUNKS):
    sink = io.BytesIO()
    assert write_vector(sink, PARAMETERS, WEIGHTS, chunks) == len(sink.getvalue())
    return sink.getvalue()


def read(data):
    return list(read_vector(io.BytesIO(data), PARAMETERS, WEIGHTS))


def test_a_vector_reads_back():
    data = written()
    assert read(data) == CHUNKS
    assert vector_least(PARAMETERS, WEIGHTS) <= len(data) <= vector_most(PARAMETERS, WEIGHTS)


def test_lengths_are_known_beforehand():
    assert len(written([bytes(PARAMETERS.chunk_least)] * 3)) == vector_least(PARAMETERS, WEIGHTS)
    assert len(written([bytes(PARAMETERS.chunk_most)] * 3)) == vector_most(PARAMETERS, WEIGHTS)
    with pytest.raises(CapacityExceeded):
        vector_most(PARAMETERS, PARAMETERS.weights_per_chunk * CHUNKS_LIMIT + 1)


def test_a_source_may_give_little_at_a_time():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 1000))

    assert list(read_vector(Slow(written()), PARAMETERS, WEIGHTS)) == CHUNKS


@pytest.mark.parametrize(
    "chunks",
    [
        CHUNKS[:2],
        [*CHUNKS, CHUNKS[0]],
        [*CHUNKS[:2], bytes(PARAMETERS.chunk_least - 1)],
        [*CHUNKS[:2], bytes(PARAMETERS.chunk_most + 1)],
        [],
    ],
    ids=len,
)
def test_other_chunks_are_not_written(chunks):
    with pytest.raises(FormatError):
        write_vector(io.BytesIO(), PARAMETERS, WEIGHTS, chunks)


@pytest.mark.parametrize("cut", [0, 1, len(MAGIC), len(MAGIC) + 4, len(MAGIC) + 6, len(MAGIC) + 8, -1])
def test_a_vector_that_ends_early_is_refused(cut):
    with pytest.raises(FormatError):
        read(written()[:cut])


@pytest.mark.parametrize(
    ("place", "value"), [(0, 0), (len(MAGIC), 2), (len(MAGIC), 4), (len(MAGIC) + 3, 255), (len(MAGIC) + 6, 255)]
)
def test_a_vector_with_another_head_is_refused(place, value):
    data = bytearray(written())
    data[place] = value
    with pytest.raises(FormatError):
        read(bytes(data))


def test_no_more_is_written_than_the_vector_has():
    sink = io.BytesIO()
    with pytest.raises(FormatError, match="more than its 3 chunks"):
        write_vector(sink, PARAMETERS, WEIGHTS, [*CHUNKS, *CHUNKS])
    assert sink.getvalue() == written()


@pytest.mark.parametrize("length", [0, PARAMETERS.chunk_least - 1, PARAMETERS.chunk_most + 1])
def test_a_chunk_of_impossible_length_is_refused(length):
    whole = b"".join(len(chunk).to_bytes(4, "little") + chunk for chunk in [*CHUNKS[:2], bytes(length)])
    with pytest.raises(FormatError, match=f"chunk 2 of an encrypted vector has {length} bytes"):
        read(written()[: len(MAGIC) + 4] + whole)


def test_nothing_follows_the_last_chunk():
    with pytest.raises(FormatError, match="goes on"):
        read(written() + b"\0")


# Keys


def test_a_secret_key_is_wiped_where_it_lies():
    key = SecretKey(b"secret bytes")
    data = key._data
    assert bytes(key.view) == b"secret bytes" and key.view.readonly
    with key:
        pass
    assert not data
    with pytest.raises(ValueError, match="wiped"):
        _ = key.view


def test_bytes_are_zero_even_while_somebody_looks():
    key = SecretKey(b"secret bytes")
    view = key.view
    with pytest.raises(BufferError):
        key.wipe()
    assert bytes(view) == bytes(12)


def test_a_secret_key_is_never_shown_or_pickled():
    key = SecretKey(b"secret bytes")
    pair = KeyPair(key, b"public bytes")
    assert "bytes" not in repr(key) + str(key) + repr(pair) + f"{key}"
    for act in (lambda: pickle.dumps(key), lambda: hash(key)):
        with pytest.raises(TypeError):
            act()


@pytest.mark.parametrize("size", [0, KEY_LIMIT + 1])
def test_a_key_of_impossible_length_is_refused(size):
    SecretKey(bytes(KEY_LIMIT))
    with pytest.raises(FormatError):
        SecretKey(bytes(size))


def test_wiping_leaves_zeros():
    buffer = bytearray(b"abc")
    wipe(memoryview(buffer)[1:])
    assert buffer == b"a\0\0"
