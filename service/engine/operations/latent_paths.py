"""interpolate and traverse: images along a path through latent space.

Knows the two kinds of path and what they start from. Knows nothing of threads, batches, HTTP or where models
come from.

    two x ──encoder──▶ two mu ─┐
    two z ─────────────────────┴─▶ z of each step ──decoder──▶ x_hat
    one x, one z, or the origin ─▶ z of each point of a grid ──decoder──▶ x_hat
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from model_store.numbers import told_apart
from service.engine.errors import InvalidInput, InvalidParameter
from service.engine.operations.core import Float32Array, Operations
from service.engine.operations.geometry import METHODS, SPACINGS, Method, Spacing, grid, interpolation_path
from service.engine.operations.validation import (
    LATENT_BOUND,
    validate_dims,
    validate_images,
    validate_latents,
    validate_row_count,
    validate_span,
    validate_steps,
    validate_word,
)
from service.engine.runtime.call import Call

DEFAULT_STEPS: Final = 8
#: The central 95 % of a standard-normal coordinate.
DEFAULT_SPAN: Final = 2.0


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Images along the path from one latent to another."""

    z: Float32Array
    """(steps, latent), both ends included."""
    x_hat: Float32Array
    method: Method


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
    """What a call of `traverse` will decode: checked parameters, with the missing ones chosen."""

    dims: tuple[int, ...]
    count: int
    """Images of the whole grid."""
    spacing: Spacing
    span: float


class LatentPathOperations(Operations):
    """What one version can do, and where to go in its latent space."""

    async def interpolate(
        self,
        *,
        x: Float32Array | None = None,
        z: Float32Array | None = None,
        steps: int = DEFAULT_STEPS,
        method: Method | None = None,
        call: Call | None = None,
    ) -> Interpolation:
        """Images along the path between two images, by their mu, or between two latents.

        The first and the last image are those of `decode` for the ends, byte for byte.

        Args:
            x: Two images, float32 (2, C, H, W) in [0, 1]; or
            z: two latents, float32 (2, latent), finite and within ±`LATENT_BOUND`.
            steps: How many images, both ends included, 2 … max_batch.
            method: `slerp` or `lerp`, see `geometry.interpolation_path`; None is `slerp`, which keeps to the
                lengths that a Gaussian prior gives, and for an autoencoder, which has none, `lerp`.
            call: Who waits; without one, somebody who waits for ever.

        Raises:
            InvalidInput: The ends or a parameter do not fit.
            InferenceFailed: The runtime raised or gave something that is not finite.
            NotRun: No model was run; see its subclasses.
        """
        assert (x is None) != (z is None), "two images or two latents"
        if method is None:
            method = "slerp" if self._has_posterior else "lerp"
        validate_word(method, where="method", words=METHODS)
        validate_steps(steps, most=self._max_batch)
        call = call or Call()
        ends = await self._start(x, z, count=2, of="the two ends", call=call)
        if z is not None and method == "slerp":
            self._refuse_long(ends)
        path = interpolation_path(ends, steps=steps, method=method)
        return Interpolation(path, await self._decode(path, call), method)

    async def traverse(
        self,
        *,
        x: Float32Array | None = None,
        z: Float32Array | None = None,
        dims: Sequence[int] | None = None,
        steps: int = DEFAULT_STEPS,
        spacing: Spacing | None = None,
        span: float = DEFAULT_SPAN,
        call: Call | None = None,
    ) -> Traversal:
        """Images of a grid along one or two latent dimensions; every other one stays where it is.

        Args:
            x: One image, float32 (1, C, H, W) in [0, 1], whose mu is where the others stay; or
            z: one latent, float32 (1, latent); or neither, for the origin.
            dims: One or two different latent indices; None: the first two, or the only one.
            steps: Points along each of them, at least 2; all together at most max_batch.
            spacing: `quantile` or `linear`, see `geometry.grid`; None is `quantile`, and for an autoencoder,
                which has no prior to take quantiles of, `linear`.
            span: How far the grid reaches to either side of 0, in standard deviations of the prior (of an
                autoencoder: in its own units).
            call: Who waits; without one, somebody who waits for ever.

        Raises:
            InvalidInput: The start or a parameter does not fit.
            InferenceFailed: The runtime raised or gave something that is not finite.
            NotRun: No model was run; see its subclasses.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, appendix A, figure 4.
        """
        assert x is None or z is None, "an image, a latent, or the origin"
        plan = self.plan_traverse(dims=dims, steps=steps, spacing=spacing, span=span)
        call = call or Call()
        if x is None and z is None:
            z = np.zeros((1, self._latent_size), np.float32)
        base = await self._start(x, z, count=1, of="where the grid lies", call=call)
        values = grid(steps=steps, spacing=plan.spacing, span=plan.span).astype(np.float32)
        points = np.repeat(base, plan.count, axis=0)
        axes = np.meshgrid(*[values] * len(plan.dims), indexing="ij")
        for dim, coordinate in zip(plan.dims, axes, strict=True):
            points[:, dim] = coordinate.ravel()
        x_hat = await self._decode(points, call)
        return Traversal(points, x_hat, plan.dims, steps, plan.spacing, plan.span)

    def plan_traverse(
        self,
        *,
        dims: Sequence[int] | None = None,
        steps: int = DEFAULT_STEPS,
        spacing: Spacing | None = None,
        span: float = DEFAULT_SPAN,
    ) -> TraversalPlan:
        """Checks the parameters of `traverse`, and decodes nothing.

        Raises:
            InvalidInput: A parameter does not fit.
        """
        chosen = validate_dims(
            range(min(2, self._latent_size)) if dims is None else dims,
            size=self._latent_size,
            model=self._label,
        )
        validate_steps(steps, most=self._max_batch, axes=len(chosen))
        return TraversalPlan(chosen, steps ** len(chosen), self._spacing(spacing), validate_span(span))

    async def _start(
        self, x: Float32Array | None, z: Float32Array | None, *, count: int, of: str, call: Call
    ) -> Float32Array:
        """Latents to start from: mu of the images, or those given."""
        if x is not None:
            x = validate_images(x, shape=self._image_shape, max_batch=self._max_batch, model=self._label)
            validate_row_count(x, where="images", count=count, of=of)
            return (await self.encode(x, call=call)).mu
        assert z is not None
        z = validate_latents(z, size=self._latent_size, max_batch=self._max_batch, model=self._label)
        validate_row_count(z, where="z", count=count, of=of)
        return z

    def _spacing(self, spacing: Spacing | None) -> Spacing:
        if spacing is None:
            return "quantile" if self._has_posterior else "linear"
        validate_word(spacing, where="spacing", words=SPACINGS)
        if spacing == "quantile" and not self._has_posterior:
            raise InvalidParameter(
                "spacing",
                f"linear for '{self._label}', which is an autoencoder",
                "quantile",
                "It has no prior to take quantiles of.",
            )
        return spacing

    def _refuse_long(self, ends: Float32Array) -> None:
        """An arc leaves the box that its ends lie in, but never the ball."""
        lengths = np.linalg.norm(ends.astype(np.float64), axis=1)
        if lengths.max() > LATENT_BOUND:
            at = int(lengths.argmax())
            raise InvalidInput(
                f"z[{at}]",
                f"for slerp, a length of at most {LATENT_BOUND:g}",
                told_apart(float(lengths[at]), LATENT_BOUND),
                "Use method=lerp, or ends nearer to the prior, whose draws are about as long as the square "
                "root of the latent size.",
            )
