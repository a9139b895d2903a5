"""Bad dealers, endorsers and holders: who is named for it, and what becomes of the sum.

    python -m tests.figures.attribution MEMBERS DEALINGS REPEATS SEED     prints the figures as JSON

Every kind of cheat (tests/figures/cheats.py) is played by 1, 2, ... c members at once, REPEATS times for every dealing
of the honest ones; and as often several kinds at once.  Nobody innocent may ever be found guilty, and of the suspects
that are named together one has to have lied.  Where kinds are mixed, a group may end before a cheat comes to light, so
there it counts only that nobody innocent is blamed, and that the sum is right or there is none.
"""

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedspallm_secure.errors import RoundError
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.records_server import Blamed, Refused
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode
from fedspallm_secure.protocol.rounds.unmasking import UnmaskResponse
from tests.figures.cheats import KINDS, Blame, Dealer, Holder, Kind
from tests.figures.spread import show, spread
from tests.figures.stage import Branch, Made, Stage, Streams, new_world, tally

Cheats = Mapping[str, Kind]  # by member
MIXED = "several kinds at once"


@dataclass(frozen=True)
class Task:
    """One dealing of the honest members."""

    members: int
    repeats: int
    seed: int


@dataclass
class Play:
    """A round with cheats in it."""

    stage: Stage
    cheats: Cheats
    draw: random.Random
    gone: tuple[str, ...] = ()
    victims: Mapping[str, str] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    branch: Branch = field(init=False)
    streams: Streams | None = None

    def __post_init__(self) -> None:
        memory = {name: made.records for name, made in self.stage.made.items()}
        self.branch = Branch(self.stage, list(self.stage.opened), memory, self.made)

    def run(self) -> "Play":
        branch = self.branch
        self.contribute()
        branch.take(branch.server.close_collecting())
        if branch.code is None:
            self.endorse()
            branch.take(branch.server.close_endorsing())
        if branch.code is None:
            self.answer()
            self.streams = branch.sum_up()
        return self

    def hear(self, incoming: Incoming, root: bytes | None = None) -> bool:
        """The server takes a message in, or refuses it and keeps it; whether it took it in."""
        server = self.branch.server
        types = {"endorsement": server.on_endorsement, "unmask-response": server.on_response}
        try:
            step = (
                types[incoming.head.context.type](incoming) if root is None else server.on_contribution(incoming, root)
            )
        except RoundError as error:
            self.branch.take(server.refuse(incoming, error))
            return False
        self.branch.take(step)
        return True

    def contribute(self) -> None:
        for member in self.stage.group.cohort:
            kind, attempts = self.cheats.get(member), [self.stage.made[member]]
            if kind is not None and kind.made is not None:
                attempts = kind.made(Dealer(self.stage, member, self.victims[member], self.draw, self.gone))
            for made in attempts if member not in self.gone else ():
                if self.hear(self.stage.to_server(member, made.handed, made.streams), made.root):
                    self.made[member] = made
                    self.branch.memory[member] = made.records

    def endorse(self) -> None:
        for member in sorted(self.branch.server.asked()):
            kind = self.cheats.get(member)
            honest = kind is None or kind.said is None
            said = [self.branch.endorsement(member)] if honest else kind.said(self.branch, member)
            for message in said:
                self.hear(self.stage.to_server(member, message))

    def answer(self) -> None:
        for member in sorted(self.branch.server.asked()):
            honest, kind = self.branch.answer(member), self.cheats.get(member)
            bodies = [honest.body]
            if kind is not None and kind.answered is not None:
                response = UnmaskResponse.parse(honest.body)
                bodies = kind.answered(Holder(self.branch, member, self.victims[member], response, self.draw))
            for body in bodies:
                self.hear(self.stage.world.incoming(f"member/{member}", "unmask-response", body))

    @property
    def guilty(self) -> set[str]:
        """Proved, by what they signed."""
        blamed = [one for one in self.branch.records if isinstance(one, Blamed | Refused)]
        named = {who for one in blamed for who in (one.guilty if isinstance(one, Blamed) else one.named)}
        end = self.branch.server.ended.get(self.stage.group.gid)
        return named | set(end.named if end is not None and end.code is EndCode.BAD_DEALING else ())

    @property
    def suspects(self) -> list[set[str]]:
        """Of each set one lied."""
        found = [set(one.suspects) for one in self.branch.records if isinstance(one, Blamed)]
        return [one for one in found if one]

    @property
    def senders(self) -> set[str]:
        """Of messages that were refused, and that they signed."""
        return {one.sender.removeprefix("member/") for one in self.branch.records if isinstance(one, Refused)}

    def blame(self, cheat: str) -> Blame:
        """How a cheat was found out."""
        sets = [one for one in self.suspects if cheat in one]
        if cheat in self.guilty or any(one <= set(self.cheats) for one in sets):
            return Blame.ALONE
        if sets:
            return Blame.SUSPECT
        return Blame.SENDER if cheat in self.senders else Blame.NOBODY

    @property
    def slandered(self) -> bool:
        """Whether somebody innocent is found guilty, or suspected without one that cheated."""
        cheats = set(self.cheats)
        return not (self.guilty | self.senders) <= cheats or any(one.isdisjoint(cheats) for one in self.suspects)

    def fault(self, ends: frozenset[EndCode]) -> str:
        """What is wrong with the end; nothing if the sum is right, or the group ended as it may."""
        listed = self.branch.server.survivors
        if listed is None or self.branch.server.state is not State.FINISHED:
            return "a round that did not end"
        there = sorted(set(self.made) - set(self.cheats))[0]
        if self.branch.code is not None:
            right = self.branch.code in ends and self.branch.closes(there)
            return "" if right else f"ended: {self.branch.code}"
        exact = self.streams == self.stage.plain_sum(listed.groups[0].ids, self.made)
        return "" if exact and self.branch.closes(there) else "wrong sum"


