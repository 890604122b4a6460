"""An alias splits, and its shares change, while clients send requests: none fails."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from load_client import Load, Plan, Request, get
from patience import eventually
from server_process import serving
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore

pytestmark = pytest.mark.hard

CHANGES = 40
TARGET = "/sample.npy?seed=7"


@pytest.mark.hazard_row("reload-under-load")
def test_shares_change_under_load_and_no_request_fails(tmp_path: Path, hazard: Hazard) -> None:
    store = ModelStore(tmp_path / "models")
    for seed in (1, 2):
        model = TinyModel.make(image_shape=(1, 4, 4), latent_size=2, seed=seed)
        publish_tiny(store, name="mnist", model=model)
    store.promote("mnist", "stable", 1)
    flags = ("--workers", "2", "--threads", "1", "--store-poll-s", "0.1", "--access-log", "none")
    with serving(store.root, tmp_path / "log", *flags) as running:
        load = Plan(running.port, [Request(get(TARGET))], connections=8, duration_s=CHANGES * 0.5 + 2)
        with Load(load) as sent:
            seen: Counter[str] = Counter()
            for number in range(CHANGES):
                if number % 4 == 3:
                    store.rollback("mnist", "stable")
                    expected = {"mnist@1"}
                else:
                    store.split("mnist", "stable", {1: 25.0 * (3 - number % 4), 2: 25.0 * (1 + number % 4)})
                    expected = {"mnist@1", "mnist@2"}

                def answers(expected: set[str] = expected) -> bool:
                    labels = [running.get(TARGET)[1]["x-model"] for _ in range(16)]
                    seen.update(labels)
                    return set(labels) == expected

                eventually(answers, lambda: seen)
            answered = sent.answers()
        hazard(
            "reload-under-load",
            figure=f"{CHANGES} changes of a split: {dict(answered.statuses)}",
            bar="only 200",
            met=set(answered.statuses) == {200},
        )
        assert set(seen) == {"mnist@1", "mnist@2"}
        assert running.stop() == 0
