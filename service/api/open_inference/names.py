"""The models of the protocol: four of each model of the store, and what a name means.

Knows names, suffixes and tensors. Knows nothing of requests.

    NAME           x            mu, logvar, x_hat     encode and reconstruct
    NAME-encoder   x            mu, logvar            encode
    NAME-decoder   z            x_hat                 decode
    NAME-sampler   seed         z, x_hat              sample

A model of the store may itself be called `digits-encoder`. The longest name that the store has counts: then
`digits-encoder` is all of that model, and the encoder of `digits` has no name.
"""

from __future__ import annotations

import functools
import math
from enum import Enum
from typing import Final

from model_store import ModelNotFound, StoreError
from model_store.reference import is_model_name, version_number
from service.api.open_inference.tensors import TensorSpec
from service.app_state import AppState
from service.engine import LoadedModel, NoPrior, UnknownModel

#: Longest name: one of the store and a suffix.
_MOST_CHARACTERS: Final = 64 + 8


class Part(Enum):
    """The part of a VAE that a model of the protocol is; the value is its suffix."""

    WHOLE = ""
    ENCODER = "-encoder"
    DECODER = "-decoder"
    SAMPLER = "-sampler"

    __hash__ = object.__hash__  # as `Format` has it


class ServedModel:
    """One model of the protocol, of one version.

    Attributes:
        part: The part of the VAE.
        loaded: The version.
        name: The requested name, such as `mnist-encoder`.
        version: The number of the version, as text.
    """

    __slots__ = ("loaded", "name", "part", "version")

    def __init__(self, part: Part, loaded: LoadedModel, name: str | None = None) -> None:
        self.part = part
        self.loaded = loaded
        self.name = (name or loaded.id.name) + part.value
        self.version = str(loaded.id.version)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Its inputs, as its metadata states them: programs that generate requests send all of these."""
        return _tensors(self.part, self.loaded.image_shape, self.loaded.latent_shape)[0]

    @property
    def accepted_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs of which a request has exactly one: `image` may stand for `x`."""
        return (*self.inputs, _PICTURE) if self.part in (Part.WHOLE, Part.ENCODER) else self.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Its outputs, in the order of a response to a request that names none."""
        return _tensors(self.part, self.loaded.image_shape, self.loaded.latent_shape)[1]

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for models that accept the same requests."""
        queued = self.loaded.queued
        shapes = queued.image_shape, self.loaded.latent_shape, queued.latent_shape
        return self.part.value, *shapes, queued.max_batch, queued.is_bounded

    @property
    def row_values(self) -> int:
        """Numbers of one row of its input."""
        return _tensors(self.part, self.loaded.image_shape, self.loaded.latent_shape)[2]

    @property
    def max_batch(self) -> int:
        """Maximum number of rows of a request."""
        return self.loaded.max_batch


_PICTURE: Final = TensorSpec("image", "BYTES", (-1,))


@functools.lru_cache(maxsize=256)
def _tensors(
    part: Part, image: tuple[int, ...], latent: tuple[int, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], int]:
    """Inputs, outputs, and the numbers of one row of the input."""
    x = TensorSpec("x", "FP32", (-1, *image))
    seed = TensorSpec("seed", "INT64", (-1,))
    z = TensorSpec("z", "FP32", (-1, *latent))
    mu = TensorSpec("mu", "FP32", (-1, *latent))
    logvar = TensorSpec("logvar", "FP32", (-1, *latent))
    x_hat = TensorSpec("x_hat", "FP32", (-1, *image))
    inputs, outputs = {
        Part.WHOLE: ((x,), (mu, logvar, x_hat)),
        Part.ENCODER: ((x,), (mu, logvar)),
        Part.DECODER: ((z,), (x_hat,)),
        Part.SAMPLER: ((seed,), (z, x_hat)),
    }[part]
    return inputs, outputs, math.prod(inputs[0].row)


