"""Whether a latent is decoded in one run or in tiles, and in which.

Knows sizes, bounds and what the import measured. Knows nothing of runs, requests or settings.

    tile    one run is allowed            it is not
    auto    one run                       exact tiles, or approximate ones where the decoder reaches too far
    exact   exact tiles, or one run if    exact tiles, or refused
            tiles would save nothing
    off     one run                       refused

Exact tiles cost 1.3 to 2 times the processor time of one run, because their halos overlap, and save memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from model_store import OpenSizes
from model_store.imported import MAX_OPEN_SIDE, image_shape_of
from service.engine.errors import InvalidInput, InvalidParameter
from service.engine.model import LoadedModel
from service.engine.operations.decode_tiled import Tiles
from service.engine.operations.tile_grid import least_work

Tile = Literal["auto", "exact", "off"]
#: By its word.
TILE: Final[Mapping[str, Tile]] = MappingProxyType({"auto": "auto", "exact": "exact", "off": "off"})
#: Most positions of the windows that run together, in parts of the whole; with the image, half of its memory.
_SHARE: Final = 0.415
#: Most work of exact tiles that are not necessary, in times of one run.
_MOST_WORK: Final = 4.0
#: Halo of tiles whose decoder reaches farther: neighbours are blended over twice as many positions.
_BLENDED: Final = 16


@dataclass(frozen=True, slots=True)
class TileBounds:
    """The bounds of a server."""

    run_pixels: int
    """Pixels of an image that is decoded in one run; a tile has at most half of them."""
    values: int
    """Values of all images of a request together."""


def plan_decoding(
    model: LoadedModel, latents: tuple[int, ...], *, tile: Tile, bounds: TileBounds, where: str
) -> LoadedModel | Tiles:
    """The version for the size of some latents, or the tiles for it.

    Args:
        model: A version.
        latents: Shape (N, c, h, w) with the channels of the version.
        tile: What the request asked for.
        bounds: Of the server.
        where: Name of the array, for messages.

    Raises:
        InvalidInput: A size that the version does not decode in this way.
        InvalidParameter: `exact` is impossible.
    """
    sizes = model.manifest.image.sizes
    if tile == "exact" and (reason := _why_not_exact(model)):
        raise InvalidParameter(
            "tile",
            f"auto or off for '{model.label}'",
            f"exact, but {reason}",
            "With tile=auto, X-Tiled says whether tiles were used, and how.",
        )
    if sizes is None:
        return model
    image = image_shape_of(latents[1:], default_image=model.image_shape, default_latent=model.latent_shape)
    if any(side % sizes.multiple or side < sizes.least for side in image[1:]):
        raise InvalidInput(
            where,
            f"latents of images with sides of at least {sizes.least} pixels, multiples of {sizes.multiple}",
            f"those of {_size(image)}",
            "Pad the latents.",
        )
    whole = _in_one_run(model, image, bounds)
    if whole is not None and tile != "exact":
        return whole
    if tile == "off":
        raise InvalidInput(
            where,
            f"latents of images with sides of at most {sizes.most} pixels, and at most "
            f"{_run_pixels(model, bounds)} pixels together, in one run of '{model.label}'",
            f"those of {_size(image)}",
            "Leave out tile=off, or send a smaller one.",
        )
    tiles = None
    values = latents[0] * math.prod(image)
    if whole is not None or (values <= bounds.values and max(image) <= MAX_OPEN_SIDE):
        tiles = _tiles(model, sizes, latents[1:], image, bounds, is_necessary=whole is None)
    if tiles is None and whole is None:
        raise InvalidInput(
            where,
            f"latents of images with sides of at most {MAX_OPEN_SIDE} pixels, and at most {bounds.values} "
            f"values of all images together, which tiles of '{model.label}' can compute",
            f"{latents[0]} of {_size(image)}",
            "Send fewer or smaller ones.",
        )
    return tiles or whole or model


def _in_one_run(model: LoadedModel, image: tuple[int, int, int], bounds: TileBounds) -> LoadedModel | None:
    """The version for this size, if one run may be so large."""
    if image[1] * image[2] > _run_pixels(model, bounds):
        return None
    return model.of_size(*image[1:])


def _run_pixels(model: LoadedModel, bounds: TileBounds) -> int:
    """The bound, or the size of the model itself."""
    return max(bounds.run_pixels, math.prod(model.manifest.image.shape[1:]))


def _tiles(
    model: LoadedModel,
    sizes: OpenSizes,
    latent: tuple[int, ...],
    image: tuple[int, int, int],
    bounds: TileBounds,
    *,
    is_necessary: bool,
) -> Tiles | None:
    """The tiles with the least work, within half of a run's bound; exact if the version has such.

    Where one run is possible, they are at most half of the image; None if that takes too much work.
    """
    spec = model.manifest.latent
    assert spec is not None, "a version with open sizes has latents of a shape"
    pixels = image[1] // latent[1]
    positions = latent[1] * latent[2]
    most = _run_pixels(model, bounds) // 2 // pixels**2
    halo = spec.decoder_halo
    is_exact = halo is not None
    if halo is None:
        halo = min(_BLENDED, math.isqrt(most) // 4)
    saving = min(most, int(positions * _SHARE))
    grid = None
    for area in (saving, most):
        grid = least_work(
            (latent[1], latent[2]),
            halo=halo,
            step=sizes.multiple // pixels,
            most_area=area,
            least_side=-(-sizes.least // pixels),
            most_side=sizes.most // pixels,
        )
        if grid is not None and grid.count * grid.area <= _MOST_WORK * positions:
            break
        if not is_necessary:
            return None
    if grid is None:
        return None
    window = model.of_size(grid.rows.window * pixels, grid.columns.window * pixels)
    if window is None:
        return None
    together = min(2 * most, int(positions * _SHARE))
    return Tiles(
        window.queued,
        grid,
        latent_shape=(latent[0], latent[1], latent[2]),
        image_shape=image,
        at_once=max(1, together // grid.area),
        is_exact=is_exact,
    )


def _size(image: tuple[int, int, int]) -> str:
    return f"{image[1]} × {image[2]} (height, width)"


def _why_not_exact(model: LoadedModel) -> str | None:
    """Why no tiles of this version equal one run."""
    latent = model.manifest.latent
    if model.manifest.image.sizes is None or latent is None:
        return "its graphs have one size"
    if latent.decoder_reach is None:
        return "one latent changes pixels up to the border of the image, as far as the import measured"
    if latent.decoder_halo is None:
        return "the import found no tiles that equal the whole, or did not try: see its report"
    return None
