"""Every command in every page, executed.

The blocks marked `sh` run in order, in one shell for each page, as a reader would type them. `make serve`
starts the real server, on a free port instead of 8000. Training reads the 2,000 digits of `tests/data` and
publishes into a copy of the bundled store. `documents.session` lists the marks of a block. `NOT_RUN` below
has every command of a block marked `not-run`, with another check.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import yaml
from documents import session
from documents.commands import parser_of
from documents.markdown import REPOSITORY, Fence, fences, name_of, pages
from imported_graphs import optimum_folder
from object_storage import make_bucket, serving_s3
from patience import PATIENCE_S
from PIL import Image
from server_process import free_port
from torch.distributed.run import get_args_parser
from vae_client.__main__ import parser as client_parser

from training.data.idx import read_idx, write_idx

#: Written once and never changed: the cards of published versions, by `training` when it publishes.
PUBLISHED = re.compile(r"model_store/models/[^/]+/\d+/MODEL_CARD\.md")
PAGES: Final = {
    name_of(page): fences(page.read_text()) for page in pages() if not PUBLISHED.fullmatch(name_of(page))
}
WITH_COMMANDS: Final = sorted(name for name, blocks in PAGES.items() if any(map(session.is_run, blocks)))
LANGUAGES: Final = {"sh", "text", "json", "yaml", "toml", "nginx", "python", "js", ""}
MARKS: Final = re.compile(r"|answer|server(: s3)?|expect: [45]\d\d|not-run: .+")
#: What begins a line that a reader would type.
COMMAND: Final = re.compile(
    r"\s*(\$ )?([A-Z_]+=\S+ )*(curl|vae-\w+|make|docker|kubectl|pip|python3?|aws|bash|\.venv/bin/\S+) "
)

#: An hour of training and a minute of load, cut short: command in a page → what is appended to it here.
FEW_IMAGES: Final = " --set evaluation.importance_samples=2 --set evaluation.importance_images=10"
SHORTENED: Final = {
    # MNIST is not downloaded here.
    "vae-train fit --recipe quick --out runs/quick": f" --data data/mnist --set trainer.epochs=1{FEW_IMAGES}",
    "vae-train export runs/quick --name my-mnist": " --data data/mnist",
    "vae-train fit --resume --data data/mnist --out runs/quick --set trainer.epochs=6": (
        " --set trainer.epochs=2"  # the last one holds
    ),
    "vae-train fit --recipe mnist-prior --data data/mnist --out runs/mnist": (
        f" --set trainer.epochs=1 --set data.validation_size=2900{FEW_IMAGES}"
    ),
    "vae-train fit --recipe images-gaussian --data data/pictures --out runs/pictures": (
        f" --set trainer.epochs=1 --set trainer.min_steps_per_epoch=1{FEW_IMAGES}"
    ),
    "vae-train fit --recipe pictures-spatial --data data/pictures --set data.side=128 --out runs/spatial": (
        f" --set trainer.epochs=1 --set trainer.min_steps_per_epoch=1{FEW_IMAGES}"
    ),
    "vae-train fit --recipe images-gaussian --data pictures --out runs/pictures": (
        f" --set trainer.epochs=1 --set trainer.min_steps_per_epoch=1{FEW_IMAGES}"
    ),
    "torchrun --standalone --nproc-per-node 2 --max-restarts 3 --no-python vae-train fit --recipe quick "
    "--data data/mnist --out runs/cluster --resume=auto": f" --set trainer.epochs=1{FEW_IMAGES}",
    "vae-train judge --data data/mnist --out runs/judge": " --epochs 1",
    "vae-train evaluate runs/quick --data data/mnist": " --figures-only",
    "vae-train evaluate mnist@stable --data data/mnist --judge runs/judge --timed-with mnist@4": (
        " --importance-samples 1"
    ),
    "vae-train compare runs/quick mnist@1 --data data/mnist --judge runs/judge --out reports/compare": (
        " --importance-samples 1"
    ),
    "vae-serve bench http://localhost:8000 --concurrency 32": " --duration-s 0.3 --warm-up-s 0",
    "vae-serve bench http://localhost:8000 --rate 200 --operation sample --form png": (
        " --duration-s 0.3 --warm-up-s 0"
    ),
}

Check = Callable[[str], bool]


def holds(path: str, line: str) -> Check:
    """Another script runs the command, or what is meant by it."""
    return lambda _: line in (REPOSITORY / path).read_text()


def target_exists(command: str) -> bool:
    target = command.split()[1]
    return re.search(rf"^{target}: .*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE) is not None


def can_be_parsed(command: str) -> bool:
    """argparse ends the test with its own message where it cannot."""
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    parser_of(words[0]).parse_args(words[1:])
    return True


def torchrun_can_parse(command: str) -> bool:
    words = shlex.split(command)
    options = get_args_parser().parse_args(words[1:])
    assert options.no_python
    assert options.training_script == "vae-train"
    return can_be_parsed(shlex.join([options.training_script, *options.training_script_args]))


def extra_exists(command: str) -> bool:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (extra,) = re.findall(r"vae-service\[(\w+)\]", command)
    return extra in project["optional-dependencies"]


def prepares_the_other_revision(command: str) -> bool:
    """tests/benchmarks/test_comparison.py does the rest; this checks the folder and the extra."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"\[(\w+)\]", command)
    return "../before" in command and set(extras) <= set(project["optional-dependencies"])


