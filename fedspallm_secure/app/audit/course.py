"""The course of a round: its stages, who was missing at which, and all of it as plain data.

Drawn from a story, so it says what the log says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.app.audit.timeline import Round, Story
from fedspallm_secure.protocol.audit.entries import EntryType


@dataclass(frozen=True, slots=True)
class Silence:
    """A member that did not do what was due, or not well.  stage: what; groups: where, empty for everywhere."""

    member: str
    stage: str
    groups: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"member": self.member, "stage": self.stage, "groups": list(self.groups)}


def stages(found: Round) -> list[tuple[str, int, int | None]]:
    """The stages of a round: name, begin, end (None while it goes on), in Unix seconds."""
    marks = [
        ("collecting", found.at(EntryType.PLAN)),
        ("agreeing on the list", found.at(EntryType.SURVIVORS)),
        ("opening the sums", found.at(EntryType.UNMASK_REQUEST)),
    ]
    there = [(name, at) for name, at in marks if at is not None]
    ends = [*(at for _, at in there[1:]), found.ended]
    return [(name, at, end) for (name, at), end in zip(there, ends, strict=False)]


def silences(found: Round) -> list[Silence]:
    """Who was missing at which stage, as far as the log is there: plan, list, endorsements, request, answers."""
    return sorted({*_not_sent(found), *_not_counted(found), *_not_signed(found), *_not_answered(found)}, key=_order)


def _order(silence: Silence) -> tuple[str, str, tuple[int, ...]]:
    return silence.member, silence.stage, silence.groups


def _sent(found: Round) -> dict[str, set[int]]:
    sent: dict[str, set[int]] = {}
    for line in found.of(EntryType.CONTRIBUTION):
        sent.setdefault(line.who.partition("/")[2], set()).add(line.group or 0)
    return sent


def _not_sent(found: Round) -> Iterator[Silence]:
    """Vectors that did not come, or were refused, once nobody is waited for any more."""
    if found.plan is None or (found.at(EntryType.SURVIVORS) is None and not found.abort):
        return
    sent = _sent(found)
    for member in found.members:
        due = [group.gid for group in found.plan.groups if member in group.cohort]
        lacking: dict[str, list[int]] = {}
        for gid in due:
            if gid not in sent.get(member, ()):
                lacking.setdefault(_why_not(found, member, gid), []).append(gid)
        for stage, groups in lacking.items():
            yield Silence(member, stage, () if len(groups) == len(due) else tuple(groups))


def _why_not(found: Round, member: str, gid: int) -> str:
    check = found.refused.get((member, str(gid)))
    if check is not None:
        return f"sent a vector that was refused by check {check}" if check else "sent a vector too late"
    if member in found.declined:
        return f"declined the plan by check {found.declined[member]}"
    return "sent no vector"


def _not_counted(found: Round) -> Iterator[Silence]:
    if found.listed is None:
        return
    for member, groups in _sent(found).items():
        left_out = tuple(group.gid for group in found.listed.groups if group.gid in groups and member not in group.ids)
        if left_out:
            yield Silence(member, "sent a vector that is in no sum", left_out)


def _not_signed(found: Round) -> Iterator[Silence]:
    """Only where members sign: in three trips."""
    signed = found.who(EntryType.ENDORSEMENT)
    if signed and found.at(EntryType.UNMASK_REQUEST) is not None:
        yield from (Silence(member, "did not sign the list") for member in found.counted if member not in signed)


def _not_answered(found: Round) -> Iterator[Silence]:
    if found.ended is not None:
        answered = found.who(EntryType.UNMASK_RESPONSE)
        yield from (
            Silence(member, "did not help to open the sums") for member in found.asked if member not in answered
        )


def story_dict(story: Story) -> dict[str, Any]:
    """A whole log as plain data."""
    return {
        "origin": story.origin,
        "size": story.size,
        "unread": story.unread,
        "outside": [line.to_dict() for line in story.outside],
        "rounds": [_round_dict(found) for found in story.rounds.values()],
    }


def _round_dict(found: Round) -> dict[str, Any]:
    received = found.of(EntryType.CONTRIBUTION)
    return {
        "round": found.number,
        "state": found.state,
        "begun": found.begun,
        "ended": found.ended,
        "members": found.members,
        "counted": found.counted,
        "contributions": len(received),
        "contribution_bytes": sum(line.size or 0 for line in received),
        "endorsed": found.who(EntryType.ENDORSEMENT),
        "answered": found.who(EntryType.UNMASK_RESPONSE),
        "silent": [silence.to_dict() for silence in silences(found)],
        "stages": [{"stage": name, "begun": begun, "ended": ended} for name, begun, ended in stages(found)],
        "abort": found.abort,
        "hashes": {type.value: hash for type, hash in found.hashes.items()},
        "files": found.files,
        "entries": [line.to_dict() for line in found.lines],
    }
