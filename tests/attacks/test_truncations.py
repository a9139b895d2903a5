"""No cut goes unnoticed."""

import json
import subprocess
import sys

import pytest

from tests.attacks.stage import MIB
from tests.attacks.truncations import run


def test_a_hundred_cuts_are_noticed(tmp_path):
    outcome = run(3 * MIB, 100, 1, tmp_path)
    assert outcome.failures == []
    assert outcome.counts["cut"] == 100
    assert outcome.counts["torn"] >= 4


def test_cuts_in_the_head_are_noticed(tmp_path):
    """In a small package the head is most of it."""
    outcome = run(100, 200, 1, tmp_path, torn_every=2)
    assert outcome.failures == []
    assert {"PackageFormatError", "Truncated", "TileMismatch", "BadSignature"} <= set(outcome.refused)


@pytest.mark.slow
def test_a_thousand_cuts_of_a_large_package_are_noticed():
    command = [sys.executable, "-m", "tests.attacks.truncations", "64", "1000", "2"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["failures"] == []
    assert found["counts"]["cut"] == 1000
    assert found["counts"]["torn"] >= 49
    assert found["peak_kib"] < 200 << 10
