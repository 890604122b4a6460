"""What identifies the response to a GET before it is computed: whether it may be kept, and its ETag.

Knows parameters, outlines and versions. Knows nothing of requests, of running models or of writing files. It
runs for each conditional request, so it computes nothing with arrays.
"""

from __future__ import annotations

from typing import Any, Final

from service.api.call import Call, Outline
from service.api.operation import Operation
from service.api.parameters import Drawing, ModelChoice
from service.api.responses import reuse_of
from service.http.caching import Reuse, computed_etag
from service.http.negotiation import Format

#: Formats that `Drawing` changes, and its own parameters.
_DRAWN: Final = frozenset({Format.PNG, Format.JPEG, Format.WEBP, Format.TEXT})
_OF_DRAWING: Final = tuple(name for name in Drawing.model_fields if name not in ModelChoice.model_fields)


def reuse_of_call(operation: Operation[Any, Any], asked: ModelChoice) -> Reuse:
    """Whether the same request receives the same response again: without chance, from one version."""
    if operation.is_seeded and getattr(asked, "seed", None) is None:
        return Reuse.NEVER
    return reuse_of(asked.model or "")


def etag_of(operation: Operation[Any, Any], call: Call[Any], outline: Outline) -> bytes:
    """The ETag of a response without chance: all that decides its bytes.

    Args:
        operation: The operation.
        call: The request.
        outline: The operation's outline of it.
    """
    model = call.model
    return computed_etag(
        operation.path.encode(),
        model.manifest.manifest_sha256.encode(),
        model.computed_sha256.encode(),
        call.format.suffix.encode(),
        _canonical(call.parameters, outline, drawing_of(call) if call.format in _DRAWN else None),
    )


def drawing_of(call: Call[Any]) -> Drawing | None:
    """The drawing of images; rows follow the operation unless the client chooses."""
    if not isinstance(call.parameters, Drawing):
        return None
    asked = call.parameters
    if call.columns is None or asked.columns:
        return asked
    return asked.model_copy(update={"columns": call.columns})


def _canonical(asked: ModelChoice, outline: Outline, drawing: Drawing | None) -> bytes:
    """The parameters as one text, equal for queries that mean the same.

    It has every parameter of the query but the model, so a later one cannot be forgotten. The outline's
    values replace missing ones. A format that draws nothing ignores the parameters of drawing.

    Args:
        asked: The parameters.
        outline: The outline of the request.
        drawing: The parameters of drawing, for a format that draws.
    """
    values = dict(asked)
    values.update(outline.parameters)
    del values["model"]
    for name in _OF_DRAWING:
        if drawing is None:
            values.pop(name, None)
        else:
            values[name] = getattr(drawing, name)
    return repr(sorted(values.items())).encode()
