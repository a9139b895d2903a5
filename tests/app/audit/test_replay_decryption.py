"""One-trip rounds recomputed: encrypted vectors are added up again, and what the key holder said of the sum is read."""

import pytest

from fedspallm_secure.app.audit import replay_decryption
from fedspallm_secure.storage.package_reader import open_package
from tests.app.audit.replayed import Kept, flip, keep_archive, states
from tests.app.audit.test_replay import found_in
from tests.app.stations.holding import setting
from tests.clear_cipher import clear
from tests.stationary import Stations

DONE = ("log", "contributions", "answers", "sums")


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Kept:
    with clear(), Stations(tmp_path_factory.mktemp("replay"), setting=setting(layers=2)) as found:
        keep_archive(found)
        found.model.files = lambda: ()
        found.run()
        assert found.model.done == [1]
        return Kept.of(found)


@pytest.fixture
def own(kept, tmp_path) -> Kept:
    """The same, to be changed."""
    return kept.copy(tmp_path)


@pytest.fixture(autouse=True)
def _clear():
    with clear():
        yield


def package(kept, type, group="0"):
    """The package of the key holder of this type about a group."""
    for path in kept.folder(1, "decryption").iterdir():
        with open_package(path) as opened:
            context = opened.head.context
            if (context.type, context.group) == (type, group):
                return path
    raise AssertionError(f"no {type}")


def test_a_round_comes_out_as_it_did(kept):
    report = kept.replay()
    assert report.failure is None
    assert states(report) == dict.fromkeys(states(report)) | dict.fromkeys(DONE, True)
    assert len(list(kept.folder(1, "decryption").iterdir())) == 4


@pytest.mark.parametrize("type", ["decrypt-challenge", "decrypt-response"])
def test_what_the_key_holder_said_was_changed(own, type):
    flip(package(own, type))
    (finding,) = found_in(own.replay(), "sums")
    assert finding.group == 0
    assert "tile 0 of the body is not what was signed" in finding.text


@pytest.mark.parametrize("type", ["decrypt-challenge", "decrypt-response"])
def test_what_the_key_holder_said_of_another_group(own, type):
    package(own, type, "0").write_bytes(package(own, type, "1").read_bytes())
    (finding,) = found_in(own.replay(), "sums")
    assert (finding.group, "is not the package that stands in the log" in finding.text) == (0, True)


@pytest.mark.parametrize("type", ["decrypt-challenge", "decrypt-response"])
def test_what_the_key_holder_said_is_not_there(own, type):
    package(own, type, "1").unlink()
    (finding,) = found_in(own.replay(), "sums")
    assert finding.group == 1


def test_a_contribution_was_changed(own):
    path = sorted(own.folder(1, "contributions").iterdir())[0]
    with open_package(path) as opened:
        member, group = opened.head.context.sender.id, int(opened.head.context.group)
    flip(path)
    (finding,) = found_in(own.replay(), "contributions")
    assert (finding.member, finding.group) == (member, group)


def test_the_key_holder_was_shown_another_sum(kept, monkeypatch):
    """Whoever adds the contributions up comes to something else than what it opened chunks of."""
    real = replay_decryption.added

    def other(group, public, sources):
        for place in real(group, public, sources):
            yield place if group.gid else place[:100] + bytes([place[100] ^ 1]) + place[101:]

    monkeypatch.setattr(replay_decryption, "added", other)
    (finding,) = found_in(kept.replay(), "sums")
    assert (finding.group, "was shown another sum" in finding.text) == (0, True)


def test_what_was_decrypted_is_not_what_was_published(kept, monkeypatch):
    real = replay_decryption.plain_streams

    def other(body, group):
        data = bytearray(body)
        data[0] ^= 1 if group.gid == 0 else 0
        return real(memoryview(data), group)

    monkeypatch.setattr(replay_decryption, "plain_streams", other)
    findings = found_in(kept.replay(), "sums")
    assert {finding.group for finding in findings} == {0}
