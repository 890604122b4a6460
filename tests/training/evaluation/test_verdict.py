"""The advice at the end of a command follows the gravest fault of the model."""

from __future__ import annotations

import pytest

from training.evaluation.verdict import reason_against_publishing

SHAPE = (1, 28, 28)
SOUND = {
    "negative_elbo": 95.0,
    "reconstruction_nll": 75.0,
    "kl": 20.0,
    "reconstruction_rmse": 0.10,
    "mean_image_rmse": 0.26,
    "pca_rmse": 0.12,
    "nll_of_mean_image": 206.0,
}


def test_a_sound_model_has_no_reason_against_it() -> None:
    assert reason_against_publishing(SOUND, image_shape=SHAPE, steps=1000) == ""
    assert reason_against_publishing({**SOUND, "active_units": 3.0}, image_shape=SHAPE) == "", "dead units"
    of_an_autoencoder = {name: SOUND[name] for name in ("reconstruction_nll", "reconstruction_rmse")}
    assert reason_against_publishing(of_an_autoencoder) == "", "figures of an earlier version"


@pytest.mark.parametrize(
    ("changed", "steps", "words", "remedy"),
    [
        ({"kl": 0.2}, 1000, "posterior collapse", "Lower objective.beta or optimiser.learning_rate"),
        ({"kl": 0.2}, None, "posterior collapse", "train in another --out"),
        ({"kl": 0.2}, 20, "after 20 steps", "--resume --set trainer.epochs=N"),
        ({"kl": 8e6}, 1000, "the codes diverge: KL 8,000,000 nats", "Raise objective.beta"),
        ({"negative_elbo": 300.0}, 1000, "no better than their mean image", "Train for longer"),
        ({"reconstruction_rmse": 0.13}, 1000, "principal components", "widen the layers"),
    ],
)
def test_each_grave_fault_names_what_to_change(changed, steps, words, remedy) -> None:
    reason = reason_against_publishing({**SOUND, **changed}, image_shape=SHAPE, steps=steps)
    assert words in reason
    assert remedy in reason


def test_an_autoencoder_that_returns_the_mean_image_has_collapsed() -> None:
    values = {"reconstruction_nll": 200.0, "reconstruction_rmse": 0.2599, "mean_image_rmse": 0.26}
    assert "every reconstruction is the mean image" in reason_against_publishing(values)


def test_the_gravest_fault_comes_first() -> None:
    bad = {**SOUND, "kl": 0.1, "negative_elbo": 300.0, "reconstruction_rmse": 0.3}
    assert "posterior collapse" in reason_against_publishing(bad, image_shape=SHAPE, steps=500)
    assert "codes diverge" in reason_against_publishing({**bad, "kl": 8e6}, image_shape=SHAPE, steps=500)
