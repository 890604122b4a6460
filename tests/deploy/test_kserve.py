"""The real storage initializer, the real clients, and the runtime's own environment around a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_tools import REPOSITORY, needs_deploy_tools, output_of, program
from kube_rules.manifests import KSERVE, parsed
from object_storage import serving_s3, upload
from server_process import free_port, serving
from tiny_models import publish_tiny

from model_store import ModelStore

pytestmark = [pytest.mark.hard, needs_deploy_tools, pytest.mark.hazard_row("kserve")]

TOOLS = REPOSITORY / "tests/deploy/tools"
CLIENT = REPOSITORY / ".venv-inference/kserve/bin/python"
#: By the address below the bucket; the versions of `mnist` that each has.
LAYOUTS = {
    "models/": ["1", "2"],
    "models/mnist/": ["1", "2"],
    "models/mnist": ["1", "2"],  # with mnist-2d as `-2d`
    "models/mnist/2/": ["2"],
    "models/mnist/2": ["2"],
}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """mnist@1 (`stable`), mnist@2 and mnist-2d@1 in `s3://bucket/models/`."""
    store = ModelStore(tmp_path_factory.mktemp("store") / "models")
    publish_tiny(store, name="mnist", latent_size=8, seed=0, aliases=("stable",))
    publish_tiny(store, name="mnist", latent_size=8, seed=1)
    publish_tiny(store, name="mnist-2d", latent_size=2, seed=2)
    with serving_s3(tmp_path_factory.mktemp("s3") / "log") as environment:
        upload(store.root, "bucket", environment)
        yield environment


def test_objects_are_those_of_the_sdk() -> None:
    files = sorted(map(str, KSERVE.glob("*.yaml")))
    found = json.loads(output_of(program("python"), str(TOOLS / "strict_models.py"), *files))
    assert found["faults"] == []


def misspelt(item: dict[str, Any]) -> None:
    item["spec"]["predictor"]["model"]["modelFormats"] = item["spec"]["predictor"]["model"].pop("modelFormat")


def address_in_capitals(item: dict[str, Any]) -> None:
    item["spec"]["predictor"]["model"]["storageURI"] = item["spec"]["predictor"]["model"].pop("storageUri")


def text_for_a_number(item: dict[str, Any]) -> None:
    item["spec"]["predictor"]["minReplicas"] = "2"


def object_for_a_list(item: dict[str, Any]) -> None:
    item["spec"]["predictor"]["containers"] = {}


def nothing(item: dict[str, Any]) -> None:
    del item["spec"]["predictor"]


FAULTS = (misspelt, address_in_capitals, text_for_a_number, object_for_a_list, nothing)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.__name__)
def test_models_of_the_sdk_are_strict(tmp_path: Path, fault: Callable[[dict[str, Any]], None]) -> None:
    """The check above can fail."""
    (item,) = parsed((KSERVE / "inference-service.yaml").read_text())
    fault(item)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(item))
    found = json.loads(output_of(program("python"), str(TOOLS / "strict_models.py"), str(path)))
    assert found["faults"] != []


@pytest.mark.skipif(not CLIENT.exists(), reason="needs the client of KServe (make inference-clients)")
@pytest.mark.parametrize("address", LAYOUTS)
def test_every_layout_serves_the_unchanged_clients(
    bucket: dict[str, str], tmp_path: Path, address: str
) -> None:
    mounted = tmp_path / "models"
    output_of(
        program("python"), str(TOOLS / "storage_initializer.py"), f"s3://bucket/{address}", str(mounted),
        environment=bucket,
    )  # fmt: skip
    (runtime,) = parsed((KSERVE / "serving-runtime.yaml").read_text())
    (container,) = runtime["spec"]["containers"]
    environment = {each["name"]: each["value"].replace("{{.Name}}", "digits") for each in container["env"]}
    grpc = free_port()
    arguments = ("--host", "127.0.0.1", "--grpc-port", str(grpc), "--drain-delay-s", "0")
    with serving(mounted, tmp_path / "log", *arguments, environment=environment) as running:
        status, _, body = running.get("/v2/models/digits")
        assert (status, json.loads(body)["versions"]) == (200, LAYOUTS[address]), body
        assert running.get(container["readinessProbe"]["httpGet"]["path"])[0] == 200
        script = REPOSITORY / "tests/inference_clients/kserve/every_method.py"
        calls = json.loads(
            output_of(
                str(CLIENT), "-W", "ignore", str(script), f"127.0.0.1:{running.port}", f"127.0.0.1:{grpc}",
                "digits",
            ).splitlines()[-1]
        )  # fmt: skip
        assert running.stop() == 0
    assert set(calls) == {"kserve REST", "kserve gRPC"}
    for client, outcomes in calls.items():
        failed = {call: outcome for call, outcome in outcomes.items() if outcome != "works"}
        assert set(failed) <= {"explain"}, (client, failed)
