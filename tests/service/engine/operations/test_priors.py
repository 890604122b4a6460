"""Priors: which density is drawn from, the right distribution, and the same z for ever."""

from __future__ import annotations

import asyncio
import hashlib
import math
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from direct import directly, load
from engine_models import LATENT, SHAPE, images
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import slowness
from tiny_models import TinyModel
from tiny_priors import fitted_prior, mixture, only

from model_store import GaussianMixture, PublishedModel
from service.engine import (
    LARGEST_SEED,
    InvalidInput,
    LabelNotApplicable,
    LoadedModel,
    NoPrior,
    UnknownLabel,
    WorkerPool,
    decode,
    reconstruct,
    sample,
    sample_in_parts,
)
from service.engine.operations import priors
from service.engine.operations.noise import standard_normal, uniform
from service.engine.operations.priors import Mixture
from service.engine.operations.validation import LATENT_BOUND

from .test_noise import philox4x64

#: By hand, with numbers that float32 holds exactly.
BY_HAND = GaussianMixture(
    weights=np.array([0.5, 0.25, 0.25]),
    means=np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 4.0], [-3.0, 2.0, -1.0]], np.float32),
    cholesky=np.array(
        [
            [[0.5, 0, 0], [0.25, 0.75, 0], [-0.5, 0.125, 0.25]],
            [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]],
            [[0.125, 0, 0], [0.5, 0.5, 0], [0.25, -0.25, 2.0]],
        ],
        np.float32,
    ),
)
#: Recorded when the scheme was made. If this test fails, every seed that anyone wrote down draws another
#: image: change the code, not the numbers.
RECORDED = {
    (0, 0): ("-0x1.a459a4p+1", "0x1.06db92p-1", "-0x1.ea5116p+1"),
    (1, 0): ("0x1.7c5fa0p-1", "-0x1.5af8c0p+0", "0x1.4443b2p-1"),
    (7, 3): ("0x1.daaeecp-1", "-0x1.46c120p+0", "0x1.92cb7cp-1"),
    (LARGEST_SEED, 1000): ("-0x1.8b32a2p+1", "0x1.48ac3ap+0", "0x1.6908b0p-1"),
    (123456789, 31): ("0x1.b651d6p-1", "0x1.5086b0p-1", "0x1.77d8d4p+1"),
}
RECORDED_DIGEST = "06ff991842cf5b7afd3098246ba6562ca49bf0518015228b0c89672bae6e298e"


@pytest.fixture(scope="module")
def with_prior(tiny: TinyModel, published: Callable[..., PublishedModel]) -> LoadedModel:
    """The tiny model with mixtures of all images and of the labels 0, 1 and 7, which lie far apart."""
    return load(published(tiny, fitted=fitted_prior(LATENT)), max_batch=200)


def draw(density: Mixture, *, seed: int, rows: int, first_row: int = 0, temperature: float = 1.0):
    return density.draw(seed=seed, first_row=first_row, rows=rows, temperature=temperature)


def by_the_book(numbers: GaussianMixture, *, seed: int, row: int, temperature: float) -> list[float]:
    """One z in plain Python: nothing of NumPy's but the final rounding to float32, and the noise itself."""
    word = philox4x64(row + 1, seed + 2**64)[0]
    u = ((word >> 12) + 0.5) / 2**52
    component, passed = 0, float(numbers.weights[0])
    while u >= passed and component < len(numbers.weights) - 1:
        component += 1
        passed += float(numbers.weights[component])
    size = numbers.means.shape[1]
    eps = [float(e) for e in standard_normal(seed=seed, first_row=row, rows=1, size=size)[0]]
    z = []
    for mean, factors in zip(numbers.means[component], numbers.cholesky[component], strict=True):
        total = 0.0
        for factor, e in zip(factors, eps, strict=True):
            total += float(factor) * e
        z.append(float(np.float32(float(mean) + temperature * total)))
    return z


# The same for ever


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("seed", [0, 1, 7, LARGEST_SEED])
def test_z_is_what_the_formula_gives_in_plain_python_bit_for_bit(seed: int, temperature: float) -> None:
    numbers = mixture(latent_size=13, components=5, seed=3)
    got = draw(Mixture(numbers, label=None), seed=seed, rows=40, temperature=temperature)
    expected = [by_the_book(numbers, seed=seed, row=row, temperature=temperature) for row in range(40)]
    assert got.tolist() == expected


