"""Plots of a run: reconstructions, samples and curves, as PNG files.

Knows images in [0, 1], columns of a CSV log and matplotlib's file backend. Knows nothing of models, and never
opens a window. Each file is replaced atomically, so that a viewer always sees a complete image, old or new.
"""

from __future__ import annotations

import csv
import io
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Float32
from matplotlib import image as mpl_image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

_GAP_PIXELS = 2
_GROUP_GAP_PIXELS = 8
_GAP_GREY = 0.27
#: Screen pixels; a wider plot has fewer for each image pixel, down to one.
_WIDEST = 4096
#: Prefixes of log columns for the parts of the data, and the colour of each in every panel.
_PARTS = {"train": "#1f77b4", "validation": "#d62728", "val": "#d62728", "test": "#2ca02c"}
_NATS = ("elbo", "kl", "nll", "loss")


def reconstruction_grid(
    path: Path,
    x: Float[Tensor, "n c h w"],
    x_hat: Float[Tensor, "m c h w"],
    *,
    columns: int = 16,
    scale: int = 3,
) -> None:
    """Write `reconstruction_png` to a file."""
    _replace(path, reconstruction_png(x, x_hat, columns=columns, scale=scale))


def reconstruction_png(
    x: Float[Tensor, "n c h w"],
    x_hat: Float[Tensor, "m c h w"],
    *,
    columns: int = 16,
    scale: int = 3,
) -> bytes:
    """Draw pairs: each image, and directly below it its reconstruction.

    Args:
        x: Images in [0, 1], one or three channels.
        x_hat: Their reconstructions, in the same order.
        columns: Pairs side by side.
        scale: Screen pixels for each image pixel.

    Raises:
        ValueError: The shapes differ, or are unsuitable.
    """
    if x.shape != x_hat.shape:
        raise ValueError(
            f"expected reconstructions of the images' shape {tuple(x.shape)}, got {tuple(x_hat.shape)}"
        )
    tops, bottoms = _tiles(x), _tiles(x_hat)
    bands = []
    for start in range(0, len(tops), columns):
        pair = [_row(tiles[start : start + columns], columns) for tiles in (tops, bottoms)]
        bands.append(_stack(pair, _GAP_PIXELS))
    return _png(_stack(bands, _GROUP_GAP_PIXELS), scale)


def sample_grid(
    path: Path, images: Float[Tensor, "n c h w"], *, columns: int | None = None, scale: int = 3
) -> None:
    """Write `sample_png` to a file."""
    _replace(path, sample_png(images, columns=columns, scale=scale))


def sample_png(
    images: Float[Tensor, "n c h w"],
    *,
    columns: int | None = None,
    scale: int = 3,
    gap_pixels: int = _GAP_PIXELS,
) -> bytes:
    """Draw images in rows, left to right, top to bottom.

    Args:
        images: In [0, 1], one or three channels.
        columns: Images in a row; left out, the squarest grid.
        scale: Screen pixels for each image pixel.
        gap_pixels: Image pixels between images; 0 joins them without gaps.

    Raises:
        ValueError: The images are none, or of an unsuitable shape.
    """
    columns = columns or math.ceil(math.sqrt(len(images)))
    return _png(sheet(images, columns=columns, gap_pixels=gap_pixels), scale)


def sheet(
    images: Float[Tensor, "n c h w"], *, columns: int, gap_pixels: int = _GAP_PIXELS
) -> Float32[np.ndarray, "height width 3"]:
    """Images in rows on one sheet, with `gap_pixels` between them, one pixel for each of theirs."""
    tiles = _tiles(images)
    rows = [
        _row(tiles[start : start + columns], columns, gap_pixels) for start in range(0, len(tiles), columns)
    ]
    return _stack(rows, gap_pixels)


def curves(path: Path, log_csv: Path) -> bool:
    """Draw every quantity of a CSV log over the epochs, one panel each, its parts of the data together.

    Columns named `train_kl`, `validation_kl` or `train/kl`, `val/kl` share the panel `kl`. Empty cells and an
    incomplete last line of a killed process are skipped.

    Args:
        path: PNG file to write.
        log_csv: The log, with a header line and a column `epoch` or `step`.

    Returns:
        False, and nothing is written, while the log contains no numbers yet.
    """
    axis, series = _read_log(log_csv)
    panels: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for column, points in series.items():
        part, quantity = _split_column(column)
        panels.setdefault(quantity, {})[part] = points
    if not panels:
        return False
    across = min(len(panels), 3)
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(4.2 * across, 3.0 * down), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for number, (quantity, parts) in enumerate(panels.items(), start=1):
        _draw_panel(figure.add_subplot(down, across, number), quantity, parts, axis)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    _replace(path, buffer.getvalue())
    return True


