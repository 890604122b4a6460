"""Who may import whom, seen at run time.

import-linter reads the source and sees what is written; these probes import each package in a fresh
process and look at what really came along, through other people's packages too. Each probe has a twin
that imports one forbidden module on purpose: a probe that cannot fail proves nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from patience import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parent.parent
PROBE = """
import importlib, json, pkgutil, sys
def everything(name):
    module = importlib.import_module(name)
    for child in pkgutil.iter_modules(getattr(module, "__path__", ()), name + "."):
        if not child.name.endswith(".__main__"):
            everything(child.name)
for name in {packages!r}:
    everything(name)
for name in {also!r}:
    importlib.import_module(name)
print(json.dumps(sorted(set({forbidden!r}) & {{name.split(".")[0] for name in sys.modules}})))
"""


@dataclass(frozen=True)
class Rule:
    """`packages`, every module of them, must not bring any of `forbidden`; `twin` is one that would."""

    packages: tuple[str, ...]
    forbidden: tuple[str, ...]
    twin: str


WEB = ("fastapi", "starlette", "uvicorn")
LEARNING = ("torch", "lightning", "onnxscript", "matplotlib")
RULES = {
    "model_store": Rule(
        ("model_store",),
        (*LEARNING, *WEB, "onnx", "onnxruntime", "PIL", "orjson", "service", "training"),
        "orjson",
    ),
    "service": Rule(("service",), (*LEARNING, "onnx", "training", "jaxtyping"), "onnx"),
    "engine": Rule(("service.engine",), (*LEARNING, *WEB, "PIL", "orjson", "prometheus_client"), "PIL"),
    "codecs": Rule(
        ("service.codecs",),
        (*LEARNING, *WEB, "onnxruntime", "model_store", "prometheus_client"),
        "model_store",
    ),
    "training": Rule(("training",), (*WEB, "service", "prometheus_client"), "prometheus_client"),
}


def brought_by(rule: Rule, *also: str) -> list[str]:
    """The forbidden modules found in `sys.modules` of a fresh process after the imports."""
    code = PROBE.format(packages=rule.packages, also=also, forbidden=rule.forbidden)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", RULES)
def test_package_brings_nothing_forbidden(name: str) -> None:
    assert brought_by(RULES[name]) == []


@pytest.mark.parametrize("name", RULES)
def test_probe_reports_a_forbidden_import(name: str) -> None:
    rule = RULES[name]
    assert rule.twin in brought_by(rule, rule.twin)


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("service/engine/__init__.py", "import fastapi", "the engine knows no HTTP"),
        ("service/engine/registry.py", "import service.settings", "the floors of the service"),
        ("service/engine/runtime/session.py", "import service.engine.model", "the floors of the engine"),
        (
            "service/engine/operations/score.py",
            "import service.engine.operations.sample",
            "the operations of the engine stand alone",
        ),
        ("service/codecs/__init__.py", "import model_store", "the codecs know no model"),
        ("service/codecs/npy.py", "import service.http.problems", "the floors of the service"),
        ("service/app.py", "import torch", "the service never trains"),
        ("service/http/headers.py", "import service.api.routing", "the floors of the service"),
        ("service/api/routing.py", "import service.api.endpoint", "the floors of the API"),
        ("service/api/__init__.py", "import onnxruntime", "the API reaches a model only through the engine"),
        ("service/settings.py", "import training.errors", "training and service meet"),
        ("model_store/store.py", "import onnxruntime", "model_store is the contract"),
        ("training/cli.py", "import fastapi", "training never serves"),
        ("training/models/vae.py", "import training.fitting.fit", "the floors of the trainer"),
        ("training/config/recipe.py", "import onnxruntime", "only training.graphs runs onnxruntime"),
        ("training/graphs/published_model.py", "import onnxruntime", "only training.graphs runs onnxruntime"),
        (
            "training/evaluation/subject.py",
            "import training.graphs.parity",
            "evaluation reaches graphs",
        ),
    ],
)
def test_import_contract_breaks_on_a_forbidden_line(
    tmp_path: Path, module: str, line: str, contract: str
) -> None:
    for package in ("model_store", "service", "training"):
        shutil.copytree(
            REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("models", "__pycache__")
        )
    shutil.copytree(REPOSITORY / "training/models", tmp_path / "training/models")
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    target = tmp_path / module
    target.write_text(target.read_text() + f"\n{line}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert any(contract in text for text in broken), done.stdout
