"""A graph with its own shapes and range behind flat latents, pixels in [0, 1], mu and logvar.

    x in [0, 1] ──low + x (high - low)──▶ graph ──split moments──▶ mu, logvar, flat
    z, flat ──reshape──▶ graph ──(x_hat - low) / (high - low)──▶ x_hat, unbounded

Knows roles, ranges and shapes. Knows nothing of batches, queues or the meaning of the rows. One object is for
one size of image; several share a session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store import GraphSpec
from service.engine.runtime.session import GraphSession

#: diffusers clamps the logvar of its moments to this range, outside of the graph. Its lower end is also the
#: logvar of an encoder that has none: a standard deviation of 3e-7.
LOGVAR_BOUNDS: Final = (-30.0, 20.0)
Rows = NDArray[np.float32]


class ImportedGraph:
    """One graph of an imported version, or of a trained one with latents (c, h, w), for one size of image."""

    def __init__(
        self,
        session: GraphSession,
        spec: GraphSpec,
        *,
        pixels: tuple[float, float] | None,
        latent_shape: tuple[int, ...],
    ) -> None:
        """Nothing runs yet.

        Args:
            session: The loaded graph.
            spec: Its tensors, with their roles.
            pixels: The graph's values of black and white; None: its values are no pixels.
            latent_shape: Shape of one latent of images of this size.
        """
        self._session = session
        self._pixels = None if pixels == (0.0, 1.0) else pixels
        self._latent_shape = latent_shape
        self._roles = tuple(tensor.meaning for tensor in spec.outputs)
        self._run: Callable[[Rows], tuple[Rows, ...]] = (
            self._decode if "x_hat" in self._roles else self._encode
        )

    @property
    def file(self) -> str:
        """File name of the graph within its version, for messages."""
        return self._session.file

    def run(self, rows: Rows) -> tuple[Rows, ...]:
        """One pass over a batch, in the calling thread.

        Args:
            rows: C-contiguous float32: images (batch, C, H, W) in [0, 1], or latents (batch, latent), flat.

        Returns:
            mu and logvar (batch, latent), or x_hat (batch, C, H, W), which may leave [0, 1].

        Raises:
            InferenceFailed: onnxruntime raised.
        """
        return self._run(rows)

    def _encode(self, x: Rows) -> tuple[Rows, ...]:
        if self._pixels is not None:
            low, high = self._pixels
            x = x * np.float32(high - low) + np.float32(low)
        found = dict(zip(self._roles, self._session.run(x), strict=True))
        if "moments" in found:
            mu, logvar = np.split(found["moments"], 2, axis=1)
            logvar = np.clip(logvar, np.float32(LOGVAR_BOUNDS[0]), np.float32(LOGVAR_BOUNDS[1]))
        else:
            mu = found["mu"]
            logvar = found.get("logvar", np.full_like(mu, LOGVAR_BOUNDS[0]))
        return np.ascontiguousarray(mu.reshape(len(mu), -1)), np.ascontiguousarray(
            logvar.reshape(len(logvar), -1)
        )

    def _decode(self, z: Rows) -> tuple[Rows, ...]:
        (x_hat,) = self._session.run(z.reshape(len(z), *self._latent_shape))
        if self._pixels is not None:
            low, high = self._pixels
            x_hat -= np.float32(low)
            x_hat *= np.float32(1.0 / (high - low))
        return (x_hat,)
