"""Types of settings that are more than a number or a word, and the sentences about other values.

Knows locations, origins, host names and paths as text. Knows no setting, and nothing of a value's source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

from service.references import REFERENCE_PATTERN, STORED_NAME_PATTERN

#: A path prefix: segments that need no escaping, none of dots alone, no slash at the end.
ROOT_PATH = r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+"
_ORIGIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?"
)

_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")


@dataclass(frozen=True)
class Unit:
    """The unit of a setting, for the help text."""

    name: str


def _reference(text: str) -> str:
    if re.fullmatch(REFERENCE_PATTERN, text) is None:
        raise PydanticCustomError(
            "reference",
            "Expected name, name@version or name@alias, of lower-case letters, digits and inner hyphens",
        )
    return text


def _model_name(text: str) -> str:
    if re.fullmatch(STORED_NAME_PATTERN, text) is None:
        raise PydanticCustomError(
            "model_name",
            "Expected a name alone, of at most 64 lower-case letters, digits and inner hyphens",
        )
    return text


def _origins(text: str) -> str:
    if text != "*" and not all(_ORIGIN.fullmatch(origin) for origin in split_origins(text)):
        raise PydanticCustomError(
            "origins",
            "Expected origins such as https://a.example or http://localhost:3000, lower-case, without a path "
            "or a slash at the end, separated by commas, or * alone",
        )
    return text


def _hosts(text: str) -> str:
    if not all(_HOST.fullmatch(name.strip()) for name in text.split(",")):
        raise PydanticCustomError(
            "hosts",
            "Expected host names such as vae.example,*.vae.example, lower-case, without a scheme or a port, "
            "separated by commas, or * for all",
        )
    return text


def _root_path(text: str) -> str:
    path = text.rstrip("/")
    if path and re.fullmatch(ROOT_PATH, path) is None:
        raise PydanticCustomError(
            "root_path",
            "Expected a path such as /vae or /team/vae, of letters, digits and . _ ~ -, with a slash first",
        )
    return path


def _store(value: object) -> object:
    """Keep an address as text: a path would merge its two slashes."""
    if not isinstance(value, str):
        return value
    protocol, separator, rest = value.partition("://")
    if not separator:
        return Path(value)
    if not protocol or not rest.strip("/") or "@" in rest.partition("/")[0]:
        raise PydanticCustomError(
            "store",
            "Expected a directory, or an address such as s3://bucket/prefix without a user or a password; "
            "the storage's own variables carry these (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
        )
    return value


def _access_log(value: object) -> object:
    """Accept the two values of earlier versions."""
    text = str(value).lower()
    return {"true": "all", "false": "none"}.get(text, text)


def split_origins(text: str) -> tuple[str, ...]:
    """`a, b` → `("a", "b")`."""
    return tuple(origin.strip() for origin in text.split(","))


#: A model, with or without a version or an alias.
Reference = Annotated[str, AfterValidator(_reference)]
#: The name of a model, without a version or an alias.
ModelName = Annotated[str, AfterValidator(_model_name)]
#: A directory, or an address such as `s3://bucket/prefix`.
StoreLocation = Annotated[Path | str | None, BeforeValidator(_store)]
#: Empty text, or a path without a slash at its end.
RootPath = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_root_path)]
#: Host names and patterns such as `*.vae.example`, separated by commas.
Hosts = Annotated[str, AfterValidator(_hosts)]
#: Origins, separated by commas; see `split_origins`.
Origins = Annotated[str, AfterValidator(_origins)]
AccessLogMode = Literal["all", "no-probes", "errors", "none"]
#: The same, and the two values of earlier versions.
AccessLog = Annotated[AccessLogMode, BeforeValidator(_access_log)]
