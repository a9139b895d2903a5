"""One forgery for each step, by the commands; and that the figure tells when one is missed."""

import pytest

from tests.app.audit.forgeries import CASES, FORGERIES
from tests.figures.planted import figures


@pytest.mark.slow
def test_forgeries_are_found_by_the_commands():
    found = figures([(step, forgeries[0]) for step, forgeries in FORGERIES.items()])
    assert found["failures"] == [] and found["counts"]["forgeries"] == 8


def nothing(log):
    """No forgery at all."""


def test_a_forgery_that_is_missed_is_told():
    (failure,) = figures([("V5", nothing)])["failures"]
    assert failure.startswith("V5, nothing: exit code 0, failed steps []")


@pytest.mark.slow
def test_all_forgeries_are_found_by_the_commands():
    found = figures()
    assert found["failures"] == [] and found["counts"]["forgeries"] == len(CASES)
