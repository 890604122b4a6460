"""Models through OpenVINO, in an environment of its own, which `make openvino` installs.

Knows the served answers and raw sessions. The processor decides what can be asked: without AMX, bfloat16 is
slower than with it, and without AVX-512 BF16 it is refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE_S
from server_process import Running, serving

from model_store import BUNDLED_STORE
from training.data.idx import read_idx

pytestmark = pytest.mark.hard

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = REPOSITORY / ".venv-openvino/bin/python"
FLAGS = Path("/proc/cpuinfo").read_text()
HAS_BFLOAT16 = " avx512_bf16" in FLAGS or " amx_bf16" in FLAGS
#: Of bfloat16 ÷ float32 images per second, at batch 64, where the processor has AMX.
BAR = 2.5
#: How far −ELBO may move, in nats per image.
NATS = 0.1
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY)}

needs_bfloat16 = pytest.mark.skipif(not HAS_BFLOAT16, reason="needs AMX or AVX-512 BF16")


@pytest.fixture(autouse=True)
def installed() -> None:
    if not PYTHON.exists():
        pytest.skip("OpenVINO is not installed: make openvino")


@contextlib.contextmanager
def served(tmp_path: Path, *arguments: str) -> Iterator[Running]:
    with serving(
        BUNDLED_STORE, tmp_path / "log", *arguments, environment=ENVIRONMENT, python=PYTHON
    ) as running:
        assert running.get("/readyz")[0] == 200, running.log
        yield running


def sample(running: Running, query: str) -> np.ndarray:
    status, headers, body = running.get(f"/sample.npy?{query}")
    assert status == 200, body
    assert headers["x-model"].startswith("mnist@")
    return np.load(io.BytesIO(body))


def negative_elbo(running: Running, images: np.ndarray) -> float:
    """Mean over images, by seed 0, in requests of 100."""
    found: list[float] = []
    for start in range(0, len(images), 100):
        body = io.BytesIO()
        np.save(body, images[start : start + 100])
        request = urllib.request.Request(
            f"http://127.0.0.1:{running.port}/score?seed=0",
            body.getvalue(),
            {"Content-Type": "application/x-npy", "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            found += json.loads(answer.read())["elbo"]
    return -float(np.mean(found))


def digits() -> np.ndarray:
    pixels = read_idx(REPOSITORY / "tests/data/mnist/t10k-images-idx3-ubyte.gz").array
    return pixels.astype(np.float32).reshape(-1, 1, 28, 28) / np.float32(255)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_seeds_are_exact_within_one_precision(tmp_path, precision):
    """Alone, among others, in another order and after a restart."""
    flags = ("--accelerator", "openvino", "--precision", precision)
    with served(tmp_path, *flags) as running:
        many = sample(running, "n=70&seed=7")
        for count in (1, 2, 16, 33):
            np.testing.assert_array_equal(sample(running, f"n={count}&seed=7"), many[:count])
        _, headers, body = running.get("/models")
        named = {model.get("precision") for model in json.loads(body)["models"]}
        assert named == ({None} if precision == "float32" else {"bfloat16"})
        _, headers, _ = running.get("/sample.txt")
        assert headers.get("x-precision") == (None if precision == "float32" else "bfloat16")
    with served(tmp_path, *flags) as again:
        np.testing.assert_array_equal(sample(again, "n=5&seed=7"), many[:5])


@needs_bfloat16
def test_elbo_of_the_published_version_moves_by_less_than_a_tenth_of_a_nat(tmp_path):
    images = digits()
    with served(tmp_path) as plain:
        exact = negative_elbo(plain, images)
    with served(tmp_path, "--accelerator", "openvino", "--precision", "bfloat16") as fast:
        found = negative_elbo(fast, images)
    assert found != exact
    assert abs(found - exact) <= NATS, f"{found} instead of {exact} nats"


RATE = """
import json, sys, time
import numpy as np
from pathlib import Path
from model_store import BUNDLED_STORE, ModelStore
from service.engine.runtime.accelerator import Accelerator
from service.engine.runtime.session import GraphSession
model = ModelStore(BUNDLED_STORE).open("mnist@4")
manifest = model.manifest
x = np.random.default_rng(0).random((64, *manifest.image.shape), dtype=np.float32)
z = np.random.default_rng(0).standard_normal((64, manifest.latent_size), dtype=np.float32)
found = {}
for precision in ("float32", "bfloat16"):
    how = Accelerator("openvino", precision)
    for name, graph, spec, rows in (
        ("encoder", model.encoder, manifest.encoder, x), ("decoder", model.decoder, manifest.decoder, z)
    ):
        session = GraphSession(graph, spec, threads=1, accelerator=how)
        best = 0.0
        for _ in range(5):
            runs = 0
            until = time.monotonic() + 0.5
            before = time.process_time()
            while time.monotonic() < until:
                session.run(rows)
                runs += 1
            best = max(best, 64 * runs / (time.process_time() - before))
        found[f"{name} {precision}"] = best
print(json.dumps(found))
"""


@needs_bfloat16
def test_bfloat16_is_faster_by_the_bar_where_the_processor_has_amx():
    done = subprocess.run(
        [PYTHON, "-c", RATE], capture_output=True, text=True, timeout=PATIENCE_S, env=ENVIRONMENT, check=True
    )
    rates = json.loads(done.stdout.splitlines()[-1])
    ratios = {part: rates[f"{part} bfloat16"] / rates[f"{part} float32"] for part in ("encoder", "decoder")}
    print(rates, ratios)  # noqa: T201
    if " amx_bf16" in FLAGS:
        assert min(ratios.values()) >= BAR, ratios
    else:
        assert min(ratios.values()) > 1.0, ratios
