"""`vae-serve bench URL`: flags in, a measurement out.

Knows flags and the order of the steps: request the model's facts, build the requests, warm up, measure
windows until three agree, report. Exit codes are those of `service.cli`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import uvloop

from service.bench.client import ask
from service.bench.flags import API_KEY_VARIABLE
from service.bench.load import Load, LoadResult
from service.bench.report import Report
from service.bench.requests import (
    Target,
    WrongRequest,
    authorization,
    build_requests,
    default_model_from,
    facts_from,
    facts_path,
    render_request,
)
from service.bench.stability import WINDOWS, WindowFigures, is_stable
from service.bench.statistics import Latency

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 69
EXIT_NOT_STABLE = 75


class NoMeasurement(Exception):
    """The server's facts are unavailable; the message contains the reason."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Plan:
    """The measurement that the flags describe."""

    url: str
    operation: str = "encode"
    form: str = "json"
    images: int = 1
    model: str | None = None
    concurrency: int = 32
    rate_per_s: float | None = None
    max_connections: int = 512
    constant: bool = False
    window_s: float = 2.0
    max_windows: int = 10
    duration_s: float | None = None
    warm_up_s: float = 1.0
    timeout_s: float = 30.0
    seed: int = 0


def run_bench(arguments: argparse.Namespace) -> int:
    """Measure, print, and return the exit code."""
    plan = Plan(**{name: getattr(arguments, name) for name in Plan.__dataclass_fields__})
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(
                measure(
                    plan,
                    api_key=arguments.api_key or os.environ.get(API_KEY_VARIABLE),
                    progress=_progress(arguments.json),
                )
            )
    except WrongRequest as error:
        print(f"vae-serve bench: {error}", file=sys.stderr)
        return EXIT_USAGE
    except NoMeasurement as error:
        print(f"vae-serve bench: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        document = orjson.dumps(report.as_document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        print(document.decode(), end="", flush=True)
    else:
        print(report.as_text(width=min(110, shutil.get_terminal_size((80, 24)).columns)), flush=True)
    if report.failed:
        return EXIT_FAILED
    return 0 if report.stable or plan.duration_s is not None else EXIT_NOT_STABLE


async def measure(plan: Plan, *, api_key: str | None = None, progress: Any = None) -> Report:
    """The whole measurement.

    Raises:
        WrongRequest: The flags describe an invalid request.
        NoMeasurement: The server is unreachable or does not describe its model.
    """
    target = Target.of(plan.url)
    headers = authorization(api_key)
    model = plan.model or default_model_from(await _get(target, "/models", plan, headers))
    facts = facts_from(await _get(target, facts_path(model), plan, headers))
    requests = build_requests(
        target,
        facts,
        operation=plan.operation,
        form=plan.form,
        images=plan.images,
        model=plan.model,
        seed=plan.seed,
        headers=headers,
    )
    await _try_one(target, requests[0], plan)
    load = Load(
        target,
        itertools.cycle(requests).__next__,
        concurrency=None if plan.rate_per_s is not None else plan.concurrency,
        rate_per_s=plan.rate_per_s,
        max_connections=plan.max_connections,
        arrivals="constant" if plan.constant else "poisson",
        timeout_s=plan.timeout_s,
        seed=plan.seed,
    )
    gc.collect()
    gc.freeze()  # present objects stay; the collector need not scan them again during the measurement
    try:
        await load.start()
        await asyncio.sleep(plan.warm_up_s)
        load.take()
        begun_cpu_s, begun_s = time.process_time(), time.perf_counter()
        windows, taken = await _windows(load, plan, progress)
        client_cpu = (time.process_time() - begun_cpu_s) / (time.perf_counter() - begun_s)
        waiting = load.on_their_way
    except OSError as error:
        raise NoMeasurement(_unreachable(plan.url, error), EXIT_UNREACHABLE) from None
    finally:
        await load.stop()
        gc.unfreeze()
    # With a fixed duration every window counts, otherwise the windows that agree.
    counted = taken if plan.duration_s is not None else taken[-WINDOWS:]
    return Report(
        url=plan.url,
        model=facts.label,
        request=f"{plan.operation}, {plan.form}, {_counted(plan.images, 'image')} a request",
        load=_load_in_words(plan),
        images=plan.images,
        windows=windows,
        stable=is_stable(windows),
        latency_s=np.concatenate([one.ok_latency_s for one in counted]),
        ok_per_s=sum(one.ok_per_s * one.took_s for one in counted) / sum(one.took_s for one in counted),
        statuses=sum((one.statuses for one in taken), Counter()),
        reasons=sum((one.reasons for one in taken), Counter()),
        waiting=waiting,
        lag_ms=max(one.lag_s for one in taken) * 1e3,
        client_cpu=client_cpu,
        rate_per_s=plan.rate_per_s,
        settings={name: getattr(plan, name) for name in Plan.__dataclass_fields__ if name != "url"},
    )


async def _windows(load: Load, plan: Plan, progress: Any) -> tuple[list[WindowFigures], list[LoadResult]]:
    """Consecutive windows, without a pause in the load, until three agree or the maximum is reached."""
    most = plan.max_windows
    if plan.duration_s is not None:
        most = max(1, round(plan.duration_s / plan.window_s))
    window_s = plan.duration_s / most if plan.duration_s is not None else plan.window_s
    windows: list[WindowFigures] = []
    taken: list[LoadResult] = []
    while len(windows) < most:
        await asyncio.sleep(window_s)
        one = load.take()
        taken.append(one)
        windows.append(WindowFigures(one.ok_per_s, Latency.of(one.ok_latency_s).p99_ms))
        if progress is not None:
            progress(len(windows), windows[-1], one)
        if plan.duration_s is None and is_stable(windows):
            break
    return windows, taken


async def _get(target: Target, path: str, plan: Plan, headers: dict[str, str]) -> bytes:
    status, body = await _ask(target, render_request(target, path, headers=headers), plan)
    if status != 200:
        raise NoMeasurement(f"{plan.url}: GET {path}: the server returned {_said(status, body)}", EXIT_FAILED)
    return body


async def _try_one(target: Target, request: bytes, plan: Plan) -> None:
    """One request before the load: it reports errors of every request in the server's words."""
    status, body = await _ask(target, request, plan)
    if 400 <= status < 500 and status != 429:
        raise NoMeasurement(
            f"{plan.url}: the first request: the server returned {_said(status, body)}", EXIT_FAILED
        )


async def _ask(target: Target, request: bytes, plan: Plan) -> tuple[int, bytes]:
    try:
        return await ask(target.host, target.port, request, tls=target.tls, timeout_s=plan.timeout_s)
    except OSError as error:
        raise NoMeasurement(_unreachable(plan.url, error), EXIT_UNREACHABLE) from None


def _said(status: int, body: bytes) -> str:
    more = f" {API_KEY_VARIABLE} may contain the API key." if status == 401 else ""
    try:
        problem = orjson.loads(body)
        return f"{status} {problem['code']}: {problem['detail']}{more}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"{status}: {body[:200].decode(errors='replace')!r}.{more}"


def _unreachable(url: str, error: OSError) -> str:
    said = error.strerror or str(error) or ("no answer in time" if isinstance(error, TimeoutError) else "")
    return f"{url}: {type(error).__name__}: {said}. Is the server running there?"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _load_in_words(plan: Plan) -> str:
    if plan.rate_per_s is None:
        return f"closed loop of {_counted(plan.concurrency, 'connection')}"
    gaps = "constant" if plan.constant else "Poisson"
    return f"open loop of {plan.rate_per_s:g} requests/s, {gaps} arrivals, latency from when each was due"


def _progress(is_json: bool) -> Any:
    """A line for each window on standard error, if that is a terminal."""
    if is_json or not sys.stderr.isatty():
        return None

    def say(number: int, window: WindowFigures, result: LoadResult) -> None:
        failed = f"  {result.failed:,} failed" if result.failed else ""
        print(
            f"window {number}: {window.ok_per_s:>8,.0f} requests/s  p99 {window.p99_ms:.2f} ms{failed}",
            file=sys.stderr,
            flush=True,
        )

    return say
