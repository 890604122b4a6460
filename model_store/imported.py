"""The parts of the manifest of a model that was made elsewhere, and how its shapes fit together.

Knows image sizes, latents of any rank, roles and an origin without a recipe. Knows nothing of files, of
graphs' bytes or of the rest of the manifest.

    x (C, H, W) ──encoder──▶ mu (c, H/f, W/f)        f = H / h = W / w of the stated shapes
    z (c, h, w) ──decoder──▶ x_hat (C, h f, w f)     only with open sizes; otherwise any fixed shape
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_store.strict_model import FiniteFloat, Moment, StrictModel, Text, never_null
from model_store.tensor_spec import GraphSpec, TensorSpec

#: Longest side of an image with open sizes.
MAX_OPEN_SIDE = 8192
#: What the outputs of an encoder may be.
ENCODER_OUTPUTS = (frozenset({"mu"}), frozenset({"mu", "logvar"}), frozenset({"moments"}))
_PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
_Side = Annotated[int, Field(ge=1, le=MAX_OPEN_SIDE)]


class OpenSizes(StrictModel):
    """The heights and widths that the graphs accept, each independent of the other."""

    multiple: Annotated[int, Field(ge=1, le=256)]
    """Every side is a multiple of it."""
    least: _Side
    """Shortest side."""
    most: _Side
    """Longest side that was permitted at the import."""

    @model_validator(mode="after")
    def _bounds_are_multiples_in_order(self) -> OpenSizes:
        if self.least % self.multiple or self.most % self.multiple or self.least > self.most:
            raise ValueError(
                f"sizes: expected least ≤ most, both multiples of {self.multiple}, got {self.least} and "
                f"{self.most}"
            )
        return self

    def accepts(self, height: int, width: int) -> bool:
        """Whether an image of this size may be sent."""
        return all(self.least <= side <= self.most and side % self.multiple == 0 for side in (height, width))


class LatentSpec(StrictModel):
    """The form of one latent, and its normalisation in the programs that the model was made for."""

    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=8)]
    """Of any rank; with open sizes (c, h, w) of an image of the default size."""
    scaling_factor: Annotated[
        _PositiveFloat | None, Field(exclude_if=lambda value: value is None, json_schema_extra=never_null)
    ] = None
    """Programs such as diffusers store (z - shift_factor) · scaling_factor. The graphs do not apply it."""
    shift_factor: Annotated[
        FiniteFloat | None, Field(exclude_if=lambda value: value is None, json_schema_extra=never_null)
    ] = None
    mean: Annotated[
        tuple[FiniteFloat, ...] | None,
        Field(exclude_if=lambda value: value is None, json_schema_extra=never_null),
    ] = None
    """One for each channel, the first axis: newer models store (z - mean) / std."""
    std: Annotated[
        tuple[_PositiveFloat, ...] | None,
        Field(exclude_if=lambda value: value is None, json_schema_extra=never_null),
    ] = None
    decoder_reach: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(exclude_if=lambda value: value is None, json_schema_extra=never_null),
    ] = None
    """How many latent positions away a changed latent still changes a pixel of an image of the size that was
    tried. Left out: as far as the border, or not tried."""
    decoder_halo: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(exclude_if=lambda value: value is None, json_schema_extra=never_null),
    ] = None
    """How many positions around a tile must be decoded with it, and cut off, so that its pixels are those of
    the whole image within 1e-5 of their range. Left out: no tiles are, or it was not tried."""

    @model_validator(mode="after")
    def _halo_is_within_the_reach(self) -> LatentSpec:
        if self.decoder_halo is not None and (
            self.decoder_reach is None or self.decoder_halo > self.decoder_reach
        ):
            raise ValueError(
                f"decoder_halo: expected at most decoder_reach, {self.decoder_reach}, got {self.decoder_halo}"
            )
        return self

    @model_validator(mode="after")
    def _normalisation_has_one_number_for_each_channel(self) -> LatentSpec:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std: expected both or none")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.shape[0]:
                raise ValueError(f"{name}: expected {self.shape[0]} numbers, got {len(values)}")
        return self


class UnknownLikelihood(StrictModel):
    """p(x|z) is not known: `x_hat` is an image, and no probability follows from it."""

    name: Literal["unknown"] = "unknown"


class ImportedProvenance(StrictModel):
    """Origin of graphs that this project did not train."""

    origin: Literal["imported"] = "imported"
    source: Text
    """Where they came from, in the words of the person who imported them."""
    producer: Text
    """The exporter that the graphs name."""
    libraries: dict[str, str]
    """Version of each library that computed the golden vectors, by distribution name."""
    encoder_sha256: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{64}|none)$")]
    """Of the file that was imported, which is unchanged; `none` without an encoder."""
    decoder_sha256: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{64}|none)$")]
    created_at: Moment
    """Time of the import: ISO 8601 with its UTC offset."""


def factor(image: Sequence[int], latent: Sequence[int]) -> int | None:
    """Pixels of a side for each latent position, if both sides have the same whole number of them.

    Args:
        image: (C, H, W).
        latent: (c, h, w); None for any other rank.
    """
    if len(latent) != 3:
        return None
    (_, height, width), (_, rows, columns) = image, latent
    whole = height // rows
    return whole if height == whole * rows and width == whole * columns else None


def latent_shape_of(
    image: Sequence[int], *, default_image: Sequence[int], latent: LatentSpec
) -> tuple[int, ...]:
    """Shape of the latent of an image of open size.

    Args:
        image: (C, H, W), multiples of the factor.
        default_image: `image.shape` of the manifest.
        latent: Its latent.
    """
    f = factor(default_image, latent.shape)
    assert f is not None, "a manifest with open sizes has a factor"
    return (latent.shape[0], image[1] // f, image[2] // f)


def image_shape_of(
    latent: Sequence[int], *, default_image: Sequence[int], default_latent: Sequence[int]
) -> tuple[int, int, int]:
    """Shape of the image of a latent of open size, (c, h, w)."""
    f = factor(default_image, default_latent)
    assert f is not None, "a manifest with open sizes has a factor"
    return (default_image[0], latent[1] * f, latent[2] * f)


def shape_objections(
    image: tuple[int, int, int], sizes: OpenSizes | None, latent: LatentSpec | None, latent_size: int
) -> Iterator[str]:
    """What contradicts in image, sizes and latent."""
    if latent is not None and math.prod(latent.shape) != latent_size:
        product = math.prod(latent.shape)
        yield f"latent_size: expected {product}, the product of latent.shape, got {latent_size}"
    if sizes is None:
        return
    f = factor(image, latent.shape) if latent is not None else None
    if f is None:
        yield "image.sizes: expected latent.shape (c, h, w) with H / h = W / w of image.shape, got another"
        return
    if sizes.multiple % f:
        yield f"image.sizes.multiple: expected a multiple of {f}, a latent's pixels, got {sizes.multiple}"
    if not sizes.accepts(*image[1:]):
        yield f"image.shape: expected a size that image.sizes accepts, got {list(image)}"


def trained_latent_objections(latent: LatentSpec | None, latent_size: int) -> Iterator[str]:
    """What contradicts in the latent of a model that was trained here: flat without a key, or (c, h, w)."""
    if latent is None:
        return
    if len(latent.shape) != 3:
        yield (
            "latent.shape: expected (c, h, w), or no key latent for flat latents, because only an imported "
            f"model has others; got {list(latent.shape)}"
        )
    if latent != LatentSpec(shape=latent.shape):
        yield "latent: expected only a shape, because only an imported model has other keys"
    yield from shape_objections((1, 1, 1), None, latent, latent_size)


def tensor_objections(
    encoder: GraphSpec | None,
    decoder: GraphSpec | None,
    *,
    image: tuple[int, int, int],
    latent: tuple[int, ...],
) -> Iterator[str]:
    """What contradicts in the tensors of imported graphs."""
    if encoder is None and decoder is None:
        yield "encoder, decoder: expected at least one of them, got none"
    if encoder is not None:
        yield from _graph_objections("encoder", encoder, "encoder.onnx", "x", ENCODER_OUTPUTS)
    if decoder is not None:
        yield from _graph_objections("decoder", decoder, "decoder.onnx", "z", (frozenset({"x_hat"}),))
    shapes: dict[str, tuple[int, ...]] = {"x": image, "x_hat": image, "moments": (2 * latent[0], *latent[1:])}
    for graph in (encoder, decoder):
        for tensor in (*graph.inputs, *graph.outputs) if graph is not None else ():
            wanted = shapes.get(tensor.meaning, latent)
            if not _fits(tensor, wanted):
                yield (
                    f"{tensor.name}: expected ('batch' or 1, {', '.join(map(str, wanted))}), each of them or "
                    f"'open', got {list(tensor.shape)}"
                )
            if tensor.role == tensor.name:
                yield f"{tensor.name}.role: expected no key, because the name says it"


def _graph_objections(
    where: str, graph: GraphSpec, file: str, takes: str, gives: Sequence[frozenset[str]]
) -> Iterator[str]:
    if graph.file != file:
        yield f"{where}.file: expected {file!r}, got {graph.file!r}"
    if [tensor.meaning for tensor in graph.inputs] != [takes]:
        yield f"{where}.inputs: expected one tensor with the role {takes}"
    if graph.meanings not in gives or len(graph.outputs) != len(graph.meanings):
        wanted = " or ".join(" and ".join(sorted(each)) for each in gives)
        got = sorted(tensor.meaning for tensor in graph.outputs)
        yield f"{where}.outputs: expected the roles {wanted}, got {got}"


def _fits(tensor: TensorSpec, example: tuple[int, ...]) -> bool:
    first, *others = tensor.shape or (0,)
    return (
        first in ("batch", 1)
        and len(others) == len(example)
        and all(size in ("open", wanted) for size, wanted in zip(others, example, strict=True))
    )
