"""Monte-Carlo estimators: the bound and its parts, and the importance-weighted likelihood.

Knows models, observations and noise. Knows no protocol, no file and no training step.

A counter-based generator with the key (seed, index of the image, purpose) draws the noise of each image. The
draws for an image depend neither on the batch size nor on the other images. Every result is one float64
number per image, in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from training.data import Binarisation, ImageSet, to_unit_interval
from training.models import DiagonalGaussian, LatentImageModel
from training.models.priors import StandardNormal
from training.objectives.progress import Progress, in_batches


class _Purpose(IntEnum):
    """Independent streams of one image: the noise of one figure never changes another."""

    BINARISATION = 0
    ELBO = 1
    IMPORTANCE = 2


def _generator(seed: int, index: int, purpose: _Purpose) -> np.random.Generator:
    """The stream of one image, as Philox counters: 2^192 draws separate two purposes."""
    return np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 0, purpose]))


@dataclass(frozen=True, eq=False)
class Observations:
    """Images as the likelihood sees them: binarised by a seed, or grey."""

    image_set: ImageSet
    binarisation: Binarisation
    seed: int

    def __len__(self) -> int:
        return len(self.image_set)

    def take(self, indices: Int64[Tensor, " m"]) -> Float[Tensor, "m c h w"]:
        """The images at `indices`; the binarisation of image i does not depend on the other images."""
        x = to_unit_interval(self.image_set.images[indices])
        if self.binarisation == "grey":
            return x
        noise = np.stack(
            [
                _generator(self.seed, index, _Purpose.BINARISATION).random(x.shape[1:], dtype=np.float32)
                for index in indices.tolist()
            ]
        )
        return (torch.from_numpy(noise) < x).to(x.dtype)

    def normal(self, indices: Int64[Tensor, " m"], purpose: _Purpose, size: int) -> Float[Tensor, "m size"]:
        """Standard-normal noise for each image."""
        noise: npt.NDArray[np.float32] = np.stack(
            [
                _generator(self.seed, index, purpose).standard_normal(size, dtype=np.float32)
                for index in indices.tolist()
            ]
        )
        return torch.from_numpy(noise)

    def protocol(self, count: int | None = None) -> str:
        """The choice and the binarisation of the images, in words; `count` at random if fewer than all."""
        every = len(self.image_set)
        which = (
            f"all {every:,} images of {self.image_set.name}"
            if count is None or count == every
            else f"a random {count:,} of the {every:,} images of {self.image_set.name}"
        )
        pixels = "dynamic binarisation" if self.binarisation == "dynamic" else "grey pixels"
        return f"{which}, {pixels}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class ElboParts:
    """The terms of the bound for each image, in nats, and the moments of the posteriors."""

    reconstruction_nll: Float64[Tensor, " n"]
    """-log p(x|z) at one z drawn from q(z|x)."""
    kl_per_dimension: Float64[Tensor, "n latent"]
    """KL(q(z_j|x) ‖ N(0, 1)), in closed form."""
    mu: Float64[Tensor, "n latent"]
    variance: Float64[Tensor, " latent"]
    """Mean over images of the posterior's variance, sigma²."""
    estimated_kl: Float64[Tensor, " n"] | None = None
    """KL(q(z|x) ‖ p(z)) at the same z, if p(z) is learned and has no closed form."""

    @property
    def kl(self) -> Float64[Tensor, " n"]:
        """KL(q(z|x) ‖ p(z)): the sum over dimensions if p(z) is N(0, I)."""
        return self.kl_per_dimension.sum(dim=-1) if self.estimated_kl is None else self.estimated_kl

    @property
    def negative_elbo(self) -> Float64[Tensor, " n"]:
        """-ELBO = -log p(x|z) + KL(q(z|x) ‖ p(z)), Kingma & Welling 2013, arXiv:1312.6114, equation 7."""
        return self.reconstruction_nll + self.kl


