"""deploy/kubernetes: sound objects, rules that see every fault, and numbers that are those of the server."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from kube_rules import findings
from kube_rules.manifests import BASE, COMPONENTS, DEPLOY, EXAMPLE, REPOSITORY, parsed, resources
from kube_rules.mutants import MUTANTS, mutant
from kube_rules.values import quantity

from service.app import create_app
from service.settings import Settings, load_settings

OBJECTS = resources(BASE)
(DEPLOYMENT,) = (each for each in OBJECTS if each["kind"] == "Deployment")
POD: dict[str, Any] = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["server"]


def image_environment() -> dict[str, str]:
    """The variables that the image sets."""
    block = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)[-1]
    return dict(re.findall(r"(VAE_\w+)=(\S+)", block))


def paths_of_the_server() -> set[str]:
    routes = create_app(Settings()).router.routes
    return {str(getattr(route, "path", "")) for route in routes}


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def test_every_file_of_the_base_is_listed_and_sound() -> None:
    (kustomization,) = parsed((BASE / "kustomization.yaml").read_text())
    files = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    assert findings(OBJECTS) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_rules_see_every_fault(name: str) -> None:
    changed = mutant(OBJECTS, name)
    assert changed != OBJECTS
    assert findings(changed) != []


def test_rules_have_the_twenty_one_faults_and_more() -> None:
    assert len(MUTANTS) >= 21


def test_quantities_are_those_of_kubernetes() -> None:
    assert quantity("500m") * 2 == quantity("1") == quantity(1) == 1
    assert quantity("1Gi") == 1024 * quantity("1Mi") == 1 << 30
    for text in ("512MB", "1 Gi", "", "Gi", "-1", None, True, 1.5):
        assert quantity(text) is None, text


def test_probes_are_paths_of_the_server() -> None:
    """/readyz is 503 from SIGTERM on and while no model can answer; /livez is not."""
    asked = {kind: CONTAINER[kind]["httpGet"]["path"] for kind in CONTAINER if kind.endswith("Probe")}
    assert asked == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert set(asked.values()) <= paths_of_the_server()


def test_port_is_that_of_the_image() -> None:
    (port,) = CONTAINER["ports"]
    assert str(port["containerPort"]) == image_environment()["VAE_PORT"]
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [str(port["containerPort"])]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert CONTAINER[kind]["httpGet"]["port"] == port["name"]


def test_variables_are_settings_with_valid_values() -> None:
    given = image_environment() | variables(CONTAINER)
    settings = load_settings(environ=given)
    assert settings.host == "0.0.0.0"
    assert str(settings.model_store) == "/models"
    assert settings.drain_delay_s + settings.shutdown_grace_s < POD["terminationGracePeriodSeconds"]
    # Readiness is asked for at least twice before the server accepts no more.
    probe = CONTAINER["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < settings.drain_delay_s


def test_user_is_that_of_the_image() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    context = POD["securityContext"]
    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user
    assert context["fsGroup"] == context["runAsGroup"], "the group reads the keys, and writes a volume"


def test_keys_are_where_the_server_looks_for_them() -> None:
    (volume,) = POD["volumes"]
    (mount,) = CONTAINER["volumeMounts"]
    assert variables(CONTAINER)["VAE_API_KEYS_FILE"] == f"{mount['mountPath']}/api-keys"
    assert volume["secret"] == {"secretName": "vae-api-keys", "defaultMode": 0o440}


def test_memory_is_that_of_compose() -> None:
    limit = quantity(CONTAINER["resources"]["limits"]["memory"])
    assert COMPOSE["mem_limit"] == "512m"
    assert limit == quantity("512Mi")


def test_no_read_only_root_needs_a_writable_directory() -> None:
    """One worker writes nothing; several need /dev/shm, which every container has."""
    assert "VAE_WORKERS" not in variables(CONTAINER)


@pytest.mark.parametrize("name", sorted(path.name for path in COMPONENTS.iterdir()))
def test_components_set_known_settings_and_patch_objects_that_exist(name: str) -> None:
    (component,) = parsed((COMPONENTS / name / "kustomization.yaml").read_text())
    assert component["kind"] == "Component"
    known = {(each["kind"], each["metadata"]["name"]) for each in OBJECTS}
    given = image_environment()
    for patch in component.get("patches", ()):
        assert (patch["target"]["kind"], patch["target"]["name"]) in known
        for change in yaml.safe_load(patch["patch"]):
            value = change["value"]
            if change["path"].endswith("/env/-"):
                given[value["name"]] = value["value"]
    load_settings(environ=given)
    files = {path.name for path in (COMPONENTS / name).glob("*.yaml")} - {"kustomization.yaml"}
    assert set(component.get("resources", ())) == {file for file in files if not file.endswith("values.yaml")}


def test_example_offers_every_component() -> None:
    text = (EXAMPLE / "kustomization.yaml").read_text()
    offered = re.findall(r"^ *#? ?- \.\./components/([\w-]+)$", text, re.MULTILINE)
    assert sorted(offered) == sorted(path.name for path in COMPONENTS.iterdir())
    (kustomization,) = parsed(text)
    (image,) = kustomization["images"]
    assert image["name"] == CONTAINER["image"].partition(":")[0]


def test_metric_of_the_queue_is_one_of_the_server() -> None:
    """The adapter, the autoscaler and the server call it by one name."""
    folder = COMPONENTS / "queue-autoscaling"
    (component,) = parsed((folder / "kustomization.yaml").read_text())
    (patch,) = component["patches"]
    (change,) = yaml.safe_load(patch["patch"])
    name = change["value"]["pods"]["metric"]["name"]
    (rule,) = yaml.safe_load((folder / "prometheus-adapter-values.yaml").read_text())["rules"]["custom"]
    assert re.fullmatch(rule["name"]["matches"], name)
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(f"{name}{{")
    page = (REPOSITORY / "docs/reference/metrics.md").read_text()
    assert f"`{name}`" in page
    goal = int(change["value"]["pods"]["target"]["averageValue"])
    assert goal * 16 == Settings().max_queue_images


def test_monitor_asks_as_the_rules_expect() -> None:
    (monitor,) = resources(COMPONENTS / "monitoring")
    assert findings([*OBJECTS, monitor]) == []
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["path"] in paths_of_the_server()
    rules = (DEPLOY / "monitoring/prometheus/rules.yml").read_text()
    (job,) = endpoint["relabelings"]
    assert set(re.findall(r'job="(\w+)"', rules)) == {job["replacement"]}


def test_job_that_fills_the_volume_runs_a_command_of_the_image() -> None:
    (job,) = (each for each in resources(COMPONENTS / "store-volume") if each["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["vae-store", "add", "bundled"]
    assert container["image"] == CONTAINER["image"]
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == image_environment()["VAE_MODEL_STORE"]
