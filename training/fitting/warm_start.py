"""Training that starts with the weights of a published version or of another run, instead of random ones.

Knows that an exported graph keeps the names of the model's parameters. Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from model_store import GaussianLikelihood, ModelStore, PublishedModel, VersionId
from model_store.manifest import Likelihood
from training.errors import ConfigError
from training.models import Gaussian, LatentImageModel
from training.runs.origin import training_of
from training.runs.run_directory import FittedRun

#: The exporter's prefix for the names of parameters: the graph's module contains the model as `model`.
_PREFIX = "model."
_NAMED = 3
_REMEDY = (
    "Use the [model] section of the version's manifest.json in the recipe, or start from another version."
)


@dataclass(frozen=True, eq=False)
class StartingWeights:
    """The parameters of a published version or a run, by their names in the model."""

    version: VersionId | Path
    tensors: dict[str, Tensor]
    likelihood: Likelihood
    logvar_bounds: tuple[object, object] | None
    """From its recipe, if it has one: the graph contains them inside, and no parameter shows them."""

    @classmethod
    def read(cls, reference: str, store: ModelStore) -> StartingWeights:
        """The weights of `name@3`, verified.

        Raises:
            StoreError: The version does not exist, or is corrupt.
            ConfigError: It was not trained here.
        """
        published = store.open(reference)
        origin = training_of(published)
        tensors = {
            each.name.removeprefix(_PREFIX): torch.from_numpy(numpy_helper.to_array(each).copy())
            for graph in (published.encoder, published.decoder)
            for each in onnx.load_from_string(graph).graph.initializer
            if each.name.startswith(_PREFIX)
        }
        tensors |= _tensors_of_prior(published)
        model = origin.recipe.get("model")
        bounds = None
        if isinstance(model, dict) and {"logvar_min", "logvar_max"} <= set(model):
            bounds = (model["logvar_min"], model["logvar_max"])
        return cls(
            version=published.id,
            tensors=tensors,
            likelihood=published.manifest.likelihood,
            logvar_bounds=bounds,
        )

    @classmethod
    def of_run(cls, run: FittedRun) -> StartingWeights:
        """The weights that an export of the run would publish."""
        return cls(
            version=run.directory.root,
            tensors={
                name: parameter.detach()
                for name, parameter in run.model.named_parameters()
                if not name.startswith("likelihood.")
            },
            likelihood=run.model.likelihood.spec(),
            logvar_bounds=run.model.logvar_bounds,
        )

    def load_into(self, model: LatentImageModel) -> None:
        """Replace the model's weights; a learned σ starts at the version's last value.

        A learned prior starts near N(0, I) if the version was trained with that, otherwise as the version's.

        Raises:
            ConfigError: The version has other layers, another likelihood, or other bounds of the variance.
        """
        self._check_unlike_weights(model)
        networks = {
            name: parameter
            for name, parameter in model.named_parameters()
            if not name.startswith("likelihood.") and (self._has_prior or not name.startswith("prior."))
        }
        stated = {**self._biases_of_zero(networks), **self.tensors}
        others = [
            f"{name} is {_shape(networks.get(name))} in the recipe and {_shape(stated.get(name))} in it"
            for name in sorted({*networks, *stated})
            if _shape(networks.get(name)) != _shape(stated.get(name))
        ]
        if others:
            more = f", and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            raise ConfigError(
                "trainer.start_from: expected a version with the recipe's layers and image shape, got "
                f"{self.version} with others: {'; '.join(others[:_NAMED])}{more}. {_REMEDY}"
            )
        with torch.no_grad():
            for name, parameter in networks.items():
                parameter.copy_(stated[name])
        likelihood = model.likelihood
        if isinstance(likelihood, Gaussian) and likelihood.learned:
            assert isinstance(self.likelihood, GaussianLikelihood), "compared above"
            likelihood.begin_at(self.likelihood.sigma)

    @property
    def _has_prior(self) -> bool:
        return any(name.startswith("prior.") for name in self.tensors)

    def _check_unlike_weights(self, model: LatentImageModel) -> None:
        """Differences that no shape of a weight shows."""
        for key, wanted, got in (
            ("model.likelihood", model.likelihood.spec().name, self.likelihood.name),
            ("model.logvar_min, model.logvar_max", model.logvar_bounds, self.logvar_bounds),
        ):
            if got is not None and wanted != got:
                raise ConfigError(
                    f"trainer.start_from: expected a version with the recipe's {key}, {wanted}, got "
                    f"{self.version} with {got}: the same weights have another meaning there. {_REMEDY}"
                )

    def _biases_of_zero(self, networks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For biases that the version lacks: the exporter leaves out those that add nothing."""
        return {
            name: torch.zeros_like(parameter)
            for name, parameter in networks.items()
            if name.endswith(".bias") and f"{name.removesuffix('bias')}weight" in self.tensors
        }


def _tensors_of_prior(published: PublishedModel) -> dict[str, Tensor]:
    """The parameters of a learned prior, by their names in the model; none without one."""
    files, entry = published.learned_prior, published.manifest.learned_prior
    if files is None or entry is None:
        return {}
    assert published.prior is not None, "verified with the manifest"
    whole, *_ = published.prior.split(entry)
    # The factor of the precision, of which the file has the inverse.
    cholesky = torch.tensor(whole.cholesky).double()
    unit = torch.eye(cholesky.shape[-1], dtype=torch.float64).expand_as(cholesky)
    factor = torch.linalg.solve_triangular(cholesky, unit, upper=False)
    flow = {
        each.name: torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in onnx.load_from_string(files.density).graph.initializer
        if each.name.startswith("prior.flow.") and not each.name.endswith(".kept")
    }
    return {
        **flow,
        "prior.mixture.logits": torch.tensor(whole.weights).log().float(),
        "prior.mixture.means": torch.tensor(whole.means),
        "prior.mixture.log_diagonal": factor.diagonal(dim1=1, dim2=2).log().float(),
        "prior.mixture.lower": torch.tril(factor, diagonal=-1).float(),
    }


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else " x ".join(map(str, tensor.shape)) or "()"
