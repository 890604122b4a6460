"""A request for inference and its response, as both protocols read and write them.

Knows names, shapes, parameters and arrays. Knows nothing of JSON, of gRPC's messages or of models.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from service.api.open_inference.tensors import Raw

#: A parameter is a bool, an integer, a float or text.
Parameters = Mapping[str, object]
_NONE: Parameters = MappingProxyType({})


def _none() -> Parameters:
    return _NONE


@dataclass(frozen=True, slots=True)
class InputTensor:
    """One tensor of a request. It has either `raw` or `values`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """Checked by `tensors.check_shape`."""
    raw: Raw | None = None
    """Its bytes on the wire."""
    values: Sequence[Any] | NDArray[Any] | None = None
    """Its values, flat and row-major. Numbers are Python's or an array; elements of BYTES are bytes."""
    parameters: Parameters = field(default_factory=_none)


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """One tensor that a request names as an output."""

    name: str
    parameters: Parameters = field(default_factory=_none)


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One request for inference."""

    model: str
    """Name of the model in the protocol, such as `mnist-encoder`."""
    inputs: Sequence[InputTensor]
    version: str = ""
    """A number of the store; empty: the version of the default alias."""
    id: str = ""
    """Returned in the response."""
    parameters: Parameters = field(default_factory=_none)
    outputs: Sequence[RequestedOutput] = ()
    """Empty: all outputs of the model."""
    plans: MutableMapping[Any, Any] | None = None
    """Shared by requests with the same names, shapes and parameters: what is checked once for all of them."""


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of a response."""

    name: str
    datatype: str
    array: NDArray[Any]
    """C-contiguous, in the requested order of outputs."""
    parameters: Parameters = field(default_factory=_none)
    """Those of the requested output."""


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """The response to one request."""

    model: str
    version: str
    """The number of the version that answered."""
    outputs: Sequence[OutputTensor]
    id: str = ""
    parameters: Parameters = field(default_factory=_none)
    """Such as the temperature and the prior of a sampler."""
