"""Writing a model folder that `from_pretrained` loads: same tensor names, same dtypes, pruned values.

Tensors come in pieces, so memory holds one of those, whatever the size of the model.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from fedspallm_secure.errors import ForeignFile, RecordDamaged
from fedspallm_secure.storage.checkpoints.layout import build_head
from fedspallm_secure.storage.checkpoints.pieces import DTYPES
from fedspallm_secure.storage.checkpoints.reader import INDEX, SINGLE, Checkpoint, TensorInfo
from fedspallm_secure.storage.files import atomic_folder, disk_errors, is_file, write_json

SHARD_BYTES = 1 << 30  # bytes of weights per shard, unless one tensor is larger
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
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
    pieces: Callable[[str], Iterable[Tensor]],
    out: Path,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write `out` with every tensor of `source`: by name, its values in row-major order, cast to the dtype on file.

    Raises OutputExists, StorageError or DiskFull, RecordDamaged for too few or too many values; `out` appears complete
    or not at all.
    """
    shards = plan_shards(source, shard_bytes)
    with atomic_folder(out) as folder:
        copy_companions(source.path, folder)
        weight_map = {}
        for number, names in enumerate(shards, start=1):
            shard = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            _write_shard(folder / shard, [(name, source.tensors[name]) for name in names], pieces)
            weight_map.update(dict.fromkeys(names, shard))
        if len(shards) > 1:
            total = sum(info.nbytes for info in source.tensors.values())
            write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _write_shard(path: Path, tensors: list[tuple[str, TensorInfo]], pieces: Callable[[str], Iterable[Tensor]]) -> None:
    tensors = sorted(tensors, key=lambda item: -item[1].width)  # so that each begins at a multiple of its width
    with disk_errors(path), os.fdopen(os.open(path, _NEW, 0o600), "wb") as file:
        file.write(build_head([(name, info.dtype, info.shape) for name, info in tensors], {}))
        for name, info in tensors:
            end = file.tell() + info.nbytes
            for piece in pieces(name):
                values = piece.to(DTYPES.get(info.dtype, piece.dtype)).contiguous()
                file.write(values.reshape(-1).view(torch.uint8).numpy().data)
            if file.tell() != end:
                raise RecordDamaged(f"there are not as many values of {name} as it has room for")
        file.flush()
        os.fsync(file.fileno())


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
