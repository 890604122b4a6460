"""Randomness as a function of its use: one seed and a path select one generator.

Knows seeds and generators. Knows nothing of epochs, data or models. A step's noise depends only on the run's
seed and the step's number. So a resumed run draws the same noise as an uninterrupted one, without any
generator state to restore.
"""

import numpy as np
import torch

#: Every use has its own number, so that no two draw the same noise. Never renumber.
_USES = {
    "order": 1,
    "binarisation": 2,
    "posterior": 3,
    "grey": 4,
    "pictures": 5,
    "weights": 6,
    "prior": 7,
    "distortion": 8,
    "shifts": 40,
    "report": 41,
}


def generator_for(seed: int, use: str, number: int = 0) -> torch.Generator:
    """A CPU generator for one use at one place, such as ("posterior", step).

    Args:
        seed: Seed of the run.
        use: One of the uses in this module.
        number: Step, epoch or batch.
    """
    words = np.random.SeedSequence([seed, _USES[use], number]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed((int(words[0]) << 32 | int(words[1])) & (2**63 - 1))
