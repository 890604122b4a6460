"""Every command in the README, executed.

The blocks marked `sh` run in order, in one shell, as a reader would type them: `make serve` starts the real
server (on a free port instead of 8000), the `curl` lines talk to it, training reads the 2,000 digits of
`tests/data` and publishes into a copy of the bundled store. Commands that the test suite cannot start from
within itself are listed with the script that runs them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE_S
from PIL import Image

from training.data.idx import read_idx, write_idx

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)

#: Command in the README → the script that executes it, and the line that does.
RUN_ELSEWHERE = {
    "make test": (".ci/run", "make coverage\n"),  # the same, measured
    "make test-docker": (".ci/run", "make test-docker\n"),
    "docker compose up": ("tests/docker/test-docker", "compose up "),
    "docker compose run --rm server vae-store list": (
        "tests/docker/test-docker",
        "run --rm server vae-store list",
    ),
    "TRAINING_DATA=$PWD/data/mnist docker compose --profile train run --rm train fit --recipe quick "
    "--data /data --out quick": ("tests/docker/test-docker", "\ntrain fit --recipe quick --data /data"),
    "docker compose --profile train run --rm train export quick --name mnist --alias stable": (
        "tests/docker/test-docker",
        "\ntrain export tiny --name tiny --alias stable",
    ),
}

#: An hour of training and a minute of load, cut short: command in the README → what is appended to it here.
SHORTENED = {
    "vae-train fit --recipe mnist-further --data data/mnist --out runs/mnist": (
        " --set trainer.epochs=1 --set evaluation.importance_samples=2 --set evaluation.importance_images=10"
    ),
    "vae-train fit --recipe images-gaussian --data data/pictures --out runs/pictures": (
        " --set trainer.epochs=1"
    ),
    "vae-train judge --data data/mnist --out runs/judge": " --epochs 1",
    "vae-train evaluate mnist@stable --data data/mnist --judge runs/judge": " --importance-samples 1",
    "vae-train compare runs/quick mnist@1 --data data/mnist --judge runs/judge --out reports/compare": (
        " --importance-samples 1"
    ),
    ".venv/bin/vae-serve bench http://localhost:8000 --concurrency 32": " --duration-s 0.3 --warm-up-s 0",
    ".venv/bin/vae-serve bench http://localhost:8000 --rate 200 --operation sample --form png": (
        " --duration-s 0.3 --warm-up-s 0"
    ),
}


def logical_lines(block: str) -> list[str]:
    """The commands of a block: comments dropped, continued lines joined."""
    joined = block.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def commands() -> list[str]:
    return [line for block in BLOCKS for line in logical_lines(block)]


def bare(command: str) -> str:
    return re.sub(r"\s+#.*$", "", command).strip()


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundled store: what the README publishes must not land in the source tree."""
    copy = tmp_path_factory.mktemp("store") / "models"
    shutil.copytree(REPOSITORY / "model_store/models", copy)
    return copy


@pytest.fixture(scope="module")
def environment(store: Path) -> dict[str, str]:
    path = f"{REPOSITORY / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    # What `make test ARGS=…` was given is for pytest, and not for the `make serve` that is tried here.
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "ARGS")}
    return {**own, "PATH": path, "VAE_MODEL_STORE": str(store)}


