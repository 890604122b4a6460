"""Requests that differ only in their tensor and their id: the rest of the message is parsed once.

Knows the order of fields on the wire. Knows nothing of models.

    names, shapes, parameters, outputs │ id │ raw_input_contents
    the key of the cache               │ read each time

Protobuf writes fields by number, and the raw tensors have the last one. So everything before them is the same
bytes in each call of a client that infers in a loop. A message of any other form is parsed as a whole.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Final, NamedTuple

from service.api.open_inference.grpc.conversions import MOST_ID_CHARACTERS, request_message, request_of
from service.api.open_inference.grpc.wire import read_varint
from service.api.open_inference.messages import SHARED_MEMORY, InferenceRequest
from service.codecs.errors import MalformedBody

#: Longest beginning of a message that is remembered, and how many.
_MOST_BYTES: Final = 1024
_MOST_HEADS: Final = 256
#: Longest length on the wire; protobuf refuses longer ones.
_MOST_LENGTH_BYTES: Final = 5
#: Tags: field number << 3 | 2.
_ID, _RAW_INPUT = 0x1A, 0x3A
#: Those of `model_name`, `model_version`, `parameters`, `inputs` and `outputs`.
_OTHERS: Final = frozenset({0x0A, 0x12, 0x22, 0x2A, 0x32})


class _Split(NamedTuple):
    """The places of a message with one raw tensor at its end."""

    head: bytes
    id: bytes
    data_at: int


def read_request(data: bytes) -> InferenceRequest:
    """The request in the bytes of a `ModelInferRequest`.

    Raises:
        MalformedBody: The bytes are no such message, or its tensors are incomplete.
        InvalidValue: A shape, a number of tensors or a kind of contents is invalid.
    """
    split = _split(data)
    head = None
    if split is not None:
        with contextlib.suppress(UnicodeDecodeError):  # an error of the whole message, which is parsed below
            request_id = split.id.decode()
            head = _head(split.head)
    if split is None or head is None:
        return request_of(request_message(data))
    (tensor,) = head.inputs
    raw = memoryview(data)[split.data_at :]
    return head._replace(id=request_id, inputs=(tensor._replace(raw=raw, values=None),))


def _split(data: bytes) -> _Split | None:
    """Where the one raw tensor begins; None for a message of another form."""
    end = len(data)
    id_from = id_at = id_end = at = 0
    try:
        while at < end and at <= _MOST_BYTES:
            tag = data[at]
            size, start = read_varint(data, at + 1, end)
            if start > at + 1 + _MOST_LENGTH_BYTES:
                return None
            if tag == _RAW_INPUT:
                if start + size != end:
                    return None
                head = data[:at] if not id_end else data[:id_from] + data[id_end:at]
                return _Split(head, data[id_at:id_end], start)
            if tag == _ID and not id_end and size <= MOST_ID_CHARACTERS:
                id_from, id_at, id_end = at, start, start + size
            elif tag not in _OTHERS:
                return None
            at = start + size
    except MalformedBody:
        pass  # the whole message is parsed, and the error reported
    return None


@functools.lru_cache(maxsize=_MOST_HEADS)
def _head(data: bytes) -> InferenceRequest | None:
    """The request without its data and its id; None if it has not exactly one tensor, without contents."""
    found = request_message(data)
    if len(found.inputs) != 1 or found.inputs[0].HasField("contents"):
        return None
    if any(name.startswith(SHARED_MEMORY) for name in found.inputs[0].parameters):
        return None
    return request_of(found)._replace(plans={})
