"""One-time keys on disk, each handed out once (SPEC sections 6.4, 7 and 11).

The file is rewritten without a prekey and those before it, durably, before its secret is handed out: after a crash at
any moment a prekey is still there, or gone for good, and never handed out twice.  Putting back an older copy of the
file would undo that; what went back while it was open is noticed here, and whoever keeps `next_index` elsewhere can
notice the rest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from filelock import FileLock, Timeout

from fedspallm_secure.crypto.key_records import PREKEYS_HELD_LIMIT, PrekeySecret, PrekeySecrets, Purpose, prekeys_from
from fedspallm_secure.crypto.keyfiles import lock
from fedspallm_secure.crypto.passwords import Password, PasswordKey
from fedspallm_secure.errors import KeyStoreError, LimitExceeded, PrekeysExhausted, RolledBack, RunLocked
from fedspallm_secure.protocol.limits import PREKEYS_LEAVES_LIMIT
from fedspallm_secure.storage.files import disk_errors, replace_private
from fedspallm_secure.storage.keystore import create_key_file, open_key_file

LOCK_WAIT = 10.0  # seconds that one process waits for another to burn a prekey
_ORDER = "prekeys are used in the order of their indices, each once; a lost one is made up for by a later one"
_NEVER = "whoever named it has an older or newer bundle than this file; publish the bundle again"
_OLDER = "never use an older copy of this file: make new prekeys with fedprune certs prekeys"
_FULL = "use up the prekeys that are there first"
_BUNDLE = "that is what a bundle holds"


class PrekeyFile:
    """The prekeys that a member has not used yet.  Every call reads the file anew, for other processes use it too."""

    def __init__(self, path: Path, owner: str, password_key: PasswordKey, seen: int) -> None:
        self._path = path
        self._owner = owner
        self._password_key = password_key
        self._seen = seen  # the next index, as last read: it never goes down

    @classmethod
    def create(cls, path: Path, owner: str, count: int, first: int, password_key: PasswordKey) -> "PrekeyFile":
        """Make `count` prekeys with the indices from `first` on, and their file.

        Raises KeyFileExists, LimitExceeded, RunLocked, DiskFull or StorageError.
        """
        _check_count(count)
        record = PrekeySecrets(first, tuple(prekeys_from(first, count)))
        create_key_file(path, Purpose.PREKEYS, owner, record, password_key)
        return cls(path, owner, password_key, first)

    @classmethod
    def open(cls, path: Path, secret: Password | PasswordKey, owner: str) -> "PrekeyFile":
        """Open the file of `owner`.  Raises what `keystore.open_key_file` raises."""
        record, password_key = open_key_file(path, secret, Purpose.PREKEYS, owner)
        return cls(path, owner, password_key, cast(PrekeySecrets, record).next)

    def next_index(self) -> int:
        """The index that `burn` takes next."""
        return self._read().next

    def remaining(self) -> int:
        """How many prekeys are left."""
        return len(self._read().keys)

    def public_leaves(self, first: int | None = None) -> list[bytes]:
        """What is published of the prekeys that are left, from index `first` on: 1248 bytes each, in order."""
        record = self._read()
        return [key.leaf for key in record.keys if first is None or key.index >= first]

    def look(self, index: int) -> PrekeySecret:
        """Prekey `index`, which stays: for whoever keeps it elsewhere, durably, before it is burned.

        Raises KeyStoreError for one that is not there.
        """
        record = self._read()
        if not record.next <= index < record.end:
            raise KeyStoreError(f"prekey {index} is not there; those left are {record.next} to {record.end - 1}")
        return record.keys[index - record.next]

    def burn(self, index: int) -> PrekeySecret:
        """Use up prekey `index` and all those before it, and hand out its secret.

        Raises PrekeysExhausted where none is left; KeyStoreError for one that was used up before or was never made;
        RunLocked, DiskFull or StorageError, after which prekeys may be lost but none was handed out.
        """
        with self._held():
            record = self._read()
            if index < record.next:
                raise KeyStoreError(f"prekey {index} was used up before; the next one is {record.next}", hint=_ORDER)
            if not record.keys:
                raise PrekeysExhausted(f"{self._path} holds no prekey any more")
            if index >= record.end:
                raise KeyStoreError(f"prekey {index} was never made; the last one is {record.end - 1}", hint=_NEVER)
            place = index - record.next
            self._write(PrekeySecrets(index + 1, record.keys[place + 1 :]))
            return record.keys[place]

    def extend(self, count: int) -> int:
        """Add `count` prekeys, whose indices go on where the last ones ended; returns the first new index.

        Raises LimitExceeded, RunLocked, DiskFull or StorageError.
        """
        _check_count(count)
        with self._held():
            record = self._read()
            if len(record.keys) + count > PREKEYS_HELD_LIMIT:
                raise LimitExceeded(f"{self._path} would hold more than {PREKEYS_HELD_LIMIT} prekeys", hint=_FULL)
            self._write(PrekeySecrets(record.next, (*record.keys, *prekeys_from(record.end, count))))
            return record.end

    def _read(self) -> PrekeySecrets:
        record = cast(PrekeySecrets, open_key_file(self._path, self._password_key, Purpose.PREKEYS, self._owner)[0])
        if record.next < self._seen:
            raise RolledBack(f"{self._path} was put back from prekey {self._seen} to prekey {record.next}", hint=_OLDER)
        self._seen = record.next
        return record

    def _write(self, record: PrekeySecrets) -> None:
        replace_private(self._path, lock(Purpose.PREKEYS, self._owner, record, self._password_key))
        self._seen = record.next

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other processes from writing the file; the lock is beside it, for the file itself is replaced."""
        held = FileLock(self._path.with_name(f".{self._path.name}.lock"), mode=0o600)
        with disk_errors(self._path):
            try:
                held.acquire(timeout=LOCK_WAIT)
            except Timeout:
                raise RunLocked(f"another process is using {self._path}") from None
        try:
            yield
        finally:
            held.release()


def _check_count(count: int) -> None:
    if not 1 <= count <= PREKEYS_LEAVES_LIMIT:
        raise LimitExceeded(f"prekeys are made 1 to {PREKEYS_LEAVES_LIMIT} at a time, not {count}", hint=_BUNDLE)
