"""Packages that never touch a disk: what files, drafts, registers and prekey files are, in the memory of one process.

A package is made and read by the same code as one on a disk (`package_writer`, `package_reader`), so what is shown of
one holds for the other.  Only what disks add is missing here: names, links, durability and other processes.
"""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from threading import Lock

from fedspallm_secure.crypto.key_records import PREKEYS_HELD_LIMIT, PrekeySecret, prekeys_from
from fedspallm_secure.errors import (
    InputError,
    KeyStoreError,
    LimitExceeded,
    OutOfMemory,
    PrekeysExhausted,
    RecordDamaged,
    Truncated,
)
from fedspallm_secure.protocol.limits import PREKEYS_LEAVES_LIMIT
from fedspallm_secure.protocol.packages import Head
from fedspallm_secure.protocol.receiving import Known, Slot, check_first
from fedspallm_secure.storage.package_reader import PACKAGE_LIMIT, PackageReader
from fedspallm_secure.storage.register import Received

Buffer = bytes | bytearray | memoryview
_HERE = "the package"
_ON_DISK = "seal from a file into a file, which takes a few MiB of memory"
_ORDER = "prekeys are used in the order of their indices, each once; a lost one is made up for by a later one"
_NEVER = "whoever named it has an older or newer bundle than this file; publish the bundle again"
_FULL = "use up the prekeys that are there first"
_BUNDLE = "that is what a bundle holds"


