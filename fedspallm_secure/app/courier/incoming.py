"""Packages as they lie on a medium, read as one stream: a package in several parts, or a piece of a larger file."""

from collections.abc import Sequence

from fedspallm_secure.errors import Truncated
from fedspallm_secure.storage.outside import OutsideFile
from fedspallm_secure.storage.package_reader import Incoming


class Joined:
    """A package in one or several files.  `storage.package_reader.Incoming`."""

    def __init__(self, files: Sequence[OutsideFile]) -> None:
        self.name = files[0].name
        self.size = sum(file.size for file in files)
        self._files = files
        self._left = [(file, file.size) for file in files]

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes; for small parts.  Raises Truncated."""
        buffer = bytearray(size)
        self.read_into(memoryview(buffer))
        return bytes(buffer)

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` with what comes next.  Raises Truncated when there is less."""
        while buffer:
            if not self._left:
                raise Truncated(f"{self.name} ends before the package does")
            file, left = self._left.pop(0)
            count = min(left, len(buffer))
            file.read_into(buffer[:count])
            buffer = buffer[count:]
            if left > count:
                self._left.insert(0, (file, left - count))

    def at_end(self) -> bool:
        """Whether nothing follows what was read so far, also nothing that was appended since it was opened."""
        return not self._left and all(file.at_end() for file in self._files)


class Slice:
    """A piece of an open file.  `storage.package_reader.Incoming`."""

    def __init__(self, file: OutsideFile, offset: int, size: int, name: str) -> None:
        self.name, self.size = name, size
        self._file, self._left = file, size
        file.seek(offset)

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes; for small parts.  Raises Truncated."""
        self._take(size)
        return self._file.read_exactly(size)

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` with what comes next.  Raises Truncated when there is less."""
        self._take(len(buffer))
        self._file.read_into(buffer)

    def at_end(self) -> bool:
        """Whether all of the piece was read."""
        return self._left == 0

    def _take(self, size: int) -> None:
        if size > self._left:
            raise Truncated(f"{self.name} ends before the package does")
        self._left -= size


class Recorded:
    """Passes reads on, and keeps what was read in small parts: all of a package that stands before its body."""

    def __init__(self, incoming: Incoming) -> None:
        self.name, self.size = incoming.name, incoming.size
        self.head = bytearray()
        self._incoming = incoming

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes.  Raises Truncated."""
        found = self._incoming.read_exactly(size)
        self.head += found
        return found

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` with what comes next.  Raises Truncated."""
        self._incoming.read_into(buffer)

    def at_end(self) -> bool:
        """Whether nothing follows what was read so far."""
        return self._incoming.at_end()
