"""The registry: every name leads to the right version, loaded on demand, or to an error that helps."""

from __future__ import annotations

import random
import shutil
import string
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clocks import Clock
from direct import directly
from engine_models import LATENT
from patience import PATIENCE_S
from registries import broken, labels, publish, registry

from service.engine import (
    InvalidModelReference,
    ModelRegistry,
    ModelUnavailable,
    UnknownModel,
    WorkerPool,
    decode,
)
from service.engine.model_cache import REFUSAL_S

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
    assert (
        directly(decode, models.get("tiny@1"), z).tobytes()
        != directly(decode, models.get("tiny@2"), z).tobytes()
    )


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
        ModelRegistry(store, default=default, threads=1, max_loaded=1, worker_pool=WorkerPool(1))


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


def test_a_version_in_memory_is_found_without_a_look_at_the_store(counting):
    """Clients that pin a version paid for two readings of the store with every request."""
    for seed in range(3):
        publish(counting, seed=seed)
    models = registry(counting)
    assert models.peek("tiny@1") is None
    loaded = models.get("tiny@1")
    resolved = counting.resolved.total()
    assert models.peek("tiny@1") is models.get("tiny@1") is loaded
    assert counting.resolved.total() == resolved
    models.get("tiny@2")
    models.peek("tiny@1")
    models.retire_idle(-1.0)
    assert models.peek("tiny@1") is None


def test_a_version_found_in_memory_counts_as_used(counting):
    for seed in range(4):
        publish(counting, seed=seed)
    models = registry(counting)  # keeps two
    for reference in ("tiny@1", "tiny@2"):
        models.get(reference)
    models.peek("tiny@1")
    models.get("tiny@3")
    assert labels(models) == ["tiny@1", "tiny@3", "tiny@4"]


def test_a_removed_version_is_unknown_after_the_next_reading(counting):
    for seed in range(2):
        publish(counting, seed=seed)
    models = registry(counting)
    models.get("tiny@1")
    seen = models.signature()
    shutil.rmtree(counting.root / "tiny/1")
    assert models.signature() != seen
    models.refresh()
    assert models.peek("tiny@1") is None
    with pytest.raises(UnknownModel):
        models.get("tiny@1")


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
        assert counting.waiting.acquire(timeout=PATIENCE_S)
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
        assert counting.waiting.acquire(timeout=PATIENCE_S)
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
