"""Health that tells the truth, metrics that answer questions."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Caller
from patience import eventually
from prometheus_client.parser import text_string_to_metric_families
from tiny_models import TinyModel, publish_tiny

import service.observability.metrics
from model_store import ModelStore
from service.app import create_app
from service.app_state import AppState
from service.engine import ModelRegistry
from service.settings import Settings


@pytest.fixture
def own(tiny_store: Path) -> Iterator[Caller]:
    """An application of this test alone."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1))) as caller:
        yield caller


def metrics_of(api: Caller) -> dict[str, dict[tuple[str, ...], float]]:
    answer = api.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        family.name: {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for sample in family.samples
        }
        for family in text_string_to_metric_families(answer.body.decode())
    }


def wait_until_ready(api: Caller, app_state: AppState) -> None:
    def ready() -> bool:
        api.run(asyncio.sleep(0.005))  # the loop runs only while it is asked to
        return app_state.registry.readiness().ready

    eventually(ready, app_state.registry.readiness)
    assert api.get("/readyz").status == 200
    assert api.get("/sample").status == 200


def test_livez_and_readyz_say_what_they_know(api: Caller) -> None:
    assert api.get("/livez").json() == {"status": "alive"}
    ready = api.get("/readyz")
    assert ready.status == 200
    assert ready.json()["status"] == "ready"
    assert "mnist@1 reproduced its golden vectors" in ready.json()["reason"]


@pytest.mark.hazard_row("empty-store")
def test_empty_store_starts_and_becomes_ready_when_a_model_appears(tmp_path: Path) -> None:
    app = create_app(Settings(model_store=tmp_path / "models", threads=1, store_poll_s=0.05))
    app_state: AppState = app.state.app_state
    with Caller(app) as api:
        not_ready = api.get("/readyz")
        assert (not_ready.status, not_ready.code) == (503, "not-ready")
        assert "vae-train export" in not_ready.json()["detail"]
        assert "vae-store add bundled" in not_ready.json()["detail"]
        assert not_ready.headers["retry-after"] == "5"
        assert api.get("/livez").status == 200
        refused = api.get("/sample")
        assert (refused.status, refused.code) == (503, "model-unavailable")
        publish_tiny(ModelStore(tmp_path / "models"), name="mnist")
        wait_until_ready(api, app_state)


def test_model_that_appears_beside_a_broken_name_is_served(tmp_path: Path) -> None:
    """One name whose aliases cannot be read must not hide what is published later."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "aliases.json").write_text("{")
    app = create_app(Settings(model_store=tmp_path, threads=1, store_poll_s=0.05))
    app_state: AppState = app.state.app_state
    with Caller(app) as api:
        assert api.get("/readyz").status == 503
        publish_tiny(ModelStore(tmp_path), name="mnist")
        wait_until_ready(api, app_state)


def test_version_whose_file_is_put_back_is_served(tmp_path: Path) -> None:
    """The message of a refused version says to restore it: then that must be enough, without a restart."""
    publish_tiny(ModelStore(tmp_path), name="mnist")
    file = tmp_path / "mnist" / "1" / "decoder.onnx"
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(whole[: len(whole) // 2])
    app = create_app(Settings(model_store=tmp_path, threads=1, store_poll_s=0.05))
    app_state: AppState = app.state.app_state
    with Caller(app) as api:
        assert api.get("/readyz").status == 503
        file.write_bytes(whole)
        wait_until_ready(api, app_state)


def test_what_was_refused_is_not_tried_again_before_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed once would fail, and be logged, every two seconds."""
    publish_tiny(ModelStore(tmp_path), name="mnist")
    (tmp_path / "mnist" / "1" / "decoder.onnx").unlink()
    app = create_app(Settings(model_store=tmp_path, threads=1, store_poll_s=0.05))
    app_state: AppState = app.state.app_state
    opened: list[object] = []
    original = app_state.store.open
    monkeypatch.setattr(
        ModelStore, "open", lambda store, version: opened.append(version) or original(version)
    )
    looks: list[object] = []
    look = ModelRegistry.signature
    monkeypatch.setattr(ModelRegistry, "signature", lambda registry: looks.append(registry) or look(registry))

    def looked_often(api: Caller) -> None:
        before = len(looks)

        def often() -> bool:
            api.run(asyncio.sleep(0.005))
            return len(looks) >= before + 5

        eventually(often, lambda: f"{len(looks) - before} looks")

    with Caller(app) as api:
        looked_often(api)
        publish_tiny(ModelStore(tmp_path), name="other")  # the store has changed, but not the refused version
        looked_often(api)
        assert api.get("/sample?model=other").status == 200
        assert [str(version) for version in opened] == ["mnist@1", "other@1"]
        app_state.registry.load_all()  # whoever asks for it has it tried again
    assert [str(version) for version in opened] == ["mnist@1", "other@1", "mnist@1"]


