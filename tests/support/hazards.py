"""What a server of this kind must survive: one row for each hazard, and the table of what was measured.

Knows names, bars and text. Knows nothing of pytest or of how anything is measured.
`fast` rows are measured by `make test` as well; the others take minutes and belong to `make test-hard`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One hazard: where it comes from, its short name, what happens, and the bar that must be met."""

    where: str
    id: str
    hazard: str
    bar: str
    fast: bool = False


EDGE, PAYLOAD, LOAD, STORE, PROCESS = (
    "at the HTTP edge",
    "in the payload",
    "under load",
    "in the store",
    "in the process",
)

ROWS = (
    Row(EDGE, "slow-clients", "clients that are silent, drip or stall",
        "500 of each: all closed by deadline + 1 s; healthy probes: 0 failures, p99 < 500 ms"),
    Row(EDGE, "unread-answers", "clients that read nothing of their answer",
        "400 × 2 MB: kernel memory back within 2 × receipt deadline + 1 s"),
    Row(EDGE, "body-limit", "bodies over the limit, declared or chunked",
        "100 × 64 MB chunked: one answer, RSS growth < 2 MB"),
    Row(EDGE, "packed-bodies", "compressed and multipart bodies",
        "gzip bomb of 100 MB: 415, RSS < +1 MB", fast=True),
    Row(EDGE, "malformed-http", "malformed HTTP and smuggling",
        "50,000 mutants: 0 × 5xx, 0 tracebacks, closed after every 400"),
    Row(EDGE, "upgrade-offered", "an upgrade that is offered and not taken (h2c, websocket, TLS)",
        "three offers × four bodies, cut at every byte: the same request, and those behind it", fast=True),
    Row(EDGE, "half-closed", "clients that send no more and read on",
        "answered, with and without model run; closed connections still count as left", fast=True),
    Row(EDGE, "clients-gone", "clients that leave while their request waits",
        "150 of 200 leave: at most 60 model runs"),
    Row(EDGE, "odd-names", "odd model names",
        "2,000 names: only 404 and 422, nothing opened outside the store", fast=True),
    Row(EDGE, "inference-clients", "the unchanged clients of Triton and KServe",
        "every call answered as the native API answers, or refused clearly"),
    Row(EDGE, "remote-vae", "the unchanged remote functions of diffusers",
        "21 combinations of dtype and output: 1 grey level or 1e-5 from diffusers itself"),
    Row(EDGE, "documented", "any input to any documented operation",
        "schemathesis, all checks, 1,000 examples: 0 failures"),
    Row(EDGE, "generated-clients", "clients that a generator wrote from the document",
        "Python, TypeScript, Java: no warning, strict types, a program passes; three linters: 0 findings"),
    Row(EDGE, "grpc-bombs", "messages of gRPC that unpack or parse into large objects",
        "100 MB as 100 kB, 3 million fields: refused, RSS < +64 MB", fast=True),
    Row(EDGE, "grpc-messages", "messages of gRPC that no client makes",
        "2,000: no code blames the server, 0 tracebacks", fast=True),
    Row(EDGE, "grpc-clients", "the unchanged clients of Triton and KServe over gRPC",
        "every call, and every field of their definitions: 0 differences"),
    Row(PAYLOAD, "not-numbers", "what is no number, in every numeric field",
        "0 × 5xx, 0 accepted", fast=True),
    Row(PAYLOAD, "odd-shapes", "wrong counts, ranks, shapes and ranges",
        "5,000 shapes: only 200 and 422", fast=True),
    Row(PAYLOAD, "large-rubbish", "1 MiB of a bad body",
        "answer ≤ 8 kB in < 200 ms", fast=True),
    Row(PAYLOAD, "hostile-tensors", "hostile bodies of the Open Inference Protocol",
        "5,000 bodies: only 200 or 400 (413, 415)"),
    Row(PAYLOAD, "pictures", "malformed pictures, bombs, and large pictures at once",
        "50,000 mutants: read or refused; bombs < 20 ms and < +4 MB; large ones: memory of one"),
    Row(PAYLOAD, "own-size", "pictures of the model's own size, for legal shapes up to 1024 × 1024",
        "accepted, with default bounds and with lower ones", fast=True),
    Row(PAYLOAD, "nan-model", "a model that answers NaN",
        "its version never becomes ready", fast=True),
    Row(LOAD, "overload", "four times the work that the cores can do",
        "goodput ≥ 80 % of capacity, accepted p99 ≤ 1.5 × bound × service time, shed p99 < 50 ms, "
        "0 × 5xx, recovered in ≤ 2 s"),
    Row(LOAD, "known-answers", "the same requests again and again, whose answer is known",
        "304 ≥ 0.8 × /livez's rate, while the queue is full as well; nginx's cache ≥ 10 × the server's rate, "
        "and 0 × failed without a server"),
    Row(LOAD, "large-beside-small", "one request of 4,096 images beside many of one",
        "singles' p99 ≤ 3 × alone"),
    Row(LOAD, "large-load", "a version of large images that is loaded, or promoted on a running server",
        "512 and 1024 px: ≤ 300 MB beyond its weights, ≤ 2 × the time of one row"),
    Row(LOAD, "large-clients", "many clients of a version of large images",
        "16 × 32 decodes, TAESD's layers at 256 px: peak ≤ 400 MB"),
    Row(LOAD, "exact-tiles", "an image that is decoded in tiles",
        "TAESD's layers at 512 px: ≤ 1e-5 from one run, ≤ half of its peak memory"),
    Row(LOAD, "long-rows", "rows of seconds beside requests for small models",
        "small requests pass them; what cannot be done in time is refused before it runs", fast=True),
    Row(LOAD, "batch-mates", "a bad or cancelled request in a batch",
        "only its own caller notices", fast=True),
    Row(LOAD, "health-under-load", "health checks starved by work",
        "p99 < 100 ms at 4 × capacity"),
    Row(LOAD, "leak", "something that grows with every request",
        "200,000 requests, 20 % bad: RSS < +4 MB; descriptors and threads constant"),
    Row(LOAD, "batching-exact", "answers that depend on who else is in the batch",
        "≤ 1e-5; seeded samples byte for byte", fast=True),
    Row(STORE, "publish-killed", "a publisher that is killed",
        "200 × kill -9: 0 corrupt visible, orphans collected"),
    Row(STORE, "disk-faults", "a disk that is full, broken or read-only",
        "0 corrupt, 0 orphans", fast=True),
    Row(STORE, "publishers-race", "publishers at the same time",
        "8 × 50: 400 distinct versions"),
    Row(STORE, "damaged-version", "flipped bits, missing and extra files, a lying manifest",
        "500 of 500 flips refused"),
    Row(STORE, "hostile-graph", "hostile ONNX, paths and links",
        "refused before onnxruntime sees it", fast=True),
    Row(STORE, "reload-under-load", "new versions while requests run",
        "2,000 reloads: 0 failed requests, RSS < +25 MB, X-Model always matches the bytes"),
    Row(STORE, "empty-store", "no model at all",
        "starts; /readyz 503 with the remedy; ready when a model appears", fast=True),
    Row(STORE, "foreign-entries", "entries that cannot be read, or belong to someone else",
        "they hide no other, and are named", fast=True),
    Row(STORE, "foreign-models", "models that diffusers, pythae and Optimum made themselves",
        "each within its golden tolerance of torch, at two sizes; none of their code runs unasked"),
    Row(STORE, "kserve", "copies of object storage, as KServe makes them",
        "each layout: served to the unchanged clients under the name of the InferenceService"),
    Row(STORE, "mounted-volumes", "links and updates of ConfigMaps and Secrets",
        "no link leads out; a version is read from one content", fast=True),
    Row(PROCESS, "sigterm", "SIGTERM under load and with stalled clients",
        "50 × under load: 0 lost; 100 stalled clients: exit ≤ grace + 1 s"),
    Row(PROCESS, "replica-lost", "a server behind nginx that is killed, or ended",
        "2,000 requests each, JSON and npy, SIGTERM and SIGKILL: 0 lost"),
    Row(PROCESS, "cluster-objects", "objects that a cluster refuses, or accepts and never runs",
        "every fault seen; kustomize, helm and strict schemas: 0 faults"),
    Row(PROCESS, "unread-log", "a log that nobody reads, or whose disk is full",
        "20,000 requests beside an unread pipe: 0 lost, SIGTERM ≤ grace"),
    Row(PROCESS, "telemetry-silent", "a telemetry collector that is silent or away",
        "SIGTERM: exit ≤ 2 s idle", fast=True),
    Row(PROCESS, "hangups", "SIGHUP or a reload at any moment of a start",
        "200 × at random, with and without workers: nobody dies, exit 0"),
    Row(PROCESS, "process-1", "process 1 of a container without an init",
        "serves, buries orphans, hears SIGTERM, exit 0", fast=True),
    Row(PROCESS, "paused", "all processes paused and resumed: container, VM, SIGSTOP",
        "20 s × 5: the same workers, and every answer right"),
    Row(PROCESS, "few-processes", "more threads asked for than may be started",
        "128 within 60: started at the start, 0 × 5xx", fast=True),
    Row(PROCESS, "nothing-writable", "no directory that can be written",
        "one process serves; several say what to mount, exit 78", fast=True),
    Row(PROCESS, "cpu-quota", "fewer cores than the host has",
        "threads follow affinity and quota", fast=True),
    Row(PROCESS, "training-killed", "training that is killed",
        "20 × kill -9: ends bit-identical"),
    Row(PROCESS, "torchrun", "torchrun, static and c10d, and one of its processes that is killed",
        "bits of --devices 2; killed: --max-restarts 1 ends bit-identical"),
    Row(PROCESS, "ray-serve", "Ray Serve: promoted, scaled, its nodes killed, frozen and drained",
        "bytes of vae-serve; killed: failures ≤ those in flight; frozen: 0, ≤ 4 s; drained: 0"),
    Row(PROCESS, "ctrl-c", "Ctrl-C at any moment of any command",
        "12 moments of each: one line, exit 130, 0 tracebacks"),
    Row(PROCESS, "clock-jumps", "a wall clock that jumps",
        "nothing is late, early or negative", fast=True),
    Row(PROCESS, "cold-start", "a start that takes long",
        "p95 of 20 ≤ 2 s"),
    Row(PROCESS, "quiet", "telemetry, secrets or pixels that get out",
        "none", fast=True),
)  # fmt: skip

