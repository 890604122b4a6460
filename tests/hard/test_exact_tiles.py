"""Exact tiles of a decoder with the layers of TAESD: the pixels of one run, for half of its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from large_models import TAESD_BLOCKS, TAESD_WIDTH
from open_decoders import import_decoder, open_decoder
from patience import PATIENCE_S

MB = 1_000_000
#: (height, width): a square, and one that no two windows divide evenly.
SIZES = ((512, 512), (520, 880))
MOST_APART, MOST_MEMORY = 1e-5, 0.5

_DECODE = """
import asyncio, gc, json, pathlib, sys, time
import numpy as np
from model_store import ModelStore
from service import engine
from service.engine.runtime.allocator import return_memory

def line(name):
    (found,) = [l for l in pathlib.Path("/proc/self/status").read_text().splitlines() if l.startswith(name)]
    return int(found.split()[1]) * 1024

pool = engine.WorkerPool(2)
model = engine.load_model(ModelStore(pathlib.Path(sys.argv[1])).open("taesd"), threads=1, worker_pool=pool)
rows, columns = (int(side) // 8 for side in sys.argv[2:4])
z = np.random.default_rng(0).standard_normal((1, 4 * rows * columns), dtype=np.float32)
bounds = engine.TileBounds(run_pixels=1 << 20, values=1 << 24)
found = {"halo": model.manifest.latent.decoder_halo, "reach": model.manifest.latent.decoder_reach}
images = {}
for tile in ("off", "exact"):
    plan = engine.plan_decoding(model, (1, 4, rows, columns), tile=tile, bounds=bounds, where="z")
    if isinstance(plan, engine.Tiles):
        rows_of, columns_of = plan.grid.rows.window, plan.grid.columns.window
        found["windows"] = f"{plan.grid.count} of {8 * rows_of} × {8 * columns_of}"
        work = engine.decode_tiled(plan, z, max_batch=1)
    else:
        work = engine.decode_unclipped(plan.queued, z)
    gc.collect()
    return_memory()
    before = line("VmRSS:")
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    begun, clock = time.process_time(), time.perf_counter()
    images[tile] = asyncio.run(work)
    found[tile] = {"cpu_s": time.process_time() - begun, "s": time.perf_counter() - clock,
                   "bytes": line("VmHWM:") - before}
found["apart"] = float(np.abs(images["off"] - images["exact"]).max())
pool.close()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taesd") / "store"
    import_decoder(folder, open_decoder(width=TAESD_WIDTH, blocks=TAESD_BLOCKS), name="taesd")
    return folder


@pytest.mark.hard
@pytest.mark.hazard_row("exact-tiles")
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_exact_tiles_take_half_of_the_memory_of_one_run(
    store: Path, hazard: Hazard, height: int, width: int
) -> None:
    command = [sys.executable, "-c", _DECODE, str(store), str(height), str(width)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    whole, tiles = found["off"], found["exact"]
    share = tiles["bytes"] / whole["bytes"]
    met = found["apart"] <= MOST_APART and share <= MOST_MEMORY
    told = (
        f"{height} × {width} px, halo {found['halo']} of reach {found['reach']}, {found['windows']}: "
        f"{found['apart']:.1g} apart, {tiles['bytes'] / MB:.0f} of {whole['bytes'] / MB:.0f} MB, "
        f"{tiles['cpu_s']:.1f} of {whole['cpu_s']:.1f} CPU-s"
    )
    hazard("exact-tiles", figure=told, bar="≤ 1e-5 apart, ≤ half of the memory", met=met)
    assert met, told
