"""Messages of gRPC to the requests of the protocol, and its responses to messages.

Knows the messages and the core's requests and responses. Knows nothing of models or of calls.

Tensors of a response are raw. They are written behind the serialised rest of the message, because the message
object would copy each of them twice (64 images: 0.2 ms). So is the id, because the rest is often the same.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from service.api.open_inference.grpc.definitions import inference, message
from service.api.open_inference.grpc.wire import no_message, plan_of, refuse_many_fields, varint
from service.api.open_inference.messages import (
    SHARED_MEMORY,
    InferenceRequest,
    InferenceResponse,
    InputTensor,
    RequestedOutput,
)
from service.api.open_inference.tensors import check_shape, raw_of
from service.codecs.errors import InvalidValue, MalformedBody

#: More tensors or parameters are read by no model.
_MOST_TENSORS: Final = 16
_MOST_PARAMETERS: Final = 64
_MOST_AXES_READ: Final = 9
#: Longest id and name that are read.
MOST_ID_CHARACTERS: Final = 1024
#: Field of `contents` for the values of each data type; FP16 and BF16 have none.
_FIELDS: Final = MappingProxyType(
    {
        "BOOL": "bool_contents",
        **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
        "INT64": "int64_contents",
        **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
        "UINT64": "uint64_contents",
        "FP32": "fp32_contents",
        "FP64": "fp64_contents",
        "BYTES": "bytes_contents",
    }
)
_PACKED: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
)
_REQUEST: Final = message("inference.ModelInferRequest")
_PLAN: Final = plan_of(_REQUEST.DESCRIPTOR)
#: Tags of `id`, `raw_output_contents` and of `infer_response`: field number << 3 | 2.
_RESPONSE_ID, _RAW_OUTPUT, _INFER_RESPONSE = b"\x1a", b"\x32", b"\x12"


def request_of(found: Any) -> InferenceRequest:
    """The request that a `ModelInferRequest` means.

    Raises:
        MalformedBody: Its tensors are incomplete.
        InvalidValue: A shape, a number of tensors or a kind of contents is invalid.
    """
    for name in ("inputs", "outputs"):
        if (count := len(getattr(found, name))) > _MOST_TENSORS:
            raise InvalidValue(
                name, f"at most {_MOST_TENSORS} tensors", str(count), "Send those of the model's metadata."
            )
    return InferenceRequest(
        model=found.model_name[:MOST_ID_CHARACTERS],
        version=found.model_version[:MOST_ID_CHARACTERS],
        id=_short("id", found.id),
        parameters=_parameters("parameters", found.parameters),
        inputs=_inputs(found),
        outputs=[
            RequestedOutput(output.name, _parameters(f"outputs[{at}]: parameters", output.parameters))
            for at, output in enumerate(found.outputs)
        ],
    )


def request_message(data: bytes) -> Any:
    """The `ModelInferRequest` in bytes.

    Raises:
        MalformedBody: They are no such message, or one of too many fields.
    """
    refuse_many_fields(data, _PLAN)
    try:
        return _REQUEST.FromString(data)
    except DecodeError:
        raise no_message("ModelInferRequest") from None


def _short(where: str, text: str) -> str:
    if len(text) > MOST_ID_CHARACTERS:
        raise InvalidValue(
            where, f"at most {MOST_ID_CHARACTERS} characters", f"{len(text)} characters", "Shorten it."
        )
    return text


def _inputs(found: Any) -> Sequence[InputTensor]:
    raws = found.raw_input_contents
    own = [not any(name.startswith(SHARED_MEMORY) for name in tensor.parameters) for tensor in found.inputs]
    if raws and len(raws) != sum(own):
        raise MalformedBody(
            "raw_input_contents",
            f"{sum(own)} entries, one for each input",
            str(len(raws)),
            "Send each tensor as one entry, in the order of inputs.",
        )
    left = iter(raws)
    return [
        _input(at, tensor, next(left) if raws and is_own else None)
        for at, (tensor, is_own) in enumerate(zip(found.inputs, own, strict=True))
    ]


def _input(at: int, tensor: Any, raw: bytes | None) -> InputTensor:
    where = f"inputs[{at}]"
    shape = check_shape(where, list(tensor.shape[:_MOST_AXES_READ]))
    parameters = _parameters(f"{where}: parameters", tensor.parameters)
    if raw is None:
        values = _values(where, tensor)
        return InputTensor(tensor.name, tensor.datatype, shape, values=values, parameters=parameters)
    if tensor.HasField("contents"):
        raise MalformedBody(
            where, "raw_input_contents or contents", "both", "Send the tensor once, as raw_input_contents."
        )
    return InputTensor(tensor.name, tensor.datatype, shape, raw=raw, parameters=parameters)


def _values(where: str, tensor: Any) -> Sequence[Any] | NDArray[Any]:
    """Values of the typed contents, in the field of the data type alone."""
    contents, wanted = tensor.contents, _FIELDS.get(tensor.datatype)
    for field, _ in contents.ListFields():
        if field.name != wanted:
            raise InvalidValue(
                f"{where}: contents",
                f"{wanted or 'raw_input_contents'} for {tensor.datatype[:16]}",
                field.name,
                "Send the values as raw_input_contents, or in the field of their data type.",
            )
    if wanted is None:
        return ()
    values: Sequence[Any] = getattr(contents, wanted)
    dtype = _PACKED.get(tensor.datatype)
    if dtype is not None:
        return _packed(contents, values, dtype)
    if tensor.datatype == "INT64":
        return np.fromiter(values, np.int64, len(values))
    return list(values) if tensor.datatype == "BYTES" else values


def _packed(contents: Any, values: Sequence[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Floats of a repeated field.

    Its serialised form is a header and the values, little-endian: 64 images take 0.1 ms that way, and 5 ms
    value by value.
    """
    size = len(values) * dtype.itemsize
    data = contents.SerializeToString()
    return np.frombuffer(data, dtype, offset=len(data) - size).astype(dtype.newbyteorder("="))