def _draw_panel(axes: Axes, quantity: str, parts: Mapping[str, npt.NDArray[np.float64]], axis: str) -> None:
    for part, points in parts.items():
        marker = "." if len(points) <= 40 else ""
        axes.plot(
            points[:, 0],
            points[:, 1],
            marker=marker,
            linewidth=1.4,
            color=_PARTS.get(part),
            label=part or None,
        )
    axes.set_title(quantity.replace("_", " "), fontsize=10)
    axes.set_xlabel(axis, fontsize=8)
    if any(word in quantity for word in _NATS):
        axes.set_ylabel("nats per image", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, alpha=0.25)
    if any(parts):
        axes.legend(fontsize=8, frameon=False)
    _leave_out_the_first_plunge(axes, parts)


def _leave_out_the_first_plunge(axes: Axes, parts: Mapping[str, npt.NDArray[np.float64]]) -> None:
    """Show the relevant part of the scale: the values of the first epochs are ten times the rest."""
    values = np.concatenate([points[:, 1] for points in parts.values()])
    if len(values) < 10:
        return
    lowest, low, high, highest = np.quantile(values, (0.0, 0.1, 0.9, 1.0)).tolist()
    # A cost falls from above, a bound rises from below: either end may contain the outliers.
    bottom = low if high - lowest > 3.0 * (high - low) > 0.0 else lowest
    top = high if highest - low > 3.0 * (high - low) > 0.0 else highest
    if (bottom, top) != (lowest, highest):
        margin = 0.1 * (top - bottom)
        axes.set_ylim(bottom - margin, top + margin)


def _read_log(log_csv: Path) -> tuple[str, dict[str, npt.NDArray[np.float64]]]:
    with log_csv.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    axis = "epoch" if rows and "epoch" in rows[0] else "step"
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        at = _number(row.get(axis))
        for column, text in row.items():
            value = _number(text)
            if column not in (None, "epoch", "step") and at is not None and value is not None:
                series.setdefault(column, []).append((at, value))
    return axis, {column: np.asarray(points) for column, points in series.items()}


def _number(text: object) -> float | None:
    """The finite number in a cell, or None for any other content: an empty cell, a word, NaN."""
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _split_column(column: str) -> tuple[str, str]:
    for separator in ("/", "_"):
        part, found, quantity = column.partition(separator)
        if found and part in _PARTS:
            return part, quantity
    return "", column


def _tiles(images: Float[Tensor, "n c h w"]) -> npt.NDArray[np.float32]:
    if images.ndim != 4 or len(images) == 0 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected images (N, 1 or 3, H, W) with N >= 1, got {tuple(images.shape)}")
    tiles: npt.NDArray[np.float32] = images.detach().float().cpu().clamp(0.0, 1.0).numpy()
    tiles = np.moveaxis(tiles, 1, -1)
    return np.repeat(tiles, 3, axis=-1) if tiles.shape[-1] == 1 else tiles


def _row(
    tiles: npt.NDArray[np.float32], columns: int, gap_pixels: int = _GAP_PIXELS
) -> npt.NDArray[np.float32]:
    """Tiles side by side, padded with gap to `columns`, so that rows of any length stack."""
    height, width = tiles.shape[1:3]
    row = np.full((height, columns * (width + gap_pixels) - gap_pixels, 3), _GAP_GREY, dtype=np.float32)
    for number, tile in enumerate(tiles):
        left = number * (width + gap_pixels)
        row[:, left : left + width] = tile
    return row


def _stack(bands: Sequence[npt.NDArray[np.float32]], gap_pixels: int) -> npt.NDArray[np.float32]:
    gap = np.full((gap_pixels, bands[0].shape[1], 3), _GAP_GREY, dtype=np.float32)
    pieces = [piece for band in bands for piece in (band, gap)]
    return np.concatenate(pieces[:-1])


def _png(floats: npt.NDArray[np.float32], scale: int) -> bytes:
    framed = np.pad(floats, ((4, 4), (4, 4), (0, 0)), constant_values=_GAP_GREY)
    scale = max(1, min(scale, _WIDEST // framed.shape[1]))
    pixels = np.rint(framed * 255.0).astype(np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    buffer = io.BytesIO()
    mpl_image.imsave(buffer, pixels, format="png")
    return buffer.getvalue()


def _replace(path: Path, data: bytes) -> None:
    """Write a temporary file, then rename it over the target."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
