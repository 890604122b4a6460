"""A configuration for the bundled models on a Ray of a test, and clients that ask it without a pause.

Knows HTTP and `ray_cluster`. Knows nothing of what is tested.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import Counter
from typing import Any

from patience import PATIENCE_S
from ray_cluster import REPOSITORY, RayCluster

from model_store import ModelStore

STORE = REPOSITORY / "model_store/models"
#: The number of the bundled `mnist` that a plain server serves.
STABLE = ModelStore(STORE).resolve("mnist@stable").version
PINNED = {"aliases": {"mnist": {"stable": STABLE}}}


def configured(cluster: RayCluster, **changes: Any) -> dict[str, Any]:
    settings = {"model_store": str(STORE), **changes.pop("settings", {})}
    return cluster.configuration(settings=settings, **{"user_config": PINNED, **changes})


def fixed(replicas: int) -> dict[str, Any]:
    return {"autoscaling_config": None, "num_replicas": replicas}


def ask(
    port: int, method: str, target: str, kind: str | None = None, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        # Of the same name, because some answers contain the address.
        headers = {
            "Host": "localhost:8000",
            "X-Request-Id": "one",
            **({} if kind is None else {"Content-Type": kind}),
        }
        connection.request(method, target, body or None, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


class Load:
    """Clients that ask without a pause, and what they were answered, until the block ends."""

    def __init__(self, port: int, *, clients: int = 4, tries: int = 1) -> None:
        """`tries` is how often a client sends a request that fails."""
        self._tries = tries
        self.seen: Counter[tuple[int | str, str]] = Counter()
        self.longest_s = 0.0
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _ask(self) -> None:
        while not self._over.is_set():
            begun_s = time.monotonic()
            for _ in range(self._tries):
                seen = self._once()
                if seen[0] == 200:
                    break
            self.seen[seen] += 1
            self.longest_s = max(self.longest_s, time.monotonic() - begun_s)

    def _once(self) -> tuple[int | str, str]:
        try:
            status, headers, _ = ask(self._port, "GET", "/sample?seed=1")
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__, ""
        return status, headers.get("x-model", "")

    @property
    def count(self) -> int:
        return self.seen.total()

    @property
    def failed(self) -> int:
        return sum(count for (status, _), count in self.seen.items() if status != 200)
