"""A few histories that meet; and that the figure tells when a proof does not come of it."""

import random

import pytest

from fedspallm_secure.app.audit import comparing
from fedspallm_secure.app.stations.log_book import LogBook
from fedspallm_secure.app.stations.witness_station import WitnessStation
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.protocol.audit.cosigning import Cosigner
from fedspallm_secure.protocol.audit.verification import _Verification
from tests.figures import split_views
from tests.figures.split_views import LENGTHS, MEETINGS, PROOF, WAYS, other, run, seen_by, world


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return world(tmp_path_factory.mktemp("world") / "played")


def met(made, meeting, way=split_views.another_list, length="as long", seed=1):
    draw = random.Random(seed)
    return meeting(made, other(made, way, length, seen_by(made, meeting), draw), draw)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("way", WAYS)
def test_another_history_parts_where_it_says(made, way, length):
    found = other(made, way, length, made.member, random.Random(2))
    assert found.bodies[: found.parts] == made.true[: found.parts]
    assert found.bodies[found.parts] != made.true[found.parts]
    assert (len(found.bodies) > made.member) == (length == "longer")
    roots = {Tree(map(leaf_hash, bodies[: found.parts + 1])).root() for bodies in (found.bodies, made.true)}
    assert len(roots) == 2


@pytest.mark.parametrize("meeting", MEETINGS)
def test_a_proof_comes_of_histories_that_are_as_long(made, meeting):
    right = "the audit fails V2, exit code 202" if meeting is split_views.auditor_is_given_a_checkpoint else PROOF
    assert met(made, meeting) == right


@pytest.mark.parametrize("length", ["shorter", "longer"])
@pytest.mark.parametrize("meeting", [split_views.member_by_packages, split_views.member_by_a_header])
def test_a_member_has_a_proof_of_any_length(made, meeting, length):
    assert met(made, meeting, split_views.a_contribution_left_out, length) == PROOF


def test_a_witness_refuses_what_it_cannot_prove(made):
    found = met(made, split_views.witness_is_asked, length="longer")
    assert found.startswith("refused without a proof") and found.endswith(PROOF)


SABOTAGE = [
    (LogBook, "_tell_apart", lambda *_, **__: None, split_views.member_by_packages, "no proof"),
    (LogBook, "heed", lambda *_: None, split_views.member_by_a_header, "no proof"),
    (Cosigner, "contradicted", lambda *_: None, split_views.witness_is_asked, "refused without a proof"),
    (WitnessStation, "heed", lambda *_: None, split_views.witness_by_a_header, "not noticed"),
    (comparing, "_against", lambda *_: [], split_views.auditor_has_both, "no proof"),
    (comparing, "_against", lambda *_: [], split_views.witness_is_asked, PROOF),
    (_Verification, "_compare", lambda *_: None, split_views.auditor_is_given_a_checkpoint, "no proof"),
]


@pytest.mark.parametrize(("place", "name", "instead", "meeting", "became"), SABOTAGE)
def test_who_does_not_look_is_told_apart(made, monkeypatch, place, name, instead, meeting, became):
    monkeypatch.setattr(place, name, instead)
    assert met(made, meeting).startswith(became)


def test_a_proof_that_does_not_come_fails_the_figure(made, monkeypatch):
    monkeypatch.setattr(split_views, "world", lambda folder: made)
    monkeypatch.setattr(split_views, "MEETINGS", (split_views.auditor_has_both,))
    counts, failures = run(1)
    assert not failures and counts["auditor has both: a proof"] == counts["meetings"] == len(WAYS) * len(LENGTHS)
    monkeypatch.setattr(comparing, "_against", lambda *_: [])
    assert len(run(1)[1]) == counts["meetings"]