def client_extra_exists(command: str) -> bool:
    """`pip install` of the client from its folder; tests/clients_python/test_package.py builds its wheel."""
    project = tomllib.loads((REPOSITORY / "clients/python/pyproject.toml").read_text())["project"]
    return set(re.findall(r"\[(\w+)\]", command)) <= set(project["optional-dependencies"])


def client_reads(command: str) -> bool:
    """tests/clients_python/test_package.py runs it; here its flags are read."""
    words = shlex.split(command)
    client_parser().parse_args(words[words.index("vae_client") + 1 :])
    return True


def uses_what_deploy_has(command: str) -> bool:
    """kubectl and helm: files of deploy/, which tests/deploy checks, and names of what is in them."""
    folder, words = REPOSITORY / "deploy", command.split()
    objects = [
        item
        for path in (*folder.glob("kubernetes/*/*.yaml"), *folder.glob("kserve/*.yaml"))
        for item in yaml.safe_load_all(path.read_text())
    ]
    names = {(item["kind"].lower(), item["metadata"]["name"]) for item in objects if "metadata" in item}
    values = yaml.safe_load((folder / "helm/vae-service/values.yaml").read_text())
    for word, after in itertools.pairwise(words):
        kind, slash, name = after.partition("/")
        if word in ("-f", "-k"):
            assert (REPOSITORY / after).exists(), after
        elif word == "--namespace":
            assert ("namespace", after) in names, after
        elif word == "generic":
            assert after == values["apiKeys"]["secret"], after
        elif word == "--set":
            assert after.partition("=")[0].partition(".")[0] in values, after
        elif slash and kind in ("deployment", "inferenceservice"):
            assert (kind, name) in names, after
    return words[0] != "helm" or (REPOSITORY / words[4] / "Chart.yaml").exists()


def generates_a_client(command: str) -> bool:
    """The long suite runs the generator, with the configuration of the page."""
    text = (REPOSITORY / "docs/how-to/generate-clients.md").read_text()
    (shown,) = (fence.text for fence in fences(text) if fence.language == "yaml")
    configuration = yaml.safe_load((REPOSITORY / "tests/clients/openapi-python-client.yaml").read_text())
    suite = (REPOSITORY / "tests/hard/test_generated_clients.py").read_text()
    words = command.removeprefix("npx ").split()
    return (
        yaml.safe_load(shown) == configuration
        and f'tool("{words[0]}")' in suite
        and all(f'"{word}"' in suite for word in words if word.startswith("--") or "=" in word)
    )


def exports_what_the_page_imports(command: str) -> bool:
    """Optimum needs weights from a hub; tests/support/imported_graphs.py writes the same folder."""
    text = (REPOSITORY / "docs/how-to/serve-a-diffusers-vae.md").read_text()
    return f"\nvae-store import {command.rsplit(maxsplit=1)[-1]} " in text


