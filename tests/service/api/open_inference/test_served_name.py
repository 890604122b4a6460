"""A server as KServe starts it: any layout in /mnt/models, under the name of an InferenceService."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from http_calls import Caller
from inference_calls import Tensor, infer, infer_json, json_request
from tiny_models import publish_tiny

from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

X = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)


@pytest.fixture(scope="module", params=["store", "model", "version"])
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """`mnist@1`, in each layout, as `my-digits`."""
    root = tmp_path_factory.mktemp("mount") / "store"
    publish_tiny(ModelStore(root), name="mnist", latent_size=8, aliases=("stable",))
    place = {"store": root, "model": root / "mnist", "version": root / "mnist" / "1"}[request.param]
    settings = Settings(model_store=place, served_name="my-digits", threads=1, admin=True)
    with Caller(create_app(settings)) as caller:
        yield caller


def test_served_name_has_the_four_models(named: Caller) -> None:
    assert named.get("/readyz").status == 200
    parts = ("", "-encoder", "-decoder", "-sampler")
    names = [name + part for name in ("mnist", "my-digits") for part in parts]
    assert named.get("/v2/models").json()["models"] == sorted(names)
    for name in names:
        metadata = named.get(f"/v2/models/{name}").json()
        assert (metadata["name"], metadata["versions"]) == (name, ["1"])
        assert named.get(f"/v2/models/{name}/ready").json() == {"name": name, "ready": True}
        assert named.get(f"/v2/models/{name}/config").json()["name"] == name
    assert named.get("/v2/models/other").status == 404


def test_response_has_the_requested_name_and_the_same_numbers(named: Caller) -> None:
    answer = infer_json(named, "my-digits-encoder/versions/1", Tensor("x", X))
    own = infer_json(named, "mnist-encoder", Tensor("x", X))
    assert (answer.document["model_name"], answer.document["model_version"]) == ("my-digits-encoder", "1")
    assert {**answer.document, "model_name": ""} == {**own.document, "model_name": ""}
    raw = named.post("/v2/models/my-digits/infer", json_request(Tensor("x", X)))
    assert raw.headers["x-model"] == "mnist@1", "the published version"


def test_statistics_of_the_served_name_are_its_own(named: Caller) -> None:
    before = named.get("/v2/models/my-digits-sampler/stats").json()["model_stats"][0]
    assert before["name"] == "my-digits-sampler"
    infer(named, "my-digits-sampler", Tensor("seed", np.arange(2)))
    after = named.get("/v2/models/my-digits-sampler/stats").json()["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 2


def test_native_requests_know_the_served_name(named: Caller) -> None:
    with_name, without = named.get("/sample?seed=7&model=my-digits"), named.get("/sample?seed=7")
    assert with_name.body == without.body
    assert named.get("/models/my-digits@stable" if is_store(named) else "/models/my-digits").status == 200


def is_store(named: Caller) -> bool:
    """The aliases are those of the model's directory; a version alone has none."""
    return "stable" in named.get("/models").json()["models"][0]["aliases"]


def test_administration_knows_the_served_name(named: Caller) -> None:
    report = named.post("/models/my-digits/reload").json()
    assert (report["name"], report["kept"], report["failures"]) == ("my-digits", ["mnist@1"], [])
    assert named.post("/v2/repository/models/my-digits/unload").status == 200
    assert named.get("/v2/models/my-digits/ready").status == 503
    assert named.get("/readyz").status == 503
    assert named.post("/v2/repository/models/my-digits/load").status == 200
    assert named.get("/v2/models/my-digits/ready").status == 200


def test_a_name_with_a_version_is_no_served_name(tmp_path: Path) -> None:
    from service.settings import SettingsError, load_settings

    for text in ("mnist@1", "Mnist", "{{.Name}}", "-a"):
        with pytest.raises(SettingsError, match=r"VAE_SERVED_NAME: Expected a name alone"):
            load_settings(environ={"VAE_SERVED_NAME": text})
    assert load_settings(environ={"VAE_SERVED_NAME": "my-digits"}).served_name == "my-digits"
