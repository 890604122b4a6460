"""score against linear models solved exactly; its seeds, its company, and what it refuses."""

from __future__ import annotations

import asyncio
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from direct import directly, load
from engine_models import LATENT, SHAPE, images
from linear_gaussian import LinearGaussian, orthogonal, skewed
from tiny_models import TinyModel

from model_store import ModelStore
from service.engine import (
    Call,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    InvalidParameter,
    LoadedModel,
    NoDensity,
    Scores,
    WorkerPool,
    encode,
    reconstruct,
    sample,
    score,
)
from service.engine.observer import Unobserved
from service.engine.operations.noise import Place, uniform_of


def binary(count: int) -> np.ndarray:
    return (images(count) < 0.4).astype(np.float32)


def grey(count: int, model: LinearGaussian) -> np.ndarray:
    """Images about as the model draws them."""
    rng = np.random.default_rng(6)
    z = rng.standard_normal((count, model.weight.shape[1]))
    x = z @ model.weight.T + model.bias + model.sigma * rng.standard_normal((count, len(model.bias)))
    return np.clip(x, 0.0, 1.0).astype(np.float32).reshape(count, 1, 3, 4)


def load_published(model: LinearGaussian, folder: Path) -> LoadedModel:
    store = ModelStore(folder)
    return load(store.open(model.publish(store)))


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> tuple[LinearGaussian, LoadedModel]:
    """Its posterior is the true one."""
    model = LinearGaussian(orthogonal())
    return model, load_published(model, tmp_path_factory.mktemp("exact"))


@pytest.fixture(scope="module")
def inexact(tmp_path_factory) -> tuple[LinearGaussian, LoadedModel]:
    model = LinearGaussian(skewed(), logvar_error=0.3)
    return model, load_published(model, tmp_path_factory.mktemp("inexact"))


@pytest.mark.parametrize("samples", [1, 3, 50])
def test_an_exact_posterior_gives_the_exact_likelihood_with_any_k(exact, samples):
    """All importance weights are then equal: p(x|z) p(z) / q(z|x) = p(x) for every z."""
    model, loaded = exact
    x = grey(40, model)
    scores = directly(score, loaded, x, importance_samples=samples, seed=1)
    np.testing.assert_allclose(scores.log_px, model.log_px(x.astype(np.float64)), atol=2e-4)


def test_both_bounds_lie_below_the_exact_likelihood_and_come_to_it_as_k_rises(inexact):
    model, loaded = inexact
    x = grey(60, model)
    exact = model.log_px(x.astype(np.float64)).mean()
    bounds = [directly(score, loaded, x, seed=0).elbo.mean()]
    bounds += [
        directly(score, loaded, x, seed=0, importance_samples=k, max_draws=1 << 20).log_px.mean()
        for k in (4, 32, 2000)
    ]
    assert bounds == sorted(bounds)
    assert bounds[0] < exact - 0.2
    assert bounds[-1] == pytest.approx(exact, abs=0.02)


def test_the_terms_of_the_bound_agree_with_their_closed_forms(inexact):
    model, loaded = inexact
    x = grey(60, model)
    scores = directly(score, loaded, x, seed=5)
    np.testing.assert_allclose(scores.kl, model.kl(x.astype(np.float64)), rtol=1e-5)
    draws = np.stack([directly(score, loaded, x, seed=seed).reconstruction_nll for seed in range(40)])
    error = (draws - model.expected_reconstruction_nll(x.astype(np.float64))).mean(axis=1)
    assert abs(error.mean()) < 4 * error.std() / math.sqrt(len(error))
    assert draws.std(axis=0).mean() > 0.1  # one draw, not the closed form again
    np.testing.assert_array_equal(scores.elbo, -(scores.reconstruction_nll + scores.kl))


def test_one_importance_sample_is_an_estimate_of_the_elbo(inexact):
    """E log w = ELBO."""
    model, loaded = inexact
    x = grey(200, model)
    scores = directly(score, loaded, x, seed=3, importance_samples=1)
    expected = -(model.expected_reconstruction_nll(x.astype(np.float64)) + model.kl(x.astype(np.float64)))
    difference = scores.log_px - expected
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))


def test_bits_per_dim_are_nats_over_pixels_and_ln_2(exact):
    model, loaded = exact
    scores = directly(score, loaded, grey(2, model), seed=0)
    np.testing.assert_allclose(scores.bits_per_dim(scores.elbo), -scores.elbo / (12 * math.log(2)))


def figures(scores: Scores) -> tuple[bytes, ...]:
    return tuple(
        values.tobytes()
        for values in (scores.reconstruction_nll, scores.kl, scores.log_px)
        if values is not None
    )


