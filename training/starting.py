"""Training that begins with the weights of a published version, in place of drawn ones.

Knows that an exported graph keeps the names of the model's parameters. Knows nothing of how it is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from model_store import GaussianLikelihood, ModelStore, VersionId
from training.errors import ConfigError
from training.models import Gaussian, LatentImageModel

#: What the exporter puts before the names of parameters: the graph's module holds the model as `model`.
_PREFIX = "model."
_NAMED = 3


@dataclass(frozen=True, eq=False)
class StartingWeights:
    """The parameters of a published version, by their names in the model."""

    version: VersionId
    tensors: dict[str, Tensor]
    sigma: float | None
    """Of a Gaussian likelihood."""

    @classmethod
    def read(cls, reference: str, store: ModelStore) -> StartingWeights:
        """Of `name@3`, verified.

        Raises:
            StoreError: There is no such version, or it cannot be trusted.
        """
        published = store.open(reference)
        tensors = {
            each.name.removeprefix(_PREFIX): torch.from_numpy(numpy_helper.to_array(each).copy())
            for graph in (published.encoder, published.decoder)
            for each in onnx.load_from_string(graph).graph.initializer
            if each.name.startswith(_PREFIX)
        }
        stated = published.manifest.likelihood
        sigma = stated.sigma if isinstance(stated, GaussianLikelihood) else None
        return cls(version=published.id, tensors=tensors, sigma=sigma)

    def put_into(self, model: LatentImageModel) -> None:
        """Replace the model's weights; a learned σ begins where the version's ended.

        Raises:
            ConfigError: The version is of other layers.
        """
        networks = {
            name: parameter
            for name, parameter in model.named_parameters()
            if not name.startswith("likelihood.")
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
                f"trainer.start_from: expected a version with the recipe's layers and image shape, got "
                f"{self.version} with others: {'; '.join(others[:_NAMED])}{more}. Give the recipe the "
                "[model] section that the version's manifest.json states, or start from another version."
            )
        with torch.no_grad():
            for name, parameter in networks.items():
                parameter.copy_(stated[name])
        likelihood = model.likelihood
        if isinstance(likelihood, Gaussian) and likelihood.learned and self.sigma is not None:
            likelihood.begin_at(self.sigma)

    def _biases_of_zero(self, networks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the exporter leaves out, because it adds nothing: biases of zeros."""
        return {
            name: torch.zeros_like(parameter)
            for name, parameter in networks.items()
            if name.endswith(".bias") and f"{name.removesuffix('bias')}weight" in self.tensors
        }


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else " x ".join(map(str, tensor.shape)) or "()"
