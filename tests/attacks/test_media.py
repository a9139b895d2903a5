"""Whatever lies on a medium: only good packages of good bundles get in, and nothing else is written."""

import pytest

from tests.attacks.media import CASES, run


def is_large(case):
    return case.name in {"100,000 entries", "one entry too many"}


@pytest.mark.parametrize("kind", sorted({case.kind for case in CASES}))
def test_every_case_ends_as_it_should(tmp_path, kind):
    chosen = [case for case in CASES if case.kind == kind and not is_large(case)]
    figures = run(tmp_path, chosen.__contains__)
    assert figures.failures == []
    assert (figures.outside, figures.accepted) == (0, 0)
    assert all("device" in skipped or "disk" in skipped for skipped in figures.skipped)
    assert figures.cases + len(figures.skipped) == len(chosen) > 0


@pytest.mark.slow
def test_so_do_folders_with_very_many_entries(tmp_path):
    figures = run(tmp_path, is_large)
    assert (figures.cases, figures.failures) == (2, [])


def test_there_are_enough_cases():
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES) >= 150
