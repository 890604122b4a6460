"""Latents of several seeds: each row is what `sample` draws for that seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from direct import directly

from service.engine import LARGEST_SEED, InvalidInput, latents_of_seeds, plan_sample, sample


def test_row_is_the_first_row_of_its_seed(loaded):
    plan = plan_sample(loaded.queued, n=1, max_images=1, seed=0, temperature=0.5)
    seeds = [3, 0, LARGEST_SEED, 3]
    z = latents_of_seeds(plan, seeds)
    assert z.dtype == np.float32
    for row, seed in zip(z, seeds, strict=True):
        alone = directly(sample, loaded, n=1, seed=seed, temperature=0.5)
        assert row.tobytes() == alone.z[0].tobytes()


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1, True])
def test_seed_out_of_range_is_refused(loaded, seed):
    plan = plan_sample(loaded.queued, n=1, max_images=1, seed=0)
    with pytest.raises(InvalidInput, match="seed"):
        latents_of_seeds(plan, [1, seed])
