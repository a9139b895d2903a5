"""The last steps of opening a package: the plaintext gets its name, once, whatever happens in between (SPEC section 9).

The register is filled before the name is given and marked after it.  Killed in between, the same command goes on;
failing in between, it takes everything back.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedspallm_secure.app.progress import Progress
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import RecipientSecret
from fedspallm_secure.errors import Equivocation, FedSpaError, OutputExists, ReplayedPackage
from fedspallm_secure.protocol.packages import Head, equivocation_proof
from fedspallm_secure.protocol.receiving import Slot, Trust
from fedspallm_secure.storage.drafts import Draft, draft, draft_of
from fedspallm_secure.storage.files import create_private, disk_errors
from fedspallm_secure.storage.package_reader import PackageReader
from fedspallm_secure.storage.register import SqliteRegister

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Desk:
    """One party's place of work: who it is, what it trusts, and what it remembers.

    evidence: folder for proofs of equivocation.
    """

    party: Party
    trust: Trust
    register: SqliteRegister
    evidence: Path


def publish(
    desk: Desk, package: PackageReader, secret: RecipientSecret, target: Path, now: int, advance: Callable[[int], None]
) -> None:
    """Steps 10 to 12.  A run that was killed in the middle is repeated: then the plaintext may be there already."""
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
        package.decrypt(secret, plain.write, advance)
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


def with_evidence(error: Equivocation, desk: Desk, second: Head) -> Equivocation:
    """Keep both signed headers, which prove to anybody that the sender made two packages under one number."""
    first = desk.register.received(Slot.of(second.context))
    if first is None:
        return error
    proof = equivocation_proof((first.header, first.signature), (second.encoded, second.signature))
    path = desk.evidence / f"{first.digest.hex()}.json"  # one proof for a slot, however many packages come for it
    with disk_errors(desk.evidence):
        desk.evidence.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        create_private(path, proof + b"\n")
    return Equivocation(f"{error}; the proof is in {path}")


def meter(progress: Progress, task: str, total: int) -> Callable[[int], None]:
    """Progress in MiB, told once per MiB at most."""
    whole = -(-total // MEBIBYTE)

    def advance(done: int) -> None:
        progress.update(task, -(-done // MEBIBYTE), whole, "MiB")

    return advance
