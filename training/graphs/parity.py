"""Compare the results of onnxruntime with the exported files and of torch with the model.

Knows torch, onnxruntime and the permitted differences. Knows nothing of runs or of the store. It is the only
module of `training` that runs onnxruntime, with its telemetry off; `training.graphs.published_model` runs
published graphs through it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from model_store.golden import GoldenVectors
from model_store.manifest import GoldenSpec
from model_store.numbers import told_apart
from training.compute.batch_size import images_at_once
from training.errors import ExportError
from training.graphs.export import Graphs
from training.models import LatentImageModel

#: One, the smallest true batch, an odd one, and one that fills vector units.
BATCH_SIZES = (1, 2, 7, 64)
GOLDEN_EXAMPLES = 8
#: Values of eight colour images of 128 × 128 pixels.
_GOLDEN_VALUES = 8 * 3 * 128 * 128

Array = npt.NDArray[np.float32]


def batch_sizes_for(image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """`BATCH_SIZES`, the last one smaller for large images (C, H, W), whose batch would be gigabytes."""
    *small, largest = BATCH_SIZES
    return (*small, max(small[-1], images_at_once(image_shape, most=largest)))


def golden_examples(image_shape: tuple[int, int, int]) -> int:
    """Examples of the golden vectors: `GOLDEN_EXAMPLES`, or fewer of large images (C, H, W)."""
    return max(1, min(GOLDEN_EXAMPLES, _GOLDEN_VALUES // math.prod(image_shape)))


@dataclass(frozen=True)
class Parity:
    """Largest absolute differences between torch and onnxruntime over all batches."""

    mu: float
    logvar: float
    x_hat: float
    batch_sizes: tuple[int, ...] = BATCH_SIZES

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.batch_sizes))
        return f"mu {self.mu:.1e}, logvar {self.logvar:.1e}, pixels {self.x_hat:.1e} (batches of {sizes})"


class OnnxPair:
    """An encoder and a decoder in onnxruntime, with the settings of the service.

    Latents are flat here, (batch, latent) in C order, whatever their shape in the graphs.
    """

    def __init__(self, graphs: Graphs, *, threads: int = 1) -> None:
        """Load both, to run on `threads` threads.

        Raises:
            ExportError: onnxruntime rejects a file.
        """
        self._encoder = session_of("encoder", graphs.encoder, threads)
        self._decoder = session_of("decoder", graphs.decoder, threads)
        self._latent_shape: list[int] = self._decoder.get_inputs()[0].shape[1:]

    def encode(self, x: Array) -> tuple[Array, Array]:
        """(mu, logvar) of images (N, C, H, W).

        Raises:
            ExportError: onnxruntime cannot run the file on this batch.
        """
        mu, logvar = run_session("encoder", self._encoder, ["mu", "logvar"], {"x": x})
        return mu.reshape(len(x), -1), logvar.reshape(len(x), -1)

    def decode(self, z: Array) -> Array:
        """x_hat of latents (M, L).

        Raises:
            ExportError: onnxruntime cannot run the file on this batch.
        """
        shaped = z.reshape(len(z), *self._latent_shape)
        (x_hat,) = run_session("decoder", self._decoder, ["x_hat"], {"z": shaped})
        return x_hat


def check_parity(
    model: LatentImageModel,
    runtime: OnnxPair,
    *,
    x: Float[Tensor, "n c h w"],
    z: Float[Tensor, "m latent"],
    spec: GoldenSpec,
    batch_sizes: Sequence[int] = (),
) -> Parity:
    """Compare both halves on batches of several sizes, each of other examples.

    Args:
        model: On the CPU; compared as in evaluation mode.
        runtime: The exported files.
        x: Images in [0, 1]; repeated if they are fewer than the batches need.
        z: Latents, likewise.
        spec: Permitted absolute differences of latents and pixels.
        batch_sizes: Sizes to try; left out, those of `batch_sizes_for`.

    Returns:
        The largest differences seen.

    Raises:
        ExportError: A shape is wrong, a value is not finite, or a difference exceeds its bound.
    """
    largest = {"mu": 0.0, "logvar": 0.0, "x_hat": 0.0}
    bounds = {"mu": spec.latent_atol, "logvar": spec.latent_atol, "x_hat": spec.pixel_atol}
    offset = 0
    batch_sizes = batch_sizes or batch_sizes_for(model.image_shape)
    for size in batch_sizes:
        images, latents = cyclic(x, offset, size), cyclic(z, offset, size)
        offset += size
        with torch.inference_mode():
            posterior = model.eval().encode(images)
            expected = {"mu": posterior.mu, "logvar": posterior.logvar, "x_hat": model.decode(latents)}
        mu, logvar = runtime.encode(images.numpy())
        answers = {"mu": mu, "logvar": logvar, "x_hat": runtime.decode(latents.numpy())}
        for name, bound in bounds.items():
            difference = difference_of(name, expected[name].numpy(), answers[name], size)
            # Not `difference > bound`: NaN must fail too.
            if not difference <= bound:
                got = told_apart(difference, bound)
                raise ExportError(
                    f"parity: {name} on a batch of {size}: expected torch and onnxruntime to differ by at "
                    f"most {bound:g}, got {got}. Nothing was published. Install the versions of the "
                    "constraints file and export again. If the difference remains, the exporter "
                    "mistranslates a layer."
                )
            largest[name] = max(largest[name], difference)
    return Parity(**largest, batch_sizes=tuple(batch_sizes))


def record_golden_vectors(
    runtime: OnnxPair, *, x: Float[Tensor, "n c h w"], z: Float[Tensor, "m latent"]
) -> GoldenVectors:
    """Results of onnxruntime that agree with torch's, for comparison with other machines.

    They are the runtime's results and not torch's. A server checks that *its* onnxruntime still computes the
    same; torch's own rounding would use up a part of the permitted difference.
    """
    images, latents = np.ascontiguousarray(x.numpy()), np.ascontiguousarray(z.numpy())
    mu, logvar = runtime.encode(images)
    return GoldenVectors(x=images, mu=mu, logvar=logvar, z=latents, x_hat=runtime.decode(latents))


def _runtime() -> Any:
    # Telemetry is on by default since 1.29, and this is its only complete switch, before the first import.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise ExportError(
            f"parity: expected onnxruntime for the comparison, got: {error}. Install `vae-service[train]`."
        ) from error
    return onnxruntime


def session_of(role: str, graph: bytes, threads: int) -> Any:
    """A graph in onnxruntime, with the settings of the service.

    Raises:
        ExportError: onnxruntime rejects the file.
    """
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class per status code, without a common base
        raise ExportError(
            f"{role}: onnxruntime {runtime.__version__} rejects the exported file: {_one_line(error)} "
            "Nothing was published. Install the versions of the constraints file."
        ) from error


def run_session(role: str, session: Any, outputs: list[str], inputs: dict[str, Array]) -> list[Array]:
    """The outputs of one run.

    Raises:
        ExportError: onnxruntime cannot run the file on this batch.
    """
    try:
        answers: list[Array] = session.run(outputs, inputs)
    except Exception as error:  # as above
        batch = len(next(iter(inputs.values())))
        raise ExportError(
            f"{role}: onnxruntime {_runtime().__version__} fails on a batch of {batch}: {_one_line(error)} "
            "Nothing was published. Install the versions of the constraints file."
        ) from error
    return answers


def _one_line(error: Exception) -> str:
    return f"{' '.join(str(error).split())[:300].rstrip('.')}."


def cyclic(examples: Tensor, offset: int, size: int) -> Tensor:
    """`size` of the examples from `offset` on, from the first again after the last."""
    rows = torch.arange(offset, offset + size) % len(examples)
    return examples[rows]


def difference_of(name: str, expected: Array, got: Array, size: int) -> float:
    """Largest absolute difference, in float64; NaN if one is not finite.

    Raises:
        ExportError: The shapes differ.
    """
    if expected.shape != got.shape:
        raise ExportError(
            f"parity: {name} on a batch of {size}: expected shape {expected.shape}, got {got.shape}. The "
            "export fixed the batch axis. Nothing was published."
        )
    return float(np.abs(expected.astype(np.float64) - got.astype(np.float64)).max())
