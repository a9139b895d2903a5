"""Memory in the place of a disk: the same packages, the same refusals, and registers and prekeys that answer alike."""

import mmap
import os
import threading
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.passwords import KdfParameters, Password, PasswordKey
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.errors import (
    CannotDecrypt,
    Equivocation,
    InputError,
    KeyStoreError,
    LimitExceeded,
    NotAllowed,
    OutOfMemory,
    PackageFormatError,
    PrekeysExhausted,
    RecordDamaged,
    ReplayedPackage,
    TileMismatch,
    TrailingBytes,
    Truncated,
)
from fedspallm_secure.protocol.receiving import Known, Slot
from fedspallm_secure.storage import memory
from fedspallm_secure.storage.memory import (
    MemoryDraft,
    MemoryPackage,
    MemoryPlaintext,
    MemoryPrekeys,
    MemoryRegister,
    read_package,
)
from fedspallm_secure.storage.package_reader import PACKAGE_LIMIT, PackageReader, open_package
from fedspallm_secure.storage.package_writer import Source, write_package, write_to
from fedspallm_secure.storage.prekeys import PrekeyFile
from fedspallm_secure.storage.register import Received, open_register
from tests.attacks.stage import MIB, Parts
from tests.parties import Federation
from tests.protocol.test_packages import OTHER as FIELDS
from tests.storage.test_register import FIRST, SECOND, SLOT, head

LUNGS = Federation()
SENDER, RECIPIENT = LUNGS["member/north"], LUNGS["member/south"]
EDGES = [0, 1, 16_383, 16_384, 63 * 16_384, 63 * 16_384 + 1, MIB - 1100, MIB - 1096, MIB - 1088, MIB, 2 * MIB - 2200]
EDGES += [2 * MIB, 3 * MIB + 1]  # chunks end just before, at and just after the end of a tile at some of these


def made(plain: MemoryPlaintext, kem: Kem = Kem.X25519, **context) -> bytes:
    found = LUNGS.context(kem=kem, **context)
    key = next(key for key in RECIPIENT.entry.key_statement.keys if key.kem is kem)
    draft = MemoryDraft()
    write_to(draft, plain, found, key, SENDER.signer, lambda _: None)
    return draft.finish()


def sealed(*pieces, **context) -> bytes:
    return made(MemoryPlaintext(*pieces), **context)


def plaintext(package: PackageReader) -> bytes:
    pieces: list[bytes] = []
    secret = RECIPIENT.secrets[package.head.context.recipient_key]
    package.decrypt(secret, lambda piece: pieces.append(bytes(piece)), lambda _: None)
    return b"".join(pieces)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


# The same packages


@pytest.mark.parametrize("kem", list(Kem))
@pytest.mark.parametrize("size", EDGES)
def test_a_package_made_in_memory_is_one_on_a_disk_and_back(tmp_path, size, kem):
    plain = os.urandom(size)
    data = sealed(plain, kem=kem)
    parts = Parts.of(data)
    assert parts == parts.with_body(parts.body).signed(SENDER.signer)  # hashes, root, lengths and signature are right
    assert len(parts.body) == body_length(size)
    (tmp_path / "made").write_bytes(data)
    with open_package(tmp_path / "made") as package:
        assert plaintext(package) == plain
    assert plaintext(read_package(data)) == plain

    (tmp_path / "plain").write_bytes(plain)
    key = next(key for key in RECIPIENT.entry.key_statement.keys if key.kem is kem)
    with (tmp_path / "plain").open("rb") as file:
        source = Source.of(file.fileno(), tmp_path / "plain")
        write_package(tmp_path / "p", source, LUNGS.context(kem=kem), key, SENDER.signer, lambda _: None)
    assert plaintext(read_package((tmp_path / "p").read_bytes())) == plain


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6), st.lists(st.integers(1, 90), max_size=9))
def test_pieces_are_read_as_if_they_were_joined(data, cuts, reads):
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    plain = MemoryPlaintext(*(data[start:end] for start, end in pairwise(ends)))
    assert plain.length == len(data)
    place = 0
    for read in reads:
        buffer = memoryview(bytearray(min(read, len(data) - place)))
        plain.read_into(buffer)
        assert buffer == data[place : place + len(buffer)]
        place += len(buffer)
    if place == len(data):
        plain.check_finished()
    else:
        with pytest.raises(InputError, match="longer"):
            plain.check_finished()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"header", np.arange(300_000, dtype="<i4").data),
        (bytearray(b"header"), memoryview(np.arange(300_000, dtype="<i4").reshape(3, -1))),
        (b"", b"header", b"", np.arange(300_000, dtype="<i4").data, b""),
    ],
    ids=["numbers", "a matrix", "empty ones too"],
)
def test_pieces_of_any_kind_are_not_joined_before(pieces):
    whole = b"header" + np.arange(300_000, dtype="<i4").tobytes()
    assert plaintext(read_package(sealed(*pieces))) == whole


