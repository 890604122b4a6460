"""The bytes by which grpcio wakes the event loop: those of events that were taken together wake it once."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
import uvloop
from patience import PATIENCE_S

from service.api.open_inference.grpc.wake_ups import joined_wake_ups


class Queue:
    """Events and their bytes, as grpcio has them."""

    def __init__(self) -> None:
        self.wakes, self._bell = socket.socketpair()
        self.waiting: list[int] = []
        self.taken: list[list[int]] = []

    def close(self) -> None:
        self.wakes.close()
        self._bell.close()

    def put(self, event: int) -> None:
        self.waiting.append(event)
        self.ring()

    def ring(self) -> None:
        self._bell.send(b"1")

    def take(self) -> None:
        """The reader of the event loop."""
        assert self.wakes.recv(1) == b"1"
        taken, self.waiting = self.waiting, []
        self.taken.append(taken)

    async def has_been_read(self, times: int) -> None:
        while len(self.taken) < times:  # noqa: ASYNC110  # the reader sets no event
            await asyncio.sleep(0)


@pytest.fixture
def queue() -> object:
    made = Queue()
    yield made
    made.close()


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_events_that_wait_together_wake_the_loop_once(
    queue: Queue, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with joined_wake_ups(loop):
            loop.add_reader(queue.wakes, queue.take)
        for event in range(5):
            queue.put(event)
        for _ in range(10):
            await asyncio.sleep(0)
        assert queue.taken == [[0, 1, 2, 3, 4]]
        queue.put(5)
        await queue.has_been_read(2)
        assert queue.taken[1:] == [[5]]
        loop.remove_reader(queue.wakes)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(test())


def test_event_whose_byte_comes_later_is_taken_and_its_byte_wakes_the_loop_again(queue: Queue) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with joined_wake_ups(loop):
            loop.add_reader(queue.wakes, queue.take)
        queue.put(0)
        queue.waiting.append(1)
        await queue.has_been_read(1)
        queue.ring()
        await queue.has_been_read(2)
        assert queue.taken == [[0, 1], []]
        loop.remove_reader(queue.wakes)

    asyncio.run(test())


def test_only_readers_that_are_added_inside_are_joined(queue: Queue) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with joined_wake_ups(loop):
            pass
        loop.add_reader(queue.wakes, queue.take)
        for event in range(3):
            queue.put(event)
        await queue.has_been_read(3)
        assert queue.taken == [[0, 1, 2], [], []]
        loop.remove_reader(queue.wakes)

    asyncio.run(test())


def test_readers_by_descriptor_are_left_as_they_are(queue: Queue) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with joined_wake_ups(loop):
            loop.add_reader(queue.wakes.fileno(), queue.take)
        queue.put(0)
        queue.put(1)
        await queue.has_been_read(2)
        assert queue.taken == [[0, 1], []]
        loop.remove_reader(queue.wakes.fileno())

    asyncio.run(test())


#: Prints the answers to calls, the readings of grpcio's socket, and the bytes left out, as JSON.
CALLS = """
import asyncio, json, socket
import grpc
from service.api.open_inference.grpc import wake_ups

found = {"readings": 0, "surplus": 0}
joined = wake_ups._joined

def counted(wakes, callback, *args):
    found["readings"] += 1
    found["surplus"] += len(wakes.recv(4096, socket.MSG_PEEK)) - 1
    joined(wakes, callback, *args)

wake_ups._joined = counted

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        async def answer(data, context):
            return data
        return grpc.unary_unary_rpc_method_handler(answer)

async def main():
    with wake_ups.joined_wake_ups(asyncio.get_running_loop()):
        server = grpc.aio.server(handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/a/B")
        answers = await asyncio.gather(*(method(bytes([at])) for at in range(200)))
    await server.stop(None)
    print(json.dumps({"answers": [answer[0] for answer in answers], **found}))

asyncio.run(main())
"""


def test_grpcio_wakes_the_loop_by_bytes_in_a_socket() -> None:
    """Otherwise nothing is joined, and each call costs more."""
    command = [sys.executable, "-c", CALLS]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    found = json.loads(done.stdout)
    assert found["answers"] == list(range(200))
    assert found["readings"] > 0
    assert found["surplus"] > 0
