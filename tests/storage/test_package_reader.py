"""Reading packages: each check of steps 1 to 4, 10 and 11 alone, on a package that is right in everything else."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fedspallm_secure.crypto.body import BodyDecryptor, body_length
from fedspallm_secure.errors import (
    CannotDecrypt,
    HostileFile,
    LimitExceeded,
    PackageFormatError,
    TileMismatch,
    TrailingBytes,
    Truncated,
)
from fedspallm_secure.protocol.limits import HEADER_LIMIT
from fedspallm_secure.protocol.package_types import LARGEST_PLAINTEXT
from fedspallm_secure.storage import package_reader
from fedspallm_secure.storage.package_reader import PACKAGE_LIMIT, open_package
from tests.attacks.stage import MIB, RECIPIENT, Parts, Stage

SIZES = (0, 100, 16_384, 2 * MIB + 5)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[int, tuple[Stage, bytes, bytes]]:
    with Stage(tmp_path_factory.mktemp("stage")) as stage:
        plains = {size: os.urandom(size) for size in SIZES}
        yield {size: (stage, plain, stage.seal(plain)) for size, plain in plains.items()}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "p.fspkg"


def decrypted(stage: Stage, path: Path) -> bytes:
    pieces = []
    with open_package(path) as package:
        secret = stage.federation[RECIPIENT].secrets[package.head.context.recipient_key]
        package.decrypt(secret, lambda piece: pieces.append(bytes(piece)), lambda _: None)
    return b"".join(pieces)


@pytest.mark.parametrize("size", SIZES)
def test_a_good_package_is_read_and_verified(made, path, size):
    stage, plain, data = made[size]
    path.write_bytes(data)
    assert decrypted(stage, path) == plain
    told = []
    with open_package(path) as package:
        package.verify_body(told.append)
    assert told[-1] == body_length(size)
    assert told == sorted(told)
    with open_package(path) as package:
        assert b"".join(bytes(tile) for tile in package.tiles()) == Parts.of(data).body


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("check", ["verify", "decrypt"])
def test_a_length_that_is_not_the_headers_is_refused(made, path, size, check):
    """Before anything else of step 10, and before room is made for what the header promises."""
    stage, _, data = made[size]

    def refused(changed: bytes, error: type[Exception]) -> None:
        path.write_bytes(changed)
        with open_package(path) as package, pytest.raises(error):
            if check == "verify":
                package.verify_body(lambda _: None)
            else:
                secret = stage.federation[RECIPIENT].secrets[package.head.context.recipient_key]
                package.decrypt(secret, lambda _: None, lambda _: None)
        with open_package(path) as package, pytest.raises(error):
            package.check_length()

    refused(data[:-1], Truncated)
    refused(data[: 76 + len(Parts.of(data).header)], Truncated)
    refused(data + b"\0", TrailingBytes)
    refused(data[:-1] + b"\0\0", TrailingBytes)


def test_the_length_is_checked_before_anything_is_read(made, path, monkeypatch):
    _, _, data = made[2 * MIB + 5]
    path.write_bytes(data[:-1])
    with open_package(path) as package:
        monkeypatch.setattr(os, "readv", lambda *_: pytest.fail("read"))
        with pytest.raises(Truncated, match=rf"has {len(data) - 1} bytes of a package of {len(data)}"):
            package.verify_body(lambda _: None)


@pytest.mark.parametrize("size", SIZES)
def test_hashes_that_are_not_the_signed_ones_are_refused(made, path, size):
    """Even where tiles and hashes agree: the header has the root of other ones."""
    _, _, data = made[size]
    parts = Parts.of(data)
    body = parts.body[:-1] + bytes([parts.body[-1] ^ 1])
    changed = parts.with_body(body)
    path.write_bytes(replace(changed, header=parts.header).join())
    read = []
    with open_package(path) as package, pytest.raises(TileMismatch, match="list of tile hashes"):
        read.extend(package.tiles())
    assert read == []


@pytest.mark.parametrize("tile", [0, 1, 2])
def test_a_tile_that_is_not_the_hashed_one_is_never_handed_out(made, path, tile):
    stage, _, data = made[2 * MIB + 5]
    place = len(data) - len(Parts.of(data).body) + tile * MIB + 20
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    read = []
    with open_package(path) as package, pytest.raises(TileMismatch, match=f"tile {tile} of the body"):
        read.extend(len(piece) for piece in package.tiles())
    assert read == [MIB] * tile
    with pytest.raises(TileMismatch):
        decrypted(stage, path)


def test_a_file_that_grew_is_refused_at_its_end(made, path):
    _, _, data = made[100]
    path.write_bytes(data)
    with open_package(path) as package:
        with path.open("ab") as file:
            file.write(b"x")
        with pytest.raises(TrailingBytes):
            package.verify_body(lambda _: None)


@pytest.mark.parametrize("lost", [1, 16_383])
def test_a_plaintext_of_another_length_is_refused(made, path, monkeypatch, lost):
    """The body's format leaves no choice; this holds if ever a library does."""

    class Losing(BodyDecryptor):
        def finish(self) -> bytes:
            return super().finish()[lost:] + bytes(max(0, lost - 100))

    stage, _, data = made[100]
    path.write_bytes(data)
    monkeypatch.setattr(package_reader, "BodyDecryptor", Losing)
    with pytest.raises(CannotDecrypt):
        decrypted(stage, path)


