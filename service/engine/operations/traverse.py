"""traverse: images of a grid along one or two latent dimensions.

Knows grids and their position. Knows nothing of queues, threads or HTTP.

    one x, one z, or the origin ─▶ z of each point of a grid ──decoder──▶ x_hat
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.engine.errors import InvalidParameter
from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder, decode_valid
from service.engine.operations.geometry import DEFAULT_SPAN, DEFAULT_STEPS, SPACINGS, Spacing, grid
from service.engine.operations.starting_latents import starting_latents
from service.engine.operations.validation import validate_dims, validate_span, validate_steps, validate_word
from service.engine.runtime.call import Call


@dataclass(frozen=True, slots=True)
class Traversal:
    """Images of a grid along one or two latent dimensions, the last one changing fastest."""

    z: Float32Array
    """(steps, latent), or (steps², latent)."""
    x_hat: Float32Array
    dims: tuple[int, ...]
    steps: int
    spacing: Spacing
    span: float


@dataclass(frozen=True, slots=True)
class TraversalPlan:
    """Checked parameters of `traverse`, with missing ones filled in."""

    dims: tuple[int, ...]
    count: int
    """Images of the whole grid."""
    spacing: Spacing
    span: float


def plan_traverse(
    model: EncoderDecoder,
    *,
    dims: Sequence[int] | None = None,
    steps: int = DEFAULT_STEPS,
    spacing: Spacing | None = None,
    span: float = DEFAULT_SPAN,
) -> TraversalPlan:
    """Check the parameters of `traverse`, without decoding anything.

    Args:
        model: The version to traverse.
        dims: As in `traverse`.
        steps: As in `traverse`.
        spacing: As in `traverse`.
        span: As in `traverse`.

    Raises:
        InvalidInput: A parameter is invalid.
    """
    chosen = validate_dims(
        range(min(2, model.latent_size)) if dims is None else dims,
        size=model.latent_size,
        model=model.label,
    )
    validate_steps(steps, most=model.max_batch, axes=len(chosen))
    return TraversalPlan(chosen, steps ** len(chosen), _spacing(model, spacing), validate_span(span))


async def traverse(
    model: EncoderDecoder,
    *,
    x: Float32Array | None = None,
    z: Float32Array | None = None,
    dims: Sequence[int] | None = None,
    steps: int = DEFAULT_STEPS,
    spacing: Spacing | None = None,
    span: float = DEFAULT_SPAN,
    call: Call | None = None,
) -> Traversal:
    """Images of a grid along one or two latent dimensions; every other dimension keeps its value.

    Args:
        model: The version to run.
        x: One image, float32 (1, C, H, W) in [0, 1], whose mu is the centre of the grid; or
        z: one latent, float32 (1, latent); or neither, for the origin.
        dims: One or two different latent indices; None: the first two, or the only one.
        steps: Points along each of them, at least 2; all together at most max_batch.
        spacing: `quantile` or `linear`, see `geometry.grid`; None is `quantile`, and without the prior
            N(0, I) `linear`: for an autoencoder, and with a learned prior.
        span: Extent of the grid to either side of 0, in units of z, which are standard deviations of N(0, I).
        call: Deadline and connection of the request; None waits without a limit.

    Raises:
        InvalidInput: The start or a parameter is invalid.
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.

    Source:
        Kingma & Welling 2013, arXiv:1312.6114, appendix A, figure 4.
    """
    assert x is None or z is None, "an image, a latent, or the origin"
    plan = plan_traverse(model, dims=dims, steps=steps, spacing=spacing, span=span)
    call = call or Call()
    if x is None and z is None:
        z = np.zeros((1, model.latent_size), np.float32)
    base = await starting_latents(model, x, z, count=1, of="where the grid lies", call=call)
    values = grid(steps=steps, spacing=plan.spacing, span=plan.span).astype(np.float32)
    points = np.repeat(base, plan.count, axis=0)
    axes = np.meshgrid(*[values] * len(plan.dims), indexing="ij")
    for dim, coordinate in zip(plan.dims, axes, strict=True):
        points[:, dim] = coordinate.ravel()
    x_hat = await decode_valid(model, points, call)
    return Traversal(points, x_hat, plan.dims, steps, plan.spacing, plan.span)


def _spacing(model: EncoderDecoder, spacing: Spacing | None) -> Spacing:
    if spacing is None:
        return "quantile" if model.has_normal_prior else "linear"
    validate_word(spacing, where="spacing", words=SPACINGS)
    if spacing == "quantile" and model.learned_prior is not None:
        raise InvalidParameter(
            "spacing",
            f"linear for '{model.label}', whose prior is learned",
            "quantile",
            "The quantiles would be those of N(0, 1), with which it was not trained.",
        )
    if spacing == "quantile" and not model.has_posterior:
        raise InvalidParameter(
            "spacing",
            f"linear for '{model.label}', which is an autoencoder",
            "quantile",
            "It has no prior, and so no quantiles.",
        )
    return spacing
