"""Run directories as `vae-train fit` leaves them, made without training; and exports that are made once."""

from functools import cache
from pathlib import Path

import torch

from training.config.model_section import ModelConfig
from training.config.recipe import RunConfig
from training.data import ImageData
from training.evaluation.figures import evaluate, write_evaluation
from training.graphs.export import Graphs, export_graphs
from training.models import LatentImageModel, build_model
from training.runs.provenance import describe_provenance
from training.runs.run_directory import RunDirectory, save_model, save_provenance


def make_finished_run(root: Path, config: RunConfig, digits: ImageData) -> Path:
    """A run directory with untrained, seeded weights and their figures."""
    directory = RunDirectory(root)
    directory.make()
    directory.write_config(config)
    save_provenance(directory, describe_provenance(config, digits, precision="float32", threads=1))
    model = seeded_model(config.model)
    save_model(directory, model, epochs=2)
    write_evaluation(root, evaluate(model, digits.test, importance_samples=2, importance_images=9))
    return root


def make_run_with_learned_prior(root: Path, config: RunConfig, digits: ImageData) -> Path:
    """The same with a prior whose weights are all far from their start, where it would be almost N(0, I)."""
    make_finished_run(root, config, digits)
    model = seeded_model(config.model)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=noise), alpha=0.2)
    save_model(RunDirectory(root), model, epochs=2)
    write_evaluation(root, evaluate(model, digits.test, importance_samples=2, importance_images=9))
    return root


def seeded_model(config: ModelConfig) -> LatentImageModel:
    """The same weights at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(config, (1, 28, 28))


def export_once(model: LatentImageModel) -> Graphs:
    """`export_graphs`, remembered by weights: it takes a second and equal weights give equal bytes."""
    key = tuple((name, tensor.numpy().tobytes()) for name, tensor in sorted(model.state_dict().items()))
    return _export(_Keyed((model.kind, type(model.likelihood).__name__, key), model))


class _Keyed:
    """A model that is compared by its weights."""

    def __init__(self, key: tuple[object, ...], model: LatentImageModel) -> None:
        self.key = key
        self.model = model

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.key == other.key


@cache
def _export(keyed: _Keyed) -> Graphs:
    return export_graphs(keyed.model)
