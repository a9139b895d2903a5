"""Perplexity on held-out text, the same code for every model compared, and the sparsity of what is on disk."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedspallm_secure.app.calibration import Tokenizer, check_seqlen, test_windows
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.states import Revision
from fedspallm_secure.app.walking.workshop import Workshop
from fedspallm_secure.errors import NumericalFailure, UsageError
from fedspallm_secure.storage.texts import TextFile

_LOGITS_AT_ONCE = 1 << 22  # numbers, 16 MiB of float32 at a time

RESERVED = ("mean", "least", "most")  # names of summary figures beside those of the tests
_LARGEST_LOSS = 700.0  # exp of more does not fit a float


@dataclass(frozen=True, slots=True)
class Perplexities:
    """Perplexity per test text, and how many tokens were predicted for each."""

    by_test: dict[str, float]
    tokens: dict[str, int]

    @property
    def mean(self) -> float:
        """Geometric mean over the tests."""
        return math.exp(sum(map(math.log, self.by_test.values())) / len(self.by_test))

    def to_dict(self) -> dict[str, float]:
        """test -> perplexity, plus `mean`."""
        return {**self.by_test, "mean": self.mean}


@torch.no_grad()
def perplexities(
    workshop: Workshop, revision: Revision, tests: Mapping[str, Tensor], progress: Progress, task: str
) -> Perplexities:
    """Perplexity of `revision` on each test, exp of the mean negative log-likelihood per predicted token.

    tests: name -> (windows, tokens) ids, one window length for all.  All tests pass through each block together, so the
    model is read from disk once.
    """
    walk = workshop.walk(torch.cat(list(tests.values())))
    skeleton = workshop.skeleton
    total = len(skeleton.blocks) + 1
    for block in skeleton.blocks:
        with skeleton.loaded(block, revision.replaced(block)) as module:
            walk.advance(block, module)
        progress.update(task, block.index + 1, total, "layers")
    losses = torch.cat([_losses(ids, logits) for ids, logits in walk.logits(_LOGITS_AT_ONCE // skeleton.vocabulary)])
    progress.update(task, total, total, "layers")
    parts = torch.split(losses, [len(windows) for windows in tests.values()])
    by_test = {}
    tokens = {}
    for name, part, windows in zip(tests, parts, tests.values(), strict=True):
        tokens[name] = windows.numel() - len(windows)
        mean = float(part.sum()) / tokens[name]
        if math.isnan(mean):
            raise NumericalFailure(
                f"{task}: the model's predictions on {name} are not numbers",
                hint="use --dtype float32; if the dense model fails too, the checkpoint is damaged",
            )
        by_test[name] = math.exp(min(mean, _LARGEST_LOSS))
    return Perplexities(by_test, tokens)


def _losses(ids: Tensor, logits: Tensor) -> Tensor:
    """Summed negative log-likelihood of each window, (windows,) float64 on the CPU."""
    flat = logits[:, :-1].reshape(-1, logits.shape[-1]).float()
    each = torch.nn.functional.cross_entropy(flat, ids[:, 1:].reshape(-1), reduction="none")
    return each.view(len(ids), -1).to("cpu", torch.float64).sum(dim=1)


def check_test_names(names: Sequence[str]) -> None:
    """Raise UsageError for a test that bears the name of a summary figure."""
    for name in names:
        if name in RESERVED:
            raise UsageError(f"a test cannot be called {name}: the figures over all tests bear that name")


def measured_sparsity(workshop: Workshop) -> dict[str, float]:
    """Share of exact zeros in the prunable matrices on disk: over all of them, and the least and most of any."""
    skeleton = workshop.skeleton
    names = {linear.name: linear.size for block in skeleton.blocks for linear in block.linears}
    zeros = {name: int((skeleton.checkpoint.read(name) == 0).sum()) for name in names}
    shares = [zeros[name] / size for name, size in names.items()]
    return {"achieved": sum(zeros.values()) / sum(names.values()), "least": min(shares), "most": max(shares)}


def evaluate_model(
    workshop: Workshop,
    texts: Sequence[TextFile],
    seqlen: int | None,
    most_tokens: int | None,
    progress: Progress,
) -> dict[str, Any]:
    """Perplexity of the model on disk on every text, and its sparsity, as plain data.

    seqlen: tokens per window, min(2048, the model's limit) if None; most_tokens: per text, all if None.
    """
    check_test_names([text.name for text in texts])
    skeleton = workshop.skeleton
    length = check_seqlen(seqlen, skeleton.max_length)
    most = None if most_tokens is None else max(1, most_tokens // length)
    tokenizer = Tokenizer(skeleton.checkpoint.path, skeleton.vocabulary)
    windows = {text.name: test_windows(tokenizer.encode(text), length, most) for text in texts}
    found = perplexities(workshop, Revision(skeleton.checkpoint), windows, progress, "measure")
    return {
        "perplexity": found.to_dict(),
        "tokens": found.tokens,
        "seqlen": length,
        "sparsity": measured_sparsity(workshop),
        "model": str(skeleton.checkpoint.path),
        "device": str(skeleton.device),
        "dtype": str(skeleton.dtype).removeprefix("torch."),
    }