DOCKER: Final = "tests/docker/test-docker"
ACCELERATOR: Final = "service/engine/runtime/accelerator.py"
SIGNATURES: Final = "tests/model_store/test_signatures.py"
#: Every command that no test runs as it stands → what checks it instead.
NOT_RUN: Final[dict[str, Check]] = {
    "optimum-cli export onnx --model stabilityai/sd-vae-ft-mse sd-onnx/": exports_what_the_page_imports,
    "make test": holds(".ci/run", "make test\n"),
    "make bench": target_exists,
    "make bench ARGS=--quick": target_exists,
    'make bench ARGS="--systems vae,bare,tutorial --pairs mlp"': target_exists,
    "make bench ARGS=split": target_exists,
    "make bench ARGS=grpc": target_exists,
    "make bench ARGS=caching": target_exists,
    "make bench ARGS=ray": target_exists,
    "make bench ARGS=protocols": target_exists,
    'make bench ARGS="revisions --before ../before/.venv/bin/python"': target_exists,
    "git worktree add ../before HEAD~1": prepares_the_other_revision,
    "python3 -m venv ../before/.venv": prepares_the_other_revision,
    "../before/.venv/bin/pip install --constraint ../before/constraints.txt '../before[fast]'": (
        prepares_the_other_revision
    ),
    "make bench-others": target_exists,
    "make bench-capacity": target_exists,
    "make bench-capacity ARGS=--write": target_exists,
    "openapi-python-client generate --path openapi.json --config client.yaml": generates_a_client,
    "npx openapi-typescript openapi.json -o schema.d.ts": generates_a_client,
    "openapi-generator-cli generate -i openapi.json -g java -o client --library native "
    "--additional-properties openApiNullable=false --global-property skipFormModel=false": generates_a_client,
    "docker compose up": holds(DOCKER, "compose up "),
    "VAE_MAX_IMAGES=1024 docker compose up --detach": holds(DOCKER, "VAE_MAX_IMAGES=1024 compose run"),
    "docker run --detach --log-opt max-size=10m --log-opt max-file=5 -p 127.0.0.1:8000:8000 vae-service": (
        holds(DOCKER, "docker run --detach --log-opt max-size=10m --log-opt max-file=5 ")
    ),
    "docker compose -f deploy/compose/docker-compose.yml up --detach --scale server=3": (
        holds(DOCKER, "scaled up --no-build --detach --scale server=3")
    ),
    "docker compose --profile monitoring up": holds("docker-compose.yml", "profiles: [monitoring]"),
    "EXTRAS=telemetry docker compose build": holds("docker-compose.yml", "EXTRAS: ${EXTRAS:-}"),
    "docker compose run --rm server vae-store list": holds(DOCKER, "run --rm server vae-store list"),
    "docker compose run --rm server vae-store add bundled": holds(
        DOCKER, "run --rm server vae-store add bundled"
    ),
    "TRAINING_DATA=$PWD/data/mnist docker compose --profile train run --rm train fit --recipe quick "
    "--data /data --out quick": holds(DOCKER, "\ntrain fit --recipe quick --data /data"),
    "docker compose --profile train run --rm train export quick --name mnist --alias stable": holds(
        DOCKER, "\ntrain export tiny --name tiny --alias stable"
    ),
    "pip install 'vae-service[s3]'": extra_exists,
    'pip install "vae-service[telemetry]"': extra_exists,
    'pip install "vae-service[grpc]"': extra_exists,
    "pip install 'vae-service[sign]'": extra_exists,
    "pip install 'vae-service[openvino]'": extra_exists,
    "pip install 'vae-service[gpu]'": extra_exists,
    "pip uninstall -y onnxruntime": holds(ACCELERATOR, "pip uninstall -y {others}"),
    **{
        f"pip install --force-reinstall --no-deps {name}": holds(ACCELERATOR, f'"{name}"')
        for name in ("onnxruntime-openvino", "onnxruntime-gpu")
    },
    "vae-serve check --accelerator openvino --precision bfloat16": can_be_parsed,
    "vae-serve run --accelerator openvino --precision bfloat16": can_be_parsed,
    "vae-serve run --accelerator cuda --accelerator-device 0 --accelerator-memory-bytes 2000000000": (
        can_be_parsed
    ),
    "EXTRAS=openvino docker compose build": holds("docker-compose.yml", "EXTRAS: ${EXTRAS:-}"),
    "pip install 'vae-service[verify]'": extra_exists,
    **{
        command: holds(SIGNATURES, f'"{command}"')
        for command in (
            "openssl ecparam -name prime256v1 -genkey -noout -out private.pem",
            "openssl pkey -in private.pem -pubout -out public.pem",
        )
    },
    "vae-store sign mine@3 --key private.pem": can_be_parsed,
    "vae-store verify mine@3 --key public.pem": can_be_parsed,
    "vae-serve run --require-signature public.pem": can_be_parsed,
    "model_signing sign key models/mine/3 --signature models/mine/3.sig --private_key private.pem": (
        holds(SIGNATURES, '("sign", "key", version, "--signature", signature, "--private_key", private)')
    ),
    "model_signing verify key models/mine/3 --signature models/mine/3.sig --public_key public.pem": (
        holds(SIGNATURES, '("verify", "key", version, "--signature", signature, "--public_key", public)')
    ),
    "model_signing sign sigstore models/mine/3 --signature mine-3.sigstore": (
        holds(SIGNATURES, '"--identity", "--identity_provider"')
    ),
    "model_signing verify sigstore models/mine/3 --signature mine-3.sigstore --identity you@example.org "
    "--identity_provider https://accounts.example.org": holds(
        SIGNATURES, '"--identity", "--identity_provider"'
    ),
    "pip install ./clients/python": client_extra_exists,
    'pip install "./clients/python[pictures]"': client_extra_exists,
    **{
        f"python -m vae_client {arguments}": client_reads
        for arguments in (
            "sample -n 16 --seed 7 --label 3 -o threes.png --scale 4",
            "encode threes.png --fit mnist -o posterior.npz",
            "decode posterior.npz -o back.png",
            "score threes.png --fit contain --seed 1",
            "models",
        )
    },
    **dict.fromkeys(
        (
            "kubectl apply -f deploy/kubernetes/example/namespace.yaml",
            "kubectl --namespace vae create secret generic vae-api-keys --from-file=api-keys",
            "kubectl apply -k deploy/kubernetes/example",
            "kubectl --namespace vae rollout status deployment/vae-service",
            "kubectl create secret generic vae-api-keys --from-file=api-keys",
            "helm upgrade --install vae deploy/helm/vae-service "
            "--set image.repository=registry.example/vae-service --set settings.max_images=1024",
            "kubectl apply -f deploy/kserve/storage-account.yaml",
            "kubectl apply -f deploy/kserve/serving-runtime.yaml",
            "kubectl apply -f deploy/kserve/inference-service.yaml",
            "kubectl wait --for=condition=Ready inferenceservice/digits",
        ),
        uses_what_deploy_has,
    ),
    "docker build --build-arg EXTRAS=grpc -t vae-service .": holds("Dockerfile", 'ARG EXTRAS=""'),
    "vae-train evaluate mnist@6 --judge runs/judge --importance-images all --importance-samples 128"
    " --timed-with mnist@4": can_be_parsed,
    "vae-train evaluate fashion@1 --data /usr/share/datasets/fashion-mnist --judge runs/judge-fashion"
    " --second-data data/mnist": can_be_parsed,
    "vae-train add-preview mnist@4 --data data/mnist --alias stable": can_be_parsed,
    "vae-train fit --recipe mnist-prior --from-nothing --data data/mnist --out runs/mnist --resume=auto": (
        can_be_parsed  # tests/training/commands/test_recipe_parts.py runs such recipes
    ),
    "vae-train fit-prior mnist@1 --data data/mnist --judge runs/judge --alias stable": can_be_parsed,
    # tests/hard/test_foreign_models.py runs these two with the libraries.
    "vae-train import diffusers sd-vae/ --name sd-vae --alias stable --licence MIT": can_be_parsed,
    "vae-train import pythae runs/my_vae --name mine --alias stable": can_be_parsed,
    "vae-train compare mnist-ae mnist-2d --judge runs/judge --out reports/compare": can_be_parsed,
    **{
        f"MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 NODE_RANK={rank} vae-train fit --recipe mnist "
        "--data data/mnist --out runs/mnist --nodes 2": can_be_parsed
        for rank in (0, 1)
    },
    # tests/hard/test_torchrun.py starts two machines so, and runs the script of SLURM.
    "torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-id mnist --rdzv-endpoint "
    "10.0.0.1:29500 --max-restarts 3 --no-python vae-train fit --recipe mnist --data /shared/mnist "
    "--out /shared/runs/mnist --resume=auto": torchrun_can_parse,
    "RECIPE=mnist DATA=/shared/mnist OUT=/shared/runs/mnist sbatch --nodes 2 deploy/training/slurm.sh": (
        holds("deploy/training/slurm.sh", "exec srun torchrun")
    ),
    # tests/hard/test_ray_serve.py starts a Ray with these files and asks it for what the page shows.
    "make ray": target_exists,
    ". .venv-ray/bin/activate": holds("Makefile", "venv .venv-ray"),
    ". deploy/ray/environment.sh": holds("tests/support/ray_cluster.py", "deploy/ray/environment.sh"),
    "ray start --head --dashboard-host 127.0.0.1": holds(
        "tests/support/ray_cluster.py", '"ray", "start", "--head"'
    ),
    "serve deploy deploy/ray/serve.yaml": holds("tests/support/ray_cluster.py", "deploy/ray/serve.yaml"),
    "serve status": holds("tests/support/ray_cluster.py", '"serve", "status"'),
    'curl "localhost:8000/sample.txt?seed=7"': holds(
        "tests/hard/test_ray_serve.py", "test_the_page_says_what_this_test_does"
    ),
    "kubectl apply -f deploy/training/kubeflow.yaml": holds(
        "tests/training/commands/test_cluster_examples.py", "deploy/training/kubeflow.yaml"
    ),
}


