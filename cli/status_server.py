"""The tables of a server's status: layers with their cohorts, and members."""

from collections.abc import Mapping
from typing import Any

from fedprune_cli.console import counted
from fedprune_cli.spelling import ago, listed, numbers
from fedprune_cli.status_member import leaving
from fedprune_cli.status_text import titled
from rich.console import RenderableType

Facts = Mapping[str, Any]
_NAMES = 6  # in one cell of a table


def server_blocks(found: Facts, width: int) -> list[RenderableType]:
    """Layers and members.  width: columns."""
    blocks = []
    if found["round"]:
        blocks.append(_layers(found["round"]))
    if found.get("members"):
        blocks.append(_members(found, width))
    if found.get("leaving"):
        blocks.append(leaving(found, "To be carried, or fetched by those who are connected: fedprune bundle export"))
    return blocks


def _layers(part: Facts) -> RenderableType:
    """Layers that stand alike are one row."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for group in part["groups"]:
        alike.setdefault(tuple(_row(group, part["state"])), []).append(group["layer"])
    rows = [[numbers(layers), *row] for row, layers in alike.items()]
    return titled("Layers", ["layers", "cohort", "needed", "delivered", _last(part["state"])], rows)


def _last(state: str) -> str:
    return "awaited" if state == "collecting" else "left out"


def _row(group: Facts, state: str) -> list[str]:
    size = f"{len(group['cohort'])}"
    counts = [size, f"{group['needed']}", f"{len(group['delivered'])}"]
    if group["ended"]:
        by = f", by {listed(group['named'], _NAMES)}" if group["named"] else ""
        return [*counts, f"ended: {group['ended']}{by}"]
    if state == "collecting":
        return [*counts, listed(group["awaited"], _NAMES)]
    return [*counts, listed(sorted(set(group["cohort"]).difference(group["survivors"])), _NAMES)]


def _members(found: Facts, width: int) -> RenderableType:
    """One row a member; the software only where there is room."""
    part, wide = found["round"], width >= 100
    columns = ["member", "offers", "prekeys", "plan", "sent", "then", "last heard"]
    rows = []
    for one in found["members"]:
        offers = (
            "nothing yet"
            if one["offered"] is None
            else f"{one['layers']} {counted(one['layers'], 'layers')}"
            if one["layers"]
            else "all layers"
        )
        prekeys = "" if one["prekeys"] is None else f"{one['prekeys']} left"
        fetched = "" if not one["due"] else "fetched" if one["plan_fetched"] else "not fetched"
        sent = f"{one['delivered']} of {one['due']}" if one["due"] else ""
        heard = "never" if one["last_heard"] is None else ago(one["last_heard"], found["now"])
        software = [one["software"] or ""] if wide else []
        name = f"{one['member']} ({one['certificate']})" if one["certificate"] else one["member"]
        rows.append([name, offers, prekeys, fetched, sent, _then(one["member"], part), heard, *software])
    return titled("Members", columns + ["software"] * wide, rows)


def _then(member: str, part: Facts | None) -> str:
    """What a member has done after collecting."""
    if part is None:
        return ""
    if f"member/{member}" in part["answers"]["here"]:
        return "answered"
    for one in part["declined"]:
        if one["member"] == member:
            return f"declined: {one['check']}"
    if f"member/{member}" in part["endorsements"]["here"]:
        return "endorsed"
    return ""
