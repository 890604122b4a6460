"""Parameters of /score.

Knows names, bounds and reasons. Knows nothing of requests, models or arrays.
The OpenAPI document is generated from these classes, so the docstrings are what users read.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from service.api.parameters import ImagesQuery, Seed
from service.engine import Binarise
from service.http.parameters import AtMost, Parameters


class ScoreParameters(Parameters):
    """How closely to look."""

    importance_samples: Annotated[int | None, Field(ge=1, examples=[16]), AtMost("max_score_draws")] = None
    """K: posterior draws of each image for `log_px`. Images times K are at most `max_score_draws` of
    GET /limits; the first K draws are the same for every larger K. Left out: no `log_px`."""
    seed: Seed = None
    """Where the draws and the binarisation come from: the same seed gives the same figures, and those of
    image *i* depend on no other image. Left out: one is drawn, and told in the answer and in `X-Seed`."""
    binarise: Annotated[Binarise | None, Field(examples=["dynamic"])] = None
    """A Bernoulli likelihood is one of binary images. `dynamic`: every pixel is drawn from its grey level, by
    the seed; 0 and 1 stay as they are. `none`: the pixels are taken as they are, and grey ones refused. Left
    out: `dynamic`, and for a Gaussian likelihood, which takes grey pixels, `none`, the only one."""


class ScoreQuery(ImagesQuery, ScoreParameters):
    """Query of /score."""
