"""`fedprune audit replay`: a round recomputed from what its server has kept, and held against what it has published.

Everything is read only.  What the log says is verified first; then archived packages are opened, keystreams taken off
with the seeds that the answers give, and sums, layers and files are compared bit for bit (SPEC section 23).
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedspallm_secure.app.audit.replay_archive import Archive
from fedspallm_secure.app.audit.replay_book import ANSWERS, CONTRIBUTIONS, FILES, LAYERS, LOG, MODEL, SUMS, Book, Report
from fedspallm_secure.app.audit.replay_decryption import decrypted_again
from fedspallm_secure.app.audit.replay_log import LoggedRound, read_round
from fedspallm_secure.app.audit.replay_machine import bring_back, open_answers, read_handovers, survivors_of
from fedspallm_secure.app.audit.replay_sums import Summed, compare_sums, sum_again
from fedspallm_secure.app.audit.sampling import Sample, sample_group
from fedspallm_secure.app.progress import Progress
from fedspallm_secure.crypto.identity import Role
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.crypto.sealing import RecipientSecret
from fedspallm_secure.errors import MissingInput, UsageError
from fedspallm_secure.protocol.audit.reports import Given
from fedspallm_secure.protocol.audit.verification import verify_log
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.answers import Unmasking
from fedspallm_secure.storage.files import disk_errors, is_folder, sha256_file
from fedspallm_secure.storage.home import Home, Unlocking, open_home
from fedspallm_secure.storage.home_folder import RECIPIENT_KEY
from fedspallm_secure.storage.log_folder import LOG_FOLDER, FolderLog

if TYPE_CHECKING:
    from fedspallm_secure.app.audit.replay_model import ModelReplay

NO_TORCH = "torch is not installed"
_EARLIER = "something above differs"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server works.  model: the dense model, None: layers are not recomputed; secrets: its recipient keys."""

    home: Home
    data: Path
    model: Path | None
    secrets: Mapping[str, RecipientSecret]


def open_site(home: Path, data: Path, model: Path | None, unlock: Callable[[str], Password]) -> Site:
    """A server's home and work folder, to be looked at.  unlock: what it opens, for the prompt -> the password.

    Only the recipient keys are opened.  Raises UsageError for another party's home, MissingInput, and what opening a
    home and a key file raises.
    """
    found = open_home(home)
    if found.party.role is not Role.SERVER:
        raise UsageError(f"{home} is the home of {found.party}, and only a server has an archive to replay")
    if not is_folder(data):
        raise MissingInput(f"there is no folder {data}")
    keys = Unlocking(unlock(f"the keys of {found.party}"))
    return Site(found, data, model, found.recipient_secrets(keys.key(home / RECIPIENT_KEY)))


def replay(site: Site, number: int, sample: Sample | None, progress: Progress) -> Report:
    """Recompute round `number`, or a sample of it; what came of each step.

    Raises MissingInput where the round has no result or was not archived, what reading the log raises, StorageError.
    """
    book = Book()
    logged = _read_log(site, number, book, progress)
    if logged is None:
        for name in (CONTRIBUTIONS, ANSWERS, SUMS, LAYERS, FILES, MODEL):
            book.skip(name, _EARLIER)
    else:
        with tempfile.TemporaryDirectory(prefix="fedprune-replay-") as work:
            _Replay(site, logged, sample, book, progress, Path(work)).run()
    share = None if sample is None else f"{100 * float(sample.share):g}%"
    seed = None if sample is None else sample.seed.hex()
    return Report(number, tuple(book.steps.values()), book.seconds, share, seed)


def _read_log(site: Site, number: int, book: Book, progress: Progress) -> LoggedRound | None:
    """The round, if its log passes."""
    source, root = FolderLog(site.data / LOG_FOLDER), site.home.root
    with book.on(LOG):
        given = Given(checkpoints=(), receipts=None, documents=True)
        checked = verify_log(
            source,
            root.der,
            None,
            given,
            lambda _, done, total: progress.update("verify the log", done, total, "entries"),
        )
        for step in checked.steps:
            if step.passed is False:
                said = step.findings[0].text if step.findings else step.title
                book.differs(LOG, f"{step.name}: {said}")
        if book.failed(LOG):
            return None
        book.steps[LOG].done = f"{checked.size} entries"
        return read_round(
            source,
            checked.size,
            root,
            number,
            lambda done, total: progress.update("read the log", done, total, "entries"),
        )


