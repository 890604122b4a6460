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

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from model_store.echo import did_you_mean, echo
from service.api.open_inference.messages import InferenceRequest, InputTensor, RequestedOutput
from service.api.open_inference.names import ServedModel
from service.api.open_inference.rest_values import json_values
from service.api.open_inference.tensors import BYTES, Raw, TensorSpec, check_shape
from service.codecs.describe import describe, shape_text
from service.codecs.errors import InvalidValue, MalformedBody
from service.codecs.strict_json import parse_json_object

#: First bytes of a picture; read as numbers they are no pixels.
_PICTURE: Final = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
MAX_TENSORS: Final = 16
MAX_PARAMETERS: Final = 64
MAX_ID_CHARACTERS: Final = 1024
_MOST_VERSION_CHARACTERS: Final = 9
_MOST_REMEMBERED_BYTES: Final = 1024
_REQUEST_KEYS: Final = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
_INPUT_KEYS: Final = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT_KEYS: Final = ("name", "parameters", "shape", "datatype")
_DATA: Final = re.compile(rb'"data"\s*:\s*(?=\[)')
#: What comes first after a list of numbers in an object: the next key, or the end of the object.
_END_OF_NUMBERS: Final = (b'"', b"}")
_EXAMPLE: Final = '{"inputs": [{"name": "x", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [...]}]}'


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
    body: bytes | bytearray, length: int | None, *, model: str, version: str, max_values: int
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
    numbers: Sequence[bytes]
    if length is None:
        head, numbers = _head_and_numbers(body, max_values=max_values)
        binary = memoryview(b"")
    else:
        whole = memoryview(body)
        text, binary = bytes(whole[:length]), whole[length:]
        if length <= _MOST_REMEMBERED_BYTES:
            head, numbers = _remembered_text(text)
        else:
            head, numbers = _head_and_numbers(text, max_values=max_values)
    _check_same("model_name", head.model, model)
    _check_same("model_version", head.version, version)
    request = InferenceRequest(
        model=model,
        version=version or head.version,
        id=head.id,
        parameters=head.parameters,
        inputs=_inputs(head.slots, numbers, binary),
        outputs=head.outputs,
        plans=head.plans,
    )
    return ParsedRequest(request, head.is_binary)


