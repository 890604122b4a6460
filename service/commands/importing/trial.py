"""Two guarded graphs in onnxruntime, for trying: raw tensors in and out, by role.

Knows roles and moments. Knows nothing of ranges of pixels, of batches or of the store.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store import GraphSpec
from service.commands.importing.graph_files import GraphFile, Source
from service.commands.importing.report import refuse
from service.commands.importing.roles import Tensors
from service.engine.errors import InferenceFailed, ModelRejected
from service.engine.runtime.session import GraphSession

Array = NDArray[np.float32]
#: Values that are tried are of this size; a graph that multiplies them by so much is broken.
_LARGEST: Final = 1e30


class Trial:
    """The graphs as they are."""

    def __init__(self, source: Source, tensors: Tensors, *, threads: int) -> None:
        """Load both.

        Args:
            source: Their bytes.
            tensors: Their roles.
            threads: Threads of a run.

        Raises:
            ImportRefused: onnxruntime does not load one.
        """
        self.tensors = tensors
        self.encoder = _session(source.encoder, tensors.encoder, threads=threads)
        self.decoder = _session(source.decoder, tensors.decoder, threads=threads)
        self.seconds = 0.0
        """Of the latest run."""

    def encode(self, x: Array) -> tuple[Array, Array | None]:
        """mu and logvar of images in the graph's own range, in their own shape.

        Raises:
            ImportRefused: The graph does not run, or its outputs are not finite.
        """
        assert self.encoder is not None
        assert self.tensors.encoder is not None
        outputs = self._run(self.encoder, self.tensors.encoder, x)
        if "moments" in outputs:
            moments = outputs["moments"]
            if moments.ndim < 2 or moments.shape[1] % 2:
                raise refuse(
                    "encoder: moments",
                    expected="an even number of channels, mu and then logvar",
                    got=f"shape {moments.shape}",
                    remedy="Say what the output is: --role NAME=mu.",
                )
            mu, logvar = np.split(moments, 2, axis=1)
            return np.ascontiguousarray(mu), np.ascontiguousarray(logvar)
        return outputs["mu"], outputs.get("logvar")

    def decode(self, z: Array) -> Array:
        """Images in the graph's own range.

        Raises:
            ImportRefused: The graph does not run, or its output is not finite.
        """
        assert self.decoder is not None
        assert self.tensors.decoder is not None
        return self._run(self.decoder, self.tensors.decoder, z)["x_hat"]

    def _run(self, session: GraphSession, spec: GraphSpec, rows: Array) -> dict[str, Array]:
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        parts = [rows] if takes_batches(spec) else [rows[i : i + 1] for i in range(len(rows))]
        try:
            done = [session.run(part) for part in parts]
        except InferenceFailed as error:
            raise refuse(
                f"{spec.file.removesuffix('.onnx')}: a run",
                expected=f"outputs for an input of shape {rows.shape}",
                got=_reason(error),
                remedy="Are the graphs swapped? Does the graph accept this size? Name one with --size HxW.",
            ) from error
        # Processor time, if it is shorter: on a busy machine a run waits, and waiting is no cost of a probe.
        spent_s = min(time.perf_counter() - started_s, time.process_time() - started_cpu_s)
        self.seconds = spent_s / len(rows)
        outputs = [np.concatenate(each) if len(each) > 1 else each[0] for each in zip(*done, strict=True)]
        for tensor, values in zip(spec.outputs, outputs, strict=True):
            if not np.isfinite(values).all() or np.abs(values).max(initial=0.0) > _LARGEST:
                raise refuse(
                    f"{spec.file.removesuffix('.onnx')}: {tensor.name}",
                    expected="finite values",
                    got="NaN, infinity or values beyond 1e30",
                    remedy="The weights are damaged, or overflow in this precision: export them in float32.",
                )
        return {tensor.meaning: values for tensor, values in zip(spec.outputs, outputs, strict=True)}


def takes_batches(spec: GraphSpec) -> bool:
    """Whether a run may have several rows."""
    return all(tensor.shape[0] == "batch" for tensor in (*spec.inputs, *spec.outputs))


def _session(graph: GraphFile | None, spec: GraphSpec | None, *, threads: int) -> GraphSession | None:
    if graph is None or spec is None:
        return None
    try:
        return GraphSession(graph.data, spec, threads=threads)
    except ModelRejected as error:
        raise refuse(
            str(graph.path), expected="a graph that onnxruntime loads", got=str(error), remedy=""
        ) from error


def _reason(error: InferenceFailed) -> str:
    return " ".join(str(error.__cause__ or error).split())[:300]
