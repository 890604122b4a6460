"""Every limit of the server in one table: its value, its unit, the reaction beyond it, the setting behind it.

Knows the settings and the constants of the modules that enforce them; an operation states the limits that are
its own. Knows nothing of requests.
`GET /limits`, the OpenAPI document, `vae-serve limits` and docs/reference/limits.md are made from this one;
tests hold them together and to what the server really does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import WithJsonSchema

from model_store import text_layout
from model_store.manifest import MAX_LABEL_CHARACTERS
from service.api.limit import FixedLimit, Number
from service.api.native.table import OPERATIONS
from service.api.open_inference.rest_request import MAX_ID_CHARACTERS, MAX_PARAMETERS, MAX_TENSORS
from service.api.operation import Operation
from service.api.parameters import Drawing
from service.api.request_images import PICTURES_AT_MOST
from service.codecs.images import MAX_SIDE_PIXELS
from service.codecs.jpeg_segments import PIXELS_IN_ONE
from service.codecs.strict_json import MAX_LEVELS
from service.engine import LARGEST_SEED, LARGEST_SPAN, LARGEST_TEMPERATURE, LATENT_BOUND
from service.http.document import Document
from service.http.parameters import MAX_QUERY_BYTES, MAX_QUERY_FIELDS, Limits, bounds
from service.http.problem_documents import ProblemCode
from service.http.problems import PROBLEMS
from service.http.protocol import MAX_HEAD_BYTES, MAX_URL_BYTES
from service.references import MAX_REFERENCE_CHARACTERS
from service.security.api_keys import MAX_KEY_CHARACTERS, MAX_KEYS
from service.settings import ENV_PREFIX, Settings, describe_settings, flag_of


class LimitSetting(Document):
    """The setting behind a limit."""

    flag: str
    """Of `vae-serve run`."""
    variable: str
    """In the environment."""


class LimitRow(Document):
    """One limit, for one server."""

    name: str
    """The setting's own name, if there is one."""
    value: Annotated[Number, WithJsonSchema({"type": "number"})]
    """The limit."""
    unit: str
    """The unit of the value; empty for a plain number."""
    of: str
    """The limited quantity."""
    beyond: str
    """The reaction beyond it."""
    status: int | None
    """Status of the response beyond it, if there is one."""
    codes: tuple[ProblemCode, ...]
    """Problems of the response beyond it."""
    setting: LimitSetting | None
    """The setting that changes it; null: none."""


class LimitTable(Document):
    """Every limit of one server."""

    limits: tuple[LimitRow, ...]


@dataclass(frozen=True)
class _Set:
    """A limit that a setting of the same name changes."""

    name: str
    of: str
    """The limited quantity."""
    beyond: str
    """The reaction beyond it."""
    codes: tuple[str, ...] = ()
    """Codes of the problems beyond it, all of one status."""


def _largest(model: type[Drawing], name: str) -> Number:
    limits = Limits(max_images=1, max_stream_images=1, max_score_draws=1)
    high: Number = bounds(model.model_fields[name], limits)[1]
    return high


