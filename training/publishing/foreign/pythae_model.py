"""A model of pythae, from the folder of its `save`, or from a training run with `final_model/`.

Knows pythae's classes and files. Knows nothing of export or of the store.

A run with networks of its own keeps them as pickles, encoder.pkl and decoder.pkl, which run code when they
are read: they are refused unless the user permits it. Weights are read without running code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.errors import ForeignModelError
from training.graphs.foreign import ForeignPair
from training.publishing.foreign.library import load_library, version_of
from training.publishing.foreign.loaded import Loaded
from training.publishing.foreign.model_folder import find_folder, one_line, read_settings

_CONFIG: Final = "model_config.json"
_WEIGHTS: Final = "model.pt"
Prior = Literal["standard", "none"]
#: Name in model_config.json → what training drew the latents towards. z is the encoder's output. Left out:
#: posteriors that flows, Hamiltonian steps or a codebook change, and those on curved spaces.
MODELS: Final[dict[str, Prior]] = {
    "AEConfig": "none",
    "RAE_GP_Config": "none",
    "RAE_L2_Config": "none",
    "WAE_MMD_Config": "standard",
    "Adversarial_AE_Config": "standard",
    "VAEConfig": "standard",
    "BetaVAEConfig": "standard",
    "BetaTCVAEConfig": "standard",
    "CIWAEConfig": "standard",
    "DisentangledBetaVAEConfig": "standard",
    "FactorVAEConfig": "standard",
    "INFOVAE_MMD_Config": "standard",
    "IWAEConfig": "standard",
    "MIWAEConfig": "standard",
    "MSSSIM_VAEConfig": "standard",
    "PIWAEConfig": "standard",
    "VAEGANConfig": "standard",
    "VAMPConfig": "none",
}


class _Encoder(nn.Module):
    """x → embedding, and log_covariance if the encoder has one."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Any:
        output = self.encoder(x)
        if "log_covariance" in output:
            return output["embedding"], output["log_covariance"]
        return output["embedding"]


class _Decoder(nn.Module):
    """z → reconstruction."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Float[Tensor, "batch latent"]) -> Tensor:
        reconstruction: Tensor = self.decoder(z)["reconstruction"]
        return reconstruction


def load(folder: Path, *, allow_pickle: bool) -> Loaded:
    """The model in a folder, on the CPU.

    Args:
        folder: Has model_config.json and model.pt, or `final_model/` with them.
        allow_pickle: Whether pickled networks may be read, which runs code of their author.

    Raises:
        ForeignModelError: There is no such model, it cannot be loaded, or it would run code.
        MissingLibrary: pythae is not installed.
    """
    place = find_folder(
        folder,
        _CONFIG,
        inner="final_model",
        remedy="Name the folder that `model.save(...)` or the trainer wrote.",
    )
    config = read_settings(place / _CONFIG)
    name, image = _checked(config, place)
    if not allow_pickle:
        _refuse_pickles(config, place)
    _check_weights(place)
    library = load_library("pythae", "pythae.models")
    try:
        model = library.AutoModel.load_from_folder(str(place)).eval()
        latent = int(model.latent_dim)
        encoder, decoder = _Encoder(model.encoder), _Decoder(model.decoder)
        with torch.inference_mode():
            output = encoder(torch.zeros(1, *image))
    except Exception as error:  # of many kinds: keys, shapes, files, code of the user
        raise ForeignModelError(
            f"{place}: expected a model that pythae {version_of('pythae')} loads and runs, got "
            f"{type(error).__name__}: {one_line(error)}."
        ) from error
    return Loaded(
        ForeignPair(
            encoder,
            decoder,
            encoder_outputs=("mu",) if isinstance(output, Tensor) else ("mu", "logvar"),
            image=image,
            latent=(latent,),
        ),
        origin=f"the folder {folder.resolve().name}, {name} of pythae {version_of('pythae')}",
        pixels=(0.0, 1.0),
        prior=MODELS[str(config["name"])],
    )


def _checked(config: dict[str, Any], place: Path) -> tuple[str, tuple[int, int, int]]:
    """The class and the shape of its images.

    Raises:
        ForeignModelError: One of them cannot be served.
    """
    name, shape = config.get("name"), config.get("input_dim")
    if name not in MODELS:
        raise ForeignModelError(
            f"{place / _CONFIG}: expected a model whose latent is the encoder's output, got "
            f"{str(name)[:64]!r}. Those are {', '.join(map(_class_of, MODELS))}."
        )
    is_image = isinstance(shape, list) and len(shape) == 3
    if not is_image or not all(type(side) is int and 1 <= side <= 1024 for side in shape or ()):
        raise ForeignModelError(
            f"{place / _CONFIG}: expected input_dim of images, [C, H, W], got {str(shape)[:64]}. The service "
            "serves images: train it with images of that shape, and not with flat vectors."
        )
    assert shape is not None
    return _class_of(str(name)), (shape[0], shape[1], shape[2])


def _class_of(name: str) -> str:
    """`Adversarial_AE_Config` → `Adversarial_AE`."""
    return name.removesuffix("Config").removesuffix("_")


def _refuse_pickles(config: dict[str, Any], place: Path) -> None:
    """Refuse networks that are kept as code.

    Raises:
        ForeignModelError: Names the files and the option.
    """
    parts = ("encoder", "decoder")
    files = [f"{part}.pkl" for part in parts if config.get(f"uses_default_{part}", True) is not True]
    if files:
        raise ForeignModelError(
            f"{place}: expected pythae's own networks, got {' and '.join(files)}. pythae keeps other "
            "networks as pickles, which run code of their author when they are read. If you trust that "
            "author, add --allow-pickle."
        )


def _check_weights(place: Path) -> None:
    """Read the weights without running code of theirs, before pythae reads them.

    Raises:
        ForeignModelError: They are missing, damaged, or more than tensors.
    """
    path = place / _WEIGHTS
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ForeignModelError(f"{path}: expected weights, got: {error.strerror or error}.") from error
    except Exception as error:  # of many kinds: torch says no more than what its readers say
        raise ForeignModelError(
            f"{path}: expected tensors alone, got what torch does not read without running code: "
            f"{one_line(error)[:200]}. Save the model again with pythae 0.1 or later."
        ) from error