@pytest.mark.parametrize(("said", "word"), [(101, "shorter"), (99, "longer"), (0, "longer"), (3 * MIB, "shorter")])
def test_a_length_that_is_not_true_is_refused(said, word):
    plain = MemoryPlaintext(b"x" * 60, b"y" * 40)
    plain.length = said
    with pytest.raises(InputError, match=f"the plaintext is {word} than it was said to be"):
        made(plain)


def test_more_than_a_type_holds_is_refused():
    sealed(bytes(1 << 20), type="receipt")
    with pytest.raises(NotAllowed, match="larger than a package of type 'receipt'"):
        sealed(bytes(1 << 20), b"x", type="receipt")


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=40)), max_size=8))
def test_a_draft_is_what_was_written_where(writes):
    draft, twin = MemoryDraft(), bytearray(100)
    draft.check_room(100)
    for offset, data in writes:
        draft.write(data, offset)
        twin[offset : offset + len(data)] = data
    assert draft.finish() == bytes(twin)


def test_room_is_taken_before_the_work():
    with pytest.raises(OutOfMemory, match="bytes of memory"):
        MemoryDraft().check_room(1 << 62)


def test_a_large_package_is_there_once():
    plain = os.urandom(8 * MIB)
    tracemalloc.start()
    data = sealed(plain)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) <= peak < len(data) + 6 * MIB  # a few tiles, and no second copy


# The same refusals


@pytest.fixture(scope="module")
def good() -> tuple[bytes, bytes]:
    plain = os.urandom(2 * MIB + 5)
    return plain, sealed(plain)


def test_every_cut_in_the_head_is_a_format_error(good):
    _, data = good
    end = 76 + len(Parts.of(data).header)
    for cut in [*range(16), *range(16, end, 37), end - 65, end - 64, end - 1]:
        with pytest.raises(PackageFormatError):
            read_package(data[:cut])
    assert read_package(data[:end]).head.encoded == Parts.of(data).header


@pytest.mark.parametrize("buffer", [bytes, bytearray, lambda data: memoryview(data)])
def test_a_length_that_is_not_the_headers_is_refused(good, buffer):
    plain, data = good
    assert plaintext(read_package(buffer(data))) == plain
    for changed, error in (
        (data[:-1], Truncated),
        (data[: 76 + len(Parts.of(data).header)], Truncated),
        (data[: len(data) - 2 * MIB], Truncated),
        (data + b"\0", TrailingBytes),
    ):
        with pytest.raises(error):
            plaintext(read_package(buffer(changed)))
        with pytest.raises(error):
            read_package(buffer(changed)).check_length()


def test_every_tile_and_every_hash_is_checked(good):
    _, data = good
    body = len(data) - len(Parts.of(data).body)
    for place in (body - 96, body - 33, body - 1):
        with pytest.raises(TileMismatch, match="list of tile hashes"):
            plaintext(read_package(flipped(data, place)))
    for tile in range(3):
        read: list[int] = []
        changed = read_package(flipped(data, body + tile * MIB + 20))
        with pytest.raises(TileMismatch, match=f"tile {tile} of the body"):
            read.extend(len(piece) for piece in changed.tiles())
        assert read == [MIB] * tile


def test_another_secret_does_not_open(good):
    secret = next(secret for secret in LUNGS["member/west"].secrets.values() if secret.kem is Kem.X25519)
    with pytest.raises(CannotDecrypt):
        read_package(good[1]).decrypt(secret, lambda _: pytest.fail("written"), lambda _: None)


