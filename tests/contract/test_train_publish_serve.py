"""The whole contract: two training steps, export, publish, serve, and the same numbers at both ends.

Nothing is faked here. The server's end runs in a process of its own, in which torch must not appear.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from direct import directly
from patience import PATIENCE_S

from model_store import ModelStore
from model_store.manifest import GoldenSpec
from service.engine import ModelRegistry, NoPrior, WorkerPool, sample
from training.cli import main
from training.data import load_mnist, to_unit_interval
from training.runs.run_directory import load_run

DATA = Path(__file__).parents[1] / "data" / "mnist"
RECIPE = """
name = "two-steps"
[data]
validation_size = 1000
binarisation = "{binarisation}"
[model]
kind = "{kind}"
latent_size = 5
trunk = {trunk}
likelihood = {likelihood}
[optimiser]
warmup_steps = 1
[trainer]
epochs = 1
batch_size = 300
precision = "float32"
[evaluation]
importance_samples = 2
importance_images = 20
"""
MLP = '{ type = "mlp", encoder_hidden = [32], decoder_hidden = [32] }'
RESIDUAL = """{ type = "residual", encoder_channels = [4, 6], encoder_blocks = 1, decoder_channels = [4, 6],
decoder_blocks = 1 }""".replace("\n", " ")
RECIPES = {
    "residual-vae": {
        "kind": "vae",
        "trunk": RESIDUAL,
        "likelihood": '{ name = "bernoulli" }',
        "binarisation": "dynamic",
    },
    "mlp-autoencoder": {
        "kind": "ae",
        "trunk": MLP,
        "likelihood": '{ name = "gaussian", sigma = 0.2, learned = true }',
        "binarisation": "grey",
    },
}
SERVER = """
import asyncio
import sys
import numpy as np
from pathlib import Path
from model_store import ModelStore
from service.engine import ModelRegistry, WorkerPool, encode, reconstruct, sample

store, pool = ModelStore(Path(sys.argv[1])), WorkerPool(1)
registry = ModelRegistry(store, default=sys.argv[2], threads=1, max_loaded=2, worker_pool=pool)
registry.load_all()
assert registry.readiness().ready, registry.failures()
model = registry.get(None)
x = np.load(sys.argv[3])
posterior = asyncio.run(encode(model.queued, x))
given_back = asyncio.run(reconstruct(model.queued, x))
answers = {"mu": posterior.mu, "logvar": posterior.logvar, "x_hat": given_back.x_hat}
if model.manifest.priors:
    samples = asyncio.run(sample(model.queued, n=6, seed=11, temperature=0.8))
    answers |= {"z": samples.z, "samples": samples.x_hat}
assert not {"torch", "training", "onnx"} & set(sys.modules)
pool.close()
np.savez(sys.argv[4], **answers)
"""


@dataclass(frozen=True)
class Published:
    """One model at both ends."""

    name: str
    run: Path
    store: ModelStore


@pytest.fixture(scope="module", params=RECIPES)
def published(request, tmp_path_factory):
    """Fitted, evaluated, exported and published by the commands a user would type."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(**RECIPES[request.param]))
    run, store = folder / "run", folder / "store"
    assert main(["fit", "--recipe", str(recipe), "--data", str(DATA), "--out", str(run)]) == 0
    assert (
        main(
            [
                *f"export {run} --name {request.param} --alias stable --allow-collapsed".split(),
                "--store",
                str(store),
                "--data",
                str(DATA),
            ]
        )
        == 0
    )
    return Published(request.param, run, ModelStore(store))


@pytest.fixture(scope="module")
def served(published, tmp_path_factory):
    """What a server process answers about ten test digits."""
    folder = tmp_path_factory.mktemp("served")
    np.save(folder / "x.npy", ten_digits().numpy())
    arguments = [str(published.store.root), f"{published.name}@stable", str(folder / "x.npy")]
    subprocess.run(
        [sys.executable, "-c", SERVER, *arguments, str(folder / "answers.npz")],
        check=True,
        timeout=PATIENCE_S,
    )
    with np.load(folder / "answers.npz") as answers:
        return dict(answers)


def ten_digits():
    """Ten digits that neither training nor the golden vectors saw in this batch."""
    return to_unit_interval(load_mnist(DATA).test.images[101:111])


def test_server_encodes_as_the_trained_model_does(published, served):
    with torch.inference_mode():
        posterior = load_run(published.run).model.encode(ten_digits())
    bound = GoldenSpec().latent_atol
    np.testing.assert_allclose(served["mu"], posterior.mu.numpy(), atol=bound, rtol=0)
    np.testing.assert_allclose(served["logvar"], posterior.logvar.numpy(), atol=bound, rtol=0)


def test_server_reconstructs_as_the_trained_model_does(published, served):
    model = load_run(published.run).model
    with torch.inference_mode():
        x_hat = model.decode(model.encode(ten_digits()).mu)
    np.testing.assert_allclose(served["x_hat"], x_hat.numpy(), atol=GoldenSpec().pixel_atol, rtol=0)


def test_server_decodes_its_own_noise_as_the_trained_model_would(published, served):
    model = load_run(published.run).model
    if model.kind == "ae":
        assert "samples" not in served
        registry = ModelRegistry(
            published.store, default=published.name, threads=1, max_loaded=2, worker_pool=WorkerPool(1)
        )
        registry.load_all()
        with pytest.raises(NoPrior):
            directly(sample, registry.get(None), n=1, seed=0, temperature=1.0)
        return
    with torch.inference_mode():
        x_hat = model.decode(torch.from_numpy(served["z"]))
    np.testing.assert_allclose(served["samples"], x_hat.numpy(), atol=GoldenSpec().pixel_atol, rtol=0)
    assert served["z"].std() == pytest.approx(0.8, abs=0.35)


def test_manifest_the_server_reads_is_of_this_run(published):
    manifest = published.store.open(f"{published.name}@stable").manifest
    recipe = RECIPES[published.name]
    assert manifest.kind == recipe["kind"]
    assert manifest.provenance.epochs == 1
    assert manifest.provenance.recipe == json.loads((published.run / "config.json").read_text())
    figures = json.loads((published.run / "evaluation.json").read_text())["metrics"]
    assert [metric.model_dump() for metric in manifest.metrics] == figures
    names = {metric.name for metric in manifest.metrics}
    assert ("nll_iw" in names) == (recipe["kind"] == "vae")


def test_one_flipped_bit_in_the_store_keeps_the_model_from_being_served(published, tmp_path):
    """The twin that shows the agreement above is the files' doing, and that verification stands between."""
    root = shutil.copytree(published.store.root, tmp_path / "store")
    decoder = root / published.name / "1" / "decoder.onnx"
    spoilt = bytearray(decoder.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    decoder.write_bytes(bytes(spoilt))
    registry = ModelRegistry(
        ModelStore(root), default=published.name, threads=1, max_loaded=2, worker_pool=WorkerPool(1)
    )
    registry.load_all()
    assert not registry.readiness().ready
    assert any("decoder.onnx" in failure.reason for failure in registry.failures())
