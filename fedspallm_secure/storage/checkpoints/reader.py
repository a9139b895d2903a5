"""Reading a Hugging Face model folder: config.json plus safetensors, single file or sharded.

Nothing is unpickled: a folder with only pytorch_model.bin is refused.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedspallm_secure.errors import ForeignFile, MissingInput, UnsupportedModel
from fedspallm_secure.storage.checkpoints.layout import BITS
from fedspallm_secure.storage.checkpoints.pieces import DTYPES, StoredTensor, stored_tensors
from fedspallm_secure.storage.files import is_file, is_folder, read_json, sha256_file

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_WHOLE = "copy the whole model folder there; nothing is ever downloaded for you"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies and what it is.  dtype: safetensors' name, for example BF16."""

    shard: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def width(self) -> int:
        """Bytes per element."""
        return max(1, BITS[self.dtype] // 8)

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self.parameters * BITS[self.dtype] // 8


class Checkpoint:
    """A model folder opened for reading.  Tensors are read on demand; nothing stays in memory."""

    def __init__(self, path: Path, config: dict[str, Any], tensors: dict[str, TensorInfo]) -> None:
        self.path = path
        self.config = config
        self.tensors = tensors

    @classmethod
    def open(cls, path: Path) -> "Checkpoint":
        """Read the config and the headers.  Raises MissingInput, ForeignFile or UnsupportedModel."""
        if not is_folder(path):
            raise MissingInput(
                f"{path} is not a model folder",
                hint="give the folder that holds config.json; nothing is ever downloaded for you",
            )
        config = read_json(path / "config.json")
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            raise ForeignFile(f"{path / 'config.json'} is not a model configuration: it has no model_type")
        if "quantization_config" in config:
            raise UnsupportedModel(f"{path} is quantised; pruning needs the weights as bf16, fp16 or fp32")
        tensors: dict[str, TensorInfo] = {}
        for shard in _shards(path):
            for name, info in _headers(path, shard):
                if name in tensors:
                    raise ForeignFile(f"{path}: tensor {name} stands in two shards")
                tensors[name] = info
        _check_index(path, tensors)
        return cls(path, config, tensors)

    def read(self, name: str) -> Tensor:
        """Read one tensor, on the CPU, in the dtype of the file."""
        info = self.tensors[name]
        shard = self.path / info.shard
        try:
            with safe_open(shard, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ForeignFile(f"{shard} cannot be read as safetensors: {error}") from error
        if tuple(tensor.shape) != info.shape:
            raise ForeignFile(f"{shard} changed while it was in use")
        return tensor

    def stored(self, name: str) -> StoredTensor:
        """Where one tensor lies, for reading it in pieces.  Raises ForeignFile."""
        info = self.tensors[name]
        shard = self.path / info.shard
        found = stored_tensors(shard).get(name)
        if found is None or (found.dtype in DTYPES.values() and found.shape != info.shape):
            raise ForeignFile(f"{shard} changed while it was in use")
        return found

    def files(self) -> list[Path]:
        """The config and the weight shards, in name order."""
        return [self.path / name for name in sorted({"config.json", *(t.shard for t in self.tensors.values())})]

    def digest(self) -> str:
        """SHA-256 of the list of all of `digests`, hex: one for the whole model, whatever its folder is called."""
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self.digests().items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def digests(self) -> dict[str, str]:
        """SHA-256 of the config and of every shard, by file name."""
        return {file.name: sha256_file(file) for file in self.files()}


def _check_index(path: Path, tensors: dict[str, TensorInfo]) -> None:
    """Raise ForeignFile when the index promises a tensor that its shard does not hold."""
    if not is_file(path / INDEX):
        return
    for name, shard in read_json(path / INDEX)["weight_map"].items():
        if name not in tensors or tensors[name].shard != shard:
            raise ForeignFile(f"{path / INDEX} promises tensor {name} in {shard}, which does not hold it")


def _shards(path: Path) -> list[str]:
    if is_file(path / INDEX):
        index = read_json(path / INDEX)
        weight_map = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(weight_map, dict) or not weight_map:
            raise ForeignFile(f"{path / INDEX} has no weight_map")
        names = {str(name) for name in weight_map.values()}
        for name in names:
            if name != Path(name).name or not name.endswith(".safetensors") or not name.isprintable():
                raise ForeignFile(f"{path / INDEX} names {name!r}, which is not a plain safetensors file")
        return sorted(names)
    if is_file(path / SINGLE):
        return [SINGLE]
    if any(path.glob("*.bin")) or any(path.glob("*.pt")) or any(path.glob("*.pth")):
        raise ForeignFile(
            f"{path} holds pickled weights only, and nothing is ever unpickled here",
            hint="convert it to safetensors where you trust it: model.save_pretrained(DIR)",
        )
    raise MissingInput(f"{path} holds no {SINGLE} and no {INDEX}", hint=_WHOLE)


def _headers(path: Path, shard: str) -> Iterator[tuple[str, TensorInfo]]:
    try:
        with safe_open(path / shard, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                part = file.get_slice(name)
                if part.get_dtype() not in BITS:
                    raise ForeignFile(f"{path / shard}: tensor {name} has an unknown dtype, {part.get_dtype()}")
                yield name, TensorInfo(shard, part.get_dtype(), tuple(part.get_shape()))
    except FileNotFoundError as error:
        raise MissingInput(f"{path / shard} is missing", hint=_WHOLE) from error
    except (SafetensorError, OSError) as error:
        raise ForeignFile(f"{path / shard} cannot be read as safetensors: {error}") from error
