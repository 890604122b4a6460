"""Which latents move with the image.

Knows moments of posteriors. Knows nothing of models or images.
"""

from __future__ import annotations

from jaxtyping import Bool, Float64
from torch import Tensor

#: A latent is active when the variance of its posterior mean over the data exceeds this
#: (Burda et al. 2015, arXiv:1509.00519, section 5.2), as a share of the latent's own variance.
ACTIVE_VARIANCE = 0.01


def active_latents(
    mu: Float64[Tensor, "n latent"],
    variance: Float64[Tensor, " latent"],
    *,
    unit_variance: bool,
) -> Bool[Tensor, " latent"]:
    """Whether the posterior mean of each latent moves with the image.

    N(0, I) makes every latent's variance 1, and so the threshold is a share of it. A learned prior fixes no
    scale: the same model exists with every latent halved. There the threshold is a share of the variance that
    the latent has over images and draws, Var(mu) + E[sigma²], which does not change with the scale.

    Args:
        mu: Means of the posteriors.
        variance: Mean over images of the posterior's variance, sigma².
        unit_variance: Whether the prior of every latent is N(0, 1).
    """
    moved = mu.var(dim=0, correction=0)
    return moved > (ACTIVE_VARIANCE if unit_variance else ACTIVE_VARIANCE * (moved + variance))


def active_protocol(*, unit_variance: bool) -> str:
    """The rule in words, for the protocol of a figure."""
    of = "" if unit_variance else " of the latent's variance, Var(mu) + E[sigma²]"
    return f"variance of the posterior mean above {ACTIVE_VARIANCE}{of} (arXiv:1509.00519, section 5.2)"
