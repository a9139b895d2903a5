"""A genuine package is worth nothing to anybody but its recipient, once."""

import json
from pathlib import Path

import pytest

from fedspallm_secure.crypto.encoding import decode_base64
from fedspallm_secure.crypto.sealing import Kem
from tests.attacks.relays import SIZES, SUITES, run
from tests.attacks.stage import Outcome


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Outcome, Path]:
    folder = tmp_path_factory.mktemp("relays")
    return run(folder), folder


def test_nothing_is_accepted(shown):
    outcome, _ = shown
    assert outcome.failures == []
    assert outcome.total >= 200


def test_every_suite_took_place(shown):
    outcome, _ = shown
    assert len(outcome.counts) == len(SUITES)
    assert min(outcome.counts.values()) >= 40


def test_whoever_made_two_packages_under_one_number_is_on_record(shown):
    outcome, folder = shown
    numbers = set()
    for path in (folder / "here" / "home" / "evidence").iterdir():
        headers = [decode_base64(kept["header"], "header") for kept in json.loads(path.read_text())["packages"]]
        contexts = [json.loads(header)["ctx"] for header in headers]
        assert headers[0] != headers[1]
        assert [contexts[0][name] for name in ("sender", "seq")] == [contexts[1][name] for name in ("sender", "seq")]
        numbers.add(contexts[0]["seq"])
    assert len(numbers) == len(SIZES) * len(Kem)
    assert outcome.refused["Equivocation"] == 3 * len(numbers)
