"""The address of a model: `name`, `name@3` or `name@alias`.

Knows the grammar. Knows nothing of existing models: the store resolves references. A valid text contains no
separator, no dot, no upper case and no control character, and even so it is never joined into a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from model_store.errors import InvalidReference, quoted
from model_store.name_types import ALIAS_PATTERN, NAME_PATTERN

#: Maximum length: a name and an alias of 64 characters each, and the sign between them.
MAX_REFERENCE_CHARACTERS = 129

_NAME = re.compile(NAME_PATTERN)
_ALIAS = re.compile(ALIAS_PATTERN)
#: No sign, no leading zero: a version has exactly one spelling.
_VERSION = re.compile(r"[1-9][0-9]{0,8}")

_REMEDY = (
    "Write 'name', 'name@3' or 'name@alias': lower-case letters, digits and inner hyphens, "
    "at most 64 characters each; an alias starts with a letter."
)


def is_model_name(text: str) -> bool:
    """Whether this is a valid name of a model."""
    return _NAME.fullmatch(text) is not None


def is_alias_name(text: str) -> bool:
    """Whether this is a valid name of an alias."""
    return _ALIAS.fullmatch(text) is not None


def version_number(text: str) -> int | None:
    """The version that this text spells, or None: "3" is 3; "03", "+3", "٣" and "" are None."""
    return int(text) if _VERSION.fullmatch(text) else None


@dataclass(frozen=True)
class ModelReference:
    """A caller's reference; at most one of `version` and `alias` is set."""

    name: str
    version: int | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.alias is not None:
            raise InvalidReference(f"model reference: both a version and an alias. {_REMEDY}")
        if not is_model_name(self.name):
            raise InvalidReference(f"model reference: {quoted(self.name)} is no model name. {_REMEDY}")
        if self.alias is not None and not is_alias_name(self.alias):
            raise InvalidReference(f"model reference: {quoted(self.alias)} is no alias. {_REMEDY}")
        if self.version is not None and version_number(str(self.version)) is None:
            raise InvalidReference(
                f"model reference: {quoted(self.version)} is no version: 1 to 999999999. {_REMEDY}"
            )

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """Read `name`, `name@version` or `name@alias`.

        Raises:
            InvalidReference: The text is none of the three.
        """
        if len(text) > MAX_REFERENCE_CHARACTERS:
            raise InvalidReference(
                f"model reference: {len(text)} characters, at most {MAX_REFERENCE_CHARACTERS}. {_REMEDY}"
            )
        name, at, selector = text.partition("@")
        if not is_model_name(name):
            raise InvalidReference(f"model reference: {quoted(text)} does not start with a name. {_REMEDY}")
        if not at:
            return cls(name)
        version = version_number(selector)
        if version is not None:
            return cls(name, version=version)
        if is_alias_name(selector):
            return cls(name, alias=selector)
        raise InvalidReference(
            f"model reference: {quoted(text)} has neither a version nor an alias after '@'. {_REMEDY}"
        )

    def __str__(self) -> str:
        selector = self.alias if self.version is None else str(self.version)
        return self.name if selector is None else f"{self.name}@{selector}"
