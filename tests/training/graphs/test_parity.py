"""onnxruntime must compute what torch computes, on every batch size, or the export fails."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from patience import PATIENCE_S

from model_store.manifest import GoldenSpec
from training.config.model_section import MLPTrunk, ModelConfig, ResidualTrunk
from training.errors import ExportError
from training.graphs.export import export_graphs
from training.graphs.parity import OnnxPair, check_parity, record_golden_vectors
from training.models import build_model

SPEC = GoldenSpec()


@pytest.fixture(scope="module", params=["mlp", "residual"])
def model(request):
    trunks: dict[str, Any] = {
        "mlp": MLPTrunk(encoder_hidden=(32,), decoder_hidden=(32,)),
        "residual": ResidualTrunk(encoder_channels=(4, 6), decoder_channels=(4, 6)),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(ModelConfig(latent_size=5, trunk=trunks[request.param]), (1, 28, 28)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                # Residual branches start at zero, where an exporter that lost one would go unnoticed.
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def graphs(model):
    return export_graphs(model)


@pytest.fixture(scope="module")
def probes(digits):
    generator = torch.Generator().manual_seed(0)
    return {"x": digits.test.images[:74] / 255.0, "z": torch.randn(74, 5, generator=generator)}


def change(data, edit):
    """An exported file with something changed."""
    model = onnx.load_from_string(data)
    edit(model.graph)
    return model.SerializeToString()


def shift_a_weight(by):
    def edit(graph):
        weight = max(graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = numpy_helper.to_array(weight).copy()
        values[...] += by
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    return edit


def test_exported_pair_agrees_well_within_the_bounds(model, graphs, probes):
    parity = check_parity(model, OnnxPair(graphs), **probes, spec=SPEC)
    assert 0.0 < parity.mu < SPEC.latent_atol / 10
    assert 0.0 < parity.logvar < SPEC.latent_atol / 10
    assert 0.0 < parity.x_hat < SPEC.pixel_atol / 5
    assert "batches of 1, 2, 7, 64" in str(parity)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_weights_that_differ_slightly_fail_the_comparison(model, graphs, probes, half):
    spoilt = replace(graphs, **{half: change(getattr(graphs, half), shift_a_weight(0.002))})
    name = {"encoder": "mu|logvar", "decoder": "x_hat"}[half]
    with pytest.raises(ExportError, match=rf"parity: ({name}) on a batch of 1: expected .* at most .*, got"):
        check_parity(model, OnnxPair(spoilt), **probes, spec=SPEC)


def test_infinite_and_nan_outputs_fail_the_comparison(model, graphs, probes):
    """NaN compares false with everything, so a careless comparison lets it through."""
    spoilt = replace(graphs, encoder=change(graphs.encoder, shift_a_weight(np.nan)))
    with pytest.raises(ExportError, match="got nan"):
        check_parity(model, OnnxPair(spoilt), **probes, spec=SPEC)


def test_swapped_mu_and_logvar_are_found(model, graphs, probes):
    def swap(graph):
        for node in graph.node:
            names = {"mu": "logvar", "logvar": "mu"}
            for field in (node.output, node.input):
                field[:] = [names.get(name, name) for name in field]

    spoilt = replace(graphs, encoder=change(graphs.encoder, swap))
    with pytest.raises(ExportError, match="parity: mu on a batch of 1"):
        check_parity(model, OnnxPair(spoilt), **probes, spec=SPEC)


def test_batch_axis_that_was_fixed_is_found(model, graphs, probes):
    def fix(graph):
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    spoilt = replace(graphs, decoder=change(graphs.decoder, fix))
    with pytest.raises(
        ExportError, match=r"decoder: onnxruntime .* fails on a batch of 2: .*Got: 2 Expected: 1"
    ):
        check_parity(model, OnnxPair(spoilt), **probes, spec=SPEC)


def test_file_that_onnxruntime_refuses_is_told(graphs):
    with pytest.raises(ExportError, match=r"decoder: onnxruntime [\d.]+ rejects the exported file"):
        OnnxPair(replace(graphs, decoder=graphs.decoder[:100]))


def test_golden_vectors_are_the_runtime_s_answers_and_pass_their_own_check(graphs, probes):
    runtime = OnnxPair(graphs)
    golden = record_golden_vectors(runtime, x=probes["x"][:8], z=probes["z"][:8])
    mu, logvar = runtime.encode(golden.x)
    golden.check_encoder(mu, logvar, SPEC)
    golden.check_decoder(runtime.decode(golden.z), SPEC)
    np.testing.assert_array_equal(golden.x, probes["x"][:8].numpy())
    assert golden.mu.shape == golden.z.shape == (8, 5)


def test_answers_do_not_depend_on_batch_mates(graphs, probes):
    runtime = OnnxPair(graphs)
    x = probes["x"].numpy()
    together, alone = (
        runtime.encode(x[:64])[0],
        np.concatenate([runtime.encode(x[i : i + 1])[0] for i in range(64)]),
    )
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)


TELEMETRY = """
import sys
from training.graphs.parity import _runtime
assert "onnxruntime" not in sys.modules
_runtime()
import numpy, onnx, onnxruntime
"""


def test_runtime_writes_no_telemetry(tmp_path):
    """onnxruntime does so by default; its traces appear below the cache directory."""
    # Nothing else from here: onnxruntime sends nothing where it sees the variables of a build service.
    environment = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", TELEMETRY], env=environment, check=True, timeout=PATIENCE_S)
    assert not list(tmp_path.rglob("*onnxruntime*"))
