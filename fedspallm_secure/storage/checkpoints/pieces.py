"""Tensors of safetensors files, read in pieces: for whoever must not hold a whole matrix in memory.

The library hands out whole tensors, or maps the file, which counts as memory of the process as well.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from fedspallm_secure.errors import ForeignFile
from fedspallm_secure.storage.checkpoints.layout import LENGTH, Span, head_size, tensor_spans

DTYPES: Final = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}  # of weights
_READ: Final = {**DTYPES, "I64": torch.int64}
_PIECE: Final = 1 << 19  # elements


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies.  begin: its first byte in the file.

    What has another dtype than weights and int64 counts as so many bytes: uint8, of one dimension.
    """

    path: Path
    begin: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def read(self, start: int, stop: int) -> Tensor:
        """Its elements from `start` up to `stop`, in row-major order, on the CPU: (stop - start,).

        Raises ForeignFile when the file is not there or shorter than it was.
        """
        piece = torch.empty(stop - start, dtype=self.dtype)
        with self._opened() as file:
            self._fill(file, piece, start)
        return piece

    def read_columns(self, start: int, stop: int) -> Tensor:
        """Of a matrix, the columns from `start` up to `stop`: (rows, stop - start).  Raises as `read`."""
        rows, columns = self.shape
        piece = torch.empty(rows, stop - start, dtype=self.dtype)
        with self._opened() as file:
            for row in range(rows):
                self._fill(file, piece[row], row * columns + start)
        return piece

    def pieces(self) -> Iterator[Tensor]:
        """All its elements, in row-major order, some after the other.  Raises as `read`."""
        size = math.prod(self.shape)
        for start in range(0, size, _PIECE):
            yield self.read(start, min(start + _PIECE, size))

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise ForeignFile(f"cannot read {self.path}: {error.strerror or error}") from error

    def _fill(self, file: int, piece: Tensor, start: int) -> None:
        rest, offset = piece.view(torch.uint8).numpy().data, self.begin + start * self.dtype.itemsize
        while rest:
            count = os.preadv(file, [rest], offset)
            if count == 0:
                raise ForeignFile(f"{self.path} changed while it was in use")
            rest, offset = rest[count:], offset + count


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name.  Raises ForeignFile or LimitExceeded."""
    try:
        with path.open("rb") as file:
            start = file.read(LENGTH.size)
            head = start + file.read(head_size(start) - len(start))
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ForeignFile(f"cannot read {path}: {error.strerror or error}") from error
    return {span.name: _stored(path, len(head), span) for span in tensor_spans(head, size)}


def _stored(path: Path, head: int, span: Span) -> StoredTensor:
    dtype = _READ.get(span.dtype)
    if dtype is None:
        return StoredTensor(path, head + span.begin, torch.uint8, (span.nbytes,))
    return StoredTensor(path, head + span.begin, dtype, span.shape)
