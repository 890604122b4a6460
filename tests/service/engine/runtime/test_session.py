"""One graph in onnxruntime: what is refused, and what the process does not do behind our back."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from patience import PATIENCE_S, slowness
from tiny_models import TinyModel, make_model

from model_store import graph_specs
from service.engine import InferenceFailed, ModelRejected
from service.engine.runtime import session
from service.engine.runtime.session import GraphSession

SHAPE, LATENT, OPSET = (1, 6, 7), 5, 20
SOURCES = Path(session.__file__).resolve().parents[2]
ENCODER, DECODER = graph_specs(image_shape=SHAPE, latent_size=LATENT, opset=OPSET)


def test_a_graph_gives_what_its_formula_gives(tiny: TinyModel):
    z = np.random.default_rng(0).standard_normal((7, LATENT), dtype=np.float32)
    (x_hat,) = GraphSession(tiny.decoder, DECODER, threads=1).run(z)
    np.testing.assert_allclose(x_hat, tiny.decode(z), atol=1e-6)


def test_outputs_come_in_the_order_of_the_spec(tiny: TinyModel):
    """mu and logvar have one shape: only the name tells them apart."""
    proto = tiny.encoder_proto()
    outputs = list(proto.graph.output)
    del proto.graph.output[:]
    proto.graph.output.extend(reversed(outputs))
    x = np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32)
    mu, logvar = GraphSession(proto.SerializeToString(), ENCODER, threads=1).run(x)
    np.testing.assert_allclose(mu, tiny.encode(x)[0], atol=1e-5)
    np.testing.assert_allclose(logvar, tiny.encode(x)[1], atol=1e-5)


def mean_encoder(image_shape: tuple[int, ...]) -> bytes:
    """A graph whose first operator sums over the image."""
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [3], [1, 2, 3])
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Flatten", ["mean"], ["mu"]),
        helper.make_node("Neg", ["mu"], ["logvar"]),
    ]
    tensors: dict[str, list[str | int | None]] = {
        "x": ["batch", *image_shape],
        "mu": ["batch", 1],
        "logvar": ["batch", 1],
    }
    values = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in tensors.items()
    }
    graph = helper.make_graph(
        nodes, "mean", [values["x"]], [values["mu"], values["logvar"]], initializer=[axes]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return bytes(model.SerializeToString())


def test_bits_do_not_depend_on_where_the_rows_lie_in_memory() -> None:
    """Parts of a message, and rows in the middle of a batch, begin anywhere."""
    shape = (1, 31, 31)
    encoder, _ = graph_specs(image_shape=shape, latent_size=1, opset=OPSET)
    run = GraphSession(mean_encoder(shape), encoder, threads=1).run
    for seed in range(20):
        rows = np.random.default_rng(seed).random((3, *shape), dtype=np.float32)
        expected = run(rows)[0].tobytes()
        for offset in (1, 4, 6, 8, 12):
            moved = np.frombuffer(bytes(offset) + rows.tobytes(), np.uint8)[offset:].view(np.float32)
            assert run(moved.reshape(rows.shape))[0].tobytes() == expected, offset


@pytest.mark.parametrize(
    "data", [b"", b"not a graph", b"\x08\x0a" + b"\xff" * 100], ids=["empty", "text", "noise"]
)
def test_bytes_that_are_no_graph_are_rejected_by_file_name(data):
    with pytest.raises(ModelRejected, match=r"^decoder\.onnx: expected a graph that onnxruntime .* can load"):
        GraphSession(data, DECODER, threads=1)


def decoder(
    *,
    name: str = "z",
    out: str = "x_hat",
    latent: Any = LATENT,
    batch: Any = "batch",
    image: tuple = SHAPE,
) -> bytes:
    pixels = int(np.prod(image))
    nodes = [
        helper.make_node("MatMul", [name, "w"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], [out]),
    ]
    weights: dict[str, Any] = {
        "w": np.zeros((LATENT, pixels), np.float32),
        "shape": np.array([-1, *image], np.int64),
    }
    return make_model(nodes, {name: (batch, latent)}, {out: (batch, *image)}, weights).SerializeToString()


def test_the_helper_graph_is_accepted_as_it_stands():
    GraphSession(decoder(), DECODER, threads=1)


@pytest.mark.parametrize(
    ("graph", "got"),
    [
        (decoder(name="latent"), r"latent tensor\(float\)"),
        (decoder(out="image"), r"image tensor\(float\)"),
        (decoder(image=(1, 7, 6)), "7, 6"),
        (decoder(image=(42,)), "42"),
        (decoder(latent="dynamic"), "'batch', 'batch'"),
        (decoder(batch=4), r"\[4, 5\]"),
    ],
    ids=["input name", "output name", "image shape", "rank", "dynamic latent", "fixed batch"],
)
def test_tensors_other_than_the_manifests_are_rejected(graph, got):
    with pytest.raises(ModelRejected, match=rf"decoder\.onnx: expected (in|out)puts .*got .*{got}"):
        GraphSession(graph, DECODER, threads=1)


def test_another_element_type_is_rejected(tiny: TinyModel):
    proto = onnx.load_from_string(decoder())
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(ModelRejected, match=r"decoder\.onnx"):
        GraphSession(proto.SerializeToString(), DECODER, threads=1)


def test_an_additional_input_is_rejected(tiny: TinyModel):
    proto = onnx.load_from_string(decoder())
    proto.graph.input.append(helper.make_tensor_value_info("noise", onnx.TensorProto.FLOAT, ["batch", 3]))
    with pytest.raises(ModelRejected, match="noise"):
        GraphSession(proto.SerializeToString(), DECODER, threads=1)


def test_an_error_of_the_runtime_becomes_our_own_and_is_logged(tiny: TinyModel, caplog):
    """No caller can reach this through the model, which checks shapes first; a broken graph can."""
    with pytest.raises(InferenceFailed, match=r"^decoder\.onnx: onnxruntime failed on a batch of 2"):
        GraphSession(tiny.decoder, DECODER, threads=1).run(np.zeros((2, LATENT + 1), np.float32))
    assert [record.getMessage() for record in caplog.records] == ["inference failed"]


def threads_alive() -> set[str]:
    return {path.name for path in Path("/proc/self/task").iterdir()}


def test_only_the_threads_given_are_started(tiny: TinyModel):
    """The default would be one for each core of the host, whatever the container may use."""
    before = threads_alive()
    one = GraphSession(tiny.decoder, DECODER, threads=1)
    assert not threads_alive() - before
    four = GraphSession(tiny.decoder, DECODER, threads=4)
    assert len(threads_alive() - before) == 3
    del one, four


#: Half a second of being idle between runs, and what that costs.
PROBE = """
import sys, time, resource, pathlib
import numpy as np
from service.engine.runtime.session import GraphSession
from model_store import graph_specs
spec = graph_specs(image_shape=(1, 6, 7), latent_size=5, opset=20)[1]
session = GraphSession(pathlib.Path(sys.argv[1]).read_bytes(), spec, threads=4)
z = np.zeros((4096, 5), np.float32)
for _ in range(20): session.run(z)
before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
for _ in range(10):
    session.run(z)
    time.sleep(0.05)
