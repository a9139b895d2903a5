"""Whether checkpoints of one log, seen at different places, are of one history (SPEC section 22.6).

A log whose key has signed two histories is caught by whoever holds both: the proof can be handed on.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspallm_secure.app.audit.homes import open_home_log
from fedspallm_secure.app.audit.opening import OpenLog, naming, open_log_at
from fedspallm_secure.crypto.merkle import Tree
from fedspallm_secure.crypto.notes import NOTE_LIMIT, Checkpoint, Note, NoteKey, open_checkpoint
from fedspallm_secure.errors import AuditIncomplete, FedSpaError, LogRefused, UsageError
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.split_view import SplitViewProof
from fedspallm_secure.storage.documents import read_document
from fedspallm_secure.storage.files import is_folder
from fedspallm_secure.storage.home_folder import is_home
from fedspallm_secure.storage.log_file import is_packed


@dataclass(frozen=True, slots=True)
class View:
    """What one place knows of a log.  name: of the place; notes: checkpoints; tree: over its entries, if it has any."""

    name: str
    notes: tuple[Note, ...]
    tree: Tree | None = None
    statement: NoteKeyStatement | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A checkpoint, and the views that have the same entries up to it.  checked: whether any view could tell."""

    name: str
    checkpoint: Checkpoint
    within: tuple[str, ...]
    checked: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = {"seen_at": self.name, "size": self.checkpoint.size, "root": self.checkpoint.root.hex()}
        return {**found, "within": list(self.within), "checked": self.checked}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comes of it.  proof: that there are two histories, and between which two places; None if there are not."""

    origin: str
    held: tuple[Held, ...]
    proof: SplitViewProof | None = None
    between: tuple[str, str] = ("", "")

    @property
    def undecided(self) -> tuple[Held, ...]:
        """Checkpoints of more entries than any of the places has."""
        return () if self.proof is not None else tuple(held for held in self.held if not held.checked)


def read_view(path: Path) -> View:
    """A log, a checkpoint file, or a home.  Raises MissingInput, HostileFile, LimitExceeded, FormatError."""
    name = str(path)
    if is_home(path):
        with open_home_log(path) as home:
            tree = Tree(home.leaves(home.size)) if home.size else None
            return View(name, tuple(map(Note.parse, home.kept)), tree, home.statement)
    if is_folder(path) or is_packed(path):
        with open_log_at(path) as log:
            return _log_view(name, log)
    with naming(path):
        return View(name, (Note.parse(read_document(path, NOTE_LIMIT)),))


def _log_view(name: str, log: OpenLog) -> View:
    cosigned, size = log.source.cosigned(), log.checkpoint.size
    notes = [Note.parse(note) for note in (log.source.note(), cosigned) if note is not None]
    return View(name, tuple(notes), Tree(log.source.leaves(size)), log.note_key() if size else None)


def compare(views: Sequence[View], key: NoteKey | None = None) -> Comparison:
    """Compare checkpoints of one log.  key: of the log, where no view says whose it is.

    Raises UsageError without any key or checkpoint; BadSignature or FormatError for a checkpoint that the log has not
    signed; LogRefused where views have different keys of one log; AuditIncomplete where entries do not give the
    checkpoint beside them.
    """
    statement, key = _key(views, key)
    seen = list(_checkpoints(views, key))
    if not seen:
        raise UsageError("there is no checkpoint to compare", hint="name logs, checkpoint files or homes")
    trees = [tree for view in views if (tree := _tree(view, seen)) is not None]
    for first in seen:
        for other, note, leaves in _against(first, seen, trees):
            if statement is None:
                raise LogRefused(
                    f"{first[0]} and {other} have two histories of {key.name}",
                    hint="name a log or a home too: the proof says whose key it is",
                )
            proof = SplitViewProof.make(statement, (first[2].only(key), note.only(key)), leaves)
            return Comparison(key.name, (), proof, (first[0], other))
    one = len({checkpoint for _, checkpoint, _ in seen}) == 1
    largest = max((size for _, _, size, _ in trees), default=0)
    held = (_held(*found[:2], one or found[1].size <= largest, trees) for found in seen)
    return Comparison(key.name, tuple(held))


Seen = tuple[str, Checkpoint, Note]
Grown = tuple[str, Tree, int, Note]  # name of the view, its entries, how many of them its newest note stands for


def _key(views: Sequence[View], key: NoteKey | None) -> tuple[NoteKeyStatement | None, NoteKey]:
    statements = [(view.name, view.statement) for view in views if view.statement is not None]
    keys = {found.key.vkey: name for name, found in statements}
    if key is not None:
        keys.setdefault(key.vkey, "the key that was given")
    if len(keys) > 1:
        raise LogRefused(f"{' and '.join(keys.values())} have different keys: {', '.join(keys)}")
    if statements:
        return statements[0][1], statements[0][1].key
    if key is None:
        raise UsageError(
            "none of these says whose checkpoints they are", hint="name a log or a home too, or give --vkey"
        )
    return None, key


def _checkpoints(views: Iterable[View], key: NoteKey) -> Iterator[Seen]:
    """Every different checkpoint of every view, the largest last."""
    for view in views:
        found: dict[tuple[int, bytes], Seen] = {}
        for note in view.notes:
            checkpoint = _open(view, note, key)
            found.setdefault((checkpoint.size, checkpoint.root), (view.name, checkpoint, note))
        yield from (found[place] for place in sorted(found))


def _open(view: View, note: Note, key: NoteKey) -> Checkpoint:
    try:
        return open_checkpoint(note, key)
    except FedSpaError as error:
        raise type(error)(f"{view.name}: {error}") from None


def _tree(view: View, seen: Iterable[Seen]) -> Grown | None:
    """The entries of a view with the newest of its checkpoints that stands for them.  Raises AuditIncomplete."""
    tree = view.tree
    if tree is None:
        return None
    own = [(found, note) for name, found, note in seen if name == view.name and found.size <= tree.size]
    fitting = [(found, note) for found, note in own if tree.root(found.size) == found.root]
    if not fitting:
        raise AuditIncomplete(f"the {tree.size} entries of {view.name} are not those of a checkpoint of it")
    newest, note = fitting[-1]
    return view.name, tree, newest.size, note


def _against(first: Seen, seen: Sequence[Seen], trees: Sequence[Grown]) -> Iterator[tuple[str, Note, list[bytes]]]:
    """Views that contradict a checkpoint: where, the note that does, and leaf hashes where the sizes differ."""
    _, checkpoint, _ = first
    for name, other, note in seen:
        if other.size == checkpoint.size and other.root != checkpoint.root:
            yield name, note, []
    for name, tree, size, note in trees:
        if checkpoint.size < size and tree.root(checkpoint.size) != checkpoint.root:
            yield name, note, [tree.leaf(index) for index in range(size)]


def _held(name: str, checkpoint: Checkpoint, checked: bool, trees: Sequence[Grown]) -> Held:
    within = tuple(place for place, _, size, _ in trees if checkpoint.size <= size)
    return Held(name, checkpoint, within, checked)
