"""A request for inference and its response, as both protocols read and write them.

Knows names, shapes, parameters and arrays. Knows nothing of JSON, of gRPC's messages or of models. They are
named tuples, because a frozen dataclass takes five times as long to make, and each request makes six.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from service.api.open_inference.tensors import Raw

#: Beginning of the parameters of a tensor that is not in the request itself.
SHARED_MEMORY: Final = "shared_memory_"
#: A parameter is a bool, an integer, a float or text.
Parameters = Mapping[str, object]
_NONE: Parameters = MappingProxyType({})


class InputTensor(NamedTuple):
    """One tensor of a request. It has either `raw` or `values`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """Checked by `tensors.check_shape`."""
    raw: Raw | None = None
    """Its bytes on the wire."""
    values: Sequence[Any] | NDArray[Any] | None = None
    """Its values, flat and row-major. Numbers are Python's or an array; elements of BYTES are bytes."""
    parameters: Parameters = _NONE


class RequestedOutput(NamedTuple):
    """One tensor that a request names as an output."""

    name: str
    parameters: Parameters = _NONE


class InferenceRequest(NamedTuple):
    """One request for inference."""

    model: str
    """Name of the model in the protocol, such as `mnist-encoder`."""
    inputs: Sequence[InputTensor]
    version: str = ""
    """A number of the store; empty: the version of the default alias."""
    id: str = ""
    """Returned in the response."""
    parameters: Parameters = _NONE
    outputs: Sequence[RequestedOutput] = ()
    """Empty: all outputs of the model."""
    plans: MutableMapping[Any, Any] | None = None
    """Shared by requests with the same names, shapes and parameters: what is checked once for all of them."""


class OutputTensor(NamedTuple):
    """One tensor of a response."""

    name: str
    datatype: str
    array: NDArray[Any]
    """C-contiguous, in the requested order of outputs."""
    parameters: Parameters = _NONE
    """Those of the requested output."""


class InferenceResponse(NamedTuple):
    """The response to one request."""

    model: str
    version: str
    """The number of the version that answered."""
    outputs: Sequence[OutputTensor]
    id: str = ""
    parameters: Parameters = _NONE
    """Such as the temperature and the prior of a sampler."""
