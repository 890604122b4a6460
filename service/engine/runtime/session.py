"""One ONNX graph in onnxruntime: verified bytes become a checked and thread-safe callable.

Knows session options, tensor names and shapes. Knows nothing of models, stores, requests or batching.
The only module of the server that imports onnxruntime.

The options, and the measured effect of each (2 cores, MLP and residual decoders for 28×28 images):

* an explicit number of threads, because the default counts the host's cores and ignores a container's quota;
* no spinning: idle pool threads otherwise burn most of a core;
* no arena: it keeps its peak for ever, 78 MB after one batch of 8,192;
* the memory pattern stays on: callers use few batch sizes (`batch_invariance`), so there are few plans. They
  need no more memory than without, and convolutions cause no page faults: 5 % less CPU time at batch 16, 25 %
  at 32. It is off for a graph whose rows have open sizes: onnxruntime keeps a plan for each size that it has
  seen, and 128 sizes took up to 82 MB.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.tensor_spec import GraphSpec, TensorSpec
from service.engine.errors import InferenceFailed, ModelRejected
from service.log_fields import fields

# The one side effect of an import in this project: onnxruntime starts its telemetry, with a file under
# $XDG_CACHE_HOME, while its own module is imported, and only this variable stops all of it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from service.engine.runtime import trial
from service.engine.runtime.accelerator import CPU, Accelerator
from service.engine.runtime.bound_runs import BoundRuns, Device

_ONLY_ERRORS = 3
#: Bytes; addresses of new arrays are multiples of it.
_ALIGNMENT = 16
_log = logging.getLogger(__name__)


class GraphSession:
    """A loaded graph whose tensors match its spec. Any number of threads may call `run`."""

    def __init__(
        self, graph: bytes, spec: GraphSpec, *, threads: int, accelerator: Accelerator = CPU
    ) -> None:
        """Load the graph and compare it with its manifest.

        Args:
            graph: The serialised ONNX model, already verified: onnxruntime runs most graphs with a flipped
                bit, so the digest must be checked before.
            spec: File name, inputs and outputs from the manifest.
            threads: Threads of one run, the calling thread among them.
            accelerator: What computes it.

        Raises:
            ModelRejected: onnxruntime rejects the graph, or its tensors differ from the spec.
            AcceleratorUnavailable: onnxruntime would compute it on something else.
        """
        self._file = spec.file
        tensors = (*spec.inputs, *spec.outputs)
        # A plan for each size of image would be kept for ever: 128 sizes took 9 to 82 MB.
        is_open = any("open" in tensor.shape for tensor in tensors)
        try:
            self._session = onnxruntime.InferenceSession(
                graph,
                _options(threads, memory_pattern=not is_open),
                providers=accelerator.providers(threads=threads),
            )
        except Exception as error:
            raise ModelRejected(
                f"{spec.file}: expected a graph that onnxruntime {onnxruntime.__version__} can load, got "
                f"{type(error).__name__}: {_one_line(error)}. Export the model again with a supported opset."
            ) from error
        accelerator.check_used(self._session.get_providers())
        _compare(self._file, "input", spec.inputs, self._session.get_inputs())
        _compare(self._file, "output", spec.outputs, self._session.get_outputs())
        self._input_name = spec.inputs[0].name
        self._output_names = [tensor.name for tensor in spec.outputs]
        self._rows = accelerator.rows
        # Buffers have one size; the runtime copies rows of others by itself.
        binds = accelerator.binds and not is_open
        self._bound = _bound(self._session, spec, accelerator) if binds else None

    @property
    def file(self) -> str:
        """File name of the graph within its version, for messages."""
        return self._file

    def run(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """One pass over a batch, in the calling thread; the interpreter is free during it.

        Args:
            rows: C-contiguous float32, shape (batch, …) as in the spec, batch at least 1.

        Returns:
            One array per output of the spec, in its order, batch axis first.

        Raises:
            InferenceFailed: onnxruntime raised.
        """
        try:
            outputs = self._compute(rows)
        except Exception as error:
            # The text of the runtime may quote shapes and paths: for the log, not for a client.
            _log.error("inference failed", extra=fields(graph=self._file, reason=_one_line(error)))
            raise InferenceFailed(
                f"{self._file}: onnxruntime failed on a batch of {len(rows)}. The log contains the reason."
            ) from error
        return tuple(outputs)

    def _compute(self, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if self._rows is not None and len(rows) != self._rows:
            padded = np.zeros((self._rows, *rows.shape[1:]), np.float32)
            padded[: len(rows)] = rows
            return [output[: len(rows)] for output in self._compute(padded)]
        if self._bound is not None:
            return self._bound.run(rows)
        outputs: list[NDArray[np.float32]] = self._session.run(
            self._output_names, {self._input_name: _aligned(rows)}
        )
        return outputs


def _aligned(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows at an address as every new array has.

    Parts of a message, and rows in the middle of a batch, begin anywhere. Some sums of onnxruntime
    (ReduceMean, InstanceNormalization) depend on the address, and equal rows must have equal bits.
    """
    return rows if rows.ctypes.data % _ALIGNMENT == 0 else rows.copy()


