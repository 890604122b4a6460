"""A VAE of diffusers: AutoencoderKL or AutoencoderTiny, from its folder or from that of a pipeline.

Knows diffusers' classes and files. Knows nothing of export or of the store.

    AutoencoderKL     sample ─encoder, quant_conv─▶ latent_parameters (mean, logvar)
                      latent_sample ─post_quant_conv, decoder─▶ sample
    AutoencoderTiny   sample ─encoder─▶ latents;  latent_sample ─decoder─▶ sample

`encode` of diffusers draws, and is not exported. Its clamp of the logvar is outside of the graphs, as in
Optimum's; the server applies it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.errors import ForeignModelError
from training.graphs.foreign import ForeignPair
from training.publishing.foreign.library import load_library, version_of
from training.publishing.foreign.loaded import Loaded
from training.publishing.foreign.model_folder import find_folder, one_line, read_settings

CLASSES: Final = ("AutoencoderKL", "AutoencoderTiny")
_CONFIG: Final = "config.json"
_WEIGHTS: Final = "diffusion_pytorch_model"
#: Settings that a server needs, as Optimum writes them into the config.json of each graph.
_KEPT: Final = (
    "scaling_factor", "shift_factor", "latents_mean", "latents_std", "latent_channels", "in_channels",
)  # fmt: skip
#: Side of the first image, which every usual factor divides.
_SIDE: Final = 128


class _Sequence(nn.Module):
    """One module after the other; None is left out."""

    def __init__(self, *modules: nn.Module | None) -> None:
        super().__init__()
        self.parts = nn.ModuleList([module for module in modules if module is not None])

    def forward(self, rows: Float[Tensor, "batch channel height width"]) -> Tensor:
        for part in self.parts:
            rows = part(rows)
        return rows


def load(folder: Path) -> Loaded:
    """The model in a folder, in float32 on the CPU. No network is used, and no code of the folder runs.

    Args:
        folder: Has config.json and weights, or `vae/` with them.

    Raises:
        ForeignModelError: There is no such model, or it cannot be loaded.
        MissingLibrary: diffusers is not installed.
    """
    place = find_folder(
        folder,
        _CONFIG,
        inner="vae",
        remedy="Models are not downloaded: fetch it first with `hf download MODEL --local-dir FOLDER`.",
    )
    config = read_settings(place / _CONFIG)
    name = config.get("_class_name")
    if name not in CLASSES:
        raise ForeignModelError(
            f"{place / _CONFIG}: expected _class_name {' or '.join(CLASSES)}, got {str(name)[:64]!r}. Export "
            "both graphs of another model with torch.onnx.export, and use vae-store import."
        )
    library = load_library("diffusers", "diffusers")
    try:
        # Pickled weights are read with weights_only by diffusers, so they cannot run code.
        vae = getattr(library, name).from_pretrained(
            place,
            local_files_only=True,
            low_cpu_mem_usage=False,  # True needs another library
            torch_dtype=torch.float32,
            use_safetensors=any(path.suffix == ".safetensors" for path in place.iterdir()),
            variant=_variant(place),
        )
    except Exception as error:  # of many kinds: files, keys, shapes, unpickling
        raise ForeignModelError(
            f"{place}: expected weights that {name} of diffusers {version_of('diffusers')} loads, got "
            f"{type(error).__name__}: {one_line(error)}."
        ) from error
    return Loaded(
        _pair(vae.eval(), name, place),
        origin=f"the folder {folder.resolve().name}, {name} of diffusers {version_of('diffusers')}",
        is_optimum=True,
        settings={key: vae.config[key] for key in _KEPT if vae.config.get(key) is not None},
    )


def _variant(place: Path) -> str | None:
    """`fp16` if the folder only has those weights."""
    names = [path.name for path in place.glob(f"{_WEIGHTS}*")]
    has_plain = any(name.removeprefix(_WEIGHTS)[:1] in (".", "-") and ".fp16." not in name for name in names)
    return "fp16" if not has_plain and any(".fp16" in name for name in names) else None


def _pair(vae: Any, name: str, place: Path) -> ForeignPair:
    is_kl = name == "AutoencoderKL"
    encoder = _Sequence(vae.encoder, vae.quant_conv if is_kl else None)
    decoder = _Sequence(vae.post_quant_conv if is_kl else None, vae.decoder)
    channels, latent_channels = int(vae.config["in_channels"]), int(vae.config["latent_channels"])
    with torch.inference_mode():
        mean = encoder(torch.zeros(1, channels, _SIDE, _SIDE))[:, :latent_channels]
        back = decoder(mean)
    side = mean.shape[-1]
    if mean.shape[1] != latent_channels or _SIDE % side or back.shape != (1, channels, _SIDE, _SIDE):
        raise ForeignModelError(
            f"{place}: expected a round trip that keeps images of {channels}x{_SIDE}x{_SIDE}, got latents "
            f"{'x'.join(map(str, mean.shape[1:]))} and images {'x'.join(map(str, back.shape[1:]))}. "
            f"Compare in_channels, out_channels and the blocks of {place / _CONFIG}."
        )
    return ForeignPair(
        encoder,
        decoder,
        encoder_outputs=("latent_parameters",) if is_kl else ("latents",),
        image=(channels, _SIDE, _SIDE),
        latent=(latent_channels, side, side),
        factor=_SIDE // side,
        encoder_input="sample",
        decoder_input="latent_sample",
        decoder_output="sample",
    )
