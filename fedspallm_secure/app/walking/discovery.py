"""Finding the decoder blocks and the matrices in them, without a list of architectures.

Blocks are found by a vote; a tie or a contradiction is refused, never guessed.  Every parameter of a block with two
or more dimensions must be the weight of a linear layer, or the model is refused: nothing is skipped silently.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from fedspallm_secure.errors import AmbiguousBlocks, UnsupportedModel


@dataclass(frozen=True, slots=True)
class Linear:
    """One prunable matrix of a block.

    module: path inside the block, for example self_attn.q_proj; name: checkpoint name of the weight; shape: (out, in);
    transposed: stored as (in, out), as GPT-2's Conv1D does.
    """

    module: str
    name: str
    shape: tuple[int, int]
    transposed: bool

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]


def find_blocks(model: Any, chosen: str | None = None) -> tuple[str, nn.ModuleList]:
    """Return the path and the list of decoder blocks.  Raises AmbiguousBlocks.

    Candidates are the module lists inside the decoder.  They are judged by three votes: most parameters; all members
    mark themselves as decoder layers; as many members as the config says.  The winner needs at least two votes and more
    than any other.  `chosen`: a path such as model.layers that overrules the vote.
    """
    lists = {path: m for path, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) > 0}
    if chosen is not None:
        if chosen not in lists:
            raise AmbiguousBlocks(
                f"the model has no list of blocks at {chosen!r}; it has: {', '.join(lists) or 'none'}"
            )
        return chosen, lists[chosen]
    candidates = _inside_decoder(model, lists)
    if not candidates:
        raise AmbiguousBlocks("no list of decoder blocks was found in this model", hint="name it with --blocks PATH")
    sizes = {path: sum(p.numel() for p in m.parameters()) for path, m in candidates.items()}
    expected = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    votes = {
        path: (sizes[path] == max(sizes.values()))
        + all(isinstance(block, GradientCheckpointingLayer) for block in m)
        + (len(m) == expected)
        for path, m in candidates.items()
    }
    best = [path for path in votes if votes[path] == max(votes.values())]
    if len(best) != 1 or votes[best[0]] < 2:
        found = ", ".join(f"{path} ({len(candidates[path])} modules, {votes[path]} of 3 votes)" for path in candidates)
        raise AmbiguousBlocks(f"cannot tell which of these are the decoder blocks: {found}")
    return best[0], candidates[best[0]]


def _inside_decoder(model: Any, lists: dict[str, nn.ModuleList]) -> dict[str, nn.ModuleList]:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    inside = {id(m) for m in decoder.modules()} if isinstance(decoder, nn.Module) else set()
    outermost = {
        path: m
        for path, m in lists.items()
        if not any(path.startswith(f"{other}.") for other in lists)  # lists inside a block are not stacks of blocks
    }
    return {path: m for path, m in outermost.items() if id(m) in inside} or outermost


def find_linears(block: nn.Module, checkpoint_names: dict[str, str], label: str) -> list[Linear]:
    """List the matrices of one block, in definition order.

    checkpoint_names: parameter path inside the block -> tensor name on disk.  Raises UnsupportedModel, with the names,
    when any other parameter has two or more dimensions (fused experts, convolutions).
    """
    linears = []
    seen = set()
    for path, module in block.named_modules():
        weight = f"{path}.weight"
        if isinstance(module, Conv1D):
            rows, columns = module.weight.shape
            linears.append(Linear(path, checkpoint_names[weight], (columns, rows), transposed=True))
            seen.add(weight)
        elif isinstance(module, nn.Linear):
            rows, columns = module.weight.shape
            linears.append(Linear(path, checkpoint_names[weight], (rows, columns), transposed=False))
            seen.add(weight)
    left = [(name, p) for name, p in block.named_parameters() if p.dim() >= 2 and name not in seen]
    if left:
        names = ", ".join(f"{name} {tuple(p.shape)}" for name, p in left)
        share = sum(p.numel() for _, p in left) / sum(p.numel() for p in block.parameters())
        raise UnsupportedModel(
            f"{label} keeps {share:.0%} of its weights in parameters that are not linear layers: {names}",
            hint="fused experts (mixture of experts) and convolutions are not supported yet; they are refused "
            "rather than left dense",
        )
    if not linears:
        raise UnsupportedModel(f"{label} has no linear layers")
    return linears
