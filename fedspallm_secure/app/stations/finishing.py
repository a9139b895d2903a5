"""What a server needs of the model that is pruned, and the layers that it sends to everybody in the end."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fedspallm_secure.app.rounds.planning import LayerBase
from fedspallm_secure.app.rounds.vectors import Released
from fedspallm_secure.app.stations.post import Post
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import PackageRefused, TrustError
from fedspallm_secure.protocol.packages import NONE
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.plans import Plan
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.storage.package_writer import Source


class Finisher(Protocol):
    """Turns sums into layers of the model."""

    def layer(self, plan: Plan, released: Released) -> str:
        """Take the server step on the sums of one group, and keep the layer; its digest, hex.

        Again for the same sums it gives the same.  Raises StorageError, RecordDamaged.
        """

    def body(self, plan: Plan, gid: int) -> Path:
        """A file with the body of the package `layer` of this group, which is made if it is not there."""


class Model(Finisher, Protocol):
    """The model that is pruned, as the server has it.  layers: decoder layers."""

    layers: int

    def bases(self, gids: Collection[int]) -> Mapping[int, LayerBase]:
        """The layers as the next round starts from them."""

    def origin(self) -> str:
        """Digest of the model before any round, hex.  The first time the whole model is read."""

    def complete(self, plan: Plan, result: Result, proof: Mapping[str, object]) -> None:
        """A round has its result: its layers are what the next one starts from.  Again for the same round: nothing.

        proof: plain data, to be published with the model.
        """

    def files(self) -> Sequence[Mapping[str, Any]]:
        """Name, size and sha256 of the files of the pruned model, sorted by name; none as long as it is not written."""


def publish_layers(
    post: Post, machine: Server, finisher: Finisher, without: Collection[Party]
) -> list[tuple[Party, Exception]]:
    """Send the layers of a round that has a result, each once under one roster; goes on after a crash.

    without: to these nothing; to everybody else.  Returns whom nothing can be sealed to, and why.
    """
    result, number, told = machine.result, machine.plan.round, list[tuple[Party, Exception]]()
    if result is None:
        return told
    auditors = [one.party for one in post.trust.roster.entries if one.party.role is Role.AUDITOR]
    kind = f"published {number} {post.trust.roster.hash}"
    done = post.journal.recall_all(kind)
    for found in result.groups:
        for party in (*machine.members(), *auditors):
            name = f"{found.gid} {party}"
            if name not in done and found.layer != NONE and party not in without:
                with post.at_once():
                    try:
                        _send_layer(post, machine, finisher.body(machine.plan, found.gid), found.gid, party)
                    except (TrustError, PackageRefused) as error:
                        told.append((party, error))
                    post.remember(kind, name, True)
    return told


def _send_layer(post: Post, machine: Server, path: Path, gid: int, party: Party) -> None:
    with path.open("rb") as file:
        source = Source.of(file.fileno(), path)
        post.send("layer", party, source, machine.plan.round, machine.plan_hash, str(gid))
