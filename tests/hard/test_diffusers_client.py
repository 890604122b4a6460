"""The unchanged remote functions of diffusers against a running server with an imported AutoencoderKL.

`make inference-clients` installs them into an environment of their own. Weights are random: what is compared
is this server with diffusers itself, on the same machine.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from documents.markdown import fences
from hazard_plugin import Hazard
from patience import PATIENCE_S
from server_process import serving

from model_store.cli import main
from service.commands.runtime_commands import COMMANDS
from service.security.api_keys import new_key

pytestmark = [pytest.mark.hard, pytest.mark.hazard_row("remote-vae")]

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "tests/inference_clients/diffusers"
PYTHON = REPOSITORY / ".venv-inference/diffusers/bin/python"
#: Largest difference from diffusers, by the last word of a call's name, or by its type.
ONE_LEVEL = 1.0
TENSORS = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 1e-5}
#: Of JPEG, on average over the pixels: a decoder with random weights draws noise.
JPEG_LEVELS = 8.0
CALLS = 21
EXAMPLE = """\
import torch
latents = torch.zeros(1, 4, 8, 8)
{shown}
assert image.size == (64, 64)
"""


def script(name: str | Path, *arguments: object) -> str:
    if not PYTHON.exists():
        pytest.skip("the client is not installed: make inference-clients")
    done = subprocess.run(
        [PYTHON, SCRIPTS / name, *map(str, arguments)],
        capture_output=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode()


@pytest.mark.timeout(1800)
def test_unchanged_functions_return_what_diffusers_computes_itself(tmp_path: Path, hazard: Hazard) -> None:
    folder = tmp_path / "tiny-vae"
    script("export.py", folder)
    store = tmp_path / "store"
    assert main(["import", str(folder), "--name", "kl", "--store", str(store)], more=COMMANDS) == 0
    key, entry = new_key()
    (tmp_path / "keys").write_text(entry.line + "\n")
    (tmp_path / "keys").chmod(0o600)
    arguments = ["--default-model", "kl", "--api-keys-file", str(tmp_path / "keys")]
    with serving(store, tmp_path / "log", *arguments) as server:
        url = f"http://any:{key}@127.0.0.1:{server.port}"
        found = json.loads(script("calls.py", url, folder).splitlines()[-1])
        page = (REPOSITORY / "docs/reference/remote-vae.md").read_text()
        (shown,) = (fence.text for fence in fences(page) if fence.language == "python")
        shown = shown.replace("http://localhost:8000", url).replace("sd-vae", "kl")
        example = tmp_path / "example.py"
        example.write_text(EXAMPLE.format(shown=shown))
        script(example)
    assert key not in (tmp_path / "log").read_text()
    assert found.pop("refused as JSON") == 422
    of_types = {name: value for name, value in found.items() if name.split()[0] in TENSORS}
    assert len(of_types) == CALLS
    pictures = {name: value for name, value in of_types.items() if name.split()[1:] != ["pt", "pt"]}
    exact = {name: value for name, value in found.items() if name not in pictures}
    worst = max(value for name, value in pictures.items() if "jpg" not in name)
    far = {name: value for name, value in exact.items() if value > TENSORS.get(name.split()[0], 1e-4)}
    lossy = max(value for name, value in pictures.items() if "jpg" in name)
    hazard(
        "remote-vae",
        figure=f"{len(found)} calls: {worst:.0f} grey levels, float32 {exact['float32 pt pt']:.0e}",
        bar="1 grey level, 1e-5 in float32; packed, scaled, batches, encode within 1e-4",
        met=worst <= ONE_LEVEL and not far and lossy <= JPEG_LEVELS,
    )
    assert not far