def test_the_same_seed_gives_the_numbers_it_gave_when_it_was_recorded() -> None:
    density = Mixture(BY_HAND, label=None)
    for (seed, row), expected in RECORDED.items():
        got = draw(density, seed=seed, rows=1, first_row=row)[0]
        assert got.tolist() == [float.fromhex(value) for value in expected]
    block = draw(Mixture(mixture(latent_size=33, components=7, seed=1), label=None), seed=2024, rows=2000)
    assert hashlib.sha256(block.astype("<f4").tobytes()).hexdigest() == RECORDED_DIGEST


@settings(deadline=None)
@given(
    seed=st.integers(0, LARGEST_SEED),
    size=st.integers(1, 40),
    first=st.integers(0, 500),
    rows=st.integers(1, 150),
    data=st.data(),
)
def test_a_row_does_not_depend_on_what_is_drawn_with_it(seed, size, first, rows, data) -> None:
    density = Mixture(mixture(latent_size=size, components=4, seed=0), label=None)
    together = draw(density, seed=seed, rows=rows, first_row=first)
    row = data.draw(st.integers(0, rows - 1))
    assert together[row].tobytes() == draw(density, seed=seed, rows=1, first_row=first + row)[0].tobytes()


@pytest.mark.parametrize("many_rows", [1, 17, 1000])
@pytest.mark.parametrize("most", [1, 40, 1000, 10_000, 100_000])
def test_how_much_is_computed_at_a_time_and_how_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch, most: int, many_rows: int
) -> None:
    numbers = mixture(latent_size=20, components=4, seed=0)
    before = draw(Mixture(numbers, label=None), seed=5, rows=70)
    for name in ("_MAX_PRODUCTS", "_MAX_IN_COLUMNS"):
        monkeypatch.setattr(priors, name, most)
    monkeypatch.setattr(priors, "_MANY_ROWS", many_rows)
    assert draw(Mixture(numbers, label=None), seed=5, rows=70).tobytes() == before.tobytes()


def test_both_priors_use_the_same_noise() -> None:
    """One Gaussian of mean 0 and covariance I is the standard prior itself, to the bit."""
    unit = GaussianMixture(np.ones(1), np.zeros((1, 9), np.float32), np.eye(9, dtype=np.float32)[np.newaxis])
    drawn = draw(Mixture(unit, label=None), seed=11, rows=50)
    np.testing.assert_array_equal(drawn, standard_normal(seed=11, first_row=0, rows=50, size=9))


def test_the_number_that_chooses_comes_from_a_stream_of_the_paper_that_no_noise_uses() -> None:
    for seed in (0, 3, LARGEST_SEED):
        words = [philox4x64(row + 1, seed + 2**64)[0] for row in (0, 1, 500)]
        got = [float(uniform(seed=seed, first_row=row, rows=1)[0]) for row in (0, 1, 500)]
        assert got == [((word >> 12) + 0.5) / 2**52 for word in words]
    numbers = uniform(seed=4, first_row=0, rows=20_000)
    eps = standard_normal(seed=4, first_row=0, rows=20_000, size=8)
    correlations = [np.corrcoef(numbers, eps[:, i])[0, 1] for i in range(8)]
    assert max(map(abs, correlations)) < 5 / math.sqrt(20_000)
    ordered = np.sort(numbers)
    distance = np.abs(ordered - (np.arange(20_000) + 0.5) / 20_000).max()
    assert distance < 1.63 / math.sqrt(20_000), "beyond the 1 % point of the Kolmogorov distribution"


# The right distribution


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_20_000_samples_have_the_mean_and_covariance_of_the_mixture(temperature: float) -> None:
    """Closed form: mean Σ w m, covariance Σ w (t² L Lᵀ + m mᵀ) - mean meanᵀ."""
    numbers = mixture(latent_size=5, components=4, seed=8)
    z = draw(Mixture(numbers, label=None), seed=3, rows=20_000, temperature=temperature).astype(np.float64)
    w, m, factor = numbers.weights, numbers.means.astype(np.float64), numbers.cholesky.astype(np.float64)
    mean = w @ m
    within = temperature**2 * np.einsum("k,kij,klj->il", w, factor, factor)
    covariance = within + np.einsum("k,ki,kj->ij", w, m, m) - np.outer(mean, mean)
    std = np.sqrt(np.diag(covariance))
    assert (np.abs(z.mean(axis=0) - mean) < 4.5 * std / math.sqrt(len(z))).all()
    centred = z - mean
    for i in range(5):
        for j in range(5):
            products = centred[:, i] * centred[:, j]
            error = products.std() / math.sqrt(len(z))
            assert abs(products.mean() - covariance[i, j]) < 4.5 * error, (i, j)