@pytest.mark.hazard_row("nan-model")
def test_model_that_gives_nan_never_becomes_ready(tmp_path: Path) -> None:
    model = TinyModel.make()
    publish_tiny(ModelStore(tmp_path), name="mnist", model=model, decoder=model.decoder_of_nan)
    with Caller(create_app(Settings(model_store=tmp_path, threads=1))) as api:
        answer = api.get("/readyz")
        assert answer.status == 503
        assert "decoder.onnx" in answer.json()["detail"]
        assert api.get("/sample").status == 503
        (failure,) = api.get("/models").json()["failures"]
        assert failure["model"] == "mnist@1"
        assert metrics_of(api)["vae_model_load_failures"] == {("vae_model_load_failures",): 1.0}


def test_corrupt_version_is_named_and_the_others_serve(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    publish_tiny(store, name="mnist", aliases=("stable",))
    publish_tiny(store, name="other", seed=5)
    file = tmp_path / "mnist" / "1" / "decoder.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with Caller(create_app(Settings(model_store=tmp_path, threads=1))) as api:
        detail = api.get("/readyz").json()["detail"]
        assert "decoder.onnx" in detail
        assert len(re.findall(r"[0-9a-f]{64}", detail)) == 2, "both digests"
        refused = api.get("/sample")
        assert (refused.status, refused.code) == (503, "model-unavailable")
        assert api.get("/sample?model=other").status == 200


def test_draining_says_503_at_once_and_still_answers_work(own: Caller) -> None:
    own.app.state.app_state.lifecycle.draining = True
    answer = own.get("/readyz")
    assert (answer.status, answer.code) == (503, "shutting-down")
    assert own.get("/sample").status == 200
    assert own.get("/livez").status == 200


def test_requests_are_counted_by_template_never_by_path(own: Caller) -> None:
    own.get("/sample?n=3")
    own.get("/sample.png")
    own.get("/sample.nonsense")
    own.get("/models/mnist")
    own.get("/models/whatever")
    own.get("/nowhere/at/all")
    own.call("BREW", "/sample")
    metrics = metrics_of(own)
    counted = metrics["vae_http_requests"]
    assert counted["vae_http_requests_total", "GET", "/sample", "200"] == 2
    assert counted["vae_http_requests_total", "GET", "/sample", "406"] == 1
    assert counted["vae_http_requests_total", "other", "/sample", "405"] == 1
    assert counted["vae_http_requests_total", "GET", "/models/{name}", "404"] == 1
    assert counted["vae_http_requests_total", "GET", "none", "404"] == 1
    assert metrics["vae_problems"]["vae_problems_total", "unknown-model"] == 1
    assert metrics["vae_request_images"]["vae_request_images_sum", "mnist@1", "/sample"] == 4
    assert metrics["vae_request_phase_seconds"]["vae_request_phase_seconds_count", "run"] == 2
    assert metrics["vae_http_requests_in_flight"] == {("vae_http_requests_in_flight",): 1.0}
    assert metrics["vae_ready"] == {("vae_ready",): 1.0}
    assert ("vae_model_info", "vae", "mnist@1") in metrics["vae_model_info"]
    assert "process_resident_memory_bytes" in metrics


def test_labels_stay_bounded_whatever_is_asked(own: Caller) -> None:
    for i in range(200):
        own.get(f"/x{i}")
        own.get(f"/sample.s{i}")
        own.get(f"/sample?model=m{i}")
        own.call(f"M{i}", "/sample")
    assert len(own.get("/metrics").body) < 40_000


def test_every_metric_has_help_and_a_question_beside_it(own: Caller) -> None:
    source = inspect.getsource(service.observability.metrics.Metrics)
    declared = re.findall(r'"(vae_[a-z_]+)"', source)
    questions = re.findall(r'"""[^"]*\?"""', source)
    assert len(declared) == len(questions) >= 9
    text = own.get("/metrics").body.decode()
    for name in declared:
        assert f"# HELP {name} " in text or f"# HELP {name}_total " in text or f"# HELP {name}" in text


def test_two_applications_do_not_share_counts(tiny_store: Path) -> None:
    settings = Settings(model_store=tiny_store, threads=1)
    with Caller(create_app(settings)) as one, Caller(create_app(settings)) as two:
        one.get("/sample")
        assert ("vae_http_requests_total", "GET", "/sample", "200") in metrics_of(one)["vae_http_requests"]
        assert ("vae_http_requests_total", "GET", "/sample", "200") not in metrics_of(two)[
            "vae_http_requests"
        ]