def blocks() -> Iterator[tuple[str, Fence]]:
    for name, found in PAGES.items():
        for fence in found:
            yield f"{name}:{fence.line}", fence


def test_readme_starts_with_the_two_commands() -> None:
    shell = [command for fence in PAGES["README.md"] for command in fence.commands]
    assert shell[:2] == ["make serve", "make test"]


def test_every_block_has_a_known_language_and_mark() -> None:
    """A new kind of block must get a test, not slip through between them."""
    for where, fence in blocks():
        assert fence.language in LANGUAGES, f"{where}: no test knows blocks of `{fence.language}`"
        assert MARKS.fullmatch(fence.note), f"{where}: no test knows the mark `{fence.note}`"
        shell = fence.language == "sh"
        assert shell != (fence.note == "answer") or not fence.note, f"{where}: {fence.note}"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_scripts_for_a_page_are_javascript() -> None:
    scripts = [fence.text for _, fence in blocks() if fence.language == "js"]
    assert scripts
    for script in scripts:
        subprocess.run(["node", "--check", "-"], input=script.encode(), check=True, timeout=PATIENCE_S)


def test_commands_stand_in_shell_blocks_alone() -> None:
    """Elsewhere nothing would run them."""
    for where, fence in blocks():
        if fence.language != "sh":
            assert [line for line in fence.text.splitlines() if COMMAND.match(line)] == [], where


