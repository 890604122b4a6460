"""The shapes in signatures are held while tests run; these tests prove that the checking is on."""

from __future__ import annotations

import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

import training
from training.models.likelihoods import Bernoulli
from training.models.posterior import DiagonalGaussian
from training.objectives.elbo import ObjectiveTerms


def test_a_posterior_whose_parts_differ_in_shape_is_refused():
    with pytest.raises(jaxtyping.TypeCheckError, match="logvar"):
        DiagonalGaussian(mu=torch.zeros(2, 3), logvar=torch.zeros(2, 4))


def test_a_likelihood_asked_about_another_image_shape_is_refused():
    """Without the check this would broadcast and give a number."""
    with pytest.raises(jaxtyping.TypeCheckError, match="params"):
        Bernoulli().log_prob(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 1, 4))


def test_a_cost_that_was_averaged_over_the_batch_is_refused():
    with pytest.raises(jaxtyping.TypeCheckError):
        ObjectiveTerms(reconstruction_nll=torch.zeros(5), kl=torch.tensor(1.0), beta=1.0)


def test_every_module_that_states_shapes_is_checked():
    """A new module with shapes must be named in `tests/conftest.py`, or its shapes are prose."""
    conftest = (Path(__file__).parents[1] / "conftest.py").read_text(encoding="utf-8")
    root = Path(training.__file__).parent
    for source in root.rglob("*.py"):
        if "from jaxtyping import" not in source.read_text(encoding="utf-8"):
            continue
        parts = ["training", *source.relative_to(root).with_suffix("").parts]
        named = [".".join(parts[:length]) for length in range(2, len(parts) + 1)]
        assert any(f'"{name}"' in conftest for name in named), f"{source.name} is not in SHAPED"
    assert "training.models.posterior" in sys.modules
