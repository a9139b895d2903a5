"""Hashing the tiles of a package, beside other work where that is worth a thread."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_SMALL: Final = 1 << 18  # bytes that are hashed in less time than a thread takes to start and end, or little more


def tile_hasher(body: int) -> Executor:
    """What hashes the tiles of a body of so many bytes, one after the other."""
    return ThreadPoolExecutor(1, thread_name_prefix="tile-hash") if body > _SMALL else _AtOnce()


class _AtOnce(Executor):
    """Does what it is given before it returns."""

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()
        future.set_result(function(*args, **kwargs))
        return future
