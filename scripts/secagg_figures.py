"""The figures of secure aggregation, and the section of docs/SECURITY_FIGURES.md that shows them."""

import re
from typing import Any

from figure_table import SEED, Figure, Suites, measured, run_python, table, where


def dropouts(found: dict[str, Any]) -> str:
    """Sums and ends, and how many there were to be judged."""
    counts = found["counts"]
    ends = sum(counts.get(code, 0) for code in ENDS)
    judged = f"{counts['patterns']:,} patterns, {counts['played']:,} of them apart" if "played" in counts else ""
    runs = f"{counts.get('runs', 0):,} runs over {found.get('dealings', 0)} dealings"
    exact = f"{counts['exact sums']:,} sums bit for bit, {counts['wrong sums']} wrong"
    return f"{judged or runs}: {exact}; {ends:,} clean ends; {len(found['failures'])} other outcomes"


def threshold(found: dict[str, Any]) -> str:
    """What opened with one share too few, and with one more."""
    counts = found["counts"]
    groups = f"{counts['groups opened']} of {counts['cases']:,} groups"
    less = f"{groups} and {counts['seeds opened']} of {counts['secrets']:,} seeds opened"
    more = f"{counts['with one more: groups opened']:,} and {counts['with one more: seeds opened']:,}"
    return f"{less}; with one answer more {more}"


def attribution(found: dict[str, Any]) -> str:
    """Who was found out and how, and what became of the sums."""
    counts, ways = found["counts"], ("alone", "as the sender of a refused message", "among suspects", "not at all")
    out = ", ".join(f"{counts.get(f'cheats found out {way}', 0):,} {way}" for way in ways)
    ends = sum(counts.get(code, 0) for code in ENDS)
    mixed = {name: counts[f"several kinds at once: {name}"] for name in ("runs", "exact sums", "clean ends")}
    return (
        f"{found['kinds']} kinds, {counts['runs']:,} runs with {counts['cheats']:,} cheats: found out {out}; "
        f"{counts['innocent and guilty']} innocent called guilty, {counts['innocent among suspects']:,} suspected with "
        f"them; {counts['exact sums']:,} exact sums, {ends:,} clean ends. Several kinds at once: "
        f"{mixed['runs']:,} runs, {mixed['exact sums']:,} exact sums, {mixed['clean ends']:,} clean ends, "
        f"{counts['several kinds at once: innocent and blamed']} innocent blamed. {len(found['failures'])} not as "
        "they have to be"
    )


def distinguishing(found: dict[str, Any]) -> str:
    """How often the classifier was right."""
    twins = "; ".join(f"{twin}: {accuracy:.1%}" for twin, accuracy in found["twins"].items())
    accuracy = (
        f"{found['accuracy']:.2%} right in {found['tests']:,} runs (standard error {found['standard_error']:.2%})"
    )
    return (
        f"{accuracy}, after {found['training']:,} to learn from, with {found['statistics']} statistics. Twins — {twins}"
    )


def reuse(found: dict[str, Any]) -> str:
    """Pieces of keystreams, and those that came again."""
    counts = found["counts"]
    rounds = f"{counts['rounds']:,} rounds with {counts['plans']:,} plans and {counts['crashes']:,} crashes of members"
    pieces = f"{counts['pairs of key and tile']:,} pairs of key and tile, {counts['used again']} used again"
    again = f"{counts['keys derived again']} derived again, {counts['keys shared with a third']} shared with a third"
    keys = f"{counts['keys']:,} keys, {again}"
    sums = f"{counts['sums']:,} sums, {counts['wrong sums']} wrong"
    return (
        f"{rounds}: {pieces}; {keys}; {sums}. Twin whose home is put back: {found['twin']['used again']:,} used again"
    )


def overflow(found: dict[str, Any]) -> str:
    """The widest sums, and the errors that were noticed."""
    counts = found["counts"]
    widest = f"{counts['wrong widest sums']} wrong values, {counts['widest sums refused']} refused"
    errors = f"{counts['injections']:,} errors, {counts['left the range']:,} of them out of range"
    noticed = f"{counts['noticed']:,} noticed, {counts['honest sums refused']} honest sums refused"
    return f"{counts['widths']} widths: {widest}; {errors}, {noticed}"


def ledger(found: dict[str, Any]) -> str:
    """Where the ledger and the attacker do not agree."""
    refused = f"{found['refused']:,} of {found['histories']:,} histories refused"
    return f"{refused}: {found['missed']} exposures missed, {found['refused_without_need']} refused without need"


def servers(found: dict[str, Any]) -> str:
    """How far malicious servers came."""
    stopped = ", ".join(f"{check} {count}" for check, count in found["stopped_at"].items())
    played = f"{found['scripts']:,} scripts: {found['isolations']} isolations"
    return f"{played}; {found['lifted']} succeed once the checks that stop them are taken out; stopped at {stopped}"