def test_the_figures_of_an_image_do_not_depend_on_those_beside_it(any_model: LoadedModel):
    x = images(40)
    together = directly(score, any_model, x, seed=9, importance_samples=7)
    for count in (1, 2, 17, 33):
        fewer = directly(score, any_model, x[:count], seed=9, importance_samples=7)
        assert fewer.log_px.tobytes() == together.log_px[:count].tobytes()
        assert fewer.elbo.tobytes() == together.elbo[:count].tobytes()
    others = x.copy()
    others[[0, 2]] = 1.0 - others[[0, 2]]
    changed = directly(score, any_model, others, seed=9, importance_samples=7)
    same = np.flatnonzero(changed.log_px == together.log_px)
    assert same.tolist() == [1, *range(3, 40)]


def test_the_first_draws_are_the_same_for_every_larger_k(inexact):
    """K times the average of K weights: other draws would make it fall as often as rise."""
    model, loaded = inexact
    x = grey(3, model)
    sums = [
        np.exp(directly(score, loaded, x, seed=2, importance_samples=k).log_px) * k
        for k in (1, 2, 63, 64, 65, 66, 200)
    ]
    assert all((later > earlier).all() for earlier, later in itertools.pairwise(sums))
    alone = directly(score, loaded, x[:1], seed=2, importance_samples=66).log_px
    assert alone.tobytes() == directly(score, loaded, x, seed=2, importance_samples=66).log_px[:1].tobytes()


def test_the_same_seed_gives_the_same_figures_and_another_one_others(any_model: LoadedModel):
    x = images(5)
    first = directly(score, any_model, x, seed=4, importance_samples=3)
    assert figures(directly(score, any_model, x, seed=4, importance_samples=3)) == figures(first)
    assert (directly(score, any_model, x, seed=5, importance_samples=3).log_px != first.log_px).all()
    drawn = directly(score, any_model, x)
    assert figures(directly(score, any_model, x, seed=drawn.seed)) == figures(drawn)
    assert directly(score, any_model, x).seed != drawn.seed


def test_asking_for_importance_samples_does_not_move_the_bound(any_model: LoadedModel):
    x = images(4)
    assert directly(score, any_model, x, seed=1).elbo.tobytes() == (
        directly(score, any_model, x, seed=1, importance_samples=9).elbo.tobytes()
    )


def test_images_are_not_scored_better_by_the_seed_that_drew_them(exact):
    """With the noise of `sample`, the draw of the bound would point to the z that an image came from."""
    model, loaded = exact
    z = directly(sample, loaded, n=600, seed=3).z
    noise = np.random.default_rng(0).standard_normal((600, 12))
    x = np.clip(z @ model.weight.T + model.bias + model.sigma * noise, 0, 1).astype(np.float32)
    x = x.reshape(600, 1, 3, 4)
    error = directly(score, loaded, x, seed=3).elbo - model.log_px(x.astype(np.float64))
    assert abs(error.mean()) < 4 * error.std() / math.sqrt(len(error))
    # The twin: that noise would have been noticed.
    posterior = directly(encode, loaded, x)
    shared = posterior.draw(z) @ model.weight.T + model.bias
    residual = (x.reshape(600, -1) - shared) / model.sigma
    log_px_z = -0.5 * (residual**2 + math.log(2 * math.pi)).sum(axis=1) - 12 * math.log(model.sigma)
    biased = log_px_z - model.kl(x.astype(np.float64)) - model.log_px(x.astype(np.float64))
    assert biased.mean() > 8 * biased.std() / math.sqrt(len(biased))


def test_grey_pixels_are_drawn_and_binary_ones_stay(loaded: LoadedModel):
    x = images(3)
    drawn = (uniform_of(seed=7, places=(Place(0, 3, 1),), size=42).reshape(x.shape) < x).astype(np.float32)
    assert 0 < drawn.mean() < 1
    assert figures(directly(score, loaded, x, seed=7, importance_samples=2)) == figures(
        directly(score, loaded, drawn, seed=7, importance_samples=2)
    )
    assert figures(directly(score, loaded, drawn, seed=7, binarise="none")) == figures(
        directly(score, loaded, drawn, seed=7)
    )
    assert directly(score, loaded, x, seed=7).binarise == "dynamic"


def test_a_grey_pixel_has_no_likelihood_and_is_named(loaded: LoadedModel):
    x = binary(3)
    x[1, 0, 2, 5] = 0.5
    with pytest.raises(InvalidInput, match=r"^images\[1\]\[0\]\[2\]\[5\]: expected a pixel that is 0 or 1"):
        directly(score, loaded, x, binarise="none")