def test_memory_that_changes_after_it_was_read_changes_nothing(good):
    """What was verified is what is used, even if somebody else holds the same memory."""
    _, data = good
    shared = bytearray(data)
    start = len(data) - len(Parts.of(data).body)
    tiles = read_package(shared).tiles()
    first = next(tiles)
    shared[start : start + MIB] = bytes(MIB)
    assert first == data[start : start + MIB]
    shared[start + 2 * MIB :] = bytes(len(shared) - start - 2 * MIB)  # before it was read
    assert next(tiles) == data[start + MIB : start + 2 * MIB]
    with pytest.raises(TileMismatch):
        next(tiles)


def test_more_than_any_package_is_refused_unread(tmp_path):
    path = tmp_path / "sparse"
    with path.open("w+b") as file:
        for size, error in ((PACKAGE_LIMIT + 1, LimitExceeded), (PACKAGE_LIMIT, PackageFormatError)):
            file.truncate(size)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, pytest.raises(error):
                read_package(memoryview(mapped))


def test_reading_past_the_end_is_refused():
    package = MemoryPackage(b"12345")
    assert (package.size, package.at_end()) == (5, False)
    assert package.read_exactly(2) == b"12"
    with pytest.raises(Truncated, match="ends too early"):
        package.read_exactly(4)
    buffer = bytearray(3)
    package.read_into(memoryview(buffer))
    assert (buffer, package.at_end()) == (b"345", True)
    with pytest.raises(Truncated):
        package.read_into(memoryview(bytearray(1)))


# Registers that answer alike


@pytest.fixture(params=["on a disk", "in memory"])
def register(request, tmp_path):
    if request.param == "in memory":
        yield MemoryRegister()
        return
    with open_register(tmp_path / "register.sqlite") as opened:
        yield opened


def test_a_slot_is_free_filled_published(register):
    assert register.find(SLOT) is register.received(SLOT) is None
    register.fill(FIRST, "out", 7)
    assert register.find(SLOT) == Known(FIRST.digest, published=False)
    register.fill(FIRST, "elsewhere", 8)  # a run was killed in between
    assert register.received(SLOT) == Received(FIRST.digest, FIRST.encoded, FIRST.signature, "elsewhere", 8, False)
    register.publish(FIRST)
    assert register.find(SLOT) == Known(FIRST.digest, published=True)
    assert register.received(SLOT) == Received(FIRST.digest, FIRST.encoded, FIRST.signature, "elsewhere", 8, True)


@pytest.mark.parametrize("published", [False, True])
def test_a_filled_slot_takes_no_other_package_and_a_published_one_none_at_all(register, published):
    register.fill(FIRST, "out", 7)
    if published:
        register.publish(FIRST)
        for again in (lambda: register.fill(FIRST, "elsewhere", 8), lambda: register.publish(FIRST)):
            with pytest.raises(ReplayedPackage):
                again()
    before = register.received(SLOT)
    for other in (lambda: register.fill(SECOND, "elsewhere", 8), lambda: register.publish(SECOND)):
        with pytest.raises(Equivocation):
            other()
    assert register.received(SLOT) == before


@pytest.mark.parametrize("name", ["federation", "round", "type", "sender", "sender_key", "sequence"])
def test_slots_differ_in_each_of_their_parts(register, name):
    other = head(**{name: FIELDS[name]})
    register.fill(FIRST, "out", 7)
    assert register.find(Slot.of(other.context)) is None
    register.fill(other, "other", 8)
    register.publish(other)
    assert register.find(Slot.of(other.context)) == Known(other.digest, True)
    assert register.find(SLOT) == Known(FIRST.digest, False)


def test_a_name_that_was_not_given_marks_nothing(register):
    def fail() -> None:
        raise KeyboardInterrupt

    register.fill(FIRST, "out", 7)
    with pytest.raises(KeyboardInterrupt):
        register.publish(FIRST, fail)
    assert register.find(SLOT) == Known(FIRST.digest, published=False)
    given: list[str] = []
    register.publish(FIRST, lambda: given.append("a name"))
    with pytest.raises(ReplayedPackage):
        register.publish(FIRST, lambda: given.append("another"))
    assert given == ["a name"]


def test_what_was_never_filled_is_not_marked(register):
    with pytest.raises(RecordDamaged):
        register.publish(FIRST)
    assert register.find(SLOT) is None


