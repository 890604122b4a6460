"""Accelerators: options by setting, refusals instead of a silent CPU, and runs bound to buffers of a device.

No GPU is needed: the options are data, the CPU's own memory can be bound too, and a missing device is what
this machine has.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
from engine_models import LATENT, SHAPE
from patience import PATIENCE_S
from tiny_models import TinyModel

from model_store import graph_specs
from service.app import create_app
from service.engine import Accelerator, AcceleratorUnavailable, check_accelerator
from service.engine.runtime import accelerator as module
from service.engine.runtime import trial
from service.engine.runtime.accelerator import BFLOAT16_PIXEL_ATOL, CPU, CUDA_ROWS, installed_runtimes
from service.engine.runtime.batch_invariance import BATCH_SIZES, BatchInvariantGraph
from service.engine.runtime.bound_runs import BoundRuns, Device
from service.engine.runtime.session import GraphSession
from service.http import caching
from service.settings import NoAccelerator, Settings, SettingsError

ENCODER, DECODER = graph_specs(image_shape=SHAPE, latent_size=LATENT, opset=20)


# Options


def test_cpu_has_the_provider_of_every_release_before_and_no_options():
    assert CPU.providers(threads=3) == [("CPUExecutionProvider", {})]
    assert CPU.is_plain
    assert (CPU.rows, CPU.binds, CPU.memory) == (None, False, "cpu")


def test_cuda_options_bound_memory_choose_algorithms_by_heuristic_and_keep_float32():
    chosen = Accelerator("cuda", device_id=3, memory_bytes=1 << 30)
    (name, options), (second, _) = chosen.providers(threads=1)
    assert (name, second) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options == {
        "device_id": "3",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
        "gpu_mem_limit": str(1 << 30),
    }
    assert "gpu_mem_limit" not in Accelerator("cuda").providers(threads=1)[0][1]
    assert (chosen.rows, chosen.binds, chosen.memory) == (CUDA_ROWS, True, "cuda")


def test_runs_of_cuda_have_the_rows_of_the_largest_batch():
    assert max(BATCH_SIZES) == CUDA_ROWS


@pytest.mark.parametrize(("precision", "hint"), [("float32", "f32"), ("bfloat16", "bf16")])
def test_openvino_options_are_the_precision_and_the_threads_as_json(precision, hint):
    (name, options), _ = Accelerator("openvino", precision, parallel_runs=4).providers(threads=2)
    assert name == "OpenVINOExecutionProvider"
    assert options["device_type"] == "CPU"
    assert json.loads(options["load_config"]) == {
        "CPU": {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": "8", "NUM_STREAMS": "4"}
    }


def test_bfloat16_has_its_own_tolerance_and_float32_that_of_the_manifest(loaded):
    manifest = loaded.manifest
    assert Accelerator("openvino").tolerant(manifest) is manifest
    wider = Accelerator("openvino", "bfloat16").tolerant(manifest)
    assert wider.golden.pixel_atol == BFLOAT16_PIXEL_ATOL > manifest.golden.pixel_atol
    assert wider.model_copy(update={"golden": manifest.golden}) == manifest


# Refusals


def test_onnxruntime_without_the_provider_is_refused_with_the_commands_that_install_it():
    with pytest.raises(AcceleratorUnavailable) as caught:
        Accelerator("cuda").check_installed(["CPUExecutionProvider"], version="1.31.1")
    text = str(caught.value)
    assert "cuda: expected an onnxruntime with CUDAExecutionProvider, got onnxruntime 1.31.1 with CPU" in text
    assert "pip install 'vae-service[gpu]' && pip uninstall -y onnxruntime && pip install" in text
    assert text.endswith("--force-reinstall --no-deps onnxruntime-gpu.")


def test_several_distributions_of_onnxruntime_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(module, "installed_runtimes", lambda: ("onnxruntime", "onnxruntime-openvino"))
    available = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(AcceleratorUnavailable, match="got onnxruntime and onnxruntime-openvino, which"):
        Accelerator("openvino").check_installed(available, version="1.24.1")
    CPU.check_installed(available, version="1.24.1")


def test_installed_distributions_are_those_of_this_environment():
    assert "onnxruntime" in installed_runtimes()


def test_etags_name_the_distribution_that_is_installed(monkeypatch):
    """With OpenVINO's, there is no `onnxruntime` to ask for its version: every cacheable answer was a 500."""
    plain = list(caching._distributions())
    assert "onnxruntime" in plain
    monkeypatch.setattr(caching, "installed_runtimes", lambda: ("onnxruntime-openvino",))
    expected = [name.replace("onnxruntime", "onnxruntime-openvino") for name in plain]
    assert list(caching._distributions()) == expected


def test_session_that_fell_back_to_the_cpu_is_refused():
    """onnxruntime logs a line and goes on (microsoft/onnxruntime#23372)."""
    with pytest.raises(AcceleratorUnavailable, match=r"expected a session on CUDA.*got only CPU.*nvidia-smi"):
        Accelerator("cuda").check_used(["CPUExecutionProvider"])
    with pytest.raises(AcceleratorUnavailable, match="got the error: no driver"):
        Accelerator("cuda").check_used([], reason="no driver")
    Accelerator("cuda").check_used(["CUDAExecutionProvider", "CPUExecutionProvider"])
    CPU.check_used(["CPUExecutionProvider"])


def test_graph_is_not_loaded_on_the_cpu_in_place_of_the_accelerator(tiny: TinyModel):
    """The same with a real session of this machine, which has no such provider."""
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(AcceleratorUnavailable, match="openvino: expected a session on OpenVINO"),
    ):
        GraphSession(tiny.decoder, DECODER, threads=1, accelerator=Accelerator("openvino"))


