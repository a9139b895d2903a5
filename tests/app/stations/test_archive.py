"""Contributions are kept for whoever audits a round, if that is wanted."""

from fedspallm_secure.storage.package_reader import open_package
from tests.stationary import stations


def test_what_was_taken_in_is_kept(tmp_path):
    with stations(tmp_path, members=4, layers=2) as found:
        found.server.post.archive = tmp_path / "kept"
        found.run()
        kept = sorted((tmp_path / "kept" / "round-1" / "contributions").iterdir())
        assert len(kept) == 8
        for path in kept:
            with open_package(path) as package:
                package.verify_body(lambda _: None)
                assert package.head.digest.hex() == path.stem
        assert not list((found.server.post.spool.folder / "in").iterdir())


def test_nothing_is_kept_that_nobody_asked_for(tmp_path):
    with stations(tmp_path, members=4, layers=1) as found:
        found.run()
        assert not list(tmp_path.rglob("contributions"))