def test_a_slot_is_emptied_by_whom_it_was_filled_for_unless_it_is_marked(register):
    register.empty(FIRST, "out")
    register.fill(FIRST, "out", 7)
    register.empty(FIRST, "elsewhere")
    assert register.find(SLOT) is not None
    register.empty(FIRST, "out")
    assert register.find(SLOT) is None
    register.fill(FIRST, "out", 7)
    register.publish(FIRST)
    register.empty(FIRST, "out")
    assert register.find(SLOT) == Known(FIRST.digest, published=True)


def test_numbers_count_from_one(register):
    assert [register.next_sequence() for _ in range(4)] == [1, 2, 3, 4]


def test_of_several_threads_one_publishes_and_no_number_comes_twice():
    register, begin = MemoryRegister(), threading.Barrier(8)
    names: list[int] = []
    numbers: list[int] = []
    refused: list[ReplayedPackage] = []

    def run(number: int) -> None:
        begin.wait()
        try:
            register.fill(FIRST, "out", number)
            register.publish(FIRST, lambda: names.append(number))
        except ReplayedPackage as error:
            refused.append(error)
        numbers.extend(register.next_sequence() for _ in range(500))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(names), len(refused)) == (1, 7)
    assert sorted(numbers) == list(range(1, 4001))


# Prekeys that answer alike


@pytest.fixture(params=["on a disk", "in memory"])
def prekeys(request, tmp_path: Path):
    if request.param == "in memory":
        return MemoryPrekeys(3, first=10)
    key = PasswordKey.new(Password.from_text("words"), KdfParameters(memory_kib=64, passes=1, lanes=1))
    return PrekeyFile.create(tmp_path / "prekeys.key", "spiffe://lungs.example/member/north", 3, 10, key)


def test_prekeys_are_handed_out_in_order_and_once(prekeys):
    leaves = prekeys.public_leaves()
    for number, index in enumerate(range(10, 13)):
        assert (prekeys.next_index(), prekeys.remaining()) == (index, 3 - number)
        assert prekeys.public_leaves() == leaves[number:]
        with pytest.raises(KeyStoreError, match="was never made"):
            prekeys.burn(13)
        secret = prekeys.burn(index)
        assert (secret.index, secret.leaf) == (index, leaves[number])
        with pytest.raises(KeyStoreError, match="was used up before"):
            prekeys.burn(index)
    assert (prekeys.next_index(), prekeys.remaining(), prekeys.public_leaves()) == (13, 0, [])
    with pytest.raises(PrekeysExhausted):
        prekeys.burn(13)


@pytest.mark.parametrize("index", [10, 11, 12])
def test_those_before_a_burned_prekey_are_burned_with_it(prekeys, index):
    leaves = prekeys.public_leaves()
    secret = prekeys.burn(index)
    assert (secret.index, secret.leaf) == (index, leaves[index - 10])
    assert (prekeys.next_index(), prekeys.public_leaves()) == (index + 1, leaves[index - 9 :])
    for gone in range(10, index + 1):
        with pytest.raises(KeyStoreError, match="was used up before"):
            prekeys.burn(gone)
    assert prekeys.extend(1) == 13


def test_more_prekeys_go_on_where_the_last_ones_ended(prekeys):
    prekeys.burn(10)
    before = prekeys.public_leaves()
    assert prekeys.extend(2) == 13
    assert (prekeys.next_index(), prekeys.remaining()) == (11, 4)
    assert prekeys.public_leaves(first=11)[:2] == before
    assert len(set(prekeys.public_leaves())) == 4
    assert prekeys.public_leaves(first=13) == prekeys.public_leaves()[2:]
    assert [prekeys.burn(index).index for index in range(11, 15)] == [11, 12, 13, 14]
    assert prekeys.extend(1) == 15


@pytest.mark.parametrize("count", [0, -1, 257])
def test_prekeys_are_made_a_bundle_at_a_time(prekeys, count):
    with pytest.raises(LimitExceeded):
        prekeys.extend(count)
    with pytest.raises(LimitExceeded):
        MemoryPrekeys(count)
    assert prekeys.remaining() == 3


def test_no_more_prekeys_than_a_file_holds(monkeypatch):
    monkeypatch.setattr(memory, "PREKEYS_HELD_LIMIT", 5)
    prekeys = MemoryPrekeys(3)
    assert prekeys.extend(2) == 3
    with pytest.raises(LimitExceeded, match="at most 5 prekeys"):
        prekeys.extend(1)
    assert prekeys.remaining() == 5