def test_answer_follows_the_command_that_prints_it() -> None:
    for found in PAGES.values():
        for before, fence in zip([None, *found], found, strict=False):
            if fence.note == "answer":
                assert before is not None
                assert session.is_run(before)


def test_commands_that_no_test_runs_are_these_and_are_checked_otherwise() -> None:
    marked = {
        command
        for _, fence in blocks()
        if fence.language == "sh" and not session.is_run(fence)
        for command in fence.commands
    }
    assert marked == set(NOT_RUN)
    for command, check in NOT_RUN.items():
        assert check(command), f"{command}: nothing runs it any more"


def test_shortened_commands_are_in_the_pages() -> None:
    run = {command for _, fence in blocks() if session.is_run(fence) for command in fence.commands}
    assert set(SHORTENED) <= run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundled store: what a page publishes must not land in the source tree."""
    copy = tmp_path_factory.mktemp("store") / "models"
    shutil.copytree(REPOSITORY / "model_store/models", copy)
    return copy


@pytest.fixture(scope="module")
def environment(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = f"{REPOSITORY / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    # What `make test ARGS=…` was given is for pytest, and not for the `make serve` that is tried here.
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "ARGS")}
    cache = str(tmp_path_factory.mktemp("cache"))
    return {**own, "PATH": path, "VAE_MODEL_STORE": str(store), "VAE_STORE_CACHE": cache}


@pytest.fixture(scope="module")
def port(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """`make serve`, as the README says, with only the port changed."""
    log, port = tmp_path_factory.mktemp("serve") / "log", free_port()
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
            ready = ["curl", "-sf", "-o", os.devnull, f"http://127.0.0.1:{port}/readyz"]
            while subprocess.run(ready, timeout=PATIENCE_S, check=False).returncode != 0:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def object_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with serving_s3(tmp_path_factory.mktemp("s3") / "log") as environment:
        make_bucket("bucket", environment)
        yield environment


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages call `data`: digits, and pictures in colour."""
    folder = tmp_path_factory.mktemp("data")
    enough_for_the_quick_recipe(folder / "mnist")
    pictures_in_colour(folder / "pictures")
    return folder


