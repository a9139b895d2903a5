"""What another implementation published is read and verified; with a byte of any file changed it is not."""

import json
import shutil
from pathlib import Path

import pytest

from fedspallm_secure.errors import FedSpaError
from tests.interop.published import read

VECTORS = Path(__file__).parent / "vectors" / "go"


def test_a_log_written_by_go_is_read():
    checkpoint, proofs = read(VECTORS)
    assert (checkpoint.origin, checkpoint.size) == ("lungs.example/log/go", 300)
    assert proofs == 132


def test_a_changed_log_is_not(tmp_path):
    for path in sorted(VECTORS.rglob("*")):
        if path.is_dir():
            continue
        copy = tmp_path / "log"
        shutil.copytree(VECTORS, copy)
        altered = bytearray(path.read_bytes())
        altered[len(altered) // 4] ^= 1  # not in the line of a stranger, which nobody can verify
        (copy / path.relative_to(VECTORS)).write_bytes(altered)
        with pytest.raises((FedSpaError, AssertionError, ValueError, KeyError)):
            read(copy)
        shutil.rmtree(copy)


def test_a_proof_for_other_sizes_is_not(tmp_path):
    copy = tmp_path / "log"
    shutil.copytree(VECTORS, copy)
    proofs = json.loads((copy / "proofs.json").read_bytes())
    proofs["consistency"][-2]["size"] = 257
    (copy / "proofs.json").write_text(json.dumps(proofs))
    with pytest.raises((AssertionError, IndexError)):
        read(copy)
