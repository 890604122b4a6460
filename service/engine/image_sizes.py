"""One imported version for images of many sizes: a queue and an estimate of time for each size in use.

Knows sizes, and how a queue for one is made. Knows nothing of graphs or requests. Images of different sizes
cannot share a run, so each size has queues of its own; all of them share the sessions and the worker pool.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from model_store import OpenSizes

#: Sizes to remember. A forgotten one is made again, without its estimate of time.
_MOST_SIZES: Final = 64

Make = Callable[[int, int], Mapping[str, Any]]


class OpenImageSizes:
    """See `service.engine.model.ImageSizes`. Any thread may ask."""

    def __init__(self, sizes: OpenSizes, make: Make) -> None:
        """Nothing is made yet.

        Args:
            sizes: Which ones are accepted.
            make: Makes the fields of `LoadedModel` for (height, width).
        """
        self._sizes = sizes
        self._make = make
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[int, int], Mapping[str, Any]] = OrderedDict()

    def of(self, height: int, width: int) -> Mapping[str, Any] | None:
        """Fields of `LoadedModel` for images of this size; None if it is not accepted."""
        if not self._sizes.accepts(height, width):
            return None
        with self._lock:
            found = self._made.get((height, width))
            if found is None:
                found = self._made[height, width] = self._make(height, width)
            self._made.move_to_end((height, width))
            if len(self._made) > _MOST_SIZES:
                self._made.popitem(last=False)
            return found
