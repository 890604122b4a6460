"""deploy/kserve: ports, probes, variables and names are those of the server and of KServe."""

from __future__ import annotations

import re
from typing import Any

import pytest
from kube_rules.manifests import KSERVE, REPOSITORY, parsed
from kube_rules.pods import pod_findings

from service.app import create_app
from service.settings import Settings, load_settings

RUNTIMES = ("serving-runtime", "serving-runtime-knative")
(SERVICE,) = parsed((KSERVE / "inference-service.yaml").read_text())
ACCOUNT = parsed((KSERVE / "storage-account.yaml").read_text())
PAGE = (REPOSITORY / "docs/how-to/kserve.md").read_text()
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def runtime(name: str) -> dict[str, Any]:
    (found,) = parsed((KSERVE / f"{name}.yaml").read_text())
    return found


def container_of(name: str) -> dict[str, Any]:
    (found,) = runtime(name)["spec"]["containers"]
    return dict(found)


def environment_of(container: dict[str, Any], *, name: str = "digits") -> dict[str, str]:
    """The variables as KServe sets them for an InferenceService."""
    return {each["name"]: each["value"].replace("{{.Name}}", name) for each in container["env"]}


@pytest.mark.parametrize("name", RUNTIMES)
def test_runtime_starts_a_server_that_kserve_finds(name: str) -> None:
    container = container_of(name)
    assert container["name"] == "kserve-container", "KServe's own name for it"
    settings = load_settings(environ=environment_of(container))
    assert settings.served_name == "digits"
    assert str(settings.model_store) == "/mnt/models", "where the storage initializer copies to"
    first, *others = container["ports"]
    assert (first["name"], first["containerPort"]) == ("http1", settings.port)
    assert [(each["name"], each["containerPort"]) for each in others] == (
        [("grpc", settings.grpc_port)] if settings.grpc_port else []
    )
    wanted = ["v2", "grpc-v2"] if settings.grpc_port else ["v2"]
    assert runtime(name)["spec"]["protocolVersions"] == wanted
    assert runtime(name)["spec"]["annotations"] == {
        "prometheus.kserve.io/port": str(settings.port),
        "prometheus.kserve.io/path": "/metrics",
    }


@pytest.mark.parametrize("name", RUNTIMES)
def test_probes_ask_over_http(name: str) -> None:
    container = container_of(name)
    paths = {str(getattr(route, "path", "")) for route in create_app(Settings()).router.routes}
    probes = {kind: each for kind, each in container.items() if kind.endswith("Probe")}
    assert "readinessProbe" in probes, "KServe would ask by TCP"
    for kind, probe in probes.items():
        assert set(probe) & {"httpGet", "tcpSocket", "exec", "grpc"} == {"httpGet"}, kind
        assert probe["httpGet"]["path"] in paths
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_knative_has_one_port_and_its_probe_is_sent_there() -> None:
    container = container_of("serving-runtime-knative")
    assert len(container["ports"]) == 1
    assert container["readinessProbe"]["httpGet"]["port"] == container["ports"][0]["containerPort"]


def test_runtime_is_as_safe_as_a_pod_of_the_base() -> None:
    """Everything but what KServe sets itself: the pod's own fields."""
    container = container_of("serving-runtime")
    (user,) = re.findall(r"^USER (\d+):", DOCKERFILE, re.MULTILINE)
    assert str(container["securityContext"]["runAsUser"]) == user
    pod = {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": container["securityContext"],
        "terminationGracePeriodSeconds": SERVICE["spec"]["predictor"]["terminationGracePeriodSeconds"],
        "containers": [container],
    }
    assert list(pod_findings({"spec": pod})) == []


def test_inference_service_uses_the_runtime_and_an_address_with_a_slash() -> None:
    model = SERVICE["spec"]["predictor"]["model"]
    of_runtime = runtime("serving-runtime")
    assert model["runtime"] == of_runtime["metadata"]["name"]
    assert model["modelFormat"] in [
        {"name": each["name"], "version": each["version"]}
        for each in of_runtime["spec"]["supportedModelFormats"]
    ]
    assert model["protocolVersion"] in of_runtime["spec"]["protocolVersions"]
    assert model["storageUri"].endswith("/"), "without it, KServe copies `mnist-2d` as well"
    secret, account = ACCOUNT
    assert account["metadata"]["name"] == SERVICE["spec"]["predictor"]["serviceAccountName"]
    assert account["secrets"] == [{"name": secret["metadata"]["name"]}]


def test_page_names_the_runtimes_and_the_service() -> None:
    assert f"inferenceservice/{SERVICE['metadata']['name']}" in PAGE
    for name in RUNTIMES:
        assert f"`{name}.yaml`" in PAGE
    assert f"runtime: {runtime('serving-runtime-knative')['metadata']['name']}" in PAGE
