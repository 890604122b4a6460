"""The bytes of an HTTP request to a request for inference.

Knows the JSON of the protocol and its binary extension. Knows nothing of models, and of headers only the one
with a length.

    whole body JSON                        no Inference-Header-Content-Length
    JSON, then tensors one after another   that header is the length of the JSON
    one tensor alone                       that header is 0

The numbers of a tensor in JSON rarely become Python objects: they are cut out of the body first, and the rest
is read strictly.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from model_store.echo import did_you_mean, echo
from service.api.open_inference.messages import InferenceRequest, InputTensor, RequestedOutput
from service.api.open_inference.names import ServedModel
from service.api.open_inference.tensors import BINARY_ONLY, BYTES, Raw, TensorSpec, check_shape
from service.codecs.describe import describe, shape_text
from service.codecs.errors import InvalidValue, MalformedBody
from service.codecs.fast_json import number_list
from service.codecs.nested_lists import array_from_nested
from service.codecs.strict_json import parse_json_object

#: First bytes of a picture; read as numbers they are no pixels.
_PICTURE: Final = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
MAX_TENSORS: Final = 16
MAX_PARAMETERS: Final = 64
MAX_ID_CHARACTERS: Final = 1024
_MOST_VERSION_CHARACTERS: Final = 9
_REQUEST_KEYS: Final = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
_INPUT_KEYS: Final = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT_KEYS: Final = ("name", "parameters", "shape", "datatype")
_DATA: Final = re.compile(rb'"data"\s*:\s*(?=\[)')
_END_OF_NUMBERS: Final = re.compile(rb'["{}]')
_EXAMPLE: Final = '{"inputs": [{"name": "x", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [...]}]}'


@dataclass(frozen=True, slots=True)
class Numbers:
    """The text of a list of numbers that was cut out of a body."""

    text: bytes


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request, and the choice between bytes and JSON for its outputs."""

    request: InferenceRequest
    is_binary: bool
    """Whether outputs are binary that do not choose themselves."""

    @property
    def is_all_binary(self) -> bool:
        """Whether every output is binary."""
        outputs = self.request.outputs
        if not outputs:
            return self.is_binary
        return all(bool(each.parameters.get("binary_data", self.is_binary)) for each in outputs)


def header_length(stated: str | None, *, body_bytes: int) -> int | None:
    """The length of the JSON in a body; None: all of it.

    Args:
        stated: The header `Inference-Header-Content-Length`, if there is one.
        body_bytes: Length of the body.

    Raises:
        MalformedBody: No number, or more than the body has.
    """
    if stated is None:
        return None
    text = stated.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= body_bytes):
        raise MalformedBody(
            "Inference-Header-Content-Length",
            f"the length of the JSON in the body, 0 to {body_bytes}",
            echo(text),
            "Send the number of bytes before the first tensor, or leave the header out for a body of JSON.",
        )
    return int(text)


def read_request(
    body: bytes | bytearray, *, length: int | None, model: str, version: str, max_values: int
) -> ParsedRequest:
    """The request in a body that has JSON.

    Args:
        body: The whole body, not compressed.
        length: The result of `header_length`, not 0.
        model: The model in the path.
        version: The version in the path; empty: the one in the body, if there is one.
        max_values: Numbers of the largest useful tensor.

    Raises:
        MalformedBody: Not JSON, or binary data that is not as long as the JSON states.
        InvalidValue: A key, a name or a shape that the protocol does not have.
    """
    text = body if length is None else bytes(memoryview(body)[:length])
    values = _read_json(text, max_values)
    _check_keys("body", values, _REQUEST_KEYS)
    _check_same("model_name", values.get("model_name"), model)
    _check_same("model_version", values.get("model_version"), version)
    version = version or _text("model_version", values.get("model_version"), most=_MOST_VERSION_CHARACTERS)
    parameters = _parameters("body", values)
    binary = memoryview(b"") if length is None else memoryview(body)[length:]
    request = InferenceRequest(
        model=model,
        version=version,
        id=_text("id", values.get("id"), most=MAX_ID_CHARACTERS),
        parameters=parameters,
        inputs=_inputs(values, binary),
        outputs=_outputs(values),
    )
    is_binary = _flag("body: parameters", "binary_data_output", parameters)
    return ParsedRequest(request, is_binary)


def read_raw_request(body: bytes | bytearray, served: ServedModel, *, version: str) -> ParsedRequest:
    """The request whose body is one tensor and nothing else: a picture, or rows of the first input.

    Raises:
        MalformedBody: The body is not a number of whole rows.
    """
    spec = served.inputs[0]
    if spec.name == "x" and body[:4].startswith(_PICTURE):
        tensor = InputTensor("image", BYTES, (1,), values=[bytes(body)])
    else:
        tensor = InputTensor(spec.name, spec.datatype, _rows_in(body, spec), raw=body)
    return ParsedRequest(InferenceRequest(served.name, [tensor], version), is_binary=True)


