"""What each block is called with, and how its output is used: recorded from the model itself, for every layer.

Recording layer 0's arguments and reusing them for all layers is wrong for models whose layers differ (sliding windows,
two rotary tables), so every block's own arguments are kept.  No block weight is needed for that: stand-ins record
the call and hand the hidden states through.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fedspallm_secure.app.walking.skeleton import Block, Skeleton
from fedspallm_secure.errors import UnsupportedModel

PROBE_TOKENS = 16
_PLAIN = (bool, int, float, str, type(None))


class _Enough(Exception):
    """Stops a forward pass once everything wanted from it has been seen."""


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of one block for one batch, besides the hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, module: nn.Module, hidden: Tensor) -> Tensor:
        """Run the block on (batch, tokens, width) and return the new hidden states."""
        output = module(hidden, *self.args, **self.kwargs)
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result


@dataclass(slots=True)
class Probe:
    """What one short forward pass through the real blocks showed.

    returns_tuple: per block, whether its output is a tuple; shared: per block, linears grouped by the input they
    read, groups and members in the order they ran.
    """

    returns_tuple: list[bool] = field(default_factory=list)
    shared: list[list[list[str]]] = field(default_factory=list)


@dataclass(slots=True)
class _Seen:
    """One block's part in the probe's forward pass."""

    hidden: Tensor
    call: Call
    output: Tensor | None = None
    returns_tuple: bool = False
    inputs: list[tuple[str, Tensor, int]] = field(default_factory=list)  # linear, input, version of the input


@torch.no_grad()
def probe(skeleton: Skeleton) -> Probe:
    """Run one short window through the real model, blocks loaded in turn, and learn how they are wired.

    Raises UnsupportedModel unless each block's input is exactly the previous block's output and its other arguments
    do not depend on hidden states: then, and only then, walking block by block computes what the model computes.
    """
    length = min(PROBE_TOKENS, skeleton.max_length)
    ids = torch.arange(length, device=skeleton.device).remainder(skeleton.vocabulary)[None]
    seen: list[_Seen] = []
    with _watched(skeleton, seen):
        skeleton.model(input_ids=ids, use_cache=False)
    if len(seen) != len(skeleton.blocks):
        raise UnsupportedModel(f"{len(seen)} of {len(skeleton.blocks)} blocks ran in a forward pass")
    found = Probe([part.returns_tuple for part in seen])
    for block, part in zip(skeleton.blocks, seen, strict=True):
        found.shared.append(_group_by_input(block, part))
        following = seen[block.index + 1].hidden if block.index + 1 < len(seen) else None
        if following is not None and (part.output is None or not torch.equal(part.output, following)):
            raise UnsupportedModel(f"the output of block {block.index} is not the input of block {block.index + 1}")
    _, calls = capture(skeleton, found, ids)
    for block, part, call in zip(skeleton.blocks, seen, calls, strict=True):
        if not (_same(part.call.args, call.args) and _same(part.call.kwargs, call.kwargs)):
            raise UnsupportedModel(f"block {block.index} takes arguments that depend on what earlier blocks computed")
    return found


@torch.no_grad()
def capture(skeleton: Skeleton, found: Probe, ids: Tensor) -> tuple[Tensor, list[Call]]:
    """Embed (batch, tokens) ids; return the first block's hidden states and every block's call."""
    calls: list[Call] = []
    first: list[Tensor] = []
    last = len(skeleton.blocks) - 1

    def stand_in(block: Block) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden, call = _split(block, args, kwargs)
            calls.append(call)
            if block.index == 0:
                first.append(hidden)
            if block.index == last:
                raise _Enough
            return (hidden,) if found.returns_tuple[block.index] else hidden

        return forward

    with _stand_ins(skeleton.blocks, stand_in):
        try:
            skeleton.model(input_ids=ids, use_cache=False)
        except _Enough:
            return first[0], calls
    raise UnsupportedModel("the last block did not run in a forward pass")


@torch.no_grad()
def logits(skeleton: Skeleton, found: Probe, ids: Tensor, hidden: Tensor) -> Tensor:
    """Finish a forward pass: from the last block's output (batch, tokens, width) to (batch, tokens, vocabulary)."""
    last = len(skeleton.blocks) - 1

    def stand_in(block: Block) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            value = hidden if block.index == last else _split(block, args, kwargs)[0]
            return (value,) if found.returns_tuple[block.index] else value

        return forward

    with _stand_ins(skeleton.blocks, stand_in):
        result: Tensor = skeleton.model(input_ids=ids, use_cache=False).logits
    return result


@contextmanager
def _stand_ins(blocks: Sequence[Block], make: Callable[[Block], Callable[..., Any]]) -> Iterator[None]:
    for block in blocks:
        block.module.forward = make(block)
    try:
        yield
    finally:
        for block in blocks:
            del block.module.forward  # uncovers the method of the class


@contextmanager
def _watched(skeleton: Skeleton, seen: list[_Seen]) -> Iterator[None]:
    """Load each block just before it runs, note what goes in and out, and unload it right after."""

    def wrap(block: Block) -> Callable[..., Any]:
        original = type(block.module).forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden, call = _split(block, args, kwargs)
            part = _Seen(hidden, call)
            seen.append(part)
            with skeleton.loaded(block) as module:
                hooks = [_note_input(module, linear.module, part) for linear in block.linears]
                output = original(module, *args, **kwargs)
                for hook in hooks:
                    hook.remove()
            part.returns_tuple = isinstance(output, tuple)
            part.output = output[0] if part.returns_tuple else output
            return output

        return forward

    with _stand_ins(skeleton.blocks, wrap):
        yield


def _note_input(module: nn.Module, name: str, part: _Seen) -> Any:
    def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
        part.inputs.append((name, args[0], args[0]._version))  # the reference keeps the memory from being reused

    return module.get_submodule(name).register_forward_pre_hook(hook)


def _group_by_input(block: Block, part: _Seen) -> list[list[str]]:
    """Group linears that read the very same memory, unchanged in between."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor, version in part.inputs:
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), version)
        groups.setdefault(key, []).append(name)
    ran = [name for name, _, _ in part.inputs]
    silent = [linear.module for linear in block.linears if ran.count(linear.module) != 1]
    if silent:
        raise UnsupportedModel(
            f"block {block.index}: {', '.join(silent)} did not run exactly once in a forward pass",
            hint="layers that run for some tokens only (mixture of experts) are not supported yet",
        )
    return list(groups.values())


def _split(block: Block, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    """Part the hidden states from the other arguments and check that those are plain data."""
    rest = dict(kwargs)
    if args:
        hidden, args = args[0], args[1:]
    else:
        hidden = rest.pop("hidden_states")
    for value in (*args, *rest.values()):
        if not _is_plain(value):
            raise UnsupportedModel(
                f"block {block.index} is handed a {type(value).__name__}, which blocks may share and change"
            )
    return hidden, Call(args, rest)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, (*_PLAIN, Tensor))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, (tuple, list)):
        return isinstance(other, type(one)) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


class CallPool:
    """Keeps equal arguments once: a model has a few attention masks and rotary tables, not one per layer and batch."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []

    def intern(self, call: Call) -> Call:
        """Return an equal call whose tensors are shared with earlier ones."""
        return Call(self._share(call.args), self._share(call.kwargs))

    def _share(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            for known in self._tensors:
                if known is value or (known.dtype == value.dtype and _same(known, value)):
                    return known
            self._tensors.append(value)
            return value
        if isinstance(value, (tuple, list)):
            return type(value)(self._share(item) for item in value)
        if isinstance(value, dict):
            return {key: self._share(item) for key, item in value.items()}
        return value
