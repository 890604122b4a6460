"""`make bench ARGS=caching`: requests whose answer is known, next to the same requests that run the model.

Knows the load client and a server. Rates for 304, /livez and an uncached picture are taken in turn, round by
round, because the machine's speed drifts; ratios are medians of the rounds.
"""

from __future__ import annotations

import http.client
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from load_client import Plan, Request, get, measure

from comparison.pair import Pair
from comparison.processes import free_ports, started
from comparison.systems import FOLDER

PICTURE = "/sample.png?n=16&seed=7&model=mnist@{version}"
DOCUMENT = "/sample?seed=7&model=mnist@{version}"
CONNECTIONS = 8
#: The rate of 304 as a share of the rate of /livez.
BAR = 0.8


@dataclass(frozen=True)
class Rates:
    """Requests/s of each kind, round by round."""

    per_s: Mapping[str, list[float]]

    def median(self, kind: str) -> float:
        """The median of the rounds."""
        return statistics.median(self.per_s[kind])

    def ratio(self, kind: str, to: str) -> float:
        """The median of the ratios within each round."""
        pairs = zip(self.per_s[kind], self.per_s[to], strict=True)
        return statistics.median(one / other for one, other in pairs)


def conditional(port: int, target: str) -> bytes:
    """The request of a client that has the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", target)
    answer = connection.getresponse()
    answer.read()
    etag = answer.headers["ETag"]
    connection.close()
    assert answer.status == 200, answer.status
    assert etag
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {etag}\r\n\r\n".encode()


def rates(kinds: Mapping[str, tuple[int, bytes, int]], *, rounds: int, window_s: float) -> Rates:
    """Measure each kind in turn.

    Args:
        kinds: By name: port, request, and the only status to expect.
        rounds: Rounds after a first one, which warms up.
        window_s: Seconds for each kind in each round.
    """
    per_s: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind, (port, request, status) in kinds.items():
            answers = measure(Plan(port, [Request(request)], connections=CONNECTIONS, duration_s=window_s))
            assert set(answers.statuses) == {status}, (kind, answers.statuses)
            if number:
                per_s[kind].append(answers.statuses[status] / answers.took_s)
    return Rates(per_s)


def measure_caching(
    pairs: Sequence[Pair], *, rounds: int, window_s: float, say: Callable[[str], None]
) -> tuple[str, bool]:
    """A Markdown table of requests/s, and whether the bar is met."""
    lines, met = [], True
    for pair in pairs:
        found = _rates_of(pair, rounds=rounds, window_s=window_s)
        worst = min(found.ratio(kind, "/livez") for kind in found.per_s if kind.startswith("304"))
        met = met and worst >= BAR
        cells = " | ".join(f"{found.median(kind):,.0f}" for kind in found.per_s)
        lines.append(f"| {pair.title} | {cells} | {worst:.2f} (≥ {BAR}) |")
        say(lines[-1])
        names = list(found.per_s)
    head = f"| requests/s, one process, {CONNECTIONS} connections | {' | '.join(names)} | 304 ÷ /livez |"
    return "\n".join([head, "| --- |" + " ---: |" * (len(names) + 1), *lines]), met


def _rates_of(pair: Pair, *, rounds: int, window_s: float) -> Rates:
    (port,) = free_ports(1)
    command = [
        sys.executable, "-m", "service", "run", "--store", str(pair.store), "--port", str(port),
        "--threads", "1", "--access-log", "false",
    ]  # fmt: skip
    log, folder = pair.home / "caching.log", FOLDER.parents[1]
    with started(command, port=port, ready_path="/readyz", log=log, environment={}, folder=folder):
        version = _version(port)
        picture, document = PICTURE.format(version=version), DOCUMENT.format(version=version)
        kinds = {
            "/livez": (port, get("/livez"), 200),
            "304 of a PNG": (port, conditional(port, picture), 304),
            "304 of JSON": (port, conditional(port, document), 304),
            "PNG of 16 images": (port, get(picture), 200),
            "JSON of one image": (port, get(document), 200),
        }
        return rates(kinds, rounds=rounds, window_s=window_s)


def _version(port: int) -> str:
    """The number of the version that answers for `mnist`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("HEAD", "/traverse")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    label: str = answer.headers["X-Model"]
    return label.partition("@")[2]
