"""Strict parameters: their valid values, and the errors about others.

Knows pydantic and plain values. Knows nothing of requests, models or arrays. Nothing is coerced: `true` is no
number, `"1.5"` is no float, `1.0` is no integer. An unknown parameter is rejected, with the nearest known
name.
"""

from __future__ import annotations

import functools
import json
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from model_store.echo import did_you_mean, echo
from model_store.validation_messages import findings_of
from service.codecs.describe import describe as json_words
from service.http.problems import MAX_ITEMS, Item, ProblemError

MAX_QUERY_BYTES = 4_096
MAX_QUERY_FIELDS = 64
#: Longer queries are parsed each time, so that the 256 cached ones stay small.
_MOST_REMEMBERED_BYTES = 256
#: Signs that a query omits: `["a", 1]` → `a,1`.
_NO_JSON = str.maketrans("", "", '[]" ')
#: The end of a text that is the name of a file.
_FILE_NAME = re.compile(r"\.(?:png|jpe?g|webp|npy|heic|gif)\Z", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_INTEGER = re.compile(r"-?[0-9]{1,40}\Z")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,40})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,6})?\Z")


@dataclass(frozen=True)
class Limits:
    """Bounds from the settings rather than from the class."""

    max_images: int
    """Maximum number of images of a request, or of a response in one part."""
    max_stream_images: int
    """Maximum number of images of a response that is sent part by part."""
    max_score_draws: int
    """Maximum number of importance draws of one /score, all its images together."""
    max_picture_pixels: int = 4_194_304
    """Maximum number of pixels of a picture that is read."""
    max_png_pixels: int = 4_194_304
    """Maximum number of pixels of a picture that is drawn, one image apart."""
    max_values: int = 16_777_216
    """Maximum number of values of all images of a request or response, one image apart."""
    max_json_values: int = 4_194_304
    """The same for images in JSON, and for numbers in JSON."""
    max_stream_values: int = 1 << 30
    """The same for a response that is sent part by part."""
    max_body_bytes: int = 32 * 1024 * 1024
    """Maximum size of a body, and of the files in an archive together."""

    def most_drawn(self, shape: tuple[int, ...]) -> int:
        """Maximum number of pixels of a picture with images (C, H, W); one image is always allowed."""
        _, height, width = shape
        return max(self.max_png_pixels, height * width)


@dataclass(frozen=True)
class AtMost:
    """Marks a number whose upper bound is the named member of `Limits`."""

    limit: str


