"""What requests cost: processor time of server, proxy and client for each, and memory for each model.

Knows servers, nginx and wrk as processes, and /proc. Knows nothing of what follows from the figures. Costs
are processor time and not rates, because client, proxy and server share the cores here and would not
elsewhere. Everything is ended by process id.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comparison.pair import BATCH, REPOSITORY, Pair
from comparison.processes import Started, family, free_ports, started
from comparison.systems import ONE_THREAD, ask, npy_batch, ours
from comparison.wrk import Question, Window, run_wrk
from process_facts import resident_bytes

_HEADERS_BYTES = 400
#: A picture that a cache may keep: a version by its number, and a seed.
CACHED = Question("GET", "/sample.png?n=16&seed=7&model=mnist@4", accept="image/png")

_NGINX = """\
{user}
pid {home}/pid;
daemon off;
worker_processes 1;
error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    proxy_cache_path {home}/cache keys_zone=samples:1m;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    client_body_buffer_size 10m;
    upstream servers {{
        least_conn;
        keepalive 64;
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {cache}
        }}
    }}
}}
"""
_CACHE = "proxy_cache samples; proxy_cache_valid 200 1h; proxy_ignore_headers Cache-Control Vary;"


@dataclass(frozen=True)
class Workload:
    """One kind of request."""

    name: str
    question: Question
    images: int
    """Of a request."""
    size_bytes: int
    """Of the request or its answer, the larger of the two: a network carries both ways at once."""

    @property
    def concurrency(self) -> int:
        """Connections that use a server up and do not fill its queue, which refuses images beyond 1,024."""
        return 32 if self.images < BATCH else 4


@dataclass(frozen=True)
class Cost:
    """Processor time of one request, in seconds, at the median of some windows."""

    server_s: float
    proxy_s: float
    client_s: float
    per_s: float
    """Requests per second of the windows."""
    p50_s: float
    p99_s: float


def workloads(pair: Pair) -> list[Workload]:
    """One image as JSON, 64 as npy, and pictures."""
    found = []
    for name, question, images in (
        ("one image as JSON, `/encode`", ours().encode(pair), 1),
        (f"{BATCH} images as npy, `/encode.npz`", npy_batch(pair), BATCH),
        ("one picture, `/sample.png?n=1`", Question("GET", "/sample.png?n=1", accept="image/png"), 1),
        (f"{BATCH} images as npy, `/sample.npy?n={BATCH}`", _sample_npy(), BATCH),
    ):
        found.append(Workload(name, question, images, 0))
    return found


def _sample_npy() -> Question:
    return Question("GET", f"/sample.npy?n={BATCH}", accept="application/x-npy")


def with_size(workload: Workload, port: int) -> Workload:
    """The same with its size on the network, from one request."""
    status, body = ask(port, workload.question)
    if status != 200:
        raise RuntimeError(f"{workload.name}: expected 200, got {status}: {body[:300]!r}")
    sent = workload.question.body.stat().st_size if workload.question.body else 0
    size = max(sent, len(body)) + _HEADERS_BYTES
    return Workload(workload.name, workload.question, workload.images, size)


@contextlib.contextmanager
def proxied(servers: Sequence[Started], home: Path, *, cache: bool = False) -> Iterator[Started]:
    """nginx with one worker in front of servers."""
    home.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    lines = " ".join(f"server 127.0.0.1:{server.port};" for server in servers)
    (home / "conf").write_text(
        _NGINX.format(
            # Its workers would otherwise have no right to the folder of the cache.
            user="user root;" if os.getuid() == 0 else "",
            home=home,
            port=port,
            servers=lines,
            cache=_CACHE if cache else "",
        )
    )
    command = ["nginx", "-p", str(home), "-c", str(home / "conf"), "-e", "stderr"]
    with started(
        command, port=port, ready_path="/readyz", log=home / "nginx.log", environment={}, folder=home
    ) as proxy:
        yield proxy


def cost(
    workload: Workload,
    port: int,
    servers: Sequence[Started],
    *,
    proxy: Started | None = None,
    window_s: float,
    windows: int,
) -> Cost:
    """The median of some windows, after one to warm up."""
    samples: list[tuple[float, ...]] = []
    for number in range(windows + 1):
        before = (_cpu_of(servers), _cpu_of([proxy] if proxy else []), _cpu_of_children())
        window: Window = run_wrk(workload.question, port, concurrency=workload.concurrency, window_s=window_s)
        after = (_cpu_of(servers), _cpu_of([proxy] if proxy else []), _cpu_of_children())
        if window.failed:
            raise RuntimeError(f"{workload.name}: {window.failed} requests failed")
        requests = window.per_s * max(1, round(window_s))
        if number:
            used = [(b - a) / requests for a, b in zip(before, after, strict=True)]
            samples.append((*used, window.per_s, window.p50_ms / 1e3, window.p99_ms / 1e3))
    return Cost(*(statistics.median(column) for column in zip(*samples, strict=True)))


def _cpu_of(servers: Sequence[Started]) -> float:
    """In nanoseconds of the scheduler, because a proxy uses less than a tick of `process_facts.cpu_s`."""
    return 1e-9 * sum(
        int((task / "schedstat").read_text().split()[0])
        for server in servers
        for pid in family(server.pid)
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def _cpu_of_children() -> float:
    """Of wrk: it alone of all children has ended since the last call."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def two_servers(pair: Pair) -> Iterator[list[Started]]:
    """Two servers of one process and one thread each."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(ours().start(pair, ONE_THREAD)) for _ in range(2)]


@dataclass(frozen=True)
class Models:
    """What many models cost one server."""

    count: int
    ready_s: float
    resident_bytes: int
    idle_cpu_share: float
    """Of one core: the store is looked at twice a second."""


def models(pair: Pair, count: int, home: Path, *, watched_s: float) -> Models:
    """A server whose store has so many models of one version each, copies of the bundled one under names."""
    store = _store_of_copies(home / f"store-{count}", count)
    (port,) = free_ports(1)
    command = [
        sys.executable, "-m", "service", "run", "--store", str(store), "--port", str(port),
        "--threads", "1", "--default-model", "copy-0", "--access-log", "none",
    ]  # fmt: skip
    with started(
        command,
        port=port,
        ready_path="/readyz",
        log=home / "models.log",
        environment={"PYTHONPATH": str(REPOSITORY), "ORT_DISABLE_TELEMETRY": "1"},
        folder=home,
    ) as server:
        time.sleep(1.0)
        resident = sum(resident_bytes(pid) for pid in server.family())
        return Models(count, server.ready_s, resident, server.idle_cpu_percent(watched_s) / 100)


def _store_of_copies(root: Path, count: int) -> Path:
    """The manifest has the name of the model, so each copy is published and not only copied."""
    from model_store import BUNDLED_STORE, ManifestDraft, ModelStore

    published = ModelStore(BUNDLED_STORE).open("mnist@4")
    manifest = published.manifest
    fields = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}
    shutil.rmtree(root, ignore_errors=True)
    store = ModelStore(root)
    for number in range(count):
        store.publish(
            ManifestDraft(**{**fields, "name": f"copy-{number}"}),
            encoder=published.encoder,
            decoder=published.decoder,
            golden=published.golden,
            card=published.card,
            prior=published.prior,
        )
    return root
