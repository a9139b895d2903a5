"""Who comes in by a listener: many at a time, whatever they say, and the newest of those that do begins first."""

import asyncio
import socket
from contextlib import suppress

from fedspallm_secure.transport.listening import Turns, accept, first_byte, listen
from tests.transport.ground import asynchronous


async def turn() -> None:
    await asyncio.sleep(0)


@asynchronous
async def test_connections_that_wait_are_taken_in_by_portions():
    """One by one they would hold up those behind them for a turn of the loop each, with all that is done in it."""
    (listener,) = listen("127.0.0.1", 0)
    waiting = [socket.create_connection(listener.getsockname()) for _ in range(100)]
    taken: list[socket.socket] = []
    task = asyncio.create_task(accept(listener, lambda sock, _: taken.append(sock)))
    await turn()
    assert len(taken) == 16, "more would hold up those who are in"
    while len(taken) < 100:
        await turn()
    waiting.append(socket.create_connection(listener.getsockname()))
    async with asyncio.timeout(5):
        while len(taken) < 101:
            await asyncio.sleep(0.01)
    assert not any(sock.getblocking() for sock in taken)
    task.cancel()
    for sock in (*waiting, *taken, listener):
        sock.close()


@asynchronous
async def test_a_first_byte_is_waited_for_and_left_where_it_is():
    here, there = socket.socketpair()
    here.setblocking(False)
    task = asyncio.create_task(first_byte(here))
    await turn()
    assert not task.done()
    there.send(b"x")
    await task
    assert here.recv(2) == b"x"
    assert not asyncio.get_running_loop().remove_reader(here.fileno()), "nobody watches any more"
    here.close()
    there.close()


@asynchronous
async def test_the_newest_begins_first_and_one_in_each_turn():
    turns, began = Turns(), []

    async def begin(number: int) -> None:
        await turns.mine()
        began.append(number)

    tasks = [asyncio.create_task(begin(number)) for number in range(8)]
    while not began:
        await turn()
    tasks.append(asyncio.create_task(begin(8)))
    tasks[0].cancel()
    for most in range(2, 20):
        await turn()
        assert len(began) <= most
    later = began.index(8)
    assert began[:later] + began[later + 1 :] == [7, 6, 5, 4, 3, 2, 1] and later < 4
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    assert not turns._waiting
    await asyncio.wait_for(turns.mine(), 5)
