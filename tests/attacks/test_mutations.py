"""Mutants are refused, all of them, in little memory and without a trace."""

import json
import random
import subprocess
import sys
from itertools import islice

import pytest

from tests.attacks.mutations import MUTATIONS, Corpus, all_cuts, mutants, run
from tests.attacks.stage import Parts, Stage


def test_a_few_hundred_mutants_are_refused(tmp_path):
    outcome = run(12 * len(MUTATIONS), 1, tmp_path)
    assert outcome.failures == []
    assert set(outcome.counts) == set(MUTATIONS)
    # Each step of opening is reached; where a check was gone, its mutants would get further.
    expected = {
        *("PackageFormatError", "UnknownVersion", "WrongFederation", "WrongRoster", "WrongRecipient", "UnknownSender"),
        *("NotAllowed", "BadSignature", "TileMismatch", "Truncated", "TrailingBytes", "CannotDecrypt"),
    }
    assert expected <= set(outcome.refused)


def test_choices_depend_on_the_seed_alone(tmp_path):
    lists = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        with Stage(tmp_path / name) as stage:
            draw = random.Random(seed)
            made = islice(mutants(Corpus(stage, draw), draw), 100)
            lists.append([(kind, good) for kind, good, _ in made])
    assert lists[0] == lists[1] != lists[2]


def test_parts_go_together_again(tmp_path):
    with Stage(tmp_path) as stage:
        for good in Corpus(stage, random.Random(1)).good:
            parts = Parts.of(good.data)
            assert parts.join() == good.data
            assert parts.with_fields(parts.fields) == parts
            assert parts.with_body(parts.body) == parts
            assert parts.signed(stage.federation["member/north"].signer) == parts


@pytest.mark.slow
def test_ten_thousand_mutants_are_refused(tmp_path):
    """In a process of its own, so that the memory is that of opening mutants and nothing else."""
    with Stage(tmp_path) as stage:
        corpus = Corpus(stage, random.Random(1))
        cuts = {kind: len(all_cuts(corpus, kind)) for kind in ("cut at a chunk", "cut at a part")}
    command = [sys.executable, "-m", "tests.attacks.mutations", "10000", "2"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["failures"] == []
    assert found["attacks"] == 10_000
    assert found["peak_kib"] < 200 << 10
    for kind, places in cuts.items():
        assert found["counts"][kind] >= places, kind
