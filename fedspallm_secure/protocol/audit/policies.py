"""Whose checkpoints and cosignatures count: trust policies in the format of C2SP tlog-policy.

Stricter than C2SP: the file is UTF-8, holds no control characters but tabs and line feeds, and no key serves twice, not
even once for a log and once for a witness.  Addresses are read and left out: nothing is fetched.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fedspallm_secure.crypto.notes import Note, NoteKey, NoteKind, cosigned_at, open_checkpoint
from fedspallm_secure.errors import FormatError, LimitExceeded

POLICY_LIMIT: Final = 64 << 10  # bytes
LINES_LIMIT: Final = 100  # logs, and as many witnesses, and as many groups
NO_QUORUM: Final = "none"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_THRESHOLD: Final = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses and groups, of which `threshold` are enough."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Logs, named witnesses, groups of them, and which witness or group has to cosign, or `none`.

    Groups stand in an order in which each names only what was before it.
    """

    logs: tuple[NoteKey, ...]
    witnesses: Mapping[str, NoteKey]
    groups: Mapping[str, Group]
    quorum: str

    @classmethod
    def parse(cls, data: bytes) -> "TrustPolicy":
        """Read a policy file.  Raises FormatError, LimitExceeded or WeakKey."""
        if len(data) > POLICY_LIMIT:
            raise LimitExceeded(f"this policy has {len(data)} bytes; at most {POLICY_LIMIT} are read")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError("this policy is not UTF-8") from None
        if _CONTROL.search(text) or (text and not text.endswith("\n")):
            raise FormatError("this policy holds a control character, or its last line does not end")
        reader = _Reader()
        for number, line in enumerate(text.split("\n"), 1):
            words = [word for word in re.split("[ \t]+", line) if word]
            if words and not words[0].startswith("#"):
                try:
                    reader.take(words)
                except FormatError as error:
                    raise FormatError(f"line {number} of the policy: {error}") from None
        if reader.quorum is None:
            raise FormatError("this policy has no quorum line; write 'quorum none' to ask for no cosignatures")
        return cls(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)

    def encode(self) -> bytes:
        """A policy file that says the same, without comments and addresses."""
        lines = [f"log {key.vkey}" for key in self.logs]
        lines += [f"witness {name} {key.vkey}" for name, key in self.witnesses.items()]
        for name, group in self.groups.items():
            lines.append(f"group {name} {group.threshold} {' '.join(group.members)}")
        return "".join(f"{line}\n" for line in [*lines, f"quorum {self.quorum}"]).encode()

    def satisfied(self, note: Note) -> bool:
        """Whether a checkpoint is signed by a log of the policy, if it names any, and cosigned by its quorum.

        Raises BadSignature if a line of any key of the policy is wrong, FormatError if the text is no checkpoint.
        """
        signed = [open_checkpoint(note, key) for key in self.logs if note.of(key)]
        there = {name: cosigned_at(note, key) is not None for name, key in self.witnesses.items()}
        for name, group in self.groups.items():
            there[name] = sum(there[member] for member in group.members) >= group.threshold
        return bool(signed or not self.logs) and (self.quorum == NO_QUORUM or there[self.quorum])


def make_policy(log: NoteKey, witnesses: Sequence[NoteKey], quorum: int) -> TrustPolicy:
    """The policy of one log whose checkpoints any `quorum` of these witnesses have to cosign.

    Raises FormatError for what no policy can say: more than there are, one key twice, keys of another kind.
    """
    names = [key.name for key in witnesses]
    if not 0 <= quorum <= len(names):
        raise FormatError(f"{quorum} of {len(names)} witnesses cannot cosign")
    lines = [f"log {log.vkey}", *(f"witness {key.name} {key.vkey}" for key in witnesses)]
    lines += [f"group witnesses {quorum} {' '.join(names)}", "quorum witnesses"] if quorum else [f"quorum {NO_QUORUM}"]
    return TrustPolicy.parse("".join(f"{line}\n" for line in lines).encode())


@dataclass(slots=True)
class _Reader:
    logs: list[NoteKey] = field(default_factory=list)
    witnesses: dict[str, NoteKey] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    quorum: str | None = None
    _keys: set[bytes] = field(default_factory=set)
    _members: set[str] = field(default_factory=set)

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self.logs.append(self._key(vkey, NoteKind.LOG))
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._define(name)
                self.witnesses[name] = self._key(vkey, NoteKind.COSIGNER)
            case ["group", name, threshold, *members] if members:
                self._define(name)
                self.groups[name] = self._group(threshold, members)
            case ["quorum", name] if self.quorum is None:
                if name != NO_QUORUM:
                    self._known(name)
                self.quorum = name
            case _:
                raise FormatError(f"this is no log, witness, group or only quorum: {' '.join(words)[:80]!r}")
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > LINES_LIMIT:
            raise LimitExceeded(f"a policy has at most {LINES_LIMIT} logs, witnesses and groups each")

    def _key(self, vkey: str, kind: NoteKind) -> NoteKey:
        key = NoteKey.parse(vkey)
        if key.kind is not kind:
            raise FormatError(f"{key.name} is not a key of the kind {kind.name}")
        if key.public in self._keys:
            raise FormatError(f"the key of {key.name} stands here twice")
        self._keys.add(key.public)
        return key

    def _define(self, name: str) -> None:
        if name == NO_QUORUM or name in self.witnesses or name in self.groups:
            raise FormatError(f"{name[:80]!r} is taken")

    def _known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise FormatError(f"{name[:80]!r} is not defined above")

    def _group(self, threshold: str, members: list[str]) -> Group:
        for name in members:
            self._known(name)
            if name in self._members:
                raise FormatError(f"{name[:80]!r} is a member twice, so one witness could count twice")
            self._members.add(name)
        if threshold in ("all", "any"):
            count = len(members) if threshold == "all" else 1
        else:
            count = int(threshold) if _THRESHOLD.fullmatch(threshold) else 0
        if not 1 <= count <= len(members):
            raise FormatError(f"{threshold[:20]!r} is not 'all', 'any' or a number up to {len(members)}")
        return Group(count, tuple(members))
