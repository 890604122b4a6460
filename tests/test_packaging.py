"""What is installed, and from what: the wheel, the pins and the list of direct dependencies."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from patience import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PINS = [
    line
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    return canonical(re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0])


def test_server_has_at_most_twelve_direct_dependencies_and_no_torch() -> None:
    names = {requirement_name(requirement) for requirement in PROJECT["dependencies"]}
    assert len(names) <= 12
    assert names.isdisjoint({"torch", "lightning", "onnx", "python-multipart"})


def test_every_pin_is_an_exact_version_and_names_no_index_or_address() -> None:
    assert [line for line in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []
    assert "torch==2.13.0" in PINS


def test_every_dependency_is_pinned() -> None:
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    wanted = [*PROJECT["dependencies"], *extras, *groups["dev"]]
    pinned = {requirement_name(line) for line in PINS}
    assert sorted({requirement_name(line) for line in wanted} - pinned) == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as a user gets it, built without a network by the backend that is already here."""
    out = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build as b; print(b.build_wheel({str(out)!r}))"
    subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, timeout=PATIENCE_S
    )
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_carries_the_bundled_models_and_the_schema(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    models = REPOSITORY / "model_store/models"
    files = {path.relative_to(REPOSITORY).as_posix() for path in models.glob("*/[0-9]*/*")}
    assert {f"model_store/models/mnist/5/{file}.npz" for file in ("prior", "preview")} <= files
    assert {f"model_store/models/mnist/6/{file}.onnx" for file in ("prior_sampler", "prior_density")} <= files
    assert files <= names
    assert "model_store/models/mnist/aliases.json" in names
    assert "model_store/manifest.schema.json" in names


def test_wheel_carries_the_recipes_and_the_typing_marks(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {"training/recipes/quick.toml", "training/recipes/mnist.toml"} <= names
    assert {f"{package}/py.typed" for package in ("model_store", "service", "training")} <= names


def test_wheel_carries_the_playground(wheel: zipfile.ZipFile) -> None:
    folder = REPOSITORY / "service/api/pages/playground"
    files = {path.relative_to(REPOSITORY).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert "service/api/pages/playground/index.html" in files
    assert files <= set(wheel.namelist())


def test_wheel_carries_no_tests_and_no_caches(wheel: zipfile.ZipFile) -> None:
    assert [name for name in wheel.namelist() if name.startswith("tests/") or "__pycache__" in name] == []


def test_no_committed_file_is_larger_than_ten_megabytes() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, timeout=PATIENCE_S
    ).stdout.decode()
    sizes = {name: (REPOSITORY / name).stat().st_size for name in listed.split("\0") if name}
    assert {name: size for name, size in sizes.items() if size > 10_000_000} == {}
