"""The processor and number format of graphs: settings become options of an execution provider.

Knows the names and options of onnxruntime's execution providers, and which distribution has which. Knows
nothing of graphs, sessions or settings, and imports no runtime: `session.py` does.

A runtime that cannot use a device logs a line and computes on the CPU (microsoft/onnxruntime#23372, #17801).
So every session is asked which providers it has, and a missing one is an error.

* `cpu` is onnxruntime's own provider; bits are those of every release before.
* `openvino` runs on the CPU too, with float32 or bfloat16.
* `cuda` runs on one GPU. Every run has `CUDA_ROWS` rows, padded: cuDNN chooses its algorithm by the shape, so
  one shape means one algorithm, and a row's bits do not depend on the number of rows of a request.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from model_store import Manifest
from service.engine.errors import AcceleratorUnavailable

Kind = Literal["cpu", "cuda", "openvino"]
Precision = Literal["float32", "bfloat16"]
Provider = tuple[str, dict[str, str]]

CPU_PROVIDER: Final = "CPUExecutionProvider"
_PROVIDERS: Final[Mapping[Kind, str]] = {
    "cpu": CPU_PROVIDER,
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
#: The distribution that has the provider, and the extra that names it.
_DISTRIBUTIONS: Final[Mapping[Kind, tuple[str, str]]] = {
    "cpu": ("onnxruntime", ""),
    "cuda": ("onnxruntime-gpu", "gpu"),
    "openvino": ("onnxruntime-openvino", "openvino"),
}
#: All install the same module, and the last one overwrites files of the others.
_SHARING_THE_MODULE: Final = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-qnn",
)
#: Rows of every run on a GPU, which computes them in about the time of one.
CUDA_ROWS: Final = 64
#: Permitted differences from golden vectors in bfloat16, whose numbers have 8 bits (arXiv:1905.12322).
#: Measured with the bundled models: see docs/how-to/accelerators.md.
BFLOAT16_LATENT_ATOL: Final = 0.2
BFLOAT16_PIXEL_ATOL: Final = 0.1


@dataclass(frozen=True)
class Accelerator:
    """What computes the graphs of this process, and in which number format."""

    kind: Kind = "cpu"
    precision: Precision = "float32"
    device_id: int = 0
    """Number of the GPU; ignored without one."""
    memory_bytes: int | None = None
    """Most memory of the GPU that one graph may take; None for no limit."""
    parallel_runs: int = 1
    """Runs that may happen at the same time."""

    @property
    def provider(self) -> str:
        """Name of the execution provider."""
        return _PROVIDERS[self.kind]

    @property
    def is_plain(self) -> bool:
        """Whether graphs run as without any accelerator."""
        return self.kind == "cpu"

    @property
    def memory(self) -> str:
        """onnxruntime's name of the memory that it computes in."""
        return "cuda" if self.kind == "cuda" else "cpu"

    @property
    def binds(self) -> bool:
        """Whether inputs and outputs are buffers of the device, one set for each thread."""
        return self.kind == "cuda"

    @property
    def rows(self) -> int | None:
        """Number of rows of every run, padded; None for any number."""
        return CUDA_ROWS if self.kind == "cuda" else None

    def providers(self, *, threads: int) -> list[Provider]:
        """The execution providers of a session in order of preference, with their options.

        Args:
            threads: Threads of one run on the CPU.
        """
        if self.kind == "cuda":
            # The CPU runs the operators on shapes, which the GPU would wait for.
            return [(self.provider, self._cuda_options()), (CPU_PROVIDER, {})]
        if self.kind == "openvino":
            return [(self.provider, self._openvino_options(threads)), (CPU_PROVIDER, {})]
        return [(CPU_PROVIDER, {})]

    def _cuda_options(self) -> dict[str, str]:
        options = {
            "device_id": str(self.device_id),
            # The default doubles what it takes, so that a limit is met with half of it unused.
            "arena_extend_strategy": "kSameAsRequested",
            # The default, EXHAUSTIVE, tries every algorithm: seconds for each new shape.
            "cudnn_conv_algo_search": "HEURISTIC",
            # TF32 has 10 bits, and golden vectors are compared in float32.
            "use_tf32": "0",
        }
        return options if self.memory_bytes is None else {**options, "gpu_mem_limit": str(self.memory_bytes)}

    def _openvino_options(self, threads: int) -> dict[str, str]:
        # JSON and no file name, whatever the documentation of onnxruntime shows (#26562).
        configuration = {
            "CPU": {
                "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bfloat16" else "f32",
                "INFERENCE_NUM_THREADS": str(threads * self.parallel_runs),
                "NUM_STREAMS": str(self.parallel_runs),
            }
        }
        return {"device_type": "CPU", "load_config": json.dumps(configuration)}

    def tolerant(self, manifest: Manifest) -> Manifest:
        """The manifest, with the differences from golden vectors that the precision permits."""
        if self.precision == "float32":
            return manifest
        golden = manifest.golden.model_copy(
            update={"latent_atol": BFLOAT16_LATENT_ATOL, "pixel_atol": BFLOAT16_PIXEL_ATOL}
        )
        return manifest.model_copy(update={"golden": golden})

    def check_installed(self, available: Sequence[str], *, version: str) -> None:
        """Compare with the providers of the installed runtime.

        Args:
            available: Their names.
            version: Of the runtime.

        Raises:
            AcceleratorUnavailable: It has not this one, or several distributions share its files.
        """
        if self.is_plain:
            return
        found = installed_runtimes()
        if len(found) > 1:
            raise AcceleratorUnavailable(
                f"{self.kind}: expected one distribution of onnxruntime, got {' and '.join(found)}, which "
                f"overwrite each other's files. {self._remedy(found)}"
            )
        if self.provider not in available:
            raise AcceleratorUnavailable(
                f"{self.kind}: expected an onnxruntime with {self.provider}, got {', '.join(found) or 'one'} "
                f"{version} with {', '.join(available)}. {self._remedy(found)}"
            )

    def check_used(self, used: Sequence[str], *, reason: str = "") -> None:
        """Compare with the providers of a session.

        Args:
            used: Their names; onnxruntime leaves out those that it could not start.
            reason: What the runtime raised, if it did.

        Raises:
            AcceleratorUnavailable: This one is not among them.
        """
        if self.provider in used:
            return
        remedy = (
            f"Check the driver (nvidia-smi), that CUDA 13 and cuDNN 9 are installed, and that this process "
            f"sees device {self.device_id} (CUDA_VISIBLE_DEVICES, docker run --gpus)."
            if self.kind == "cuda"
            else "Check that the libraries of OpenVINO load (pip check)."
        )
        got = f"the error: {reason}" if reason else f"only {', '.join(used) or 'nothing'}"
        raise AcceleratorUnavailable(
            f"{self.kind}: expected a session on {self.provider}, got {got}. {remedy} To use the CPU, leave "
            "out VAE_ACCELERATOR."
        )

    def check_precision(self, has_rounded: bool) -> None:
        """Compare with the evidence of a trial: whether numbers lost the bits that bfloat16 has not.

        Raises:
            AcceleratorUnavailable: The precision of the settings is not that of the computation.
        """
        if has_rounded and self.precision == "float32":
            raise AcceleratorUnavailable(
                f"{self.kind}: expected float32, got a result of fewer bits. Leave out VAE_ACCELERATOR, or "
                "install another release of the runtime."
            )
        if not has_rounded and self.precision == "bfloat16":
            raise AcceleratorUnavailable(
                f"{self.kind}: expected bfloat16, got a result of float32: this processor has neither AMX "
                "nor AVX-512 BF16 (see amx_bf16, avx512_bf16 in /proc/cpuinfo). Leave out VAE_PRECISION."
            )

    def _remedy(self, found: Sequence[str]) -> str:
        distribution, extra = _DISTRIBUTIONS[self.kind]
        others = " ".join(name for name in found if name != distribution) or "onnxruntime"
        return (
            f"Install it alone: pip install 'vae-service[{extra}]' && pip uninstall -y {others} && "
            f"pip install --force-reinstall --no-deps {distribution}."
        )


#: onnxruntime's own provider.
CPU: Final = Accelerator()


def installed_runtimes() -> tuple[str, ...]:
    """The installed distributions that have the module `onnxruntime`."""
    found = []
    for name in _SHARING_THE_MODULE:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return tuple(found)
