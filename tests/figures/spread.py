"""One figure over all cores: tasks that do not depend on each other, in processes of their own."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

T, R = TypeVar("T"), TypeVar("R")


def spread(work: Callable[[T], R], tasks: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """What `work` gives for each task, in their order.  workers: processes, one per core if None; 1: none at all."""
    count = workers or os.cpu_count() or 1
    if count == 1:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, tasks)


def show(figures: dict[str, Any]) -> None:
    """Print figures as one line of JSON.  Whatever must not be stands under `failures`."""
    sys.stdout.write(json.dumps(figures) + "\n")
