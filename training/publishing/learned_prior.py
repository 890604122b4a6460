"""The learned prior of a run in its published form: exported, compared, recorded, described.

Knows the order of these steps, and the manifest's entry. The steps are in `training.graphs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from model_store import LearnedPrior as Entry
from model_store import LearnedPriorFiles, PriorGoldenSpec, PriorMixtures, prior_graph_specs
from model_store.manifest import LabelledMixture
from training.config.model_section import LearnedPriorConfig
from training.graphs.parity import BATCH_SIZES, GOLDEN_EXAMPLES
from training.graphs.prior_export import export_prior
from training.graphs.prior_parity import OnnxPrior, PriorParity, check_prior_parity, record_prior_golden
from training.models import LearnedPrior

#: Draws of u for the comparison: different ones in each batch.
_PROBES = sum(BATCH_SIZES)


@dataclass(frozen=True, eq=False)
class ExportedPrior:
    """Everything that a version contains of its learned prior."""

    entry: Entry
    mixtures: PriorMixtures
    files: LearnedPriorFiles
    parity: PriorParity


def export_learned_prior(
    prior: LearnedPrior, config: LearnedPriorConfig, *, label_names: Sequence[str], seed: int
) -> ExportedPrior:
    """Export both directions, and compare them with torch and with each other.

    Args:
        prior: On the CPU, float32.
        config: The recipe's section for it.
        label_names: Name of each label, in the order of the numbers; empty without labels.
        seed: Seed of the draws for the comparison.

    Raises:
        ExportError: A check failed.
    """
    graphs = export_prior(prior)
    runtime = OnnxPrior(sampler=graphs.sampler, density=graphs.density)
    spec = PriorGoldenSpec()
    with torch.inference_mode():
        z = prior.draw(_PROBES, torch.Generator().manual_seed(seed))
        u, _ = prior.to_base(z)
    parity = check_prior_parity(prior, runtime, u=u, spec=spec)
    sampler, density = prior_graph_specs(latent_size=prior.latent_size, opset=graphs.opset)
    entry = Entry(
        components=len(prior.mixture.logits),
        labels=tuple(
            LabelledMixture(label=name, components=config.components, share=share)
            for name, share in zip(label_names, graphs.label_weights, strict=True)
        ),
        sampler=sampler,
        density=density,
        golden=spec,
        protocol=_protocol(config),
        label_draws=config.label_draws,
    )
    golden = record_prior_golden(runtime, u=u[:GOLDEN_EXAMPLES].clone())
    files = LearnedPriorFiles(sampler=graphs.sampler, density=graphs.density, golden=golden)
    return ExportedPrior(entry, graphs.mixtures, files, parity)


def _protocol(config: LearnedPriorConfig) -> str:
    flow = (
        f"{config.couplings} affine couplings (arXiv:1605.08803) between z and u, two hidden layers of "
        f"{config.hidden_width} each"
        if config.couplings
        else "no couplings: u is z"
    )
    mixture = f"{config.components * max(1, config.labels)} Gaussians with full covariances over u"
    labels = (
        f"{config.components} for each label, by -log p(y|z) in the loss with the weight "
        f"{config.label_weight:g}"
        if config.labels
        else "without labels"
    )
    rule = config.label_draws
    draws = (
        f"; a draw of a label is the first of at most {rule.candidates} with p(y|u) of at least "
        f"{rule.probability:g}, or the best"
        if rule is not None
        else ""
    )
    return f"learned with encoder and decoder by the bound itself; {flow}; {mixture}, {labels}{draws}"
