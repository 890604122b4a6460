"""The rule of a version for draws of a requested label.

Knows two numbers. Knows nothing of mixtures or noise.

    u_0, u_1 … ~ p(u|y)        the first with p(y|u) ≥ probability, or the best of `candidates`

A label's Gaussians reach among those of other labels, and a draw from there decodes to an image of another
label, or of none.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from model_store.strict_model import StrictModel


class LabelDraws(StrictModel):
    """Candidates for one draw, and the condition to accept one."""

    candidates: Annotated[int, Field(ge=2, le=64)]
    """Largest number of candidates for one draw."""
    probability: Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]
    """A candidate is accepted if p(y|u) of the requested label is at least this."""