def one_kind(stage: Stage, name: str, cheats: int, draw: random.Random) -> tuple[dict[str, int], list[str]]:
    """So many members cheat in the same way."""
    kind = KINDS[name]
    drawn = draw.sample(stage.group.cohort, 2 * cheats + kind.gone)
    members, others, gone = drawn[:cheats], drawn[cheats : 2 * cheats], tuple(drawn[2 * cheats :])
    victims = dict(zip(members, others[:1] * cheats if kind.together else others, strict=True))
    play = Play(stage, dict.fromkeys(members, kind), draw, gone, victims).run()
    found = [play.blame(cheat) for cheat in play.cheats]
    wrong = play.fault(kind.ends)
    if not wrong and any(one is not kind.blame for one in found):
        wrong = f"blamed {[one.value for one in found]}"
    wrong = wrong or ("slander" if play.slandered else "")
    innocent = set(stage.group.cohort) - set(members)
    counts = {"runs": 1, "cheats": cheats, name: 1, "innocent and guilty": len(play.guilty & innocent)}
    counts["innocent among suspects"] = len(innocent & set().union(*play.suspects))
    for one in found:
        counts[f"cheats found out {one.value}"] = counts.get(f"cheats found out {one.value}", 0) + 1
    counts["exact sums" if play.branch.code is None else str(play.branch.code)] = 1
    return counts, [f"{name}, {cheats} cheats: {wrong}"] if wrong else []


def several_kinds(stage: Stage, cheats: int, draw: random.Random) -> tuple[dict[str, int], list[str]]:
    """So many members cheat, each in a way of its own."""
    names = [name for name, kind in KINDS.items() if not kind.gone and not kind.together]
    drawn = draw.sample(stage.group.cohort, 2 * cheats)
    chosen = {member: draw.choice(names) for member in drawn[:cheats]}
    victims = dict(zip(chosen, drawn[cheats:], strict=True))
    play = Play(stage, {member: KINDS[name] for member, name in chosen.items()}, draw, victims=victims).run()
    wrong = play.fault(frozenset(EndCode)) or ("slander" if play.slandered else "")
    name = "exact sums" if play.branch.code is None else "clean ends"
    counts = {f"{MIXED}: runs": 1, f"{MIXED}: {name}": 1, f"{MIXED}: innocent and blamed": int(play.slandered)}
    return counts, [f"{MIXED}, {sorted(chosen.values())}: {wrong}"] if wrong else []


def run(task: Task) -> tuple[dict[str, int], list[str]]:
    """All kinds, by 1 to c members."""
    stage, draw = Stage(new_world(task.members), task.seed), random.Random(task.seed)
    found = []
    for cheats in range(1, stage.plan.colluders + 1):
        for _ in range(task.repeats):
            names = [name for name, kind in KINDS.items() if cheats > 1 or not kind.together]
            found += [one_kind(stage, name, cheats, draw) for name in names]
            found += [several_kinds(stage, cheats, draw) for _ in range(len(KINDS))]
    return tally(counts for counts, _ in found), [one for _, many in found for one in many]


def figures(members: int, dealings: int, repeats: int, seed: int, workers: int | None = None) -> dict[str, object]:
    """So many dealings of the honest members."""
    found = list(spread(run, [Task(members, repeats, seed * 10_000 + number) for number in range(dealings)], workers))
    counts = tally(counts for counts, _ in found)
    played = {name: counts.pop(name, 0) for name in KINDS}
    return {
        "kinds": len(played),
        "runs of each kind": sorted(set(played.values())),
        "counts": counts,
        "failures": [one for _, many in found for one in many],
    }


if __name__ == "__main__":
    show(figures(*map(int, sys.argv[1:5])))
