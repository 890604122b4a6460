"""Runs of a session with its inputs and outputs in buffers of a device, which are made once.

Knows one session, arrays and a device. Knows nothing of the meaning of a graph. Without it, onnxruntime
allocates and frees memory of the device in every run. It works on the memory of the CPU too, where a test
compares it with plain runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Name of the CPU's memory for onnxruntime.
CPU_MEMORY: Final = "cpu"


@dataclass(frozen=True)
class Device:
    """Where the buffers are."""

    memory: str
    """`cpu` or `cuda`."""
    number: int = 0


class _Buffers(threading.local):
    """Of one thread, because a session may run in several threads at once. Bindings by number of rows."""

    def __init__(self) -> None:
        self.by_rows: dict[int, tuple[Any, Any, list[Any]]] = {}


class BoundRuns:
    """`run` is that of a session, with the same outputs. Any number of threads may call it."""

    def __init__(
        self,
        session: Any,
        make_buffer: Callable[..., Any],
        *,
        input_: tuple[str, Sequence[int]],
        outputs: Sequence[tuple[str, Sequence[int]]],
        device: Device,
    ) -> None:
        """No buffer is made yet.

        Args:
            session: An `onnxruntime.InferenceSession`.
            make_buffer: `OrtValue.ortvalue_from_shape_and_type` of onnxruntime.
            input_: Name of the input and shape of one row.
            outputs: The same for each output, in order.
            device: Where the session computes.
        """
        self._session = session
        self._make_buffer = make_buffer
        self._input = input_
        self._outputs = outputs
        self._device = device
        self._buffers = _Buffers()

    def run(self, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """One array per output, in order.

        Args:
            rows: C-contiguous float32, shape (rows, …).
        """
        known = self._buffers.by_rows
        count = len(rows)
        if count not in known:
            known[count] = self._bind(count)
        binding, given, produced = known[count]
        given.update_inplace(rows)
        self._session.run_with_iobinding(binding)
        # On the CPU the array is the buffer itself, which the next run overwrites.
        return [np.array(value.numpy(), copy=self._device.memory == CPU_MEMORY) for value in produced]

    def _bind(self, count: int) -> tuple[Any, Any, list[Any]]:
        binding = self._session.io_binding()
        name, shape = self._input
        given = self._buffer(count, shape)
        binding.bind_ortvalue_input(name, given)
        produced = [self._buffer(count, shape) for _, shape in self._outputs]
        for (name, _), value in zip(self._outputs, produced, strict=True):
            binding.bind_ortvalue_output(name, value)
        return binding, given, produced

    def _buffer(self, count: int, shape: Sequence[int]) -> Any:
        return self._make_buffer([count, *shape], np.float32, self._device.memory, self._device.number)
