"""Sealing, opening, verifying and inspecting packages: where files, keys, roster and clock meet.

The numbered steps are those of SPEC section 9.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.app.publishing import Desk, meter, publish, with_evidence
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import Checkpoint
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret, choose, supported_kems
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import (
    Equivocation,
    FormatError,
    LimitExceeded,
    MissingInput,
    OutputExists,
    StorageError,
    UnknownSender,
    WrongRecipient,
)
from fedspallm_secure.protocol.limits import FOLDER_LIMIT
from fedspallm_secure.protocol.package_types import BodyType
from fedspallm_secure.protocol.packages import NONE, Context, Head
from fedspallm_secure.protocol.receiving import Awaited, Reader, Trust, check_head, check_sealing
from fedspallm_secure.storage.files import disk_errors, is_folder
from fedspallm_secure.storage.outside import entries
from fedspallm_secure.storage.package_reader import open_package
from fedspallm_secure.storage.package_writer import Source, write_package

__all__ = [
    "FILES",
    "SUFFIX",
    "Desk",
    "check_arrival",
    "check_sealable",
    "describe",
    "inspect",
    "log_words",
    "make_folder",
    "open_sealed",
    "packages_in",
    "remove_if_empty",
    "seal",
    "verify",
]

SUFFIX = ".fspkg"
FILES = Awaited(types=frozenset({"file"}))  # what people open by hand; everything else belongs to a round


def seal(
    desk: Desk,
    source: Path,
    path: Path,
    recipient: Party,
    signer: Signer,
    valid: int,
    kem: Kem | None,
    progress: Progress,
) -> Head:
    """Seal the file `source` for `recipient` as a package of type `file` at `path`; returns its head.

    valid: seconds for which it may be opened; kem: None for what the recipient prefers.
    Raises UnknownSender when one of the two is not in the roster, OutputExists, and what `write_package` raises.
    """
    now = int(time.time())
    to = check_sealing(desk.party, recipient, desk.trust, now)
    roster = desk.trust.roster
    key = choose(to.key_statement.keys, supported_kems() if kem is None else [kem])
    own = roster.entry(desk.party).leaf
    if signer.public != own.public:
        raise UnknownSender(f"the roster has another signing key for {desk.party} than this home")
    if os.path.lexists(path):
        raise OutputExists(f"{path} already exists")
    with _source(source) as opened:
        context = Context(
            type="file",
            federation=roster.federation,
            roster=roster.hash,
            round=0,
            plan_hash=NONE,
            group=NONE,
            sender=desk.party,
            sender_key=own.key_id,
            recipient=recipient,
            recipient_key=key.key_id,
            kem=key.kem,
            sequence=desk.register.next_sequence(),
            created=now,
            not_after=now + valid,
            body_type=BodyType.BYTES,
        )
        advance = meter(progress, f"seal {source.name}", body_length(opened.length))
        return write_package(path, opened, context, key, signer, advance)


def check_sealable(trust: Trust, sender: Party, recipient: Party, path: Path) -> None:
    """Raise what would stop `seal`: what `check_sealing` raises, or OutputExists."""
    check_sealing(sender, recipient, trust, int(time.time()))
    if os.path.lexists(path):
        raise OutputExists(f"{path} already exists")
    if not is_folder(path.parent):
        raise MissingInput(f"{path.parent} is not a folder", hint="make it, or name another --out")


def check_arrival(trust: Trust, reader: Reader, path: Path) -> None:
    """Raise what steps 1 to 7 and 9 say of the package at `path`: worth knowing before a password is typed."""
    with open_package(path) as package:
        check_head(package.head, reader, trust, None, FILES, int(time.time()))


def open_sealed(
    desk: Desk,
    reader: Reader,
    secrets: Mapping[str, RecipientSecret],
    path: Path,
    output: Path,
    progress: Progress,
    awaited: Awaited = FILES,
) -> tuple[Head, Path]:
    """Open the package at `path` by all twelve steps; returns its head and where the plaintext is.

    secrets: key identifier -> secret; output: the new file, or a folder in which it is named after the package digest.
    Raises what the steps raise, OutputExists or StorageError; then nothing has appeared under a final name.
    """
    now = int(time.time())
    with open_package(path) as package:  # 1-4
        head = package.head
        target = output / f"{head.digest.hex()}.body" if is_folder(output) else output
        try:
            check_head(head, reader, desk.trust, desk.register, awaited, now)  # 5-9
            secret = secrets.get(head.context.recipient_key)
            if secret is None:
                raise WrongRecipient("the key that the package is sealed to came with a renewal: run the command again")
            advance = meter(progress, f"open {path.name}", head.header.body_length)
            publish(desk, package, secret, target, now, advance)  # 10-12
        except Equivocation as error:
            raise with_evidence(error, desk, head) from None
    return head, target


def verify(path: Path, reader: Reader, trust: Trust, progress: Progress, awaited: Awaited) -> Head:
    """Verify the package at `path` without opening it: steps 1 to 7, 9 and 10, as its recipient or as an observer.

    Raises what they raise.
    """
    with open_package(path) as package:
        head = package.head
        if head.context.recipient != reader.party:
            reader = Reader()
        check_head(head, reader, trust, None, awaited, int(time.time()))
        package.verify_body(meter(progress, f"verify {path.name}", head.header.body_length))
        return head


def inspect(path: Path) -> Head:
    """What the package at `path` claims: steps 1 to 4, without any key.  Raises what they raise."""
    with open_package(path) as package:
        return package.head


def packages_in(paths: Iterable[Path]) -> list[Path]:
    """The files among `paths`, and the packages in the folders among them.

    Raises LimitExceeded for a folder with too many entries, MissingInput for one without packages.
    """
    found: list[Path] = []
    for path in paths:
        if not is_folder(path):
            found.append(path)
            continue
        names = entries(path, SUFFIX, FOLDER_LIMIT)
        if not names:
            raise MissingInput(f"{path} holds no {SUFFIX} file")
        found += [path / name for name in names]
    return found


def make_folder(path: Path) -> bool:
    """Make the folder; False if it was there.  Raises OutputExists if it is something else, or StorageError."""
    if is_folder(path):
        return False
    if os.path.lexists(path):
        raise OutputExists(f"{path} is there and is no folder", hint="name another --into")
    with disk_errors(path):
        path.mkdir(mode=0o700, parents=True)
    return True


def remove_if_empty(path: Path) -> None:
    """Remove a folder that was made for nothing."""
    with suppress(OSError):
        path.rmdir()


def describe(head: Head) -> dict[str, Any]:
    """What a header says, as plain data."""
    header = head.header
    return {
        "digest": head.digest.hex(),
        "bytes": head.size,
        "plaintext_bytes": header.plaintext_length,
        "tiles": header.tiles,
        **header.context.to_dict(),
        "log": log_words(header.context.checkpoint),
    }


def log_words(checkpoint: bytes) -> str:
    """Which log the checkpoint of a header claims to be of, and how long; empty for none.  Nothing is verified."""
    if not checkpoint:
        return ""
    try:
        found = Checkpoint.of_note(checkpoint)
    except (FormatError, LimitExceeded):
        return "what stands there is no checkpoint"
    return f"{found.origin} with {found.size:,} {'entry' if found.size == 1 else 'entries'}"


@contextmanager
def _source(path: Path) -> Iterator[Source]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        raise MissingInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        yield Source.of(descriptor, path)
    except OSError as error:
        raise StorageError(f"cannot seal {path}: {error.strerror or error}") from error
    finally:
        os.close(descriptor)
