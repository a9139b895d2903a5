"""Where masked vectors wait: both vaults add the same, and what is gone or shorter is noticed."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedspallm_secure.app.rounds import vault as module
from fedspallm_secure.app.rounds.vault import FolderVault, MemoryVault, Vault, add_files, word_sizes
from fedspallm_secure.app.rounds.vectors import Streams
from fedspallm_secure.errors import DiskFull, RecordDamaged, StorageError
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.pruning.strategies import Strategy
from tests.app.rounds.groups import NAMES, group, random_streams

MANY = tuple(f"m-{number:03d}" for number in range(256))  # counts of 16 bits
PLANS = {
    "4 and 32 bits": lambda: group(),
    "8 and 16 bits": lambda: group(sum_bits=16, count_bits=8),
    "16 and 32 bits": lambda: group(names=MANY),
    "votes": lambda: group(strategy=Strategy.VOTES),
    "several tiles": lambda: group(shapes=[MatrixShape("wide", 1, 2_001)]),
}
VAULTS: dict[str, Callable[[Path], Vault]] = {"memory": lambda _: MemoryVault(), "folder": FolderVault}


def plain(plan: GroupPlan, vectors: list[Streams]) -> list[list[int]]:
    """The sum of each stream, word by word."""
    found = []
    for place, size in enumerate(word_sizes(plan)):
        columns = [np.frombuffer(one.parts[place], f"<u{size}") for one in vectors]
        found.append([sum(int(x) for x in column) % 256**size for column in zip(*columns, strict=True)])
    return found


@pytest.mark.parametrize("kind", VAULTS)
@pytest.mark.parametrize("case", PLANS)
def test_the_sum_is_that_of_the_words(tmp_path, monkeypatch, kind, case):
    monkeypatch.setattr(module, "_TILE", 1 << 10)
    plan, vault = PLANS[case](), VAULTS[kind](tmp_path / "vault")
    vectors = {name: random_streams(plan, seed) for seed, name in enumerate(NAMES[:4])}
    for name, streams in vectors.items():
        vault.keep(plan.gid, name, streams)
    chosen = ["dan", "ann", "cat"]
    total = vault.total(plan, chosen)
    sums = [np.frombuffer(part, f"<u{size}").tolist() for part, size in zip(total.parts, word_sizes(plan), strict=True)]
    assert sums == plain(plan, [vectors[name] for name in chosen])
    assert vault.total(plan, chosen).tile_hashes == total.tile_hashes, "adding up takes nothing away"


@pytest.mark.parametrize("kind", VAULTS)
def test_a_vector_that_is_not_there_is_no_zero(tmp_path, kind):
    plan, vault = group(), VAULTS[kind](tmp_path)
    vault.keep(plan.gid, "ann", random_streams(plan, 1))
    with pytest.raises(RecordDamaged, match="of ben for group 0 is not there any more"):
        vault.total(plan, ["ann", "ben"])


@pytest.mark.parametrize("cut", [1, 10, 110])
def test_a_file_that_was_cut_is_noticed_and_one_that_was_changed_gives_another_sum(tmp_path, cut):
    plan, vault = group(), FolderVault(tmp_path)
    for seed, name in enumerate(("ann", "ben")):
        vault.keep(plan.gid, name, random_streams(plan, seed))
    right = vault.total(plan, ["ann", "ben"])
    file = tmp_path / "0000-ben.vector"
    content = bytearray(file.read_bytes())
    content[-cut] ^= 1
    file.write_bytes(content)
    # The vault cannot tell: its digest was checked when the package came, and what is wrong now shows in the sum only.
    assert vault.total(plan, ["ann", "ben"]).tile_hashes != right.tile_hashes
    file.write_bytes(content[:-cut])
    with pytest.raises(RecordDamaged, match="does not have the"):
        vault.total(plan, ["ann", "ben"])


def test_a_folder_that_cannot_be_written_is_an_error_of_the_disk(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        FolderVault(tmp_path / "file")
    plan, vault = group(), FolderVault(tmp_path / "vault")
    (tmp_path / "vault").rmdir()
    with pytest.raises(StorageError):
        vault.keep(plan.gid, "ann", random_streams(plan, 1))


def test_a_full_disk_has_its_own_error(tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(28, "no space")

    monkeypatch.setattr(Path, "open", lambda *_: Full())
    with pytest.raises(DiskFull):
        FolderVault(tmp_path).keep(0, "ann", random_streams(group(), 1))


def test_many_files_are_added_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_OPEN", 2)
    monkeypatch.setattr(module, "_TILE", 1 << 6)
    plan, memory, folder = group(), MemoryVault(), FolderVault(tmp_path / "vault")
    for seed, name in enumerate(NAMES):
        for vault in (memory, folder):
            vault.keep(plan.gid, name, random_streams(plan, seed))
    for count in range(1, len(NAMES) + 1):
        assert folder.total(plan, NAMES[:count]).tile_hashes == memory.total(plan, NAMES[:count]).tile_hashes


def test_a_file_may_hold_something_else_before_its_streams(tmp_path):
    plan, streams = group(), random_streams(group(), 1)
    path = tmp_path / "upload"
    path.write_bytes(bytes(range(77)) + b"".join(part.tobytes() for part in streams.parts))
    total = Streams.empty(plan)
    for times in (1, 2):
        add_files(total, plan, [path], before=77)
        expected = plain(plan, [streams] * times)
        assert [
            np.frombuffer(p, f"<u{s}").tolist() for p, s in zip(total.parts, word_sizes(plan), strict=True)
        ] == expected
    for before in (76, 78):
        with pytest.raises(RecordDamaged, match="does not have the"):
            add_files(total, plan, [path], before=before)


def test_what_is_kept_durably_is_whole_and_on_disk(tmp_path, monkeypatch):
    plan, streams = group(), random_streams(group(), 1)
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), fsync(descriptor))[1])
    FolderVault(tmp_path / "quick").keep(plan.gid, "ann", streams)
    assert synced == []
    vault = FolderVault(tmp_path / "lasting", durable=True)
    vault.keep(plan.gid, "ann", streams)
    assert len(synced) == 2, "the file, then the folder with its name"
    assert vault.total(plan, ["ann"]).tile_hashes == streams.tile_hashes

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        vault.keep(plan.gid, "ben", streams)
    assert [path.name for path in (tmp_path / "lasting").iterdir()] == ["0000-ann.vector"]