def test_a_gaussian_likelihood_takes_grey_pixels_and_binarises_nothing(exact):
    model, loaded = exact
    x = grey(2, model)
    assert directly(score, loaded, x, seed=0).binarise == "none"
    assert figures(directly(score, loaded, x, seed=0, binarise="none")) == figures(
        directly(score, loaded, x, seed=0)
    )
    with pytest.raises(InvalidParameter, match=r"binarise: expected none for 'tiny@1', whose likelihood is"):
        directly(score, loaded, x, binarise="dynamic")


def test_the_mean_of_a_gaussian_is_used_as_it_comes(exact):
    """An image of it is clipped to [0, 1]; a density whose mean were clipped would be another one."""
    model, loaded = exact
    towards = np.sign(model.weight[:, 0])
    x = (0.5 + 0.5 * towards).astype(np.float32).reshape(1, 1, 3, 4)
    mean = model.posterior(x.astype(np.float64))[0] @ model.weight.T + model.bias
    assert mean.min() < -0.1
    assert directly(reconstruct, loaded, x).x_hat.min() == 0.0
    scores = directly(score, loaded, x, seed=0, importance_samples=4)
    np.testing.assert_allclose(scores.log_px, model.log_px(x.astype(np.float64)), atol=2e-4)


def test_an_autoencoder_gives_no_image_a_probability(published):
    plain = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, kind="ae")
    model = load(published(plain))
    with pytest.raises(NoDensity, match=r"model 'tiny@1': .* got an autoencoder, which has no distribution"):
        directly(score, model, images(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"importance_samples": 0}, r"importance_samples: expected an integer from 1 to 50, got 0"),
        ({"importance_samples": True}, r"importance_samples: expected an integer from 1 to 50, got bool"),
        (
            {"importance_samples": 51},
            "importance_samples: expected at most 100 draws for all images together, which is 50 for each of "
            "2, got 51",
        ),
        ({"seed": -1}, "seed: expected an integer from 0"),
        ({"binarise": "threshold"}, "binarise: expected dynamic or none, got str that is neither"),
    ],
    ids=str,
)
def test_numbers_that_do_not_fit_are_refused_by_name(loaded: LoadedModel, arguments, message):
    assert directly(score, loaded, images(2), importance_samples=50, max_draws=100).log_px.shape == (2,)
    with pytest.raises(InvalidInput, match=message):
        directly(score, loaded, images(2), **{"max_draws": 100, **arguments})


def test_images_that_do_not_fit_are_refused_as_everywhere(loaded: LoadedModel):
    with pytest.raises(InvalidInput, match=r"images: .*Add the channel axis"):
        directly(score, loaded, images(2)[:, 0])
    with pytest.raises(InvalidInput, match="expected 1 to 64 rows, got 65 rows"):
        directly(score, loaded, images(65))


def test_a_posterior_of_no_width_fails_and_is_not_answered(published):
    """Golden vectors are finite, so such a model can load; JSON would make null of an infinite score."""
    flat = TinyModel.make(image_shape=SHAPE, latent_size=LATENT)
    flat = replace(flat, w_logvar=np.zeros_like(flat.w_logvar), b_logvar=np.full_like(flat.b_logvar, 1000.0))
    model = load(published(flat))
    with pytest.raises(InferenceFailed):
        directly(score, model, images(1))


async def run_queued(model: LoadedModel, x: np.ndarray, call: Call | None = None) -> Scores:
    return await score(model.queued, x, seed=1, importance_samples=100, call=call)


def test_queues_give_the_figures_of_a_plain_call(tiny: TinyModel, published):
    worker_pool = WorkerPool(2)
    model = load(published(tiny), worker_pool=worker_pool)

    async def together() -> list[Scores]:
        return await asyncio.gather(*(run_queued(model, images(count)) for count in (1, 5, 9)))

    try:
        for scores, count in zip(asyncio.run(together()), (1, 5, 9), strict=True):
            assert figures(scores) == figures(
                directly(score, model, images(count), seed=1, importance_samples=100)
            )
    finally:
        worker_pool.close()


def test_the_deadline_holds_for_all_parts_together(tiny: TinyModel, published):
    """A long answer in parts gives each part its time; a score is one answer."""
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 0.01  # whatever is asked takes time
        return now_s

    class Decoded(Unobserved):
        rows = 0

        def run(self, model: str, file: str, *, rows: int, jobs: int, wait_s: float, run_s: float) -> None:
            self.rows += rows if file == "decoder.onnx" else 0

    worker_pool, decoded = WorkerPool(1, clock=clock), Decoded()
    model = load(published(tiny), worker_pool=worker_pool, observer=decoded)
    try:
        with pytest.raises(DeadlineExceeded):
            asyncio.run(run_queued(model, images(64), Call(deadline_s=1.0)))
    finally:
        worker_pool.close()
    assert 64 + 64 < decoded.rows < 64 * 101
