"""The two array types that operations exchange. Knows no shapes: those are in the docstrings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
