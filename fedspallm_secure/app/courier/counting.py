"""Progress of copies, in MiB, or in KiB where all is less than one MiB: told once per unit at most, and at the end."""

from fedspallm_secure.app.progress import Progress

_KIBIBYTE, _MEBIBYTE = 1 << 10, 1 << 20


class Counter:
    """Counts bytes.  total: how many there will be; nothing is told where there are none."""

    def __init__(self, progress: Progress, task: str, total: int) -> None:
        self._progress, self._task, self._total = progress, task, total
        self._size, self._unit = (_KIBIBYTE, "KiB") if total < _MEBIBYTE else (_MEBIBYTE, "MiB")
        self._whole = -(-total // self._size)
        self._done = self._told = 0

    def __call__(self, count: int) -> None:
        """So many more were copied, or need not be."""
        before, self._done = self._done, self._done + count
        reached = self._whole if self._done >= self._total else self._done // self._size
        if reached > self._told and before < self._total:
            self._told = reached
            self._progress.update(self._task, reached, self._whole, self._unit)
