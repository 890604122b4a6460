"""The registry: every name leads to the right version or to an error that helps."""

from __future__ import annotations

import logging
import random
import shutil
import string
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore
from service.engine import (
    InvalidModelReference,
    LoadFailure,
    ModelRegistry,
    ModelUnavailable,
    UnknownModel,
)
from service.engine.on_demand import REFUSAL_S

SHAPE, LATENT = (1, 6, 7), 5


class Clock:
    """A monotonic clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class CountingStore(ModelStore):
    """Counts what is opened, and can hold openings up until it is told to go on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: Counter[str] = Counter()
        self.resolved: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)

    def open(self, reference):
        self.opened[str(reference)] += 1
        self.waiting.release()
        assert self.gate.wait(30)
        return super().open(reference)

    def resolve(self, reference):
        self.resolved[str(reference)] += 1
        return super().resolve(reference)


@pytest.fixture
def counting(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


def publish(
    store: ModelStore, name: str = "tiny", *, seed: int = 0, aliases: tuple[str, ...] = (), **parts: object
):
    return publish_tiny(
        store, name=name, image_shape=SHAPE, latent_size=LATENT, seed=seed, aliases=aliases, **parts
    )


def broken(store: ModelStore, name: str = "tiny", *, aliases: tuple[str, ...] = ()):
    """Intact on disk, and answers NaN."""
    model = TinyModel.make(image_shape=SHAPE, latent_size=LATENT)
    return publish_tiny(store, name=name, model=model, decoder=model.decoder_of_nan, aliases=aliases)


def registry(store: ModelStore, default: str = "tiny", **settings: object) -> ModelRegistry:
    made = ModelRegistry(store, **{"default": default, "threads": 1, "max_loaded": 2, **settings})
    made.load_all()
    return made


def labels(models: ModelRegistry) -> list[str]:
    return [model.label for model in models.loaded()]


# Names


def test_every_spelling_of_a_version_leads_to_one_model(store):
    publish(store, aliases=("stable",))
    publish(store, seed=1)
    models = registry(store)
    assert models.get(None).label == models.get("tiny").label == models.get("tiny@stable").label == "tiny@1"
    assert models.get("tiny@latest").label == models.get("tiny@2").label == "tiny@2"
    assert models.get("tiny@1").aliases == ("stable",)
    assert models.get("tiny@2").aliases == ("latest",)


def test_versions_answer_with_their_own_weights(store):
    publish(store, aliases=("stable",))
    publish(store, seed=1)
    models = registry(store)
    z = np.ones((1, LATENT), np.float32)
    assert models.get("tiny@1").decode(z).tobytes() != models.get("tiny@2").decode(z).tobytes()


def test_the_default_may_be_a_plain_version(store):
    for seed in range(3):
        publish(store, seed=seed)
    models = registry(store, default="tiny@1")
    assert models.get().label == "tiny@1"
    assert models.readiness().ready
    assert labels(models) == ["tiny@1", "tiny@3"]


@pytest.mark.parametrize("default", ["", "../tiny", "Tiny", "tiny@", "tiny@03", "tiny@@1", "a" * 200])
def test_a_default_that_is_no_reference_is_refused_at_once(store, default):
    with pytest.raises(InvalidModelReference):
        ModelRegistry(store, default=default, threads=1, max_loaded=1)


@pytest.mark.parametrize("reference", ["nobody", "tiny@9", "tiny@nothing", "tin", "tiny@999999999"])
def test_what_does_not_exist_is_unknown_and_the_answer_lists_what_does(store, reference):
    publish(store, aliases=("stable",))
    with pytest.raises(UnknownModel) as caught:
        registry(store).get(reference)
    assert caught.value.available == ("tiny", "tiny@1", "tiny@latest", "tiny@stable")
    assert reference in str(caught.value)


def test_the_list_of_what_exists_is_bounded(store):
    for i in range(6):
        publish(store, name=f"model-{i}")
    with pytest.raises(UnknownModel) as caught:
        registry(store, default="model-0").get("nobody")
    assert len(caught.value.available) == 10
    assert "and 8 more" in str(caught.value)


def odd_names(count: int) -> list[str]:
    rng = random.Random(7)
    pieces = [
        "..", "/", "\\", "%2f", "%00", "\0", "\xff", "\u202e", "\ud800", "tiny", "@", "@1", "@stable", "~",
        "-", ".", "models", "aliases.json", "\n", "\u0661", "1", " ", "TINY", "C:", "//", "é", "{}",
        "tiny@1/../../etc/passwd",
    ]  # fmt: skip
    made = ["", "@", "tiny@", "@1", "tiny@01", "tiny@-1", "tiny@1@1", "a" * 65_536, "tiny@" + "9" * 65_536]
    while len(made) < count:
        if rng.random() < 0.7:
            made.append("".join(rng.choices(pieces, k=rng.randint(1, 5))))
        else:
            made.append("".join(rng.choices(string.ascii_lowercase + "-@0123", k=rng.randint(1, 20))))
    return made


def test_2_000_odd_names_are_unknown_or_invalid_and_reach_no_file(counting, tmp_path, monkeypatch):
    publish(counting, aliases=("stable",))
    models = registry(counting)
    counting.opened.clear()
    outcomes = Counter()
    longest = 0
    for name in odd_names(2000):
        try:
            outcomes[models.get(name).label] += 1
        except (UnknownModel, InvalidModelReference) as error:
            outcomes[type(error).__name__] += 1
            longest = max(longest, len(str(error)))
    assert longest < 400
    assert outcomes["InvalidModelReference"] > 1000
    assert outcomes["UnknownModel"] > 100
    assert set(outcomes) <= {"InvalidModelReference", "UnknownModel", "tiny@1"}
    assert not counting.opened
    assert all(set(text) <= set(string.ascii_lowercase + string.digits + "-@") for text in counting.resolved)


# Loading on demand


def test_a_version_without_an_alias_is_loaded_when_it_is_asked_for(store):
    for seed in range(3):
        publish(store, seed=seed)
    models = registry(store)
    assert labels(models) == ["tiny@3"]
    assert models.peek("tiny@1") is None
    first = models.get("tiny@1")
    assert first.label == "tiny@1"
    assert models.get("tiny@1") is first
    assert labels(models) == ["tiny@1", "tiny@3"]


def test_the_least_recently_used_version_goes_first(counting):
    for seed in range(5):
        publish(counting, seed=seed)
    models = registry(counting, max_loaded=2)
    for number in (1, 2, 1, 3):
        models.get(f"tiny@{number}")
    assert labels(models) == ["tiny@1", "tiny@3", "tiny@5"]
    assert max(counting.opened.values()) == 1
    models.get("tiny@2")
    assert counting.opened["tiny@2"] == 2


def test_concurrent_first_requests_load_a_version_once(counting):
    for seed in range(2):
        publish(counting, seed=seed)
    models = registry(counting)
    counting.opened.clear()
    counting.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(models.get, "tiny@1") for _ in range(8)]
        assert counting.waiting.acquire(timeout=30)
        assert models.get("tiny@2").label == "tiny@2", "a loaded model answers while another is loading"
        counting.gate.set()
        answers = {id(future.result()) for future in asked}
    assert len(answers) == 1
    assert counting.opened == {"tiny@1": 1}