class Parameters(BaseModel):
    """Parent of every set of parameters: frozen, strict, nothing unknown."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )


S = TypeVar("S", bound=Parameters)


def read_query(query: bytes, model: type[S], limits: Limits) -> S:
    """The parameters in a query string.

    Raises:
        ProblemError: `invalid-parameter`, naming up to ten unknown, repeated or invalid parameters.
    """
    if not query:
        return _defaults(model)
    if len(query) > _MOST_REMEMBERED_BYTES:
        return _read_query(query, model, limits)
    known = _known_query(query, model, limits)
    assert isinstance(known, model)
    return known


def _read_query(query: bytes, model: type[S], limits: Limits) -> S:
    values, items = _from_pairs(
        _split_query(query), model, where="query", each="query parameter", known=model.model_fields
    )
    return _validated(values, model, limits, code="invalid-parameter", where="query: ", items=items)


@functools.lru_cache(maxsize=256)
def _known_query(query: bytes, model: type[Parameters], limits: Limits) -> Parameters:
    """The same, parsed once for each text: the result is frozen, and most clients always send the same."""
    return _read_query(query, model, limits)


def read_object(
    values: Mapping[str, object],
    model: type[S],
    limits: Limits,
    *,
    also: Iterable[str] = (),
    in_query: Collection[str] = (),
) -> S:
    """The parameters in a JSON object.

    Args:
        values: The object.
        model: The parameters.
        limits: Bounds from the settings.
        also: Known names that another parser reads.
        in_query: Names that only the query may have, for messages.

    Raises:
        ProblemError: `invalid-value`, naming up to ten defects.
    """
    elsewhere = tuple(also)
    if all(name in elsewhere for name in values):
        return _defaults(model)
    known = (*elsewhere, *model.model_fields)
    unknown = ((at, name) for at, name in enumerate(values, start=1) if name not in known)
    items = [_unknown(f"body: key {at}", name, known, in_query) for at, name in islice(unknown, MAX_ITEMS)]
    own = {name: value for name, value in values.items() if name in model.model_fields}
    return _validated(own, model, limits, code="invalid-value", where="body: ", items=items)


def read_fields(
    pairs: Iterable[tuple[str, str]],
    model: type[S],
    limits: Limits,
    *,
    also: Collection[str] = (),
    in_query: Collection[str] = (),
) -> S:
    """The parameters in the fields of a form, as a query would state them.

    Args:
        pairs: Name and text of each field.
        model: The parameters.
        limits: Bounds from the settings.
        also: Names that a form may have for files.
        in_query: Names that only the query may have, for messages.

    Raises:
        ProblemError: `invalid-value`, naming up to ten defects.
    """

    def is_file(name: str, text: str) -> bool:
        return name in also or (name not in model.model_fields and _FILE_NAME.search(text) is not None)

    values, items = _from_pairs(
        pairs,
        model,
        where="body",
        each="body: field",
        known=(*also, *model.model_fields),
        in_query=in_query,
        is_file=is_file,
    )
    if not values and not items:
        return _defaults(model)
    return _validated(values, model, limits, code="invalid-value", where="body: ", items=items[:MAX_ITEMS])


def _defaults(model: type[S]) -> S:
    """The meaning of a request without any of these parameters; frozen, so one instance for all."""
    found = _DEFAULTS.get(model)
    if found is None:
        found = _DEFAULTS[model] = model()
    assert isinstance(found, model)
    return found


_DEFAULTS: dict[type[Parameters], Parameters] = {}


def expectation(field: FieldInfo, limits: Limits) -> str:
    """The valid values of the field, in words: `an integer from 1 to 256`."""
    kind = scalar_type(field)
    if kind is bool:
        return "true or false"
    if kind is list:
        low, high = bounds(element_of(field), limits)
        fewest, most = list_lengths(field)
        return f"{fewest} to {most} integers from {low} to {high}"
    if words := words_of(field):
        return " or ".join(words)
    low, high = bounds(field, limits)
    if kind is int or kind is float:
        noun = "an integer" if kind is int else "a finite number"
        return f"{noun} from {low} to {high}"
    if words := words_of(field):
        return " or ".join(words)
    longest = longest_text(field)
    return f"text of at most {longest} characters" if longest else "text"


def bounds(field: FieldInfo, limits: Limits) -> tuple[Any, Any]:
    """(smallest, largest) value of a numeric field; None without a bound."""
    low, high = _constraint(field, "ge"), _constraint(field, "le")
    dynamic = next((getattr(limits, m.limit) for m in field.metadata if isinstance(m, AtMost)), None)
    return low, dynamic if dynamic is not None else high


def longest_text(field: FieldInfo) -> int | None:
    """Maximum length of a text field in characters, if it has a bound."""
    longest: int | None = _constraint(field, "max_length")
    return longest


def _constraint(field: FieldInfo, name: str) -> Any:
    return next((getattr(m, name) for m in field.metadata if getattr(m, name, None) is not None), None)


def words_of(field: FieldInfo) -> tuple[str, ...]:
    """The valid words of a text field, if they are listed."""
    annotation = _annotation(field)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def element_of(field: FieldInfo) -> FieldInfo:
    """One integer of a field with several."""
    return FieldInfo.from_annotation(get_args(_annotation(field))[0])


def list_lengths(field: FieldInfo) -> tuple[int, int]:
    """Minimum and maximum number of elements of a field with several."""
    return _constraint(field, "min_length"), _constraint(field, "max_length")


def scalar_type(field: FieldInfo) -> Any:
    """bool, int, float, str, or list for a few integers; an optional field has the same type."""
    annotation = _annotation(field)
    if get_origin(annotation) is Literal:
        return str
    if get_origin(annotation) is list:
        return list
    assert annotation in (bool, int, float, str), f"not a scalar: {annotation}"
    return annotation


def _annotation(field: FieldInfo) -> Any:
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return next(a for a in get_args(annotation) if a is not type(None))
    return annotation


def describe(value: object) -> str:
    """The actual value, if it is a short scalar; otherwise its type and size."""
    if isinstance(value, _Unreadable):
        return value.got
    return echo(value) if isinstance(value, str) else json_words(value)


@dataclass(frozen=True)
class _Unreadable:
    """Stands for text that is no value of the field's type; no strict field accepts it."""

    got: str