_VALUE: Final = ("invalid-parameter", "invalid-value")
_TABLE: Final[tuple[_Set | FixedLimit, ...]] = (
    _Set("max_images", "images, or rows of z, in one request or answer", "refused", _VALUE),
    _Set(
        "max_values",
        "values of the images in one request or answer, channels × height × width; one image is allowed",
        "refused",
        _VALUE,
    ),
    _Set(
        "max_run_pixels",
        "an image that /remote/decode computes in one run, for a model with open sizes",
        "computed in tiles, or refused with tile=off",
        ("invalid-value",),
    ),
    _Set(
        "max_json_values",
        "values of the images in a JSON answer, and numbers in a JSON body",
        "refused",
        _VALUE,
    ),
    _Set(
        "max_stream_images",
        "images in an npy answer of /sample or /decode, which is streamed",
        "refused",
        _VALUE,
    ),
    _Set("max_stream_values", "values of the images in such an answer; one is allowed", "refused", _VALUE),
    _Set("max_score_draws", "importance draws of one /score: images × importance_samples", "refused", _VALUE),
    _Set(
        "max_queue_images",
        "images that wait for a model",
        "refused, with the time to come back",
        ("too-busy",),
    ),
    _Set(
        "max_queue_values",
        "values of the images that wait for a model",
        "refused, with the time to come back",
        ("too-busy",),
    ),
    _Set(
        "request_timeout_s",
        "a request until its result, or until each part of a streamed one",
        "not run, or not any more",
        ("deadline-exceeded",),
    ),
    _Set(
        "max_body_bytes",
        "a request body, declared or counted; under /v2 also after decompression",
        "refused",
        ("body-too-large",),
    ),
    _Set(
        "max_buffered_bytes",
        "all request bodies together",
        "refused, with the time to come back",
        ("too-busy",),
    ),
    _Set("max_png_pixels", "a PNG, JPEG or WebP that is drawn", "refused", ("invalid-value",)),
    FixedLimit(
        "max_side_pixels",
        MAX_SIDE_PIXELS,
        "pixels",
        "a side of a JPEG or WebP that is drawn",
        "refused",
        ("invalid-value",),
    ),
    _Set(
        "max_picture_pixels",
        f"a picture that is sent; a JPEG, {PIXELS_IN_ONE} times as many; all of one request together, "
        f"{PICTURES_AT_MOST} times",
        "refused before it is unpacked",
        ("invalid-value",),
    ),
    FixedLimit(
        "max_scale",
        _largest(Drawing, "scale"),
        "pixels",
        "scale: side of the square that a pixel becomes",
        "refused",
        ("invalid-parameter",),
    ),
    FixedLimit(
        "max_columns",
        _largest(Drawing, "columns"),
        "images",
        "columns: images in a row",
        "refused",
        ("invalid-parameter",),
    ),
    FixedLimit("max_latent", LATENT_BOUND, "", "a number of z, either sign", "refused", ("invalid-value",)),
    FixedLimit("max_temperature", LARGEST_TEMPERATURE, "", "temperature", "refused", _VALUE),
    FixedLimit("max_span", LARGEST_SPAN, "standard deviations", "span", "refused", _VALUE),
    FixedLimit("max_seed", LARGEST_SEED, "", "seed", "refused", _VALUE),
    FixedLimit("max_label_characters", MAX_LABEL_CHARACTERS, "characters", "label", "refused", _VALUE),
    FixedLimit(
        "max_json_levels",
        MAX_LEVELS,
        "levels",
        "lists and objects within one another in a JSON body",
        "refused",
        ("malformed-body",),
    ),
    FixedLimit(
        "max_inference_tensors",
        MAX_TENSORS,
        "tensors",
        "inputs, and outputs, of a request under /v2",
        "refused",
    ),
    FixedLimit(
        "max_inference_parameters",
        MAX_PARAMETERS,
        "parameters",
        "parameters of a request under /v2",
        "refused",
    ),
    FixedLimit(
        "max_inference_id_characters", MAX_ID_CHARACTERS, "characters", "id of a request under /v2", "refused"
    ),
    FixedLimit("max_query_bytes", MAX_QUERY_BYTES, "bytes", "a query", "refused", ("invalid-parameter",)),
    FixedLimit(
        "max_query_parameters", MAX_QUERY_FIELDS, "parameters", "a query", "refused", ("invalid-parameter",)
    ),
    FixedLimit(
        "max_reference_characters",
        MAX_REFERENCE_CHARACTERS,
        "characters",
        "model: name@version or name@alias",
        "refused",
        ("invalid-parameter",),
    ),
    FixedLimit(
        "max_path_bytes",
        MAX_URL_BYTES,
        "bytes",
        "path and query together",
        "cut there, so that it names nothing",
        ("unknown-path",),
    ),
    FixedLimit(
        "max_head_bytes",
        MAX_HEAD_BYTES,
        "bytes",
        "request line and headers together",
        "refused, and closed",
        ("head-too-large",),
    ),
    _Set(
        "receipt_timeout_s",
        "the receipt of a head and of a body",
        "answered, and closed",
        ("receipt-timeout",),
    ),
    _Set("keep_alive_s", "an idle connection", "closed"),
    _Set(
        "max_connections",
        "connections open at a time; those beyond get only probes and metrics",
        "refused, and closed",
        ("too-many-connections",),
    ),
    _Set(
        "max_grpc_calls",
        "gRPC calls answered at a time, and open streams, without health checks",
        "refused, with the time to come back",
        ("too-busy",),
    ),
    _Set("shutdown_grace_s", "running requests after SIGTERM", "ended", ("shutting-down",)),
    _Set(
        "max_loaded_models",
        "versions without an alias that are kept in memory",
        "the least recently used goes",
    ),
    _Set("model_idle_s", "a version without an alias that nobody asks for", "unloaded"),
    FixedLimit(
        "max_key_characters", MAX_KEY_CHARACTERS, "characters", "an API key", "refused", ("unknown-key",)
    ),
    FixedLimit("max_keys", MAX_KEYS, "keys", "the file of API keys", "the server does not start"),
)