@pytest.mark.parametrize("size", SIZES)
def test_another_secret_does_not_open(made, path, size):
    stage, _, data = made[size]
    path.write_bytes(data)
    other = stage.federation["member/west"]
    with open_package(path) as package:
        kem = package.head.context.kem
        secret = next(secret for secret in other.secrets.values() if secret.kem is kem)
        with pytest.raises(CannotDecrypt):
            package.decrypt(secret, lambda _: pytest.fail("written"), lambda _: None)


def test_every_cut_in_the_head_is_a_format_error(made, path):
    _, _, data = made[0]
    head = 76 + len(Parts.of(data).header)
    for end in [*range(16), *range(16, head, 37), head - 65, head - 64, head - 63, head - 1]:
        path.write_bytes(data[:end])
        with pytest.raises(PackageFormatError), open_package(path):
            pass
    path.write_bytes(data[:head])
    with open_package(path) as package:
        assert package.head.signature == data[head - 64 : head]


def test_the_file_is_long_enough_before_its_head_is_read(made, path, monkeypatch):
    _, _, data = made[0]
    head = 76 + len(Parts.of(data).header)
    path.write_bytes(data[: head - 1])
    sizes = []
    real = package_reader.OutsideFile.read_exactly
    monkeypatch.setattr(
        package_reader.OutsideFile, "read_exactly", lambda self, size: (sizes.append(size), real(self, size))[1]
    )
    with pytest.raises(PackageFormatError, match="ends before its header and signature do"), open_package(path):
        pass
    assert sizes == [12]


@pytest.mark.parametrize(("reads", "left"), [(0, 0), (0, 5), (1, 12), (1, 100), (2, 100)])
def test_a_file_that_shrinks_while_its_head_is_read_is_a_format_error(made, path, monkeypatch, reads, left):
    _, _, data = made[0]
    path.write_bytes(data)
    real, done = os.readv, []

    def readv(*arguments):
        if len(done) == reads:
            os.truncate(path, left)
        done.append(None)
        return real(*arguments)

    monkeypatch.setattr(os, "readv", readv)
    with pytest.raises(PackageFormatError), open_package(path):
        pass


def test_the_head_is_what_was_read(made, path):
    _, _, data = made[100]
    path.write_bytes(data)
    parts = Parts.of(data)
    with open_package(path) as package:
        head = package.head
    assert (head.encoded, head.signature) == (parts.header, parts.signature)
    assert head.header.encode() == parts.header
    assert head.size == len(data)


def test_files_are_opened_as_files_from_outside(made, path, tmp_path):
    _, _, data = made[0]
    path.write_bytes(data)
    path.with_name("link").symlink_to(path)
    with pytest.raises(HostileFile), open_package(path.with_name("link")):
        pass


def test_the_largest_file_is_the_largest_package(path):
    """SPEC section 9, step 1: with the largest header there may be, and the largest plaintext of any type."""
    body = body_length(LARGEST_PLAINTEXT)
    assert 12 + HEADER_LIMIT + 64 + 32 * -(-body // MIB) + body == PACKAGE_LIMIT
    path.touch()
    os.truncate(path, PACKAGE_LIMIT)
    with pytest.raises(PackageFormatError), open_package(path):
        pass
    os.truncate(path, PACKAGE_LIMIT + 1)
    with pytest.raises(LimitExceeded), open_package(path):
        pass
