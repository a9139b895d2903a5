"""The published algorithms, run literally: what the rows P1 and P2 are measured against.

Written from the papers, SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774, algorithm 1) and Wanda (Sun et al. 2023,
arXiv 2306.11695, section 3), the way a research script does it: a plain transformers model in memory, one calibration
sample at a time, one statistic per linear layer even where layers share their input, one matrix after another, and two
forward passes per block, the first to observe the dense block and the second to hand on what the pruned one computes.
Nothing here is tuned, and nothing of it is imported by the library.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor, nn

BLOCK_SIZE = 128  # columns solved together, both papers' code and ours
DAMPING = 0.01  # share of the mean diagonal of the Hessian


class Method(Protocol):
    """One linear layer being observed and then pruned in place."""

    def add(self, sample: Tensor) -> None:
        """Take in the layer's input for one sample, (tokens, in)."""

    def prune(self, sparsity: float) -> None:
        """Zero the weights that go."""


class LiteralSparseGPT:
    """SparseGPT on one linear layer."""

    def __init__(self, linear: nn.Linear) -> None:
        self._linear = linear
        self._hessian = torch.zeros(linear.in_features, linear.in_features, device=linear.weight.device)
        self._samples = 0

    def add(self, sample: Tensor) -> None:
        """Running mean over samples of 2 x xT."""
        x = sample.float().t()  # (in, tokens)
        self._hessian *= self._samples / (self._samples + 1)
        self._samples += 1
        x = math.sqrt(2 / self._samples) * x
        self._hessian += x @ x.t()

    def prune(self, sparsity: float) -> None:
        """Algorithm 1 with a keep-mask chosen per block of columns, comparing w^2 / [H^-1]_jj with one threshold."""
        weight = self._linear.weight.detach().clone().float()
        upper = self._inverse_factor(weight)
        columns = weight.shape[1]
        for start in range(0, columns, BLOCK_SIZE):
            stop = min(start + BLOCK_SIZE, columns)
            solved, errors = _solve_block(weight[:, start:stop].clone(), upper[start:stop, start:stop], sparsity)
            weight[:, start:stop] = solved
            weight[:, stop:] -= errors @ upper[start:stop, stop:]
        self._linear.weight.data = weight.to(self._linear.weight.dtype)

    def _inverse_factor(self, weight: Tensor) -> Tensor:
        """Upper Cholesky factor of the damped inverse Hessian; zeroes the weights of dead inputs."""
        hessian = self._hessian
        dead = torch.diag(hessian) == 0
        hessian[dead, dead] = 1
        weight[:, dead] = 0
        every = torch.arange(len(hessian), device=hessian.device)
        hessian[every, every] += DAMPING * torch.mean(torch.diag(hessian))
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
        return torch.linalg.cholesky(inverse, upper=True)


def _solve_block(work: Tensor, upper: Tensor, sparsity: float) -> tuple[Tensor, Tensor]:
    """One block of columns: choose, then zero column by column and let the columns to the right make up for it.

    work: (out, columns); upper: (columns, columns).  Returns the solved block and the scaled errors, both like `work`.
    """
    scores = work**2 / torch.diag(upper).reshape(1, -1) ** 2
    threshold = torch.sort(scores.flatten())[0][int(scores.numel() * sparsity)]
    dropped = scores <= threshold
    solved = torch.zeros_like(work)
    errors = torch.zeros_like(work)
    for column in range(work.shape[1]):
        before = work[:, column]
        after = before.clone()
        after[dropped[:, column]] = 0
        solved[:, column] = after
        error = (before - after) / upper[column, column]
        work[:, column:] -= error.unsqueeze(1) @ upper[column, column:].unsqueeze(0)
        errors[:, column] = error
    return solved, errors


class LiteralWanda:
    """Wanda on one linear layer."""

    def __init__(self, linear: nn.Linear) -> None:
        self._linear = linear
        self._mean_square = torch.zeros(linear.in_features, device=linear.weight.device)
        self._samples = 0

    def add(self, sample: Tensor) -> None:
        """Running mean over samples of the squared norm of every input feature."""
        x = sample.float().t()  # (in, tokens)
        self._mean_square *= self._samples / (self._samples + 1)
        self._samples += 1
        self._mean_square += torch.norm(x, p=2, dim=1) ** 2 / self._samples

    def prune(self, sparsity: float) -> None:
        """Sort |W| * norm in every output row and drop the first share."""
        weight = self._linear.weight.data
        metric = weight.abs() * torch.sqrt(self._mean_square.reshape(1, -1))
        order = torch.sort(metric, dim=-1, stable=True)[1]
        dropped = torch.zeros_like(metric, dtype=torch.bool)
        dropped.scatter_(1, order[:, : int(metric.shape[1] * sparsity)], True)
        weight[dropped] = 0


class _Caught(Exception):
    """The first block has been called; the rest of the model need not run."""


class _Catcher(nn.Module):
    """Stands in for the first block and keeps what it is called with."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.hidden: list[Tensor] = []
        self.kwargs: dict[str, Any] = {}

    def forward(self, hidden: Tensor, **kwargs: Any) -> None:
        """Note the call and stop."""
        self.hidden.append(hidden)
        self.kwargs = kwargs
        raise _Caught


def _first_inputs(model: Any, windows: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Hidden states that reach the first block, (windows, tokens, width), and its other arguments."""
    layers = model.model.layers
    catcher = _Catcher(layers[0])
    layers[0] = catcher
    for window in windows:
        with suppress(_Caught):
            model(window.unsqueeze(0), use_cache=False)
    layers[0] = catcher.block
    return torch.cat(catcher.hidden), catcher.kwargs


@torch.no_grad()
def prune(
    model: Any,
    windows: Tensor,
    method: Callable[[nn.Linear], Method],
    sparsity: float,
    blocks: int | None = None,
) -> None:
    """Prune a Llama-style model in place, block by block.

    windows: (windows, tokens) ids.  blocks: stop when so many blocks are pruned, before the second forward pass of the
    last one, whose output nobody needs; None goes through the whole model, two passes for each block, as published.
    """
    inputs, kwargs = _first_inputs(model, windows)
    outputs = torch.zeros_like(inputs)
    for index, block in enumerate(model.model.layers):
        linears = [part for part in block.modules() if isinstance(part, nn.Linear)]
        observed = [(linear, method(linear)) for linear in linears]
        hooks = [linear.register_forward_hook(_recorder(one)) for linear, one in observed]
        for sample in range(len(inputs)):
            outputs[sample] = _run(block, inputs[sample], kwargs)
        for hook in hooks:
            hook.remove()
        for _, one in observed:
            one.prune(sparsity)
        if index + 1 == blocks:
            return
        for sample in range(len(inputs)):
            outputs[sample] = _run(block, inputs[sample], kwargs)
        inputs, outputs = outputs, inputs


def _recorder(one: Method) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        one.add(inputs[0].reshape(-1, inputs[0].shape[-1]))

    return hook


def _run(block: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """One sample, (tokens, width), through one block."""
    output = block(hidden.unsqueeze(0), **kwargs)
    result: Tensor = output[0] if isinstance(output, tuple) else output.squeeze(0)
    return result.view_as(hidden)


@torch.no_grad()
def perplexity(model: Any, windows: Tensor) -> float:
    """exp of the mean negative log-likelihood per predicted token.  windows: (windows, tokens) ids."""
    total = 0.0
    for window in windows:
        logits = model(window.unsqueeze(0), use_cache=False).logits[0, :-1].float()
        total += float(nn.functional.cross_entropy(logits, window[1:], reduction="sum"))
    return math.exp(total / (windows.numel() - len(windows)))
