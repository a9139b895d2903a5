"""Sealing, opening, verifying and inspecting packages: where files, keys, roster and clock meet.

The numbered steps are those of SPEC section 9.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.crypto.body import body_length
from fedspallm_secure.crypto.encoding import canonical_json, encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem, RecipientSecret, choose, supported_kems
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import (
    Equivocation,
    FedSpaError,
    MissingInput,
    OutputExists,
    ReplayedPackage,
    StorageError,
    UnknownSender,
    WrongRecipient,
)
from fedspallm_secure.protocol.limits import FOLDER_LIMIT
from fedspallm_secure.protocol.package_types import BodyType
from fedspallm_secure.protocol.packages import NONE, Context, Head
from fedspallm_secure.protocol.receiving import Awaited, Reader, Slot, Trust, check_head, check_sealing
from fedspallm_secure.storage.drafts import Draft, draft, draft_of
from fedspallm_secure.storage.files import create_private, disk_errors, is_folder
from fedspallm_secure.storage.outside import entries
from fedspallm_secure.storage.package_reader import PackageReader, open_package
from fedspallm_secure.storage.package_writer import Source, write_package
from fedspallm_secure.storage.register import SqliteRegister

MEBIBYTE = 1 << 20
SUFFIX = ".fspkg"
FILES = Awaited(types=frozenset({"file"}))  # what people open by hand; everything else belongs to a round


@dataclass(frozen=True, slots=True)
class Desk:
    """One party's place of work: who it is, what it trusts, and what it remembers.

    evidence: folder for proofs of equivocation.
    """

    party: Party
    trust: Trust
    register: SqliteRegister
    evidence: Path


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
        advance = _meter(progress, f"seal {source.name}", body_length(opened.length))
        return write_package(path, opened, context, key, signer, advance)


def check_sealable(trust: Trust, sender: Party, recipient: Party, path: Path) -> None:
    """Raise what would stop `seal`: what `check_sealing` raises, or OutputExists."""
    check_sealing(sender, recipient, trust, int(time.time()))
    if os.path.lexists(path):
        raise OutputExists(f"{path} already exists")
    if not is_folder(path.parent):
        raise MissingInput(f"{path.parent} is not a folder", hint="make it, or name another --out")


def check_arrival(trust: Trust, reader: Reader, path: Path) -> None:
    """Raise what steps 1 to 7 say of the package at `path`: what it is worth to know before typing a password."""
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
            _publish(desk, package, secret, target, now, progress)  # 10-12
        except Equivocation as error:
            raise _with_evidence(error, desk, head) from None
    return head, target


def _publish(
    desk: Desk, package: PackageReader, secret: RecipientSecret, target: Path, now: int, progress: Progress
) -> None:
    """Steps 10 to 12.  A run that was killed after the claim is repeated: then the plaintext may be there already."""
    head = package.head
    output = str(target.absolute()).encode(errors="backslashreplace").decode()  # the register takes UTF-8 alone
    earlier = desk.register.received(Slot.of(head.context))
    if os.path.lexists(target) and earlier is None:
        raise OutputExists(f"{target} already exists")
    if earlier is not None:
        _check_not_taken(desk, head, Path(earlier.output))
    package.check_length()
    with draft(target) as plain:
        plain.check_room(head.header.plaintext_length)
        package.decrypt(secret, plain.write, _meter(progress, f"open {target.name}", head.header.body_length))
        plain.finish()
        if earlier is not None and earlier.output != output and plain.same_as(Path(earlier.output)):
            desk.register.publish(head)
            raise ReplayedPackage(f"a run that was killed has put what is in the package at {earlier.output}")

        def give_name() -> None:
            if earlier is None or not plain.same_as_published():
                plain.publish()

        try:
            desk.register.fill(head, output, now)  # 12
            desk.register.publish(head, give_name)
        except BaseException:
            _undo(desk, head, output, plain)
            raise


def _undo(desk: Desk, head: Head, output: str, plain: Draft) -> None:
    """Step 12 was left in the middle, and the process lives: no name without its mark, no slot without its draft."""
    try:
        known = desk.register.find(Slot.of(head.context))
        if known is not None and known.published:
            return  # this run or a faster one has done it
        plain.take_back()
        desk.register.empty(head, output)
    except FedSpaError:
        plain.take_back()
        plain.leave()  # a filled slot without a draft would say that the plaintext was taken away


def _check_not_taken(desk: Desk, head: Head, where: Path) -> None:
    """Raise ReplayedPackage if an earlier run was killed after giving the plaintext its name, and somebody took it.

    Killed before that, it left its draft; killed after that, it left neither draft nor, if it was moved on, plaintext.
    """
    if os.path.lexists(where) or os.path.lexists(draft_of(where)):
        return
    desk.register.publish(head)
    raise ReplayedPackage(f"a run that was killed has put what is in the package at {where}; it was taken from there")


def verify(path: Path, reader: Reader, trust: Trust, progress: Progress, awaited: Awaited) -> Head:
    """Verify the package at `path` without opening it: steps 1 to 7, 9 and 10, as its recipient or as an observer.

    Raises what they raise.
    """
    with open_package(path) as package:
        head = package.head
        if head.context.recipient != reader.party:
            reader = Reader()
        check_head(head, reader, trust, None, awaited, int(time.time()))
        package.verify_body(_meter(progress, f"verify {path.name}", head.header.body_length))
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
    }


def _with_evidence(error: Equivocation, desk: Desk, second: Head) -> Equivocation:
    """Keep both signed headers, which prove to anybody that the sender made two packages under one number."""
    first = desk.register.received(Slot.of(second.context))
    if first is None:
        return error
    proof = {
        "format": "fedspallm-secure/1 equivocation",
        "packages": [
            {"header": encode_base64(header), "signature": encode_base64(signature)}
            for header, signature in ((first.header, first.signature), (second.encoded, second.signature))
        ],
    }
    path = desk.evidence / f"{first.digest.hex()}.json"  # one proof for a slot, however many packages come for it
    with disk_errors(desk.evidence):
        desk.evidence.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        create_private(path, canonical_json(proof) + b"\n")
    return Equivocation(f"{error}; the proof is in {path}")


def _meter(progress: Progress, task: str, total: int) -> Callable[[int], None]:
    """Progress in MiB, told once per MiB at most."""
    whole = -(-total // MEBIBYTE)

    def advance(done: int) -> None:
        progress.update(task, -(-done // MEBIBYTE), whole, "MiB")

    return advance


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
