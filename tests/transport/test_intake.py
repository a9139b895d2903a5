"""From the network to the disk: in order, gathered, bounded, and no further than an error."""

import asyncio
import threading

import pytest

from fedspallm_secure.errors import StorageError
from fedspallm_secure.transport.disk import Disk
from fedspallm_secure.transport.intake import Intake
from tests.transport.ground import asynchronous


@pytest.fixture
def disk():
    made = Disk(2, "test")
    yield made
    made.close()


@asynchronous
async def test_small_pieces_are_gathered_and_stay_in_order(disk):
    written: list[bytes] = []
    intake, data = Intake(written.append, disk), bytes(range(256)) * 4000
    for start in range(0, len(data), 1000):
        await intake.add(data[start : start + 1000])
    await intake.finish()
    assert b"".join(written) == data
    assert len(written) < 10


@asynchronous
async def test_no_more_than_a_bound_waits_for_a_slow_disk(disk):
    go, written = threading.Event(), []

    def write(data: bytes) -> None:
        go.wait(10)
        written.append(len(data))

    intake, taken = Intake(write, disk), 0

    async def fill() -> None:
        nonlocal taken
        for _ in range(100):
            await intake.add(bytes(100_000))
            taken += 100_000

    filling = asyncio.create_task(fill())
    await asyncio.sleep(0.1)
    assert 2_000_000 < taken < 3_500_000
    go.set()
    await filling
    await intake.finish()
    assert sum(written) == 100 * 100_000


@asynchronous
async def test_after_an_error_nothing_more_is_written(disk):
    written = []

    def write(data: bytes) -> None:
        written.append(data)
        raise StorageError("full")

    intake = Intake(write, disk)
    with pytest.raises(StorageError):
        for _ in range(100):
            await intake.add(bytes(300_000))
            await asyncio.sleep(0)
    await intake.keep()
    with pytest.raises(StorageError):
        await intake.finish()
    assert len(written) == 1


@asynchronous
async def test_a_call_is_waited_for_by_whoever_is_cancelled(disk):
    go, ended = threading.Event(), []

    def slow() -> None:
        go.wait(10)
        ended.append(True)

    task = asyncio.create_task(disk.run(slow))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


@asynchronous
async def test_what_was_acquired_is_released_for_whoever_is_cancelled(disk):
    go, released = threading.Event(), []

    def acquire() -> str:
        go.wait(10)
        return "it"

    task = asyncio.create_task(disk.acquire(released.append, acquire))
    await asyncio.sleep(0.05)
    task.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert released == ["it"]
