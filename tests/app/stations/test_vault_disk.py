"""What a server keeps of encrypted vectors: what was decrypted is durable, and all of it goes with the round."""

import pytest

from fedspallm_secure.app.stations.vault_disk import DiskVault
from fedspallm_secure.errors import DiskFull, RecordDamaged
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.storage import files
from tests.app.rounds.groups import group, random_streams


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_decrypted_sum_is_the_same_after_a_restart(tmp_path, strategy):
    plan, streams = group(strategy=strategy), random_streams(group(strategy=strategy), 3)
    DiskVault(tmp_path).keep_decrypted(plan, streams)
    again = DiskVault(tmp_path).decrypted(plan)
    assert [bytes(part.data) for part in again.parts] == [bytes(part.data) for part in streams.parts]


def test_it_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    fsync = files.os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda file: synced.append(list(tmp_path.glob("*.plain"))) or fsync(file))
    DiskVault(tmp_path).keep_decrypted(group(), random_streams(group(), 3))
    assert synced[0] == []


def test_one_that_is_gone_is_no_sum_of_zeros(tmp_path):
    vault = DiskVault(tmp_path)
    with pytest.raises(RecordDamaged, match="decrypted sum of group 0"):
        vault.decrypted(group())


def test_a_full_disk_leaves_no_half_of_one(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    vault = DiskVault(tmp_path)
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DiskFull):
        vault.keep_decrypted(group(), random_streams(group(), 3))
    monkeypatch.undo()
    assert list(tmp_path.glob("*.plain")) == []
    with pytest.raises(RecordDamaged):
        vault.decrypted(group())


def test_a_round_that_is_over_leaves_nothing(tmp_path):
    vault, plan = DiskVault(tmp_path), group()
    vault.keep_decrypted(plan, random_streams(plan, 3))
    with vault.inflow(4, plan.upload_tile) as inflow:
        inflow.write(memoryview(b"head" + bytes(30)))
    with vault.read_inflow() as file:
        assert file.read() == bytes(30)
    (tmp_path / ".0000.plain.torn").write_bytes(b"x")
    vault.clear()
    assert list(tmp_path.iterdir()) == []
