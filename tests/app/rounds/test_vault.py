"""Where masked vectors wait: both vaults add the same, and what is gone or shorter is noticed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedspallm_secure.app.rounds import vault as module
from fedspallm_secure.app.rounds.vault import FolderVault, MemoryVault, Vault, word_sizes
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
    assert vault.total(plan, chosen).hashes == total.hashes, "adding up takes nothing away"


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
    assert vault.total(plan, ["ann", "ben"]).hashes != right.hashes
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
