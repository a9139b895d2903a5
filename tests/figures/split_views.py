"""Servers that show two histories of one log: what comes of it once both meet.

    python -m tests.figures.split_views SEEDS SEED     prints the figures as JSON

Every seed is a real federation of two rounds.  Its server, with all its keys, makes another history that parts from
the true one at some entry, and is shorter, as long, or longer than what somebody has seen of the true one.  Then it is
shown to that somebody: to a member in packages with the log or in a header alone, to a witness likewise, or to an
auditor who holds it against what others have.  Wherever both histories meet, a proof has to come of it that names the
log's key.  A checkpoint without entries contradicts only checkpoints of its size: where nothing else is there, the
proof has to come as soon as the entries do.
"""

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedspallm_secure.app.audit.comparing import compare, read_view
from fedspallm_secure.app.audit.opening import open_log_at
from fedspallm_secure.app.audit.verifying import Basis, failure, verify
from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.errors import FedSpaError
from fedspallm_secure.protocol.audit.cosigning import Shown
from fedspallm_secure.protocol.audit.entries import EntryType
from fedspallm_secure.protocol.audit.log_bodies import LogBody
from fedspallm_secure.protocol.audit.split_view import SplitViewProof
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.survivors import ListedGroup, SurvivorList
from fedspallm_secure.storage.log_reader import DOCUMENTS
from tests.app.audit.real_log import MemoryLog, played, read
from tests.figures.kills import fast
from tests.figures.laid_log import Parties, another, laid, numbered
from tests.figures.spread import show, spread
from tests.figures.stage import tally
from tests.stationary import HUB, Action, Setting, Stations

MEMBER, WITNESS = "north", "ada"
WITNESSES = ("ada", "bo", "wyn")
LENGTHS = ("shorter", "as long", "longer")
PROOF, NO_PROOF = "a proof", "refused without a proof"


@dataclass(frozen=True)
class World:
    """A federation after its rounds, closed.  member, witness: how many entries each has seen."""

    folder: Path
    setting: Setting
    now: int
    parties: Parties
    member: int
    cosigned: tuple[int, ...]

    @property
    def true(self) -> list[bytes]:
        """The history that everybody has seen."""
        return self.parties.log.bodies

    @contextmanager
    def copy(self, *names: str) -> Iterator[Stations]:
        """These parties at work, in a copy."""
        folder = self.folder.with_name("copy")
        shutil.copytree(
            self.folder, folder, ignore=shutil.ignore_patterns("ca", "document-*"), copy_function=shutil.copy
        )
        found = Stations(folder, new=False, setting=self.setting)
        found.now = self.now
        try:
            for name in names:
                found.open(name)
            yield found
        finally:
            found.__exit__()
            shutil.rmtree(folder)


@dataclass(frozen=True)
class Other:
    """Another history.  parts: the first entry that is another."""

    what: str
    length: str
    bodies: list[bytes]
    parts: int


def world(folder: Path) -> World:
    """Play two rounds."""
    with played(folder, witnesses=WITNESSES, dishonest=1) as found:
        cosigners = [(station._signer, station.statement.key) for station in found.witnesses.values()]
        parties = Parties(read(found), found.server.scribe.statement, cosigners)
        kept = found.witnesses[WITNESS].post.journal.recall_all(f"cosigned {parties.log.key.name}")
        sizes = tuple(sorted(map(int, kept)))
        return World(folder, found.setting, found.now, parties, found.members[MEMBER].post.log.size, sizes)


# --- other histories --------------------------------------------------------------------------------------------------


def before_the_rounds(log: MemoryLog, parties: Parties, draw: random.Random) -> int:
    """An entry before any plan is another."""
    index = log.find(EntryType.SOFTWARE)
    log.bodies[index] = another(parties, index, log.entry(index).at)
    return index


def another_plan(log: MemoryLog, parties: Parties, draw: random.Random) -> int:
    """Other numbers in a plan."""
    index = log.find(EntryType.PLAN, 1)
    plan = Plan.from_dict(parse_canonical_json(log.documents[log.entry(index).data["document"]], "a plan"))
    made = replace(plan, nonce=draw.randbytes(32).hex())
    return log.put(index, {"hash": made.hash, "document": log.keep(canonical_json(made.to_dict()))})