def test_precision_is_that_of_the_evidence_and_not_of_the_option():
    with pytest.raises(AcceleratorUnavailable, match="expected bfloat16, got a result of float32"):
        Accelerator("openvino", "bfloat16").check_precision(False)
    with pytest.raises(AcceleratorUnavailable, match="expected float32, got a result of fewer bits"):
        Accelerator("openvino").check_precision(True)
    Accelerator("openvino", "bfloat16").check_precision(True)
    Accelerator("openvino").check_precision(False)


def test_trial_graph_is_valid_onnx():
    onnx.checker.check_model(onnx.load_from_string(trial.GRAPH), full_check=True)


def test_trial_graph_tells_float32_from_bfloat16():
    session = onnxruntime.InferenceSession(trial.GRAPH, providers=["CPUExecutionProvider"])
    (exact,) = session.run(None, {trial.INPUT: trial.VALUES})
    assert not trial.has_rounded(exact)
    halved = (trial.VALUES.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    (rounded,) = session.run(None, {trial.INPUT: halved})
    assert trial.has_rounded(rounded)


def test_check_of_the_cpu_starts_no_session(monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    check_accelerator(CPU)


@pytest.mark.parametrize(("command", "kind"), [("check", "cuda"), ("run", "cuda"), ("run", "openvino")])
def test_command_without_the_accelerator_ends_with_its_own_exit_code(command, kind, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "service", command, "--store", tmp_path, "--accelerator", kind, "--port", "0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 71, done.stderr
    assert f"vae-serve: --accelerator or VAE_ACCELERATOR: {kind}: expected an onnxruntime with" in done.stderr


def test_bfloat16_without_openvino_is_an_invalid_setting(tmp_path):
    with pytest.raises(SettingsError, match="VAE_PRECISION: expected float32, or bfloat16 with") as caught:
        create_app(Settings(model_store=tmp_path, precision="bfloat16"))
    assert not isinstance(caught.value, NoAccelerator)


# Runs


@dataclass(frozen=True)
class BoundCpu(Accelerator):
    """The CPU, used as a device with memory of its own."""

    binds: bool = True
    rows: int | None = None


@pytest.mark.parametrize("rows", [None, 64], ids=["any number of rows", "padded"])
@pytest.mark.parametrize("spec", [ENCODER, DECODER], ids=["encoder", "decoder"])
def test_bound_runs_equal_plain_ones_bit_for_bit(tiny: TinyModel, spec, rows):
    graph = tiny.encoder if spec is ENCODER else tiny.decoder
    shape = SHAPE if spec is ENCODER else (LATENT,)
    plain = GraphSession(graph, spec, threads=1)
    bound = GraphSession(graph, spec, threads=1, accelerator=BoundCpu(rows=rows))
    random = np.random.default_rng(0)
    kept = []
    for count in (1, 64, 3, 64, 16):
        values = random.standard_normal((count, *shape), dtype=np.float32)
        expected = plain.run(values) if rows is None else padded(plain, values)
        kept.append((expected, bound.run(values)))
    for expected, found in kept:  # at the end: no run may overwrite the outputs of an earlier one
        assert len(expected) == len(found)
        for one, other in zip(expected, found, strict=True):
            assert one.dtype == other.dtype == np.float32
            np.testing.assert_array_equal(one, other)


def padded(session: GraphSession, values: np.ndarray) -> list[np.ndarray]:
    whole = np.zeros((64, *values.shape[1:]), np.float32)
    whole[: len(values)] = values
    return [output[: len(values)] for output in session.run(whole)]


def test_threads_have_buffers_of_their_own(tiny: TinyModel):
    bound = GraphSession(tiny.decoder, DECODER, threads=1, accelerator=BoundCpu())
    plain = GraphSession(tiny.decoder, DECODER, threads=1)
    latents = np.random.default_rng(0).standard_normal((4, 50, 8, LATENT), dtype=np.float32)
    found: dict[int, list[np.ndarray]] = {}
    ready = threading.Barrier(len(latents))

    def work(number: int) -> None:
        ready.wait()
        found[number] = [bound.run(rows)[0] for rows in latents[number]]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(latents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, batches in enumerate(latents):
        for rows, output in zip(batches, found[number], strict=True):
            np.testing.assert_array_equal(output, plain.run(rows)[0])


def test_padded_graph_is_batch_invariant_where_the_plain_one_is_not(tiny: TinyModel):
    """A seed draws the same image alone and among others, because every run has the same shape."""
    graph = BatchInvariantGraph(
        GraphSession(tiny.decoder, DECODER, threads=1, accelerator=BoundCpu(rows=CUDA_ROWS))
    )
    latents = np.random.default_rng(0).standard_normal((64, LATENT), dtype=np.float32)
    graph.allow_exact_batches(lambda count: latents[:count])
    assert graph.batch_sizes == BATCH_SIZES


class SlowBinding:
    """Counts how often buffers are made."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session
        self.bindings = 0

    def io_binding(self):
        self.bindings += 1
        return self.session.io_binding()

    def run_with_iobinding(self, binding) -> None:
        self.session.run_with_iobinding(binding)


def test_buffers_are_made_once_for_each_number_of_rows(tiny: TinyModel):
    counted = SlowBinding(onnxruntime.InferenceSession(tiny.decoder, providers=["CPUExecutionProvider"]))
    runs = BoundRuns(
        counted,
        onnxruntime.OrtValue.ortvalue_from_shape_and_type,
        input_=("z", [LATENT]),
        outputs=[("x_hat", list(SHAPE))],
        device=Device("cpu"),
    )
    for count in (1, 2, 1, 2, 1):
        runs.run(np.zeros((count, LATENT), np.float32))
    assert counted.bindings == 2