def _rows_in(body: bytes | bytearray, spec: TensorSpec) -> tuple[int, ...]:
    row_bytes = math.prod(spec.row) * (8 if spec.datatype == "INT64" else 4)
    rows, rest = divmod(len(body), row_bytes)
    if rest or not rows:
        raise MalformedBody(
            f"{spec.name}: data",
            f"a multiple of {row_bytes} bytes, which is one row of {shape_text(spec.row)}",
            f"{len(body)} bytes",
            "Send whole rows, little-endian, or JSON with the length of the JSON in "
            "Inference-Header-Content-Length.",
        )
    return (rows, *spec.row)


def _read_json(text: bytes | bytearray, max_values: int) -> dict[str, Any]:
    """The object of a body; numbers of tensors stay text."""
    cut = _without_numbers(text)
    if cut is None:
        return parse_json_object(text, max_values=max_values, example=_EXAMPLE)
    rest, numbers = cut
    values = parse_json_object(rest, max_values=0, example=_EXAMPLE)
    inputs = values.get("inputs")
    for tensor in inputs if isinstance(inputs, list) else ():
        if isinstance(tensor, dict) and type(tensor.get("data")) is int:
            tensor["data"] = numbers[tensor["data"]]
    return values


def _without_numbers(text: bytes | bytearray) -> tuple[bytes, list[Numbers]] | None:
    """The body with an index for each list under `data`, and these lists; None if it is not plain.

    In a plain body every text `"data"` is a key with a list of numbers. No other text can imitate that: there
    is no backslash, and no list under `data` has a quotation mark or a brace.
    """
    places = [match.end() for match in _DATA.finditer(text)]
    if not places or len(places) > MAX_TENSORS or text.count(b'"data"') != len(places) or b"\\" in text:
        return None
    rest: list[bytes | bytearray] = []
    numbers: list[Numbers] = []
    at = 0
    for place in places:
        if place < at:
            return None
        after = _END_OF_NUMBERS.search(text, place)
        end = text.rfind(b"]", place, after.start() if after else len(text)) + 1
        if not end:
            return None
        rest += [text[at:place], b"%d" % len(numbers)]
        numbers.append(Numbers(bytes(text[place:end])))
        at = end
    rest.append(text[at:])
    return b"".join(rest), numbers


def _inputs(values: Mapping[str, Any], binary: memoryview) -> list[InputTensor]:
    listed = _objects("inputs", values.get("inputs"), is_required=True)
    tensors: list[InputTensor] = []
    at = 0
    for number, each in enumerate(listed):
        where = f"inputs[{number}]"
        _check_keys(where, each, _INPUT_KEYS)
        name = _required_text(f"{where}: name", each.get("name"))
        if any(tensor.name == name for tensor in tensors):
            raise InvalidValue(f"{where}: name", "each input once", echo(name), "Send it once.")
        datatype = _required_text(f"{where}: datatype", each.get("datatype"))
        shape = check_shape(where, each.get("shape"))
        parameters = _parameters(where, each)
        size = parameters.get("binary_data_size")
        if size is None:
            data = _values(where, datatype, shape, each)
            tensors.append(InputTensor(name, datatype, shape, values=data, parameters=parameters))
            continue
        if "data" in each:
            remedy = "Send one of them."
            raise InvalidValue(where, "data or binary_data_size", "both", remedy)
        raw = _slice(where, binary, at, size)
        at += len(raw)
        tensors.append(InputTensor(name, datatype, shape, raw=raw, parameters=parameters))
    if at != len(binary):
        raise MalformedBody(
            "body",
            f"{at} bytes of tensors after the JSON, the sum of binary_data_size",
            f"{len(binary)} bytes",
            "Send every tensor once, in the order of inputs, and the length of the JSON in "
            "Inference-Header-Content-Length.",
        )
    return tensors


def _slice(where: str, binary: memoryview, at: int, size: object) -> Raw:
    left = len(binary) - at
    if type(size) is not int or not 0 <= size <= left:
        raise MalformedBody(
            f"{where}: parameters: binary_data_size",
            f"an integer from 0 to {left}, the bytes that are left after the JSON",
            describe(size),
            "Send the tensor after the JSON, and the length of the JSON in Inference-Header-Content-Length.",
        )
    return binary[at : at + size]


