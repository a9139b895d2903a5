"""A model whose blocks stay on disk: embeddings, norms and head are resident, blocks are loaded one at a time."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key
from transformers.initialization import no_init_weights

from fedspallm_secure.app.memory import give_back
from fedspallm_secure.app.walking.discovery import Linear, find_blocks, find_linears
from fedspallm_secure.errors import CorruptWeights, ForeignFile, UnsupportedModel, UsageError
from fedspallm_secure.storage.checkpoints.reader import Checkpoint

_BUILDING: Final = Lock()  # building without weights changes torch for the whole process, and puts it back


@dataclass(frozen=True, slots=True)
class Block:
    """One decoder block.  names: parameter or buffer path inside the block -> tensor name on disk."""

    index: int
    path: str
    module: nn.Module
    names: Mapping[str, str]
    linears: tuple[Linear, ...]


class Skeleton:
    """The architecture of a checkpoint, ready to run, with its blocks empty until `loaded`.

    device, dtype: where and in what the forward pass computes.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, blocks: str | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.dtype = dtype
        self.model = build_empty(checkpoint)
        self._names = _checkpoint_names(self.model, checkpoint)
        path, modules = find_blocks(self.model, blocks)
        self.block_path = path
        self.blocks = [self._describe(index, f"{path}.{index}", module) for index, module in enumerate(modules)]
        self._load_rest(f"{path}.")

    @property
    def vocabulary(self) -> int:
        """Rows of the input embedding: token ids must lie below this."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def max_length(self) -> int:
        """The longest sequence the config allows, in tokens."""
        config = self.model.config.get_text_config(decoder=True)
        return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2048)

    def _describe(self, index: int, path: str, module: nn.Module) -> Block:
        names = {key: self._names[f"{path}.{key}"] for key in module.state_dict() if f"{path}.{key}" in self._names}
        missing = [f"{path}.{key}" for key in module.state_dict() if key not in names]
        if missing:
            raise ForeignFile(f"{self.checkpoint.path} lacks the tensors {', '.join(missing[:4])} of its architecture")
        return Block(index, path, module, names, tuple(find_linears(module, names, f"block {index}")))

    def _load_rest(self, blocks: str) -> None:
        tied = dict(getattr(self.model, "all_tied_weights_keys", None) or {})
        for key in self.model.state_dict():
            if key.startswith(blocks):
                continue
            if key in self._names:
                _assign(self.model, key, self._read(self._names[key]))
            elif key not in tied:
                raise ForeignFile(f"{self.checkpoint.path} lacks the tensor {key} of its architecture")
        for target, source in tied.items():
            if target not in self._names:
                _assign(self.model, target, self.model.get_parameter(source))
        for name, buffer in list(self.model.named_buffers()):
            if buffer.device != self.device:
                _assign(self.model, name, buffer.to(self.device))

    def _read(self, name: str) -> Tensor:
        tensor = self.checkpoint.read(name)
        if self.device.type == "cuda":
            tensor = tensor.to(self.device)  # which checks and converts faster
        if tensor.is_floating_point():
            if not bool(torch.isfinite(tensor).all()):
                raise CorruptWeights(f"tensor {name} in {self.checkpoint.path} holds NaN or infinite values")
            tensor = tensor.to(self.dtype)
        return tensor.to(self.device)

    @contextmanager
    def loaded(self, block: Block, replaced: Mapping[str, Tensor] | None = None) -> Iterator[nn.Module]:
        """Yield the block's module with its weights in place; they are gone afterwards.

        replaced: checkpoint name -> tensor as on disk, taken instead of what the checkpoint holds.
        Raises CorruptWeights when a weight is NaN or infinite.
        """
        replaced = replaced or {}
        try:
            for key, name in block.names.items():
                if name not in replaced:
                    _assign(block.module, key, self._read(name))
            self.place(block, replaced)
            yield block.module
        finally:
            for key in block.names:
                _assign(block.module, key, _owner_tensor(block.module, key).to("meta"))
            give_back()

    def place(self, block: Block, tensors: Mapping[str, Tensor]) -> None:
        """Put tensors, by checkpoint name and as on disk, into a loaded block."""
        for key, name in block.names.items():
            if name in tensors:
                _assign(block.module, key, tensors[name].to(self.device, self.dtype))


def build_empty(checkpoint: Checkpoint) -> Any:
    """The checkpoint's causal language model in evaluation mode: parameters on `meta`, buffers real.

    Raises UnsupportedModel when the installed transformers cannot build it without running downloaded code.
    """
    with _BUILDING, _quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)
            with init_empty_weights(include_buffers=False), no_init_weights():
                model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        except Exception as error:  # third-party constructors raise anything
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UnsupportedModel(f"transformers cannot build {checkpoint.path}: {reason}") from error
    model.config.use_cache = False
    return model.eval()


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep remarks about unused token ids off the terminal."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _checkpoint_names(model: Any, checkpoint: Checkpoint) -> dict[str, str]:
    """Parameter path in the model -> tensor name on disk, by transformers' own renaming rules.

    Raises UnsupportedModel where loading would merge or split tensors: then a keep-mask has no single home on disk.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
    converters = [t for t in transforms if not isinstance(t, WeightRenaming)]
    expected = model.state_dict()
    names: dict[str, str] = {}
    merged: dict[str, int] = {}
    for name in checkpoint.tensors:
        key, converter = rename_source_key(name, renamings, converters, model.base_model_prefix, expected)
        if converter is not None:
            merged[key] = merged.get(key, 0) + 1
        elif key in expected:
            names[key] = name
    if merged:
        raise UnsupportedModel(
            f"loading this model merges or splits {sum(merged.values())} tensors into fused parameters: "
            f"{_listed(merged)}",
            hint="fused experts (mixture of experts) are not supported yet; they are refused rather than left dense",
        )
    for key, name in names.items():
        if tuple(expected[key].shape) != checkpoint.tensors[name].shape:
            raise ForeignFile(
                f"tensor {name} has shape {checkpoint.tensors[name].shape}, "
                f"the config asks for {tuple(expected[key].shape)}"
            )
    return names


def _listed(names: Mapping[str, int], most: int = 6) -> str:
    shown = ", ".join(list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _owner_tensor(root: nn.Module, key: str) -> Tensor:
    path, _, leaf = key.rpartition(".")
    tensor: Tensor = getattr(root.get_submodule(path), leaf)
    return tensor


def _assign(root: nn.Module, key: str, tensor: Tensor) -> None:
    path, _, leaf = key.rpartition(".")
    owner = root.get_submodule(path)
    if leaf in owner._parameters:
        is_parameter = isinstance(tensor, nn.Parameter)
        owner._parameters[leaf] = tensor if is_parameter else nn.Parameter(tensor, requires_grad=False)  # type: ignore[assignment]
    else:
        owner._buffers[leaf] = tensor


def choose_device(name: str = "auto") -> torch.device:
    """CUDA if present, then MPS, then CPU; or what `name` says.  Raises UsageError where that is not there.

    A GPU is named with its number: what torch says of a GPU's memory it says only then.
    """
    backends: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if name == "auto":
        name = next((backend for backend, is_there in backends.items() if is_there()), "cpu")
    device = torch.device(name)
    if device.type in backends and not backends[device.type]():
        raise UsageError(
            f"torch {torch.__version__} finds no {device.type} device on this machine",
            hint="device auto takes what is there; for CUDA, torch has to be a build with CUDA",
        )
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else device
