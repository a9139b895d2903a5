"""What a round between processes was, in the form of `rounds.simulated`, so that one report draws both.

Who took part, what was sent and how long it took stand in the server's journal.  How exact the sums were cannot be seen
there, nor anywhere in a federation: it is found by pruning again in this process, where all texts are at hand, and
adding up in the open.  Nobody but a demonstration can do that.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from fedspallm_secure.app.configuration.federation import read_federation
from fedspallm_secure.app.rounds.figures import group_figures
from fedspallm_secure.app.rounds.simulated import Checked
from fedspallm_secure.app.rounds.vectors import Released, Streams, layer_streams
from fedspallm_secure.app.server import ServerSpec, sum_contributions, write_aggregate
from fedspallm_secure.app.service.status_server import Round, round_of
from fedspallm_secure.app.service.watched import Seen, Sent, watch
from fedspallm_secure.app.simulation import Simulation
from fedspallm_secure.app.stations.layers import digest_of
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import RoundAborted
from fedspallm_secure.protocol.rounds.groups import GroupPlan
from fedspallm_secure.pruning.patterns import parse_target
from fedspallm_secure.storage import home_folder
from fedspallm_secure.storage.checkpoints.layers import load_layer
from fedspallm_secure.storage.checkpoints.stored_layers import stored_layer

_BEGINS: Final = {"collecting": "plan", "endorsing": "survivors", "unmasking": "unmask-request", "": "result"}


Prune = Callable[[str], Mapping[int, Path]]  # name of a silo -> layer -> file, in this process


def round_account(
    federation: Path, run: Simulation, home: Collection[str], prune: Prune | None = None
) -> dict[str, Any]:
    """The last round of a server, as plain data.

    federation: its federation.toml; run: a simulation of the same members, texts and seeds, whose members prune every
    layer; home: members who are known to have everything that was sent to them; prune: how, if not as who prunes
    alone.  Prunes for every silo unless that was done before.  Raises RoundAborted for a round without a result.
    """
    config = read_federation(federation)
    with watch(config.server.home / home_folder.REGISTER) as watched:
        number = watched.last_round() if watched.has_begun() else 0
        found = round_of(watched, number, config) if number else None
        if found is None or found.result is None:
            raise RoundAborted(f"round {number} has no result")
        inbox = [seen for one in (0, number) for seen in watched.inbox(one)]
        outbox = [sent for one in (0, number) for sent in watched.outbox(one)]
    plan, groups = found.plan, found.plan.groups
    with _one_thread():
        members = sorted({member for group in groups for member in group.cohort})
        again = prune or (lambda member: run.standalone(member).layers)
        alone = {member: again(member) for member in members}
    checked, clipped, equal = Checked(), 0, 0
    for group in groups:
        files = [alone[member][group.gid] for member in found.survivors(group.gid)]
        more, digest = _add_up(found, group, files, run, checked)
        clipped += more
        equal += digest == next(one.layer for one in found.result.groups if one.gid == group.gid)
    answered = {Party.parse(seen.sender).id for seen in inbox if seen.type in ("unmask-response", "decrypt-response")}
    return {
        "round": plan.round,
        "plan_hash": plan.hash,
        "result": found.result.hash,
        "profile": plan.profile.value,
        "colluders": plan.colluders,
        "sample": 0 if plan.key_holder is None else plan.key_holder.sample,
        "groups": [group_figures(group, found.survivors(group.gid)) for group in groups],
        "answered": sorted(answered),
        "clipped": clipped,
        "exactness": checked.exactness.to_dict(),
        "leakage": checked.leakage.to_dict(),
        "recomputed": {"layers": len(groups), "equal": equal},
        "wire": wire_account(inbox, outbox, home, alone),
        "seconds": seconds_account(outbox),
        "blamed": [],
    }


def _add_up(found: Round, group: GroupPlan, files: list[Path], run: Simulation, checked: Checked) -> tuple[int, str]:
    """Add up the vectors of one layer in the open, and take the server step on them.

    How many values were clipped, and the digest of the layer that comes out.
    """
    plan, block = found.plan, run.workshop.skeleton.blocks[group.gid]
    base = {name: matrix.weight.float() for name, matrix in run.dense.matrices(block).items()}
    total, clipped = Streams.empty(group), 0
    for file in files:
        streams, more = layer_streams(group, load_layer(file)[0], base)
        clipped += more
        total.count[:] += streams.count  # no field overflows: a plan that allows it is refused
        if total.total is not None and streams.total is not None and group.sums is not None:
            words = total.total.view(group.sums.signed)
            np.add(words, streams.total.view(group.sums.signed), out=words)
    released = Released.of(group, total, len(files))
    target = parse_target(plan.target)
    plain = sum_contributions(block, files, plan.strategy)
    checked.take(released, released.matrix_sums(base), plain, base, target, run.dense.frozen(block))
    spec = ServerSpec(target, plan.strategy, plan.compare)
    folder = run.work / "recomputed"
    path = write_aggregate(block, run.dense, released.matrices(), spec, folder, len(files))
    return clipped, digest_of(group, stored_layer(path))


@contextmanager
def _one_thread() -> Iterator[None]:
    """As the members' processes did it: sums of floats depend on how many threads share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wire_account(
    inbox: Iterable[Seen], outbox: Iterable[Sent], home: Collection[str], members: Iterable[str]
) -> dict[str, Any]:
    """Packages and bytes that arrived, by type and by party.

    home: members who have everything that was sent to them, even where the server does not know it yet; what was made
    for others counts if it departed.
    """
    by_type: dict[str, dict[str, int]] = {}
    parties = {member: {"sent": _nothing(), "received": _nothing()} for member in members}
    for seen in inbox:
        _count(by_type.setdefault(seen.type, _nothing()), seen.size)
        _count(_of(parties, seen.sender)["sent"], seen.size)
    for sent in outbox:
        if sent.departed is not None or Party.parse(sent.recipient).id in home:
            _count(by_type.setdefault(sent.type, _nothing()), sent.size)
            _count(_of(parties, sent.recipient)["received"], sent.size)
    return {
        "by_type": by_type,
        "by_party": parties,
        "sent_by_silo": {member: found["sent"]["bytes"] for member, found in parties.items()},
    }


def _of(parties: dict[str, dict[str, dict[str, int]]], name: str) -> dict[str, dict[str, int]]:
    return parties.setdefault(Party.parse(name).id, {"sent": _nothing(), "received": _nothing()})


def _nothing() -> dict[str, int]:
    return {"packages": 0, "bytes": 0}


def _count(into: dict[str, int], size: int) -> None:
    into["packages"] += 1
    into["bytes"] += size


def seconds_account(outbox: Iterable[Sent]) -> dict[str, float]:
    """Seconds of each stage, from what the server sent when it began; to the second, as the journal has it."""
    first: dict[str, int] = {}
    for sent in outbox:
        first[sent.type] = min(sent.at, first.get(sent.type, sent.at))
    begun: Mapping[str, int] = {stage: first[type] for stage, type in _BEGINS.items() if type in first}
    times = list(begun.items())
    return {stage: float(end - begin) for (stage, begin), (_, end) in pairwise(times)}
