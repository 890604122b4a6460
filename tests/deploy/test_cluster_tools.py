"""helm, kustomize and the schemas of Kubernetes on what deploy/ has, with every component and value."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_tools import needs_deploy_tools, output_of, program
from kube_rules import findings
from kube_rules.manifests import BASE, CHART, COMPONENTS, EXAMPLE, parsed, resources
from kube_rules.mutants import MUTANTS, mutant

from service.settings import load_settings

pytestmark = [pytest.mark.hard, needs_deploy_tools, pytest.mark.hazard_row("cluster-objects")]

SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "volume": {"store": {"kind": "volume", "volume": {"storageClass": "nfs", "subPath": "models"}}},
    "an existing claim": {"store": {"kind": "volume", "volume": {"claim": "shared"}}},
    "s3 and grpc": {"store": {"kind": "s3", "s3": {"secret": "vae-s3"}}, "grpc": {"enabled": True}},
    "no keys, no autoscaler": {
        "apiKeys": {"secret": ""},
        "autoscaling": {"enabled": False},
        "disruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
    },
    "everything": {
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"repository": "registry.example/vae-service", "tag": "1.2.3", "pullPolicy": "Always"},
        "settings": {"max_images": 1024, "log_level": "warning", "playground": False, "model_idle_s": 0.5,
                     "max_stream_images": 16777216},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "ingress": {"enabled": True, "className": "nginx", "host": "vae.example", "tlsSecret": "vae-tls",
                    "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "33m"}},
        "autoscaling": {"queueImages": 64, "minReplicas": 3},
        "podAnnotations": {"a.example/b": "c"},
        "podLabels": {"team": "ml"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "ml", "operator": "Exists"}],
    },
}  # fmt: skip
REFUSED: dict[str, dict[str, Any]] = {
    "an unknown value": {"replcas": 2},
    "a wrong type": {"replicas": "2"},
    "an unknown store": {"store": {"kind": "disk"}},
    "a setting that the chart sets": {"settings": {"port": 9000}},
    "a setting that is none": {"settings": {"VAE_MAX_IMAGES": 2}},
    "an address with a password": {"store": {"kind": "s3", "s3": {"address": "s3://user:secret@bucket"}}},
    "an autoscaler upside down": {"autoscaling": {"minReplicas": 11}},
}


def rendered(values: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return parsed(output_of(program("helm"), "template", "mine", str(CHART), "--values", str(path)))


def schema_faults(objects: list[dict[str, Any]], folder: Path) -> list[str]:
    """What kubernetes-validate says in strict mode, of the kinds of Kubernetes itself."""
    path = folder / "objects.yaml"
    known = [each for each in objects if not str(each.get("apiVersion")).startswith("monitoring.coreos.com")]
    path.write_text(yaml.safe_dump_all(known))
    script = (
        "import json, sys, yaml, kubernetes_validate as kv\n"
        "faults = []\n"
        "for item in yaml.safe_load_all(open(sys.argv[1])):\n"
        "    try:\n"
        "        kv.validate(item, kv.latest_version(), strict=True)\n"
        "    except (kv.ValidationError, kv.SchemaNotFoundError) as error:\n"
        "        faults.append(f\"{item.get('kind')}: {error}\")\n"
        "print(json.dumps(faults))\n"
    )
    found: list[str] = json.loads(output_of(program("python"), "-c", script, str(path)))
    return found


def owned(objects: list[dict[str, Any]], *, claims: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The objects, and claims that someone else made."""
    made = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    return [*objects, *({**made, "metadata": {"name": name}, "spec": spec} for name in claims)]


def settings_of(objects: list[dict[str, Any]]) -> dict[str, str]:
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


def test_helm_finds_no_fault_in_the_chart() -> None:
    told = output_of(program("helm"), "lint", "--strict", str(CHART))
    assert "0 chart(s) failed" in told


@pytest.mark.parametrize("name", SETS)
def test_chart_with_values_makes_sound_objects(name: str, tmp_path: Path) -> None:
    objects = rendered(SETS[name], tmp_path)
    claims = ("shared",) if name == "an existing claim" else ()
    assert findings(owned(objects, claims=claims)) == []
    assert schema_faults(objects, tmp_path) == []
    settings = load_settings(environ=settings_of(objects))
    if name == "everything":
        assert (settings.max_images, settings.playground, settings.model_idle_s) == (1024, False, 0.5)
        assert settings.max_stream_images == 16_777_216


@pytest.mark.parametrize("name", REFUSED)
def test_chart_refuses_values_that_mean_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        rendered(REFUSED[name], tmp_path)


def test_chart_and_base_make_the_same_pods(tmp_path: Path) -> None:
    """But for names, labels and the tag of the image."""
    pods = []
    for objects in (resources(BASE), rendered({}, tmp_path)):
        (deployment,) = (each for each in objects if each["kind"] == "Deployment")
        pod = deployment["spec"]["template"]["spec"]
        for spread in pod["topologySpreadConstraints"]:
            spread.pop("labelSelector")
        (container,) = pod["containers"]
        container["image"] = container["image"].partition(":")[0]
        container["env"].sort(key=lambda each: str(each["name"]))
        pod.pop("serviceAccountName")
        pod["terminationGracePeriodSeconds"] = pod["terminationGracePeriodSeconds"] >= 50
        pods.append(pod)
    base, chart = pods
    assert chart == base


def overlays() -> Iterator[tuple[str, ...]]:
    names = sorted(path.name for path in COMPONENTS.iterdir())
    yield ()
    for name in names:
        yield (name,)
    for pair in itertools.combinations(names, 2):
        if set(pair) != {"store-s3", "store-volume"}:
            yield pair
    yield tuple(name for name in names if name != "store-volume")


@pytest.mark.parametrize("components", tuple(overlays()), ids="+".join)
def test_kustomize_makes_sound_objects_of_any_components(components: tuple[str, ...], tmp_path: Path) -> None:
    overlay = {
        "resources": [os.path.relpath(BASE, tmp_path)],
        "components": [os.path.relpath(COMPONENTS / each, tmp_path) for each in components],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    objects = parsed(output_of(program("kubectl"), "kustomize", str(tmp_path)))
    assert findings(objects) == []
    assert schema_faults(objects, tmp_path) == []
    load_settings(environ=settings_of(objects))


def test_example_is_sound(tmp_path: Path) -> None:
    objects = parsed(output_of(program("kubectl"), "kustomize", str(EXAMPLE)))
    assert findings(objects) == []
    assert schema_faults(objects, tmp_path) == []
    assert {each["metadata"].get("namespace", each["metadata"]["name"]) for each in objects} == {"vae"}
    images = {
        container["image"]
        for each in objects
        if "template" in each.get("spec", {})
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"registry.example/vae-service:0.1.0"}


def test_schemas_alone_miss_most_mutants(tmp_path: Path, hazard: Any) -> None:
    """Why there are rules of our own."""
    base = resources(BASE)
    seen = [name for name in MUTANTS if schema_faults(mutant(base, name), tmp_path)]
    ours = [name for name in MUTANTS if findings(mutant(base, name))]
    hazard(
        "cluster-objects",
        figure=f"{len(ours)} of {len(MUTANTS)} faults seen; by the strict schema alone {len(seen)}",
        bar="all",
        met=len(ours) == len(MUTANTS),
    )
    assert 0 < len(seen) < len(MUTANTS) / 2
    assert len(ours) == len(MUTANTS)