def check_accelerator(accelerator: Accelerator) -> None:
    """Run a trial graph, so that a process that cannot use its accelerator ends before it serves.

    Raises:
        AcceleratorUnavailable: It is not installed, not there, or has not the precision.
    """
    available = onnxruntime.get_available_providers()
    accelerator.check_installed(available, version=onnxruntime.__version__)
    if accelerator.is_plain:
        return
    try:
        session = onnxruntime.InferenceSession(
            trial.GRAPH, _options(1, memory_pattern=True), providers=accelerator.providers(threads=1)
        )
        (result,) = session.run(None, {trial.INPUT: trial.VALUES})
    except Exception as error:
        accelerator.check_used((), reason=_one_line(error))
    else:
        accelerator.check_used(session.get_providers())
        accelerator.check_precision(trial.has_rounded(result))


def _bound(session: onnxruntime.InferenceSession, spec: GraphSpec, accelerator: Accelerator) -> BoundRuns:
    """Runs with buffers on the accelerator; sizes of a row are numbers, as `_compare` has found."""

    def named(tensor: TensorSpec) -> tuple[str, list[int]]:
        return tensor.name, [size for size in tensor.shape[1:] if isinstance(size, int)]

    return BoundRuns(
        session,
        onnxruntime.OrtValue.ortvalue_from_shape_and_type,
        input_=named(spec.inputs[0]),
        outputs=[named(tensor) for tensor in spec.outputs],
        device=Device(accelerator.memory, accelerator.device_id),
    )


def _options(threads: int, *, memory_pattern: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = memory_pattern
    options.log_severity_level = _ONLY_ERRORS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _compare(file: str, side: str, wanted: tuple[TensorSpec, ...], found: list[Any]) -> None:
    """Names, element type and shape.

    The batch axis must be dynamic, otherwise the graph would accept only one batch size. Only the manifest of
    an imported graph says otherwise; an axis that it leaves open is as dynamic.
    """
    expected: dict[str, tuple[str, list[Any]]] = {
        tensor.name: ("tensor(float)", list(tensor.shape)) for tensor in wanted
    }
    got = {
        node.name: (node.type, ["batch" if not isinstance(d, int) else d for d in node.shape])
        for node in found
    }
    if set(got) != set(expected) or any(not _agree(expected[name], got[name]) for name in expected):
        raise ModelRejected(
            f"{file}: expected {side}s {_describe(expected)}, got {_describe(got)}. "
            "Export the model again: the graph and the manifest of a version must agree."
        )


def _agree(wanted: tuple[str, list[Any]], got: tuple[str, list[Any]]) -> bool:
    """onnxruntime may know the size of an axis that an imported graph leaves open."""
    (kind, sizes), (got_kind, got_sizes) = wanted, got
    return (
        kind == got_kind
        and len(sizes) == len(got_sizes)
        and all(size in ("open", found) for size, found in zip(sizes, got_sizes, strict=True))
    )


def _describe(tensors: dict[str, tuple[str, list[Any]]]) -> str:
    return ", ".join(f"{name} {kind}{shape}" for name, (kind, shape) in sorted(tensors.items()))[:500]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