def views() -> list[Figure]:
    """Every strategy of showing members different survivor lists, against the bound."""
    code = "from tests.secagg.split_view import agreement; print(*map(agreement, range(3, 8)), sep='; ')"
    result = run_python(["-c", code]).strip()
    holds = all(f"{cases} cases, {cases} equal" in result for cases in re.findall(r"(\d+) cases", result))
    return [Figure("Split views: the smallest set that any strategy isolates", result, f'python -c "{code}"', holds)]


S = str(SEED)
ENDS = ("TOO_FEW_CONTRIBUTIONS", "TOO_FEW_ENDORSEMENTS", "TOO_FEW_RESPONSES", "BAD_DEALING", "SUM_OUT_OF_RANGE")
SECAGG: Suites = {
    "secagg-dropouts": measured(
        "Every pattern of dropouts at every stage, n = 3 to 8: 4^n with three trips, 3^n with two",
        dropouts,
        "figures.dropouts",
        *("8", "8", S),
    ),
    "secagg-random-10": measured(
        "Random dropouts at every stage, n = 10", dropouts, "figures.random_dropouts", *("10", "110", "5", "2", S)
    ),
    "secagg-random-30": measured("The same, n = 30", dropouts, "figures.random_dropouts", *("30", "25", "4", "10", S)),
    "secagg-random-100": measured(
        "The same, n = 100", dropouts, "figures.random_dropouts", *("100", "2", "1", "15", S)
    ),
    "secagg-threshold": measured("t − 1 answers, n = 5 to 12", threshold, "figures.threshold", "50", "20", S),
    "secagg-attribution": measured(
        "Bad dealers, endorsers and holders, 1 to 3 of 10", attribution, "figures.attribution", "10", "3", "1", S
    ),
    "secagg-distinguishing": measured(
        "Two worlds with one sum, n = 5: a classifier", distinguishing, "figures.distinguishing", "10000", "20000", S
    ),
    "secagg-reuse": measured("Keystreams in rounds with crashes", reuse, "figures.reuse", "1000", S),
    "secagg-overflow": measured(
        "All members at the bound, in the largest cohort of each width; errors",
        overflow,
        "figures.overflow",
        "10000",
        S,
    ),
    "secagg-ledger": measured(
        "The disclosure ledger against an attacker who tries everything",
        ledger,
        "secagg.disclosure_oracle",
        "10000",
        S,
    ),
    "secagg-views": views,
    "secagg-servers": measured("Malicious servers against real members", servers, "attacks.rounds.servers", S),
}


SECTION = "## Secure aggregation\n"


def secagg_page(figures: list[Figure]) -> str:
    """The section about rounds."""
    return f"""{SECTION}
`python scripts/security_figures.py --only secagg` runs this section again. Rounds are played between the real machines,
with real keys, seeds, shares and envelopes, but without packages around the messages; malicious servers send packages
too. The classifier and the widest sums are the arithmetic alone, the ledger and split views their rules alone.
{where()}

{table(figures)}

*Dropouts.* In three trips a member is silent from the beginning, after its contribution, after its endorsement, or
never; in two there is no endorsement. c is ⌊(n − 1)/3⌋. One dealing serves many patterns: contributions are made once
for each cohort (and part of its patterns), lists, endorsements and answers once for all patterns that share them, and
machines are restored from their records wherever patterns part. A group that ends before a pattern says who falls
silent next is played once for all patterns that begin so. "Bit for bit" is against sums of the vectors in the open; the
ends are held against the formulas of SPEC section 14, and somebody who is there has to take in how the round ended.

*Threshold.* By hand: t − 1 shares of every secret of the group are combined as if they were enough, and the result is
held against the commitment.

*Cheats.* Every kind is played by 1, 2 and 3 members at once. Named alone, by proof: who hands in what does not fit the
own signature, deals twice, commits to other seeds than its neighbours for more than c edges, shares something else than
it committed to, seals garbage or another row, gives a wrong share or one too few, or complains about a good envelope.
As the sender of a refused message: who endorses or answers for another list, signs badly, or endorses twice. Among
suspects, of whom nobody can tell who lied: the ends of fewer edges whose two ends committed to different seeds; dealer
and holder of an envelope for which no key is shown that fits. Two or more that dispute their edges *to the same honest
member* have that one left out, and all of them are suspects. Who shared another seed than it committed to is named when
those edges open. Who shares what it committed to is not: if it masks with the common seed, the sum is out of range; if
it masks with its own, the sum over the others is right, and nobody is ever named alone. Not at all: who sends numbers
out of range, since nobody can say whose they are.

*Distinguishing.* A classifier sees only what it looks for. It is given everything that the server has left when it has
taken off what it knows, and as many statistics of it as came to mind; twins with one thing wrong show that it can see.
Their seeds are drawn from the seed of the figure.

*Reuse.* Tiles have 64 bytes here, so that short vectors have several. The two ends of an edge use one key by design,
once each; the server takes the same keystreams off, and again after a crash.

*Errors.* One word of an honest sum is changed. What stays within the range cannot be noticed by anybody.

*Servers.* [THREAT_MODEL.md](THREAT_MODEL.md) lists what stays open. Checks are those of SPEC section 17.
"""
