"""Folders of other libraries are judged before the library is imported, and no code of theirs runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from training.errors import ForeignModelError
from training.publishing.foreign import diffusers_vae, pythae_model

PYTHAE = {"name": "VAEConfig", "input_dim": [1, 5, 6], "latent_dim": 3}


def pythae_folder(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "model_config.json").write_text(json.dumps(PYTHAE | config))
    torch.save({"model_state_dict": {"w": torch.zeros(2)}}, folder / "model.pt")
    return folder


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"name": "VQVAEConfig"}, "'VQVAEConfig'"),
        ({"name": "SVAEConfig"}, "the encoder's output"),
        ({"name": None}, "VAE"),
        ({"input_dim": [30]}, r"\[C, H, W\]"),
        ({"input_dim": [1, 5, "6"]}, r"\[C, H, W\]"),
        ({"input_dim": [1, 5, 0]}, r"\[C, H, W\]"),
        ({"input_dim": None}, r"\[C, H, W\]"),
    ],
)
def test_a_model_of_pythae_that_cannot_be_served_is_named(
    config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ForeignModelError, match=words):
        pythae_model.load(pythae_folder(tmp_path / "run", **config), allow_pickle=False)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("inner", ["", "final_model"])
def test_pickled_networks_are_refused_with_the_option(part: str, inner: str, tmp_path: Path) -> None:
    pythae_folder(tmp_path / "run" / inner, **{f"uses_default_{part}": False})
    with pytest.raises(ForeignModelError, match=rf"{part}\.pkl.*--allow-pickle"):
        pythae_model.load(tmp_path / "run", allow_pickle=False)


class Writes:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (Path.write_text, (self.path, "ran"))


@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_code_in_weights_never_runs(form: str, allow_pickle: bool, tmp_path: Path) -> None:
    folder = pythae_folder(tmp_path / "run")
    ran = tmp_path / "ran"
    content = {"model_state_dict": Writes(ran)}
    if form == "zip":
        torch.save(content, folder / "model.pt")
    else:
        (folder / "model.pt").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ForeignModelError, match=r"model\.pt: expected tensors alone"):
        pythae_model.load(folder, allow_pickle=allow_pickle)
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut"])
def test_damaged_weights_are_named(content: bytes, tmp_path: Path) -> None:
    folder = pythae_folder(tmp_path / "run")
    (folder / "model.pt").write_bytes(content)
    with pytest.raises(ForeignModelError, match=r"model\.pt"):
        pythae_model.load(folder, allow_pickle=False)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    folder = pythae_folder(tmp_path / "run")
    (folder / "model.pt").unlink()
    with pytest.raises(ForeignModelError, match=r"model\.pt: expected weights, got: No such file"):
        pythae_model.load(folder, allow_pickle=False)


def test_the_name_of_a_model_on_a_hub_says_how_to_fetch_it() -> None:
    with pytest.raises(ForeignModelError, match=r"no such folder.*hf download"):
        diffusers_vae.load(Path("stabilityai/sd-vae-ft-mse"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"_class_name": "AutoencoderKLWan"}', "'AutoencoderKLWan'.*vae-store import"),
        ("{}", "_class_name AutoencoderKL or AutoencoderTiny"),
        ("[1]", "a JSON object"),
        ("{", "a JSON object"),
        ("[" * 100_000, "a JSON object"),
    ],
)
@pytest.mark.parametrize("inner", ["", "vae"])
def test_a_folder_of_another_model_is_named(config: str, words: str, inner: str, tmp_path: Path) -> None:
    (tmp_path / inner).mkdir(exist_ok=True)
    (tmp_path / inner / "config.json").write_text(config)
    with pytest.raises(ForeignModelError, match=words):
        diffusers_vae.load(tmp_path)
