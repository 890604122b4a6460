"""Models that diffusers, pythae and Optimum made themselves: imported, served, and compared with torch.

`make foreign-models` installs the libraries into folders next to .venv, whose torch they use. Weights are
random; the configurations are in `tests/foreign_models`. A model with open sizes is served at two.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hazard_plugin import Hazard
from patience import PATIENCE_S
from server_process import Running, serving

from model_store import ImportedProvenance, ModelStore
from model_store.cli import main as vae_store
from service.commands.runtime_commands import COMMANDS

pytestmark = [pytest.mark.hard, pytest.mark.hazard_row("foreign-models"), pytest.mark.timeout(3600)]

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "tests/foreign_models"
LIBRARIES = REPOSITORY / ".venv-foreign"
ROW = "foreign-models"
BAR = "each within its golden tolerance of torch, at two sizes"
#: Name → arguments of `vae-train import`.
MODELS = {
    "kl": ("diffusers", "kl"),
    "kl-bare": ("diffusers", "kl-bare"),
    "tiny": ("diffusers", "tiny"),
    "vae": ("pythae", "vae"),
    "beta-vae": ("pythae", "beta-vae"),
    "ae": ("pythae", "ae"),
    "own-networks": ("pythae", "own-networks", "--allow-pickle"),
}


def run(folder: str, *command: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command with the libraries of one folder of `make foreign-models`."""
    if not (LIBRARIES / folder / ".installed").exists():
        pytest.skip("the libraries are not installed: make foreign-models")
    path = os.pathsep.join([str(LIBRARIES / folder), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == code, f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and answers of torch."""
    folder = tmp_path_factory.mktemp("foreign")
    run("models", SCRIPTS / "make_models.py", folder)
    return folder


def post(server: Running, path: str, array: np.ndarray) -> bytes:
    body = io.BytesIO()
    np.save(body, array)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", path, body.getvalue(), {"Content-Type": "application/x-npy"})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content[:500]
        return content
    finally:
        connection.close()


def differences(server: Running, store: ModelStore, name: str, answers: Path) -> tuple[float, int]:
    """The largest difference from torch, in golden tolerances, and the number of sizes."""
    golden = store.manifest(name).golden
    worst, sizes = 0.0, 0
    with np.load(answers) as file:
        right = dict(file)
    while f"x{sizes}" in right:
        at, sizes = sizes, sizes + 1
        with np.load(io.BytesIO(post(server, f"/encode.npz?model={name}", right[f"x{at}"]))) as found:
            latents = dict(found)
        image = np.load(io.BytesIO(post(server, f"/decode.npy?model={name}", right[f"z{at}"])))
        pairs = {"mu": (latents["mu"], golden.latent_atol), "image": (image, golden.pixel_atol)}
        if f"logvar{at}" in right:
            pairs["logvar"] = (latents["logvar"], golden.latent_atol)
        for key, (values, bound) in pairs.items():
            assert values.shape == right[f"{key}{at}"].shape, (name, key)
            difference = float(np.abs(values - right[f"{key}{at}"]).max()) / bound
            assert np.isfinite(difference), (name, key)
            worst = max(worst, difference)
    return worst, sizes


def judge(hazard: Hazard, store: Path, log: Path, folder: Path, names: tuple[str, ...]) -> None:
    with serving(store, log, "--default-model", names[0]) as server:
        found = {name: differences(server, ModelStore(store), name, folder / f"{name}.npz") for name in names}
    worst = max(found, key=lambda name: found[name][0])
    hazard(
        ROW,
        figure=f"{', '.join(names)}: at most {found[worst][0]:.1e} of a tolerance ({worst})",
        bar=BAR,
        met=found[worst][0] <= 1.0,
    )
    assert {name: sizes for name, (_, sizes) in found.items()} == {
        name: 1 if MODELS.get(name, ("diffusers",))[0] == "pythae" else 2 for name in names
    }


def test_models_of_diffusers_and_pythae_answer_as_torch_does(
    made: Path, tmp_path: Path, hazard: Hazard
) -> None:
    store = tmp_path / "store"
    for name, (library, folder, *more) in MODELS.items():
        command = ("import", library, made / folder, "--name", name, "--store", store, "--json", *more)
        document = json.loads(run("models", "-m", "training", *command).stdout)
        assert document["version"] == f"{name}@1"
        assert document["checks"][0]["check"] == "parity"
        manifest = ModelStore(store).manifest(name)
        assert isinstance(manifest.provenance, ImportedProvenance)
        version = {"diffusers": "of diffusers 0.42.1", "pythae": "of pythae 0.1.2"}[library]
        assert version in manifest.provenance.source
    manifests = {name: ModelStore(store).manifest(name) for name in MODELS}
    latent = manifests["kl"].latent
    assert latent is not None
    assert (latent.scaling_factor, latent.shift_factor) == (0.3611, 0.1159)
    assert [prior.name for prior in manifests["vae"].priors] == ["standard"]
    assert (manifests["ae"].kind, manifests["ae"].priors) == ("ae", ())
    assert manifests["tiny"].image.range == (-1.0, 1.0)
    judge(hazard, store, tmp_path / "log", made, tuple(MODELS))


def test_code_in_files_of_a_model_does_not_run(made: Path, tmp_path: Path) -> None:
    """Networks as pickles need the option, and weights with code in them are refused by both libraries."""
    arguments = ("--name", "mine", "--store", tmp_path / "store")
    refused = run("models", "-m", "training", "import", "pythae", made / "own-networks", *arguments, code=65)
    assert "--allow-pickle" in refused.stderr
    ran = tmp_path / "ran"
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_bytes((made / "tiny/config.json").read_bytes())

    class Writes:
        def __reduce__(self):
            return (Path.write_text, (ran, "ran"))

    torch.save({"encoder.layers.0.weight": Writes()}, folder / "diffusion_pytorch_model.bin")
    refused = run("models", "-m", "training", "import", "diffusers", folder, *arguments, code=65)
    assert "expected weights that AutoencoderTiny" in refused.stderr
    assert not ran.exists()


def test_an_export_of_optimum_answers_as_torch_does(tmp_path: Path, hazard: Hazard) -> None:
    run("optimum", SCRIPTS / "export_by_optimum.py", tmp_path)
    store = tmp_path / "store"
    argv = ["import", str(tmp_path / "optimum"), "--name", "optimum", "--store", str(store)]
    assert vae_store(argv, more=COMMANDS) == 0
    latent = ModelStore(store).manifest("optimum").latent
    assert latent is not None
    assert latent.scaling_factor == 0.18215
    judge(hazard, store, tmp_path / "log", tmp_path, ("optimum",))
