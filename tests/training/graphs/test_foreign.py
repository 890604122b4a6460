"""Modules of another library become graphs with open sizes, and are compared with torch at each."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from foreign_modules import FACTOR, open_pair
from torch import Tensor, nn

from training.errors import ExportError
from training.graphs.export import Graphs
from training.graphs.foreign import TOLERANCE, ForeignPair, check_foreign_parity, export_foreign
from training.graphs.parity import run_session, session_of


@pytest.fixture(scope="module")
def graphs() -> Graphs:
    return export_foreign(open_pair())


def test_graphs_run_at_sizes_and_batches_that_were_no_example(graphs: Graphs) -> None:
    pair = open_pair()
    session = session_of("encoder", graphs.encoder, 1)
    x = torch.rand(5, 3, 6 * FACTOR, 22 * FACTOR)
    (moments,) = run_session("encoder", session, ["latent_parameters"], {"sample": x.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(moments, pair.encoder(x).numpy(), atol=TOLERANCE)


def test_graphs_agree_with_torch_at_two_sizes_with_height_other_than_width(graphs: Graphs) -> None:
    parity = check_foreign_parity(open_pair(), graphs)
    assert max(parity.encoder, parity.decoder) <= TOLERANCE
    assert len(parity.sizes) == 2
    assert all(height != width for _, height, width in parity.sizes)


def test_a_graph_of_other_weights_is_refused(graphs: Graphs) -> None:
    pair = open_pair()
    with torch.no_grad():
        next(pair.decoder.parameters()).view(-1)[0] += 1e-2
    with pytest.raises(ExportError, match=r"parity: sample of the decoder.*differ by at most"):
        check_foreign_parity(pair, graphs)


def test_a_graph_whose_weights_became_nan_is_refused(graphs: Graphs) -> None:
    broken = onnx.load_from_string(graphs.encoder)
    for weight in broken.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32:
            weight.CopyFrom(onnx.numpy_helper.from_array(values * np.nan, weight.name))
    with pytest.raises(ExportError, match="latent_parameters"):
        check_foreign_parity(open_pair(), dataclasses.replace(graphs, encoder=broken.SerializeToString()))


class Flat(nn.Module):
    """x → mu, logvar."""

    def __init__(self) -> None:
        super().__init__()
        self.mu, self.logvar = nn.Linear(30, 4), nn.Linear(30, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = x.reshape(-1, 30)
        return self.mu(rows), self.logvar(rows)


def test_a_model_of_one_size_has_two_outputs_by_name() -> None:
    decoder = nn.Sequential(nn.Linear(4, 30), nn.Unflatten(1, (1, 5, 6)), nn.Sigmoid())
    pair = ForeignPair(Flat(), decoder, encoder_outputs=("mu", "logvar"), image=(1, 5, 6), latent=(4,))
    graphs = export_foreign(pair)
    parity = check_foreign_parity(pair, graphs)
    assert parity.sizes == ((1, 5, 6),)
    outputs = [each.name for each in onnx.load_from_string(graphs.encoder).graph.output]
    assert outputs == ["mu", "logvar"]
