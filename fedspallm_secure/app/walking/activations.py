"""Hidden states of all windows between two blocks: in memory up to a stated budget, on disk past it."""

import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedspallm_secure.storage.files import disk_errors

DEFAULT_BUDGET = 4 << 30  # bytes
_GPU_SHARE = 4  # one part in so many of the GPU's free memory


class Activations:
    """(windows, tokens, width) hidden states, read and written batch by batch.

    budget: bytes that may stay in memory; more than that goes to an unnamed file in `spill`, through one buffer of
    a batch, so memory does not grow with the number of windows.  device: where batches are computed; what may stay in
    memory stays there if it is a GPU with plenty of room beside `reserve` bytes, otherwise in main memory.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        budget: int = DEFAULT_BUDGET,
        spill: Path | None = None,
        device: torch.device | None = None,
        reserve: int = 0,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._row = shape[1] * shape[2] * dtype.itemsize  # bytes of one window
        self.spilled = shape[0] * self._row > budget
        self._memory: Tensor | None = None
        if self.spilled:
            self._folder = spill or Path(tempfile.gettempdir())
            with disk_errors(self._folder):
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            weakref.finalize(self, self._file.close)  # the file goes with the object, not at some later collection
        else:
            place = device if device is not None and _has_room(device, shape[0] * self._row, reserve) else None
            self._memory = torch.empty(shape, dtype=dtype, device=place)

    def read(self, start: int, stop: int, device: torch.device) -> Tensor:
        """Windows start..stop on `device`, (stop - start, tokens, width)."""
        if self._memory is not None:
            return self._memory[start:stop].to(device)
        batch = torch.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        view = _bytes(batch)
        with disk_errors(self._folder):
            done = 0
            while done < len(view):
                count = os.preadv(self._file.fileno(), [view[done:]], start * self._row + done)
                if count == 0:
                    raise OSError("the file with spilled activations ended early")
                done += count
        return batch.to(device)

    def write(self, start: int, stop: int, hidden: Tensor) -> None:
        """Replace windows start..stop.  Raises DiskFull when the spill file cannot grow."""
        if self._memory is not None:
            self._memory[start:stop] = hidden
            return
        view = _bytes(hidden.to("cpu", self.dtype).contiguous())
        with disk_errors(self._folder):
            done = 0
            while done < len(view):
                done += os.pwrite(self._file.fileno(), view[done:], start * self._row + done)


def _has_room(device: torch.device, size: int, reserve: int) -> bool:
    """Whether `size` bytes are a small part of what is free on a GPU, and of what this process may take of it.

    reserve: bytes that are to stay free beside them.
    """
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    fraction = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)(device)  # not in torch 2.6
    room = min(free, int(total * fraction) - torch.cuda.memory_reserved(device))
    return size <= min(room // _GPU_SHARE, room - reserve)


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor."""
    raw: Any = tensor.view(-1).view(torch.uint8).numpy()
    return memoryview(raw)
