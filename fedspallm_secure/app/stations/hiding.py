"""How far a member is with hiding a vector: masking or encrypting it, and then sealing it into a package."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from fedspallm_secure.app.progress import Progress, Silent
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.storage.memory import MemoryPlaintext

_STEP: Final = 1 << 20  # bytes between two words, each of which takes a lock or two


class Hiding:
    """The vector at hand, if there is one.  progress: where it is told.

    Every byte is done by half after masking or encryption, and wholly when it is sealed.
    """

    def __init__(self) -> None:
        self.progress: Progress = Silent()
        self._task = ""
        self._size = self._moved = self._told = 0  # bytes; moved: hidden and sealed, added up

    @contextmanager
    def of(self, group: GroupPlan, round: int) -> Iterator[None]:
        """Hide the vector of this group inside; it is over when this ends without an error, and not before."""
        self._task = f"masking and sealing layer {group.gid}, round {round}"
        self._size, self._moved = group.upload_size, 0
        self._tell(0)
        yield
        self._tell(self._size)

    def advance(self, count: int) -> None:
        """So many more bytes are hidden or sealed."""
        self._moved += count
        done = min(self._moved // 2, self._size - 1)  # a package holds a little more than its vector
        if done - self._told >= _STEP:
            self._tell(done)

    def sealing(self, parts: Sequence[Any]) -> "HiddenPlaintext":
        """The parts of a body, told as they are sealed."""
        return HiddenPlaintext(self, parts)

    def _tell(self, done: int) -> None:
        self._told = done
        self.progress.update(self._task, done, self._size, "bytes")


class HiddenPlaintext(MemoryPlaintext):
    """What is sealed, in several buffers, told as it is read."""

    def __init__(self, hiding: Hiding, parts: Sequence[Any]) -> None:
        super().__init__(*parts)
        self._hiding = hiding

    def read_into(self, buffer: memoryview) -> None:
        """As of `MemoryPlaintext`."""
        super().read_into(buffer)
        self._hiding.advance(len(buffer))
