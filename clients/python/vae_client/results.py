"""The results of the calls: arrays with the facts that belong to them.

Knows arrays and how a notebook shows them. Knows nothing of requests.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vae_client import arrays, png
from vae_client.errors import InvalidInput
from vae_client.latents import Latents

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_Images = TypeVar("_Images", bound="Images")
#: Most images that a notebook shows of one result, the height of one in its pixels, and most pixels of all.
_SHOWN, _SHOWN_PIXELS, _ALL_PIXELS = 100, 56, 4_000_000


@dataclass(frozen=True)
class Timing:
    """Times of a call; of several requests, their sums."""

    total_s: float
    """Seconds that the client waited for answers, tries and delays included."""
    server_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of each phase, from `Server-Timing`."""
    tries: int = 1
    """Number of requests that were sent."""

    def __add__(self, other: Timing) -> Timing:
        phases = {**self.server_ms}
        for name, duration in other.server_ms.items():
            phases[name] = phases.get(name, 0.0) + duration
        return Timing(self.total_s + other.total_s, phases, self.tries + other.tries)


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What every result has."""

    model: str
    """Label of the version that answered, such as `mnist@4`."""
    timing: Timing
    request_id: str | None
    """Id of the last request in the log of the server."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._summary()}>"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._summary())}</p>"

    def _summary(self) -> str:
        return self.model


