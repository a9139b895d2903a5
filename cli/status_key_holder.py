"""The tables of a key holder's status: its keys, and the sums of the newest round."""

from collections.abc import Mapping
from typing import Any

from fedprune_cli.console import shown
from fedprune_cli.services import text_table
from fedprune_cli.spelling import ago
from fedprune_cli.status_member import leaving
from rich.console import Group, RenderableType
from rich.text import Text

Facts = Mapping[str, Any]


def key_holder_blocks(found: Facts, width: int) -> list[RenderableType]:
    """Keys, sums and what leaves.  width: columns."""
    if found["state"] == "not begun":
        return []
    round = found["round"]
    lines = [f"Keys that lie ready at the server: {found['keys_ready']}"]
    way = "carried by hand" if found["by_hand"] else "over the network"
    contact = "never" if found["last_contact"] is None else ago(found["last_contact"], found["now"])
    lines.append(f"{found['server']}, {way}: last contact {contact}")
    if round is not None:
        key = "its key is wiped" if round["over"] else "its key is in use"
        lines.append(f"Round {round['round']}: {key}")
    blocks: list[RenderableType] = [Group(*(Text(shown(line)) for line in lines))]
    if round is not None:
        rows = [
            [
                str(group["layer"]),
                f"{group['survivors']} of {group['cohort']}, {group['survivors_needed']} needed",
                f"{group['sampled']} of {group['chunks']}",
                "yes" if group["decrypted"] else "no",
            ]
            for group in round["groups"]
        ]
        blocks.append(text_table(["layer", "members in the sum", "chunks added up again", "decrypted"], rows))
    if found["leaving"]:
        blocks.append(leaving(found))
    return blocks