def test_everyone_who_waits_for_a_broken_version_is_told_why(counting):
    broken(counting)
    publish(counting)
    models = registry(counting)
    counting.opened.clear()
    counting.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(models.get, "tiny@1") for _ in range(4)]
        assert counting.waiting.acquire(timeout=30)
        counting.gate.set()
        errors = [future.exception() for future in asked]
    assert all(isinstance(error, ModelUnavailable) for error in errors)
    assert all("decoder.onnx" in str(error) for error in errors)
    assert counting.opened["tiny@1"] == 1


def test_a_refused_version_is_not_tried_again_for_a_while(counting):
    """Otherwise naming it over and over would cost a load each time."""
    broken(counting)
    publish(counting)
    clock = Clock()
    models = registry(counting, clock=clock)
    for _ in range(5):
        with pytest.raises(ModelUnavailable, match=r"decoder\.onnx"):
            models.get("tiny@1")
    assert counting.opened["tiny@1"] == 1
    clock.now_s += REFUSAL_S + 1
    with pytest.raises(ModelUnavailable):
        models.get("tiny@1")
    assert counting.opened["tiny@1"] == 2


def test_a_new_name_is_served_without_a_restart(store):
    publish(store)
    models = registry(store)
    publish(store, name="other", aliases=("stable",))
    assert models.get("other").label == models.get("other@stable").label == "other@1"


# What cannot be served


def test_an_empty_store_starts_and_says_what_to_do(store):
    models = registry(store)
    readiness = models.readiness()
    assert not readiness.ready
    assert "'tiny' is not in the store" in readiness.reason
    assert "VAE_MODEL_STORE" in readiness.remedy
    assert models.loaded() == models.failures() == ()
    with pytest.raises(ModelUnavailable, match="is not in the store"):
        models.get()
    with pytest.raises(UnknownModel):
        models.get("tiny")


def test_before_loading_nothing_is_ready(store):
    models = ModelRegistry(store, default="tiny", threads=1, max_loaded=1)
    assert not models.readiness().ready
    assert models.peek() is None
    with pytest.raises(ModelUnavailable, match="still being loaded"):
        models.get()


def test_a_model_that_appears_makes_an_empty_store_ready(store):
    models = registry(store)
    publish(store)
    models.load_all()
    assert models.readiness().ready
    assert "tiny@1 reproduced its golden vectors" in models.readiness().reason


