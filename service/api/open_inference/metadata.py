"""Documents about the server and its models, and the list of the repository.

Knows the shapes of the protocol's documents. Knows nothing of requests or of HTTP.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema

from model_store.release import release
from service.api.open_inference.names import ServedModel
from service.api.open_inference.tensors import TensorSpec
from service.http.document import Document

SERVER_NAME: Final = "vae-service"
PLATFORM: Final = "onnxruntime_onnx"
BACKEND: Final = "onnxruntime"
#: Extensions of the protocol that this server has, by Triton's names.
EXTENSIONS: Final = (
    "binary_tensor_data",
    "parameters",
    "statistics",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
)
_STATE_READY: Final = "READY"
_STATE_UNAVAILABLE: Final = "UNAVAILABLE"

#: An object whose keys depend on the model.
_Object = Annotated[dict[str, Any], WithJsonSchema({"type": "object"})]


class ServerMetadata(Document):
    """The server."""

    name: Annotated[str, Field(examples=[SERVER_NAME])]
    version: Annotated[str, Field(examples=["1.0.0"])]
    extensions: Annotated[list[str], Field(examples=[list(EXTENSIONS)])]
    """Extensions of the protocol, by Triton's names."""


class TensorMetadata(Document):
    """One input or output."""

    name: Annotated[str, Field(examples=["x"])]
    datatype: Annotated[str, Field(examples=["FP32"])]
    """Such as `FP32`."""
    shape: Annotated[list[int], Field(examples=[[-1, 1, 28, 28]])]
    """-1 is the number of rows."""


class ModelMetadata(Document):
    """One model: its versions and tensors."""

    name: Annotated[str, Field(examples=["mnist-encoder"])]
    versions: Annotated[list[str], Field(examples=[["4"]])]
    """Versions in the store."""
    platform: Annotated[str, Field(examples=[PLATFORM])]
    inputs: list[TensorMetadata]
    """`x` may be replaced by `image`, BYTES [-1]: picture files."""
    outputs: list[TensorMetadata]


class ConfigTensor(Document):
    """One input or output, in the words of a configuration."""

    name: Annotated[str, Field(examples=["x"])]
    data_type: Annotated[str, Field(examples=["TYPE_FP32"])]
    """Such as `TYPE_FP32`."""
    dims: Annotated[list[int], Field(examples=[[1, 28, 28]])]
    """Shape of one row."""


class ModelConfig(Document):
    """The configuration of one model, as Triton describes one."""

    name: Annotated[str, Field(examples=["mnist-encoder"])]
    platform: Annotated[str, Field(examples=[PLATFORM])]
    backend: Annotated[str, Field(examples=[BACKEND])]
    max_batch_size: Annotated[int, Field(examples=[256])]
    """Maximum number of rows of a request."""
    version_policy: Annotated[_Object, Field(examples=[{"specific": {"versions": [4]}}])]
    """The version that answers."""
    input: list[ConfigTensor]
    output: list[ConfigTensor]
    dynamic_batching: Annotated[_Object, Field(examples=[{}])]
    """Rows of several requests share runs; the server chooses the sizes."""


class ModelNameList(Document):
    """The models of the protocol."""

    models: Annotated[list[str], Field(examples=[["mnist", "mnist-encoder"]])]


class IndexEntry(Document):
    """One version of one model in the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str
    """Why it is unavailable; empty if it is ready."""


class ServerLive(Document):
    """The process runs."""

    live: Annotated[bool, Field(examples=[True])]


class ServerReady(Document):
    """The server can answer."""

    ready: Annotated[bool, Field(examples=[True])]


class ModelReady(Document):
    """A model can answer."""

    name: Annotated[str, Field(examples=["mnist-encoder"])]
    ready: Annotated[bool, Field(examples=[True])]


def server_metadata() -> ServerMetadata:
    """The server."""
    return ServerMetadata(name=SERVER_NAME, version=release(), extensions=list(EXTENSIONS))


def model_metadata(model: ServedModel, versions: tuple[str, ...]) -> ModelMetadata:
    """One model, with the numbers of all its versions in the store."""
    return ModelMetadata(
        name=model.name,
        versions=list(versions),
        platform=PLATFORM,
        inputs=[_tensor(spec) for spec in model.inputs],
        outputs=[_tensor(spec) for spec in model.outputs],
    )


def model_config(model: ServedModel) -> ModelConfig:
    """The configuration of one model."""
    return ModelConfig(
        name=model.name,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=model.max_batch,
        version_policy={"specific": {"versions": [model.loaded.id.version]}},
        input=[_config_tensor(spec) for spec in model.inputs],
        output=[_config_tensor(spec) for spec in model.outputs],
        dynamic_batching={},
    )


def ready_entry(model: ServedModel) -> IndexEntry:
    """An entry of a model in memory."""
    return IndexEntry(name=model.name, version=model.version, state=_STATE_READY, reason="")


def unavailable_entry(name: str, version: str, reason: str) -> IndexEntry:
    """An entry of a model that cannot answer."""
    return IndexEntry(name=name, version=version, state=_STATE_UNAVAILABLE, reason=reason)


def _tensor(spec: TensorSpec) -> TensorMetadata:
    return TensorMetadata(name=spec.name, datatype=spec.datatype, shape=list(spec.shape))


def _config_tensor(spec: TensorSpec) -> ConfigTensor:
    return ConfigTensor(name=spec.name, data_type=f"TYPE_{spec.datatype}", dims=list(spec.row))
