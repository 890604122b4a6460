"""A Gaussian VAE whose every figure has a closed form, as two hand-written ONNX graphs.

Knows linear algebra, `onnx.helper` and the store. p(z) = N(0, I) and p(x|z) = N(Wz + b, σ²I) give
p(x) = N(b, WWᵀ + σ²I); q(z|x) is diagonal, with the true posterior's mean and, up to `logvar_error`, the
diagonal of its covariance. Everything here is float64; the graphs are float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import helper
from tiny_models import CARD, TinyModel, make_model

from model_store import GaussianLikelihood, GoldenVectors, ModelStore, VersionId

SHAPE, LATENT = (1, 3, 4), 2
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """The model and what is known about it exactly."""

    weight: Array
    """W, (pixels, latent)."""
    sigma: float = 0.3
    logvar_error: float = 0.0

    @property
    def bias(self) -> Array:
        return np.full(math.prod(SHAPE), 0.5)

    @property
    def covariance(self) -> Array:
        """Of the true posterior."""
        found = np.linalg.inv(np.eye(LATENT) + self.weight.T @ self.weight / self.sigma**2)
        return found.astype(np.float64)

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """mu and logvar of q(z|x), as the encoder gives them."""
        mu = (x.reshape(len(x), -1) - self.bias) @ self.weight @ self.covariance / self.sigma**2
        return mu, np.broadcast_to(np.log(np.diag(self.covariance)) + self.logvar_error, mu.shape)

    def log_px(self, x: Array) -> Array:
        """log N(x; b, WWᵀ + σ²I)."""
        size = math.prod(SHAPE)
        covariance = self.weight @ self.weight.T + self.sigma**2 * np.eye(size)
        residual = x.reshape(len(x), -1) - self.bias
        distance = np.einsum("ij,ij->i", residual @ np.linalg.inv(covariance), residual)
        density: Array = -0.5 * (distance + np.linalg.slogdet(covariance)[1] + size * math.log(2 * math.pi))
        return density

    def expected_reconstruction_nll(self, x: Array) -> Array:
        """E_q[-log p(x|z)] = (‖x - Wμ - b‖² + tr(W S Wᵀ)) / 2σ² + D/2 log 2πσ²."""
        mu, logvar = self.posterior(x)
        residual = x.reshape(len(x), -1) - mu @ self.weight.T - self.bias
        spread = (self.weight**2 @ np.exp(logvar).T).sum(axis=0)
        size = math.prod(SHAPE)
        constant = size / 2 * math.log(2 * math.pi * self.sigma**2)
        cost: Array = ((residual**2).sum(axis=1) + spread) / (2 * self.sigma**2) + constant
        return cost

    def kl(self, x: Array) -> Array:
        """By the general formula for two Gaussians: ½ (tr S + μᵀμ - k - log det S)."""
        mu, logvar = self.posterior(x)
        return np.array(
            [
                0.5 * (np.trace(s) + m @ m - LATENT - np.linalg.slogdet(s)[1])
                for m, s in zip(mu, map(np.diag, np.exp(logvar)), strict=True)
            ]
        )

    def publish(self, store: ModelStore) -> VersionId:
        """As `tiny`, with golden vectors by the formulae."""
        mu_of_zero, logvar = self.posterior(np.zeros((1, *SHAPE)))
        w_mu = self.weight @ self.covariance / self.sigma**2
        tiny = replace(
            TinyModel.make(image_shape=SHAPE, latent_size=LATENT),
            w_mu=w_mu.astype(np.float32),
            b_mu=mu_of_zero[0].astype(np.float32),
            w_logvar=np.zeros((math.prod(SHAPE), LATENT), np.float32),
            b_logvar=logvar[0].astype(np.float32),
        )
        decoder = make_model(
            [
                helper.make_node("Gemm", ["z", "w", "b"], ["flat"]),
                helper.make_node("Reshape", ["flat", "shape"], ["x_hat"]),
            ],
            {"z": ("batch", LATENT)},
            {"x_hat": ("batch", *SHAPE)},
            {
                "w": self.weight.T.astype(np.float32),
                "b": self.bias.astype(np.float32),
                "shape": np.array([-1, *SHAPE], np.int64),
            },
        )
        x = np.random.default_rng(7).random((3, *SHAPE), dtype=np.float32)
        z = np.array([[0.0, 0.0], [0.2, -0.1]], np.float32)
        x_hat = (z @ self.weight.T + self.bias).reshape(-1, *SHAPE)
        golden = GoldenVectors(
            x=x,
            mu=tiny.encode(x)[0],
            logvar=tiny.encode(x)[1],
            z=z,
            x_hat=x_hat.astype(np.float32),
        )
        return store.publish(
            tiny.draft("tiny", likelihood=GaussianLikelihood(sigma=self.sigma, learned=False)),
            encoder=tiny.encoder,
            decoder=decoder.SerializeToString(),
            golden=golden,
            card=CARD,
        )


def orthogonal() -> Array:
    """Columns at right angles: the true posterior is diagonal, so the encoder is exact."""
    q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((math.prod(SHAPE), LATENT)))
    columns: Array = q * np.array([0.9, 0.5])
    return columns


def skewed() -> Array:
    """Columns far from right angles: no diagonal posterior is exact."""
    base = orthogonal()
    return np.stack([base[:, 0], 0.8 * base[:, 0] + base[:, 1]], axis=1)
