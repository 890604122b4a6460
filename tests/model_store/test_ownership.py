"""Another distribution with a package of our name in the same environment: every command can say so."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest
from patience import PATIENCE_S

from model_store.ownership import shared_packages, warning_of_shared_packages


def install(site: Path, name: str, **files: str) -> Distribution:
    """The metadata of an installed distribution."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for file, content in files.items():
        (info / file.replace("__", ".")).write_text(content)
    return PathDistribution(info)


def test_files_of_another_distribution_in_our_packages_are_found(tmp_path: Path) -> None:
    ours = install(tmp_path, "vae_service", RECORD="service/__init__.py,,\nmodel_store/cli.py,,\n")
    wheel = install(tmp_path, "acme-service", RECORD="service/app.py,sha256=x,1\nacme/__init__.py,,\n")
    editable = install(tmp_path, "acme-training", top_level__txt="training\nacme\n")
    egg = install(tmp_path, "acme-old", installed_files__txt="service\n")
    harmless = install(
        tmp_path,
        "harmless",
        RECORD="my_service/__init__.py,,\nacme/service/app.py,,\nservice-1.dist-info/METADATA,,\nservices.py,,\n",
    )
    assert shared_packages([ours, wheel, editable, egg, harmless]) == {
        "service": ("acme-service",),
        "training": ("acme-training",),
    }
    assert shared_packages([ours, harmless]) == {}


def test_this_environment_is_its_own() -> None:
    assert warning_of_shared_packages() is None


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "model_store.cli", "--version"],
        ["-m", "service", "--version"],
        ["-m", "training.cli", "--version"],
        ["-m", "service", "check"],
    ],
)
def test_commands_warn_and_go_on(tmp_path: Path, command: list[str]) -> None:
    install(tmp_path, "acme-service", RECORD="service/app.py,,\ntraining/x.py,,\n")
    code = (
        "import runpy, sys; sys.path.append(sys.argv.pop(1)); _, module, *sys.argv[1:] = sys.argv[1:]; "
        "runpy.run_module(module, run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert "acme-service installs a package with the name service or training" in done.stderr
    assert "an environment of its own" in done.stderr
    assert done.stdout


def test_a_server_logs_it_at_its_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from service import cli

    install(tmp_path, "acme-service", RECORD="service/app.py,,\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        cli._log_shared_packages()
    (record,) = caplog.records
    assert record.getMessage() == "packages of another distribution"
    caplog.clear()
    cli._log_shared_packages()
    assert caplog.records == []
