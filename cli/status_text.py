"""The parts of a status that servers and members have in common, as text for people; readable at 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedprune_cli.console import megabytes, rate, share, shown
from fedprune_cli.services import Cell, text_table
from fedprune_cli.spelling import ago, alike, listed, moment, numbers, span
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fedspallm_secure.app.service.watched import SAYS

Facts = Mapping[str, Any]
_TINY = 1 << 20  # bytes
_STATES = {
    "not begun": "nothing has run here yet",
    "offers": "the first round has not begun",
    "collecting": "members prune and send their contributions",
    "endorsing": "the list of those who sent is being signed",
    "unmasking": "members help to open the sum",
    "summing": "the sum is opened and turned into layers",
    "finished": "the round is over and what came out is sent to all",
    "between rounds": "the next round has not begun",
    "done": "all rounds are done",
    "given up": "another attempt gives no result, or there were too many",
    "waiting for a plan": "the server has not opened a round with you yet",
    "planned": "your layers are being pruned and sent",
    "endorsed": "you signed the list of those who sent; the request to unmask is awaited",
    "answered": "you helped to open the sum; the result is awaited",
    "closed": "your part of the round is over",
    "left": "you take part in no more rounds",
    "waiting for a checkpoint": "the server has shown you nothing of its log yet",
    "decrypting": "the server has opened a round; its sums are awaited, or being decrypted",
    "cosigning": "the log is cosigned as far as the server has shown it",
}
_DECRYPTS = "the key holder decrypts the sums"


def head(found: Facts) -> Text:
    """Whose status it is, and whether anything runs."""
    running = f"running, pid {found['pid']}" if found["running"] else "not running"
    return Text.assemble((shown(found["party"]), "bold"), f" of {shown(found['federation'])}: ", (running, "bold"))


def facts(found: Facts) -> RenderableType:
    """Names and values, a line each, those that say something."""
    now, part = found["now"], found["round"]
    lines = [("Round", _round(found))] if part else []
    if found["role"] == "server" and not part and found.get("rounds"):
        lines.append(("Rounds", f"none yet of {found['rounds']['of'] or 'as many as budgets need'}"))
    lines.append(("State", f"{found['state']}: {_state(found['state'], part, bool(found.get('declined')))}"))
    if part and part.get("since") and not part.get("over"):
        lines.append(("Since", f"{moment(part['since'], now)}, {ago(part['since'], now)}"))
    if part and part.get("deadline") and not part.get("over"):
        lines.append(("Until", f"{moment(part['deadline'], now)}, {_left(part['deadline'] - now)}"))
    lines += [("Waiting", text) for text in _waiting(found)]
    if part and part.get("cost"):
        lines.append(("Cost", part["cost"]["text"]))
    for (check, reason), members in alike(part.get("declined", ()) if part else (), "check", "reason").items():
        lines.append(("Declined", f"{listed(members, 8)} declined the plan by {check}: {reason}"))
    if declined := found.get("declined"):
        lines.append(("Declined", f"the plan of round {declined['round']} by {declined['reason']}"))
    lines += [("Result", part["result"])] if part and part.get("result") else []
    if found.get("model"):
        of = f", of round {found['model_round']}" if found.get("model_round") else ""
        lines.append(("Model", f"{found['model']}{of}"))
    if found.get("control"):
        wish = f"round {found['control']['round']} is to be aborted" if "round" in found["control"] else "to leave"
        lines.append(
            ("Asked for", f"{wish}; {'' if found['running'] else 'obeyed when the service starts'}".rstrip("; "))
        )
    lines += [("Trouble", found["trouble"])] if found.get("trouble") else []
    lines += [("Trouble", found["lacking"])] if found.get("lacking") else []
    lines += [("Mind", text) for text in found.get("warnings", ())]
    boxes = [f"{name} {_box(found[name])}" for name in ("inbox", "outbox")]
    lines.append(("Packages", ", ".join(boxes)))
    lines.append(("Disk", f"{megabytes(found['disk_free'])} free at {found['data']}"))
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in lines:
        table.add_row(Text(name, style="bold"), Cell(value))
    return table


def _state(state: str, part: Facts | None, declined: bool) -> str:
    """What a state means.  declined: whether the member declined the newest plan."""
    if state == "waiting for a plan" and declined:
        return "you have accepted none yet"
    if state == "unmasking" and part and part["profile"] == "one-trip":
        return _DECRYPTS
    if state == "finished" and part and not part["result"]:
        return f"the round is over, without a result: {', '.join(sorted({group['ended'] for group in part['groups']}))}"
    return _STATES[state]


def _round(found: Facts) -> str:
    part = found["round"]
    if found["role"] == "key-holder":
        return f"{part['round']}, {len(part['groups'])} sums"
    of = found["rounds"]["of"] if "rounds" in found else part["of"]
    return f"{part['round']}, step {part['step']} of {of}, to {part['target']} sparsity, {part['profile']}"


def _left(seconds: int) -> str:
    return f"{span(seconds)} left" if seconds >= 0 else f"{span(-seconds)} over time"


def _waiting(found: Facts) -> list[str]:
    """What is awaited; what the service says itself is shown where the journal does not tell."""
    part = found["round"]
    if found["role"] == "server" and part and not part["over"]:
        awaited = {id for group in part["groups"] for id in group["awaited"]}
        if part["state"] == "endorsing":
            awaited = {who.removeprefix("member/") for who in part["endorsements"]["awaited"]}
        elif part["state"] == "unmasking":
            awaited = {who.removeprefix("member/") for who in part["answers"]["awaited"]}
        return [f"for {listed(sorted(awaited), 8)}"] if awaited else []
    if found["role"] == "server" and found["state"] == "offers":
        gone = ("withdrawn", "not valid")  # no round waits for these
        missing = [
            row["member"] for row in found["members"] if row["offered"] is None and row["certificate"] not in gone
        ]
        if missing:
            return [f"for offers of {listed(missing, 8)}"]
    said = found.get("phase") or ""
    known = said in ("", found["state"], _STATES[found["state"]])
    return [said] if said.startswith(SAYS) or (not known and found["role"] == "server") else []


def _box(box: Facts) -> str:
    if not box["packages"]:
        return "empty"
    return f"{box['packages']:,} ({megabytes(box['bytes'])})"


def titled(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """A table under its title."""
    return Group(Text(title, style="bold"), text_table(columns, rows))


def moving(found: Facts) -> list[RenderableType]:
    """What is on the way, and long work."""
    rows = []
    for one in found.get("transfers", ()):
        what = f"{one['type']} {numbers([int(one['group'])]) if one['group'].isdigit() else ''}".strip()
        amount = f"{megabytes(one['done'])} of {megabytes(one['size'])}"
        left = "standing still" if one["left"] is None else f"{span(one['left'])} left"
        speed = f"{megabytes(one['rate'])}/s"
        if one["done"] >= one["size"]:  # the other end has not said yet that it is whole
            speed, left = "", "complete"
        elif one["left"] is None and one["size"] < _TINY:  # over before it could be measured
            speed = left = ""
        rows.append([one["direction"], one["peer"], what, amount, speed, left])
    blocks = [titled("On the way", ["", "with", "package", "moved", "rate", "about"], rows)] if rows else []
    for one in found.get("work", ()):
        speed = "" if one["left"] is None else f", {rate(one['rate'], one['unit'])}, about {span(one['left'])} left"
        blocks.append(Text(shown(f"{one['task']}: {share(one['done'], one['total'], one['unit'])}{speed}")))
    if not rows and found.get("arriving"):
        here = [[one["sender"], megabytes(one["bytes"])] for one in found["arriving"]]
        blocks.append(titled("Arriving", ["from", "here so far"], here))
    return blocks


def refused(found: Facts) -> list[RenderableType]:
    """What was refused last; the whole reason, for it says what to do."""
    rows = [
        [ago(one["at"], found["now"]), one["sender"], _package(one), one["check"], _without_check(one)]
        for one in found.get("refused", ())[:8]
    ]
    return [titled("Refused", ["when", "sender", "package", "check", "reason"], rows)] if rows else []


def _without_check(one: Facts) -> str:
    """The reason without the number of the check, which has a column of its own."""
    return str(one["reason"]).removeprefix(f"{one['check']}: ")


def _package(one: Facts) -> str:
    layer = "" if one["layer"] is None else f" {one['layer']}"
    return f"{one['type']}{layer}"
