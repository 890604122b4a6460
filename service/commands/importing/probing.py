"""Tries what a graph's signature cannot prove: sizes, repeatability, rows, the range of pixels.

Knows runs of both graphs. Knows nothing of manifests or of the store. Each check adds a finding, or refuses.

Sizes are tried with H ≠ W: a graph that was traced with a square accepts only squares, or exchanges both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.commands.importing.report import ImportRefused, Report, refuse
from service.commands.importing.trial import Trial, takes_batches

Array = NDArray[np.float32]
Range = tuple[float, float]
#: Side of the first images of a graph with open sizes.
_TRIED_SIDE: Final = 64
#: Sides of the default size, the largest one that takes about a second.
_DEFAULT_SIDES: Final = (256, 128, 64)
_DEFAULT_S: Final = 1.0
#: Another range whose round trip is so much better is the right one.
_CLEARLY_BETTER_DB: Final = 3.0
#: Below it, a round trip is no evidence of trained weights.
_POOR_DB: Final = 10.0
RANGES: Final[tuple[Range, ...]] = ((0.0, 1.0), (-1.0, 1.0))
#: Largest difference of a row in a batch from the same row alone, in units of the largest value.
_ROW_TOLERANCE: Final = 1e-4


@dataclass(frozen=True)
class Sizes:
    """The shapes that were found."""

    image: tuple[int, int, int]
    latent: tuple[int, ...]
    multiple: int | None
    """Of sides, if they are open."""
    least: int | None
    """Shortest side that ran."""


def probe_sizes(trial: Trial, report: Report, *, channels: int | None, size: tuple[int, int] | None) -> Sizes:
    """Shapes of image and latent, and which other sizes the graphs accept.

    Raises:
        ImportRefused: The graphs do not run, or do not fit together.
    """
    tensors = trial.tensors
    if trial.encoder is None:
        return _sizes_of_decoder(trial, report, size=size)
    count, height, width = tensors.image
    is_open = height is None and width is None
    if not is_open and (height is None or width is None):
        raise refuse(
            "sizes",
            expected="both height and width open, or both fixed",
            got="one of each",
            remedy="Export it with both dynamic.",
        )
    image = (
        count or channels or 3,
        height or (size[0] if size else _TRIED_SIDE),
        width or (size[1] if size else _TRIED_SIDE),
    )
    latent = _latent_of(trial, image)
    report.ok("signature", f"images {_x(image)}, latents {_x(latent)}{', both open' if is_open else ''}")
    if not is_open:
        return Sizes(image, latent, None, None)
    if len(latent) != 3:
        raise refuse(
            "sizes",
            expected="latents (c, h, w) of a model with open sizes",
            got=f"latents {_x(latent)}",
            remedy="Export it for one size.",
        )
    return _open_sizes(trial, report, image, latent)


def _latent_of(trial: Trial, image: tuple[int, int, int]) -> tuple[int, ...]:
    """Shape of the latent of an image of this size, after a round trip."""
    x = np.zeros((1, *image), np.float32)
    mu, logvar = trial.encode(x)
    if mu.ndim == 4 and mu.shape[2] * mu.shape[3] > image[1] * image[2]:
        raise refuse(
            "roles",
            expected="an encoder whose latents have no more positions than the image",
            got=f"latents {_x(mu.shape[1:])} of an image {_x(image)}",
            remedy="The graphs are swapped: exchange --encoder and --decoder.",
        )
    if logvar is not None and logvar.shape != mu.shape:
        raise refuse(
            "encoder: logvar", expected=f"the shape of mu, {mu.shape}", got=str(logvar.shape), remedy=""
        )
    if trial.decoder is not None:
        x_hat = trial.decode(mu)
        if x_hat.shape != x.shape:
            raise refuse(
                "round trip",
                expected=f"an image of the same shape, {_x(image)}",
                got=_x(x_hat.shape[1:]),
                remedy="Do both graphs belong to one model? Name a size that they accept with --size HxW.",
            )
    return mu.shape[1:]


def _open_sizes(trial: Trial, report: Report, image: tuple[int, int, int], latent: tuple[int, ...]) -> Sizes:
    height, width = image[1:]
    factor = height // latent[1]
    if factor < 1 or height != factor * latent[1] or width != factor * latent[2]:
        raise refuse(
            "sizes",
            expected="the same whole number of pixels for each latent, in both directions",
            got=f"latents {_x(latent)} of an image {_x(image)}",
            remedy="Export it for one size.",
        )
    multiple = factor
    while not (
        _fits(trial, image, height + multiple, width) and _fits(trial, image, height, width + 2 * multiple)
    ):
        multiple *= 2
        if multiple > 8 * factor or multiple > 256:
            raise refuse(
                "sizes",
                expected="a graph that runs at other sizes, H ≠ W",
                got=f"one that only runs at {height} × {width}, although its axes are open",
                remedy="Export it with dynamic sides from an example with H ≠ W, or for one size.",
            )
    least = next(
        (side for side in (multiple, 2 * multiple, 4 * multiple) if _fits(trial, image, side, side)),
        min(height, width) // multiple * multiple,
    )
    report.ok(
        "sizes",
        f"sides from {least}, multiples of {multiple}; tried {height + multiple} × {width} and "
        f"{height} × {width + 2 * multiple}, {factor} pixels for each latent",
    )
    return Sizes(image, latent, multiple, least)


def _fits(trial: Trial, image: tuple[int, int, int], height: int, width: int) -> bool:
    """Whether a round trip keeps this size."""
    try:
        _latent_of(trial, (image[0], height, width))
    except ImportRefused:
        return False
    return True


def _sizes_of_decoder(trial: Trial, report: Report, *, size: tuple[int, int] | None) -> Sizes:
    """Without an encoder: the size of the image follows from the latent."""
    stated = trial.tensors.latent
    if stated[0] is None:
        raise refuse(
            "latents", expected="a known number of channels", got="an open axis", remedy="Export it fixed."
        )
    is_open = None in stated
    latent = tuple(8 if each is None else each for each in stated)
    image = trial.decode(np.zeros((1, *latent), np.float32)).shape[1:]
    if len(image) != 3:
        raise refuse("decoder", expected="images (C, H, W)", got=_x(image), remedy="Is it an encoder?")
    shape = (image[0], image[1], image[2])
    report.ok("signature", f"latents {_x(latent)}, images {_x(shape)}{', both open' if is_open else ''}")
    if not is_open:
        return Sizes(shape, latent, None, None)
    factor = shape[1] // latent[1]
    if size is not None and not (size[0] % factor or size[1] % factor):
        latent = (latent[0], size[0] // factor, size[1] // factor)
        shape = (shape[0], *size)
    other = trial.decode(np.zeros((1, latent[0], latent[1] + 1, latent[2] + 3), np.float32)).shape[1:]
    if other != (shape[0], shape[1] + factor, shape[2] + 3 * factor):
        raise refuse(
            "sizes",
            expected=f"{factor} pixels for each latent at every size",
            got=f"an image {_x(other)}",
            remedy="Export it for one size.",
        )
    report.ok("sizes", f"multiples of {factor}; tried {other[1]} × {other[2]}")
    return Sizes(shape, latent, factor, factor)


def choose_default(
    trial: Trial, sizes: Sizes, *, size: tuple[int, int] | None, most: int
) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Shapes of image and latent of the default size: the stated one, or the largest that takes a second."""
    if sizes.multiple is None or size is not None:
        return sizes.image, sizes.latent
    channels, height, width = sizes.image
    if trial.encoder is not None:
        trial.encode(np.zeros((1, *sizes.image), np.float32))
        seconds = trial.seconds
    else:
        seconds = 0.0
    if trial.decoder is not None:
        trial.decode(np.zeros((1, *sizes.latent), np.float32))
        seconds += trial.seconds
    factor = height // sizes.latent[1]
    for side in _DEFAULT_SIDES:
        is_possible = side % sizes.multiple == 0 and side <= most
        if is_possible and seconds * side * side / (height * width) <= _DEFAULT_S:
            return (channels, side, side), (sizes.latent[0], side // factor, side // factor)
    return sizes.image, sizes.latent


def probe_repeatability(trial: Trial, report: Report, x: Array, z: Array | None) -> None:
    """The same input gives the same bits, and a row does not depend on the others.

    Raises:
        ImportRefused: It does not.
    """
    parts: list[tuple[str, bool, list[Array], list[Array], list[Array]]] = []
    tensors = trial.tensors
    if tensors.encoder is not None:
        parts.append(_runs("encoder", takes_batches(tensors.encoder), lambda rows: trial.encode(rows)[0], x))
    if tensors.decoder is not None and z is not None:
        parts.append(_runs("decoder", takes_batches(tensors.decoder), trial.decode, z))
    for name, is_batched, first, second, together in parts:
        if any(a.tobytes() != b.tobytes() for a, b in zip(first, second, strict=True)):
            raise refuse(
                f"{name}: repeatability",
                expected="the same output for the same input",
                got="another one",
                remedy="The graph draws or keeps a state: export it in eval mode.",
            )
        if not is_batched:
            continue
        largest = max(float(np.abs(a).max()) for a in first) or 1.0
        apart = max(float(np.abs(a - b).max()) for a, b in zip(first, together, strict=True))
        if apart > _ROW_TOLERANCE * largest:
            raise refuse(
                f"{name}: independence of rows",
                expected="the output of an image alone and in a batch to agree",
                got=f"a difference of {apart:.3g} where values reach {largest:.3g}",
                remedy="A layer normalises over the batch: export it in eval mode.",
            )
    single = [name for name, is_batched, *_ in parts if not is_batched]
    report.ok(
        "repeatability",
        "the same bits twice; rows are independent"
        + (f"; row by row: {' and '.join(single)}" if single else ""),
    )


def _runs(
    name: str, is_batched: bool, run: object, rows: Array
) -> tuple[str, bool, list[Array], list[Array], list[Array]]:
    assert callable(run)
    alone = [run(rows[at : at + 1])[0] for at in range(len(rows))]
    again = [run(rows[at : at + 1])[0] for at in range(len(rows))]
    return name, is_batched, alone, again, list(run(rows))


def probe_range(
    trial: Trial,
    report: Report,
    images: Array,
    *,
    stated: Range | None,
    is_unbounded: bool,
    is_diffusers: bool,
) -> Range | None:
    """The graph's values of black and white, by the range in which a round trip is best.

    Args:
        trial: The graphs.
        report: Receives a finding.
        images: Pictures in [0, 1].
        stated: From the command line.
        is_unbounded: The command line says that values are no pixels.
        is_diffusers: The programs of this format use [-1, 1].

    Raises:
        ImportRefused: Another range is clearly better than the stated one, or none is known.
    """
    if is_unbounded:
        report.ok("range", "none, as stated: values are no pixels")
        return None
    usual = (-1.0, 1.0) if is_diffusers else None
    if trial.encoder is None or trial.decoder is None:
        return _range_of_one(report, stated or usual)
    quality = {each: round_trip_db(trial, images, each) for each in {*RANGES, *([stated] if stated else [])}}
    best = max(quality, key=lambda each: quality[each])
    shown = ", ".join(f"{_range(each)} {db:.1f} dB" for each, db in sorted(quality.items()))
    chosen = stated or usual
    if chosen is None:
        others = [db for each, db in quality.items() if each != best]
        if quality[best] - max(others) < _CLEARLY_BETTER_DB:
            raise refuse(
                "range",
                expected="one range of pixels whose round trip is clearly the best",
                got=shown,
                remedy="Say which one the model was trained with: --range=0:1 or --range=-1:1.",
            )
        chosen = best
    elif quality[best] - quality[chosen] >= _CLEARLY_BETTER_DB:
        raise refuse(
            "range",
            expected=f"the best round trip in {_range(chosen)}",
            got=shown,
            remedy=f"Import it with --range={best[0]:g}:{best[1]:g}.",
        )
    if quality[chosen] < _POOR_DB:
        report.warn("round trip", f"{shown}: poor; are these weights trained, and on such pictures?")
    else:
        report.ok("round trip", f"{_range(chosen)} of {shown}")
    return chosen


def _range_of_one(report: Report, stated: Range | None) -> Range:
    if stated is None:
        raise refuse(
            "range",
            expected="--range, because a round trip needs both graphs",
            got="none",
            remedy="Say --range=0:1 or --range=-1:1.",
        )
    report.ok("range", f"{_range(stated)}, not tried: a round trip needs both graphs")
    return stated


def round_trip_db(trial: Trial, images: Array, pixels: Range) -> float:
    """Peak signal-to-noise ratio of a round trip in one range, in dB."""
    low, high = pixels
    mu, _ = trial.encode(images * np.float32(high - low) + np.float32(low))
    back = (trial.decode(mu) - np.float32(low)) / np.float32(high - low)
    error = float(np.square(np.clip(back, 0.0, 1.0) - images, dtype=np.float64).mean())
    return -10.0 * math.log10(max(error, 1e-12))


def _x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _range(pixels: Range) -> str:
    return f"[{pixels[0]:g}, {pixels[1]:g}]"