Run = Callable[[str], session.Session]


@pytest.fixture(scope="module")
def run_page(
    port: int,
    environment: dict[str, str],
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Run:
    """Runs a page, once, in a folder of its own or that of the page which it continues.

    A page that publishes, or continues one that does, has a store and a server of its own: the models of all
    others stay as they are.
    """
    folders: dict[str, Path] = {}
    done: dict[str, session.Session] = {}

    def folder_of(page: str) -> Path:
        if (before := continued(page)) is not None:
            run(before)
            return folders[before]
        folder = tmp_path_factory.mktemp("reader")
        shutil.copytree(data, folder / "data")
        for name in (".venv", "model_store"):
            (folder / name).symlink_to(REPOSITORY / name)
        shutil.copytree(REPOSITORY / "model_store/models", folder / "store")
        optimum_folder(folder / "sd-onnx")
        return folder

    def run(page: str) -> session.Session:
        if page not in done:
            folders[page] = folder_of(page)
            remote = any(fence.note == "server: s3" for fence in PAGES[page])
            extra = request.getfixturevalue("object_storage") if remote else {}
            alone = session.publishes(PAGES[page]) or continued(page) is not None
            if alone:
                extra = {**extra, "VAE_MODEL_STORE": str(folders[page] / "store")}
            done[page] = session.run(
                PAGES[page],
                folder=folders[page],
                environment={**environment, **extra},
                port=None if alone else port,
                own_port=free_port(),
                appended=SHORTENED,
                left_out=["make serve"],  # the fixture `port` has run it
            )
        return done[page]

    return run


def continued(page: str) -> str | None:
    """The page whose files another one needs, as its text says."""
    found = re.search(
        r"^This page continues \[[^\]]*\]\(([^)]*)\)", (REPOSITORY / page).read_text(), re.MULTILINE
    )
    return (
        name_of((REPOSITORY / page).parent.joinpath(found[1].partition("#")[0]).resolve()) if found else None
    )


@pytest.mark.timeout(3600)  # some train for real
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_commands_of_a_page_work_and_print_what_it_shows(run_page: Run, page: str) -> None:
    printed = run_page(page).printed
    before = None
    for fence in PAGES[page]:
        if fence.note == "answer":
            assert before is not None
            assert session.mismatch(fence, printed[before.line]) is None
        if session.is_run(fence) and fence.note.startswith("expect: "):
            answers = re.findall(r'^\{.*"status":(\d+),', printed[fence.line], re.MULTILINE)
            assert answers == [fence.note.removeprefix("expect: ")] * len(fence.commands)
        before = fence


@pytest.mark.timeout(3600)
def test_pages_publish_and_report_what_they_say(run_page: Run) -> None:
    tutorial, prior = (run_page(page).folder for page in ("docs/tutorial.md", "docs/how-to/fit-prior.md"))
    assert (tutorial / "store/pictures/1/manifest.json").is_file()
    assert (tutorial / "runs/pictures/report.html").is_file()
    assert (prior / "store/quick/1/prior.npz").is_file()
    assert (prior / "reports/compare/compare.html").is_file()


def test_picture_is_what_the_bundled_model_draws(port: int, tmp_path: Path) -> None:
    """The caption names the command; another processor may differ in the last grey level."""
    text = (REPOSITORY / "README.md").read_text()
    captioned = re.search(
        r"!\[[^\]]*\]\(([^)]*)\)\n\n\*[^\n]*`curl \"localhost:8000(/sample\.png[^\"]*)\"`", text
    )
    assert captioned
    picture, address = captioned.groups()
    url = f"http://127.0.0.1:{port}{address}"
    subprocess.run(["curl", "-sf", "-o", tmp_path / "drawn.png", url], timeout=PATIENCE_S, check=True)
    drawn, shown = (
        np.asarray(Image.open(path), dtype=np.int16)
        for path in (tmp_path / "drawn.png", REPOSITORY / picture)
    )
    assert drawn.shape == shown.shape
    assert np.abs(drawn - shown).max() <= 2


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
        kind = "warm" if pixels[..., 0].mean() > pixels[..., 2].mean() else "cold"
        path = folder / kind / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
