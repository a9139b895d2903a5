"""The anchor of a home: how far it has counted, in a file that lies apart from it (SPEC section 21.2).

Whoever puts home and work folder back together leaves the anchor as it is: then it is ahead of what is in them.  It is
one small file, written whole or not at all.  It holds no secret, and proves nothing to anybody else; whoever may write
it can stop the home, and whoever puts it back together with the home undoes what it is for.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedspallm_secure.crypto.encoding import canonical_json, fields, parse_canonical_json
from fedspallm_secure.errors import FormatError, MissingInput, UsageError
from fedspallm_secure.storage.documents import read_own
from fedspallm_secure.storage.files import disk_errors, is_folder, replace_private
from fedspallm_secure.storage.home_folder import Identity, own_record

_FORMAT: Final = "fedspallm-secure/1 anchor"
_SCHEMA: Final[dict[str, type]] = {
    "format": str,
    "federation": str,
    "role": str,
    "id": str,
    "home": str,
    "sequence": int,
    "check": str,
}
_LIMIT: Final = 4096  # bytes
_STATE: Final = "XDG_STATE_HOME"
_USUAL: Final = Path("fedprune/anchors")  # below the folder of this user's state
_DAMAGED: Final = (
    "if you are sure that neither this home nor its disk was put back: move the file away, and the next start makes a "
    "new one; else have its certificate withdrawn, and enrol again in a new --home"
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """That of one home.  identity: whose; mark: the random number of its register, which tells homes apart."""

    folder: Path
    identity: Identity
    mark: int

    @property
    def path(self) -> Path:
        """The file."""
        party = self.identity.party
        return self.folder / f"{party.role_name}-{party.id}-{self._home}.json"

    @property
    def _home(self) -> str:
        return f"{self.mark:016x}"

    def read(self) -> int | None:
        """The highest sequence number that was noted, None where the file is not there.

        Raises RecordDamaged for what is damaged or another home's; MissingInput, HostileFile, LimitExceeded.
        """
        if not os.path.lexists(self.path):
            return None
        data = read_own(self.path, _LIMIT)
        with own_record(self.path, _DAMAGED):
            return self._parse(data)

    def write(self, sequence: int) -> None:
        """Note a sequence number, durably.  Raises RunLocked, DiskFull or StorageError; then it may be noted or not."""
        replace_private(self.path, self._encode(sequence))

    def _encode(self, sequence: int) -> bytes:
        return canonical_json(self._fields(sequence)) + b"\n"

    def _fields(self, sequence: int) -> dict[str, Any]:
        party = self.identity.party
        said = {
            "format": _FORMAT,
            "federation": self.identity.federation,
            "role": party.role_name,
            "id": party.id,
            "home": self._home,
            "sequence": sequence,
        }
        return {**said, "check": hashlib.sha256(canonical_json(said)).hexdigest()}

    def _parse(self, data: bytes) -> int:
        what = self.path.name
        if not data.endswith(b"\n"):
            raise FormatError(f"{what} does not end with a line feed")
        value = fields(parse_canonical_json(data[:-1], what), _SCHEMA, what)
        sequence: int = value["sequence"]
        if sequence < 0 or value != self._fields(sequence):
            raise FormatError(f"{what} is not what was written for this home")
        return sequence


def anchor_folder(named: Path | None) -> Path:
    """Where anchors lie: in the folder that was named, else below that of this user's state, as XDG spells it.

    Raises MissingInput where the user has no home folder.
    """
    if named is not None:
        return named
    state = Path(os.environ.get(_STATE, ""))
    try:
        return (state if state.is_absolute() else Path("~/.local/state").expanduser()) / _USUAL
    except RuntimeError:
        raise MissingInput(
            "this user has no home folder, so there is no usual place for the anchor",
            hint="name a folder for it: anchor, in the configuration file, beside home and data",
        ) from None


def check_apart(folder: Path, *places: Path) -> None:
    """Raise UsageError for a folder of anchors within one of these places: home and work folder."""
    for place in places:
        if folder.resolve().is_relative_to(place.resolve()):
            raise UsageError(
                f"the folder for the anchor, {folder}, is in {place}: whoever puts that back puts back the anchor, too",
                hint="name another folder under anchor in the configuration file, best on another disk",
            )


def prepare_anchors(named: Path | None, home: Path, data: Path) -> Path:
    """As `anchor_folder`; the usual one is made where it is not there yet, one that was named never is.

    It may be on a disk that is not there now, and what would then be made in its place would be on another one.
    Raises UsageError for one within home or work folder; MissingInput, DiskFull or StorageError.
    """
    folder = anchor_folder(named)
    check_apart(folder, home, data)
    if named is None:
        with disk_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not is_folder(folder):
        raise MissingInput(
            f"the folder for the anchor, {folder}, is not there",
            hint=f"is its disk mounted?  The first time make it: mkdir -m 700 {folder}",
        )
    return folder