def after_the_plan(log: MemoryLog, parties: Parties, draw: random.Random) -> int:
    """Something else happened right after a plan."""
    index = log.find(EntryType.PLAN, 1) + 1
    log.bodies.insert(index, another(parties, index, log.entry(index - 1).at))
    log.bodies = numbered(log.server, log.bodies, index)
    return index


def a_contribution_left_out(log: MemoryLog, parties: Parties, draw: random.Random) -> int:
    """As if it had never come."""
    index = log.find(EntryType.CONTRIBUTION, 1, draw.randrange(5))
    del log.bodies[index]
    log.bodies = numbered(log.server, log.bodies, index)
    return index


def another_list(log: MemoryLog, parties: Parties, draw: random.Random) -> int:
    """One survivor less in a group."""
    index = log.find(EntryType.SURVIVORS, 1)
    old = SurvivorList.parse(log.documents[log.entry(index).data["document"]])
    place = draw.randrange(len(old.groups))
    groups = list(old.groups)
    groups[place] = ListedGroup(groups[place].gid, groups[place].members[1:])
    made = SurvivorList.make(log.server, old.federation, old.round, old.plan_hash, groups, old.ended)
    return log.put(index, {"hash": made.hash, "document": log.keep(made.encode())})


def another_result(log: MemoryLog, parties: Parties, draw: random.Random) -> int:
    """Other sums."""
    index = log.find(EntryType.RESULT, 1)
    old = Result.parse(log.documents[log.entry(index).data["document"]])
    groups = [replace(one, counts=draw.randbytes(32).hex()) for one in old.groups]
    made = Result.make(
        log.server, old.federation, old.round, old.plan_hash, old.survivors, groups, old.ended, old.answered
    )
    return log.put(index, {"hash": made.hash, "document": log.keep(made.encode())})


WAYS: tuple[Callable[[MemoryLog, Parties, random.Random], int], ...] = (
    before_the_rounds,
    another_plan,
    after_the_plan,
    a_contribution_left_out,
    another_list,
    another_result,
)


def other(
    world: World, way: Callable[[MemoryLog, Parties, random.Random], int], length: str, seen: int, draw: random.Random
) -> Other:
    """Another history, against somebody who has seen so many entries of the true one."""
    log = world.parties.log.copy()
    parts = way(log, world.parties, draw)
    size = {"shorter": draw.randrange(parts + 1, seen), "as long": seen, "longer": seen + draw.randrange(1, 8)}[length]
    bodies = extended(world, log.bodies[:size], size)
    return Other(way.__name__.replace("_", " "), length, bodies, parts)


def extended(world: World, bodies: Sequence[bytes], size: int) -> list[bytes]:
    """With more entries, until there are so many."""
    made = list(bodies)
    at = world.parties.log.entry(len(world.true) - 1).at
    while len(made) < size:
        made.append(another(world.parties, len(made), at))
    return made


# --- who meets it -----------------------------------------------------------------------------------------------------


def to_member(found: Stations, world: World, bodies: Sequence[bytes], start: int, header: bytes | None = None) -> None:
    """The server sends a member the log.  header: the checkpoint in the header; None for the server's newest one."""
    body = LogBody(world.parties.statement, (), start, tuple(bodies[start:]), world.parties.note(bodies))
    _send(found, f"member/{MEMBER}", "log", body.encode(), header)


def _send(found: Stations, party: str, type: str, body: bytes, header: bytes | None = None) -> None:
    server = found.server
    if header is not None:
        server.scribe.checkpoint = lambda: header  # type: ignore[method-assign]
    with server.post.at_once():
        digest = server.post.send(type, Party.parse(party), [body])
    if header is not None:
        del server.scribe.checkpoint
    found.act(Action(party, "deliver", HUB, digest))
    found.station(party).work_through()


def member_by_packages(world: World, other: Other, draw: random.Random) -> str:
    """Entries of the other history come to a member, from before it parts on."""
    with world.copy(HUB, f"member/{MEMBER}") as found:
        to_member(found, world, other.bodies, draw.randrange(other.parts + 1))
        return outcome(found, f"member/{MEMBER}", world)


