"""An alias on two versions, over HTTP: who gets which, that it is told, and what caches do with it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from http_calls import Answer, Caller
from inference_calls import Tensor, json_request
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

SHAPE, LATENT = (1, 4, 4), 2
Z = NormalDist().inv_cdf(0.995)
REQUESTS = 2_000
KEY = "x-canary-key"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """`stable` is mnist@1 at 80 % and mnist@2 at 20 %; mnist@3 is only latest."""
    store = ModelStore(tmp_path / "models")
    for seed in (1, 2, 3):
        model = TinyModel.make(image_shape=SHAPE, latent_size=LATENT, seed=seed)
        publish_tiny(store, name="mnist", model=model)
    store.split("mnist", "stable", {1: 80.0, 2: 20.0})
    return store


@pytest.fixture
def split(store: ModelStore) -> Iterator[Caller]:
    with Caller(create_app(Settings(model_store=store.root, threads=1))) as caller:
        yield caller


def key_of(caller: Caller, version: int) -> str:
    """A key that finds this version."""
    for number in range(1_000):
        if label(caller.get("/traverse?steps=2", {KEY: f"k{number}"})) == f"mnist@{version}":
            return f"k{number}"
    raise AssertionError(f"no key finds version {version}")


def dumps(document: object) -> bytes:
    return json.dumps(document).encode()


def label(answer: Answer) -> str:
    assert answer.status in (200, 304), answer
    return answer.headers["x-model"]


def is_within(count: int, of: int, share: float) -> bool:
    """Within the binomial interval of 99 %."""
    return abs(count - share * of) <= Z * (share * (1 - share) * of) ** 0.5 + 0.5


@pytest.mark.parametrize("by", [KEY, "x-request-id"])
@pytest.mark.parametrize("model", ["", "&model=mnist", "&model=mnist@stable"])
def test_share_of_requests_is_that_of_the_alias(split: Caller, by: str, model: str) -> None:
    target = f"/sample.npy?seed=7{model}"
    seen = Counter(label(split.get(target, {by: f"caller-{number}"})) for number in range(REQUESTS))
    assert set(seen) == {"mnist@1", "mnist@2"}
    assert is_within(seen["mnist@2"], REQUESTS, 0.2), seen


def test_requests_without_any_key_are_shared_by_their_own_ids(split: Caller) -> None:
    seen = Counter(label(split.get("/sample.npy?seed=7")) for _ in range(REQUESTS))
    assert is_within(seen["mnist@2"], REQUESTS, 0.2), seen


def test_same_key_finds_the_same_version_at_every_path(split: Caller) -> None:
    z = {"z": [[0.5, -1.0]]}
    image = {"images": np.zeros((1, *SHAPE)).tolist()}
    infer = json_request(Tensor("x", np.zeros((1, *SHAPE), np.float32)))
    for version in (1, 2):
        key = {KEY: key_of(split, version)}
        expected = f"mnist@{version}"
        for _ in range(3):
            assert label(split.get("/sample?seed=7", key)) == expected
            assert label(split.call("HEAD", "/traverse", headers=key)) == expected
            assert label(split.post("/decode", dumps(z), headers=key)) == expected
            assert label(split.post("/encode?model=mnist@stable", dumps(image), headers=key)) == expected
            answer = split.post("/v2/models/mnist/infer", infer, headers=key)
            assert (label(answer), answer.json()["model_version"]) == (expected, str(version))
        # The client's key beats the id of the request.
        assert label(split.get("/traverse", {**key, "x-request-id": "another"})) == expected


def test_version_by_its_number_and_other_aliases_have_no_choice(split: Caller) -> None:
    for version in (1, 2):
        key = {KEY: key_of(split, version)}
        assert label(split.get("/traverse?model=mnist@1", key)) == "mnist@1"
        assert label(split.get("/traverse?model=mnist@2", key)) == "mnist@2"
        assert label(split.get("/traverse?model=mnist@latest", key)) == "mnist@3"


def test_bytes_are_those_of_the_version_that_is_named(split: Caller) -> None:
    for version in (1, 2):
        answer = split.get("/sample.npy?seed=7", {KEY: key_of(split, version)})
        assert answer.body == split.get(f"/sample.npy?seed=7&model=mnist@{version}").body


def test_caches_ask_each_time_and_compare_the_key(split: Caller) -> None:
    """A cached answer of one version must never pass for that of the other."""
    one, two = ({KEY: key_of(split, version)} for version in (1, 2))
    first, second = split.get("/traverse", one), split.get("/traverse", two)
    assert first.headers["etag"] != second.headers["etag"]
    for answer in (first, second):
        assert answer.headers["cache-control"] == "no-cache"
        assert KEY in answer.headers["vary"].lower()
    again = split.get("/traverse", {**one, "if-none-match": first.headers["etag"]})
    assert (again.status, again.headers["vary"]) == (304, first.headers["vary"])
    other = split.get("/traverse", {**two, "if-none-match": first.headers["etag"]})
    assert (other.status, other.body) == (200, second.body)
    # The answer of a version by its number has nothing to do with keys.
    assert KEY not in split.get("/traverse?model=mnist@1", one).headers["vary"].lower()
    assert split.get("/traverse?model=mnist@1").headers["etag"] == first.headers["etag"]


def test_models_tell_the_split(split: Caller, store: ModelStore) -> None:
    assert split.get("/models").json()["splits"] == [
        {
            "alias": "mnist@stable",
            "versions": [{"model": "mnist@1", "percent": 80.0}, {"model": "mnist@2", "percent": 20.0}],
        }
    ]
    assert split.get("/models/mnist").json()["model"] == "mnist@1"
    store.rollback("mnist", "stable")
    split.app.state.app_state.load_all()
    assert split.get("/models").json()["splits"] == []
    assert KEY not in split.get("/traverse").headers["vary"].lower()


def test_metrics_are_by_version(split: Caller) -> None:
    """An operator compares the failures and times of both."""
    seen: Counter[tuple[str, str]] = Counter()
    for number in range(40):
        for target in ("/sample?seed=7", "/sample?seed=7&label=none"):
            answer = split.get(target, {KEY: f"k{number}"})
            seen[answer.headers["x-model"], str(answer.status)] += 1
    assert len(seen) == 4
    text = split.get("/metrics").body.decode()
    found = re.findall(r'vae_model_requests_total{model="(mnist@.)",status="(...)"} (\S+)', text)
    assert {(model, status): int(float(count)) for model, status, count in found} == seen
    seconds = dict(re.findall(r'vae_model_request_seconds_total{model="(mnist@.)"} (\S+)', text))
    assert all(float(seconds[model]) > 0 for model, _ in seen)


def test_key_is_in_no_log_and_no_answer(split: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """It may name a person."""
    with caplog.at_level("DEBUG"):
        answer = split.get("/sample?seed=7", {KEY: "alice@example.org"})
    assert "alice" not in str(answer.headers)
    assert "alice" not in caplog.text
    assert all("alice" not in str(vars(record)) for record in caplog.records)


def test_canary_that_cannot_be_loaded_takes_no_request(store: ModelStore) -> None:
    graph = store.root / "mnist" / "2" / "decoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    with Caller(create_app(Settings(model_store=store.root, threads=1))) as caller:
        for number in range(50):
            assert label(caller.get("/traverse", {KEY: f"k{number}"})) == "mnist@1"
        models = caller.get("/models").json()
        assert models["splits"] == []
        assert [failure["model"] for failure in models["failures"]] == ["mnist@2"]
        assert caller.get("/readyz").status == 200


def test_unreadable_aliases_leave_the_split_as_it_was(split: Caller, store: ModelStore) -> None:
    keys = {version: {KEY: key_of(split, version)} for version in (1, 2)}
    file = store.root / "mnist" / "aliases.json"
    file.write_text(file.read_text().replace('"schema_version": 2', '"schema_version": 9'))
    split.app.state.app_state.registry.refresh()
    for version, key in keys.items():
        assert label(split.get("/traverse", key)) == f"mnist@{version}"
    (failure,) = split.get("/models").json()["failures"]
    assert "A newer release of vae-service wrote it" in failure["reason"]


def test_split_that_changes_between_requests_fails_none(split: Caller, store: ModelStore) -> None:
    """Each answer is of one of the versions that the alias had, and its bytes are that version's."""
    expected = {
        f"mnist@{version}": split.get(f"/sample.npy?seed=7&model=mnist@{version}").body
        for version in (1, 2, 3)
    }
    registry = split.app.state.app_state.registry
    steps = (
        lambda: store.split("mnist", "stable", {1: 50.0, 2: 50.0}),
        lambda: store.promote("mnist", "stable", 2),
        lambda: store.split("mnist", "stable", {2: 10.0, 3: 90.0}),
        lambda: store.rollback("mnist", "stable"),
        lambda: store.split("mnist", "stable", {1: 99.0, 3: 1.0}),
    )
    seen: Counter[str] = Counter()
    for step in steps * 3:
        step()
        registry.refresh()
        for number in range(20):
            answer = split.get("/sample.npy?seed=7", {KEY: f"k{number}"})
            assert answer.body == expected[label(answer)]
            seen[label(answer)] += 1
    assert len(seen) == 3