@pytest.fixture(scope="module")
def server(port: int, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`make serve`, as the README says, with only the port changed."""
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["make", "-C", str(REPOSITORY), "serve", f"PORT={port}"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                done = subprocess.run(
                    ["curl", "-sf", "-o", os.devnull, f"http://127.0.0.1:{port}/readyz"],
                    timeout=PATIENCE_S,
                    check=False,
                )
                if done.returncode == 0:
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            else:
                pytest.fail(f"not ready after {PATIENCE_S:.0f} s:\n{log.read_text()}")
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=PATIENCE_S)


def run_block(block: str, *, cwd: Path, environment: dict[str, str], address: str | None) -> str:
    """Run a block in bash; every `curl` fails on an error status, and says which."""
    for command, more in SHORTENED.items():
        block = block.replace(command, command + more)
    block = block.replace(".venv/bin/", f"{REPOSITORY}/.venv/bin/")
    curl = f"command curl -sS --fail-with-body --max-time {PATIENCE_S:.0f}"
    script = f'set -euo pipefail\ncurl() {{ {curl} "$@"; }}\n{block}'
    if address is not None:
        script = script.replace("localhost:8000", address)
    done = subprocess.run(["bash", "-c", script], cwd=cwd, env=environment, capture_output=True, check=False)
    output = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"{block}\n→ exit {done.returncode}\n{output[-3000:]}"
    return output


def talks_to_the_server(block: str) -> bool:
    return "curl " in block or "vae-serve bench" in block


def uses_the_command_line(block: str) -> bool:
    names = ("vae-train", "vae-store", "vae-serve")
    return any(name in block for name in names) and not talks_to_the_server(block) and "docker" not in block


def test_readme_starts_with_the_two_commands() -> None:
    first = [bare(command) for command in commands()]
    assert first[0] == "make serve"
    assert "make test" in first


def test_commands_that_run_elsewhere_really_do() -> None:
    assert set(SHORTENED) <= set(commands())
    for command, (script, line) in RUN_ELSEWHERE.items():
        assert line in (REPOSITORY / script).read_text(), f"{command}: {script} no longer runs it"


def test_every_command_is_executed_by_one_of_these_tests() -> None:
    """A command of a new kind must get a test, not slip through between them."""
    for block in BLOCKS:
        for command in map(bare, logical_lines(block)):
            elsewhere = command in RUN_ELSEWHERE or command == "make serve"
            assert elsewhere or talks_to_the_server(block) or uses_the_command_line(block), (
                f"no test executes: {command}"
            )


def test_every_curl_line_works_against_make_serve(
    server: str, environment: dict[str, str], tmp_path: Path
) -> None:
    blocks = [block for block in BLOCKS if talks_to_the_server(block)]
    assert len(blocks) >= 6
    printed = [run_block(block, cwd=tmp_path, environment=environment, address=server) for block in blocks]
    assert sum("⠁" <= character <= "⣿" for character in printed[0]) > 100, "no braille digits in /sample.txt"


def test_problem_shown_is_what_the_server_answers(server: str) -> None:
    (shown,) = [
        json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    ]
    body = re.search(r"`(\{\"images\": [^`]*\})`, sent to `/encode`", README)
    assert body
    done = subprocess.run(
        ["curl", "-s", "-d", body[1], f"http://{server}/encode"],
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    answered = json.loads(done.stdout)
    assert {**answered, "request_id": ""} == {**shown, "request_id": ""}


@pytest.mark.timeout(3600)  # it trains two models for real: a minute alone, five beside other suites
def test_command_lines_train_publish_and_look_at_a_model(
    environment: dict[str, str], store: Path, tmp_path: Path
) -> None:
    enough_for_the_quick_recipe(tmp_path / "data/mnist")
    pictures_in_colour(tmp_path / "data/pictures")
    blocks = [block for block in BLOCKS if uses_the_command_line(block)]
    assert len(blocks) >= 3
    for block in blocks:
        text = re.sub(r"^make ", f"make -C {REPOSITORY} ", block, flags=re.MULTILINE)
        run_block(
            text,
            cwd=tmp_path,
            environment=environment,
            address=None,
        )
    assert (store / "mnist/5/manifest.json").is_file()
    assert (store / "pictures/1/manifest.json").is_file()
    assert (tmp_path / "runs/quick/samples.png").is_file()
    assert (tmp_path / "runs/quick/report.html").is_file()
    assert (tmp_path / "reports/mnist-5/report.html").is_file()
    assert (tmp_path / "reports/compare/compare.html").is_file()


def enough_for_the_quick_recipe(folder: Path) -> None:
    """The digits of `tests/data`, each twice: the recipe holds 2,000 back to validate on."""
    shutil.copytree(REPOSITORY / "tests/data/mnist", folder)
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        array = read_idx(folder / name, max_payload_bytes=10_000_000).array
        write_idx(folder / name, np.concatenate([array, array]))


def pictures_in_colour(folder: Path) -> None:
    """Two classes of gradients, enough for a batch of the recipe."""
    rng = np.random.default_rng(0)
    for number in range(120):
        pixels = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((12, 9), Image.Resampling.BILINEAR)
        path = (
            folder / ("warm" if pixels[..., 0].mean() > pixels[..., 2].mean() else "cold") / f"{number}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


def test_picture_is_what_the_bundled_model_draws(
    server: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """The caption names the command; another processor may differ in the last grey level.

    By the bundled version: what the README trained and published is what this server serves by now.
    """
    caption = re.search(r"`curl \"localhost:8000(/sample\.png[^\"]*)\"`", README)
    picture = re.search(r"!\[[^\]]*\]\(([^)]*)\)", README)
    assert caption
    assert picture
    run_block(
        f'curl "localhost:8000{caption[1]}&model=mnist@4" -o drawn.png',
        cwd=tmp_path,
        environment=environment,
        address=server,
    )
    drawn, shown = (
        np.asarray(Image.open(path), dtype=np.int16)
        for path in (tmp_path / "drawn.png", REPOSITORY / picture[1])
    )
    assert drawn.shape == shown.shape
    assert np.abs(drawn - shown).max() <= 2