print(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before)
"""


@pytest.fixture
def probe(tiny: TinyModel, tmp_path: Path):
    """Runs the probe in a process whose home and cache are empty; gives CPU seconds and files written."""
    graph = tmp_path / "decoder.onnx"
    graph.write_bytes(tiny.decoder)

    def run(program: str = PROBE, **variables: str) -> tuple[float, list[str]]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        # Nothing else from here: onnxruntime sends nothing where it sees the variables of a build service.
        environment = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(home / "cache"), "HOME": str(home)}
        environment |= variables
        done = subprocess.run(
            [sys.executable, "-B", "-c", program, str(graph)],
            capture_output=True, text=True, check=True, timeout=PATIENCE_S, env=environment,
        )  # fmt: skip
        return float(done.stdout), sorted(str(p.relative_to(home)) for p in home.rglob("*"))

    return run


@pytest.mark.hazard_row("quiet")
def test_no_telemetry_is_written(probe):
    assert probe()[1] == []


def test_a_variable_that_allows_telemetry_is_overruled(probe):
    assert probe(ORT_DISABLE_TELEMETRY="0")[1] == []


def test_the_telemetry_probe_can_fail(probe):
    """The same probe, with onnxruntime imported before the engine has spoken."""
    assert any("onnxruntime" in name for name in probe("import onnxruntime\n" + PROBE)[1])


def test_idle_threads_do_not_spin(probe):
    """Spinning costs 0.2 s of this half second, not spinning 0.004 s."""
    assert probe()[0] < 0.05 * slowness()


def test_the_idle_probe_can_fail(probe):
    spinning = "import onnxruntime\nonnxruntime.SessionOptions.add_session_config_entry = lambda *_: None\n"
    assert probe(spinning + PROBE, ORT_DISABLE_TELEMETRY="1")[0] > 0.05  # cores shared with others spin less


#: Megabytes that stay after one large batch, whose hidden values alone take 67 MB.
ARENA_PROBE = """
import pathlib, sys
import numpy as np
from service.engine.runtime.session import GraphSession
from model_store import graph_specs
def resident_mb(): return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
spec = graph_specs(image_shape=(1, 6, 7), latent_size=5, opset=20)[1]
session = GraphSession(pathlib.Path(sys.argv[1]).read_bytes(), spec, threads=1)
session.run(np.zeros((1, 5), np.float32))
before = resident_mb()
session.run(np.zeros((200_000, 5), np.float32))
print(resident_mb() - before)
"""


def test_memory_of_a_large_batch_is_given_back(probe):
    assert probe(ARENA_PROBE)[0] < 15


def test_the_arena_probe_can_fail(probe):
    keeping = (
        "import onnxruntime\n"
        "onnxruntime.SessionOptions.enable_cpu_mem_arena = property(lambda _: True, lambda *_: None)\n"
    )
    assert probe(keeping + ARENA_PROBE, ORT_DISABLE_TELEMETRY="1")[0] > 50


def test_nothing_else_in_the_server_imports_onnxruntime():
    """Whoever imports it first decides about telemetry."""
    importers = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import)
                else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            )  # fmt: skip
            if any(name.split(".")[0] == "onnxruntime" for name in names):
                importers.add(path.relative_to(SOURCES).as_posix())
    assert importers == {"engine/runtime/session.py"}