def test_components_come_as_often_as_their_weights_say() -> None:
    far = GaussianMixture(
        np.array([0.6, 0.3, 0.1]),
        np.array([[-100.0], [0.0], [100.0]], np.float32),
        np.ones((3, 1, 1), np.float32),
    )
    z = draw(Mixture(far, label=None), seed=0, rows=20_000)[:, 0]
    for weight, centre in zip(far.weights, (-100, 0, 100), strict=True):
        share = (np.abs(z - centre) < 50).mean()
        assert abs(share - weight) < 4 * math.sqrt(weight * (1 - weight) / len(z))


def test_one_component_is_normal_along_every_direction() -> None:
    numbers = mixture(latent_size=3, components=1, seed=2)
    z = draw(Mixture(numbers, label=None), seed=6, rows=20_000).astype(np.float64)
    whitened = np.linalg.solve(numbers.cholesky[0].astype(np.float64), (z - numbers.means[0]).T)
    cdf = np.vectorize(statistics.NormalDist().cdf)
    for values in whitened:
        distance = np.abs(cdf(np.sort(values)[::20]) - np.arange(20_000)[::20] / 20_000).max()
        assert distance < 1.63 / math.sqrt(20_000)


def test_temperature_scales_around_the_mean_of_the_component() -> None:
    density = Mixture(BY_HAND, label=None)
    cold, half, one = (draw(density, seed=9, rows=300, temperature=t) for t in (0.0, 0.5, 1.0))
    means = {tuple(mean) for mean in BY_HAND.means.tolist()}
    assert {tuple(row) for row in cold.tolist()} == means
    np.testing.assert_allclose(half - cold, 0.5 * (one - cold), atol=1e-6)


def test_no_draw_leaves_what_a_decoder_takes() -> None:
    edge = GaussianMixture(
        np.ones(1),
        np.full((1, 2), 10_000.0, np.float32),
        np.array([[[10_000.0, 0], [10_000.0, 10_000.0]]], np.float32),
    )
    z = draw(Mixture(edge, label=None), seed=1, rows=1000, temperature=10.0)
    assert np.isfinite(z).all()
    assert np.abs(z).max() == LATENT_BOUND


# Which one is drawn from


def test_the_best_prior_is_the_default_and_every_answer_says_which(
    loaded: LoadedModel, with_prior: LoadedModel
) -> None:
    assert (directly(sample, loaded, seed=1).prior, directly(sample, loaded, seed=1).label) == (
        "standard",
        None,
    )
    fitted = directly(sample, with_prior, n=3, seed=1)
    assert (fitted.prior, fitted.label) == ("fitted", None)
    assert fitted.z.tobytes() == directly(sample, with_prior, n=3, seed=1, prior="fitted").z.tobytes()
    assert fitted.x_hat.tobytes() == directly(decode, with_prior, fitted.z).tobytes()
    standard = directly(sample, with_prior, n=3, seed=1, prior="standard")
    assert (standard.prior, standard.label) == ("standard", None)
    assert standard.x_hat.tobytes() == directly(sample, loaded, n=3, seed=1).x_hat.tobytes()


def test_a_label_draws_from_its_own_mixture(with_prior: LoadedModel) -> None:
    """The means of label number i lie about 10 i in every direction."""
    assert with_prior.labels == ("0", "1", "7")
    for number, label in enumerate(with_prior.labels, start=1):
        drawn = directly(sample, with_prior, n=200, seed=3, label=label)
        assert (drawn.prior, drawn.label) == ("fitted", label)
        assert abs(drawn.z.mean() - 10 * number) < 4
        assert (
            drawn.z.tobytes()
            == directly(sample, with_prior, n=200, seed=3, label=label, prior="fitted").z.tobytes()
        )


