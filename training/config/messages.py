"""Translate pydantic's errors about a recipe into sentences for a user.

Knows pydantic's error records and nested models. Knows no particular key.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from model_store.validation_messages import MAX_FINDINGS, Finding, findings_of

_MAX_GOT_CHARACTERS = 80


def explain(error: ValidationError, model: type[BaseModel], *, where: str) -> str:
    """One line per invalid key: file, key, expected value, actual value, nearest valid key."""
    found = findings_of(error)
    lines = [f"{where}: {_sentence(finding, model)}" for finding in found[:MAX_FINDINGS]]
    if len(found) > MAX_FINDINGS:
        lines.append(f"{where}: and {len(found) - MAX_FINDINGS} more.")
    return "\n".join(lines)


def _sentence(finding: Finding, model: type[BaseModel]) -> str:
    path, section = _walk(finding.location, model)
    key = ".".join(path)
    if finding.kind == "extra_forbidden":
        choice = _choice_with(path, model)
        if choice:
            return f"{key}: a key of {choice} only. Remove it, or set that."
        return f"{key}: unknown key. {_nearest(path[-1], section, model)}"
    if finding.kind == "missing":
        return f"{key}: expected a value, got nothing. Add the key."
    if finding.kind == "value_error":
        # Raised by our own validators, which name the keys themselves.
        return f"{finding.own_words}."
    got = repr(finding.value)
    if len(got) > _MAX_GOT_CHARACTERS:
        got = got[: _MAX_GOT_CHARACTERS - 1] + "…"
    return f"{key or 'the file'}: expected {finding.expected}, got {got}."


def _choice_with(path: Sequence[str], model: type[BaseModel]) -> str:
    """The kind of the same section that has this key, such as `model.trunk.type = 'mlp'`, or empty text."""
    choices: list[type[BaseModel]] = [model]
    for step in path[:-1]:
        field = choices[0].model_fields.get(step) if len(choices) == 1 else None
        choices = list(_models(field.annotation)) if field is not None else []
    if len(choices) < 2:
        return ""
    for choice in choices:
        if path[-1] in choice.model_fields:
            tag = next(name for name in choice.model_fields if name in ("type", "name"))
            (value,) = get_args(choice.model_fields[tag].annotation)
            return f"{'.'.join(path[:-1])}.{tag} = {value!r}"
    return ""


def _nearest(key: str, section: type[BaseModel] | None, model: type[BaseModel]) -> str:
    """The same key in another section, or the most similar one here, or the most similar one elsewhere."""
    known = sorted(section.model_fields) if section is not None else []
    everywhere: dict[str, list[str]] = {}
    for path in dict.fromkeys(_paths(model)):
        everywhere.setdefault(path.rpartition(".")[2], []).append(path)
    close = everywhere.get(key) or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not close:
        close = [
            path for name in difflib.get_close_matches(key, everywhere, n=1) for path in everywhere[name]
        ]
    nearest = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{nearest}Valid here: {', '.join(known)}."


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that the file may contain, with its sections before it."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for section in _models(field.annotation):
            yield from _paths(section, f"{prefix}{name}.")


def _walk(location: Sequence[str | int], model: type[BaseModel]) -> tuple[list[str], type[BaseModel] | None]:
    """The key path as the file spells it, and the section of its last key.

    pydantic adds the tag of a tagged union to the location. No file contains the tag, so it only selects the
    section and is dropped.
    """
    path: list[str] = []
    section: type[BaseModel] | None = model
    choices: list[type[BaseModel]] = [model]
    for step in location:
        tagged = [choice for choice in choices if len(choices) > 1 and step in _tags(choice)]
        if tagged:
            choices = tagged[:1]
            continue
        if isinstance(step, int):
            path[-1] += f"[{step}]"
            continue
        section = choices[0] if len(choices) == 1 else None
        path.append(str(step))
        field = section.model_fields.get(step) if section is not None else None
        choices = list(_models(field.annotation)) if field is not None else []
    return path, section


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _tags(model: type[BaseModel]) -> set[object]:
    return {value for field in model.model_fields.values() for value in get_args(field.annotation)}
