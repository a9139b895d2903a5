"""The part of the report about differential privacy: who promises what, on what condition, and what nobody promises."""

from typing import Any

import pytest

from fedspallm_secure.app.reporting.page import render_report
from tests.app.reporting.reports import SILOS, make_result, make_secure_result
from tests.app.reporting.test_page import tables
from tests.app.reporting.test_secure import body


def found(**changes: Any) -> dict[str, Any]:
    figures = {
        "epsilon": 7.99998,
        "delta": 1e-6,
        "clip": 1.0,
        "noise_multiplier": 0.97,
        "sigma": 0.97,
        "releases": 2,
        "records": 512,
        "features": 9216,
        "clipped_share": 0.25,
        "weight": 0.5,
    }
    return figures | changes


def with_noise(result: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`result` as if all silos but the last had added noise."""
    idle = found(epsilon=0.0, delta=0.0, releases=0, records=0, features=0, clipped_share=0.0, weight=0.0)
    members = {silo: found() for silo in SILOS[:-1]} | {SILOS[-1]: idle}
    terms = {"epsilon": 8.0, "delta": 1e-6, "clip": 1.0, "reads_text": True, "members": members}
    return result | {"privacy": terms | changes}


def test_without_noise_there_is_no_such_section():
    told = body(make_result())
    assert "Differential privacy claims" not in told
    assert "No differential privacy was in effect." in told


@pytest.mark.parametrize("make", [make_result, make_secure_result])
def test_the_promise_stands_with_its_conditions(make):
    told = body(with_noise(make()))
    assert "No differential privacy was in effect" not in told
    for silo in SILOS[:-1]:
        assert (
            f"(8, 1e-06) record-level differential privacy for the released keep-masks with respect to {silo}'s "
            f"calibration records, for 2 rounds, assuming {silo} runs the published clipping and noise code." in told
        )
    assert f"with respect to {SILOS[-1]}'s" not in told
    for bound in ("For a document or a person.", "For a silo as a whole.", "About the model as it was given."):
        assert bound in told
    for word in ("anonym", "leakage-free", "zero leakage", "guarantees privacy"):
        assert word not in told.lower()


def test_every_silo_has_its_row():
    page = render_report(with_noise(make_result()))
    rows = next(found for found in tables(page) if "ε spent" in found[0])
    row = ["alpha", "8", "1e-06", "512", "1", "0.97", "2", "9,216", "25.0 %", "50.0 %"]
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in rows[1]] == row
    assert len(rows) == 1 + len(SILOS)


def test_magnitude_says_that_nothing_was_read():
    told = body(with_noise(make_result(), reads_text=False))
    assert "ε = 0: no calibration text decided any keep-mask." in told
    assert "Differential privacy does not claim" not in told
