"""Rounds on media with a fault come out by the rule; without a check the figure says what went wrong."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from fedspallm_secure.app.courier import importing
from fedspallm_secure.secagg.thresholds import Profile
from fedspallm_secure.storage.bundle_register import BundleRegister, Place
from tests.figures import carried, couriers
from tests.figures.carried import COMPLETED, SMALLER, UNEXPECTED, WRONG
from tests.figures.couriers import Task, run
from tests.figures.media_faults import FAULTS, on_package
from tests.stationary import TinyModel


def task(name: str, journey: int = 3, seed: int = 1) -> Task:
    assert name in {fault.name for fault in FAULTS}
    return Task(seed, Profile.TWO_TRIP, only=(name,), journeys=(journey,))


def exchange(monkeypatch, name: str, play) -> None:
    """Another fault under this name and in its place, by which it is drawn whose bundle is spoilt, and who is late."""
    faults = tuple(replace(fault, play=play) if fault.name == name else fault for fault in FAULTS)
    monkeypatch.setattr(couriers, "FAULTS", faults)


def careless(post, medium, bundle, file, advance) -> bool:
    """Copies a package without a look at it."""
    with medium.open(bundle, file) as incoming:
        data = incoming.read_exactly(incoming.size)
    arrival = post.depot.arrival(bundle.sender, file.digest, file.size)
    if arrival is None:
        return False
    arrival.write(data)
    arrival.finish()
    return True


def last_byte(trip, path) -> None:
    """What a changed bit is here, so that it is in the body: heads are checked once more where packages arrive."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_a_package_that_nobody_checks_is_a_wrong_acceptance(monkeypatch):
    """The twin: a changed bit in a body, and an import that does not look."""
    monkeypatch.setattr(importing, "_copy", careless)
    exchange(monkeypatch, "a changed bit in a package", on_package(last_byte))
    counts, failures = run(task("a changed bit in a package"))
    assert counts["cases"] == 1 and counts[WRONG] >= 1
    assert any("which nobody made for it" in one for one in failures)
    assert any("accepted" in one for one in failures)


def test_the_row_tells_what_must_not_be(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent.parent / "scripts"))
    script = importlib.import_module("station_figures")
    counts = dict.fromkeys((*couriers._COUNTED, "imports", "the clock went on"), 0)
    told = script.couriers({"seeds": 1, "faults": 2, "counts": {**counts, "cases": 1234, WRONG: 3}})
    assert told.startswith("1,234 rounds over 1 seed, 2 faults") and "3 wrong acceptances" in told
    for name in ("station_figures", "figure_table"):
        sys.modules.pop(name)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "ends"), [(1, SMALLER), (0, COMPLETED)])
def test_a_changed_bit_costs_a_journey_or_a_member(seed, ends):
    """With a clock that goes on, and without."""
    counts, failures = run(task("a changed bit in a package", seed=seed))
    assert failures == [] and counts["cases"] == counts[ends] == 1
    assert counts["the clock went on"] == (ends == SMALLER)


@pytest.mark.slow
def test_an_older_bundle_that_is_taken_in_is_a_wrong_acceptance(monkeypatch):
    monkeypatch.setattr(BundleRegister, "place", lambda self, bundle, key: Place(True, False, None))
    counts, _ = run(task("an older export after a newer one"))
    assert counts[WRONG] >= 1


@pytest.mark.slow
def test_another_sum_is_a_wrong_acceptance():
    true = TinyModel.sums.fget
    wrong = property(lambda model: {place: counts + 1 for place, counts in true(model).items()})
    with mock.patch.object(TinyModel, "sums", wrong):
        counts, failures = run(task("the medium is lost"))
    assert counts[WRONG] == 1 and "sum of" in failures[0]


@pytest.mark.slow
def test_whatever_an_import_writes_elsewhere_is_a_wrong_acceptance(monkeypatch):
    true = carried.import_from

    def messy(post, medium, progress):
        (post.home.path / "left").write_bytes(b"")
        return true(post, medium, progress)

    monkeypatch.setattr(carried, "import_from", messy)
    monkeypatch.setattr(couriers, "record", mock.Mock(side_effect=_recorded(true)))
    counts, failures = run(task("imported twice"))
    assert counts[WRONG] >= 1 and "wrote" in failures[0]


def _recorded(true):
    """A recording, for which nothing is patched."""
    record = couriers.record

    def made(*arguments):
        with mock.patch.object(carried, "import_from", true):
            return record(*arguments)

    return made


@pytest.mark.slow
def test_an_error_that_nobody_told_is_unexpected(monkeypatch):
    exchange(monkeypatch, "a package is cut by a byte", on_package(lambda trip, path: None))
    counts, failures = run(task("a package is cut by a byte"))
    assert counts[UNEXPECTED] >= 1 and "for ['MediumIncomplete']" in " ".join(failures)