def test_a_version_without_labels_has_none(tiny: TinyModel, published) -> None:
    model = load(published(tiny, fitted=only(mixture(latent_size=LATENT, components=2, seed=0))))
    assert model.labels == ()
    with pytest.raises(UnknownLabel, match="none: the fitted images had no labels"):
        directly(sample, model, label="7")


def test_what_is_not_there_is_refused_with_what_there_is(
    loaded: LoadedModel, with_prior: LoadedModel
) -> None:
    wrong: list[dict[str, Any]] = [{"prior": "fitted"}, {"label": "7"}, {"prior": "fitted", "label": "7"}]
    for arguments in wrong:
        with pytest.raises(NoPrior, match=r"with the prior 'fitted', got one with standard\. Leave prior"):
            directly(sample, loaded, **arguments)
    with pytest.raises(UnknownLabel) as caught:
        directly(sample, with_prior, label="<script>")
    assert caught.value.expected == "one of [0, 1, 7]"
    assert caught.value.got == "`<script>`"
    for model in (loaded, with_prior):
        with pytest.raises(LabelNotApplicable, match="prior=standard"):
            directly(sample, model, label="7", prior="standard")


def test_many_labels_are_told_in_part(tiny: TinyModel, published) -> None:
    labels = {f"class number {number}": 1 for number in range(100)}
    model = load(published(tiny, fitted=fitted_prior(LATENT, labels=labels)))
    with pytest.raises(UnknownLabel, match="class number 19 and 80 more") as caught:
        directly(sample, model, label="8")
    assert len(str(caught.value)) < 700


def test_an_autoencoder_is_sampled_from_a_fitted_prior_and_from_nothing_else(published) -> None:
    """Ghosh et al. 2019, arXiv:1903.12436, section 4: a density fitted to the codes makes it one."""
    auto = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, kind="ae")
    model = load(published(auto, fitted=fitted_prior(LATENT)))
    drawn = directly(sample, model, n=4, seed=2)
    assert drawn.prior == "fitted"
    np.testing.assert_allclose(drawn.x_hat, auto.decode(drawn.z), atol=1e-6)
    with pytest.raises(NoPrior, match="with the prior 'standard', got one with fitted"):
        directly(sample, model, prior="standard")
    with pytest.raises(NoPrior, match="expected a variational autoencoder"):
        directly(reconstruct, model, images(1), sample=True)


def test_numbers_are_checked_for_both_priors(with_prior: LoadedModel) -> None:
    wrong: list[dict[str, Any]] = [{"n": 0}, {"n": 201}, {"seed": -1}, {"temperature": 11}]
    for arguments in wrong:
        for prior in ("standard", "fitted"):
            with pytest.raises(InvalidInput):
                directly(sample, with_prior, prior=prior, **arguments)


@pytest.mark.parametrize("choice", [{}, {"prior": "standard"}, {"label": "7"}], ids=str)
def test_a_long_answer_holds_what_a_short_one_holds(tiny: TinyModel, published, choice) -> None:
    async def test() -> None:
        worker_pool = WorkerPool(1)
        try:
            model = load(published(tiny, fitted=fitted_prior(LATENT)), worker_pool=worker_pool)
            parts = sample_in_parts(model.queued, n=150, max_images=1000, seed=4, temperature=0.9, **choice)
            whole = np.concatenate([images async for images in parts.images])
            drawn = await sample(model.queued, n=150, seed=4, temperature=0.9, **choice)
            assert whole.tobytes() == drawn.x_hat.tobytes()
            assert (parts.prior, parts.label) == (drawn.prior, drawn.label)
        finally:
            worker_pool.close()

    asyncio.run(test())


def test_hundreds_of_rows_take_less_than_a_millisecond() -> None:
    """About half a millisecond for 256 rows of 32 latents; the bar leaves room for a busy machine."""
    density = Mixture(mixture(latent_size=32, components=10, seed=0), label=None)
    times = []
    for _ in range(5):
        started = time.thread_time()
        draw(density, seed=1, rows=256)
        times.append(time.thread_time() - started)
    assert min(times) < 0.02 * slowness()


def test_memory_does_not_grow_with_the_rows_of_a_large_latent() -> None:
    """200 latents squared are 40,000 products a row: 32 MB for 100 rows, if they were all held at once."""
    density = Mixture(mixture(latent_size=200, components=1, seed=0), label=None)
    draw(density, seed=1, rows=1)
    tracemalloc.start()
    draw(density, seed=1, rows=100)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2_000_000
