"""From texts to packed windows of tokens: no padding, a reproducible choice, and honest counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer

from fedspallm_secure.crypto.draws import PublicDraws
from fedspallm_secure.errors import ForeignFile, MissingInput, NotEnoughText, TokenizerMismatch, UsageError
from fedspallm_secure.storage.texts import TextFile

DEFAULT_SAMPLES = 32
DEFAULT_SEQLEN = 2048
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tokenizer_config.json")
_PIECE = 1 << 16  # characters tokenised at once; whole books at once are slow


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenised text.  ids: (tokens,) int64, documents joined by the end-of-text token where there is one."""

    name: str
    ids: Tensor

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer:
    """The model's own tokenizer, checked against its vocabulary."""

    def __init__(self, path: Path, vocabulary: int) -> None:
        """Load from `path`.  Raises MissingInput or ForeignFile."""
        if not any((path / name).is_file() for name in _TOKENIZER_FILES):
            raise MissingInput(
                f"{path} has no tokenizer files",
                hint="copy tokenizer.json and its companions there; nothing is ever downloaded for you",
            )
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                path, local_files_only=True, trust_remote_code=False, use_fast=True
            )
        except Exception as error:  # third-party constructors raise anything
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ForeignFile(f"the tokenizer in {path} cannot be loaded: {reason}") from error
        self._path = path
        self._vocabulary = vocabulary
        self._tokenizer.model_max_length = int(1e30)  # windows are cut here, so its length warning would mislead

    def encode(self, text: TextFile) -> Tokens:
        """Tokenise a whole file.  Raises TokenizerMismatch when an id lies outside the model's embedding."""
        end = self._tokenizer.eos_token_id
        parts: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        for document in text.documents():
            for piece in _pieces(document):
                parts.append(np.asarray(self._tokenizer(piece, add_special_tokens=False)["input_ids"], np.int64))
            if end is not None:
                parts.append(np.asarray([end], np.int64))
        ids = torch.from_numpy(np.concatenate(parts)) if parts else torch.zeros(0, dtype=torch.int64)
        if len(ids) and int(ids.max()) >= self._vocabulary:
            raise TokenizerMismatch(
                f"the tokenizer in {self._path} produces token {int(ids.max())}, "
                f"but the model's vocabulary ends at {self._vocabulary - 1}"
            )
        return Tokens(text.name, ids)


def _pieces(document: str) -> Iterator[str]:
    """Cut a long document after line ends, about `_PIECE` characters at a time."""
    start = 0
    while start < len(document):
        stop = document.find("\n", start + _PIECE)
        stop = len(document) if stop < 0 else stop + 1
        yield document[start:stop]
        start = stop


def check_seqlen(seqlen: int | None, longest: int) -> int:
    """The window length in tokens: as asked, or min(2048, what the model allows).  Raises UsageError."""
    if seqlen is None:
        return min(DEFAULT_SEQLEN, longest)
    if not 2 <= seqlen <= longest:
        raise UsageError(f"seqlen {seqlen} lies outside 2..{longest}, what this model allows")
    return seqlen


def calibration_windows(tokens: Tokens, samples: int, seqlen: int, seed: bytes) -> Tensor:
    """`samples` packed windows drawn without overlap, (samples, seqlen) int64, in a reproducible order.

    Raises NotEnoughText with the number of tokens that are missing.
    """
    available = len(tokens) // seqlen
    if available < samples:
        missing = samples * seqlen - len(tokens)
        raise NotEnoughText(
            f"{tokens.name} holds {len(tokens)} tokens; {samples} windows of {seqlen} need {samples * seqlen}, "
            f"{missing} more"
        )
    chosen = PublicDraws(seed, f"calibration windows of {tokens.name}").permutation(range(available))[:samples]
    return tokens.ids[: available * seqlen].view(available, seqlen)[chosen]


def test_windows(tokens: Tokens, seqlen: int, most: int | None = None) -> Tensor:
    """Full windows in order, (windows, seqlen) int64; the incomplete last one is left out, as is customary.

    most: if there are more windows than this, as many spread evenly over the text.  Raises NotEnoughText when there is
    not even one.
    """
    count = len(tokens) // seqlen
    if count == 0:
        raise NotEnoughText(
            f"test text {tokens.name} holds {len(tokens)} tokens; "
            f"one window needs {seqlen}, {seqlen - len(tokens)} more",
            hint="add text, or lower seqlen",
        )
    windows = tokens.ids[: count * seqlen].view(count, seqlen)
    if most is None or count <= most:
        return windows
    return windows[[position * count // most for position in range(most)]]
