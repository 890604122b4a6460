"""2,000 reloads under load: every answer comes from the version it names, and memory stays where it was."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hazard_plugin import Hazard
from process_facts import descriptors, resident_bytes, threads
from server_process import serving
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore

RELOADS = 2_000
WARM_UP = 200
CLIENTS = 4
SHAPE, LATENT = (1, 4, 4), 2


@pytest.fixture
def short_turns() -> Iterator[None]:
    """Clients and publisher share this process, which changes between them every 0.1 ms.

    With turns of 5 ms, the default, each of a promotion's many file operations waits so long for the
    interpreter, which the clients never leave by themselves.
    """
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(usual_s)


@pytest.mark.hard
@pytest.mark.hazard_row("reload-under-load")
@pytest.mark.timeout(3_000)
@pytest.mark.usefixtures("short_turns")
def test_reloads_under_load_fail_nothing_and_name_the_version_that_answered(
    tmp_path: Path, hazard: Hazard
) -> None:
    store = ModelStore(tmp_path / "models")
    models = [TinyModel.make(image_shape=SHAPE, latent_size=LATENT, seed=seed) for seed in (1, 2)]
    for model in models:
        publish_tiny(store, name="mnist", model=model, aliases=("stable",))
    # `latest` is an alias too: without a third, the second version would never have to be loaded again.
    publish_tiny(store, name="mnist", image_shape=SHAPE, latent_size=LATENT, seed=3)
    z = np.array([[0.5, -1.0]], np.float32)
    expected = {f"mnist@{i}": model.decode(z)[0, 0] for i, model in enumerate(models, start=1)}
    body = json.dumps({"z": z.tolist()}).encode()
    head = b"POST /decode?model=mnist@stable HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    seen: Counter[str] = Counter()

    async def client(port: int, done: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not done.is_set():
            writer.write(request)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length: ")[2].split(b"\r\n")[0])
            document = json.loads(await reader.readexactly(length))
            if not answer.startswith(b"http/1.1 200 "):
                seen["failed"] += 1
                continue
            label = answer.partition(b"x-model: ")[2].split(b"\r\n")[0].decode()
            right = label == document["model"] and np.allclose(
                document["images"][0][0], expected[label], atol=1e-5
            )
            seen[label if right else "another version's bytes"] += 1
        writer.close()

    async def measured(port: int, pid: int, served: Callable[[], str]) -> tuple[int, int, list[int]]:
        done = asyncio.Event()
        clients = [asyncio.create_task(client(port, done)) for _ in range(CLIENTS)]
        before = 0
        counts: list[int] = []
        for number in range(RELOADS):
            wanted = 1 + number % 2
            await asyncio.to_thread(store.promote, "mnist", "stable", wanted)
            while served() != f"mnist@{wanted},mnist@3":  # noqa: ASYNC110  (a line in a log)
                await asyncio.sleep(0.005)
            if number == WARM_UP:
                before, counts = resident_bytes(pid), [descriptors(pid), threads(pid)]
        grown = resident_bytes(pid) - before
        counts += [descriptors(pid), threads(pid)]
        done.set()
        await asyncio.gather(*clients)
        return grown, before, counts

    arguments = ("--store-poll-s", "0.01", "--access-log", "false", "--default-model", "mnist@stable")
    with serving(tmp_path / "models", tmp_path / "log", *arguments) as running:
        log = running.log_path.open()
        reloads, named, unfinished = 0, "", ""

        def served() -> str:
            nonlocal reloads, named, unfinished
            *lines, unfinished = (unfinished + log.read()).split("\n")
            for line in lines:
                if '"event":"store changed"' in line:
                    reloads, named = reloads + 1, json.loads(line)["models"]
            return named

        begun = time.monotonic()
        grown, before, counts = asyncio.run(measured(running.port, running.process.pid, served))
        took_s = time.monotonic() - begun
        log.close()
        assert "Traceback" not in running.log
    answered, mixed = seen["mnist@1"] + seen["mnist@2"], seen["another version's bytes"]
    hazard(
        "reload-under-load",
        figure=f"{reloads} reloads in {took_s:.0f} s: {seen['failed']} of {answered} requests failed",
        bar=f"{RELOADS} reloads, 0 failed",
        met=reloads == RELOADS and seen["failed"] == 0 and answered > RELOADS,
    )
    hazard(
        "reload-under-load",
        figure=f"{mixed} answers of another version",
        bar="0; both versions answered",
        met=mixed == 0 and min(seen["mnist@1"], seen["mnist@2"]) > 100,
    )
    hazard(
        "reload-under-load",
        figure=f"RSS {grown / 1e6:+.1f} MB on {before / 1e6:.0f} MB",
        bar="< +25 MB",
        met=grown < 25e6,
    )
    assert counts[:2] == counts[2:], "descriptors and threads stay"
