"""The prior p(z) of a model: N(0, I), or a density that is learned together with encoder and decoder.

Knows tensors, labels and nats. Knows no image, no network of a trunk and no training. The caller passes all
noise.

::

    z ── flow ──▶ u          log p(z) = log Σ_c w_c N(u; m_c, Σ_c) + log|det ∂u/∂z|
    z ◀─ inverse ── u = m_c + L_c eps,  c ~ w

Each component c belongs to one label, if the prior has labels. So p(z|y), its samples and p(y|z) are exact,
and Σ_y p(y) p(z|y) is the density above.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import cast

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from model_store import LabelDraws
from training.models.posterior import LOG_2PI, DiagonalGaussian, standard_normal_log_prob

#: Bound of one coupling's log scale: a factor of 7.4 in either direction. Ten couplings can multiply theirs.
_MAX_LOG_SCALE = 2.0
#: Standard deviation of the initial means. Equal components would have equal gradients for ever.
_INITIAL_SPREAD = 0.05


class Prior(nn.Module, ABC):
    """A density over z."""

    @abstractmethod
    def log_prob(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """log p(z) in nats."""

    def divergence(
        self, posterior: DiagonalGaussian, z: Float[Tensor, "draw latent"]
    ) -> Float[Tensor, " batch"]:
        """KL(q(z|x) ‖ p(z)) of each example, in nats.

        Here E_q[log q(z|x)] in closed form, minus log p(z) at the draws: unbiased, and negative at times.
        With z = mu + σ · eps, log q(z|x) depends on mu and logvar only through the normaliser, so the
        gradients equal those of the estimate with both logarithms at the draws. Its variance is smaller.

        Args:
            posterior: q(z|x) of each example.
            z: Its draws: as many for each example, those of one example adjacent.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, equation 6 (the bound by samples) and appendix B (the
            entropy of a Gaussian).
        """
        log_pz = self.log_prob(z).view(len(posterior.mu), -1).mean(dim=1)
        return -posterior.entropy() - log_pz

    @abstractmethod
    def draw(self, rows: int, generator: torch.Generator) -> Float[Tensor, "rows latent"]:
        """`rows` of z, float32."""


class LabelledPrior(Prior):
    """A density over z that can have one for each label: p(z) = Σ_y p(y) p(z|y)."""

    labels: int
    """Labels 0 to `labels` - 1 have a density of their own; with 0, p(z) is the only density."""
    label_draws: LabelDraws | None = None
    """The rule for draws of a label; None takes the first."""

    @abstractmethod
    def log_prob_by_label(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch label"]:
        """log p(z, y) for each label y, in nats; its logsumexp is `log_prob`."""

    @abstractmethod
    def label_shares(self) -> tuple[float, ...]:
        """p(y) of each label."""

    def draw_labelled(
        self, labels: Int64[Tensor, " rows"], generator: torch.Generator
    ) -> Float[Tensor, "rows latent"]:
        """One z for each label, by `label_draws`, float32."""
        z = self.draw_of_labels(labels, generator)
        if self.label_draws is None:
            return z
        best = self._log_py_z(z, labels)
        for _ in range(1, self.label_draws.candidates):
            left = torch.nonzero(best < math.log(self.label_draws.probability)).squeeze(1)
            if not len(left):
                break
            others = self.draw_of_labels(labels[left], generator)
            found = self._log_py_z(others, labels[left])
            better = found > best[left]
            z[left[better]], best[left[better]] = others[better], found[better]
        return z

    @abstractmethod
    def draw_of_labels(
        self, labels: Int64[Tensor, " rows"], generator: torch.Generator
    ) -> Float[Tensor, "rows latent"]:
        """One z of p(z|y) for each label, float32."""

    def _log_py_z(
        self, z: Float[Tensor, "rows latent"], labels: Int64[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """log p(y|z) of each row's label."""
        log_py_z = torch.log_softmax(self.log_prob_by_label(z), dim=-1)
        return log_py_z.gather(1, labels.unsqueeze(-1)).squeeze(-1)


