"""Driving batches of windows through one block after another: observe a block's inputs, then move on."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedspallm_secure.app.walking.activations import DEFAULT_BUDGET, Activations
from fedspallm_secure.app.walking.capture import Call, CallPool, Probe, capture, logits
from fedspallm_secure.app.walking.skeleton import Block, Skeleton
from fedspallm_secure.pruning.statistics import Gram, InputNorms

TOKENS_PER_BATCH = {"cpu": 512, "cuda": 16384, "mps": 8192}  # on a CPU, what stays in cache is fastest


class _Enough(Exception):
    """The last wanted input has been seen; the rest of the block need not run."""


class Walk:
    """Hidden states of a set of windows on their way through the decoder.

    windows: (windows, tokens) int64.  Memory: one batch, one block, and hidden states up to `budget` bytes (the rest
    lies on disk in `spill`).  The batches are the same on every run, so results are too.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        found: Probe,
        windows: Tensor,
        budget: int = DEFAULT_BUDGET,
        spill: Path | None = None,
        tokens_per_batch: int | None = None,
    ) -> None:
        self.skeleton = skeleton
        self.found = found
        self.windows = windows
        count, length = windows.shape
        step = max(1, (tokens_per_batch or TOKENS_PER_BATCH[skeleton.device.type]) // length)
        self._spans = [(start, min(start + step, count)) for start in range(0, count, step)]
        self._calls: list[list[Call]] = []
        self._hidden: Activations
        pool = CallPool()
        for start, stop in self._spans:
            hidden, calls = capture(skeleton, found, windows[start:stop].to(skeleton.device))
            if start == 0:
                self._hidden = Activations((count, length, hidden.shape[-1]), hidden.dtype, budget, spill)
            self._hidden.write(start, stop, hidden)
            self._calls.append([pool.intern(call) for call in calls])

    def _batches(self) -> Iterator[tuple[int, int, list[Call], Tensor]]:
        for (start, stop), calls in zip(self._spans, self._calls, strict=True):
            yield start, stop, calls, self._hidden.read(start, stop, self.skeleton.device)

    @torch.no_grad()
    def advance(self, block: Block, module: nn.Module) -> None:
        """Replace the hidden states by the block's output."""
        for start, stop, calls, hidden in self._batches():
            self._hidden.write(start, stop, calls[block.index](module, hidden))

    @torch.no_grad()
    def observe(self, block: Block, module: nn.Module, statistics: dict[str, Gram | InputNorms]) -> None:
        """Add the inputs of some linears over all windows to their statistics; hidden states stay as they are.

        statistics: linear -> what to update, one linear per shared input, in the order they run.
        """
        last = list(statistics)[-1]

        def watch(name: str) -> Any:
            def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
                statistics[name].update(args[0].reshape(-1, args[0].shape[-1]))
                if name == last:
                    raise _Enough

            return module.get_submodule(name).register_forward_pre_hook(hook)

        hooks = [watch(name) for name in statistics]
        try:
            for _, _, calls, hidden in self._batches():
                with suppress(_Enough):
                    calls[block.index](module, hidden)
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def logits(self, tokens_at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """After the last block, batch by batch: ids (windows, tokens) and logits (windows, tokens, vocabulary)."""
        step = max(1, tokens_at_once // self.windows.shape[1])
        for start in range(0, len(self.windows), step):
            ids = self.windows[start : start + step].to(self.skeleton.device)
            hidden = self._hidden.read(start, start + len(ids), self.skeleton.device)
            yield ids, logits(self.skeleton, self.found, ids, hidden)
