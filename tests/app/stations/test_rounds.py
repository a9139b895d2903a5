"""Rounds between stations on disk."""

from tests.stationary import stations


def test_a_round(tmp_path):
    with stations(tmp_path, members=4) as found:
        found.run()
        assert found.server.waiting == "all rounds are done"
        assert not found.server.told
        assert all(not station.told for station in found.members.values())
        assert found.model.done == [1]
        for work in found.works.values():
            assert work.taken == [(1, 0), (1, 1)]
