"""An upgrade of the package, from its wheel: one's own store survives, and new bundled versions can come."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bundled_models import BUNDLED_MODELS
from patience import PATIENCE_S
from tiny_models import publish_tiny

from model_store import ModelStore, VersionId

REPOSITORY = Path(__file__).resolve().parents[2]
Content = dict[str, bytes]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build as b; print(b.build_wheel({str(out)!r}))"
    subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, timeout=PATIENCE_S
    )
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture
def site(wheel: Path, tmp_path: Path) -> Path:
    """The packages as an installer unpacks them."""
    site = tmp_path / "site-packages"
    install(wheel, site)
    return site


Run = Callable[..., str]


@pytest.fixture
def run(site: Path, tmp_path: Path) -> Run:
    """`vae-store` of the installed packages, for a user with an empty home."""

    def command(*arguments: str, **environment: str) -> str:
        kept = {name: value for name, value in os.environ.items() if name != "XDG_DATA_HOME"}
        done = subprocess.run(
            [sys.executable, "-m", "model_store.cli", *arguments],
            cwd=site,  # wins over the packages of the checkout
            env={**kept, "HOME": str(tmp_path / "home"), **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return command


def install(wheel: Path, site: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


def upgrade(wheel: Path, site: Path) -> VersionId:
    """A later release: the old files are gone, `mnist` has one version more, and `stable` is that."""
    shutil.rmtree(site)
    install(wheel, site)
    return publish_tiny(bundled(site), name="mnist", aliases=("stable",))


def bundled(site: Path) -> ModelStore:
    return ModelStore(site / "model_store" / "models")


def content(root: Path) -> Content:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_promoted_aliases_survive_and_newer_bundled_versions_can_be_added(
    wheel: Path, site: Path, run: Run, tmp_path: Path
) -> None:
    own = ModelStore(tmp_path / "home" / ".local/share/vae-service/models")
    before, last = content(site), bundled(site).versions("mnist")[-1]
    told = run("promote", "mnist@1", "stable")
    assert f"copied the bundled models to {own.root}" in told
    assert content(site) == before, "the package is as it was installed"
    newest = upgrade(wheel, site)
    assert newest.version == last + 1
    assert own.aliases("mnist") == {"latest": last, "stable": 1}
    assert str(newest) not in run("list")
    told = run("add", "bundled")
    assert f"added {newest}" in told
    assert "mnist@stable stays at version 1" in told
    assert own.aliases("mnist") == {"latest": newest.version, "stable": 1}
    assert "corrupt" in run("verify")
    run("add", "bundled", "--alias", "stable")
    assert own.aliases("mnist")["stable"] == newest.version
    assert "mnist@stable is now version 1." in run("rollback", "mnist")
    assert "rolled-back" in run("history", "mnist")


def test_the_volume_of_a_container_keeps_its_aliases_and_gets_the_new_versions(
    wheel: Path, site: Path, run: Run, tmp_path: Path
) -> None:
    """It began as a copy of the image's store, written by a release without a record of changes."""
    volume = ModelStore(tmp_path / "volume")
    shutil.copytree(bundled(site).root, volume.root)
    publish_tiny(volume, name="mine")
    volume.promote("mnist", "stable", 2)
    (volume.root / ".history.jsonl").unlink()
    newest = upgrade(wheel, site)
    told = run("add", "bundled", VAE_MODEL_STORE=str(volume.root))
    assert f"added {newest}" in told
    assert "copied" not in told
    assert volume.aliases("mnist") == {"latest": newest.version, "stable": 2}
    assert volume.names() == tuple(sorted(("mine", *BUNDLED_MODELS)))
    assert "created" in run("history", "mnist", VAE_MODEL_STORE=str(volume.root))
    assert not (tmp_path / "home").exists()


def test_a_store_that_was_changed_in_the_package_is_copied_as_it_stands(
    site: Path, run: Run, tmp_path: Path
) -> None:
    """Earlier releases changed it there, as in a checkout."""
    publish_tiny(bundled(site), name="mine")
    bundled(site).promote("mnist", "stable", 2)
    run("promote", "mnist@3", "candidate")
    own = ModelStore(tmp_path / "home" / ".local/share/vae-service/models")
    last = bundled(site).versions("mnist")[-1]
    assert own.aliases("mnist") == {"candidate": 3, "latest": last, "stable": 2}
    assert own.versions("mine") == (1,)


def test_a_checkout_stays_clean(run: Run, tmp_path: Path) -> None:
    """As a newcomer: clone, roll back, look at git."""
    checkout = tmp_path / "checkout"
    git = ["git", "-c", "protocol.file.allow=always"]
    subprocess.run(
        [*git, "clone", "--quiet", "--local", str(REPOSITORY), str(checkout)], check=True, timeout=PATIENCE_S
    )
    for package in ("model_store", "service", "training"):
        shutil.copytree(REPOSITORY / package, checkout / package, dirs_exist_ok=True)

    def status() -> bytes:
        return subprocess.run(
            [*git, "-C", str(checkout), "status", "--porcelain"],
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        ).stdout

    before = status()
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
    for command in (["rollback", "mnist"], ["promote", "mnist@1", "stable"], ["gc"], ["add", "bundled"]):
        subprocess.run(
            [sys.executable, "-m", "model_store.cli", *command],
            cwd=checkout,
            env=environment,
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
    assert status() == before
    assert ModelStore(tmp_path / "data/vae-service/models").aliases("mnist")["stable"] == 1
