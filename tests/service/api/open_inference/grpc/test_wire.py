"""Messages are counted before they are parsed: a small message must not become a large object."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.open_inference.grpc.definitions import message
from service.api.open_inference.grpc.wire import MOST_FIELDS, plan_of, refuse_many_fields
from service.codecs.errors import MalformedBody

REQUEST = message("inference.ModelInferRequest")
PLAN = plan_of(REQUEST.DESCRIPTOR)
#: A field that makes a message long enough to be counted.
LONG = b"\x3a\x80\x80\x04" + bytes(65_536)


def field(number: int, data: bytes) -> bytes:
    size, length = len(data), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes([*length, size]) + data


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b"\x2a\x00" * (MOST_FIELDS + 1), id="empty inputs"),
        pytest.param(b"\x3a\x00" * (MOST_FIELDS + 1), id="empty tensors"),
        pytest.param(field(5, b"\x22\x00" * (MOST_FIELDS + 1)), id="empty parameters of an input"),
        pytest.param(field(5, field(5, b"\x42\x00" * (MOST_FIELDS + 1))), id="empty elements"),
        pytest.param(field(5, field(5, b"\x35\x00\x00\x80\x3f" * (MOST_FIELDS + 1))), id="floats one by one"),
        pytest.param(b"\x7d\x00\x00\x00\x00" * (MOST_FIELDS + 1), id="unknown fields"),
    ],
)
def test_message_of_too_many_fields_is_refused(bomb: bytes) -> None:
    with pytest.raises(MalformedBody, match="at most 65536 fields"):
        refuse_many_fields(bomb, PLAN)


def test_large_tensors_are_few_fields() -> None:
    request = REQUEST(model_name="mnist")
    request.inputs.add(name="x", datatype="FP32", shape=[64, 1, 28, 28]).contents.fp32_contents.extend(
        [0.5] * 50_176
    )
    refuse_many_fields(request.SerializeToString(), PLAN)
    raw = REQUEST(model_name="mnist", raw_input_contents=[os.urandom(1 << 20)])
    raw.inputs.add(name="x", datatype="FP32", shape=[64, 1, 28, 28])
    refuse_many_fields(raw.SerializeToString(), PLAN)


def test_as_many_elements_as_allowed_pass() -> None:
    request = REQUEST()
    request.inputs.add(name="image").contents.bytes_contents.extend([b"0123"] * (MOST_FIELDS - 8))
    refuse_many_fields(request.SerializeToString(), PLAN)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(LONG + b"\x2a\x05ab", id="field longer than the message"),
        pytest.param(LONG + b"\x2a", id="no length"),
        pytest.param(LONG + b"\x0b", id="group"),
        pytest.param(LONG + b"\x08" + b"\xff" * 11, id="endless number"),
        pytest.param(LONG + b"\x35\x00", id="half a float"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedBody):
        refuse_many_fields(data, PLAN)


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for long in (LONG + data, field(5, LONG + data)):
        try:
            refuse_many_fields(long, PLAN)
        except MalformedBody:
            continue
