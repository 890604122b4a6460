"""The largest seeds, and the error for a larger one.

Knows numbers. Knows nothing of generators: `seeding` creates those, and needs torch for it.
"""

from __future__ import annotations

from training.errors import ConfigError

#: For recipes and fitted priors: scikit-learn accepts no larger one.
MAX_SEED = 2**32 - 1
#: For evaluations and judges, which draw from torch alone.
MAX_TORCH_SEED = 2**63 - 1


def check_seed(seed: int, *, most: int) -> None:
    """Reject a seed of the command line that is out of range.

    Raises:
        ConfigError: It is negative, or above `most`.
    """
    if not 0 <= seed <= most:
        raise ConfigError(f"--seed: expected 0 to {most:,}, got {seed:,}. Choose a number in that range.")
