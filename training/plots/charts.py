"""Charts of a report as PNG bytes: bars, scatters with ellipses, sheets of images with labelled rows.

Knows arrays, labels and matplotlib's file backend. Knows nothing of models or measurements.
`training.plots.grids` draws sheets without labels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, PathCollection
from matplotlib.figure import Figure
from torch import Tensor

from training.plots import grids

_DPI = 110
_BLUE, _GREY = "#1f77b4", "#b8b8b8"
#: Standard deviations along each half axis of an ellipse.
ELLIPSE_SIGMAS = 2.0
_LEGEND_LABELS = 20
#: Total area of all dots of a scatter in square points, within bounds: few dots are larger than many.
_DOTS_AREA = 12_000.0
_LEGEND_DOT = 45.0
#: Names below bars: their number, the characters side by side, and the total characters.
_NAMES_BESIDE, _NARROW_CHARACTERS, _MOST_CHARACTERS = 32, 3, 20


def bars(
    values: Float64[np.ndarray, " n"],
    *,
    names: Sequence[str],
    filled: Bool[np.ndarray, " n"],
    ylabel: str,
    xlabel: str,
    legend: tuple[str, str],
) -> bytes:
    """One bar for each value; the filled ones in colour, the others grey, with a `legend` for both."""
    figure, axes = _axes(width=max(4.0, min(11.0, 1.2 + 0.24 * len(values))), height=3.0)
    places = np.arange(len(values))
    for chosen, colour, label in ((filled, _BLUE, legend[0]), (~filled, _GREY, legend[1])):
        if chosen.any():
            axes.bar(places[chosen], values[chosen], color=colour, label=label, width=0.8)
    every = max(1, len(values) // 32)
    axes.set_xticks(places[::every], list(names)[::every], fontsize=7)
    axes.set_xlim(-0.7, len(values) - 0.3)
    _finish(axes, xlabel=xlabel, ylabel=ylabel)
    return _png(figure)


def paired_bars(
    first: Float64[np.ndarray, " n"],
    second: Float64[np.ndarray, " n"],
    *,
    names: Sequence[str],
    legend: tuple[str, str],
    xlabel: str,
    ylabel: str,
) -> bytes:
    """Two values side by side for each name: such as a histogram and its target."""
    figure, axes = _axes(width=max(4.5, min(11.0, 1.2 + 0.45 * len(first))), height=2.8)
    places = np.arange(len(first))
    axes.bar(places - 0.2, first, width=0.4, color=_BLUE, label=legend[0])
    axes.bar(places + 0.2, second, width=0.4, color=_GREY, label=legend[1])
    every = max(1, len(first) // _NAMES_BESIDE)
    axes.set_xticks(places[::every], [_short(name) for name in names[::every]], parse_math=False)
    if any(len(name) > _NARROW_CHARACTERS for name in names):
        axes.tick_params(axis="x", rotation=90)
    _finish(axes, xlabel=xlabel, ylabel=ylabel)
    return _png(figure)


def scatter(
    points: Float64[np.ndarray, "n 2"],
    labels: Int64[np.ndarray, " n"] | None,
    *,
    axis_names: tuple[str, str],
    centres: Float64[np.ndarray, "m 2"],
    sigmas: Float64[np.ndarray, "m 2"],
    label_names: Sequence[str] = (),
) -> bytes:
    """Points by label, with ellipses of two standard deviations around `centres`; m = 0 draws none.

    `label_names` are those of labels 0, 1, …; left out, the numbers are the names.
    """
    figure, axes = _axes(width=6.6, height=5.4)
    size = min(14.0, max(3.0, _DOTS_AREA / len(points)))
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=size, alpha=0.5, color=_BLUE, linewidths=0)
    else:
        kinds = np.unique(labels)
        colours = colormaps["tab10" if len(kinds) <= 10 else "turbo"]
        for number, kind in enumerate(kinds.tolist()):
            colour = colours(number if len(kinds) <= 10 else number / (len(kinds) - 1))
            chosen = points[labels == kind]
            axes.scatter(
                chosen[:, 0], chosen[:, 1], s=size, alpha=0.5, color=colour, linewidths=0, label=str(kind)
            )
    if len(centres):
        axes.add_collection(
            EllipseCollection(
                2.0 * ELLIPSE_SIGMAS * sigmas[:, 0],
                2.0 * ELLIPSE_SIGMAS * sigmas[:, 1],
                np.zeros(len(centres)),
                units="xy",
                offsets=centres,
                offset_transform=axes.transData,
                facecolors="none",
                edgecolors="#222222",
                linewidths=0.6,
                alpha=0.6,
            )
        )
        reach = ELLIPSE_SIGMAS * sigmas
        axes.update_datalim(np.concatenate([centres - reach, centres + reach]))
        axes.autoscale_view()
    axes.set_aspect("equal", adjustable="datalim")
    _finish(axes, xlabel=axis_names[0], ylabel=axis_names[1], legend=False)
    if labels is not None and len(np.unique(labels)) <= _LEGEND_LABELS:
        legend = axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_alpha(1.0)
                handle.set_sizes([_LEGEND_DOT])
        for kind, text in zip(np.unique(labels).tolist(), legend.get_texts(), strict=True):
            # Afterwards, because matplotlib drops labels that begin with an underscore.
            text.set(text=_short(label_names[kind]) if label_names else str(kind), parse_math=False)
    return _png(figure)


def labelled_rows(
    images: Float[Tensor, "n c h w"],
    *,
    columns: int,
    row_names: Sequence[str],
    column_names: Sequence[str] = (),
) -> bytes:
    """Images in rows of `columns`, each row with its name on the left, and columns with names on top."""
    sheet = grids.sheet(images, columns=columns)
    height, width = images.shape[-2] + 2, images.shape[-1] + 2
    inches_a_pixel = 0.42 / max(width, height)
    row_names = [_short(name) for name in row_names]
    margin = 0.25 + 0.085 * max(map(len, row_names))
    size = (sheet.shape[1] * inches_a_pixel + margin, sheet.shape[0] * inches_a_pixel + 0.35)
    figure, axes = _axes(width=size[0], height=size[1])
    axes.imshow(sheet, interpolation="nearest")
    axes.set_yticks(
        [row * height + height / 2 - 1 for row in range(len(row_names))], list(row_names), parse_math=False
    )
    centres = [column * width + width / 2 - 1 for column in range(len(column_names))]
    axes.set_xticks(centres, list(column_names))
    axes.tick_params(length=0, labelsize=8, top=False, labeltop=True, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return _png(figure)


def _short(name: str) -> str:
    return name if len(name) <= _MOST_CHARACTERS else f"{name[: _MOST_CHARACTERS - 1]}…"


def _axes(*, width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _finish(axes: Axes, *, xlabel: str, ylabel: str, legend: bool = True) -> None:
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)
    if legend:
        # Above the axes, outside of the bars.
        axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the software's version, so that equal figures are equal bytes.
    with warnings.catch_warnings():
        # The name of a label may be in any script; a character that the font lacks becomes a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
