"""Counts the fields of a message before it is parsed.

Knows the wire format of protobuf and descriptors. Knows nothing of the meaning of fields. A field of two
bytes becomes an object of up to a hundred: 8 MiB of empty fields took 336 MB and held the event loop for 0.3
s (the hazard grpc-bombs bounds it). Ordinary messages have about twenty fields; most of their bytes are one
of them, which the count skips.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor import Descriptor

from service.codecs.errors import MalformedBody

#: Fields of one message, those of messages within it included: an image of BYTES is one.
MOST_FIELDS: Final = 65_536
#: Messages of fewer bytes cannot grow large.
_SMALL_BYTES: Final = 65_536
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

Plan = dict[int, "Plan"]
"""By number: the fields that are messages, and their plans."""


def plan_of(descriptor: Descriptor) -> Plan:
    """Where a message contains other messages. The definition must not contain itself."""
    return {
        field.number: plan_of(field.message_type)
        for field in descriptor.fields
        if field.message_type is not None
    }


def refuse_many_fields(data: bytes, plan: Plan) -> None:
    """Accept a message of at most `MOST_FIELDS` fields.

    Raises:
        MalformedBody: It has more, or is no message.
    """
    if len(data) > _SMALL_BYTES:
        _count(data, 0, len(data), plan, MOST_FIELDS)


def _count(data: bytes, at: int, end: int, plan: Plan, left: int) -> int:
    """Walk over the fields from `at` to `end`, and return how many may follow."""
    while at < end:
        left -= 1
        if left < 0:
            raise MalformedBody(
                "message",
                f"at most {MOST_FIELDS} fields",
                "more",
                "Send tensors as raw_input_contents, one entry each, or fewer elements per request.",
            )
        tag, at = read_varint(data, at, end)
        kind = tag & 7
        if kind == _LENGTH:
            size, at = read_varint(data, at, end)
            inner = plan.get(tag >> 3)
            if size > end - at:
                raise _no_message()
            if inner is not None:
                left = _count(data, at, at + size, inner, left)
            at += size
        elif kind == _VARINT:
            _, at = read_varint(data, at, end)
        elif kind == _FIXED32:
            at += 4
        elif kind == _FIXED64:
            at += 8
        else:
            raise _no_message()  # groups, which proto3 does not have
    if at != end:
        raise _no_message()
    return left


def varint(value: int) -> bytes:
    """A number on the wire."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at a place, and where the next field or its value begins.

    Raises:
        MalformedBody: It has no end before `end`.
    """
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _no_message()


def no_message(name: str = "message") -> MalformedBody:
    """The bytes are no message of this type."""
    return MalformedBody(
        name, "a message of the Open Inference Protocol", "other bytes", "Send the message of this call."
    )


_no_message = no_message