class MemoryPlaintext:
    """What is sealed, in one or several buffers that need not be joined.  length: bytes of all of them."""

    def __init__(self, *pieces: Buffer, name: str = "the plaintext") -> None:
        self._pieces = [memoryview(piece).cast("B") for piece in reversed(pieces)]  # the next one stands last
        self.length = sum(piece.nbytes for piece in self._pieces)
        self.name = name

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer`.  Raises InputError when there is less."""
        filled = 0
        while filled < len(buffer):
            if not self._pieces:
                raise InputError(f"{self.name} is shorter than it was said to be")
            piece = self._pieces.pop()
            count = min(len(piece), len(buffer) - filled)
            buffer[filled : filled + count] = piece[:count]
            filled += count
            if count < len(piece):
                self._pieces.append(piece[count:])

    def check_finished(self) -> None:
        """Raise InputError when something is left."""
        if any(map(len, self._pieces)):
            raise InputError(f"{self.name} is longer than it was said to be")


class MemoryDraft:
    """A package that is being made."""

    def __init__(self) -> None:
        self._file = BytesIO()  # its bytes are handed out without a copy, those of a bytearray are not

    def check_room(self, size: int) -> None:
        """Take the memory for `size` bytes now, and not piece by piece.  Raises OutOfMemory."""
        try:
            self._file = BytesIO(bytes(size))
        except (MemoryError, OverflowError):
            raise OutOfMemory(f"{_HERE} needs {size} bytes of memory", hint=_ON_DISK) from None

    def write(self, data: memoryview | bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        self._file.seek(offset)
        self._file.write(data)

    def finish(self) -> bytes:
        """All that was written."""
        return self._file.getvalue()


class MemoryPackage:
    """A package that arrived in memory, read once.  size: bytes."""

    def __init__(self, data: Buffer) -> None:
        self._left = memoryview(data).cast("B")
        self.size = self._left.nbytes
        self.name = _HERE

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes; for small parts.  Raises Truncated."""
        return bytes(self._next(size))

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` with a copy: whoever holds the memory may change it meanwhile.  Raises Truncated."""
        buffer[:] = self._next(len(buffer))

    def at_end(self) -> bool:
        """Whether nothing follows what was read so far."""
        return not self._left

    def _next(self, size: int) -> memoryview:
        if len(self._left) < size:
            raise Truncated(f"{_HERE} ends too early")
        found, self._left = self._left[:size], self._left[size:]
        return found


def read_package(data: Buffer) -> PackageReader:
    """Step 1, of which only the limit is left, and steps 3 and 4.  Raises LimitExceeded or PackageFormatError."""
    found = MemoryPackage(data)
    if found.size > PACKAGE_LIMIT:
        raise LimitExceeded(f"{_HERE} has {found.size} bytes; at most {PACKAGE_LIMIT} are allowed")
    return PackageReader(found)


class MemoryRegister:
    """What one party has received and how far it has counted, for as long as the process lives.

    It answers as `SqliteRegister` does.  Several threads may use it.
    """

    def __init__(self) -> None:
        self._rows: dict[Slot, Received] = {}
        self._sequence = 0
        self._lock = Lock()

    def find(self, slot: Slot) -> Known | None:
        """What fills the slot; None if it is free."""
        row = self.received(slot)
        return None if row is None else Known(row.digest, row.published)

    def received(self, slot: Slot) -> Received | None:
        """The whole row of the slot."""
        return self._rows.get(slot)

    def fill(self, head: Head, output: str, at: int) -> None:
        """Fill the slot of a verified package.  Filling it again for the same package notes the new output.

        Raises ReplayedPackage or Equivocation when another thread has filled the slot since step 8.
        """
        with self._lock:
            check_first(head, self)
            row = Received(head.digest, head.encoded, head.signature, output, at, published=False)
            self._rows[Slot.of(head.context)] = row

    def publish(self, head: Head, give_name: Callable[[], object] = lambda: None) -> None:
        """Call `give_name` and mark the filled slot, alone with the register: of several threads one does it.

        Raises ReplayedPackage when another thread has done so, RecordDamaged for a slot that was not filled, and what
        `give_name` raises.
        """
        slot = Slot.of(head.context)
        with self._lock:
            check_first(head, self)
            give_name()
            if slot not in self._rows:
                raise RecordDamaged(f"{_HERE} was not noted before it was published")
            self._rows[slot] = replace(self._rows[slot], published=True)

    def empty(self, head: Head, output: str) -> None:
        """Make the slot free again that was filled for `output`, unless it is marked."""
        slot = Slot.of(head.context)
        with self._lock:
            row = self._rows.get(slot)
            if row is not None and row.output == output and not row.published:
                del self._rows[slot]

    def next_sequence(self) -> int:
        """Use up and return the next sequence number, from 1.  A number that was returned never comes again."""
        with self._lock:
            self._sequence += 1
            return self._sequence


class MemoryPrekeys:
    """One-time keys of a member, each handed out once; it answers as `storage.prekeys.PrekeyFile` does."""

    def __init__(self, count: int, first: int = 0) -> None:
        """Make `count` prekeys with the indices from `first` on.  Raises LimitExceeded."""
        _check_count(count)
        self._keys = list(reversed(prekeys_from(first, count)))  # the next one stands last
        self._end = first + count

    def next_index(self) -> int:
        """The index that `burn` takes next."""
        return self._end - len(self._keys)

    def remaining(self) -> int:
        """How many prekeys are left."""
        return len(self._keys)

    def public_leaves(self, first: int | None = None) -> list[bytes]:
        """What is published of the prekeys that are left, from index `first` on: 1248 bytes each, in order."""
        return [key.leaf for key in reversed(self._keys) if first is None or key.index >= first]

    def burn(self, index: int) -> PrekeySecret:
        """Use up prekey `index` and all those before it, and hand out its secret.

        Raises PrekeysExhausted where none is left; KeyStoreError for one that was used up before or was never made.
        """
        following = self.next_index()
        if index < following:
            raise KeyStoreError(f"prekey {index} was used up before; the next one is {following}", hint=_ORDER)
        if not self._keys:
            raise PrekeysExhausted("the member holds no prekey any more")
        if index >= self._end:
            raise KeyStoreError(f"prekey {index} was never made; the last one is {self._end - 1}", hint=_NEVER)
        del self._keys[self._end - index :]
        return self._keys.pop()

    def extend(self, count: int) -> int:
        """Add `count` prekeys, whose indices go on; returns the first new index.  Raises LimitExceeded."""
        _check_count(count)
        if len(self._keys) + count > PREKEYS_HELD_LIMIT:
            raise LimitExceeded(f"a member holds at most {PREKEYS_HELD_LIMIT} prekeys", hint=_FULL)
        first = self._end
        self._keys[:0] = reversed(prekeys_from(first, count))
        self._end += count
        return first


def _check_count(count: int) -> None:
    if not 1 <= count <= PREKEYS_LEAVES_LIMIT:
        raise LimitExceeded(f"prekeys are made 1 to {PREKEYS_LEAVES_LIMIT} at a time, not {count}", hint=_BUNDLE)
