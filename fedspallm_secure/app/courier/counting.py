"""Progress of copies, in MiB: told once per MiB at most, and once at the end."""

from fedspallm_secure.app.progress import Progress

_MEBIBYTE = 1 << 20


class Counter:
    """Counts bytes.  total: how many there will be; nothing is told where there are none."""

    def __init__(self, progress: Progress, task: str, total: int) -> None:
        self._progress, self._task, self._total = progress, task, total
        self._whole = -(-total // _MEBIBYTE)
        self._done = self._told = 0

    def __call__(self, count: int) -> None:
        """So many more were copied, or need not be."""
        before, self._done = self._done, self._done + count
        reached = self._whole if self._done >= self._total else self._done // _MEBIBYTE
        if reached > self._told and before < self._total:
            self._told = reached
            self._progress.update(self._task, reached, self._whole, "MiB")
