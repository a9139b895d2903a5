"""Driving batches of windows through one block after another: observe a block's inputs, then move on."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedspallm_secure.app.ranks import ALONE, Ranks
from fedspallm_secure.app.walking.activations import DEFAULT_BUDGET, Activations
from fedspallm_secure.app.walking.capture import Call, CallPool, Probe, capture, logits
from fedspallm_secure.app.walking.footprint import batch_windows
from fedspallm_secure.app.walking.skeleton import Block, Skeleton
from fedspallm_secure.pruning.statistics import Gram, InputNorms


class _Enough(Exception):
    """The last wanted input has been seen; the rest of the block need not run."""


class Walk:
    """Hidden states of a set of windows on their way through the decoder.

    windows: (windows, tokens) int64.  Memory: one batch, one block, and hidden states up to `budget` bytes (the rest
    lies on disk in `spill`).  The batches are the same on every run, so results are too.  ranks: who shares the work;
    batch i is walked by rank i mod size, so that all are busy while statistics are added in the order of the batches.
    reserve: bytes of a GPU that hidden states leave free.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        found: Probe,
        windows: Tensor,
        budget: int = DEFAULT_BUDGET,
        spill: Path | None = None,
        tokens_per_batch: int | None = None,
        ranks: Ranks = ALONE,
        reserve: int = 0,
    ) -> None:
        self.skeleton = skeleton
        self.found = found
        self.windows = windows
        count, length = windows.shape
        step = batch_windows(skeleton.device, length, tokens_per_batch)
        self._spans = [(start, min(start + step, count)) for start in range(0, count, step)]
        self._ranks = ranks
        self._places: list[tuple[int, int]] = []  # of this rank's batches among its hidden states
        self._calls: list[list[Call]] = []
        self._hidden: Activations
        pool = CallPool()
        mine = self._spans[ranks.rank :: ranks.size]
        held = sum(stop - start for start, stop in mine)
        place = 0
        for start, stop in mine:
            hidden, calls = capture(skeleton, found, windows[start:stop].to(skeleton.device))
            if place == 0:
                shape = (held, length, hidden.shape[-1])
                self._hidden = Activations(shape, hidden.dtype, budget, spill, skeleton.device, reserve)
            self._places.append((place, place + stop - start))
            self._hidden.write(*self._places[-1], hidden)
            self._calls.append([pool.intern(call) for call in calls])
            place += stop - start

    def _batches(self) -> Iterator[tuple[int, int, list[Call], Tensor]]:
        for (start, stop), calls in zip(self._places, self._calls, strict=True):
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
        tokens: list[int] = []  # of the batches that the ranks have in hand, one each

        def watch(name: str) -> Any:
            def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
                self._add(statistics[name], args[0].reshape(-1, args[0].shape[-1]), tokens)
                if name == last:
                    raise _Enough

            return module.get_submodule(name).register_forward_pre_hook(hook)

        hooks = [watch(name) for name in statistics]
        mine = self._batches()
        try:
            for first in range(0, len(self._spans), self._ranks.size):
                spans = self._spans[first : first + self._ranks.size]
                tokens[:] = [(stop - start) * self.windows.shape[1] for start, stop in spans]
                if self._ranks.rank < len(spans):
                    _, _, calls, hidden = next(mine)
                    with suppress(_Enough):
                        calls[block.index](module, hidden)
                else:  # no batch is left for this rank; it still takes in those of the others
                    for statistic in statistics.values():
                        self._add(statistic, None, tokens)
        finally:
            for hook in hooks:
                hook.remove()

    def _add(self, statistic: Gram | InputNorms, x: Tensor | None, tokens: list[int]) -> None:
        """Add one batch of each rank that has one, in the order of the batches.  x: this rank's, (tokens, in)."""
        part = None if x is None else statistic.part(x)
        for source, count in enumerate(tokens):
            blank = partial(statistic.blank_part, count, self.skeleton.dtype)
            statistic.add(self._ranks.spread(source, part, blank), count)

    @torch.no_grad()
    def logits(self, tokens_at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """After the last block, batch by batch: ids (windows, tokens) and logits (windows, tokens, vocabulary).

        Only of a walk that is not shared.
        """
        step = max(1, tokens_at_once // self.windows.shape[1])
        for start in range(0, len(self.windows), step):
            ids = self.windows[start : start + step].to(self.skeleton.device)
            hidden = self._hidden.read(start, start + len(ids), self.skeleton.device)
            yield ids, logits(self.skeleton, self.found, ids, hidden)
