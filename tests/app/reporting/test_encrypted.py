"""What a report says of runs whose vectors were encrypted: as much as SPEC section 24.5 claims, and no more."""

import re
from pathlib import Path

import pytest
from fedprune_cli import summary

from fedspallm_secure.app.reporting import encrypted
from fedspallm_secure.app.reporting.claims import secure_claims, secure_no_claims
from fedspallm_secure.app.reporting.page import render_report
from fedspallm_secure.app.reporting.secure import knowledge, section
from tests.app.reporting.reports import make_secure_result
from tests.app.reporting.test_page import parsed, words

SPEC = Path(__file__).parents[3] / "docs/SPEC.md"


def result(sample: int = 50, colluders: int = 0, **settings) -> dict:
    made = make_secure_result(**settings)
    made["settings"]["secure"]["profile"] = "one-trip"
    for found in made["secagg"]:
        found |= {"profile": "one-trip", "sample": sample, "colluders": colluders}
        for group in found["groups"]:
            group |= {"degree": 0, "shares": 1}
        found["answered"] = []
    return made


def plain(texts) -> str:
    return re.sub(r"\s", " ", " ".join(" ".join(one) if isinstance(one, tuple | list) else one for one in texts))


def test_it_is_told_by_the_profile():
    assert encrypted.is_encrypted(result())
    assert not encrypted.is_encrypted(make_secure_result())
    assert not encrypted.is_encrypted({"secagg": []})


@pytest.mark.parametrize(
    ("colluders", "who", "others"),
    [
        (0, "and no silo does, it learns of the other silos'", "at least 2 other honest ones"),
        (1, "and at most 1 silo does, both learn of the other silos'", "at least 1 other honest one"),
    ],
)
def test_the_claim_is_that_of_a_server_that_does_not_work_with_the_key_holder(colluders, who, others):
    told = plain(secure_claims(result(colluders=colluders)))
    assert f"If the key holder does not work with the server, {who}" in told
    assert "only if at least 3 silos are in it" in told and others in told
    assert "could read 5.0 % of every contribution" in told
    assert "BFV at 128 bits" in told
    for gone in ("X25519", "answer"):
        assert gone not in told


def test_what_is_not_claimed_is_said_next_to_it():
    told = plain(secure_no_claims(result(sample=1000)))
    assert "That server and key holder together learn nothing. Together they can read every contribution." in told
    assert "That a server cannot spoil a sum." in told
    assert "adds 100.0 % of every sum up again" in told
    assert "X25519" not in told
    assert "together learn nothing" not in plain(secure_no_claims(make_secure_result()))


def test_the_specification_claims_no_more():
    """Who reads the report has to find there what the section excludes first."""
    spec = SPEC.read_text(encoding="utf-8").split("### 24.5")[1].split("**Not claimed**")[1]
    points = re.findall(r"^\d+\. \*(.+?)\*", spec, re.MULTILINE)
    assert points[0].startswith("Anything against a key holder that works with the server")
    assert points[1].startswith("That the key holder reads no single vector")


def test_who_learned_what():
    rows = {row[0]: plain(row[1:]) for row in knowledge(result(sample=200))}
    assert "It could read 20.0 % of each contribution." in rows["Key holder"]
    assert "keep counts and the kept sums" in rows["Key holder"]
    assert "server and key holder have them alone" in rows["Another silo"]
    assert "shares of others' secrets" not in rows["Another silo"]
    assert "Key holder" not in {row[0] for row in knowledge(make_secure_result())}
    assert "kept sums" not in {row[0]: plain(row) for row in knowledge(result(strategy="votes"))}["Key holder"]


def test_nobody_is_said_to_have_fallen_silent_who_was_asked_nothing():
    assert section(result())["silent"] == []
    masked = make_secure_result()
    masked["secagg"][0]["answered"] = ["alpha", "beta"]
    assert section(masked)["silent"]


@pytest.mark.parametrize("colluders", [0, 1])
def test_the_summary_says_who_may_work_with_the_server(colluders):
    told = summary._colluders(result(colluders=colluders))
    assert told.startswith(f"{colluders}; every sum mixes at least ") and told.endswith("; not the key holder")
    assert "key holder" not in summary._colluders(make_secure_result())


def test_the_page_has_all_of_it():
    told = words(parsed(render_report(result(colluders=1))))
    assert "If the key holder does not work with the server" in told
    assert "up to 1 silo may work with the server" in told
    assert "rests on the key holder not working with the server" in told
    assert "Key holder" in told
    assert "one-trip" in told
