"""Number of images on a path through latent space, for /interpolate and /traverse."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field

from service.api.call import Call
from service.api.responses import TEXT_COLUMNS
from service.engine import DEFAULT_STEPS
from service.http.negotiation import Format
from service.http.parameters import AtMost

Steps = Annotated[int | None, Field(ge=2, examples=[8]), AtMost("max_images")]


def chosen_steps(call: Call[Any], steps: int | None, *, axes: int = 1) -> int:
    """The requested number along each of `axes`, or a suitable and permitted one."""
    if steps is not None:
        return steps
    most = call.most_images
    allowed = math.isqrt(most) if axes == 2 else most
    return max(2, min(TEXT_COLUMNS if call.format is Format.TEXT else DEFAULT_STEPS, allowed))
