"""The tables of a member's status: own layers, what came out, and what waits to be sent."""

from collections.abc import Mapping
from typing import Any

from fedprune_cli.console import megabytes, shown
from fedprune_cli.spelling import ago, numbers
from fedprune_cli.status_text import titled
from rich.console import Group, RenderableType
from rich.text import Text

from fedspallm_secure.app.privacy.standing import sentence

Facts = Mapping[str, Any]
_STATES = {
    "due": "to be pruned",
    "sealing": "pruned, being hidden and sealed now",
    "lost": "lost: stopped in the middle, so you count as dropped out of them",
    "waits": "pruned, not sent yet",
    "sent": "sent, no receipt yet",
    "received": "sent, receipt here",
    "listed": "in the sum",
    "unlisted": "not in the sum",
    "ended": "ended without a sum",
}


def member_blocks(found: Facts, width: int) -> list[RenderableType]:
    """Own part, what came out, what leaves.  width: columns."""
    if found["state"] == "not begun":
        return []
    blocks: list[RenderableType] = []
    part = found["round"]
    if part:
        blocks.append(_layers(part))
    blocks.append(_more(found))
    if found["leaving"]:
        blocks.append(leaving(found))
    return blocks


def _layers(part: Facts) -> RenderableType:
    alike: dict[tuple[str, str], list[int]] = {}
    for layer in part["layers"]:
        code = f": {layer['code']}" if layer["code"] else ""
        alike.setdefault((f"{layer['cohort']}", _STATES[layer["state"]] + code), []).append(layer["layer"])
    return titled("Your layers", ["layers", "cohort", "state"], [[numbers(gids), *row] for row, gids in alike.items()])


def _more(found: Facts) -> RenderableType:
    part, follows, now = found["round"], found["follows"], found["now"]
    lines = []
    if part:
        steps = [("list", part["list"]), ("endorsed", part["endorsed"]), ("answered", part["answered"])]
        said = [name if done else f"not {name}" if name != "list" else "no list yet" for name, done in steps]
        if part["profile"] != "three-trip":
            said.pop(1)
        code = part["ended"].get("*")
        result = (
            "a result" if part["result"] else f"no result, for the round ended: {code}" if code else "no result yet"
        )
        lines.append(f"You have: {', '.join(said)}; {result}")
    if follows and follows["result"]:
        here = "all came" if found["lacking"] else "all here"
        gone = follows["missing"]
        layers = f"layer {gone[0]} is" if len(gone) == 1 else f"layers {numbers(gone)} are"
        lack = f"{layers} missing" if gone else here
        lines.append(f"Layers of round {follows['round']}: {follows['layers']} in the result; {lack}")
    if found["prekeys"] is not None:
        lines.append(f"Prekeys: {found['prekeys']} left")
    if found["privacy"] is not None:
        lines.append(f"Privacy: {sentence(found['privacy'])}")
    way = "carried by hand" if found["by_hand"] else "over the network"
    contact = "never" if found["last_contact"] is None else ago(found["last_contact"], now)
    lines.append(f"{found['server']}, {way}: last contact {contact}")
    return Group(*(Text(shown(line)) for line in lines))


def leaving(found: Facts, title: str = "") -> RenderableType:
    """Packages that are still to be sent or carried.  title: of the table, where it is another one."""
    title = title or ("To be carried: fedprune bundle export" if found["by_hand"] else "Not sent yet")
    rows = []
    for one in found["leaving"]:
        round = f"{one['round']}" if one["round"] else ""
        size = f"{one['packages']:,} ({megabytes(one['bytes'])})"
        rows.append([one["recipient"], one["type"], round, size, ago(one["since"], found["now"])])
    return titled(title, ["to", "package", "round", "packages", "made"], rows)