def limit_table(settings: Settings, operations: Sequence[Operation[Any, Any]] = OPERATIONS) -> LimitTable:
    """The table with the values of these settings, the limits of single operations last."""
    units = {described.field: described.unit for described in describe_settings()}
    return LimitTable(
        limits=tuple(
            _fixed(row) if isinstance(row, FixedLimit) else _of_setting(row, settings, units[row.name])
            for row in (*_TABLE, *(row for operation in operations for row in operation.limits))
        )
    )


def table_text(table: LimitTable, *, width: int) -> str:
    """The table for a terminal, in lines of `width` characters."""
    rows = [
        [
            f"{row.name}{'' if row.setting is None else ' *'}",
            f"{_told(row.value)} {row.unit}".rstrip(),
            f"{row.of}; {row.beyond}" + (f": {row.status} {', '.join(row.codes)}" if row.codes else ""),
        ]
        for row in table.limits
    ]
    text = text_layout.table(("limit", "value", "of; beyond it"), rows, width=width)
    return f"{text}\n\n* A setting: --max-images, or VAE_MAX_IMAGES in the environment, and so on.\n"


def table_markdown(table: LimitTable) -> str:
    """The table for documents."""
    lines = ["| limit | value | of | beyond it |", "| --- | ---: | --- | --- |"]
    for row in table.limits:
        name = f"`{row.name}`" if row.setting is None else f"**`{row.name}`**"
        answered = f": {row.status} `{'`, `'.join(row.codes)}`" if row.codes else ""
        lines.append(
            f"| {name} | {_told(row.value)} {row.unit}".rstrip() + f" | {row.of} | {row.beyond}{answered} |"
        )
    return "\n".join(lines) + "\n"


def _told(value: Number) -> str:
    return f"{int(value) if value == int(value) else value:,}"


def _fixed(row: FixedLimit) -> LimitRow:
    return LimitRow(
        name=row.name,
        value=row.value,
        unit=row.unit,
        of=row.of,
        beyond=row.beyond,
        status=_status(row),
        codes=row.codes,
        setting=None,
    )


def _of_setting(row: _Set, settings: Settings, unit: str) -> LimitRow:
    return LimitRow(
        name=row.name,
        value=getattr(settings, row.name),
        unit=unit,
        of=row.of,
        beyond=row.beyond,
        status=_status(row),
        codes=row.codes,
        setting=LimitSetting(flag=flag_of(row.name), variable=f"{ENV_PREFIX}{row.name.upper()}"),
    )


def _status(row: _Set | FixedLimit) -> int | None:
    """The one status of its codes."""
    statuses = {PROBLEMS[code].status for code in row.codes}
    assert len(statuses) <= 1, f"{row.name}: one limit has one status"
    return next(iter(statuses), None)
