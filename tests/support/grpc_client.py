"""Calls of gRPC from a process of their own: grpcio keeps threads and descriptors for its process.

Knows paths, bytes and metadata; the messages are the tests' business. Knows nothing of what is tested.

    with client_process() as client:
        done = client.call(port, "/inference.GRPCInferenceService/ServerLive", b"")
        assert done.code == "OK"
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from patience import PATIENCE_S

P = ParamSpec("P")
R = TypeVar("R")
Metadata = Sequence[tuple[str, str | bytes]]
Options = Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Done:
    """The end of one call."""

    code: str
    details: str = ""
    answers: list[bytes] = field(default_factory=list)
    trailing: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def answer(self) -> bytes:
        (only,) = self.answers
        return only

    @property
    def problem(self) -> str | None:
        return self.trailing.get("x-problem")


class Client:
    """Functions of this module, run in the process."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run any function that can be pickled there."""
        return self._pool.submit(function, *args, **kwargs).result(PATIENCE_S)

    def call(self, port: int, path: str, data: bytes, **kwargs: Any) -> Done:
        return self.run(call, port, path, data, **kwargs)

    def stream(self, port: int, path: str, messages: Sequence[bytes], **kwargs: Any) -> Done:
        return self.run(stream, port, path, messages, **kwargs)


@contextlib.contextmanager
def client_process() -> Iterator[Client]:
    """A fresh process with grpcio, ended at the exit."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(_import).result(PATIENCE_S)
        yield Client(pool)


def _import() -> None:
    import grpc  # noqa: F401


@contextlib.contextmanager
def _channel(port: int, options: Options = ()) -> Iterator[Any]:
    import grpc

    unlimited = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    own = ("grpc.use_local_subchannel_pool", 1)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[*unlimited, own, *options]) as channel:
        yield channel


def _done(outcome: Any, answers: list[bytes], begun: float) -> Done:
    trailing = {entry[0]: entry[1] for entry in outcome.trailing_metadata() or ()}
    seconds = time.monotonic() - begun
    return Done(outcome.code().name, outcome.details() or "", answers, trailing, seconds)


def call(
    port: int,
    path: str,
    data: bytes,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = PATIENCE_S,
    compression: str | None = None,
    options: Options = (),
) -> Done:
    """One call with one message."""
    with _channel(port, options) as channel:
        return _one(channel, path, data, metadata=metadata, timeout_s=timeout_s, compression=compression)


def _one(
    channel: Any,
    path: str,
    data: bytes,
    *,
    metadata: Metadata = (),
    timeout_s: float | None = PATIENCE_S,
    compression: str | None = None,
) -> Done:
    import grpc

    begun = time.monotonic()
    packed = {None: None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}[compression]
    try:
        answer, outcome = channel.unary_unary(path).with_call(
            data, metadata=metadata, timeout=timeout_s, wait_for_ready=True, compression=packed
        )
    except grpc.RpcError as error:
        return _done(error, [], begun)
    return _done(outcome, [answer], begun)


def calls(
    port: int, path: str, data: bytes, count: int, *, threads: int = 4, timeout_s: float | None = PATIENCE_S
) -> list[Done]:
    """Calls on one channel, from several threads."""
    found: list[Done] = []
    left = iter(range(count))
    lock = threading.Lock()

    def work(channel: Any) -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            done = _one(channel, path, data, timeout_s=timeout_s)
            with lock:
                found.append(done)

    with _channel(port) as channel:
        each = [threading.Thread(target=work, args=(channel,)) for _ in range(threads)]
        for thread in each:
            thread.start()
        for thread in each:
            thread.join()
    return found


def one_after_another(port: int, path: str, messages: Sequence[bytes]) -> list[Done]:
    """A call for each message, on one channel."""
    with _channel(port) as channel:
        return [_one(channel, path, data) for data in messages]


def together(
    port: int, path: str, data: bytes, count: int, *, timeout_s: float = PATIENCE_S, options: Options = ()
) -> list[Done]:
    """Calls that are all open at the same time, on one channel."""
    import grpc

    begun = time.monotonic()
    found = []
    with _channel(port, options) as channel:
        method = channel.unary_unary(path)
        futures = [method.future(data, timeout=timeout_s, wait_for_ready=True) for _ in range(count)]
        for future in futures:
            try:
                found.append(_done(future, [future.result()], begun))
            except grpc.RpcError as error:
                found.append(_done(error, [], begun))
    return found


def cancelled(port: int, path: str, data: bytes, count: int, *, after_s: float) -> list[str]:
    """Calls that the client cancels after a while; their codes."""
    with _channel(port) as channel:
        method = channel.unary_unary(path)
        futures = [method.future(data, wait_for_ready=True) for _ in range(count)]
        time.sleep(after_s)
        for future in futures:
            future.cancel()
        return [future.code().name for future in futures]


def stream(
    port: int,
    path: str,
    messages: Sequence[bytes],
    *,
    metadata: Metadata = (),
    timeout_s: float = PATIENCE_S,
    ends: bool = True,
) -> Done:
    """A stream of messages. Unless it `ends`, the client leaves its side open until the server ends it."""
    import grpc

    begun = time.monotonic()
    closed = threading.Event()
    answers = []

    def send() -> Iterator[bytes]:
        yield from messages
        if not ends:
            closed.wait(PATIENCE_S)

    with _channel(port) as channel:
        outcome = channel.stream_stream(path)(
            send(), metadata=metadata, timeout=timeout_s, wait_for_ready=True
        )
        try:
            answers.extend(outcome)
        except grpc.RpcError as error:
            closed.set()
            return _done(error, answers, begun)
        finally:
            closed.set()
        return _done(outcome, answers, begun)


def watch(port: int, path: str, data: bytes, count: int, *, timeout_s: float = PATIENCE_S) -> list[bytes]:
    """The first answers of a call with one message and many answers."""
    found = []
    with _channel(port) as channel:
        outcome = channel.unary_stream(path)(data, timeout=timeout_s, wait_for_ready=True)
        for answer in outcome:
            found.append(answer)
            if len(found) == count:
                break
        outcome.cancel()
    return found


def watch_to_end(port: int, path: str, data: bytes, *, timeout_s: float = PATIENCE_S) -> Done:
    """All answers of a call with one message and many answers."""
    import grpc

    begun = time.monotonic()
    answers = []
    with _channel(port) as channel:
        outcome = channel.unary_stream(path)(data, timeout=timeout_s, wait_for_ready=True)
        try:
            answers.extend(outcome)
        except grpc.RpcError as error:
            return _done(error, answers, begun)
        return _done(outcome, answers, begun)
