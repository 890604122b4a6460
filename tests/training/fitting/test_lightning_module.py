"""One step: what the encoder sees, how the learning rate runs, how far a gradient may reach."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

import pytest
import torch

from training.fitting.fit import fit
from training.fitting.lightning_module import FittingModule
from training.models import build_model


@pytest.fixture
def module_of(tiny):
    def make(*, steps_per_epoch=50, **sections):
        config = tiny(**sections)
        return FittingModule(build_model(config.model, (1, 28, 28)), config, steps_per_epoch=steps_per_epoch)

    return make


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.7, 1.0])
def test_the_stated_share_of_a_batch_is_seen_grey(module_of, fraction):
    module = module_of(data={"grey_fraction": fraction})
    binary, grey = torch.ones(4000, 1, 2, 2), torch.full((4000, 1, 2, 2), 0.5)
    seen = module._partly_grey(binary, grey, step=3).flatten(start_dim=1)
    is_grey = (seen == 0.5).all(dim=1)
    assert torch.equal(is_grey, (seen == 0.5).any(dim=1)), "an image is seen one way as a whole"
    share = is_grey.float().mean().item()
    # Four standard deviations of a share among 4,000; none at the ends.
    assert share == pytest.approx(fraction, abs=4 * (fraction * (1 - fraction) / 4000) ** 0.5 + 1e-6)


def test_learning_rate_rises_linearly_then_falls_as_half_a_cosine_to_the_last_step(module_of):
    """20 epochs of 50 steps: 100 to warm up, 900 to fall, half of that way at step 550."""
    rate = module_of(
        optimiser={"warmup_steps": 100, "final_fraction": 0.2}, trainer={"epochs": 20}
    )._learning_rate_fraction
    assert [rate(0), rate(49), rate(99), rate(100)] == pytest.approx([0.01, 0.5, 1.0, 1.0])
    assert rate(325) == pytest.approx(0.2 + 0.8 * (0.5 + 0.5 * 2**-0.5))
    assert rate(550) == pytest.approx(0.6)
    assert rate(1000) == pytest.approx(0.2)


def test_a_gradient_is_scaled_to_the_stated_norm_as_a_whole(
    tiny, digits, tmp_path, console, no_pictures, monkeypatch
):
    norms = []
    original = torch.optim.AdamW.step

    def noting(self, closure=None):
        def clipped():
            loss = closure()
            gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
            norms.append(torch.linalg.vector_norm(torch.cat(gradients)).item())
            return loss

        return original(self, clipped)

    monkeypatch.setattr(torch.optim.AdamW, "step", noting)
    fit(tiny(optimiser={"gradient_clip_norm": 0.5}), digits, tmp_path / "run", console=console)
    assert norms == pytest.approx([0.5] * 18, rel=1e-3)


@pytest.mark.parametrize(("part", "first"), [(1.0, 0), (0.35, 650), (0.25, 750)])
def test_several_samples_are_drawn_in_the_last_part_of_the_training(module_of, part, first):
    """20 epochs of 50 steps."""
    samples = module_of(
        objective={"importance_samples": 3, "importance_part": part}, trainer={"epochs": 20}
    ).samples
    assert [samples(step) for step in range(1000)] == [1] * first + [3] * (1000 - first)