def elbo_parts(
    model: LatentImageModel,
    observations: Observations,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> ElboParts:
    """The terms of the bound for every image, with one posterior sample each."""
    device = _device(model)
    learned = not isinstance(model.prior, StandardNormal)
    nll, kl, mu, variance, estimated = [], [], [], [], []
    for indices in in_batches(torch.arange(len(observations)), batch_size, "bound", progress):
        x = observations.take(indices).to(device)
        posterior = model.encode(x)
        eps = observations.normal(indices, _Purpose.ELBO, model.latent_size).to(device)
        z = posterior.rsample(eps=eps)
        log_px_z = model.likelihood.log_prob(x, model.decode_params(z))
        nll.append(-log_px_z.double().cpu())
        kl.append(_in_float64(posterior).kl_per_dimension().cpu())
        mu.append(posterior.mu.double().cpu())
        variance.append(posterior.logvar.double().exp().sum(dim=0).cpu())
        if learned:
            estimated.append(model.divergence(_in_float64(posterior), z).double().cpu())
    return ElboParts(
        reconstruction_nll=torch.cat(nll),
        kl_per_dimension=torch.cat(kl),
        mu=torch.cat(mu),
        variance=torch.stack(variance).sum(dim=0) / len(observations),
        estimated_kl=torch.cat(estimated) if learned else None,
    )


@dataclass(frozen=True, eq=False)
class Posteriors:
    """The posterior of each image, and the z of the bound."""

    mu: Float64[Tensor, "n latent"]
    logvar: Float64[Tensor, "n latent"]
    z: Float64[Tensor, "n latent"]
    """One draw from each, with the noise of `elbo_parts`; for an autoencoder, the code itself."""

    def mean_kl_per_dimension(self) -> Float64[Tensor, " latent"]:
        """Mean over images of KL(q(z_j|x) ‖ N(0, 1)), in nats."""
        return DiagonalGaussian(mu=self.mu, logvar=self.logvar).kl_per_dimension().mean(dim=0)


def posteriors(
    model: LatentImageModel,
    observations: Observations,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> Posteriors:
    """The posterior of every image, and one z drawn from it."""
    device = _device(model)
    mu, logvar, z = [], [], []
    for indices in in_batches(torch.arange(len(observations)), batch_size, "posteriors", progress):
        posterior = _in_float64(model.encode(observations.take(indices).to(device)))
        eps = observations.normal(indices, _Purpose.ELBO, model.latent_size).to(device)
        mu.append(posterior.mu.cpu())
        logvar.append(posterior.logvar.cpu())
        z.append((posterior.mu if model.kind == "ae" else posterior.rsample(eps=eps.double())).cpu())
    return Posteriors(mu=torch.cat(mu), logvar=torch.cat(logvar), z=torch.cat(z))


def importance_weighted_log_px(
    model: LatentImageModel,
    observations: Observations,
    indices: Int64[Tensor, " m"],
    *,
    samples: int,
    batch_size: int,
    progress: Progress | None = None,
) -> Float64[Tensor, " m"]:
    """A lower bound on log p(x) of each chosen image, which rises with K and tends to log p(x).

    log p̂_K(x) = log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x), for K = `samples`. K = 1 is a
    one-sample estimate of the ELBO. The sum is taken by logsumexp in float64. The first K samples of an image
    are the same for every larger K.

    Args:
        model: In evaluation mode.
        observations: The images.
        indices: The images to measure.
        samples: K.
        batch_size: Latents decoded in one call.
        progress: Called as images are done.

    Returns:
        Nats per image, in the order of `indices`.

    Source:
        Burda et al. 2015, arXiv:1509.00519, equation 8 and theorem 1.
    """
    device = _device(model)
    bounds = []
    for chosen in in_batches(indices, max(1, batch_size // samples), "likelihood", progress):
        x = observations.take(chosen).to(device)
        posterior = model.encode(x)
        eps = observations.normal(chosen, _Purpose.IMPORTANCE, samples * model.latent_size).to(device)
        log_w = _log_weights(
            model, x, posterior, eps.view(len(chosen), samples, model.latent_size), batch_size=batch_size
        )
        bounds.append((torch.logsumexp(log_w, dim=-1) - math.log(samples)).cpu())
    return torch.cat(bounds)


def _log_weights(
    model: LatentImageModel,
    x: Float[Tensor, "m c h w"],
    posterior: DiagonalGaussian,
    eps: Float[Tensor, "m k latent"],
    *,
    batch_size: int,
) -> Float64[Tensor, "m k"]:
    """log p(x|z_k) + log p(z_k) - log q(z_k|x) for each image and sample."""
    images, samples, _ = eps.shape
    rows = torch.arange(images, device=x.device).repeat_interleave(samples)
    pieces = []
    for row, noise in zip(
        torch.split(rows, batch_size), torch.split(eps.flatten(0, 1), batch_size), strict=True
    ):
        q = DiagonalGaussian(mu=posterior.mu[row], logvar=posterior.logvar[row])
        z = q.rsample(eps=noise)
        log_px_z = model.likelihood.log_prob(x[row], model.decode_params(z))
        pieces.append(
            log_px_z.double()
            + model.prior.log_prob(z.double()).double()
            - _in_float64(q).log_prob(z.double())
        )
    return torch.cat(pieces).view(images, samples)


def autoencoder_reconstruction_nll(
    model: LatentImageModel,
    observations: Observations,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> Float64[Tensor, " n"]:
    """-log p(x|z) at z = mu: the only cost of a model without a posterior."""
    device = _device(model)
    costs = []
    for indices in in_batches(torch.arange(len(observations)), batch_size, "reconstruction", progress):
        x = observations.take(indices).to(device)
        costs.append(-model.likelihood.log_prob(x, model.decode_params(model.encode(x).mu)).double().cpu())
    return torch.cat(costs)


def squared_error(
    model: LatentImageModel,
    image_set: ImageSet,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> Float64[Tensor, " n"]:
    """Mean over pixels of (x - x_hat)² of each grey image, with x_hat decoded from z = mu."""
    device = _device(model)
    errors = []
    for indices in in_batches(torch.arange(len(image_set)), batch_size, "reconstruction error", progress):
        x = to_unit_interval(image_set.images[indices]).to(device)
        x_hat = model.decode(model.encode(x).mu)
        errors.append((x - x_hat).double().square().flatten(start_dim=1).mean(dim=-1).cpu())
    return torch.cat(errors)


def _in_float64(posterior: DiagonalGaussian) -> DiagonalGaussian:
    return DiagonalGaussian(mu=posterior.mu.double(), logvar=posterior.logvar.double())


def _device(model: LatentImageModel) -> torch.device:
    # A published version has no parameters of its own, only the bytes of its graphs.
    return next(chain(model.parameters(), model.buffers())).device