def member_by_a_late_package(world: World, other: Other, draw: random.Random) -> str:
    """Only entries come that the member does not have: nothing contradicts what it has, but the root.

    Where that is no proof yet, the true log goes on, beyond the size of the other.
    """
    with world.copy(HUB, f"member/{MEMBER}") as found:
        size = len(other.bodies)
        to_member(found, world, other.bodies, min(world.member, size))
        became = outcome(found, f"member/{MEMBER}", world)
        if became == PROOF or size <= world.member:
            return became
        to_member(found, world, extended(world, world.true, size + draw.randrange(3)), world.member)
        became = outcome(found, f"member/{MEMBER}", world)
        return f"{NO_PROOF}; then a proof as the true log goes on" if became == PROOF else became


def member_by_a_header(world: World, other: Other, draw: random.Random) -> str:
    """A package carries a checkpoint of the other history; later the true one goes on, beyond its size."""
    with world.copy(HUB, f"member/{MEMBER}") as found:
        header = world.parties.note(other.bodies).encode()
        to_member(found, world, world.true[: world.member], 0, header)
        if len(other.bodies) > world.member:
            to_member(found, world, extended(world, world.true, len(other.bodies) + draw.randrange(3)), world.member)
        return outcome(found, f"member/{MEMBER}", world)


def witness_is_asked(world: World, other: Other, draw: random.Random) -> str:
    """A witness is asked to cosign the other history."""
    with world.copy(HUB, f"witness/{WITNESS}") as found:
        start = world.cosigned[-1]
        tree, size = Tree(map(leaf_hash, other.bodies)), len(other.bodies)
        proof = tuple(tree.consistency(start, size)) if size >= start else ()
        shown = Shown(world.parties.statement, world.parties.note(other.bodies), start, proof)
        _send(found, f"witness/{WITNESS}", "checkpoint", shown.encode())
        return outcome(found, f"witness/{WITNESS}", world, other)


def witness_by_a_header(world: World, other: Other, draw: random.Random) -> str:
    """A package carries a checkpoint of the other history to a witness."""
    with world.copy(HUB, f"witness/{WITNESS}") as found:
        start = world.cosigned[-1]
        shown = Shown(world.parties.statement, world.parties.note(world.true[:start]), start)
        _send(found, f"witness/{WITNESS}", "checkpoint", shown.encode(), world.parties.note(other.bodies).encode())
        return outcome(found, f"witness/{WITNESS}", world, other)


def outcome(found: Stations, party: str, world: World, other: Other | None = None) -> str:
    """What a party made of it.  other: given for one that has no entries, where an auditor may have to compare."""
    post = found.post(party)
    paths = list(post.home.evidence.glob("split-view-*.json"))
    if paths:
        return holds(SplitViewProof.parse(paths[0].read_bytes()), world)
    told = [error for _, error in found.station(party).told]
    if other is None:
        return f"no proof: {told[-1] if told else 'nothing was refused'}"
    found.close(party)
    proof = settled(world, other, post.home.path)
    return f"{NO_PROOF if told else 'not noticed'}; {proof}" if PROOF in proof else proof


def holds(proof: SplitViewProof, world: World) -> str:
    """Whether a proof shows it, to somebody who has nothing else."""
    again = SplitViewProof.parse(proof.encode())
    again.check()
    log = world.parties.log
    again.note_key.check(log.server.public, log.entry(0).federation, log.entry(0).actor)
    return PROOF


def settled(world: World, other: Other, place: Path) -> str:
    """What an auditor finds who compares a place with the other history, and where that is too short, with the true one
    too.
    """
    found = compared(world, other, place)
    if found != "undecided":
        return found
    with folder_of(world, world.true, "true") as folder:
        proof = compared(world, other, place, folder)
    return f"undecided, as the log is too short; with a longer one {PROOF}" if proof == PROOF else proof


def compared(world: World, other: Other, *places: Path) -> str:
    """`fedprune audit compare` of the other history with what lies at these places."""
    with folder_of(world, other.bodies) as folder:
        try:
            found = compare([read_view(path) for path in (folder, *places)])
        except FedSpaError as error:
            return f"no proof: {type(error).__name__}: {error}"
        if found.proof is not None:
            return holds(found.proof, world)
        return "undecided" if found.undecided else "no proof: one history"