def _split_query(query: bytes) -> list[tuple[str, str]]:
    if len(query) > MAX_QUERY_BYTES:
        raise ProblemError.of_item(
            "invalid-parameter",
            Item(
                "query", f"at most {MAX_QUERY_BYTES} bytes", f"{len(query)} bytes", "Send images in a body."
            ),
        )
    # Clients append pairs blindly, so empty text between two `&` and after the last one is valid.
    pairs = b"&".join(filter(None, query.split(b"&")))
    if not pairs:
        return []
    try:
        return parse_qsl(
            pairs.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=MAX_QUERY_FIELDS,
        )
    except ValueError:  # also raised as UnicodeDecodeError
        raise ProblemError.of_item(
            "invalid-parameter",
            Item(
                "query",
                f"at most {MAX_QUERY_FIELDS} name=value pairs, joined by &, percent-encoded UTF-8",
                "something else",
                "Such as ?n=4&seed=7.",
            ),
        ) from None


def _from_pairs(
    pairs: Iterable[tuple[str, str]],
    model: type[Parameters],
    *,
    where: str,
    each: str,
    known: Iterable[str],
    in_query: Collection[str] = (),
    is_file: Callable[[str, str], bool] = lambda name, text: False,  # noqa: ARG005
) -> tuple[dict[str, object], list[Item]]:
    """Values by name, and the defects: unknown names, with the nearest of `known`, and repeated ones."""
    values: dict[str, object] = {}
    items: list[Item] = []
    for position, (name, text) in enumerate(pairs, start=1):
        if is_file(name, text):
            items.append(_not_a_file(f"{each} {position}", name, text))
        elif name not in model.model_fields:
            items.append(_unknown(f"{each} {position}", name, known, in_query))
        elif name in values:
            items.append(Item(f"{where}: {name}", "one value", "more than one", f"Send {name} once."))
        else:
            values[name] = _from_text(text, model.model_fields[name])
    return values, items


def _from_text(text: str, field: FieldInfo) -> object:
    """A query's text as a value of the field's type, parsed as strictly as JSON."""
    kind = scalar_type(field)
    if kind is str:
        return text
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind is int and _INTEGER.match(text):
        return int(text)
    if kind is float and _NUMBER.match(text):
        return float(text)
    if kind is list and all(_INTEGER.match(part) for part in text.split(",")):
        return [int(part) for part in text.split(",")]
    return _Unreadable(echo(text) if text else "nothing")


def _validated(
    values: Mapping[str, object],
    model: type[S],
    limits: Limits,
    *,
    code: str,
    where: str,
    items: list[Item],
) -> S:
    wrong: list[str] = []
    parsed: S | None = None
    try:
        parsed = model.model_validate(dict(values), strict=True)
    except ValidationError as error:
        wrong = [finding.field for finding in findings_of(error)]
    for name in model.model_fields if wrong else values:  # a missing value can only be missing
        field, value = model.model_fields[name], values.get(name)
        high = bounds(field, limits)[1]
        too_large = (
            isinstance(value, int) and not isinstance(value, bool) and high is not None and value > high
        )
        is_null = name in values and value is None  # a value that is left out is left out
        if name in wrong or too_large or is_null:
            items.append(_misfit(where, name, field, value, limits))
    if items or parsed is None:
        detail = f"{items[0].where}: expected {items[0].expected}, got {items[0].got}."
        more = len(items) - 1
        raise ProblemError(code, detail + (f" And {more} more." if more else ""), items=items)
    return parsed


def _misfit(where: str, name: str, field: FieldInfo, value: object, limits: Limits) -> Item:
    example = json.dumps(field.examples[0] if field.examples else None)
    remedy = f'Such as {{"{name}": {example}}}.'
    if where.startswith("query"):
        remedy = f"Such as {name}={example.translate(_NO_JSON)}."
    return Item(f"{where}{name}", expectation(field, limits), describe(value), remedy)


def _unknown(where: str, name: str, known: Iterable[str], in_query: Collection[str] = ()) -> Item:
    names = sorted(known)
    expected = "one of " + ", ".join(names) if names else "none"
    if name in in_query:
        return Item(where, expected, echo(name), f"Send it in the query of the address: ?{name}=…")
    hint = did_you_mean(name.lower(), names)
    return Item(where, expected, echo(name), f"{hint} Correct or leave it out.".strip())


def _not_a_file(where: str, name: str, text: str) -> Item:
    """The field has the name of a file for its text: curl sends the file itself only after an @."""
    return Item(
        where,
        "a file",
        f"the text {echo(text)}" if text else "an empty text",
        f"curl sends a file if @ is in front of its name: -F {_field_name(name)}=@digit.png",
    )


def _field_name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else "images"
