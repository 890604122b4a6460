"""Exported files are self-contained, deterministic, and say nothing of the machine they were made on."""

import re
from pathlib import Path

import onnx
import pytest
import torch

from model_store.onnx_guard import check_graph
from model_store.tensor_spec import graph_specs
from training.config.model_section import GaussianConfig, MLPTrunk, ModelConfig, ResidualTrunk
from training.errors import ExportError
from training.graphs import export
from training.graphs.export import OPSET, export_graphs
from training.models import VAE, DiagonalGaussian, build_model

MLP = ModelConfig(latent_size=3, trunk=MLPTrunk(encoder_hidden=(16,), decoder_hidden=(16,)))
RESIDUAL = ModelConfig(
    latent_size=3,
    trunk=ResidualTrunk(encoder_channels=(4, 6), decoder_channels=(4, 6), encoder_blocks=1, decoder_blocks=1),
    likelihood=GaussianConfig(sigma=0.2, learned=True),
)
AUTOENCODER = MLP.model_copy(update={"kind": "ae"})


def fresh(config, image_shape=(1, 12, 10)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(config, image_shape)


@pytest.fixture(scope="module")
def exported():
    """Graphs by kind of model; each export takes a second."""
    return {
        name: export_graphs(fresh(config))
        for name, config in {"mlp": MLP, "residual": RESIDUAL, "autoencoder": AUTOENCODER}.items()
    }


KINDS = ["mlp", "residual", "autoencoder"]


@pytest.mark.parametrize("kind", KINDS)
def test_files_have_the_contract_s_names_shapes_and_open_batch_axis(exported, kind):
    """The store's own guard is the judge: it refuses what a server must not load."""
    encoder, decoder = graph_specs(image_shape=(1, 12, 10), latent_size=3, opset=OPSET)
    check_graph(exported[kind].encoder, encoder, where="encoder")
    check_graph(exported[kind].decoder, decoder, where="decoder")
    graph = onnx.load_from_string(exported[kind].encoder).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def everything_said(message):
    """Every string in a protobuf, with the name of the field it lies in."""
    for field, value in message.ListFields():
        values = value if hasattr(value, "append") else [value]
        for item in values:
            if field.message_type is not None:
                yield from everything_said(item)
            elif field.type == field.TYPE_STRING:
                yield field.name, item


@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_no_path_trace_or_note_of_the_exporting_machine(exported, kind):
    root = str(Path(__file__).parents[3])
    for data in (exported[kind].encoder, exported[kind].decoder):
        assert root.encode() not in data
        assert b"site-packages" not in data
        model = onnx.load_from_string(data)
        said = list(everything_said(model))
        assert any(name == "op_type" for name, _ in said)
        assert not [item for item in said if item[0] in ("doc_string", "key")]
        # A file name or an absolute path; "/" alone may join the scopes in a name.
        assert not [text for _, text in said if re.search(r"\.py\b|^/|File \"", text)]


def test_the_exporter_would_have_left_paths(monkeypatch):
    """The twin of the test above: without the strip it fails, so the strip is what makes it pass."""
    monkeypatch.setattr(export, "_strip", lambda graph: None)
    assert b"site-packages" in export_graphs(fresh(MLP)).encoder


def test_equal_weights_give_equal_bytes(exported):
    assert export_graphs(fresh(MLP)) == exported["mlp"]


def test_global_random_state_and_training_mode_do_not_reach_the_files(exported):
    model = fresh(MLP).train()
    torch.manual_seed(99)
    assert export_graphs(model) == exported["mlp"]


class NoisyVAE(VAE):
    """What must not be exported: it draws inside `encode`."""

    def encode(self, x):
        posterior = super().encode(x)
        return DiagonalGaussian(mu=posterior.mu + torch.randn_like(posterior.mu), logvar=posterior.logvar)


def test_noise_inside_a_graph_is_refused():
    model = fresh(MLP)
    model.__class__ = NoisyVAE
    with pytest.raises(ExportError, match="encoder: expected a graph without randomness, got RandomNormal"):
        export_graphs(model)


def test_noise_hidden_in_a_nested_graph_is_found():
    noise = onnx.helper.make_node("RandomNormal", [], ["y"], shape=[1])
    inner = onnx.helper.make_graph([noise], "inner", [], [onnx.helper.make_tensor_value_info("y", 1, [1])])
    branch = onnx.helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    outer = onnx.helper.make_graph([branch], "outer", [], [])
    assert {node.op_type for node in export._nodes(outer)} == {"If", "RandomNormal"}


class BrokenVAE(VAE):
    """The exporter cannot follow a shape that depends on pixel values."""

    def encode(self, x):
        mu = torch.zeros(len(x), self.latent_size) + float(x.sum().item() > 3.0)
        return DiagonalGaussian(mu=mu, logvar=mu)


def test_what_the_exporter_cannot_follow_is_told_with_versions():
    model = fresh(MLP)
    model.__class__ = BrokenVAE
    with pytest.raises(ExportError, match=rf"encoder: torch {re.escape(torch.__version__)} could not export"):
        export_graphs(model)


def test_another_opset_than_ours_is_refused(monkeypatch):
    """An exporter of another version may answer with an opset it likes better."""
    real = torch.onnx.export

    def newer(*arguments, **options):
        program = real(*arguments, **options)
        program.model.opset_imports[""] = 23
        return program

    monkeypatch.setattr(torch.onnx, "export", newer)
    with pytest.raises(ExportError, match=r"encoder: expected only opset 20 of ai\.onnx, got"):
        export_graphs(fresh(MLP))


def test_weights_of_another_precision_are_refused():
    with pytest.raises(ExportError, match=r"expected float32 weights on the CPU, got torch\.float64 on cpu"):
        export_graphs(fresh(MLP).double())
