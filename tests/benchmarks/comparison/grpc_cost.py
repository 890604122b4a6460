"""`make bench ARGS=grpc`: server CPU of a call of gRPC, and of the same work as npy over HTTP.

Knows both protocols and /proc. Server CPU for each request, because client and server share the cores; every
figure is the median of interleaved rounds against one server.
"""

from __future__ import annotations

import http.client
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from grpc_client import Client, calls, client_process
from process_facts import cpu_s

from comparison.pair import BATCH, Pair, pixels
from comparison.processes import Started, free_ports, started
from comparison.systems import FOLDER
from service.api.open_inference.grpc.definitions import inference

INFER = "/inference.GRPCInferenceService/ModelInfer"
#: Server CPU of 64 raw images over gRPC, as a multiple of the same as npy.
BAR = 2.2


def measure_grpc(
    pairs: Sequence[Pair], *, rounds: int, requests: int, say: Callable[[str], None]
) -> tuple[str, bool]:
    """A Markdown table of CPU µs for each request, and whether the bar is met."""
    lines, met = [], True
    for pair in pairs:
        found = costs_us(pair, rounds=rounds, requests=requests)
        ratio = found[f"gRPC {BATCH}"] / found[f"npy {BATCH}"]
        met = met and ratio <= BAR
        cells = " | ".join(f"{value:,.0f}" for value in found.values())
        lines.append(f"| {pair.title} | {cells} | {ratio:.2f} (≤ {BAR}) |")
        say(lines[-1])
        names = list(found)
    head = f"| CPU µs a request | {' | '.join(names)} | {BATCH} images: gRPC ÷ npy |"
    return "\n".join([head, "| --- |" + " ---: |" * (len(names) + 1), *lines]), met


def costs_us(pair: Pair, *, rounds: int, requests: int) -> dict[str, float]:
    """Server CPU of each kind of request."""
    port, grpc_port = free_ports(2)
    command = [
        sys.executable, "-m", "service", "run", "--store", str(pair.store), "--port", str(port),
        "--grpc-port", str(grpc_port), "--threads", "1", "--access-log", "false",
    ]  # fmt: skip
    log = pair.home / "grpc.log"
    folder = FOLDER.parents[1]
    with (
        started(command, port=port, ready_path="/readyz", log=log, environment={}, folder=folder) as server,
        client_process() as client,
    ):
        return _rounds(server, client, pair, grpc_port, rounds=rounds, requests=requests)


def _rounds(
    server: Started, client: Client, pair: Pair, grpc_port: int, *, rounds: int, requests: int
) -> dict[str, float]:
    one, many = pixels(1), pixels(BATCH)
    work: dict[str, Callable[[int], None]] = {
        "JSON 1": lambda count: _post(server.port, "application/json", pair.one, count),
        "gRPC 1": lambda count: _call(client, grpc_port, one, count),
        f"npy {BATCH}": lambda count: _post(server.port, "application/x-npy", pair.many, count),
        f"gRPC {BATCH}": lambda count: _call(client, grpc_port, many, count),
    }
    samples: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, send in work.items():
            before_s = sum(map(cpu_s, server.family()))
            send(requests)
            cost_us = 1e6 * (sum(map(cpu_s, server.family())) - before_s) / requests
            if number:  # the first is a warm-up
                samples[name].append(cost_us)
    return {name: statistics.median(values) for name, values in samples.items()}


def _post(port: int, kind: str, body: Path, count: int) -> None:
    data = body.read_bytes()
    accept = "application/x-npz" if kind.endswith("npy") else "application/json"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(count):
        connection.request("POST", "/encode", data, {"Content-Type": kind, "Accept": accept})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    connection.close()


def _call(client: Client, port: int, images: np.ndarray, count: int) -> None:
    request = inference(
        "ModelInferRequest", model_name="mnist-encoder", raw_input_contents=[images.tobytes()]
    )
    request.inputs.add(name="x", datatype="FP32", shape=images.shape)
    done = client.run(calls, port, INFER, request.SerializeToString(), count, threads=1)
    assert {each.code for each in done} == {"OK"}, done[0]
