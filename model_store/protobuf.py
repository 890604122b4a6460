"""Protocol buffers read from bytes, by a table of allowed fields, with bounded depth and time.

Knows the wire format (varints, fixed widths, length-delimited values, packed numbers). Knows nothing of ONNX:
the caller passes the table of messages and fields. It is deliberately stricter than a usual parser. It
rejects a field outside the table, a repeated singular field, an unsuitable wire type and a deprecated group,
because two parsers could read them differently.

The wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class ProtobufError(ValueError):
    """Not a message of the table; the text names the place and the reason."""


class Kind(Enum):
    """The content of a field, which determines its wire type."""

    VARINT = _VARINT
    FIXED64 = _FIXED64
    FIXED32 = _FIXED32
    STRING = 2
    BYTES = 3
    MESSAGE = 4

    @property
    def is_number(self) -> bool:
        """Whether the field contains numbers, which may be packed."""
        return self in (Kind.VARINT, Kind.FIXED64, Kind.FIXED32)

    @property
    def wire_type(self) -> int:
        """The wire type of a single value."""
        return self.value if self.is_number else _DELIMITED


@dataclass(frozen=True)
class Field:
    """One field of a message."""

    name: str
    kind: Kind
    repeated: bool = False
    message: str = ""
    """For `Kind.MESSAGE`: the message's key in the table."""
    refused: str = ""
    """If set, the field is rejected for this reason."""


Table = Mapping[str, Mapping[int, Field]]


@dataclass
class Budget:
    """The budget of one parse: hostile bytes end in an error and not in an hour of work."""

    fields: int = 500_000
    depth: int = 40


@dataclass
class Message:
    """A parsed message: the values of each present field, in order.

    Numbers of a packed field stay bytes: one `memoryview` for each packed block.
    """

    kind: str
    values: dict[str, list[Any]] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether the field is present."""
        return name in self.values

    def messages(self, name: str) -> list[Message]:
        """The sub-messages of a field, singular or repeated; empty when absent."""
        return self.values.get(name, [])

    def texts(self, name: str) -> list[str]:
        """The strings of a field; empty when absent."""
        return self.values.get(name, [])

    def text(self, name: str) -> str:
        """The string of a singular field; "" when absent, as the format defines."""
        values = self.values.get(name)
        return str(values[0]) if values else ""

    def integer(self, name: str) -> int:
        """The varint of a singular field as an unsigned 64-bit number; 0 when absent."""
        values = self.values.get(name)
        return int(values[0]) if values else 0


def parse(data: bytes, kind: str, table: Table, budget: Budget | None = None) -> Message:
    """Read `data` as the message `kind` of `table`.

    Raises:
        ProtobufError: Malformed, refused or unknown content, or the budget is used up.
    """
    return _Parser(table, budget or Budget()).message(memoryview(data), kind, 0)


class _Parser:
    def __init__(self, table: Table, budget: Budget) -> None:
        self._table = table
        self._budget = budget

    def message(self, data: memoryview, kind: str, depth: int) -> Message:
        if depth > self._budget.depth:
            raise ProtobufError(f"messages nested deeper than {self._budget.depth} levels")
        message = Message(kind)
        allowed = self._table[kind]
        at = 0
        while at < len(data):
            self._budget.fields -= 1
            if self._budget.fields < 0:
                raise ProtobufError("more fields than any published graph needs")
            tag, at = _varint(data, at)
            number, wire_type = tag >> 3, tag & 7
            raw, at = _value(data, at, wire_type)
            rule = allowed.get(number)
            if rule is None:
                raise ProtobufError(f"{kind} has field {number}, which is not part of the contract")
            where = f"{kind}.{rule.name}"
            if rule.refused:
                raise ProtobufError(f"{where}: {rule.refused}")
            values = message.values.setdefault(rule.name, [])
            if values and not rule.repeated:
                raise ProtobufError(f"{where} appears twice")
            packed = rule.kind.is_number and rule.repeated and wire_type == _DELIMITED
            if wire_type != rule.kind.wire_type and not packed:
                raise ProtobufError(f"{where} has wire type {wire_type}, not {rule.kind.wire_type}")
            values.append(self._typed(raw, rule, where, depth))
        return message

    def _typed(self, raw: int | memoryview, rule: Field, where: str, depth: int) -> object:
        if isinstance(raw, memoryview) and rule.kind is Kind.MESSAGE:
            return self.message(raw, rule.message, depth + 1)
        if isinstance(raw, memoryview) and rule.kind is Kind.STRING:
            try:
                return str(raw, "utf-8")
            except UnicodeDecodeError as error:
                raise ProtobufError(f"{where} is not UTF-8") from error
        return raw


def _value(data: memoryview, at: int, wire_type: int) -> tuple[int | memoryview, int]:
    if wire_type == _VARINT:
        return _varint(data, at)
    if wire_type == _DELIMITED:
        size, at = _varint(data, at)
    elif wire_type == _FIXED64:
        size = 8
    elif wire_type == _FIXED32:
        size = 4
    else:
        raise ProtobufError(f"wire type {wire_type} at byte {at} of a message")
    if size > len(data) - at:
        raise ProtobufError(f"a value of {size} bytes where {len(data) - at} are left")
    return data[at : at + size], at + size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >= 1 << 64:
                raise ProtobufError("a varint above 64 bits")
            return value, at + index + 1
    raise ProtobufError("a varint that does not end")
