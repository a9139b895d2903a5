"""Writing a model folder that `from_pretrained` loads: same tensor names, same dtypes, pruned values.

Shards are filled tensor by tensor up to a bound, so memory holds one shard, whatever the size of the model.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fedspallm_secure.errors import DiskFull, ForeignFile, StorageError
from fedspallm_secure.storage.checkpoints.reader import DTYPES, INDEX, SINGLE, Checkpoint
from fedspallm_secure.storage.files import atomic_folder, disk_errors, is_file, write_json

SHARD_BYTES = 1 << 30  # bytes of weights per shard, unless one tensor is larger
COMPANION_LIMIT = 64 << 20  # bytes
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "spiece.model",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
)


def write_model(
    source: Checkpoint,
    read: Callable[[str], Tensor],
    out: Path,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write `out` with every tensor of `source`, each taken from `read(name)` and cast to the dtype on file.

    Raises OutputExists, StorageError or DiskFull; `out` appears complete or not at all.
    """
    shards = plan_shards(source, shard_bytes)
    with atomic_folder(out) as folder:
        copy_companions(source.path, folder)
        weight_map = {}
        for number, names in enumerate(shards, start=1):
            shard = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            tensors = {name: _as_on_file(read(name), source, name) for name in names}
            save_tensors(folder / shard, tensors)
            weight_map.update(dict.fromkeys(names, shard))
        if len(shards) > 1:
            total = sum(info.nbytes for info in source.tensors.values())
            write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _as_on_file(tensor: Tensor, source: Checkpoint, name: str) -> Tensor:
    return tensor.to(DTYPES.get(source.tensors[name].dtype, tensor.dtype)).contiguous()


def plan_shards(source: Checkpoint, shard_bytes: int) -> list[list[str]]:
    """Group tensor names, in file order, into shards of at most `shard_bytes` (or one larger tensor)."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, info in source.tensors.items():
        if shards[-1] and filled + info.nbytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += info.nbytes
    return shards


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Save one safetensors file under `path`, translating what the disk says."""
    with disk_errors(path):
        try:
            save_file(tensors, path, metadata={"format": "pt", **(metadata or {})})
        except SafetensorError as error:
            # The library reports the operating system's error as text only.
            if "No space left" in str(error) or "File too large" in str(error) or "quota" in str(error):
                raise DiskFull(f"no space left while writing {path}") from error
            raise StorageError(f"cannot write {path}: {error}") from error


def copy_companions(source: Path, folder: Path) -> None:
    """Copy configuration and tokenizer files, by a fixed list of names.  Raises ForeignFile for absurd sizes."""
    for name in COMPANIONS:
        file = source / name
        if not is_file(file):
            continue
        if file.stat().st_size > COMPANION_LIMIT:
            raise ForeignFile(f"{file} is larger than {COMPANION_LIMIT >> 20} MiB")
        shutil.copyfile(file, folder / name)
        (folder / name).chmod(0o600)  # as the shards beside it
