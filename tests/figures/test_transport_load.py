"""The figures of the transport at a reduced size."""

import pytest

from tests.figures.transport_load import MEBIBYTE, cut_uploads, many_uploads, slow_connections


@pytest.mark.slow
def test_uploads_at_once_arrive_whole():
    found = many_uploads(10, 2 * MEBIBYTE)
    assert found["completed"] == found["arrived"] == 10
    assert found["corrupt"] == 0
    assert found["memory of the server at most"] - found["memory of the server before"] < 200 * MEBIBYTE


@pytest.mark.slow
def test_connections_that_say_nothing_do_not_stop_anybody():
    found = slow_connections(100, 1500, asked=20)
    assert found["failed"] == 0


@pytest.mark.slow
def test_cut_uploads_are_resumed_and_equal():
    found = cut_uploads(5)
    assert found["uploads"] == found["resumed"] == found["equal"] == 5
    assert found["cuts"] >= 5
