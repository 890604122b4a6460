"""vae-store import proves what it publishes, refuses what cannot be served, and says what to do instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from imported_graphs import (
    FLAT,
    KL,
    SHIFT,
    TINY,
    flat_encoder,
    optimum_folder,
    two_files,
    with_external_data,
    with_nodes,
)
from onnx import helper

from model_store import ImportedProvenance, ModelStore
from model_store.cli import main
from service.commands.runtime_commands import COMMANDS

Import = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    """Runs `vae-store import --json`; returns its document."""

    def run(*arguments: object, code: int = 0, name: str = "mine") -> dict[str, Any]:
        argv = ["import", *map(str, arguments), "--name", name, "--store", str(tmp_path / "store"), "--json"]
        assert main(argv, more=COMMANDS) == code, capsys.readouterr()
        out = capsys.readouterr()
        return json.loads(out.err if code else out.out)

    return run


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def test_an_optimum_folder_becomes_a_version_with_its_settings(
    run: Import, store: ModelStore, tmp_path: Path
) -> None:
    done = run(optimum_folder(tmp_path / "sd-onnx"), "--alias", "stable", "--licence", "MIT")
    assert done["version"] == "mine@1"
    published = store.open("mine@stable")
    manifest = published.manifest
    assert (published.encoder, published.decoder) == (KL.encoder, KL.decoder), "the bytes are not rewritten"
    assert manifest.schema_version == 5
    assert manifest.kind == "vae"
    assert manifest.image.range == (-1.0, 1.0)
    assert manifest.image.shape == (3, 256, 256)
    assert manifest.latent is not None
    assert manifest.latent.shape == (4, 32, 32)
    assert (manifest.latent.scaling_factor, manifest.latent.shift_factor) == (0.5, SHIFT)
    assert manifest.image.sizes is not None
    assert (manifest.image.sizes.multiple, manifest.image.sizes.most) == (8, 1024)
    assert manifest.encoder is not None
    assert [tensor.meaning for tensor in manifest.encoder.outputs] == ["moments"]
    assert manifest.likelihood.name == "unknown"
    assert manifest.priors == ()
    assert isinstance(manifest.provenance, ImportedProvenance)
    assert manifest.provenance.source == "the folder sd-onnx of Optimum"
    assert published.golden.other is not None
    height, width = published.golden.other.x.shape[2:]
    assert height != width
    assert not [check for check in done["checks"] if check["result"] == "warning"]


def test_the_reach_of_a_decoder_is_measured(run: Import, store: ModelStore, tmp_path: Path) -> None:
    """A 3 × 3 convolution after the upsampling reaches the pixels next to a latent's own: one latent away."""
    run(optimum_folder(tmp_path / "sd-onnx"))
    latent = store.manifest("mine").latent
    assert latent is not None
    assert latent.decoder_reach == 1


def test_two_files_are_tried_in_both_ranges(run: Import, store: ModelStore, tmp_path: Path) -> None:
    run(*two_files(tmp_path, TINY.encoder, TINY.decoder))
    manifest = store.manifest("mine")
    assert manifest.image.range == (0.0, 1.0)
    assert manifest.kind == "ae"
    assert manifest.encoder is not None
    assert [tensor.meaning for tensor in manifest.encoder.outputs] == ["mu"]


def test_a_range_whose_round_trip_is_worse_is_refused(run: Import, store: ModelStore, tmp_path: Path) -> None:
    told = run(*two_files(tmp_path, TINY.encoder, TINY.decoder), "--range=-1:1", code=65)
    assert told["error"] == "ImportRefused"
    assert "--range=0:1" in told["message"]
    assert "dB" in told["message"]
    assert store.names() == ()


def test_flat_latents_of_one_size_get_their_roles_by_name(
    run: Import, store: ModelStore, tmp_path: Path
) -> None:
    done = run(*two_files(tmp_path, flat_encoder(), FLAT.decoder), "--range=0:1")
    manifest = store.manifest("mine")
    assert manifest.encoder is not None
    roles = {tensor.name: tensor.meaning for tensor in manifest.encoder.outputs}
    assert roles == {"embedding": "mu", "log_covariance": "logvar"}
    assert manifest.image.sizes is None
    assert [prior.name for prior in manifest.priors] == ["standard"]
    assert any("--prior none" in check["detail"] for check in done["checks"])