def parts_of(loaded: LoadedModel) -> tuple[Part, ...]:
    """The parts of a version: an autoencoder without a prior has no sampler, and some lack a graph."""
    needs = {
        Part.WHOLE: (loaded.encoder, loaded.decoder),
        Part.ENCODER: (loaded.encoder,),
        Part.DECODER: (loaded.decoder,),
        Part.SAMPLER: (loaded.decoder, loaded.manifest.priors or None),
    }
    return tuple(part for part in Part if None not in needs[part])


class ModelNames:
    """Finds the model that a name and a version mean."""

    def __init__(self, app_state: AppState) -> None:
        self._app_state = app_state
        self._registry = app_state.registry

    async def find(self, name: str, version: str = "", key: str | None = None) -> ServedModel:
        """The model; it is loaded if it exists and is not in memory.

        Args:
            name: A name of the protocol.
            version: A number of the store; empty: the version of the default alias.
            key: That of a request, for an alias that splits; None: the alias's own version.

        Raises:
            UnknownModel: There is no such model or version.
            ModelUnavailable: It exists and cannot be served.
            NoPrior: The sampler of a version without a prior.
        """
        base, part = self.split(name)
        reference = base
        if version:
            if version_number(version) is None:
                raise UnknownModel(f"{name}@{version}"[:_MOST_CHARACTERS], self.versions_known(name))
            reference = f"{base}@{version}"
        loaded = self._registry.peek(reference, key)
        if loaded is None:
            loaded = await self._load(name, reference)
        if part is Part.SAMPLER and not loaded.manifest.priors:
            raise NoPrior(loaded.label)
        return ServedModel(part, loaded, base)

    async def _load(self, name: str, reference: str) -> LoadedModel:
        try:
            return await self._app_state.pool.run(self._registry.get, reference)
        except UnknownModel:
            version = reference.partition("@")[2]
            asked = f"{name}@{version}" if version else name
            raise UnknownModel(asked, self.versions_known(name) if version else self.known()) from None

    def split(self, name: str) -> tuple[str, Part]:
        """The name of the store, and the part of it: the longest name that the store has.

        Raises:
            UnknownModel: Not of the form of a name.
        """
        registry = self._registry
        if registry.has_name(name):
            return name, Part.WHOLE
        for part in (Part.ENCODER, Part.DECODER, Part.SAMPLER):
            base = name.removesuffix(part.value)
            if base != name and registry.has_name(base):
                return base, part
        if not is_model_name(name):
            raise UnknownModel(name[:_MOST_CHARACTERS], self.known())
        return name, Part.WHOLE  # published a moment ago, or unknown: the registry decides

    def known(self) -> tuple[str, ...]:
        """Every name of the protocol in memory, sorted."""
        return tuple(sorted({each.name for each in self.loaded()}))

    def versions_known(self, name: str) -> tuple[str, ...]:
        """`name@3` for each version of a name in memory."""
        return tuple(f"{each.name}@{each.version}" for each in self.loaded() if each.name == name)

    def loaded(self) -> tuple[ServedModel, ...]:
        """Every model of the protocol in memory that its name means, by name and version."""
        found = [
            (name, ServedModel(part, loaded, name))
            for loaded in self._registry.loaded()
            for name in self._names_of(loaded)
            for part in parts_of(loaded)
        ]
        return tuple(each for name, each in found if self.split(each.name) == (name, each.part))

    def _names_of(self, loaded: LoadedModel) -> tuple[str, ...]:
        """The name in the store, and the second name if it is the default model."""
        second, name = self._registry.second_name, loaded.id.name
        return (name, second) if second is not None and self._registry.name_of(second) == name else (name,)

    async def versions(self, model: ServedModel) -> tuple[str, ...]:
        """The numbers of all versions of this model in the store, and that of the model itself, ascending."""
        name, own = model.loaded.id.name, model.loaded.id.version
        return await self._app_state.pool.run(self._versions, name, own)

    def _versions(self, name: str, own: int) -> tuple[str, ...]:
        try:
            found = set(self._app_state.store.versions(name))
        except (ModelNotFound, StoreError, OSError):
            found = set()
        return tuple(map(str, sorted(found | {own})))
