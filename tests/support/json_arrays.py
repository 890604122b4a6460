"""Arrays as the lists that JSON brings, for the tests of reading them.

Knows the codecs' public names. Knows nothing of the service or of a model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from service.codecs import InvalidValue, images_from_json

SHAPE = (1, 28, 28)
#: More values than any body here has, where their number is not the point.
MOST = 1_000_000


def nested(array: np.ndarray) -> Any:
    return orjson.loads(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))


def digits(count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).random((count, *shape), dtype=np.float32)


def refused(value: object, *, shape: tuple[int, ...] = SHAPE, most: int = 64) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        images_from_json(value, shape, max_images=most)
    return caught.value