def test_a_single_graph_is_a_version(run: Import, store: ModelStore, tmp_path: Path) -> None:
    both = two_files(tmp_path, TINY.encoder, TINY.decoder)
    run(*both[:2], "--range=0:1", name="only-encoder")
    run(*both[2:], "--range=0:1", name="only-decoder")
    assert store.manifest("only-encoder").decoder is None
    assert store.open("only-decoder").encoder == b""
    assert set(store.manifest("only-decoder").files) == {"decoder.onnx", "golden.npz", "MODEL_CARD.md"}
    assert store.problems("only-encoder") == ()


def test_check_publishes_nothing(run: Import, store: ModelStore, tmp_path: Path) -> None:
    done = run(optimum_folder(tmp_path / "sd-onnx"), "--check")
    assert done["version"] is None
    assert [check["check"] for check in done["checks"]][:2] == ["signature", "sizes"]
    assert store.names() == ()


def swapped(folder: Path) -> list[str]:
    return two_files(folder, KL.decoder, KL.encoder)


def random(folder: Path) -> list[str]:
    noise = [
        helper.make_node("RandomNormalLike", ["before"], ["eps"]),
        helper.make_node("Add", ["before", "eps"], ["latent_parameters"]),
    ]
    return two_files(folder, with_nodes(KL.encoder_proto(), noise, output="latent_parameters"), KL.decoder)


def external(folder: Path) -> list[str]:
    return two_files(folder, with_external_data(KL.encoder_proto()), KL.decoder)


def not_finite(folder: Path) -> list[str]:
    broken = [helper.make_node("Log", ["before"], ["sample"])]
    return two_files(folder, KL.encoder, with_nodes(KL.decoder_proto(), broken, output="sample"))


def of_the_whole_batch(folder: Path) -> list[str]:
    nodes = [
        helper.make_node("ReduceMean", ["before", "first"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["before", "mean"], ["sample"]),
    ]
    decoder = with_nodes(
        KL.decoder_proto(), nodes, output="sample", weights={"first": np.array([0], np.int64)}
    )
    return two_files(folder, KL.encoder, decoder)


def of_squares(folder: Path) -> list[str]:
    """Adds a weight of one size, so the graph runs only there although its axes are open."""
    nodes = [helper.make_node("Add", ["before", "grid"], ["sample"])]
    grid = np.zeros((1, 3, 64, 64), np.float32)
    decoder = with_nodes(KL.decoder_proto(), nodes, output="sample", weights={"grid": grid})
    return two_files(folder, KL.encoder, decoder)


def half_precision(folder: Path) -> list[str]:
    proto = KL.encoder_proto()
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    return two_files(folder, proto, KL.decoder)


def of_other_channels(folder: Path) -> list[str]:
    return two_files(folder, KL.encoder, TINY.decoder_proto())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (swapped, "swapped"),
        (random, "RandomNormalLike"),
        (external, "external data"),
        (not_finite, "finite"),
        (of_the_whole_batch, "independence of rows"),
        (of_squares, "H ≠ W"),
        (half_precision, "float32"),
    ],
)
def test_graphs_that_cannot_be_served_are_refused_with_the_remedy(
    run: Import, store: ModelStore, tmp_path: Path, files: Callable[[Path], list[str]], words: str
) -> None:
    told = run(*files(tmp_path), "--range=-1:1", code=65)
    assert words in told["message"]
    assert store.names() == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "neither"),
        (("folder", "--encoder", "e.onnx"), "both"),
        (("folder", "--alias", "latest"), "--alias"),
    ],
)
def test_a_command_line_that_means_nothing_is_refused(
    run: Import, arguments: tuple[str, ...], words: str
) -> None:
    assert words in run(*arguments, code=2)["message"]


def test_a_folder_without_graphs_is_named(run: Import, tmp_path: Path) -> None:
    assert "vae_encoder/model.onnx" in run(tmp_path, code=65)["message"]


def test_the_plain_command_of_the_store_has_no_import(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m model_store` must not need onnxruntime."""
    with pytest.raises(SystemExit):
        main(["import"])
    assert "invalid choice" in capsys.readouterr().err
