"""Receipts: read from a member's home, handed to an auditor as files, and read back there (SPEC section 22.6)."""

from pathlib import Path
from typing import Final

from fedspallm_secure.app.service.watched import watch
from fedspallm_secure.errors import MissingInput
from fedspallm_secure.protocol.limits import RECEIPT_LIMIT
from fedspallm_secure.protocol.rounds.receipts import Receipt
from fedspallm_secure.protocol.rounds.records_member import ReceiptHeld, read_member_record
from fedspallm_secure.storage.documents import read_document, write_document
from fedspallm_secure.storage.files import disk_errors
from fedspallm_secure.storage.home_folder import REGISTER, read_identity
from fedspallm_secure.storage.outside import entries

_RECEIPTS: Final = 65_536  # files: one for each layer and round of each member


def read_receipts(folder: Path) -> tuple[bytes, ...]:
    """All files of a folder, in the order of their names.  Raises MissingInput, HostileFile or LimitExceeded."""
    return tuple(read_document(folder / name, RECEIPT_LIMIT) for name in entries(folder, "", _RECEIPTS))


def kept_receipts(home: Path) -> list[Receipt]:
    """What the server has acknowledged to the member of this home, by round and layer.  Needs no password.

    Raises MissingInput where there is none, StorageError, RecordDamaged.
    """
    identity = read_identity(home)
    with watch(home / REGISTER) as journal:
        rounds = journal.rounds() if journal.has_begun() else []
        records = [record for round in rounds for record in journal.records(round, read_member_record)]
    found = [Receipt.parse(record.statement) for record in records if isinstance(record, ReceiptHeld)]
    if not found:
        raise MissingInput(f"{home}, the home of {identity}, holds no receipts")
    return sorted(found, key=lambda receipt: (receipt.round, receipt.group))


def write_receipts(receipts: list[Receipt], folder: Path) -> list[Path]:
    """A file for each, under a name that says whose it is.  Raises OutputExists, DiskFull or StorageError."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for receipt in receipts:
        path = folder / f"{receipt.member}-round-{receipt.round}-layer-{receipt.group}.receipt.fsdoc"
        write_document(path, receipt.encode())
        written.append(path)
    return written
