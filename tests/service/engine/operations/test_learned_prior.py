"""A learned prior: what is drawn from it, what is scored with it, and what it excludes."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from direct import directly, load
from tiny_learned import LABELS, SPREAD, TinyLearnedPrior
from tiny_models import TinyModel, publish_tiny

from model_store import LearnedPriorFiles, ModelStore, PublishedModel
from service.engine import (
    Call,
    DeadlineExceeded,
    InvalidParameter,
    LabelNotApplicable,
    LoadedModel,
    ModelRejected,
    NoPrior,
    UnknownLabel,
    WorkerPool,
    decode,
    encode,
    interpolate,
    sample,
    score,
    traverse,
)
from service.engine.observer import Unobserved
from service.engine.operations.noise import Place, standard_normal_of
from service.engine.operations.priors import Mixture
from service.engine.runtime.batch_invariance import BATCH_SIZES

LATENT = 8
PRIOR = TinyLearnedPrior(LATENT)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> PublishedModel:
    store = ModelStore(tmp_path_factory.mktemp("learned"))
    tiny = TinyModel.make(image_shape=(1, 6, 6), latent_size=LATENT, seed=2)
    return store.open(publish_tiny(store, model=tiny, learned=PRIOR))


@pytest.fixture(scope="module")
def model(published) -> LoadedModel:
    return load(published)


def base_draws(*, label: str | None, seed: int, rows: int, temperature: float = 1.0) -> np.ndarray:
    """The u of a seed, from the mixtures alone."""
    whole, *each = PRIOR.mixtures.split(PRIOR.entry)
    mixture = whole if label is None else each[LABELS.index(label)]
    density = Mixture(mixture, label=label)
    return density.draw(seed=seed, first_row=0, rows=rows, temperature=temperature)


@pytest.mark.parametrize("label", [None, *LABELS])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_samples_are_the_mapped_draws_of_the_mixtures(label, temperature, model):
    drawn = directly(sample, model, n=40, seed=5, label=label, temperature=temperature)
    u = base_draws(label=label, seed=5, rows=40, temperature=temperature)
    np.testing.assert_allclose(drawn.z, PRIOR.sample(u), atol=1e-6)
    assert (drawn.prior, drawn.label) == ("learned", label)
    # The images are those of /decode for the same z, to the bit.
    assert directly(decode, model, drawn.z).tobytes() == drawn.x_hat.tobytes()


def test_row_of_a_seed_is_the_same_for_every_number_of_rows(model):
    many = directly(sample, model, n=70, seed=9)
    for n in (1, 2, 17, 69):
        few = directly(sample, model, n=n, seed=9)
        assert few.z.tobytes() == many.z[:n].tobytes()
        assert few.x_hat.tobytes() == many.x_hat[:n].tobytes()


def test_draws_have_the_mean_and_spread_of_their_label(model):
    z = directly(sample, model, n=4000, seed=1, label="shoes").z
    np.testing.assert_allclose(z.mean(axis=0), PRIOR.sample(np.ones(LATENT, np.float32)), atol=0.06)
    np.testing.assert_allclose(z.std(axis=0), 1.5 * SPREAD, atol=0.04)


def test_the_prior_of_the_version_is_the_default_and_the_only_one(model):
    named = directly(sample, model, n=3, seed=4, prior="learned")
    assert directly(sample, model, n=3, seed=4).z.tobytes() == named.z.tobytes()
    for other in ("standard", "fitted"):
        with pytest.raises(NoPrior, match=f"expected prior=learned, or none, got '{other}'"):
            directly(sample, model, n=3, prior=other)
    with pytest.raises(UnknownLabel):
        directly(sample, model, n=3, label="gloves")
    with pytest.raises(LabelNotApplicable):
        directly(sample, model, n=3, label="hats", prior="standard")


def log_q(z: np.ndarray, mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    mu, logvar = mu.astype(np.float64), logvar.astype(np.float64)
    return -0.5 * ((z - mu) ** 2 / np.exp(logvar) + logvar + math.log(2.0 * math.pi)).sum(axis=1)


def test_scores_use_its_density(model):
    """The figures by the formulae in NumPy, at the draws that the seed defines."""
    x = (np.random.default_rng(0).random((5, 1, 6, 6)) < 0.4).astype(np.float32)
    found = directly(score, model, x, importance_samples=3, seed=7)
    q = directly(encode, model, x)
    eps = standard_normal_of(seed=7, places=(Place(0, 5, 2),), size=LATENT)
    z = q.draw(eps)
    entropy = 0.5 * (1.0 + math.log(2.0 * math.pi) + q.logvar.astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(found.kl, -entropy - PRIOR.density(z)[1], atol=1e-4)
    np.testing.assert_allclose(found.elbo, -(found.reconstruction_nll + found.kl))
    for image in range(5):
        eps = standard_normal_of(seed=7, places=(Place(0, 3, 3 + image),), size=LATENT)
        mu, logvar = (np.repeat(each[image : image + 1], 3, axis=0) for each in (q.mu, q.logvar))
        z = (mu + np.exp(0.5 * logvar.astype(np.float64)).astype(np.float32) * eps).astype(np.float32)
        p = directly(decode, model, z).reshape(3, -1).astype(np.float64)
        log_px_z = np.log(np.where(x[image].ravel() > 0.5, p, 1.0 - p)).sum(axis=1)
        weights = log_px_z + PRIOR.density(z)[1] - log_q(z, mu, logvar)
        expected = np.logaddexp.reduce(weights) - math.log(3.0)
        assert found.log_px[image] == pytest.approx(expected, abs=1e-3)


def test_scores_of_an_image_do_not_depend_on_the_others(model):
    x = (np.random.default_rng(1).random((70, 1, 6, 6)) < 0.4).astype(np.float32)
    together = directly(score, model, x, seed=3)
    alone = directly(score, model, x[:1], seed=3)
    assert together.kl[:1].tobytes() == alone.kl.tobytes()
    assert together.elbo[:1].tobytes() == alone.elbo.tobytes()


def test_paths_and_grids_are_straight_in_z(model):
    """An arc keeps the lengths of N(0, I), and quantiles are those of N(0, 1): this prior is neither."""
    ends = np.stack([np.full(LATENT, -1.0, np.float32), np.arange(LATENT, dtype=np.float32)])
    path = directly(interpolate, model, z=ends, steps=3)
    assert path.method == "lerp"
    np.testing.assert_allclose(path.z[1], ends.mean(axis=0))
    assert directly(traverse, model, dims=[0], steps=3).spacing == "linear"
    with pytest.raises(InvalidParameter, match="whose prior is learned"):
        directly(traverse, model, dims=[0], steps=3, spacing="quantile")


@pytest.mark.parametrize(
    ("array", "file"),
    [("z", "prior_sampler.onnx"), ("u", "prior_sampler.onnx"), ("log_pz", "prior_density.onnx")],
)
def test_a_runtime_that_disagrees_with_the_golden_vectors_is_refused(array, file, published):
    files = published.learned_prior
    golden = replace(files.golden, **{array: getattr(files.golden, array) + np.float32(0.01)})
    broken = LearnedPriorFiles(files.sampler, files.density, golden)
    with pytest.raises(ModelRejected, match=file.replace(".", r"\.")):
        load(replace(published, learned_prior=broken))


def test_a_map_that_does_not_come_back_is_refused(published):
    """Samples and scores would belong to different priors."""
    files = published.learned_prior
    other = PRIOR.density_proto()
    (shift,) = [each for each in other.graph.initializer if each.name == "shift"]
    shift.raw_data = np.array([0.26], np.float32).tobytes()
    broken = LearnedPriorFiles(files.sampler, other.SerializeToString(), files.golden)
    with pytest.raises(ModelRejected, match=r"'u': expected at most 0\.0001"):
        load(replace(published, learned_prior=broken))


def test_sampler_runs_in_batches(published, monkeypatch):
    """However long a row takes on a busy machine."""
    monkeypatch.setattr("service.engine.runtime.batch_invariance._SLOW_ROW_S", math.inf)
    sizes = load(published).batch_sizes
    assert sizes["prior_sampler.onnx"] == sizes["decoder.onnx"] == BATCH_SIZES
    assert sizes["prior_density.onnx"][-1] == 1


class Seen(Unobserved):
    """The graphs that ran, and on how many rows."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()

    def run(self, model: str, graph: str, *, rows: int, **_: Any) -> None:
        self.rows[graph] += rows


