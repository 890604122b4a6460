"""The values of a tensor in JSON: numbers, or files in base64.

Knows lists and shapes. Knows nothing of the rest of a request.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from service.api.open_inference.tensors import BINARY_ONLY, BYTES
from service.codecs.describe import describe, shape_text
from service.codecs.errors import InvalidValue, MalformedBody
from service.codecs.fast_json import number_list
from service.codecs.nested_lists import array_from_nested


def json_values(where: str, datatype: str, shape: tuple[int, ...], data: object) -> Any:
    """The values of a tensor, flat and row-major.

    Args:
        where: The tensor, for messages.
        datatype: Its data type.
        shape: Its shape, which nested lists have too.
        data: A list, or its text as bytes.

    Raises:
        MalformedBody: The text is no JSON.
        InvalidValue: No list, or one of another shape or with other values.
    """
    if datatype in BINARY_ONLY:
        raise InvalidValue(
            f"{where}: data", f"binary data for {datatype}", "JSON", "Send binary data, or FP32."
        )
    if isinstance(data, bytes):
        if datatype in ("FP32", "FP64"):
            numbers = number_list(data, shape)
            if numbers is not None:
                return numbers
        try:
            data = orjson.loads(data)
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
