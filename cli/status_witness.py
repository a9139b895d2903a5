"""The tables of a witness's status: what it has signed, and what is to be carried."""

from collections.abc import Mapping
from typing import Any

from fedprune_cli.console import shown
from fedprune_cli.spelling import ago
from fedprune_cli.status_member import leaving
from rich.console import Group, RenderableType
from rich.text import Text

Facts = Mapping[str, Any]


def witness_blocks(found: Facts, width: int) -> list[RenderableType]:
    """What was signed, and what leaves.  width: columns."""
    if found["state"] == "not begun":
        return []
    log, signed, now = found["log"], found["signed"], found["now"]
    lines = [f"Key: {found['vkey']}"]
    if log is not None:
        lines.append(f"Log {log['origin']}: {log['size']:,} entries cosigned {ago(log['at'], now)}")
        lines.append(f"Root: {log['root']}")
    if signed is not None:
        lines.append(f"Round {signed['round']}: signed {', '.join(signed['types'])}")
    if found["evidence"]:
        lines.append(f"Proofs against somebody, in evidence/ of your home: {', '.join(found['evidence'])}")
    way = "carried by hand" if found["by_hand"] else "over the network"
    contact = "never" if found["last_contact"] is None else ago(found["last_contact"], now)
    lines.append(f"{found['server']}, {way}: last contact {contact}")
    blocks: list[RenderableType] = [Group(*(Text(shown(line)) for line in lines))]
    if found["leaving"]:
        blocks.append(leaving(found))
    return blocks
