"""Clients that notice every lost request, in threads of their own, while servers come and go.

Knows HTTP and counting. Knows nothing of nginx or of the servers.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from patience import PATIENCE_S, eventually


@dataclass(frozen=True)
class Kind:
    """A request whose answer is known."""

    name: str
    target: str
    body: bytes
    content_type: str
    answer: bytes


@dataclass
class Clients:
    """What came of the requests so far. A lost one has no answer, another status or other bytes."""

    answered: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def count(self) -> int:
        """Requests so far."""
        return sum(self.answered.values()) + len(self.lost)

    def wait_for(self, more: int) -> None:
        """Return after this many further requests."""
        wanted = self.count + more
        eventually(lambda: self.count >= wanted, lambda: f"{self.count} of {wanted}: {self.lost[:3]}")


@contextlib.contextmanager
def clients(port: int, kinds: Sequence[Kind], *, each: int) -> Iterator[Clients]:
    """`each` clients of each kind, which send one request after another until the end of the context."""
    found, lock = Clients(), threading.Lock()

    def run(kind: Kind) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            while not found.stop.is_set():
                fault = _fault(connection, kind)
                with lock:
                    if fault is None:
                        found.answered[kind.name] += 1
                    else:
                        found.lost.append(f"{kind.name}: {fault}")

    threads = [threading.Thread(target=run, args=(kind,)) for kind in kinds for _ in range(each)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        found.stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)


def _fault(connection: http.client.HTTPConnection, kind: Kind) -> str | None:
    try:
        connection.request("POST", kind.target, kind.body, {"Content-Type": kind.content_type})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return repr(error)
    if answer.status != 200:
        return f"{answer.status} {body[:300]!r}"
    return None if body == kind.answer else f"{len(body)} other bytes"


def kinds_of(
    post: Callable[[str, bytes, str], bytes], *, latent_size: int, images: int = 64
) -> tuple[Kind, Kind]:
    """One image as JSON, and several as npy, with their answers.

    Args:
        post: Sends a body with a content type to a target of one server, and returns the answer.
        latent_size: Length of one z of the default model.
        images: Number of images as npy.
    """
    z = json.dumps({"z": [[0.5] * latent_size]}).encode()
    asked = (
        ("json", "/decode", z, "application/json"),
        ("npy", "/sample.npy", json.dumps({"n": images, "seed": 7}).encode(), "application/json"),
    )
    first, second = (
        Kind(name, target, body, kind, post(target, body, kind)) for name, target, body, kind in asked
    )
    return first, second