class _Replay:
    """One run through a round whose log has passed."""

    def __init__(
        self, site: Site, logged: LoggedRound, sample: Sample | None, book: Book, progress: Progress, work: Path
    ) -> None:
        self.site, self.logged, self.sample, self.book, self.progress = site, logged, sample, book, progress
        self.archive = Archive(site.data / f"round-{logged.number}", site.secrets)
        self._work = work
        self._model: ModelReplay | None = None

    def run(self) -> None:
        """All steps, as far as nothing before them differs."""
        unmaskings = self._unmaskings()
        self._open_model()
        if unmaskings:
            self._sums(unmaskings)
        else:
            self.book.skip(SUMS, _EARLIER)
            self.book.skip(LAYERS, _EARLIER)
        self._stored_layers()
        self._files()

    def _unmaskings(self) -> dict[int, Unmasking]:
        logged, book = self.logged, self.book
        handovers = read_handovers(logged, self.archive, book)
        book.steps[CONTRIBUTIONS].done = f"{len(handovers)} packages"
        if book.failed(CONTRIBUTIONS):
            book.skip(ANSWERS, _EARLIER)
            return {}
        found: dict[int, Unmasking] = {}
        with book.trying(ANSWERS, "plan and survivor list"):
            machine = bring_back(logged, handovers, self.site.home.root, self.site.home.crl)
            found = open_answers(logged, self.archive, machine, book)
        return found

    # Sums and layers, group by group

    def _sums(self, unmaskings: Mapping[int, Unmasking]) -> None:
        tiles, packages = 0, 0
        for done, (gid, unmasking) in enumerate(unmaskings.items(), start=1):
            listed = self.logged.survivors.group(gid)
            sent = {} if listed is None else survivors_of(self.logged, listed)
            packages += len(sent)
            if unmasking.group.cipher is not None:  # a sum of ciphertexts is recomputed as a whole, or not at all
                summed = decrypted_again(self.logged, self.archive, unmasking, sent, self._work, self.book)
                if summed is not None:
                    compare_sums(self.logged, self.archive, summed, self.book)
                    self._layer(summed)
            elif self.sample is not None:
                tiles += sample_group(self.logged, self.archive, unmasking, sent, self.sample, self.book)
            else:
                summed = sum_again(self.archive, unmasking, sent, self.book)
                if summed is not None:
                    compare_sums(self.logged, self.archive, summed, self.book)
                    self._layer(summed)
            self.progress.update("replay", done, len(unmaskings), "layers")
        what = f"{packages} vectors in {len(unmaskings)} groups"
        self.book.steps[SUMS].done = what if self.sample is None else f"{tiles} tiles of {what}"

    def _open_model(self) -> None:
        if self.sample is not None:
            self.book.skip(LAYERS, "a sample gives no layer")
        elif not self._has_layers:
            self.book.skip(LAYERS, "the result names no layers")
        elif self.site.model is None:
            self.book.skip(LAYERS, "left out, as asked for")
        elif find_spec("torch") is None:
            self.book.skip(LAYERS, NO_TORCH)
        else:
            with self.book.trying(LAYERS, f"the model in {self.site.model}"):
                from fedspallm_secure.app.audit.replay_model import ModelReplay

                self._model = ModelReplay(self.site.model, self.site.data, self.logged, self._work)

    @property
    def _has_layers(self) -> bool:
        return any(group.layer != NONE for group in self.logged.result.groups)

    def _layer(self, summed: Summed) -> None:
        gid = summed.group.gid
        said = self.logged.result.group(gid)
        if self._model is None or said is None or said.layer == NONE or summed.figures.violations:
            return
        with self.book.trying(LAYERS, f"layer {gid}", group=gid):
            digest = self._model.layer(summed)
            if digest != said.layer:
                text = f"layer {gid} comes out as {digest[:16]}..., and the result names {said.layer[:16]}..."
                self.book.differs(LAYERS, text, group=gid)

    # What lies on disk

    def _stored_layers(self) -> None:
        if not self._has_layers:
            self.book.skip(FILES, "the result names no layers")
            return
        if self.site.model is None or find_spec("torch") is None:
            self.book.skip(FILES, "left out, as asked for" if self.site.model is None else NO_TORCH)
            return
        with self.book.on(FILES):
            from fedspallm_secure.app.audit.replay_model import stored_digest

        for said in self.logged.result.groups:
            group = self.logged.plan.group(said.gid)
            if group is None or said.layer == NONE:
                continue
            with self.book.trying(FILES, f"layer {said.gid}", group=said.gid):
                if stored_digest(self.site.data, self.logged.number, group) != said.layer:
                    self.book.differs(FILES, f"layer {said.gid} on disk is not that of the result", group=said.gid)

    def _files(self) -> None:
        """Name, size and SHA-256 of every file of the model that the log names, and no file more."""
        if self.logged.files is None:
            self.book.skip(MODEL, "the log names no model after this round")
            return
        folder = self.site.data / f"model-{self.logged.number}"
        with self.book.on(MODEL), disk_errors(folder):
            there = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
            for file in self.logged.files:
                self._file(file, there.pop(file["name"], None))
            for name in sorted(there):
                self.book.differs(MODEL, f"{name} is not among the files that the log names")
            self.book.steps[MODEL].done = f"{len(self.logged.files)} files"

    def _file(self, said: Mapping[str, Any], path: Path | None) -> None:
        name = said["name"]
        if path is None:
            self.book.differs(MODEL, f"{name} is not there")
        elif path.stat().st_size != said["size"]:
            self.book.differs(MODEL, f"{name} has {path.stat().st_size} bytes, and the log names {said['size']}")
        elif sha256_file(path) != said["sha256"]:
            self.book.differs(MODEL, f"{name} is not the file that the log names")
