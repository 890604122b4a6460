"""Draws of a requested label: candidates of each row, of which p(y|u) chooses one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from direct import directly, load
from tiny_learned import SHARES, TinyLearnedPrior
from tiny_models import TinyModel, publish_tiny

from model_store import LabelDraws, LabelPosterior, ModelStore
from service.engine import LoadedModel, WorkerPool, sample, sample_in_parts
from service.engine.operations.priors import LabelCandidates, Mixture
from service.engine.operations.sample import latents_of_seeds, plan_sample

LATENT = 2
RULE = LabelDraws(candidates=6, probability=0.99999)
#: Its labels lie at -1 and +1 with a deviation of 0.5: a quarter of the draws are less certain than the rule.
PRIOR = TinyLearnedPrior(LATENT, label_draws=RULE)
_, *EACH = PRIOR.mixtures.split(PRIOR.entry)
POSTERIOR = LabelPosterior(EACH, SHARES)


def published(
    tmp_path_factory: pytest.TempPathFactory, prior: TinyLearnedPrior, **options: Any
) -> LoadedModel:
    store = ModelStore(tmp_path_factory.mktemp("learned"))
    tiny = TinyModel.make(image_shape=(1, 6, 6), latent_size=LATENT, seed=2)
    return load(store.open(publish_tiny(store, model=tiny, learned=prior)), **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> LoadedModel:
    return published(tmp_path_factory, PRIOR)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> LoadedModel:
    return published(tmp_path_factory, replace(PRIOR, label_draws=None))


def base(z: np.ndarray) -> np.ndarray:
    return PRIOR.density(z)[0]


def test_a_row_is_its_first_candidate_that_is_accepted_or_the_best(model):
    label, number = "hats", 0
    mixture = Mixture(EACH[number], label=label, prior="learned")
    rows = 300
    candidates = [mixture.draw(seed=5, first_row=0, rows=rows, temperature=1.0)] + [
        mixture.draw_candidate(seed=5, rows=range(rows), candidate=each, temperature=1.0)
        for each in range(1, RULE.candidates)
    ]
    p = np.stack([POSTERIOR.probability(each, label=number) for each in candidates])
    accepted = p >= RULE.probability
    chosen = np.where(accepted.any(axis=0), accepted.argmax(axis=0), p.argmax(axis=0))
    assert (chosen > 0).sum() > 50, "a rule that changes nothing proves nothing"
    u = base(directly(sample, model, n=rows, seed=5, label=label).z)
    expected = np.stack([candidates[number][row] for row, number in enumerate(chosen.tolist())])
    np.testing.assert_allclose(u, expected, atol=1e-5)


def test_a_row_that_nothing_accepts_is_the_best_of_its_candidates():
    rule = LabelDraws(candidates=2, probability=0.99999)
    mixture = Mixture(EACH[0], label="hats", prior="learned")
    found = LabelCandidates(mixture, POSTERIOR, number=0, rule=rule)
    u = found.draw(seed=1, first_row=0, rows=200, temperature=1.0)
    first = mixture.draw(seed=1, first_row=0, rows=200, temperature=1.0)
    other = mixture.draw_candidate(seed=1, rows=range(200), candidate=1, temperature=1.0)
    p = [POSTERIOR.probability(each, label=0) for each in (first, other)]
    refused = np.maximum(*p) < rule.probability
    assert refused.sum() > 5
    best = np.where((p[1] > p[0])[:, np.newaxis], other, first)
    assert u[refused].tobytes() == best[refused].tobytes()


def test_rows_of_an_accepted_first_candidate_and_of_no_label_are_as_without_the_rule(model, plain):
    before, now = (directly(sample, each, n=200, seed=3, label="hats").z for each in (plain, model))
    same = (before == now).all(axis=1)
    assert 0.3 < same.mean() < 0.98
    first = plain.queued.priors.choose(prior=None, label="hats").draw(
        seed=3, first_row=0, rows=200, temperature=1.0
    )
    assert same[POSTERIOR.probability(first, label=0) >= RULE.probability].all()
    whole = [directly(sample, each, n=50, seed=3).z.tobytes() for each in (plain, model)]
    assert whole[0] == whole[1]


def test_row_of_a_seed_is_the_same_for_every_number_of_rows_and_part(model):
    many = directly(sample, model, n=64, seed=9, label="hats")
    for n in (1, 2, 17, 63):
        few = directly(sample, model, n=n, seed=9, label="hats")
        assert few.z.tobytes() == many.z[:n].tobytes()
        assert few.x_hat.tobytes() == many.x_hat[:n].tobytes()
    density = model.queued.priors.choose(prior=None, label="hats")
    alone = [density.draw(seed=9, first_row=row, rows=1, temperature=1.0) for row in range(64)]
    together = density.draw(seed=9, first_row=0, rows=64, temperature=1.0)
    assert np.concatenate(alone).tobytes() == together.tobytes()


def test_streamed_images_are_those_of_one_answer(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("service.engine.operations.parts.part_rows", lambda model: 16)
    pool = WorkerPool(1)  # slow runs start its thread
    model = published(tmp_path_factory, PRIOR, worker_pool=pool)

    async def both() -> tuple[np.ndarray, list[np.ndarray]]:
        whole = await sample(model.queued, n=50, seed=9, label="hats")
        parts = sample_in_parts(model.queued, n=50, max_images=50, seed=9, label="hats")
        return whole.x_hat, [part async for part in parts.images]

    try:
        whole, parts = asyncio.run(both())
    finally:
        pool.close()
    assert len(parts) == 4
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_row_of_its_own_seed_is_row_0_of_that_seed(model):
    plan = plan_sample(model.queued, n=1, max_images=9, label="hats")
    rows = latents_of_seeds(plan, [7, 8])
    one = plan_sample(model.queued, n=1, max_images=9, label="hats", seed=8)
    assert rows[1:].tobytes() == one.latents(first_row=0, rows=1).tobytes()


def test_draws_are_those_of_the_label_where_it_is_the_likely_one(model):
    """Against draws of the label's Gaussian by NumPy, those below the probability left out."""
    rows = 4000
    density = model.queued.priors.choose(prior=None, label="hats")
    u = density.draw(seed=1, first_row=0, rows=rows, temperature=1.0)
    assert (POSTERIOR.probability(u, label=0) >= RULE.probability).mean() > 0.99
    others = np.random.default_rng(0).normal(-1.0, 0.5, (6 * rows, LATENT)).astype(np.float32)
    others = others[POSTERIOR.probability(others, label=0) >= RULE.probability]
    np.testing.assert_allclose(u.mean(axis=0), others.mean(axis=0), atol=0.04)
    np.testing.assert_allclose(u.std(axis=0), others.std(axis=0), atol=0.04)


def test_temperature_scales_every_candidate(model):
    u = base(directly(sample, model, n=5, seed=1, label="hats", temperature=0.0).z)
    np.testing.assert_allclose(u, -1.0, atol=1e-5)
