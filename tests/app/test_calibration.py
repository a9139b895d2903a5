"""Packed windows: nothing padded, nothing drawn twice, reproducible; and honest counts."""

import json

import pytest
import torch

from fedspallm_secure.app.calibration import Tokenizer, Tokens, calibration_windows, check_seqlen, test_windows
from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.errors import ForeignFile, MissingInput, NotEnoughText, TokenizerMismatch, UsageError
from fedspallm_secure.storage.texts import TextFile
from tests.models import VOCABULARY, make_tokenizer

test_windows.__test__ = False  # a function of the library, not a test

SEED = seed_bytes(0)


def numbered(count: int) -> Tokens:
    return Tokens("numbers", torch.arange(count))


def test_windows_are_runs_of_the_text_drawn_without_overlap():
    windows = calibration_windows(numbered(1003), samples=20, seqlen=50, seed=SEED)
    assert windows.shape == (20, 50)
    starts = windows[:, 0].tolist()
    assert sorted(starts) == list(range(0, 1000, 50))
    assert torch.equal(windows, torch.tensor(starts)[:, None] + torch.arange(50))


def test_the_choice_depends_on_seed_and_name_alone():
    def draw(name: str, seed: int) -> list[int]:
        tokens = Tokens(name, torch.arange(1000))
        return calibration_windows(tokens, 5, 50, seed_bytes(seed))[:, 0].tolist()

    assert draw("a", 0) == draw("a", 0)
    assert len({tuple(draw(name, seed)) for name in "ab" for seed in (0, 1)}) == 4


def test_exactly_enough_is_enough_and_one_less_is_not():
    calibration_windows(numbered(1000), samples=20, seqlen=50, seed=SEED)
    with pytest.raises(NotEnoughText, match=r"holds 999 tokens; 20 windows of 50 need 1000, 1 more"):
        calibration_windows(numbered(999), samples=20, seqlen=50, seed=SEED)


def test_test_windows_are_in_order_and_thinned_evenly():
    assert test_windows(numbered(99), 10)[:, 0].tolist() == list(range(0, 90, 10))
    assert test_windows(numbered(100), 10, most=5)[:, 0].tolist() == [0, 20, 40, 60, 80]
    assert len(test_windows(numbered(100), 10, most=10)) == 10
    with pytest.raises(NotEnoughText, match="holds 9 tokens; one window needs 10, 1 more"):
        test_windows(numbered(9), 10)


def test_the_window_length_has_a_default_and_bounds():
    assert check_seqlen(None, 131072) == 2048
    assert check_seqlen(None, 512) == 512
    assert check_seqlen(64, 512) == 64
    for wrong in (1, 513):
        with pytest.raises(UsageError, match=r"outside 2\.\.512"):
            check_seqlen(wrong, 512)


def test_documents_end_with_the_end_token(tmp_path):
    make_tokenizer(tmp_path)
    file = tmp_path / "two.jsonl"
    file.write_text(json.dumps({"text": "ab"}) + "\n" + json.dumps({"text": "c"}) + "\n")
    ids = Tokenizer(tmp_path, VOCABULARY).encode(TextFile("two", file)).ids.tolist()
    assert [number == 1 for number in ids] == [False, False, True, False, True]


def test_long_documents_are_tokenised_in_pieces_without_loss(tmp_path):
    make_tokenizer(tmp_path)
    file = tmp_path / "long.txt"
    file.write_text("0123456789\n" * 20_000)  # several pieces
    ids = Tokenizer(tmp_path, VOCABULARY).encode(TextFile("long", file)).ids
    assert len(ids) == 220_001
    assert torch.equal(ids[:11], ids[-12:-1])


def test_tokenizers_that_do_not_belong_are_refused(tmp_path):
    with pytest.raises(MissingInput, match="no tokenizer files"):
        Tokenizer(tmp_path, VOCABULARY)
    make_tokenizer(tmp_path, first=100)
    file = tmp_path / "a.txt"
    file.write_text("abc")
    Tokenizer(tmp_path, 400).encode(TextFile("a", file))
    with pytest.raises(TokenizerMismatch, match=r"vocabulary ends at 119"):
        Tokenizer(tmp_path, 120).encode(TextFile("a", file))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ForeignFile, match="cannot be loaded"):
        Tokenizer(tmp_path, 400)
