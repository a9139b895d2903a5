"""What one entry of a log says, in plain words, for people who were not there.  Pure; nothing in it was verified."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fedspallm_secure.app.reporting.numbers import SPACE, count, duration, listed, plural, size
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, read_head

NAMED: Final = 6  # names in a sentence; of more, how many

ENDS: Final = {
    "TOO_FEW_CONTRIBUTIONS": "too few members handed in a vector",
    "TOO_FEW_ENDORSEMENTS": "too few signed the list of those in the sum",
    "TOO_FEW_RESPONSES": "too few helped to open the sum",
    "BAD_DEALING": "somebody's shares do not open what they were dealt for",
    "SUM_OUT_OF_RANGE": "the sum holds numbers that honest vectors cannot add up to",
    "STOPPED": "the server's operator stopped it",
}


def moment(at: int) -> str:
    """Unix seconds as "2026-11-26 00:26:18 UTC"."""
    return f"{clock(at)} UTC"


def clock(at: int) -> str:
    """Unix seconds as "2026-11-26 00:26:18", in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def day(at: int) -> str:
    """Unix seconds as "2026-11-26", in UTC."""
    return clock(at)[:10]


def names(ids: Sequence[str], most: int = NAMED) -> str:
    """Ids in a sentence; nobody, if there are none."""
    if not ids:
        return "nobody"
    return listed([*ids[:most], f"{count(len(ids) - most)} more"] if len(ids) > most else list(ids))


def lasted(seconds: int) -> str:
    """A time between two entries, whose times are whole seconds."""
    return f"{seconds}{SPACE}s" if seconds < 60 else duration(seconds)


def entries(indices: Sequence[int], most: int = 12) -> str:
    """Indices as "entry 3" or "entries 3, 4 and 7"; of more than `most`, how many."""
    noun = "entry" if len(indices) == 1 else "entries"
    return f"{noun} {names([str(index) for index in indices], most)}"


def ended(code: str) -> str:
    """Why a group or a round ended without a sum."""
    return ENDS.get(code, code)


def package_size(entry: Entry) -> int | None:
    """Bytes of the package whose head the entry shows; None if it shows none."""
    head = entry.data.get("head")
    return None if head is None else read_head(head).size


def say(entry: Entry) -> str:
    """The entry as one sentence without its time."""
    return _SAYINGS[entry.type](entry, entry.data).replace(SPACE, " ")  # also for terminals


def _contribution(entry: Entry, data: Any) -> str:
    return f"{entry.actor.id} handed in its vector for layer {data['group']} ({size(read_head(data['head']).size)})"


def _refusal(entry: Entry, data: Any) -> str:
    if data["type"] == "decline":
        return f"{entry.actor} declined the plan by check {data['check']}"
    layer = "" if data["group"] == "*" else f" for layer {data['group']}"
    article = "an" if data["type"][:1] in "aeiou" else "a"
    why = f"it failed check {data['check']}" if data["check"] else "it came too late, or a second time"
    return f"{article} {data['type']} of {entry.actor}{layer} was not taken: {why}"


def _complaint(_: Entry, data: Any) -> str:
    told = f"layer {data['group']} does not pass check {data['check']}"
    blamed = [f"{names(data['guilty'])} did it"] if data["guilty"] else []
    blamed += [f"it was one of {names(data['suspects'])}"] if data["suspects"] else []
    return f"{told}: {'; '.join(blamed)}" if blamed else told


def _group_ended(_: Entry, data: Any) -> str:
    named = f" ({names(data['named'])})" if data["named"] else ""
    return f"layer {data['group']} ended without a sum: {ended(data['code'])}{named}"


def _model(_: Entry, data: Any) -> str:
    files = data["files"]
    return f"the model of this result was written: {plural(len(files), 'file')}, {size(sum(f['size'] for f in files))}"


def _witnesses(_: Entry, data: Any) -> str:
    return f"the witnesses of this log were named: {plural(len(data['note_keys']), 'key')}"


_SAYINGS: Final[Mapping[EntryType, Callable[[Entry, Any], str]]] = {
    EntryType.GENESIS: lambda entry, data: f"the log {data['origin']} of {entry.actor} begins",
    EntryType.ROSTER: lambda entry, data: f"roster {data['version']} is in force",
    EntryType.CERTIFICATE: lambda entry, data: (
        f"{entry.actor} has a new certificate, from {day(data['not_before'])} to {day(data['not_after'])}"
    ),
    EntryType.REVOCATIONS: lambda entry, data: f"revocation list {data['number']} is in force",
    EntryType.SOFTWARE: lambda entry, data: f"the server runs {data['name']}",
    EntryType.WITNESSES: _witnesses,
    EntryType.PREKEYS: lambda entry, data: f"{entry.actor.id} published one-time keys",
    EntryType.ROUND_OPEN: lambda entry, data: (
        f"round {entry.round} was opened" + (", with a seed drawn by witnesses" if data["opening"] else "")
    ),
    EntryType.PLAN: lambda entry, data: "the plan was fixed: who takes part in what, with which thresholds",
    EntryType.CONTRIBUTION: _contribution,
    EntryType.REFUSAL: _refusal,
    EntryType.EQUIVOCATION: lambda entry, data: f"{entry.actor} made two different packages under one number",
    EntryType.SURVIVORS: lambda entry, data: "the list of those in the sums was made",
    EntryType.ENDORSEMENT: lambda entry, data: f"{entry.actor} signed the list",
    EntryType.UNMASK_REQUEST: lambda entry, data: (
        f"{names(data['recipients'])} were asked to help open the sums"
        if data["recipients"]
        else "the key holder was asked to decrypt the sums"
    ),
    EntryType.UNMASK_RESPONSE: lambda entry, data: f"{entry.actor.id} helped to open the sums",
    EntryType.DECRYPT_CHALLENGE: lambda entry, data: (
        f"{entry.actor} asked to see parts of the vectors in the sum of layer {data['group']}, to add them up again"
    ),
    EntryType.DECRYPT_RESPONSE: lambda entry, data: f"{entry.actor} decrypted the sum of layer {data['group']}",
    EntryType.COMPLAINT: _complaint,
    EntryType.GROUP_ENDED: _group_ended,
    EntryType.RESULT: lambda entry, data: "the result was signed",
    EntryType.MODEL: _model,
    EntryType.ABORT: lambda entry, data: f"the round ended without a result: {ended(data['code'])}",
    EntryType.RETENTION: lambda entry, data: f"the {data['removed']} of the round were deleted: {data['reason']}",
}
