"""What the engine tells of its work, to whoever counts it.

Knows names and numbers. Knows nothing of metrics: the service hands in an object that has these methods. They
are called from worker threads and from the event loop, once per batch, and must be quick and raise nothing.
"""

from __future__ import annotations

from typing import Protocol


class EngineObserver(Protocol):
    """Counts what the queues do. `model` is `name@version`, `graph` a file name such as `encoder.onnx`."""

    def queued(self, model: str, graph: str, images: int) -> None:
        """`images` wait for this graph now, because its requests could not be run at once."""

    def run(self, model: str, graph: str, *, rows: int, jobs: int, wait_s: float, run_s: float) -> None:
        """One batch of `rows` rows for `jobs` callers ran for `run_s`.

        Those of the callers that had not been served before had waited `wait_s` together.
        """

    def loaded(self, model: str, result: str, seconds: float) -> None:
        """Loading a version took `seconds` and ended `loaded` or `refused`."""

    def dropped(self, model: str, graph: str, reason: str, images: int) -> None:
        """`images` were never run: `deadline`, `left` (the caller) or `stopped`."""


class Unobserved:
    """Counts nothing."""

    def queued(self, model: str, graph: str, images: int) -> None:
        """Count nothing."""
        pass

    def run(self, model: str, graph: str, *, rows: int, jobs: int, wait_s: float, run_s: float) -> None:
        """Count nothing."""
        pass

    def loaded(self, model: str, result: str, seconds: float) -> None:
        """Count nothing."""
        pass

    def dropped(self, model: str, graph: str, reason: str, images: int) -> None:
        """Count nothing."""
        pass