def test_a_default_that_answers_nan_is_not_ready_and_the_file_is_named(store, caplog):
    broken(store)
    with caplog.at_level(logging.ERROR):
        models = registry(store)
    assert not models.readiness().ready
    assert "decoder.onnx" in models.readiness().reason
    assert "vae-store promote" in models.readiness().remedy
    assert [failure.model for failure in models.failures()] == ["tiny@1"]
    for reference in (None, "tiny", "tiny@1", "tiny@latest"):
        with pytest.raises(ModelUnavailable, match=r"decoder\.onnx: .*largest difference of nan"):
            models.get(reference)
    assert [record.getMessage() for record in caplog.records] == ["model refused"]


def test_a_corrupt_file_is_refused_by_name_and_others_are_served(store):
    publish(store)
    identity = publish(store, name="other")
    path = next(store.root.glob(f"{identity.name}/{identity.version}/encoder.onnx"))
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    models = registry(store)
    assert models.readiness().ready
    assert labels(models) == ["tiny@1"]
    (failure,) = models.failures()
    assert failure.model == "other@1"
    assert "encoder.onnx" in failure.reason
    with pytest.raises(ModelUnavailable, match=r"encoder\.onnx"):
        models.get("other")


def test_a_broken_version_without_an_alias_does_not_disturb_the_rest(store):
    broken(store)
    publish(store)
    models = registry(store)
    assert models.failures() == ()
    assert models.readiness().ready


def test_unreadable_aliases_are_reported_and_other_models_served(store):
    publish(store)
    publish(store, name="other")
    (store.root / "other" / "aliases.json").write_text("{", encoding="utf-8")
    models = registry(store)
    assert models.readiness().ready
    assert [failure.model for failure in models.failures()] == ["other"]
    assert not registry(store, default="other").readiness().ready
    assert "aliases.json" in registry(store, default="other").readiness().reason


def test_a_store_that_cannot_be_read_starts_and_says_so(store, monkeypatch):
    def unreadable():
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store, "names", unreadable)
    models = registry(store)
    assert models.failures() == (LoadFailure("the store", "PermissionError: [Errno 13] Permission denied"),)
    assert "cannot be looked up: PermissionError" in models.readiness().reason


# Loading again


def test_loading_again_takes_up_what_is_new_and_keeps_what_is_loaded(counting):
    publish(counting, aliases=("stable",))
    models = registry(counting)
    publish(counting, seed=1)
    models.load_all()
    assert labels(models) == ["tiny@1", "tiny@2"]
    assert models.get("tiny").label == "tiny@1"
    counting.promote("tiny", "stable", 2)
    models.load_all()
    assert models.get("tiny").label == "tiny@2"
    assert models.get("tiny").aliases == ("latest", "stable")
    assert counting.opened["tiny@1"] == counting.opened["tiny@2"] == 1
    assert models.get("tiny@1").label == "tiny@1"


def test_a_model_in_use_outlives_its_replacement(store):
    publish(store, aliases=("stable",))
    models = registry(store)
    held = models.get()
    expected = held.sample(n=3, seed=1).x_hat.tobytes()
    publish(store, seed=1, aliases=("stable",))
    models.load_all()
    assert models.get().label == "tiny@2"
    assert held.sample(n=3, seed=1).x_hat.tobytes() == expected


def test_a_broken_successor_leaves_the_old_version_in_service_and_says_why(store):
    publish(store)
    models = registry(store)
    broken(store)
    models.load_all()
    assert models.get("tiny").label == models.get("tiny@latest").label == "tiny@1"
    assert models.readiness().ready
    assert [failure.model for failure in models.failures()] == ["tiny@2"]
    with pytest.raises(ModelUnavailable):
        models.get("tiny@2")


def test_a_store_that_vanishes_behind_an_error_leaves_everything_in_service(store, monkeypatch):
    publish(store)
    models = registry(store)

    def unreadable():
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store, "names", unreadable)
    models.load_all()
    assert models.get().label == "tiny@1"
    assert [failure.model for failure in models.failures()] == ["the store"]


def test_a_model_that_is_gone_is_gone_after_loading_again(store):
    publish(store)
    publish(store, name="other")
    models = registry(store)
    shutil.rmtree(store.root / "other")
    models.load_all()
    with pytest.raises(UnknownModel):
        models.get("other")


def test_look_ups_while_loading_again_always_find_a_model(store):
    publish(store, aliases=("stable",))
    models = registry(store)
    stop = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                models.get("tiny@stable").sample(n=1, seed=1)
            except Exception as error:
                failures.append(error)
                return

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for seed in range(1, 6):
        publish(store, seed=seed, aliases=("stable",))
        models.load_all()
    stop.set()
    for asker in askers:
        asker.join(timeout=30)
    assert failures == []
    assert models.get().label == "tiny@6"
