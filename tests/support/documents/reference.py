"""The generated tables: which page holds which, between two markers, and how each is made.

Knows the tables of the code. Knows nothing of the text around them.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from documents import api, commands
from documents.tables import table
from service.api.native.table import OPERATIONS
from service.api.operators.limits_table import limit_table, table_markdown
from service.http.problems import PROBLEMS
from service.observability.metrics import Metrics
from service.observability.rpc_metrics import RpcMetrics
from service.settings import Settings, describe_settings
from training.config.recipe import RunConfig

_SECTION: Final = re.compile(
    r"^<!-- make docs: begin (?P<name>\S+) -->\n(?P<old>.*?)^<!-- make docs: end (?P=name) -->$",
    re.MULTILINE | re.DOTALL,
)
_ENDPOINTS: Final = tuple(operation.path for operation in OPERATIONS)


def settings() -> str:
    """Every setting of the server."""
    rows = [
        (f"`{s.flag}`<br>`{s.variable}`", s.unit, f"`{s.default}`" if s.default else "empty", s.reason)
        for s in describe_settings()
    ]
    return table(("setting", "unit or values", "default", "meaning"), rows)


def limits() -> str:
    """Every limit of a server with its defaults; `vae-serve limits` prints the same."""
    return table_markdown(limit_table(Settings()))


def problems() -> str:
    """Every code of a problem."""
    rows = [(str(p.status), f"`{p.code}`", p.title, p.remedy) for p in PROBLEMS.values()]
    return table(("status", "code", "meaning", "remedy"), rows)


def metrics() -> str:
    """Every metric with its labels and the question that it answers."""
    own = Metrics()
    rows = []
    for owner in (own, own.versions, own._process, own.inferences, RpcMetrics(own)):
        for name, question in _questions(type(owner)).items():
            metric: Any = getattr(owner, name)
            kind = next(
                kind for kind in (Counter, Gauge, Histogram) if isinstance(metric, kind)
            ).__name__.lower()
            full = f"{metric._name}_total" if kind == "counter" else metric._name
            labels = ", ".join(metric._labelnames)
            rows.append((f"`{full}`", kind, labels, metric._documentation, question))
    return table(("metric", "type", "labels", "what it counts", "the question it answers"), rows)


def _questions(owner: type) -> dict[str, str]:
    """Attribute → the docstring under its assignment in `__init__`."""
    module = ast.parse(inspect.getsource(inspect.getmodule(owner) or owner))
    (found,) = (n for n in module.body if isinstance(n, ast.ClassDef) and n.name == owner.__name__)
    (init,) = (n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    questions = {}
    for node, after in zip(init.body, init.body[1:], strict=False):
        if not (isinstance(node, ast.Assign) and isinstance(after, ast.Expr)):
            continue
        target, value = node.targets[0], after.value
        if isinstance(target, ast.Attribute) and isinstance(value, ast.Constant):
            questions[target.attr] = str(value.value)
    return questions


def recipe_keys() -> str:
    """Every key of a recipe."""
    return table(("key", "default", "meaning"), _keys(RunConfig, ""))


def _keys(section: type[BaseModel], prefix: str, only: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        kinds = _sections(field.annotation)
        if not kinds:
            yield f"`{prefix}{name}`", _default(field.default, field), only + (field.description or "")
        elif field.discriminator is None:
            yield from _keys(kinds[0], f"{prefix}{name}.")
        else:
            yield from _keys_of_union(field, kinds, f"{prefix}{name}.")


def _keys_of_union(
    field: FieldInfo, kinds: Sequence[type[BaseModel]], prefix: str
) -> Iterator[tuple[str, str, str]]:
    """The key that chooses the kind, then those of each kind."""
    choice = str(field.discriminator)
    values = [kind.model_fields[choice].default for kind in kinds]
    meaning = " ".join(f"`{value}`: {kind.__doc__}" for value, kind in zip(values, kinds, strict=True))
    yield f"`{prefix}{choice}`", _default(getattr(field.default, choice), field), meaning
    for value, kind in zip(values, kinds, strict=True):
        rows = _keys(kind, prefix, only=f"With `{value}`: ")
        yield from (row for row in rows if row[0] != f"`{prefix}{choice}`")


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a key may be: itself, or the kinds of a union."""
    kinds = getattr(annotation, "__args__", (annotation,))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _default(value: Any, field: FieldInfo) -> str:
    """As TOML has it."""
    if field.is_required():
        return "required"
    if value is None:
        return "none"
    return f"`{json.dumps(value)}`"


#: Page → name of a section → what makes it.
SECTIONS: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "docs/reference/api.md": {
        **{path: lambda path=path: api.endpoint(path) for path in _ENDPOINTS},  # type: ignore[misc]
        "paths": api.paths,
    },
    "docs/reference/settings.md": {"settings": settings},
    "docs/reference/limits.md": {"limits": limits},
    "docs/reference/problems.md": {"problems": problems},
    "docs/reference/metrics.md": {"metrics": metrics},
    "docs/reference/recipes.md": {"recipe-keys": recipe_keys},
    "docs/reference/command-line.md": {
        "exit-codes": commands.exit_codes,
        "vae-serve": lambda: commands.program("vae-serve"),
        "vae-store": lambda: commands.program("vae-store"),
        "vae-train": lambda: commands.program("vae-train"),
    },
}


def written(page: str, text: str) -> str:
    """The page with its generated tables as the code has them now.

    Raises:
        ValueError: The page lacks a section of `SECTIONS`, or has one that is not there.
    """
    sections = SECTIONS.get(page, {})
    found = [match["name"] for match in _SECTION.finditer(text)]
    if sorted(found) != sorted(sections):
        raise ValueError(f"{page}: expected the sections {sorted(sections)}, got {sorted(found)}")

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- make docs: begin {name} -->\n\n{sections[name]()}\n<!-- make docs: end {name} -->"

    return _SECTION.sub(replaced, text)
