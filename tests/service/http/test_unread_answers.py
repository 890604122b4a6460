"""Send queues, progress and closed connections, with real sockets and a clock of the test's own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from process_facts import send_queues

from service.http.unread_answers import (
    UNSENT_BYTES,
    ClosingSockets,
    ReadProgress,
    bytes_in_kernel,
    limit_unsent,
    send_queue,
)

STALL_S = 5.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A server's connection, and a client that reads nothing yet and has room for little."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        limit_unsent(listener)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(listener.getsockname())
        ours, _ = listener.accept()
        stack.enter_context(ours)
        ours.setblocking(False)
        yield ours, client


def fill(ours: socket.socket, most: int = 1 << 30) -> int:
    """How many bytes the kernel accepts."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < most:
            sent += ours.send(bytes(min(most - sent, 65_536)))
    return sent


def read_all(client: socket.socket) -> int:
    """How many bytes come until the end of the stream."""
    received = 0
    while part := client.recv(65_536):
        received += len(part)
    return received


def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_kernel_accepts_little_more_than_the_bound(pair: tuple[socket.socket, socket.socket]) -> None:
    """Without the bound it took 3 MB and more."""
    ours, _ = pair
    assert UNSENT_BYTES <= fill(ours) <= 2 * UNSENT_BYTES + 65_536
    assert send_queue(ours).waits
    assert bytes_in_kernel(ours) > UNSENT_BYTES


def test_peer_that_acknowledges_nothing_is_stalled_and_one_that_reads_is_not(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, client = pair
    progress = ReadProgress(STALL_S)
    assert not progress.is_stalled(ours, 0.0)
    assert not progress.waits
    fill(ours)
    now_s = 100.0
    for _ in range(3):
        for _ in range(9):
            assert not progress.is_stalled(ours, now_s)
            now_s += 0.5
        before = send_queue(ours).acknowledged
        client.recv(8192)

        def read_on(before: int = before) -> bool:
            return bool(client.recv(1024)) and send_queue(ours).acknowledged > before

        until(read_on)
    begun_s = now_s
    while not progress.is_stalled(ours, now_s):
        assert now_s < begun_s + 4 * STALL_S  # an acknowledgement may still be on its way
        now_s += 0.5
    assert now_s >= begun_s + STALL_S


def test_all_that_was_read_waits_no_more(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, client = pair
    progress = ReadProgress(STALL_S)
    left = fill(ours, 100_000)
    assert not progress.is_stalled(ours, 0.0)
    assert progress.waits
    while left:
        left -= len(client.recv(65_536))
    until(lambda: not send_queue(ours).waits)
    assert not progress.is_stalled(ours, 1000.0)
    assert not progress.waits


def test_pause_of_the_server_makes_nobody_late(pair: tuple[socket.socket, socket.socket]) -> None:
    """A container that was paused, or a machine that was suspended, saw no acknowledgement either."""
    ours, _ = pair
    progress = ReadProgress(STALL_S)
    fill(ours)
    assert not progress.is_stalled(ours, 0.0)
    assert not progress.is_stalled(ours, 3600.0)
    assert not progress.is_stalled(ours, 3601.0)


def test_bytes_that_the_process_holds_count_as_well() -> None:
    progress = ReadProgress(STALL_S)
    stalled = [progress.is_stalled(None, float(i), buffered_bytes=10) for i in range(7)]
    assert stalled == 5 * [False] + 2 * [True]
    assert progress.waits


def test_closed_connection_delivers_everything_and_its_end(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, client = pair
    closing = ClosingSockets(STALL_S)
    sent = fill(ours)
    closing.take(ours, "127.0.0.1")
    ours.close()
    closing.sweep(0.0)
    assert read_all(client) == sent

    def let_go() -> bool:
        closing.sweep(0.0)
        return len(closing) == 0

    until(let_go)


def test_closed_connection_whose_client_reads_nothing_is_reset(
    pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ours, client = pair
    port, theirs = ours.getsockname()[1], client.getsockname()[1]
    closing = ClosingSockets(STALL_S)
    fill(ours)
    closing.take(ours, "127.0.0.1")
    ours.close()
    assert send_queues(port)[theirs] > UNSENT_BYTES
    now_s = 0.0
    closing.sweep(now_s)
    while len(closing):
        assert now_s < 4 * STALL_S  # an acknowledgement may still be on its way
        now_s += 0.5
        closing.sweep(now_s)
    assert now_s >= STALL_S
    assert theirs not in send_queues(port)
    assert [record.message for record in caplog.records] == ["client reads nothing"]
    with pytest.raises(ConnectionResetError):
        read_all(client)


def test_connection_with_everything_acknowledged_is_not_watched(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, client = pair
    ours.send(b"all")
    client.recv(3)
    until(lambda: not send_queue(ours).waits)
    closing = ClosingSockets(STALL_S)
    closing.take(ours, None)
    assert len(closing) == 0


def test_client_that_is_gone_is_not_watched(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, client = pair
    fill(ours)
    client.close()  # with unread bytes: a reset
    until(lambda: not send_queue(ours).waits)
    closing = ClosingSockets(STALL_S)
    closing.take(ours, None)
    assert len(closing) == 0


def test_kernel_bounds_what_the_process_does_not_watch(pair: tuple[socket.socket, socket.socket]) -> None:
    """Beyond the number that is watched, and at the end of the process."""
    ours, client = pair
    port, theirs = ours.getsockname()[1], client.getsockname()[1]
    fill(ours)
    closing = ClosingSockets(0.5, most=0)
    closing.take(ours, None)
    assert len(closing) == 0
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 500
    ours.close()
    assert theirs in send_queues(port)
    until(lambda: theirs not in send_queues(port))


def test_process_that_ends_leaves_nothing_unbounded(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, client = pair
    port, theirs = ours.getsockname()[1], client.getsockname()[1]
    fill(ours)
    closing = ClosingSockets(0.5)
    closing.take(ours, None)
    ours.close()
    assert len(closing) == 1
    closing.release()
    assert len(closing) == 0
    until(lambda: theirs not in send_queues(port))
