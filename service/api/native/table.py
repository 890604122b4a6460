"""The operations of the native API, in the order of the document."""

from __future__ import annotations

from typing import Any, Final

from service.api.native.decode import DECODE
from service.api.native.encode import ENCODE
from service.api.native.interpolate import INTERPOLATE
from service.api.native.nearest import NEAREST
from service.api.native.reconstruct import RECONSTRUCT
from service.api.native.sample import SAMPLE
from service.api.native.score import SCORE
from service.api.native.traverse import TRAVERSE
from service.api.operation import Operation

OPERATIONS: Final[tuple[Operation[Any, Any], ...]] = (
    SAMPLE,
    ENCODE,
    DECODE,
    RECONSTRUCT,
    INTERPOLATE,
    TRAVERSE,
    SCORE,
    NEAREST,
)