def _parameters(where: str, entries: Any) -> Mapping[str, object]:
    if not entries:
        return MappingProxyType({})
    if len(entries) > _MOST_PARAMETERS:
        raise InvalidValue(where, f"at most {_MOST_PARAMETERS}", str(len(entries)), "Leave out the others.")
    found = {}
    for name, value in entries.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(value, kind)
    return found


def write_response(response: InferenceResponse, *, is_streamed: bool = False) -> bytes:
    """The bytes of a `ModelInferResponse`.

    Args:
        response: The response.
        is_streamed: It is the only one of its request in a stream, whose clients look for a mark of the last.
    """
    outputs = response.outputs
    facts = (
        response.model,
        response.version,
        is_streamed,
        tuple((tensor.name, tensor.datatype, tensor.array.shape) for tensor in outputs),
    )
    if response.parameters or any(tensor.parameters for tensor in outputs):
        described = _described(*facts)
        _write_parameters(described.parameters, response.parameters)
        for output, tensor in zip(described.outputs, outputs, strict=True):
            _write_parameters(output.parameters, tensor.parameters)
        parts: list[bytes | memoryview] = [described.SerializeToString()]
    else:
        parts = [_remembered_description(*facts)]
    if response.id:
        text = response.id.encode()
        parts += (_RESPONSE_ID, varint(len(text)), text)
    for tensor in outputs:
        raw = raw_of(tensor.array, tensor.datatype)
        parts += (_RAW_OUTPUT, varint(len(raw)), raw)
    return b"".join(parts)


def _described(
    model: str, version: str, is_streamed: bool, outputs: tuple[tuple[str, str, tuple[int, ...]], ...]
) -> Any:
    """A response without its id, its tensors and their parameters."""
    found = inference("ModelInferResponse", model_name=model, model_version=version)
    if is_streamed:
        found.parameters["triton_final_response"].bool_param = True
    for name, datatype, shape in outputs:
        found.outputs.add(name=name, datatype=datatype, shape=shape)
    return found


@functools.lru_cache(maxsize=256)
def _remembered_description(*facts: Any) -> bytes:
    """The bytes of `_described`, which are the same for most answers of a client."""
    found: bytes = _described(*facts).SerializeToString()
    return found


def write_streamed(response: InferenceResponse) -> bytes:
    """The bytes of a `ModelStreamInferResponse` with this response, the only one of its request."""
    whole = write_response(response, is_streamed=True)
    return b"".join((_INFER_RESPONSE, varint(len(whole)), whole))


def write_streamed_error(text: str, *, code: str, request_id: str) -> bytes:
    """The bytes of a `ModelStreamInferResponse` with an error.

    Args:
        text: The error.
        code: Code of the problem, as a parameter.
        request_id: The `id` of the request, by which a client finds it.
    """
    answer = inference("ModelStreamInferResponse", error_message=text)
    answer.infer_response.id = request_id
    answer.infer_response.parameters["problem"].string_param = code
    found: bytes = answer.SerializeToString()
    return found


def _write_parameters(entries: Any, parameters: Mapping[str, object]) -> None:
    for name, value in parameters.items():
        entry = entries[name]
        if isinstance(value, bool):
            entry.bool_param = value
        elif isinstance(value, int):
            entry.int64_param = value
        elif isinstance(value, float):
            entry.double_param = value
        elif value is not None:
            entry.string_param = str(value)
