"""The likelihood p(x|z): the distribution of the pixels, from a decoder's output.

Knows tensors and nats. Knows nothing of networks or latents. A decoder returns `params`, one real number per
pixel, and a likelihood turns them into a mean image and a log density. Costs are summed over pixels and never
averaged over them: an average would hide a β of hundreds.
"""

import math
from abc import ABC, abstractmethod
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from model_store.manifest import BernoulliLikelihood, GaussianLikelihood
from training.models.posterior import LOG_2PI


class Likelihood(nn.Module, ABC):
    """The interface of every likelihood; `params` are the decoder's raw outputs, any real number."""

    def mean(
        self, params: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """x_hat = E[x|z], in [0, 1]: probability of ink for a Bernoulli, grey level for a Gaussian."""
        return torch.sigmoid(params)

    @abstractmethod
    def log_prob(
        self,
        x: Float[Tensor, "batch channel height width"],
        params: Float[Tensor, "batch channel height width"],
    ) -> Float[Tensor, " batch"]:
        """log p(x|z) in nats, summed over channels and pixels, one value per example."""

    @abstractmethod
    def spec(self) -> BernoulliLikelihood | GaussianLikelihood:
        """The manifest's description of this likelihood."""


class Bernoulli(Likelihood):
    """Every pixel is a coin with probability sigmoid(params): cross-entropy.

    A log-likelihood when x is binary. For grey x in [0, 1] the cost is a cross-entropy without a normalised
    density. It is finite and its gradient is right, but it must never be reported as a likelihood.
    """

    def log_prob(
        self,
        x: Float[Tensor, "batch channel height width"],
        params: Float[Tensor, "batch channel height width"],
    ) -> Float[Tensor, " batch"]:
        """x·log p + (1 - x)·log(1 - p), from logits, so that no probability of 0 or 1 gives infinity.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, appendix C.1, equation 11.
        """
        # float32 for any autocast of the logits: 784 terms are summed.
        cost = functional.binary_cross_entropy_with_logits(params.float(), x.float(), reduction="none")
        return -cost.flatten(start_dim=1).sum(dim=-1)

    def spec(self) -> BernoulliLikelihood:
        """`bernoulli`, without parameters."""
        return BernoulliLikelihood()


class Gaussian(Likelihood):
    """Every pixel is N(sigmoid(params), σ²) with one σ for all: squared error in units of 2σ².

    The recipe fixes σ, or it is learned with the weights. A learned σ cannot fall below `sigma_min`, because
    a density without a floor grows without bound on images that are all alike.
    """

    sigma_parameter: Tensor

    def __init__(self, *, sigma: float, learned: bool, sigma_min: float = 0.01) -> None:
        """Start with `sigma` (pixel range units), and keep it unless `learned`."""
        super().__init__()
        self.learned = learned
        self.sigma_min = sigma_min if learned else 0.0
        if sigma <= self.sigma_min:
            raise ValueError(f"sigma: expected a value above sigma_min = {sigma_min}, got {sigma}")
        if learned:
            self.sigma_parameter = nn.Parameter(torch.tensor(self._raw(sigma)))
        else:
            self.register_buffer("sigma_parameter", torch.tensor(sigma))

    def _raw(self, sigma: float) -> float:
        """Inverse softplus, so that softplus returns `sigma`: log(expm1(y)), stable for large y."""
        above = sigma - self.sigma_min
        return above + math.log(-math.expm1(-above))

    def begin_at(self, sigma: float) -> None:
        """Set a learned σ to another value, but not to its floor, where it would hardly move."""
        lowest = 1.2 * self.sigma_min
        with torch.no_grad():
            self.sigma_parameter.fill_(self._raw(max(sigma, lowest)))

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """Standard deviation of a pixel, in units of the pixel range."""
        if not self.learned:
            return self.sigma_parameter
        return self.sigma_min + functional.softplus(self.sigma_parameter)

    def log_prob(
        self,
        x: Float[Tensor, "batch channel height width"],
        params: Float[Tensor, "batch channel height width"],
    ) -> Float[Tensor, " batch"]:
        """-(x - x_hat)²/(2σ²) - log σ - ½ log 2π, summed: a log density, which may be positive.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, appendix C.2, equation 12; one learned σ for
            all pixels as in Rybkin et al. 2020, arXiv:2006.13202, section 3.1.
        """
        # float32 for any autocast of the parameters: 784 terms are summed.
        residual = (x.float() - self.mean(params.float())) / self.sigma
        per_pixel = -0.5 * (residual.square() + LOG_2PI) - self.sigma.log()
        return per_pixel.flatten(start_dim=1).sum(dim=-1)

    def spec(self) -> GaussianLikelihood:
        """`gaussian` with its σ."""
        return GaussianLikelihood(sigma=cast(float, self.sigma.item()), learned=self.learned)
