"""The package as its users get it: alone, typed, with examples that run and a command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE_S
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "clients/python"
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]


def run(
    *arguments: str, cwd: Path | None = None, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A Python that finds the client and, unless it is the working directory, not the server."""
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=cwd or PACKAGE,
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONWARNINGS": "error", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_client_imports_nothing_of_the_server_and_no_pillow() -> None:
    shown = run("-c", "import sys, vae_client; print(*{name.partition('.')[0] for name in sys.modules})")
    loaded = set(shown.stdout.split())
    assert "vae_client" in loaded
    assert not loaded & {"service", "training", "model_store", "PIL", "pydantic", "fastapi"}


def test_types_of_the_answers_are_those_of_the_openapi_document() -> None:
    """After a change of the document: `vae-serve openapi | python clients/python/generate_models.py`."""
    document = run("-m", "service", "openapi", cwd=REPOSITORY, PYTHONPATH=str(REPOSITORY))
    assert document.returncode == 0, document.stderr
    made = run(str(PACKAGE / "generate_models.py"), stdin=document.stdout)
    assert made.stdout == (PACKAGE / "vae_client/answers.py").read_text(), made.stderr


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network by the backend that is already here."""
    out = tmp_path_factory.mktemp("wheel")
    built = run("-c", f"import hatchling.build as b; print(b.build_wheel({str(out)!r}))")
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("*.whl")
    return path


def test_wheel_has_the_package_alone_and_runs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    assert {name.partition("/")[0] for name in names} == {
        "vae_client", f"vae_client-{PROJECT['version']}.dist-info",
    }  # fmt: skip
    assert "vae_client/py.typed" in names
    shown = run("-m", "vae_client", "--version", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert shown.stdout == f"vae-client {PROJECT['version']}\n"


def test_dependencies_are_two_and_python_3_10_is_enough() -> None:
    names = {re.split(r"[\s<>=\[]", line)[0] for line in PROJECT["dependencies"]}
    assert names == {"httpx2", "numpy"}
    assert PROJECT["requires-python"] == ">=3.10"


def test_every_example_of_the_readme_runs(extended_url: str, tmp_path: Path) -> None:
    text = (PACKAGE / "README.md").read_text()
    shown = run_examples(text, extended_url, tmp_path)
    assert shown.splitlines()[0] in text, "the line that the first example shows"
    assert "(1, 3, 112, 112) (1, 4, 14, 14)" in shown.splitlines()
    assert size_of(tmp_path / "threes.png") == (460, 460)


def test_command_line_flags_unusual_pictures(extended_url: str, tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).random((1, 28, 28), np.float32))
    done = command(extended_url, tmp_path, "--model", "mnist@checked", "score", "noise.npy", "--flag")
    head, row = (line.split("\t") for line in done.stdout.splitlines())
    assert (head[-2:], row[-2:]) == (["negative_elbo_quantile", "flag"], ["1.000", "yes"])


def test_every_example_of_the_page_runs(url: str, tmp_path: Path) -> None:
    run_examples((REPOSITORY / "docs/how-to/python-client.md").read_text(), url, tmp_path)


def run_examples(text: str, url: str, folder: Path) -> str:
    """What the blocks of a document print, one after the other in one program."""
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 3
    done = run("-c", "\n".join(blocks).replace("http://localhost:8000", url), cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_of_the_readme_runs(url: str, tmp_path: Path) -> None:
    text = (PACKAGE / "README.md").read_text()
    commands = re.findall(r"^python (-m vae_client .*)$", text, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        done = run(*command.split(), cwd=tmp_path, VAECLIENT_URL=url)
        assert done.returncode == 0, done.stderr
    assert size_of(tmp_path / "back.png") == (28, 28)
    assert "mnist@6\tlatest,stable\t" in done.stdout


def command(url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "vae_client", "--url", url, *arguments, cwd=folder)


def test_command_line_writes_arrays_and_pictures(url: str, tmp_path: Path) -> None:
    drawn = command(url, tmp_path, "sample", "-n", "3", "--seed", "7", "--label", "3", "-o", "a.npy")
    assert (drawn.returncode, drawn.stdout) == (0, "")
    assert drawn.stderr == "a.npy: 3 images of mnist@6\nseed 7\n"
    assert np.load(tmp_path / "a.npy").shape == (3, 1, 28, 28)
    command(url, tmp_path, "sample", "--seed", "1", "-o", "one.npy")
    command(url, tmp_path, "interpolate", "one.npy", "one.npy", "--steps", "4", "-o", "b.npz")
    with np.load(tmp_path / "b.npz") as way:
        assert way["z"].shape == (4, 32)
    again = command(url, tmp_path, "reconstruct", "a.npy", "--sample", "--seed", "1", "-o", "c.png")
    assert again.returncode == 0, again.stderr
    assert size_of(tmp_path / "c.png") == (57, 57)
    scored = command(url, tmp_path, "score", "a.npy", "--seed", "1")
    head, *rows = (line.split("\t") for line in scored.stdout.splitlines())
    assert head == ["picture", "reconstruction_nll", "kl", "elbo", "bits_per_dim"]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert "max_images\t256 images" in command(url, tmp_path, "limits").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "--label", "eleven", "-o", "a.png"], "unknown-label (422)"),
        (["sample", "-o", "a.gif"], "a.gif: expected a name that ends in .png, .npy or .npz."),
        (["encode", "missing.png", "-o", "z.npz"], "missing.png: No such file or directory."),
        (["decode", "missing.npy", "-o", "a.png"], "missing.npy"),
        (["--model", "nothing", "sample", "-o", "a.png"], "unknown-model (404)"),
        (["sample", "-o", "no/such/folder/a.png"], "No such file or directory"),
    ],
)
def test_error_of_the_command_line_is_one_line(
    url: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = command(url, tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("vae-client: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_flags_of_the_server_may_follow_the_command(url: str, tmp_path: Path) -> None:
    after = ("--url", url, "--model", "mnist-2d")
    done = run("-m", "vae_client", "sample", "-o", "a.png", *after, cwd=tmp_path, VAECLIENT_URL="http://away")
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, "a.png: 1 images of mnist-2d@2")
    before = run("-m", "vae_client", *after, "encode", "a.png", "-o", "z.npz", cwd=tmp_path)
    assert (before.returncode, before.stderr) == (0, "z.npz: 1 posteriors of mnist-2d@2\n")


@pytest.mark.parametrize("arguments", [("sample", "-o", "a.gif"), ("encode", "a.png", "-o", "z.png")])
def test_name_without_a_format_is_refused_before_the_work(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = command("http://127.0.0.1:9", tmp_path, *arguments)
    assert (done.returncode, "expected a name that ends in" in done.stderr) == (1, True)


def test_latents_of_a_file_know_their_version(url: str, tmp_path: Path) -> None:
    command(url, tmp_path, "sample", "--seed", "7", "-o", "a.npy")
    command(url, tmp_path, "encode", "a.npy", "-o", "z.npz")
    done = command(url, tmp_path, "--model", "mnist-2d", "decode", "z.npz", "-o", "b.png")
    assert (done.returncode, "The latents are of mnist@6" in done.stderr) == (1, True)
    with np.load(tmp_path / "z.npz") as saved:
        assert json.dumps(sorted(saved.files)) == '["logvar", "model", "mu"]'
