"""Objects of KServe, checked strictly by the models of its own SDK, without a cluster.

    python strict_models.py FILE ...

Prints one JSON list of faults. Knows the models alone: KServe's and those of Kubernetes inside of them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from kserve import models as kserve_models
from kubernetes.client import models as kubernetes_models

PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float)}
KINDS = {
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): "V1alpha1ServingRuntime",
    ("serving.kserve.io/v1alpha1", "ClusterServingRuntime"): "V1alpha1ClusterServingRuntime",
    ("serving.kserve.io/v1beta1", "InferenceService"): "V1beta1InferenceService",
    ("v1", "Secret"): "V1Secret",
    ("v1", "ServiceAccount"): "V1ServiceAccount",
}


def faults(type_name: str, value: Any, place: str) -> list[str]:
    """One sentence for each fault of a value of a type, at any depth."""
    of_list = re.fullmatch(r"list\[(.*)\]", type_name, re.IGNORECASE)
    of_object = re.fullmatch(r"dict[\[(]str, *(.*)[\])]", type_name, re.IGNORECASE)
    model = getattr(kserve_models, type_name, None) or getattr(kubernetes_models, type_name, None)
    wrong = [f"{place}: expected {type_name}, got {value!r}"]
    found: list[str] = []
    if of_list:
        if not isinstance(value, list):
            return wrong
        for index, each in enumerate(value):
            found += faults(of_list[1], each, f"{place}[{index}]")
    elif of_object:
        if not isinstance(value, dict):
            return wrong
        for key, each in value.items():
            found += faults(of_object[1], each, f"{place}.{key}")
    elif type_name in PLAIN:
        if not isinstance(value, PLAIN[type_name]) or (type_name != "bool" and isinstance(value, bool)):
            return wrong
    elif model is not None:  # otherwise `object`, a date or a quantity: anything
        found = _of_model(model, value, place) if isinstance(value, dict) else wrong
    return found


def _of_model(model: Any, value: dict[str, Any], place: str) -> list[str]:
    names = {name: attribute for attribute, name in model.attribute_map.items()}
    found = [f"{place}: unknown field {name!r}" for name in sorted(set(value) - set(names))]
    known = {names[name]: each for name, each in value.items() if name in names}
    for attribute, each in known.items():
        name = model.attribute_map[attribute]
        found += faults(model.openapi_types[attribute], each, f"{place}.{name}")
    try:
        model(**known)
    except (TypeError, ValueError) as error:
        found.append(f"{place}: {error}")
    return found


def main() -> None:
    found = []
    for path in map(Path, sys.argv[1:]):
        for document in yaml.safe_load_all(path.read_text()):
            kind = KINDS.get((document.get("apiVersion"), document.get("kind")))
            place = f"{path.name}: {document.get('kind')}"
            found += faults(kind, document, place) if kind else [f"{place}: no model of it"]
    print(json.dumps({"faults": found}))


if __name__ == "__main__":
    main()