def _values(where: str, datatype: str, shape: tuple[int, ...], tensor: Mapping[str, Any]) -> Any:
    """The values of a tensor in JSON, flat; nested lists have its shape."""
    data = tensor.get("data")
    if "data" not in tensor:
        raise InvalidValue(where, "data or binary_data_size", "neither", "Send the values of the tensor.")
    if datatype in BINARY_ONLY:
        raise InvalidValue(
            f"{where}: data", f"binary data for {datatype}", "JSON", "Send binary data, or FP32."
        )
    if isinstance(data, Numbers):
        if datatype in ("FP32", "FP64"):
            numbers = number_list(data.text, shape)
            if numbers is not None:
                return numbers
        try:
            data = orjson.loads(data.text)
        except orjson.JSONDecodeError as error:
            got = f"not JSON: {error.msg[:120]} at character {error.pos}"
            raise MalformedBody(f"{where}: data", "a list of numbers", got, "Correct it.") from None
    if not isinstance(data, list):
        raise InvalidValue(f"{where}: data", "a list", describe(data), "Send the values, row by row.")
    if data and isinstance(data[0], list):
        if datatype in ("FP32", "FP64"):
            if len(data) != shape[0]:
                raise InvalidValue(
                    f"{where}: data", f"{shape[0]} rows", str(len(data)), "Send as many as in shape."
                )
            return array_from_nested(data, shape, where=f"{where}: data").ravel()
        data = _flat(where, data, shape)
    return (
        [_element(f"{where}: data[{at}]", each) for at, each in enumerate(data)]
        if datatype == BYTES
        else data
    )


def _flat(where: str, data: list[Any], shape: Sequence[int]) -> list[Any]:
    """Nested lists of other values."""
    for size in shape[1:]:
        if any(not isinstance(each, list) or len(each) != size for each in data):
            raise InvalidValue(
                f"{where}: data", f"lists nested as {shape_text(tuple(shape))}", "others", "Send a flat list."
            )
        data = [value for each in data for value in each]
    return data


def _element(where: str, value: object) -> bytes:
    """One element of BYTES in JSON: base64."""
    if not isinstance(value, str):
        raise InvalidValue(where, "a file in base64", describe(value), "Send text, or binary data.")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        got = f"{describe(value)} that is none"
        raise InvalidValue(where, "a file in base64", got, "Encode it, or send binary data.") from None


def _outputs(values: Mapping[str, Any]) -> list[RequestedOutput]:
    outputs = []
    for number, each in enumerate(_objects("outputs", values.get("outputs"), is_required=False)):
        where = f"outputs[{number}]"
        _check_keys(where, each, _OUTPUT_KEYS)
        name = _required_text(f"{where}: name", each.get("name"))
        parameters = _parameters(where, each)
        _flag(f"{where}: parameters", "binary_data", parameters)
        outputs.append(RequestedOutput(name, parameters))
    return outputs


def _objects(where: str, value: object, *, is_required: bool) -> list[Mapping[str, Any]]:
    if value is None and not is_required:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        got = "nothing" if value is None else describe(value)
        if isinstance(value, list):
            got = f"a list with {describe(next(each for each in value if not isinstance(each, dict)))}"
        raise InvalidValue(f"body: {where}", "a list of objects", got, f"Such as {_EXAMPLE}.")
    if len(value) > MAX_TENSORS:
        raise InvalidValue(f"body: {where}", f"at most {MAX_TENSORS}", str(len(value)), "Send fewer.")
    return value


def _parameters(where: str, values: Mapping[str, Any]) -> Mapping[str, object]:
    found = values.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidValue(f"{where}: parameters", "an object", describe(found), "Such as {}.")
    if len(found) > MAX_PARAMETERS:
        raise InvalidValue(
            f"{where}: parameters", f"at most {MAX_PARAMETERS}", str(len(found)), "Send fewer."
        )
    return found


def _flag(where: str, name: str, parameters: Mapping[str, object]) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InvalidValue(f"{where}: {name}", "true or false", describe(value), "Correct it.")
    return value


def _check_keys(where: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    for at, key in enumerate(values, start=1):
        if key not in known:
            hint = did_you_mean(key, known)
            expected = f"one of {', '.join(known)}"
            raise InvalidValue(f"{where}: key {at}", expected, echo(key), f"{hint} Leave it out.".strip())


def _check_same(name: str, value: object, path: str) -> None:
    """A model in the body too: clients of KServe send it."""
    if path and value is not None and value not in (path, ""):
        got = echo(value) if isinstance(value, str) else describe(value)
        raise InvalidValue(
            f"body: {name}", f"the one of the path, {echo(path)}", got, "Leave it out, or correct it."
        )


def _text(name: str, value: object, *, most: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise InvalidValue(
            f"body: {name}", f"text of at most {most} characters", describe(value), "Correct it."
        )
    return value


def _required_text(where: str, value: object) -> str:
    if not isinstance(value, str):
        got = "nothing" if value is None else describe(value)
        raise InvalidValue(where, "text", got, "The metadata of the model lists its tensors.")
    return value
