"""Every system: how it is started in each of its variants, and what it is asked.

Knows commands and paths. Knows nothing of measuring. The others live in environments of their own,
`.venv-bench/<name>`, made by `make bench-others`; one that is absent is left out with a note.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from comparison.pair import MANY_V2, REPOSITORY, Pair, expected_mu
from comparison.processes import Started, free_ports, started
from comparison.wrk import Question

FOLDER = REPOSITORY / "tests/benchmarks"
ENVIRONMENTS = Path(os.environ.get("BENCH_ENVS", REPOSITORY / ".venv-bench"))
OURS, ASGI, TUTORIAL = "vae-serve", "bare ASGI app", "tutorial service"
BARE_GRPC = "bare gRPC app"
_RIGHT_WITHIN_S = 30.0


@dataclass(frozen=True)
class Variant:
    """One setting of a system; its best one is what is compared."""

    workers: int = 1
    threads: int = 1
    batch: int = 1

    def __str__(self) -> str:
        said = f"{self.workers} × {self.threads}"
        return said if self.batch == 1 else f"{said}, batch {self.batch}"


ONE_THREAD = Variant(1, 1)
"""One process with one thread for the model: what onnxruntime on one thread is compared with, and how most
people start a server."""


@dataclass(frozen=True)
class System:
    """What can be started and asked for an encoding of one image as JSON."""

    name: str
    command: Sequence[str]
    """`{port}`, `{grpc_port}`, `{store}`, `{workers}` and `{threads}` are filled in."""
    variants: Sequence[Variant]
    ready_path: str
    folder: Path = FOLDER
    encode_path: str = "/encode"
    speaks_v2: bool = False
    shares_by_luck: bool = False
    """Its processes accept on one socket: one of them may have nearly all connections, the other idle."""
    grpc_model: str = ""
    """Name of the model in its gRPC; empty if it has none."""
    environment: dict[str, str] = field(default_factory=dict)

    def encode(self, pair: Pair) -> Question:
        body = pair.one_v2 if self.speaks_v2 else pair.one
        return Question("POST", self.encode_path, content_type="application/json", body=body)

    @contextlib.contextmanager
    def start(self, pair: Pair, variant: Variant) -> Iterator[Started]:
        """Until the block ends; it has answered rightly when it begins.

        Raises:
            RuntimeError: It does not start or answers wrongly.
        """
        port, *more = free_ports(3)
        filled = {
            "port": port, "grpc_port": more[0], "store": pair.store, "workers": variant.workers,
            "threads": variant.threads * variant.workers,
        }  # fmt: skip
        environment = {
            **self.environment,
            "BENCH_ENCODER": str(pair.encoder), "BENCH_PORT": str(port),
            "BENCH_MORE_PORTS": ",".join(map(str, more)), "BENCH_WORKERS": str(variant.workers),
            "BENCH_THREADS": str(variant.threads), "BENCH_BATCH": str(variant.batch),
            "BENCH_HOME": str(pair.home), "BENCH_ANSWERS": str(pair.home / "answers"),
            "ORT_DISABLE_TELEMETRY": "1",
        }  # fmt: skip
        with started(
            [part.format(**filled) for part in self.command],
            port=port,
            ready_path=self.ready_path,
            log=pair.home / f"{self.name.replace(' ', '-')}.log",
            environment=environment,
            folder=self.folder,
        ) as running:
            self._check(pair, port)
            yield replace(running, grpc_port=more[0] if self.grpc_model else 0)

    def _check(self, pair: Pair, port: int) -> None:
        """Some say that they are ready before they are: so long, refusals are passed over."""
        if self.name in (ASGI, BARE_GRPC):
            return
        begun_s = time.monotonic()
        while (answer := ask(port, self.encode(pair)))[0] != 200:
            if answer[0] in (400, 405, 422) or time.monotonic() - begun_s > _RIGHT_WITHIN_S:
                raise RuntimeError(f"{self.name}: expected 200, got {answer[0]}: {answer[1][:500]!r}")
            time.sleep(0.1)
        mu, expected = mu_of(json.loads(answer[1])), expected_mu(pair)
        if mu.shape != expected.shape or not np.allclose(mu, expected, atol=1e-4):
            raise RuntimeError(f"{self.name}: mu {mu} is not what onnxruntime computes: {expected}")


def ask(port: int, question: Question) -> tuple[int, bytes]:
    """Once, without load."""
    headers = {"Accept": question.accept}
    if question.content_type:
        headers["Content-Type"] = question.content_type
    if question.json_bytes is not None:
        headers["Inference-Header-Content-Length"] = str(question.json_bytes)
    body = None if question.body is None else question.body.read_bytes()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(question.method, question.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error).encode()
    finally:
        connection.close()


def mu_of(document: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Of one image, from our form of answer or the Open Inference Protocol's."""
    if "outputs" in document:
        (output,) = (one for one in document["outputs"] if one["name"] == "mu")
        return np.array(output["data"], np.float32).reshape(output["shape"])
    return np.array(document["mu"], np.float32)