BY_ID = {row.id: row for row in ROWS}


@dataclass(frozen=True)
class Figure:
    """What one test measured, and whether it meets its bar."""

    figure: str
    bar: str
    met: bool


@dataclass
class Measured:
    """Everything that one session learnt of one row."""

    figures: list[Figure] = field(default_factory=list)
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def known(self) -> bool:
        """Something was measured, or failed in the attempt."""
        return bool(self.figures or self.passed or self.failed)

    @property
    def met(self) -> bool:
        """A skipped test takes nothing away from what the others of its row found."""
        return not self.failed and bool(self.figures or self.passed) and all(f.met for f in self.figures)

    def lines(self, row: Row) -> Iterator[tuple[str, str]]:
        """Figure and bar, one pair for each thing that was measured."""
        for entry in self.figures:
            yield entry.figure, entry.bar
        if self.passed and not self.figures:
            yield f"held in {self.passed} of {self.passed + len(self.failed)} tests", row.bar
        for name in self.failed:
            yield f"FAILED {name}", row.bar
        if not self.known:
            reason = f" ({self.skipped[0]})" if self.skipped else ""
            yield f"not measured{reason}", row.bar


def table(
    measured: dict[str, Measured], *, rows: Iterable[Row] = ROWS, width: int = 120
) -> Iterator[tuple[str, bool]]:
    """The lines of the table, each with whether it is good news."""
    first, last = 24, 8
    figure_width = (width - first - last) // 2
    where = ""
    for row in rows:
        if row.where != where:
            where = row.where
            heading = where[0].upper() + where[1:]
            yield (
                f"{heading:<{first}}{'measured':<{figure_width}}{'bar':<{figure_width}}{'seconds':>{last}}",
                True,
            )
        found = measured.get(row.id, Measured())
        took = f"{found.took_s:.1f}" if found.known else ""
        mark, name = ("✓" if found.met else "✗"), row.id
        for figure, bar in found.lines(row):
            left = textwrap.wrap(figure, figure_width - 2) or [""]
            right = textwrap.wrap(bar, figure_width - 2) or [""]
            for i in range(max(len(left), len(right))):
                cells = (left[i] if i < len(left) else "", right[i] if i < len(right) else "")
                yield (
                    f"{mark} {name:<{first - 2}}{cells[0]:<{figure_width}}{cells[1]:<{figure_width}}"
                    f"{took:>{last}}".rstrip(),
                    found.met,
                )
                mark, name, took = " ", "", ""
