"""What counts tell about single members: against a twin that has their keep-masks and guesses bit by bit."""

from dataclasses import astuple
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedspallm_secure.pruning import leakage
from fedspallm_secure.pruning.leakage import LeakageFigures, public_guess
from fedspallm_secure.pruning.patterns import NofM, Unstructured

HALF = Unstructured(Fraction(1, 2))


def cohort(members: int, shape: tuple[int, int], seed: int, share: float = 0.5) -> Tensor:
    """Keep-masks of all members, (members, out, in)."""
    return torch.rand((members, *shape), generator=torch.Generator().manual_seed(seed)) < share


def twin(keeps: Tensor, guess: Tensor) -> LeakageFigures:
    """The figures from the members' own keep-masks, one weight and one member after the other."""
    members, rows, columns = keeps.shape
    found = dict.fromkeys(LeakageFigures.__slots__, 0)
    for row in range(rows):
        for column in range(columns):
            bits = [bool(keeps[member, row, column]) for member in range(members)]
            majority = sum(bits) * 2 >= members
            found["positions"] += 1
            found["unanimous"] += len(set(bits)) == 1
            found["single"] += bits.count(True) == 1
            for bit in bits:
                found["bits"] += 1
                found["by_count"] += bit == majority
                found["by_guess"] += bit == bool(guess[row, column])
    return LeakageFigures(**found)


def figures(keeps: Tensor, guess: Tensor, dtype: torch.dtype = torch.int32) -> LeakageFigures:
    return LeakageFigures.of(keeps.sum(dim=0).to(dtype), keeps.shape[0], guess)


@given(
    st.integers(1, 9), st.integers(1, 5), st.integers(1, 7), st.integers(0, 99), st.sampled_from([0.0, 0.3, 0.9, 1.0])
)
def test_figures_are_those_of_the_members_themselves(members, rows, columns, seed, share):
    keeps, guess = cohort(members, (rows, columns), seed, share), cohort(1, (rows, columns), seed + 1)[0]
    found = figures(keeps, guess)
    assert found == twin(keeps, guess)
    assert found.excess >= 0, "nobody guesses better without the count"
    assert found.excess == pytest.approx(found.count_accuracy - found.guess_accuracy)


def test_known_answers():
    """Counts 0 to 3 of three members; the public model keeps the first two weights."""
    found = LeakageFigures.of(torch.tensor([[0, 1, 2, 3]]), 3, torch.tensor([[True, True, False, False]]))
    assert found == LeakageFigures(positions=4, bits=12, unanimous=2, single=1, by_count=10, by_guess=2)
    assert found.to_dict() == {
        "positions": 4,
        "unanimous": 0.5,
        "single": 0.25,
        "count_accuracy": 10 / 12,
        "guess_accuracy": 2 / 12,
        "excess": 8 / 12,
    }


def test_a_single_member_is_an_open_book():
    keeps = cohort(1, (4, 8), 3)
    found = figures(keeps, ~keeps[0])
    assert (found.unanimous_share, found.count_accuracy, found.guess_accuracy, found.excess) == (1.0, 1.0, 0.0, 1.0)


def test_members_that_do_what_the_public_model_suggests_have_nothing_to_lose():
    weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    guess = public_guess(weight, HALF)
    found = figures(guess.expand(5, -1, -1), guess)
    assert (found.unanimous_share, found.guess_accuracy, found.excess) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64])
def test_every_integer_type_gives_the_same(dtype):
    keeps, guess = cohort(100, (5, 7), 1), cohort(1, (5, 7), 2)[0]
    assert figures(keeps, guess, dtype) == twin(keeps, guess)


def test_tiles_make_no_difference(monkeypatch):
    keeps, guess = cohort(4, (9, 11), 1), cohort(1, (9, 11), 2)[0]
    whole = figures(keeps, guess)
    for tile in (1, 7, 98, 99, 100):
        monkeypatch.setattr(leakage, "_TILE", tile)
        assert figures(keeps, guess) == whole


def test_transposed_inputs_are_read_in_step():
    keeps, guess = cohort(4, (9, 11), 1), cohort(1, (9, 11), 2)[0]
    count = keeps.sum(dim=0).T.contiguous().T
    assert LeakageFigures.of(count, 4, guess) == twin(keeps, guess)


def test_the_counts_stay_as_they_were():
    count, guess = torch.ones(3, 4, dtype=torch.int32), torch.ones(3, 4, dtype=torch.bool)
    LeakageFigures.of(count, 2, guess)
    assert bool((count == 1).all())


def test_figures_of_matrices_add_up_by_members():
    """A matrix with more members has more bits, and weighs more in the accuracies."""
    small, large = cohort(2, (3, 4), 1), cohort(7, (5, 6), 2)
    guesses = cohort(1, (3, 4), 3)[0], cohort(1, (5, 6), 4)[0]
    parts = [figures(keeps, guess) for keeps, guess in zip((small, large), guesses, strict=True)]
    total = sum(parts, LeakageFigures())
    assert astuple(total) == tuple(map(sum, zip(*map(astuple, parts), strict=True)))
    assert total.bits == 2 * 12 + 7 * 30
    right = sum(part.count_accuracy * part.bits for part in parts)
    assert total.count_accuracy == pytest.approx(right / total.bits)


def test_no_weights_give_no_figures():
    assert set(LeakageFigures().to_dict().values()) == {0}
    assert (
        LeakageFigures.of(torch.zeros(0, 3, dtype=torch.int32), 4, torch.zeros(0, 3, dtype=torch.bool))
        == LeakageFigures()
    )


COUNT, GUESS = torch.tensor([[0, 1, 2]]), torch.tensor([[True, False, True]])


@pytest.mark.parametrize(
    ("count", "members", "guess"),
    [
        (COUNT, 1, GUESS),
        (COUNT - 1, 2, GUESS),
        (0 * COUNT, 0, GUESS),
        (COUNT.float(), 2, GUESS),
        (COUNT.to(torch.complex64), 2, GUESS),
        (COUNT.bool(), 2, GUESS),
        (COUNT, 2, GUESS.int()),
        (COUNT, 2, GUESS.T),
        (COUNT + 2**32, 2, GUESS),
    ],
    ids=["above", "below", "nobody", "float", "complex", "bool", "no bits", "shape", "wraps"],
)
def test_what_cannot_be_counts_is_refused(count, members, guess):
    with pytest.raises(ValueError, match="counts"):
        LeakageFigures.of(count, members, guess)


def test_the_public_guess_is_the_largest_weights():
    weight = torch.tensor([[1.0, -4.0, 0.5, 2.0], [3.0, 0.0, -0.25, 5.0]])
    assert public_guess(weight, HALF).tolist() == [[False, True, False, True], [True, False, False, True]]
    assert public_guess(weight, NofM(1, 4)).tolist() == [[False, True, False, False], [False, False, False, True]]
    frozen = torch.tensor([[False, True, False, False], [False, False, False, False]])
    assert public_guess(weight, HALF, frozen).tolist() == [[True, False, False, True], [True, False, False, True]]
