"""The objects of deploy/ from their files, without a program of Kubernetes.

Knows YAML and the list of resources in a kustomization. Knows nothing of patches: `kubectl kustomize` applies
those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

REPOSITORY: Final = Path(__file__).resolve().parents[3]
DEPLOY: Final = REPOSITORY / "deploy"
BASE: Final = DEPLOY / "kubernetes" / "base"
COMPONENTS: Final = DEPLOY / "kubernetes" / "components"
EXAMPLE: Final = DEPLOY / "kubernetes" / "example"
CHART: Final = DEPLOY / "helm" / "vae-service"
KSERVE: Final = DEPLOY / "kserve"
Object = dict[str, Any]


def parsed(text: str) -> list[Object]:
    """The objects of a text, empty documents left out."""
    return [each for each in yaml.safe_load_all(text) if each]


def resources(folder: Path) -> list[Object]:
    """The objects that a kustomization lists, in order, as they are in their files."""
    (kustomization,) = parsed((folder / "kustomization.yaml").read_text())
    return [
        each for name in kustomization.get("resources", ()) for each in parsed((folder / name).read_text())
    ]
