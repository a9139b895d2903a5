"""Change and forge logs, show two of them, kill whoever writes one, and write what came of it.

    python scripts/audit_figures.py [--only TEXT] [--out FILE.md]

It writes the section "The log and its audit" of docs/SECURITY_FIGURES.md, and nothing else of the page.  A row that was
not run is left out, never carried over.
"""

import sys
from typing import Any

from figure_table import SEED, Figure, Section, Suites, measured, table, where, write_sections

AUDIT_SECTION = "## The log and its audit\n"


def tampering(found: dict[str, Any]) -> str:
    """How many changes were found, of each kind, and by which steps."""
    counts, kinds = dict(found["counts"]), dict[str, list[str]]()
    for name, count in counts.items():
        kind, _, how = name.partition(": ")
        if how and kind != "not read":
            kinds.setdefault(kind, []).append(f"{count:,} {how}")
    unread = sum(count for name, count in counts.items() if name.startswith("not read: "))
    told = "; ".join(f"{kind} — {', '.join(how)}" for kind, how in kinds.items())
    return (
        f"{counts['changes']:,} changes of {found['logs']} logs of {found['entries']:,} entries: {unread:,} in files "
        f"that an audit does not read; of the other {counts['read']:,} found {counts['found']:,} "
        f"({counts['found'] / counts['read']:.2%}). {told}"
    )


def planted(found: dict[str, Any]) -> str:
    """How many forgeries, and which step each failed."""
    counts = dict(found["counts"])
    told = "; ".join(f"{count:,} for {how}" for how, count in counts.items() if how != "forgeries")
    return f"{counts['forgeries']:,} forgeries, {len(found['failures'])} not found or not in the report: {told}"


def split_views(found: dict[str, Any]) -> str:
    """What came of each meeting of two histories."""
    meetings: dict[str, list[str]] = {}
    for name, count in found["counts"].items():
        meeting, _, became = name.partition(": ")
        if became:
            meetings.setdefault(meeting, []).append(f"{count:,} {became}")
    told = "; ".join(f"{meeting} — {', '.join(became)}" for meeting, became in meetings.items())
    return (
        f"{found['counts']['meetings']:,} meetings, {found['ways']} histories in each of {found['seeds']} federations, "
        f"{len(found['failures'])} without a proof in the end: {told}"
    )


def log_tails(found: dict[str, Any]) -> str:
    """Kills, and what was lost."""
    counts = found["counts"]
    of = ", ".join(f"{count:,} {name[9:]}" for name, count in counts.items() if name.startswith("kills of "))
    again = f"{counts.get('killed once more', 0):,} more while starting again"
    return f"{counts['kills']:,} kills ({of}), {again}: {len(found['failures'])} with an entry lost, or a torn log"


AUDIT: Suites = {
    "tampering": measured("A published log is changed", tampering, "figures.tampering", "1000", "10000", str(SEED)),
    "planted": measured(
        "A log is forged with the keys of server and log, and audited without torch", planted, "figures.planted"
    ),
    "split-views": measured("A server shows two histories", split_views, "figures.split_views", "5", str(SEED)),
    "log-tails": measured(
        "kill -9 at every call that writes or publishes a log", log_tails, "figures.log_tails", "3", str(SEED)
    ),
}


def audit_page(figures: list[Figure]) -> str:
    """The section about logs."""
    return f"""{AUDIT_SECTION}
`python scripts/audit_figures.py` runs this section again. Logs are those of real federations of five members with three
witnesses, of whom one may be dishonest, so that all three have to cosign. {where()}

{table(figures)}

*Changes.* Two rounds are real ones; with everybody's keys the log is then made longer by two more rounds and by entries
about the program's version. A byte is changed in the files as they are published, any byte of them. Without keys:
entries are dropped, exchanged or repeated, and the hashes made to fit. The operator signs everything anew that follows
its change, and a checkpoint for it; then only what somebody else has signed contradicts the change as such: the
cosignatures of the policy, a checkpoint that a member shows, or those in the headers of packages that stand in later
entries. V2 has to name exactly this; "by another contradiction" is where it did not, since the change broke something
else that stops it, such as the rosters by which headers are believed. Positions are drawn from what these have seen.
Whatever the operator changes after all of them is another history that nobody has seen yet, and no audit can find it; a
test makes such a change, and it passes. Files that an audit does not read are the partial tiles of the cosigned
checkpoint, beside those of the newest one. Where more witnesses have cosigned than the policy asks for, a changed name
makes a line one of a stranger, which counts for nothing, and the checkpoint stays good.

*Forged.* `fedprune audit verify` and `report` are given the log's folder, the root certificate and what the forgery
contradicts, such as a receipt, but no cosignatures; they run where torch cannot be imported. What changes an early
entry also contradicts what members saw of the log later on, so V2 fails before the step that the forgery is for; both
have to be told. One forgery leaves a file that does not hold what it should, which ends at V1.

*Two histories.* They part before the rounds, at a plan, after it, at a contribution, a survivor list or a result; the
other one is shorter, as long, or longer than what was seen of the true one. A checkpoint without entries contradicts
only one of the same size: who has nothing else, such as a witness, refuses what does not follow, and the proof comes
when an auditor puts its checkpoint beside the entries, of whichever history is long enough. `audit verify` gives no
proof file, but names the checkpoint; `audit compare` then makes one.

*Killed.* The process is a real one, killed by signal 9 before, within or after each call that creates, writes, flushes,
renames or removes a file, and before or after what SQLite commits. Pages that were not flushed are not lost, as they
would be in a power cut.
"""


def main() -> int:
    """Run the figures; returns 1 if one does not hold."""
    return write_sections(__doc__, Section(AUDIT_SECTION, AUDIT, audit_page))


if __name__ == "__main__":
    sys.exit(main())
