"""`make bench ARGS=protocols`: /v2 beside the native API, and gRPC beside that of other servers.

Knows systems, windows and bars. /v2 is measured beside the native API on one running server, in pairs of
windows that follow one another; its figure is the median of their ratios. Other servers are started for
their turn and ended after it, every second round in the other order; each is judged at its best setting.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from process_facts import cpu_s

from comparison.grpc_cost import BAR as COST_BAR
from comparison.grpc_cost import costs_us
from comparison.h2load import body_bytes, first_answer, run_h2load
from comparison.pair import BATCH, Pair, expected_mu, pixels
from comparison.processes import Started
from comparison.rounds import capture_answers
from comparison.systems import (
    BARE_GRPC,
    ONE_THREAD,
    OURS,
    System,
    Variant,
    bare_grpc,
    is_installed,
    npy_batch,
    others,
    ours_with_grpc,
    v2_batch,
    v2_one,
)
from comparison.wrk import paired_ratios, run_wrk
from service.api.open_inference.grpc.definitions import inference, message

Say = Callable[[str], None]
#: Rounds with other servers, whose starts take most of the time.
_ROUNDS_OF_OTHERS = 2
_COST_REQUESTS = 400
_CONNECTIONS_OF_BATCHES, _CONNECTIONS_OF_ONE = 4, 32
#: Answers have the same bytes but for a number here and there.
_ANSWERS_DIFFER = 0.1


@dataclass(frozen=True)
class Judged:
    """A figure and its bar."""

    pair: str
    what: str
    figure: float
    sign: str
    """`≥` or `≤`."""
    bar: float

    @property
    def is_met(self) -> bool:
        """Whether it is on the right side of its bar."""
        return self.figure >= self.bar if self.sign == "≥" else self.figure <= self.bar

    def line(self) -> str:
        """A row of the table."""
        figure = f"{self.figure:.2f}" if self.is_met else f"**{self.figure:.2f}, missed**"
        return f"| {self.what} | {self.pair} | {figure} | {self.sign} {self.bar:g} |"


@dataclass
class Rates:
    """Samples of each system in each setting: requests/s, and CPU of the server for each."""

    samples: dict[tuple[str, str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def add(self, system: str, variant: str, measure: str, value: float) -> None:
        """One sample."""
        self.samples[system, variant, measure].append(value)

    def best(self, system: str, measure: str) -> tuple[float, str]:
        """The median of a measure in the setting where it is best, and that setting."""
        medians = {
            variant: statistics.median(values)
            for (each, variant, name), values in self.samples.items()
            if (each, name) == (system, measure)
        }
        variant = (min if measure == CPU else max)(medians, key=lambda each: medians[each])
        return medians[variant], variant

    def systems(self) -> list[str]:
        """Those that were measured, ours first."""
        return list(dict.fromkeys(system for system, _, _ in self.samples))


CPU = "gRPC CPU µs"
MEASURES = ("gRPC 1", "gRPC 32", CPU, "REST 32")
#: One process, or two. More threads of one process do not help with single images.
VARIANTS = (ONE_THREAD, Variant(2, 1))


def measure_protocols(pairs: Sequence[Pair], *, rounds: int, window_s: float, say: Say) -> tuple[str, bool]:
    """Markdown tables, and whether every bar is met."""
    judged: list[Judged] = []
    tables: list[str] = []
    for pair in pairs:
        judged += beside_native(pair, rounds=rounds, window_s=window_s, say=say)
        costs = costs_us(pair, rounds=rounds, requests=_COST_REQUESTS)
        ratio = costs[f"gRPC {BATCH}"] / costs[f"npy {BATCH}"]
        what = f"Server CPU of {BATCH} raw images over gRPC ÷ as npy over HTTP"
        judged.append(Judged(pair.title, what, ratio, "≤", COST_BAR))
        say(judged[-1].line())
        rates = beside_others(pair, rounds=min(rounds, _ROUNDS_OF_OTHERS), window_s=window_s, say=say)
        judged += judge_others(pair.title, rates)
        tables += ["", *table_of(pair.title, rates)]
    head = ["| | model | figure | bar |", "| --- | --- | ---: | --- |"]
    return "\n".join([*head, *(one.line() for one in judged), *tables]), all(one.is_met for one in judged)


def beside_native(pair: Pair, *, rounds: int, window_s: float, say: Say) -> list[Judged]:
    """/v2 against the native API: batches as bytes, and one image as JSON."""
    system = ours_with_grpc()
    found = []
    with system.start(pair, ONE_THREAD) as server:
        for what, native, other, connections, bar in (
            (f"{BATCH} images under /v2 as bytes ÷ native npy, requests/s",
             npy_batch(pair), v2_batch(pair), _CONNECTIONS_OF_BATCHES, 0.97),
            ("One image under /v2 as JSON ÷ native JSON, requests/s",
             system.encode(pair), v2_one(pair), _CONNECTIONS_OF_ONE, 0.85),
        ):  # fmt: skip
            ratios = paired_ratios(
                (native, server.port),
                (other, server.port),
                concurrency=connections,
                rounds=rounds,
                window_s=window_s,
            )
            found.append(Judged(pair.title, what, statistics.median(ratios), "≥", bar))
            say(f"{found[-1].line()} of {', '.join(f'{each:.2f}' for each in ratios)}")
    return found


def beside_others(pair: Pair, *, rounds: int, window_s: float, say: Say) -> Rates:
    """One image, over gRPC and as JSON over REST, of each server that speaks the protocol."""
    rates = Rates()
    systems = [ours_with_grpc(), bare_grpc()]
    capture_answers(ours_with_grpc(), pair)
    capture_grpc_answer(pair)
    for system in others():
        if system.grpc_model and is_installed(system):
            systems.append(system)
        elif system.grpc_model:
            rates.notes.append(f"{system.name} is not installed (`make bench-others`)")
    turns = [(system, variant) for system in systems for variant in VARIANTS]
    for number in range(rounds):
        for system, variant in turns if number % 2 == 0 else reversed(turns):
            try:
                with system.start(pair, variant) as server:
                    found = turn(system, server, pair, window_s)
            except RuntimeError as error:
                rates.notes.append(f"{system.name} [{variant}]: {str(error).strip().splitlines()[-1][:200]}")
                say(f"{system.name} [{variant}] failed: {error}")
                continue
            for measure, value in found.items():
                rates.add(system.name, str(variant), measure, value)
            figures = ", ".join(f"{measure} {value:,.0f}" for measure, value in found.items())
            say(f"round {number + 1} of {rounds}, {pair.title}: {system.name} [{variant}]: {figures}")
    return rates


def turn(system: System, server: Started, pair: Pair, window_s: float) -> dict[str, float]:
    """Every measure of one running server.

    Raises:
        RuntimeError: An answer is wrong, or there is none.
    """
    request = pair.home / f"one-{system.grpc_model}.pb"
    request.write_bytes(one_image(system.grpc_model))
    answer = first_answer(server.grpc_port, request.read_bytes())
    check_answer(system.name, answer, pair)
    found: dict[str, float] = {}
    for concurrency in (1, _CONNECTIONS_OF_ONE):
        before_s = sum(map(cpu_s, server.family()))
        window = run_h2load(server.grpc_port, request, concurrency=concurrency, window_s=window_s)
        cost_s = sum(map(cpu_s, server.family())) - before_s
        if window.failed or abs(window.bytes_each / body_bytes(answer) - 1) > _ANSWERS_DIFFER:
            raise RuntimeError(f"{system.name}: {window}, where an answer has {body_bytes(answer)} bytes")
        found[f"gRPC {concurrency}"] = window.per_s
        found[CPU] = 1e6 * cost_s / window.requests
    rest = run_wrk(system.encode(pair), server.port, concurrency=_CONNECTIONS_OF_ONE, window_s=window_s)
    return {**found, f"REST {_CONNECTIONS_OF_ONE}": rest.per_s}


def capture_grpc_answer(pair: Pair) -> None:
    """What the bare app shall answer to a call: our own bytes."""
    system = ours_with_grpc()
    with system.start(pair, ONE_THREAD) as server:
        answer = first_answer(server.grpc_port, one_image(system.grpc_model))
    (pair.home / "answers" / "infer.pb").write_bytes(answer)


def one_image(model: str) -> bytes:
    """A request with one image, raw."""
    x = pixels(1)
    made = inference("ModelInferRequest", model_name=model, raw_input_contents=[x.tobytes()])
    made.inputs.add(name="x", datatype="FP32", shape=x.shape)
    found: bytes = made.SerializeToString()
    return found


def check_answer(name: str, answer: bytes, pair: Pair) -> None:
    """Whether `mu` is what onnxruntime computes.

    Raises:
        RuntimeError: It is not.
    """
    found = message("inference.ModelInferResponse").FromString(answer)
    at = [output.name for output in found.outputs].index("mu")
    values = found.outputs[at].contents.fp32_contents
    mu = (
        np.frombuffer(found.raw_output_contents[at], "<f4") if found.raw_output_contents else np.array(values)
    )
    if not np.allclose(mu, expected_mu(pair).ravel(), atol=1e-4):
        raise RuntimeError(f"{name}: mu {mu} is not what onnxruntime computes")


def judge_others(pair: str, rates: Rates) -> list[Judged]:
    """Ours against the best of the others, if any is installed. The bare app is none of them."""
    rest = [name for name in rates.systems() if name not in (OURS, BARE_GRPC)]
    found = []
    for measure in ("gRPC 32",) if rest and OURS in rates.systems() else ():
        best = max(rates.best(each, measure)[0] for each in rest)
        what = "One image over gRPC, 32 connections, requests/s ÷ the best other server's"
        found.append(Judged(pair, what, rates.best(OURS, measure)[0] / best, "≥", 2.0))
    return found


def table_of(pair: str, rates: Rates) -> list[str]:
    """Medians of each server."""
    lines = [
        f"| {pair}: one image, requests/s | gRPC, 1 conn. | gRPC, 32 conn. | server CPU of a call | "
        "REST JSON, 32 conn. |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for system in rates.systems():
        cells = []
        for measure in MEASURES:
            value, variant = rates.best(system, measure)
            cells.append(f"{value:,.0f}{' µs' if measure == CPU else ''} [{variant}]")
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    lines += ["", "In brackets: workers × threads of the setting where the figure is best."]
    return [*lines, *(["", "Notes: " + "; ".join(dict.fromkeys(rates.notes)) + "."] if rates.notes else [])]
