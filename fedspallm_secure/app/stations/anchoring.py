"""A home held against its anchor: at the start, before each message and contribution, and before anything leaves.

The anchor goes up after a sequence number was used up, durably, and before the package under it may leave.  So it is
never ahead of the journal, unless the journal is an old copy; what it is behind by after a kill is caught up with.
"""

import logging
from collections.abc import Callable
from typing import Final

from fedspallm_secure.errors import RolledBack
from fedspallm_secure.storage.anchor import Anchor

_log = logging.getLogger(__name__)
_OLD: Final = (
    "stop: this home is an old copy, or two copies of it are at work.  Have its certificate withdrawn, and enrol again "
    "in a new --home"
)


class Anchoring:
    """What one process knows of the anchor of the home in which it works."""

    def __init__(self, anchor: Anchor, counted: Callable[[], int], sole: bool) -> None:
        """counted: gives the highest sequence number that the home has used up; sole: whether this process makes
        packages there, and no other one; if not, the anchor is only looked at.

        A missing one is made, and told if packages were made before.  Raises RolledBack if the anchor is ahead,
        RecordDamaged, MissingInput, RunLocked, DiskFull or StorageError.
        """
        self._anchor, self._counted, self._sole = anchor, counted, sole
        found = anchor.read()  # first: it never goes ahead of what is counted afterwards
        self._known = self._noted = counted()  # what may stand there, and what does
        self._compare(found, self._known)
        if not sole or found == self._known:
            return
        anchor.write(self._known)
        if found is None and self._known:
            _log.warning(
                "there was no anchor of this home at %s, though it has counted to %d: so it is after an upgrade, on "
                "a machine that it has moved to, for another user, or after `anchor`, HOME or XDG_STATE_HOME changed; "
                "but if home and work folder were put back from a copy, stop now, have its certificate withdrawn, and "
                "enrol again in a new --home",
                anchor.path,
                self._known,
            )

    def check(self) -> None:
        """Raise RolledBack if the anchor is ahead, or was moved by somebody else; RecordDamaged, MissingInput."""
        found = self._anchor.read()
        counted = self._counted()
        self._compare(found, min(self._known, counted) if self._sole else counted)

    def advance(self) -> None:
        """Note what was counted since.  Raises as `check`, and RunLocked, DiskFull or StorageError."""
        counted = self._counted()
        if self._sole and counted != self._noted:
            self.check()
            self._known = counted  # from here on it may stand there, whatever comes of the write
            self._anchor.write(counted)
            self._noted = counted

    def _compare(self, found: int | None, own: int) -> None:
        if found is not None and found > own:
            raise RolledBack(
                f"this home is older than what it has sent: it has counted to {own}, and its anchor, "
                f"{self._anchor.path}, to {found}",
                hint=_OLD,
            )