@pytest.mark.parametrize("quantum_s", [0.0, 100.0], ids=["two runs", "one run"])
def test_samples_are_the_same_in_one_run_and_in_two(published, monkeypatch, quantum_s):
    """Of many rows, all are mapped before they are decoded: in slices of both, they took a quarter longer."""
    monkeypatch.setattr("service.engine.learned_prior.QUANTUM_S", quantum_s)
    pool, seen = WorkerPool(2), Seen()
    queued = load(published, worker_pool=pool, observer=seen).queued
    try:
        drawn = asyncio.run(sample(queued, n=90, seed=3))
        one = asyncio.run(sample(queued, n=1, seed=3))
    finally:
        pool.close()
    alone = directly(sample, load(published), n=90, seed=3)
    assert drawn.z.tobytes() == alone.z.tobytes()
    assert drawn.x_hat.tobytes() == alone.x_hat.tobytes()
    assert one.x_hat.tobytes() == alone.x_hat[:1].tobytes()
    both = "prior_sampler.onnx+decoder.onnx"
    apart = {"prior_sampler.onnx": 90, "decoder.onnx": 90, both: 1}
    assert seen.rows == (apart if quantum_s == 0 else {both: 91})


def test_samples_in_two_runs_end_with_their_deadline(published, monkeypatch):
    monkeypatch.setattr("service.engine.learned_prior.QUANTUM_S", 0.0)
    pool = WorkerPool(1)
    queued = load(published, worker_pool=pool).queued
    try:
        with pytest.raises(DeadlineExceeded):
            asyncio.run(sample(queued, n=90, seed=3, call=Call(deadline_s=time.monotonic() - 1.0)))
        assert pool.waiting == pool.waiting_values == 0
    finally:
        pool.close()
