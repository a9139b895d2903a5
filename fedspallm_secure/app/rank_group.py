"""Several processes pruning together over torch.distributed: NCCL between GPUs, gloo between CPUs.

Plain data goes through the store that the processes met at, as canonical JSON; nothing is pickled.  Like
torch.distributed itself this trusts the network between the ranks: it belongs inside one machine or one cluster.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # public, but not listed
from torch.distributed.rendezvous import rendezvous

from fedspallm_secure.app.ranks import LIMIT
from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.errors import FormatError, LimitExceeded, RankLost, UsageError

_POLL = timedelta(seconds=20)  # how long one question to the store waits
_LEAVE = timedelta(seconds=10)  # how long rank 0 keeps the store for those who still have to leave
_MESSAGE_LIMIT = 1 << 20  # bytes


class Together:
    """One of `size` processes; see `Ranks` for what the methods promise.

    local: which process of this machine; limit: how long an exchange waits for the others before it raises RankLost;
    backend: gloo for CPU tensors and, where there is CUDA, NCCL for those on a GPU, unless named.
    """

    def __init__(self, rank: int, size: int, local: int, limit: timedelta = LIMIT, backend: str | None = None) -> None:
        self.rank = rank
        self.size = size
        self._local = local
        self._limit = limit
        self._told = 0
        with _others(f"{size} processes did not meet"):
            store, _, _ = next(iter(rendezvous("env://", rank, size, timeout=limit)))
            self._store = PrefixStore("fedprune", store)
            self._store.set_timeout(limit)
            dist.init_process_group(
                backend or ("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"),
                store=PrefixStore("group", self._store),
                rank=rank,
                world_size=size,
                timeout=limit,
            )

    def device(self, wanted: str) -> str:
        """The GPU of this rank among those of its machine where a GPU is wanted or there; otherwise as wanted."""
        if wanted not in ("auto", "cuda") or not torch.cuda.is_available():
            return wanted
        count = torch.cuda.device_count()
        if self._local >= count:
            raise UsageError(
                f"process {self._local} of this machine finds {count} GPUs", hint="start one process for each GPU"
            )
        torch.cuda.set_device(self._local)
        return f"cuda:{self._local}"

    def tell(self, value: dict[str, Any]) -> None:
        """Put it under the next number.  Raises FormatError, LimitExceeded for what is not small plain data."""
        data = canonical_json(value)
        if len(data) > _MESSAGE_LIMIT:
            raise LimitExceeded(f"rank 0 tells {len(data)} bytes; at most {_MESSAGE_LIMIT} are meant")
        with _others("rank 0 could not tell the others"):
            self._store.set(f"told/{self._told}", data.decode())
        self._told += 1

    def listen(self) -> dict[str, Any]:
        """Wait for the next number without end, as long as the store answers."""
        return self._receive(None)

    def _receive(self, limit: timedelta | None) -> dict[str, Any]:
        key = f"told/{self._told}"
        with _others("rank 0 told nothing"):
            while True:
                try:
                    self._store.wait([key], limit or _POLL)
                    break
                except dist.DistStoreError:  # nothing yet; a store that is gone is another error
                    if limit is not None:
                        raise
            data = self._store.get(key)
        self._told += 1
        value = parse_canonical_json(data, "what rank 0 told")
        if not isinstance(value, dict):
            raise FormatError("what rank 0 told is not an object")
        return value

    def share(self, value: dict[str, Any]) -> dict[str, Any]:
        """Rank 0 tells and the others listen, not longer than the limit."""
        if self.rank != 0:
            return self._receive(self._limit)
        self.tell(value)
        return value

    def spread(self, source: int, own: Tensor | None, blank: Callable[[], Tensor]) -> Tensor:
        """One broadcast."""
        if self.rank == source:
            if own is None:
                raise ValueError(f"rank {source} must bring the tensor")
            tensor = own.contiguous()
        else:
            tensor = blank()
        with _others(f"a tensor of rank {source} did not get through"):
            # Not every backend knows bool; the bytes are the same.
            dist.broadcast(tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor, source)
        return tensor

    def gather_bands(self, target: int, matrix: Tensor) -> None:
        """A sum of which all terms but one are zero is exact, whatever its order."""
        with _others(f"a statistic did not get through to rank {target}"):
            dist.reduce(matrix, target)

    @contextmanager
    def as_one(self, task: str) -> Iterator[None]:
        """One number from every rank at the end: whether it failed."""
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        worst = torch.tensor([0 if error is None else self.size - self.rank])  # the lowest rank that failed wins
        try:
            with _others(f"the others did not get as far: {task}"):
                dist.all_reduce(worst, dist.ReduceOp.MAX)
        except RankLost as lost:
            raise (error or lost) from None
        if error is not None:
            raise error
        if int(worst):
            raise RankLost(f"rank {self.size - int(worst)} failed: {task}")

    def close(self) -> None:
        """Say goodbye; rank 0, which may hold the store, waits for that of the others, for a few seconds."""
        with suppress(RuntimeError):
            if self.rank:
                self._store.set(f"left/{self.rank}", "")
            else:
                self._store.wait([f"left/{other}" for other in range(1, self.size)], _LEAVE)
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def _others(failure: str) -> Iterator[None]:
    """Turn what torch.distributed raises when somebody is missing into RankLost."""
    try:
        yield
    except RuntimeError as error:  # DistError and all below it, and what gloo throws
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RankLost(f"{failure}: {reason[:300]}") from error
