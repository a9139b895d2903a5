"""The processes that prune together inside one institution: one alone, or several started by `torchrun`.

Rank 0 runs the protocol and owns the files; the others prune what it tells them to.  Everything here is arranged so
that any number of ranks computes what one computes, bit for bit (ADR 21).  `Alone` is here, `Together` in `rank_group`.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Protocol

from torch import Tensor

from fedspallm_secure.crypto.encoding import fields
from fedspallm_secure.errors import UsageError

LIMIT = timedelta(minutes=30)  # for one exchange; the others may be solving their largest matrix meanwhile


class Ranks(Protocol):
    """What one of several equal processes can do with the others.  Every method but `tell` and `listen` is called by
    all of them, in the same order.  Once one raised RankLost the group is of no use any more: leave the process.
    """

    rank: int
    size: int

    def device(self, wanted: str) -> str:
        """Where this rank computes, for the device that the settings ask for."""

    def tell(self, value: dict[str, Any]) -> None:
        """On rank 0: hand plain data (canonical JSON) to every `listen`."""

    def listen(self) -> dict[str, Any]:
        """On the others: wait, for days if need be, for what rank 0 tells.  Raises RankLost when it is gone."""

    def share(self, value: dict[str, Any]) -> dict[str, Any]:
        """What rank 0 passed, on all ranks."""

    def spread(self, source: int, own: Tensor | None, blank: Callable[[], Tensor]) -> Tensor:
        """The tensor of rank `source`, on all ranks.  own: needed there; blank: makes room for it elsewhere."""

    def gather_bands(self, target: int, matrix: Tensor) -> None:
        """Add up matrices, in place on rank `target`, of which every entry is other than zero on one rank at most."""

    def as_one(self, task: str) -> AbstractContextManager[None]:
        """A stretch of work after which either all ranks go on or all raise: RankLost where it was not their own."""

    def close(self) -> None:
        """Leave the group."""


class Alone:
    """The only process: every exchange is with itself."""

    rank = 0
    size = 1

    def device(self, wanted: str) -> str:
        """As wanted."""
        return wanted

    def tell(self, value: dict[str, Any]) -> None:
        """Nobody listens."""

    def listen(self) -> dict[str, Any]:
        """Raises UsageError: rank 0 has nobody to listen to."""
        raise UsageError("rank 0 tells; it does not listen")

    def share(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value itself."""
        return value

    def spread(self, source: int, own: Tensor | None, blank: Callable[[], Tensor]) -> Tensor:
        """The tensor itself."""
        if own is None:
            raise ValueError("the only rank must bring the tensor")
        return own

    def gather_bands(self, target: int, matrix: Tensor) -> None:
        """All of it is here."""

    @contextmanager
    def as_one(self, task: str) -> Iterator[None]:
        """Nobody waits for the outcome."""
        yield

    def close(self) -> None:
        """Nothing to leave."""


ALONE = Alone()


def join_ranks(environ: Mapping[str, str] = os.environ, limit: timedelta = LIMIT) -> Ranks:
    """Join the processes that `torchrun` started (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), or be alone.

    limit: how long an exchange may take before the others count as lost.
    Raises UsageError for an environment that makes no sense, RankLost when the others do not come.
    """
    if environ.get("WORLD_SIZE", "1") == "1":
        return ALONE
    from fedspallm_secure.app.rank_group import Together  # torch.distributed is not in every build of torch

    rank, size, local = (_number(environ, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if not 0 <= rank < size:
        raise UsageError(f"RANK is {rank}, WORLD_SIZE {size}", hint="start the program with torchrun, which sets both")
    return Together(rank, size, local, limit)


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise UsageError(
            f"WORLD_SIZE is set, but {name} is {text[:20]!r}", hint="start the program with torchrun, which sets both"
        )
    return int(text)


def follow(ranks: Ranks, prune: Callable[[dict[str, Any]], None]) -> None:
    """On every rank but 0: call `prune` with what rank 0 tells under "prune", until it tells {"stop": True}.

    Raises RankLost when rank 0 is gone, FormatError for any other command, and whatever `prune` raises.
    """
    while True:
        command = ranks.listen()
        if "stop" in command:
            fields(command, {"stop": bool}, "a command of rank 0")
            return
        prune(fields(command, {"prune": dict}, "a command of rank 0")["prune"])


def divide(costs: Sequence[int], parts: int) -> list[int]:
    """Who takes which piece of work: the dearest piece first, always to whom has least; equal ones to the lower number.

    costs: of each piece; returns the part (0 <= part < parts) of each.  The same on every machine.
    """
    loads = [0] * parts
    owners = [0] * len(costs)
    for piece in sorted(range(len(costs)), key=lambda piece: (-costs[piece], piece)):
        owner = loads.index(min(loads))
        owners[piece] = owner
        loads[owner] += costs[piece]
    return owners