@contextmanager
def folder_of(world: World, bodies: Sequence[bytes], name: str = "other") -> Iterator[Path]:
    """A history as a server publishes it."""
    folder = world.folder.with_name(name)
    files = laid(world.parties, bodies, None)
    files.update({f"{DOCUMENTS}/{name}": data for name, data in world.parties.log.documents.items()})
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def auditor_has_both(world: World, other: Other, draw: random.Random) -> str:
    """Two copies of the log."""
    with folder_of(world, world.true, "true") as folder:
        return compared(world, other, folder)


def auditor_sees_a_member(world: World, other: Other, draw: random.Random) -> str:
    """The home of a member."""
    with world.copy() as found:
        return settled(world, other, found.ceremony.home(f"member/{MEMBER}"))


def auditor_sees_a_witness(world: World, other: Other, draw: random.Random) -> str:
    """The home of a witness, which has no entries."""
    with world.copy() as found:
        return settled(world, other, found.ceremony.home(f"witness/{WITNESS}"))


def auditor_sees_a_checkpoint(world: World, other: Other, draw: random.Random) -> str:
    """One checkpoint of the true history, of any size from where they part on; where it is too large, also a log."""
    path = world.folder.with_name("checkpoint")
    path.write_bytes(world.parties.note(world.true, draw.randrange(other.parts + 1, world.member + 1)).encode())
    return settled(world, other, path)


def auditor_is_given_a_checkpoint(world: World, other: Other, draw: random.Random) -> str:
    """`audit verify` of the other history, with a checkpoint of the true one."""
    size = draw.randrange(other.parts + 1, world.member + 1)
    given = world.folder.with_name("checkpoint")
    given.write_bytes(world.parties.note(world.true, size).encode())
    with folder_of(world, other.bodies) as folder, open_log_at(folder) as log:
        report = verify(log, world.parties.log.root, Basis(checkpoints=(given,)), lambda *_: None)
        error = failure(report)
    said = [one.text for step in report.steps if step.name == "V2" for one in step.findings]
    if error is None or not any(text.startswith("a checkpoint that was given") for text in said):
        return f"no proof: the audit says {error}"
    return f"the audit fails V2, exit code {error.exit_code}"


MEETINGS: tuple[Callable[[World, Other, random.Random], str], ...] = (
    member_by_packages,
    member_by_a_late_package,
    member_by_a_header,
    witness_is_asked,
    witness_by_a_header,
    auditor_has_both,
    auditor_sees_a_member,
    auditor_sees_a_witness,
    auditor_sees_a_checkpoint,
    auditor_is_given_a_checkpoint,
)


def seen_by(world: World, meeting: Callable[[World, Other, random.Random], str]) -> int:
    """How many entries of the true history were seen where it meets the other one."""
    return world.cosigned[-1] if "witness" in meeting.__name__ else world.member


def run(seed: int) -> tuple[dict[str, int], list[str]]:
    """One federation, and everything that its server can try."""
    draw = random.Random(seed)
    counts: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory(dir=fast()) as name:
        made = world(Path(name) / "played")
        for way in WAYS:
            for length in LENGTHS:
                for meeting in MEETINGS:
                    history = other(made, way, length, seen_by(made, meeting), draw)
                    became = meeting(made, history, draw)
                    counts.update(["meetings", f"{meeting.__name__.replace('_', ' ')}: {became.partition(':')[0]}"])
                    if became.startswith("no proof") or became == "undecided":
                        where = f"seed {seed}, {history.what} from {history.parts} on, {length} ({len(history.bodies)})"
                        failures.append(f"{where}, {meeting.__name__}: {became}")
    return dict(counts), failures


def figures(seeds: int, seed: int, workers: int | None = None) -> dict[str, Any]:
    """So many federations."""
    found = list(spread(run, [seed * 10_000 + number for number in range(seeds)], workers))
    return {
        "seeds": seeds,
        "ways": len(WAYS) * len(LENGTHS),
        "counts": tally(counts for counts, _ in found),
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:3])))
