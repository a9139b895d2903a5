"""One-trip rounds between stations on disk, encrypted with TenSEAL."""

from tests.app.stations.holding import check_sums, setting
from tests.stationary import Stations


def test_two_rounds(tmp_path):
    with Stations(tmp_path, setting=setting(schedule=("1/4", "1/2"))) as found:
        found.run()
        check_sums(found, [1, 2])
        vault = found.key_holders["vault"]
        assert vault.machine.over
        assert vault.machine.plan.round == 2
        assert [key.index for key in vault.held_keys()] == [3]  # the one that lies ready; two were used and are gone
        assert list(vault.folder.iterdir()) == []
