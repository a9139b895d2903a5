"""Nothing that a member sends in the place of a ciphertext harms who looks at it."""

from collections import Counter

import pytest

from fedspallm_secure.errors import WorkerLost
from fedspallm_secure.he import bfv
from tests.attacks import ciphertexts
from tests.attacks.ciphertexts import Case, corpus, drawn, figures, judge, stage


def first_of_each_kind():
    kinds = {}
    for case in corpus(bomb=1 << 26):
        kinds.setdefault(case.kind, case)
    return list(kinds.values())


def test_one_of_each_kind_and_a_few_at_random():
    found = Counter()
    for case in [*first_of_each_kind(), *drawn(2, 1)]:
        found += judge(case)
    assert [name for name in found if name.startswith("FAILURE")] == []
    assert found["parent crashes"] == 0
    assert found["of zstd bomb"] == found["of deflate bomb"] == found["of CKKS"] == found["of secret context"] == 1
    assert found["opened as it was"] >= 2 and found["refused"] > 25
    assert (
        found["cases"]
        == found["refused"] + found["process lost"] + found["opened and refused"] + found["opened as it was"]
    )


def test_what_is_accepted_and_must_not_be_would_be_seen():
    _, genuine = stage()
    assert judge(Case("planted", genuine))["FAILURE planted: accepted"] == 1


def test_a_crash_of_the_parent_would_be_seen(monkeypatch):
    stage()
    monkeypatch.setattr(bfv, "_keyed", lambda *_: 1 / 0)
    assert judge(Case("planted", b""))["parent crashes"] == 1


def test_a_process_that_is_lost_is_counted(monkeypatch):
    def lost(*_):
        raise WorkerLost("gone")

    stage()
    monkeypatch.setattr(bfv, "_keyed", lost)
    assert judge(Case("planted", b""))["process lost"] == 1


def test_another_sum_would_be_seen(monkeypatch):
    _, genuine = stage()
    monkeypatch.setattr(ciphertexts, "plain", lambda vectors: (vectors[0][0] + 1, vectors[0][1]))
    assert judge(Case("planted", genuine, refused=False))["FAILURE planted: opened as something else"] == 1


@pytest.mark.slow
def test_the_whole_corpus():
    found = figures(20, 2)
    assert found["failures"] == [] and found["counts"]["parent crashes"] == 0
    assert found["counts"]["cases"] > 160