@dataclass(frozen=True, eq=False, repr=False)
class Images(Result):
    """Images; `result[i]` and `result[i:j]` are results with these rows alone."""

    images: Floats
    """float32 (N, C, H, W), in [0, 1] if they are pixels; H and W may be those of an imported model."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self: _Images, rows: int | slice) -> _Images:
        chosen = self._rows(rows)
        return replace(self, **{name: getattr(self, name)[chosen] for name in self._per_row()})

    def __iter__(self: _Images) -> Iterator[_Images]:
        return (self[index] for index in range(len(self)))

    def save(self, path: str | Path, *, columns: int | None = None, scale: int = 1) -> Path:
        """Write the images as `.png`, all on one sheet, as `.npy`, or with everything else as `.npz`.

        Args:
            path: The file; its suffix chooses the format.
            columns: PNG: images in a row; None makes the sheet as square as possible.
            scale: PNG: side of the square that a pixel becomes.

        Returns:
            The path.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".png":
            data = png.to_png(png.sheet(self.images, columns=columns, scale=scale))
        elif suffix == ".npy":
            data = arrays.to_npy(self.images)
        elif suffix == ".npz":
            data = arrays.to_npz(**self._arrays())
        else:
            raise InvalidInput(f"{path}: expected a name that ends in .png, .npy or .npz.")
        path.write_bytes(data)
        return path

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"images": self.images, "model": np.array(self.model)}

    def _rows(self, rows: int | slice) -> slice:
        if isinstance(rows, slice):
            return rows
        if not -len(self) <= rows < len(self):
            raise IndexError(f"row {rows} of {len(self)}")
        start = rows % len(self)
        return slice(start, start + 1)

    def _per_row(self) -> tuple[str, ...]:
        return ("images",)

    def _summary(self) -> str:
        return f"{self.model}: {len(self)} images {self.images.shape[1:]}"

    def _repr_png_(self) -> bytes | None:
        if len(self) == 0:
            return None
        scale = max(1, round(_SHOWN_PIXELS / self.images.shape[2]))
        return png.to_png(png.sheet(self.images[: self._shown()], scale=scale))

    def _shown(self) -> int:
        """Images that a notebook shows: fewer large ones."""
        pixels: int = self.images.shape[2] * self.images.shape[3]
        return max(1, min(_SHOWN, _ALL_PIXELS // pixels))

    def _repr_html_(self) -> str:
        picture = self._repr_png_()
        text = super()._repr_html_()
        shown = self._shown()
        if len(self) > shown:
            text += "<p>The first is shown.</p>" if shown == 1 else f"<p>The first {shown} are shown.</p>"
        if picture is None:
            return text
        encoded = base64.b64encode(picture).decode("ascii")
        return f'{text}<img alt="{html.escape(self._summary())}" src="data:image/png;base64,{encoded}">'


@dataclass(frozen=True, eq=False, repr=False)
class LatentImages(Images):
    """Images, and the latents they were decoded from."""

    latents: Latents | None
    """As `z`, or None if the server did not send them."""

    @property
    def z(self) -> Latents:
        """The latents, float32 (N, latent), or (N, c, h, w) and the like of an imported model.

        Raises:
            InvalidInput: The images came as a stream, which has no latents.
        """
        if self.latents is None:
            raise InvalidInput(
                "z: images of a stream come without their latents, so a draw of more than max_images of "
                "limits() has none. Draw fewer, or encode the images."
            )
        return self.latents

    def _per_row(self) -> tuple[str, ...]:
        return ("images",) if self.latents is None else ("images", "latents")

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return super()._arrays() | ({} if self.latents is None else {"z": np.asarray(self.latents)})


@dataclass(frozen=True, eq=False, repr=False)
class Samples(LatentImages):
    """Images drawn from a prior."""

    seed: int
    """The seed of the draw: the same one gives the same images."""
    prior: str
    """`standard`, `fitted` or `learned`."""
    label: str | None
    temperature: float
    first_row: int = 0
    """Row of `seed` that the first image is."""

    def __getitem__(self, rows: int | slice) -> Samples:
        chosen = super().__getitem__(rows)
        return replace(chosen, first_row=self.first_row + range(len(self))[self._rows(rows)].start)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        facts = {"seed": np.array(self.seed), "first_row": np.array(self.first_row)}
        return super()._arrays() | facts

    def _summary(self) -> str:
        label = "" if self.label is None else f", label {self.label}"
        return f"{super()._summary()}, seed {self.seed}{label}"


@dataclass(frozen=True, eq=False, repr=False)
class Reconstructions(LatentImages):
    """Images that were encoded and decoded."""

    seed: int | None
    """The seed of z; None if z is mu."""
    pictures: str | None
    """How pictures were read, from `X-Picture`."""
    warnings: tuple[str, ...]
    """Pictures that look inverted."""


@dataclass(frozen=True, eq=False, repr=False)
class LatentPath(LatentImages):
    """Images on a path or a grid of latents."""


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(Result):
    """The posterior of each image; `mu, logvar = posterior` unpacks it."""

    mu: Latents
    """Its means, float32 (N, latent), or (N, c, h, w) and the like of an imported model."""
    logvar: Latents
    """The logarithms of its variances, of the same shape."""
    pictures: str | None = None
    """How pictures were read, from `X-Picture`."""
    warnings: tuple[str, ...] = ()
    """Pictures that look inverted."""

    def __len__(self) -> int:
        return len(self.mu)

    def __iter__(self) -> Iterator[Latents]:
        return iter((self.mu, self.logvar))

    def _summary(self) -> str:
        shape = " × ".join(map(str, self.mu.shape[1:]))
        return f"{self.model}: posterior of {len(self)} images, {shape} latents"


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Result):
    """The terms of the bound on log p(x), float64 (N,), in nats."""

    seed: int
    """The seed of the draws: the same one gives the same figures."""
    reconstruction_nll: Doubles
    kl: Doubles
    elbo: Doubles
    bits_per_dim: Doubles
    log_px: Doubles | None
    """The importance-weighted bound; None without `importance_samples`."""
    bits_per_dim_iw: Doubles | None
    flags: NDArray[np.bool_] | None = None
    """Whether `flagged_by` exceeds `threshold`; None without `flag`, as all that follows."""
    flagged_by: str | None = None
    """The figure whose threshold flags an image: `reconstruction_nll`, `kl` or `negative_elbo`."""
    rate: float | None = None
    """Share of normal images that are flagged."""
    threshold: float | None = None
    reconstruction_nll_quantile: Doubles | None = None
    """Share of normal images with a smaller `reconstruction_nll`."""
    kl_quantile: Doubles | None = None
    negative_elbo_quantile: Doubles | None = None
    pictures: str | None = None
    """How pictures were read, from `X-Picture`."""
    warnings: tuple[str, ...] = ()
    """Pictures that look inverted."""

    def __len__(self) -> int:
        return len(self.elbo)

    def columns(self) -> dict[str, Doubles]:
        """The figures that there are, by name."""
        names = (
            *("reconstruction_nll", "kl", "elbo", "bits_per_dim", "log_px", "bits_per_dim_iw"),
            *("reconstruction_nll_quantile", "kl_quantile", "negative_elbo_quantile"),
        )
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _summary(self) -> str:
        flagged = "" if self.flags is None else f", {int(self.flags.sum())} flagged"
        return f"{self.model}: scores of {len(self)} images, seed {self.seed}{flagged}"

    def _repr_html_(self) -> str:
        columns = self.columns()
        names = list(columns)
        cells = [[f"{value:.3f}" for value in values[:_SHOWN]] for values in columns.values()]
        if self.flags is not None:
            names.append("flag")
            cells.append(["yes" if flag else "no" for flag in self.flags[:_SHOWN]])
        head = "".join(f"<th>{name}</th>" for name in names)
        rows = zip(*cells, strict=True)
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
        return f"{super()._repr_html_()}<table><tr>{head}</tr>{body}</table>"


@dataclass(frozen=True, eq=False, repr=False)
class Neighbours(Result):
    """The stored latents nearest to each query, the nearest first."""

    indices: NDArray[np.int64]
    """Rows of the stored latents, (N, k)."""
    distances: Doubles
    """How far each of them is, (N, k)."""

    def _summary(self) -> str:
        return f"{self.model}: {self.indices.shape[1]} neighbours of {len(self.indices)} queries"
