"""The interface by which the engine reports loads and runs.

Knows names and numbers. Knows nothing of metrics: the service passes an object that has these methods. Worker
threads and the event loop call them, once per batch, so they must be quick and raise nothing.
"""

from __future__ import annotations

from typing import Protocol


class EngineObserver(Protocol):
    """Counts loads, runs and waiting images.

    `model` is `name@version`, `graph` a file name such as `encoder.onnx`.
    """

    def queued(self, model: str, graph: str, images: int) -> None:
        """`images` wait for this graph now."""

    def run(self, model: str, graph: str, *, rows: int, jobs: int, wait_s: float, run_s: float) -> None:
        """One batch of `rows` rows of `jobs` calls ran for `run_s`.

        `wait_s` is the waiting time of all calls whose first rows were in the batch, added up.
        """

    def loaded(self, model: str, result: str, seconds: float) -> None:
        """Loading a version took `seconds` and ended `loaded` or `refused`."""

    def dropped(self, model: str, graph: str, reason: str, images: int) -> None:
        """`images` were dropped without a run, by reason: `deadline`, `left` (the caller) or `stopped`."""


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