@dataclass(frozen=True, slots=True)
class _Slot:
    """One input as the JSON describes it, without the data that is elsewhere."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Mapping[str, object]
    size: object
    """`binary_data_size`; None: its values are in the JSON."""
    data: object
    """Its values, or the index of the list that was cut out."""


@dataclass(frozen=True, slots=True)
class _Head:
    """The JSON of a request, checked, without the numbers of its tensors."""

    id: str
    model: str
    version: str
    parameters: Mapping[str, object]
    slots: tuple[_Slot, ...]
    outputs: tuple[RequestedOutput, ...]
    is_binary: bool
    is_cut: bool
    plans: dict[Any, Any] = field(default_factory=dict)


def _head(text: bytes, is_cut: bool, *, max_values: int = 0) -> _Head:
    """The JSON of a request.

    Args:
        text: The JSON; its lists of numbers are indices if it `is_cut`.
        is_cut: Whether they are.
        max_values: Numbers of the largest useful tensor, if they are not.
    """
    values = parse_json_object(text, max_values=0 if is_cut else max_values, example=_EXAMPLE)
    _check_keys("body", values, _REQUEST_KEYS)
    parameters = _parameters("body", values)
    return _Head(
        id=_text("id", values.get("id"), most=MAX_ID_CHARACTERS),
        model=_text("model_name", values.get("model_name"), most=MAX_ID_CHARACTERS),
        version=_text("model_version", values.get("model_version"), most=_MOST_VERSION_CHARACTERS),
        parameters=parameters,
        slots=_slots(values),
        outputs=_outputs(values),
        is_binary=_flag("body: parameters", "binary_data_output", parameters),
        is_cut=is_cut,
    )


def _head_and_numbers(text: bytes | bytearray, *, max_values: int = 0) -> tuple[_Head, Sequence[bytes]]:
    """The JSON of a request, and the lists of numbers that were cut out of it."""
    cut = _without_numbers(text)
    rest, numbers = (bytes(text), ()) if cut is None else cut
    if len(rest) <= _MOST_REMEMBERED_BYTES:
        return _remembered_head(rest, cut is not None), numbers
    return _head(rest, cut is not None, max_values=max_values), numbers


#: Most clients always send the same JSON but for the numbers; it is parsed and checked once.
_remembered_head = functools.lru_cache(maxsize=256)(_head)
#: JSON before tensors rarely has numbers, so that all of it is the same.
_remembered_text = functools.lru_cache(maxsize=256)(_head_and_numbers)


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


def _without_numbers(text: bytes | bytearray) -> tuple[bytes, list[bytes]] | None:
    """The body with an index for each list under `data`, and these lists; None if it is not plain.

    In a plain body every text `"data"` is a key with a list of numbers. No other text can imitate that: there
    is no backslash, and no list under `data` has a quotation mark or a brace.
    """
    places = [match.end() for match in _DATA.finditer(text)]
    if not places or len(places) > MAX_TENSORS or text.count(b'"data"') != len(places) or b"\\" in text:
        return None
    rest: list[bytes | bytearray] = []
    numbers: list[bytes] = []
    at = 0
    for place in places:
        if place < at:
            return None
        ends = [end for sign in _END_OF_NUMBERS if (end := text.find(sign, place)) >= 0]
        end = text.rfind(b"]", place, min(ends, default=len(text))) + 1
        if not end:
            return None
        rest += [text[at:place], b"%d" % len(numbers)]
        numbers.append(bytes(text[place:end]))
        at = end
    rest.append(text[at:])
    return b"".join(rest), numbers


def _slots(values: Mapping[str, Any]) -> tuple[_Slot, ...]:
    found: list[_Slot] = []
    for number, each in enumerate(_objects("inputs", values.get("inputs"), is_required=True)):
        where = f"inputs[{number}]"
        _check_keys(where, each, _INPUT_KEYS)
        name = _required_text(f"{where}: name", each.get("name"))
        if any(slot.name == name for slot in found):
            raise InvalidValue(f"{where}: name", "each input once", echo(name), "Send it once.")
        datatype = _required_text(f"{where}: datatype", each.get("datatype"))
        shape = check_shape(where, each.get("shape"))
        parameters = _parameters(where, each)
        size = parameters.get("binary_data_size")
        if size is None and "data" not in each:
            raise InvalidValue(where, "data or binary_data_size", "neither", "Send the values of the tensor.")
        if size is not None and "data" in each:
            raise InvalidValue(where, "data or binary_data_size", "both", "Send one of them.")
        found.append(_Slot(name, datatype, shape, parameters, size, each.get("data")))
    return tuple(found)


def _inputs(slots: Sequence[_Slot], numbers: Sequence[bytes], binary: memoryview) -> list[InputTensor]:
    """The inputs with their data."""
    tensors: list[InputTensor] = []
    at = 0
    for number, slot in enumerate(slots):
        where = f"inputs[{number}]"
        raw: Raw | None = None
        values = None
        if slot.size is None:
            data = slot.data
            if numbers and isinstance(data, int) and not isinstance(data, bool):
                data = numbers[data]
            values = json_values(where, slot.datatype, slot.shape, data)
        else:
            raw = _slice(where, binary, at, slot.size)
            at += len(raw)
        tensors.append(InputTensor(slot.name, slot.datatype, slot.shape, raw, values, slot.parameters))
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


def _outputs(values: Mapping[str, Any]) -> tuple[RequestedOutput, ...]:
    outputs = []
    for number, each in enumerate(_objects("outputs", values.get("outputs"), is_required=False)):
        where = f"outputs[{number}]"
        _check_keys(where, each, _OUTPUT_KEYS)
        name = _required_text(f"{where}: name", each.get("name"))
        parameters = _parameters(where, each)
        _flag(f"{where}: parameters", "binary_data", parameters)
        outputs.append(RequestedOutput(name, parameters))
    return tuple(outputs)


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


def _check_same(name: str, value: str, path: str) -> None:
    """A model in the body too: clients of KServe send it."""
    if path and value and value != path:
        raise InvalidValue(
            f"body: {name}", f"the one of the path, {echo(path)}", echo(value), "Leave it out, or correct it."
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
