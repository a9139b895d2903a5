"""A member between institutions: noise is paid for before it is used, drawn once, and used by nothing else."""

import hashlib
import itertools
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fedspallm_secure.app.configuration.member import read_member
from fedspallm_secure.app.privacy import member as private
from fedspallm_secure.app.privacy.drawing import known_by
from fedspallm_secure.app.privacy.gathering import layout
from fedspallm_secure.app.privacy.releases import MemberLedger
from fedspallm_secure.app.progress import Silent
from fedspallm_secure.app.ranks import ALONE
from fedspallm_secure.app.service import pruning
from fedspallm_secure.app.service.pruning import Bench
from fedspallm_secure.app.states import layer_file
from fedspallm_secure.app.stations.revisions import layers_folder
from fedspallm_secure.errors import MissingExtra, PlanRefused, RecordDamaged
from fedspallm_secure.storage.checkpoints.layers import load_layer
from fedspallm_secure.storage.checkpoints.noised import NoisedStatistic, load_noised, save_noised
from tests.app.privacy.terms import Facts
from tests.ground import Ground, make_ground

pytest.importorskip("dp_accounting")
ALL = (0, 1, 2)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Ground:
    return make_ground(tmp_path_factory.mktemp("member"))


class Place:
    """A member's configuration, work folder and journal; every call of `bench` is another process."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        self.ground, self.folder, self.facts = ground, folder, Facts()
        self.contributed: list[int] = []

    def config(self, privacy: str):
        path = self.folder / "member.toml"
        path.write_text(
            f'[member]\nhome = "home"\ndata = "data"\n[server]\nid = "hub"\n[model]\npath = "{self.ground.model}"\n'
            f'[texts]\nfiles = ["{self.ground.silos[0].path}"]\nsamples = 6\nseqlen = 32\n'
            f'[compute]\ndevice = "cpu"\n{privacy}'
        )
        return read_member(path)

    def bench(self, privacy: str = "[privacy]\nepsilon = 8\n") -> Bench:
        config = self.config(privacy)
        ledger = None if config.terms is None else MemberLedger(self.facts, config.terms)
        return Bench(config, "north", ALONE, Silent(), lambda: None, ledger)

    def prune(self, bench: Bench, round: int = 1, layers=ALL, pruner: str = "wanda") -> dict[int, str]:
        """Contribute these layers; their digests."""
        groups = [SimpleNamespace(gid=gid) for gid in layers]
        plan = SimpleNamespace(round=round, pruner=pruner, target="1/2", groups_of=lambda name: groups)
        bench.prune(plan, groups, lambda group: self.contributed.append(group.gid), lambda: None)  # type: ignore[arg-type]
        return {gid: digest(layer_file(bench.model.own_folder(round), gid)) for gid in layers}

    @property
    def releases(self):
        return MemberLedger(self.facts, self.config("[privacy]\nepsilon = 8\n").terms).releases

    @property
    def statistics(self) -> list[Path]:
        return sorted(self.folder.glob("data/round-*/own/noised-*"))


def digest(path: Path) -> str:
    hasher = hashlib.sha256()
    for _, matrix in sorted(load_layer(path)[0].items()):
        hasher.update(matrix.weight.numpy().tobytes() + matrix.keep.numpy().tobytes())
    return hasher.hexdigest()


@pytest.fixture
def place(shared: Ground, tmp_path: Path) -> Place:
    return Place(shared, tmp_path)


def test_layers_are_chosen_by_the_statistic_that_was_paid_for(place):
    bench = place.bench()
    made = place.prune(bench)
    (release,), (file,) = place.releases, place.statistics
    assert release.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (release.round, release.layers, release.records, release.features) == (1, ALL, 6, 432)
    assert 7.9 < release.spent <= 8 and 0 <= release.weight <= 1
    assert place.contributed == [0, 1, 2]
    other = Place(place.ground, place.folder / "other")
    other.folder.mkdir()
    assert other.prune(other.bench()) != made  # noise is no function of the seed
    plain = Place(place.ground, place.folder / "plain")
    plain.folder.mkdir()
    assert plain.prune(plain.bench("")) != made and plain.facts.kept == {} and plain.statistics == []


@pytest.mark.parametrize("moment", ["before the statistic", "before the entry", "after the entry", "in the middle"])
def test_whoever_is_killed_draws_no_other_noise(place, monkeypatch, moment):
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    saved = itertools.count()
    save = pruning.LocalPruning._visit.__globals__["save_layer"]
    with monkeypatch.context() as patch:
        if moment == "before the statistic":
            patch.setattr(private, "save_noised", die)
        elif moment == "before the entry":
            patch.setattr(private.MemberLedger, "enter", die)
        elif moment == "after the entry":
            patch.setattr(pruning, "spread", die)
        else:
            patch.setattr("fedspallm_secure.app.member.save_layer", lambda *a: save(*a) if next(saved) < 1 else die())
        with pytest.raises(KeyboardInterrupt):
            place.prune(place.bench())
    files, paid = place.statistics, place.releases
    written = [file.read_bytes() for file in files]
    assert (len(files), len(paid)) == {
        "before the statistic": (0, 0),
        "before the entry": (1, 0),
        "after the entry": (1, 1),
        "in the middle": (1, 1),
    }[moment]
    if moment != "in the middle":  # nothing was derived from what was not paid for
        assert not list(place.folder.rglob("layer-*"))
    with monkeypatch.context() as patch:
        if files:
            patch.setattr("fedspallm_secure.pruning.privacy.discrete_gaussian", None)
        made = place.prune(place.bench())
    assert [file.read_bytes() for file in place.statistics][: len(files)] == written
    assert len(place.releases) == 1 and place.prune(place.bench()) == made


def test_another_attempt_with_the_same_layers_is_free_and_with_others_is_not(place):
    made = place.prune(place.bench())
    bench = place.bench()
    left = bench.model.model().privacy
    assert (left.releases, left.paid) == (0, {ALL})
    assert place.prune(bench, round=2) == made and len(place.releases) == 1
    with pytest.raises(PlanRefused, match="budget is spent: 1 of 1 releases"):
        place.prune(place.bench(), round=3, layers=(0, 1))
    assert len(place.statistics) == 1


def test_two_rounds_compose_and_a_third_is_not_paid_for(place):
    two = "[privacy]\nepsilon = 8\nrounds = 2\n"
    bench = place.bench(two)
    place.prune(bench)
    assert bench.model.model().privacy.releases == 1
    for gid in ALL:  # as if the own layers were the result
        target = layer_file(layers_folder(bench.model.revisions.folder, 1), gid)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(layer_file(bench.model.own_folder(1), gid), target)
    bench.model.revisions.advance(1, "ab" * 32, ALL)
    left = bench.model.model().privacy
    assert (left.releases, left.paid) == (1, set())  # what was paid for started from other weights
    place.prune(bench, round=2)
    first, second = place.releases
    assert first.spent < second.spent <= 8 and first.steps == second.steps
    with pytest.raises(PlanRefused, match="2 of 2"):
        place.prune(place.bench(two), round=3, layers=(0,))


def test_a_lost_statistic_is_paid_for_once_more_or_not_drawn_at_all(place):
    two = "[privacy]\nepsilon = 8\nrounds = 2\n"
    made = place.prune(place.bench(two))
    shutil.rmtree(place.folder / "data/round-1")
    again = place.prune(place.bench(two))
    assert again != made and [one.layers for one in place.releases] == [ALL, ALL]
    assert place.prune(place.bench(two)) == again  # and that one is found
    shutil.rmtree(place.folder / "data/round-1")
    with pytest.raises(PlanRefused, match="2 of 2"):
        place.prune(place.bench(two))
    assert not list(place.folder.rglob("layer-*"))


def test_another_statistic_than_the_one_paid_for_is_refused(place):
    place.prune(place.bench())
    (file,) = place.statistics
    known = load_noised(file, 432)
    save_noised(file, NoisedStatistic(known.noised + 1, known.unit, known.steps, known.records, known.clipped))
    with pytest.raises(RecordDamaged, match="not the noised statistic that was paid for"):
        place.prune(place.bench())
    assert place.bench().model.model().privacy.paid == {ALL}  # a plan is not judged by what the disk has lost


def test_layers_that_were_pruned_without_noise_are_never_taken_for_noised_ones(place):
    plain = place.prune(place.bench(""))
    noised = place.prune(place.bench())
    assert all(plain[gid] != noised[gid] for gid in ALL)
    assert place.prune(place.bench("")) == plain


def test_a_plan_from_before_the_budget_that_prunes_otherwise_is_refused(place):
    with pytest.raises(PlanRefused, match="round 1 prunes with sparsegpt, and under") as caught:
        place.prune(place.bench(), pruner="sparsegpt")
    assert "sit this round out" in caught.value.hint and place.releases == []


def test_a_budget_and_its_ledger_belong_together(place):
    with pytest.raises(ValueError, match="privacy ledger"):
        Bench(place.config("[privacy]\nepsilon = 8\n"), "north", ALONE, Silent(), lambda: None)


def test_who_cannot_account_for_noise_does_not_begin(place, monkeypatch):
    two = "[privacy]\nepsilon = 8\nrounds = 2\n"
    place.prune(place.bench(two))
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(MissingExtra, match="dp-accounting") as caught:
        place.bench(two)
    assert caught.value.exit_code == 42
    assert place.bench("") is not None


def test_other_ranks_know_what_the_first_one_drew(place):
    """What `tests/app/test_ranks.py` does with processes, exchange by exchange."""
    bench = place.bench()
    statistic = bench._noised(
        SimpleNamespace(round=1, pruner="wanda", groups_of=lambda _: [SimpleNamespace(gid=gid) for gid in ALL])
    )
    sent: list[torch.Tensor] = []

    class First:
        def spread(self, source, own, blank):
            assert source == 0 and own.shape == blank().shape and own.dtype == blank().dtype
            sent.append(own)
            return own

    class Other:
        def spread(self, source, own, blank):
            assert own is None
            return sent.pop(0)

    shop = bench._workshop
    here = private.spread(statistic, ALL, 192, shop, First())
    there = private.spread(None, ALL, 192, shop, Other())
    alone = known_by(statistic.noised, statistic.unit, layout(shop, ALL), 192, shop)
    for known in (here, there):
        for layer, inputs in alone.items():
            for linear, norms in inputs.items():
                assert torch.equal(known[layer][linear].sum_squares, norms.sum_squares)
    assert np.count_nonzero(statistic.noised)
