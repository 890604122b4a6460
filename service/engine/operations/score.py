"""score: how likely each image is under one version.

Knows the bound on log p(x), its terms, and the importance-weighted estimate. Knows nothing of queues,
threads or HTTP.

    x ──(binarise)──▶ x ──encoder──▶ q(z|x) ──▶ z ──decoder──▶ p(x|z)
                                     elbo   = log p(x|z) - KL(q(z|x) ‖ p(z))
                                     log_px = log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x)

All noise of a request comes from its seed, in streams that never overlap (`noise`). Stream 1 contains the
binarisation and stream 2 the draw of the bound, row i for image i; stream 3 + i contains the importance draws
of image i, row k for draw k. So no image's figures depend on the other images, and the first K draws are the
same for every larger K. `sample` and `reconstruct` use stream 0. Otherwise an image that was drawn with the
same seed would score too well, because the draw of its bound would point to its own z.

Every figure is float64, one number for each image, in nats. p(z) is the prior of training: N(0, I), or the
learned one, whose KL has no closed form and is estimated at the draw of the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store import BernoulliLikelihood, GaussianLikelihood, UnknownLikelihood
from model_store.calibration import Figure
from service.engine.errors import InferenceFailed, NoDensity
from service.engine.operations.arrays import Float32Array, Float64Array
from service.engine.operations.binarisation import Binarise, binarised, choose_binarisation
from service.engine.operations.encode import Posterior, encode
from service.engine.operations.encoder_decoder import EncoderDecoder, as_images, check_finite
from service.engine.operations.log_densities import (
    entropy_of_diagonal_gaussian,
    kl_to_standard_normal,
    log_bernoulli,
    log_diagonal_gaussian,
    log_gaussian,
    log_mean_exp,
    log_standard_normal,
)
from service.engine.operations.noise import Place, new_seed, standard_normal_of
from service.engine.operations.parts import part_rows, run_ahead
from service.engine.operations.validation import validate_draws, validate_images, validate_seed
from service.engine.runtime.call import Call

#: Default maximum for callers without one: a second or two of a small model on one core.
DEFAULT_MAX_DRAWS: Final = 16_384

_BINARISATION_STREAM: Final = 1
_BOUND_STREAM: Final = 2
_FIRST_IMPORTANCE_STREAM: Final = 3
#: Pixels whose log densities are computed at a time, on the event loop: 64 images of 28 × 28, half a
#: millisecond.
_PART_PIXELS: Final = 50_176


@dataclass(frozen=True, slots=True)
class Scores:
    """The figures of each image, and the parameters to compute them again."""

    reconstruction_nll: Float64Array
    """-log p(x|z) at one z drawn from q(z|x)."""
    kl: Float64Array
    """KL(q(z|x) ‖ p(z)): in closed form for N(0, I), otherwise estimated at the same z."""
    log_px: Float64Array | None
    """The importance-weighted bound, if it was requested."""
    seed: int
    binarise: Binarise
    importance_samples: int | None
    dimensions: int
    """Pixel values of one image."""

    @property
    def figures(self) -> dict[Figure, Float64Array]:
        """The figures that thresholds apply to: all rise as an image becomes less usual."""
        return {
            "reconstruction_nll": self.reconstruction_nll,
            "kl": self.kl,
            "negative_elbo": self.reconstruction_nll + self.kl,
        }

    @property
    def elbo(self) -> Float64Array:
        """log p(x|z) - KL(q(z|x) ‖ p(z)): rises as the model explains an image better.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, equation 7.
        """
        return -(self.reconstruction_nll + self.kl)

    def bits_per_dim(self, log_density: Float64Array) -> Float64Array:
        """A bound in nats as bits per pixel value: falls as the model explains an image better."""
        return -log_density / (self.dimensions * math.log(2.0))


async def score(
    model: EncoderDecoder,
    x: Float32Array,
    *,
    importance_samples: int | None = None,
    seed: int | None = None,
    binarise: Binarise | None = None,
    max_draws: int = DEFAULT_MAX_DRAWS,
    call: Call | None = None,
) -> Scores:
    """The bound on log p(x) of each image, its two terms, and the importance-weighted bound.

    Args:
        model: The version to run.
        x: Images, float32 (1 … max_batch, C, H, W) in [0, 1].
        importance_samples: K; None leaves out `log_px`. Images times K are at most `max_draws`.
        seed: 0 … 2⁵³ - 1; None chooses one, which the response contains.
        binarise: A Bernoulli likelihood applies to binary pixels, and the cross-entropy of a grey one is no
            likelihood. `dynamic`, the default of such a model, draws every pixel from its grey level and
            leaves 0 and 1 unchanged. `none` uses the pixels unchanged and rejects grey ones. A Gaussian
            likelihood allows only `none`.
        max_draws: Maximum number of importance draws of all images together.
        call: Deadline and connection of the request; None waits without a limit.

    Raises:
        NoDensity: The model is an autoencoder, or its likelihood is unknown.
        InvalidInput: An array or a parameter is invalid.
        InferenceFailed: The runtime raised, or an output is not finite.
        DeadlineExceeded: At once, if the draws would take longer than the call may.
        NotRun: No model was run; see its subclasses.

    Source:
        The importance-weighted bound: Burda et al. 2015, arXiv:1509.00519, equation 8 and theorem 1.
        Dynamic binarisation: the same, section 5.1.
    """
    if not model.has_posterior:
        raise NoDensity(model.label)
    if isinstance(model.likelihood, UnknownLikelihood):
        raise NoDensity(model.label, imported=True)
    binarise = choose_binarisation(model, binarise)
    seed = new_seed() if seed is None else validate_seed(seed)
    x = validate_images(
        x,
        shape=model.image_shape,
        max_batch=model.max_batch,
        model=model.label,
        is_bounded=model.is_bounded,
    )
    if importance_samples is not None:
        validate_draws(importance_samples, images=len(x), most=max_draws)
    call = call or Call()
    model.check_decoding_time(len(x) * (1 + (importance_samples or 0)), call)
    observed = binarised(model, x, binarise, seed=seed, stream=_BINARISATION_STREAM)
    posterior = await encode(model, observed, call=call)
    places = (Place(0, len(x), _BOUND_STREAM),)
    z = posterior.draw(standard_normal_of(seed=seed, places=places, size=model.latent_size))
    parts = (z[rows] for rows in _part_rows(model, len(z)))
    log_px_z, log_pz = await _log_densities(model, observed, parts, each=1, call=call)
    log_px = None
    if importance_samples is not None:
        log_px = await _log_px(model, observed, posterior, seed=seed, samples=importance_samples, call=call)
    scores = Scores(
        reconstruction_nll=-log_px_z,
        kl=_divergence(posterior, log_pz),
        log_px=log_px,
        seed=seed,
        binarise=binarise,
        importance_samples=importance_samples,
        dimensions=x[0].size,
    )
    _check_scores(model, scores)
    return scores


async def _log_px(
    model: EncoderDecoder,
    observed: Float32Array,
    posterior: Posterior,
    *,
    seed: int,
    samples: int,
    call: Call,
) -> Float64Array:
    """log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x) of each image, z_k ~ q(z|x), K = `samples`."""
    log_ratio = np.empty(len(observed) * samples)

    def latents() -> Iterator[Float32Array]:
        """The draws of each image in turn; their p(z) and q(z|x) are stored."""
        for rows in _part_rows(model, len(log_ratio)):
            of = rows // samples
            q = Posterior(posterior.mu[of], posterior.logvar[of])
            eps = standard_normal_of(
                seed=seed, places=_importance_places(rows, samples), size=model.latent_size
            )
            z = q.draw(eps)
            log_ratio[rows] = -log_diagonal_gaussian(z, mu=q.mu, logvar=q.logvar)
            if model.learned_prior is None:
                log_ratio[rows] += log_standard_normal(z)
            yield z

    log_px_z, log_pz = await _log_densities(model, observed, latents(), each=samples, call=call)
    if log_pz is not None:
        log_ratio += log_pz
    return log_mean_exp((log_px_z + log_ratio).reshape(len(observed), samples))


def _divergence(posterior: Posterior, log_pz: Float64Array | None) -> Float64Array:
    """KL(q(z|x) ‖ p(z)): in closed form for N(0, I), otherwise from log p(z) at the draw of the bound."""
    if log_pz is None:
        return kl_to_standard_normal(posterior.mu, posterior.logvar)
    return -entropy_of_diagonal_gaussian(posterior.logvar) - log_pz


async def _log_densities(
    model: EncoderDecoder, observed: Float32Array, latents: Iterator[Float32Array], *, each: int, call: Call
) -> tuple[Float64Array, Float64Array | None]:
    """log p(x|z) of `each` latents of every image in turn, and log p(z) of a learned prior."""
    x = observed.reshape(len(observed), -1)
    log_px_z = np.empty(len(x) * each)
    learned = model.learned_prior
    log_pz = None if learned is None else np.empty(len(x) * each)
    at = 0
    run = model.run_decoder if learned is None else learned.run_density
    async with aclosing(run_ahead(run, latents, call=call, part_limit_s=None)) as parts:
        async for outputs in parts:
            x_hat = _mean_of_pixels(model, outputs[0])
            rows = np.arange(at, at + len(x_hat))
            log_px_z[rows] = _log_density(model, x[rows // each], x_hat.reshape(len(rows), -1))
            if learned is not None:
                assert log_pz is not None
                check_finite(model, learned.density_file, outputs[2])
                log_pz[rows] = outputs[2]
            at += len(rows)
    return log_px_z, log_pz


def _log_density(model: EncoderDecoder, x: Float32Array, x_hat: Float32Array) -> Float64Array:
    if isinstance(model.likelihood, BernoulliLikelihood):
        return log_bernoulli(x > 0.5, x_hat)
    assert isinstance(model.likelihood, GaussianLikelihood), "others were refused"
    return log_gaussian(x, x_hat, sigma=model.likelihood.sigma)


def _mean_of_pixels(model: EncoderDecoder, x_hat: Float32Array) -> Float32Array:
    """A probability is in [0, 1]; the mean of a Gaussian is used unchanged."""
    if model.is_bernoulli:
        return as_images(model, x_hat)
    check_finite(model, model.decoder_file, x_hat)
    return x_hat


def _part_rows(model: EncoderDecoder, count: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers 0 … count - 1, in chunks that are quick to compute with."""
    most = max(1, min(part_rows(model), _PART_PIXELS // math.prod(model.image_shape)))
    return (np.arange(first, min(first + most, count)) for first in range(0, count, most))


def _importance_places(rows: NDArray[np.int64], samples: int) -> Iterator[Place]:
    """The places of the noise of consecutive draws: image i has stream 3 + i, its draw k is row k there."""
    first, last = int(rows[0]), int(rows[-1])
    while first <= last:
        image, row = divmod(first, samples)
        count = min(samples - row, last - first + 1)
        yield Place(row, count, _FIRST_IMPORTANCE_STREAM + image)
        first += count


def _check_scores(model: EncoderDecoder, scores: Scores) -> None:
    for values in (scores.elbo, scores.log_px):
        if values is not None and not np.isfinite(values).all():
            raise InferenceFailed(
                f"{model.label}: {model.encoder_file}: expected a posterior of a measurable width, got one "
                "that makes scores infinite. Use another version of the model; the operator should check "
                "this one."
            )
