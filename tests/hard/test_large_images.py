"""Large images: what a version of them takes to load, to promote, and to serve to many at once."""

from __future__ import annotations

import http.client
import io
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hazard_plugin import Hazard
from large_models import TAESD_BLOCKS, TAESD_WIDTH, latent_size, publish_large
from patience import PATIENCE_S
from process_facts import resident_bytes
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore

MB = 1_000_000
#: Of a load: memory beyond the weights, and processor time in times of one row through both graphs.
MOST_BYTES, MOST_ROWS = 300 * MB, 2.0
#: Of 16 clients of a version of 256 px with the layers of TAESD.
CLIENTS, EACH, MOST_PEAK_BYTES = 16, 32, 400 * MB
#: (side, width, blocks): TAESD itself at 512 px, and at 1024 px a network of a quarter of its channels: of
#: TAESD, one activation of a row has 268 MB there.
VERSIONS = ((512, TAESD_WIDTH, TAESD_BLOCKS), (1024, TAESD_WIDTH // 4, 1))

_LOAD = """
import json, pathlib, sys, time
from model_store import ModelStore
from service.engine import WorkerPool, load_model

def line(name):
    (found,) = [l for l in pathlib.Path("/proc/self/status").read_text().splitlines() if l.startswith(name)]
    return int(found.split()[1]) * 1024

published = ModelStore(pathlib.Path(sys.argv[1])).open("large")
x, z = published.golden.x[:1], published.golden.z[:1]
before = line("VmRSS:")
pathlib.Path("/proc/self/clear_refs").write_text("5")
begun = time.process_time()
model = load_model(published, threads=1, worker_pool=WorkerPool(1))
load_s, peak = time.process_time() - begun, line("VmHWM:")
row_s = []
for _ in range(2):
    begun = time.process_time()
    model.encoder.run(x), model.decoder.run(z)
    row_s.append(time.process_time() - begun)
print(json.dumps({"bytes": peak - before, "rows": load_s / min(row_s), "row_s": min(row_s)}))
"""


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def weights_bytes(store: Path, name: str = "large") -> int:
    return sum(path.stat().st_size for path in (store / name / "1").glob("*.onnx"))


@pytest.mark.hard
@pytest.mark.hazard_row("large-load")
@pytest.mark.parametrize(("side", "width", "blocks"), VERSIONS)
def test_loading_costs_one_row(tmp_path: Path, hazard: Hazard, side: int, width: int, blocks: int) -> None:
    """64 probe rows of 512 px took 2.8 GB and 9 to 15 s of a processor."""
    publish_large(ModelStore(tmp_path), name="large", side=side, width=width, blocks=blocks)
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(tmp_path)], capture_output=True, check=True, timeout=PATIENCE_S
    )
    found = json.loads(done.stdout)
    grown = found["bytes"] - weights_bytes(tmp_path)
    met = grown <= MOST_BYTES and found["rows"] <= MOST_ROWS
    told = (
        f"{side} px, {width} channels: {grown / MB:+.0f} MB beyond the weights, {found['rows']:.2f} × one "
        f"row of {found['row_s']:.2f} s"
    )
    hazard("large-load", figure=told, bar=f"≤ {MOST_BYTES / MB:.0f} MB, ≤ {MOST_ROWS:g} × one row", met=met)
    assert met, told


def is_promoted(server: Running) -> bool:
    models = json.loads(server.get("/models")[2])["models"]
    return any(each["model"] == "large@1" and "stable" in each["aliases"] for each in models)


@pytest.mark.hard
@pytest.mark.hazard_row("large-load")
@pytest.mark.parametrize(("side", "width", "blocks"), VERSIONS)
def test_a_running_server_grows_by_no_more_when_one_is_promoted(
    tmp_path: Path, hazard: Hazard, side: int, width: int, blocks: int
) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist", aliases=("stable",))
    with serving(tmp_path / "models", tmp_path / "log") as server:
        pid = server.process.pid
        assert server.get("/sample?seed=1")[0] == 200
        before = resident_bytes(pid)
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        publish_large(store, name="large", side=side, width=width, blocks=blocks, aliases=())
        store.promote("large", "stable", 1)
        until = time.monotonic() + PATIENCE_S
        slowest_s = 0.0
        while not is_promoted(server) and time.monotonic() < until:
            begun = time.monotonic()
            assert server.get("/sample?seed=1&model=mnist")[0] == 200
            slowest_s = max(slowest_s, time.monotonic() - begun)
        assert is_promoted(server)
        grown = peak_bytes(pid) - before - weights_bytes(tmp_path / "models")
    met = grown <= MOST_BYTES
    told = (
        f"{side} px promoted: {grown / MB:+.0f} MB beyond the weights; meanwhile an image ≤ {slowest_s:.2f} s"
    )
    hazard("large-load", figure=told, bar=f"≤ {MOST_BYTES / MB:.0f} MB", met=met)
    assert met, told


def decoded(server: Running, body: bytes) -> Counter[int]:
    """Statuses of the answers to 16 clients that decode one image at a time."""
    found: Counter[int] = Counter()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10 * PATIENCE_S)
        for _ in range(EACH):
            connection.request("POST", "/decode.png?model=large", body, {"Content-Type": "application/x-npy"})
            answer = connection.getresponse()
            answer.read()
            found[answer.status] += 1
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return found


@pytest.mark.hard
@pytest.mark.timeout(3000)  # 150 s of processor time, on two threads
@pytest.mark.hazard_row("large-clients")
def test_many_clients_of_large_images_take_the_memory_of_the_threads(tmp_path: Path, hazard: Hazard) -> None:
    """A plain handler, which runs each request in a thread of its own, took 1,655 MB."""
    store = ModelStore(tmp_path / "models")
    publish_large(store, side=256, width=TAESD_WIDTH, blocks=TAESD_BLOCKS)
    z = np.random.default_rng(0).standard_normal((1, latent_size(256)), dtype=np.float32)
    body = io.BytesIO()
    np.save(body, z)
    options = ("--default-model", "large", "--threads", "2", "--request-timeout-s", "600")
    with serving(tmp_path / "models", tmp_path / "log", *options) as server:
        pid = server.process.pid
        begun = time.monotonic()
        assert decoded(server, body.getvalue()) == {200: CLIENTS * EACH}
        took_s = time.monotonic() - begun
        peak = peak_bytes(pid)
        time.sleep(1.0)  # the last worker returns its memory
        kept = resident_bytes(pid)
    met = peak <= MOST_PEAK_BYTES
    told = (
        f"{CLIENTS} clients × {EACH} decodes of 256 px: peak {peak / MB:.0f} MB, then {kept / MB:.0f} MB; "
        f"{CLIENTS * EACH / took_s:.1f} images/s"
    )
    hazard("large-clients", figure=told, bar=f"peak ≤ {MOST_PEAK_BYTES / MB:.0f} MB", met=met)
    assert met, told