def sample_png() -> Question:
    """One digit, drawn anew each time."""
    return Question("GET", "/sample.png?n=1", accept="image/png")


def npy_batch(pair: Pair) -> Question:
    return Question(
        "POST",
        "/encode.npz",
        accept="application/x-npz",
        content_type="application/x-npy",
        body=pair.many,
    )


def v2_one(pair: Pair) -> Question:
    """One image as JSON, by the Open Inference Protocol."""
    path = "/v2/models/mnist-encoder/infer"
    return Question("POST", path, content_type="application/json", body=pair.one_v2)


def v2_batch(pair: Pair) -> Question:
    """A batch as bytes, by the Open Inference Protocol."""
    path = "/v2/models/mnist-encoder/infer"
    return Question(
        "POST", path, content_type="application/octet-stream", body=pair.many_v2, json_bytes=len(MANY_V2)
    )


def _grid(workers: Sequence[int], threads: Sequence[int]) -> list[Variant]:
    return [Variant(*each) for each in itertools.product(workers, threads)]


def _uvicorn(app: str) -> tuple[str, ...]:
    return (
        sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "{port}",
        "--workers", "{workers}", "--log-level", "warning", "--no-access-log",
    )  # fmt: skip


def ours() -> System:
    return System(
        OURS,
        (
            sys.executable, "-m", "service", "run", "--store", "{store}", "--port", "{port}",
            "--workers", "{workers}", "--threads", "{threads}", "--access-log", "false",
        ),
        [ONE_THREAD, Variant(1, 2), Variant(2, 1)],
        "/readyz",
        environment={"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def ours_with_grpc() -> System:
    """Ours with its second port."""
    system = ours()
    return replace(
        system, command=(*system.command, "--grpc-port", "{grpc_port}"), grpc_model="mnist-encoder"
    )


def asgi() -> System:
    return System(
        ASGI,
        _uvicorn("asgi:app"),
        [ONE_THREAD, Variant(2)],
        "/encode",
        folder=FOLDER / "baselines",
        shares_by_luck=True,
    )


def bare_grpc() -> System:
    """The bare ASGI app with a gRPC port that answers as ours does."""
    return replace(asgi(), name=BARE_GRPC, command=_uvicorn("rpc:app"), grpc_model="mnist-encoder")


def tutorial() -> System:
    return System(
        TUTORIAL,
        _uvicorn("tutorial:app"),
        _grid((1, 2), (1, 2)),
        "/health",
        folder=FOLDER / "baselines",
        shares_by_luck=True,
    )


def others() -> list[System]:
    """Those that are installed and those that are not."""
    found = []
    for name, title, ready_path, encode_path, batches in (
        ("litserve", "LitServe", "/health", "/encode", (1, 32)),
        ("mosec", "mosec", "/", "/encode", (1, 32)),
        ("mlserver", "MLServer", "/v2/health/ready", "/v2/models/vae/infer", (1,)),
        ("kserve", "KServe", "/v2/health/ready", "/v2/models/vae/infer", (1,)),
        ("bentoml", "BentoML", "/readyz", "/encode", (1,)),
        ("ray", "Ray Serve", "/encode", "/encode", (1,)),
    ):
        found.append(
            System(
                title,
                (str(ENVIRONMENTS / name / "bin/python"), "adapter.py"),
                [Variant(workers, 1, batch) for batch in batches for workers in (1, 2)],
                ready_path,
                folder=FOLDER / "others" / name,
                encode_path=encode_path,
                speaks_v2=name in ("mlserver", "kserve"),
                grpc_model="vae" if name in ("mlserver", "kserve") else "",
                environment={
                    "PYTHONPATH": f"{FOLDER / 'others'}{os.pathsep}{FOLDER / 'others' / name}",
                    # As its own command line would be found, and no word to anybody.
                    "PATH": f"{ENVIRONMENTS / name / 'bin'}{os.pathsep}{os.environ['PATH']}",
                    "BENTOML_DO_NOT_TRACK": "True",
                    "BENTOML_HOME": str(ENVIRONMENTS / name / "home"),
                    "RAY_USAGE_STATS_ENABLED": "0",
                },
            )
        )
    return found


def is_installed(system: System) -> bool:
    return Path(system.command[0]).exists()
