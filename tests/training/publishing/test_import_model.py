"""`vae-train import`: what is exported goes through `vae-store import`, with its options and its refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from foreign_modules import open_model
from imported_graphs import KL, optimum_folder, two_files

from model_store import ImportedProvenance, ModelStore
from model_store.import_options import Options
from training.cli import EXIT_NOT_INSTALLED, main
from training.errors import ExportError
from training.publishing.import_model import publish_loaded
from training.publishing.store_command import run_store_import


def test_a_loaded_model_becomes_a_version_with_its_origin(tmp_path: Path) -> None:
    lines: list[str] = []
    options = Options(name="mine", aliases=("stable",), licence="MIT", description="Mine.")
    done = publish_loaded(open_model(), options, store=tmp_path / "store", tell=lines.append)
    assert (done.exit_code, done.document["version"]) == (0, "mine@1"), done.document
    checks = [check["check"] for check in done.document["checks"]]
    assert checks[0] == "parity"
    assert checks[-1] == "serving"
    assert "mine@1 is published, stable moved to it." in done.text
    published = ModelStore(tmp_path / "store").open("mine@stable")
    manifest = published.manifest
    assert (manifest.licence, manifest.description) == ("MIT", "Mine.")
    assert manifest.latent is not None
    assert manifest.latent.scaling_factor == 0.5
    assert manifest.image.range == (-1.0, 1.0)
    assert manifest.image.sizes is not None
    assert isinstance(manifest.provenance, ImportedProvenance)
    assert manifest.provenance.source == (
        f"the folder small, Small of a library 1.0, exported by torch {torch.__version__}"
    )
    assert "Small of a library 1.0" in published.card
    assert [line.split(";")[0] for line in lines] == [
        "exporting the folder small, Small of a library 1.0",
        "exported",
    ]


def test_a_refusal_is_that_of_the_store(tmp_path: Path) -> None:
    files = two_files(tmp_path, KL.decoder, KL.encoder)
    done = run_store_import(files, Options(name="mine"), store=tmp_path / "store")
    assert done.exit_code == 65
    assert done.document["error"] == "ImportRefused"
    assert "swapped" in done.document["message"]
    assert done.with_check("parity", "fine") == done
    assert ModelStore(tmp_path / "store").names() == ()


def test_a_check_publishes_nothing(tmp_path: Path) -> None:
    folder = optimum_folder(tmp_path / "graphs")
    done = run_store_import([str(folder)], Options(name="mine", check_only=True), store=tmp_path / "store")
    assert done.document["version"] is None
    assert done.text.endswith("Nothing was published: --check.")


def test_an_end_without_a_document_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"exit code 2 and: .*unrecognized arguments"):
        run_store_import(["--no-such-option"], Options(name="mine"), store=tmp_path)


def folder_of(tmp_path: Path, library: str) -> Path:
    """A folder that is right as far as it can be read without the library."""
    folder = tmp_path / library
    folder.mkdir()
    if library == "diffusers":
        (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    else:
        config = {"name": "VAEConfig", "input_dim": [1, 5, 6], "latent_dim": 3}
        (folder / "model_config.json").write_text(json.dumps(config))
        torch.save({"model_state_dict": {"w": torch.zeros(2)}}, folder / "model.pt")
    return folder


@pytest.mark.parametrize("library", ["diffusers", "pythae"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # importing it fails as if it were not installed
    folder = folder_of(tmp_path, library)
    assert main(["import", library, str(folder), "--name", "mine"]) == EXIT_NOT_INSTALLED
    assert f"python -m pip install {library}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("import", "diffusers", "folder", "--name", "No"), "--name"),
        (("import", "diffusers", "folder", "--name", "mine", "--alias", "No"), "--alias"),
        (("import", "diffusers", "folder", "--name", "mine", "--allow-pickle"), "only with pythae"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_read(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_an_error_is_a_document_with_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "pythae", str(tmp_path / "away"), "--name", "mine", "--json"]) == 65
    out = capsys.readouterr()
    assert out.out == ""
    told = json.loads(out.err)
    assert (told["error"], told["exit_code"]) == ("ForeignModelError", 65)