class StandardNormal(Prior):
    """N(0, I), without parameters.

    Source:
        Kingma & Welling 2013, arXiv:1312.6114, section 3.
    """

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    def log_prob(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """log N(z; 0, I)."""
        return standard_normal_log_prob(z)

    def divergence(
        self,
        posterior: DiagonalGaussian,
        z: Float[Tensor, "draw latent"],  # noqa: ARG002  # the interface's
    ) -> Float[Tensor, " batch"]:
        """In closed form, the same for any draws."""
        return posterior.kl_to_standard_normal()

    def draw(self, rows: int, generator: torch.Generator) -> Float[Tensor, "rows latent"]:
        """The noise itself."""
        return torch.randn(rows, self.latent_size, generator=generator)


class LearnedPrior(LabelledPrior):
    """A mixture of Gaussians behind an invertible map: RealNVP couplings, a mixture, or both.

    It starts close to N(0, I): the couplings start as the identity, and all Gaussians near N(0, I).

    Source:
        Dinh et al. 2016, arXiv:1605.08803, section 3 (affine couplings); Xu et al. 2019, arXiv:1905.13452
        (such a prior learned with the model).
    """

    def __init__(
        self,
        latent_size: int,
        *,
        couplings: int,
        hidden_width: int,
        components: int,
        labels: int,
        label_draws: LabelDraws | None = None,
    ) -> None:
        """Build a prior near N(0, I).

        Args:
            latent_size: L.
            couplings: Affine couplings; with 0 the prior is the mixture alone.
            hidden_width: Width of the two hidden layers of each coupling.
            components: Gaussians of each label, or of the whole mixture without labels.
            labels: Labels 0 to `labels` - 1 have Gaussians of their own; 0: the prior has no labels.
            label_draws: The rule for draws of a label; None takes the first.
        """
        super().__init__()
        self.latent_size = latent_size
        self.labels = labels
        self.label_draws = label_draws
        self.flow = nn.ModuleList(
            Coupling(_mask(latent_size, number), hidden_width) for number in range(couplings)
        )
        self.mixture = GaussianMixture(latent_size, components * max(1, labels))

    def to_base(
        self, z: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, " batch"]]:
        """u and log|det ∂u/∂z| of each z."""
        u = z
        log_det = torch.zeros_like(z[:, 0])
        for coupling in self.flow:
            u, more = coupling(u)
            log_det = log_det + more
        return u, log_det

    def from_base(self, u: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """z of each u: the inverse of `to_base`."""
        z = u
        for coupling in reversed(self.flow):
            z = cast(Coupling, coupling).inverse(z)
        return z

    def log_prob(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """log p(z) = log Σ_c w_c N(u; m_c, Σ_c) + log|det ∂u/∂z|, in float32 for any z.

        Source:
            Dinh et al. 2016, arXiv:1605.08803, equation 3 (change of variables).
        """
        with _float32(z):
            u, log_det = self.to_base(z.float())
            log_pu: Tensor = torch.logsumexp(self.mixture(u), dim=-1)
            return log_pu + log_det

    def log_prob_by_label(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch label"]:
        """log p(z, y) for each label y, whose logsumexp is `log_prob`."""
        assert self.labels, "a prior with labels"
        with _float32(z):
            u, log_det = self.to_base(z.float())
            log_pu: Tensor = torch.logsumexp(self.mixture(u).view(len(z), self.labels, -1), dim=-1)
            return log_pu + log_det.unsqueeze(-1)

    def draw(self, rows: int, generator: torch.Generator) -> Float[Tensor, "rows latent"]:
        """z of u = m_c + L_c eps, c by the weights of the mixture."""
        weights, _, _ = self.mixture.factors()
        chosen = torch.multinomial(weights, rows, replacement=True, generator=generator)
        return self._from_components(chosen, generator)

    def draw_of_labels(
        self, labels: Int64[Tensor, " rows"], generator: torch.Generator
    ) -> Float[Tensor, "rows latent"]:
        """One z of p(z|y) for each label: c by the weights of the label's Gaussians alone."""
        assert self.labels, "a prior with labels"
        weights, _, _ = self.mixture.factors()
        of_label = weights.view(self.labels, -1)
        within = torch.multinomial(of_label[labels], 1, generator=generator).squeeze(1)
        return self._from_components(labels * of_label.shape[1] + within, generator)

    def label_shares(self) -> tuple[float, ...]:
        """p(y) of each label: the weights of its Gaussians together."""
        assert self.labels, "a prior with labels"
        weights, _, _ = self.mixture.factors()
        return tuple(weights.view(self.labels, -1).sum(dim=1).tolist())

    def _from_components(
        self, chosen: Int64[Tensor, " rows"], generator: torch.Generator
    ) -> Float[Tensor, "rows latent"]:
        _, means, cholesky = self.mixture.factors()
        eps = torch.randn(len(chosen), self.latent_size, generator=generator, dtype=torch.float64)
        u = means[chosen] + torch.einsum("nij,nj->ni", cholesky[chosen], eps)
        return self.from_base(u.float().to(self.mixture.means.device))


class Coupling(nn.Module):
    """u = z · exp(s) + t, where s and t of one part of z depend on the other part, which stays.

    Masks instead of slices: the same few operators for any partition, in training and in the exported graph.

    Source:
        Dinh et al. 2016, arXiv:1605.08803, equations 9 (masked convolution replaced by layers) and 7, 8.
    """

    kept: Tensor

    def __init__(self, kept: Float[Tensor, " latent"], hidden_width: int) -> None:
        """`kept` is 1 for latents that stay and 0 for those that change."""
        super().__init__()
        size = len(kept)
        # A constant of the class's own arithmetic, and no weight.
        self.register_buffer("kept", kept, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(size, hidden_width),
            nn.SiLU(),
            nn.Linear(hidden_width, hidden_width),
            nn.SiLU(),
            nn.Linear(hidden_width, 2 * size),
        )
        last = cast(nn.Linear, self.layers[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self, z: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, " batch"]]:
        """u and log|det ∂u/∂z| = Σ s."""
        log_scale, shift = self.scale_and_shift(z)
        return z * torch.exp(log_scale) + shift, log_scale.sum(dim=-1)

    def inverse(self, u: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """z = (u - t) · exp(-s): the kept part of u is that of z, so s and t are the same."""
        log_scale, shift = self.scale_and_shift(u)
        return (u - shift) * torch.exp(-log_scale)

    def scale_and_shift(
        self, z: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """s, within ±`_MAX_LOG_SCALE`, and t: both 0 where `kept` is 1, and functions of the kept part."""
        raw, shift = self.layers(z * self.kept).chunk(2, dim=-1)
        changed = 1.0 - self.kept
        return changed * (_MAX_LOG_SCALE * torch.tanh(raw / _MAX_LOG_SCALE)), changed * shift


class GaussianMixture(nn.Module):
    """Σ_c w_c N(m_c, Σ_c), with the factor R_c of the precision as parameter: Σ_c⁻¹ = R_cᵀ R_c.

    R_c is lower triangular with the diagonal exp(`log_diagonal`). A density then needs products only.
    """

    def __init__(self, latent_size: int, components: int) -> None:
        """Every Gaussian near N(0, I), with equal weights."""
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(_INITIAL_SPREAD * torch.randn(components, latent_size))
        self.log_diagonal = nn.Parameter(torch.zeros(components, latent_size))
        self.lower = nn.Parameter(torch.zeros(components, latent_size, latent_size))

    def forward(self, u: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch component"]:
        """log w_c + log N(u; m_c, Σ_c) of each component."""
        factor = self._factor()
        components, size, _ = factor.shape
        # One product for all components: R_c u - R_c m_c.
        whitened = (u @ factor.reshape(components * size, size).T).view(-1, components, size)
        centred = whitened - torch.einsum("cij,cj->ci", factor, self.means)
        constant = (
            torch.log_softmax(self.logits, dim=0) + self.log_diagonal.sum(dim=-1) - 0.5 * size * LOG_2PI
        )
        log_p: Tensor = constant - 0.5 * centred.square().sum(dim=-1)
        return log_p

    def factors(
        self,
    ) -> tuple[
        Float64[Tensor, " component"],
        Float64[Tensor, "component latent"],
        Float64[Tensor, "component latent latent"],
    ]:
        """Weights, means and lower triangular factors L_c = R_c⁻¹ of the covariances."""
        with torch.no_grad():
            factor = self._factor().double().cpu()
            unit = torch.eye(factor.shape[-1], dtype=torch.float64).expand_as(factor)
            cholesky = torch.linalg.solve_triangular(factor, unit, upper=False)
            weights = torch.softmax(self.logits.double().cpu(), dim=0)
            return weights, self.means.double().cpu(), cholesky

    def _factor(self) -> Float[Tensor, "component latent latent"]:
        return torch.tril(self.lower, diagonal=-1) + torch.diag_embed(torch.exp(self.log_diagonal))


def _mask(size: int, number: int) -> Float[Tensor, " latent"]:
    """The latents that coupling `number` keeps: those whose number has a 1 in some binary digit, or a 0.

    Any two numbers differ in a digit. So, after two couplings for each digit, every latent has depended on
    every other.
    """
    digits = max(1, math.ceil(math.log2(size)))
    # The highest digit first: halves, then quarters.
    digit = digits - 1 - (number // 2) % digits
    of_digit = (torch.arange(size) >> digit) % 2
    return (of_digit == number % 2).float()


def _float32(z: Tensor) -> torch.autocast:
    """No autocast: bfloat16 has two to three digits, and a log density of 45 nats needs five."""
    return torch.autocast(z.device.type, enabled=False)


def label_nll(
    prior: LabelledPrior, z: Float[Tensor, "draw latent"], labels: Int64[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """-log p(y|z) of each example, the mean over its draws, in nats.

    Args:
        prior: One with labels.
        z: As many draws for each example, those of one example adjacent.
        labels: Number of each example's label.
    """
    draws = len(z) // len(labels)
    joint = prior.log_prob_by_label(z)
    log_py_z = torch.log_softmax(joint, dim=-1).gather(1, labels.repeat_interleave(draws).unsqueeze(-1))
    return -log_py_z.view(len(labels), draws).mean(dim=1)
