"""A model that learned its prior: the page shows nothing that is true of N(0, I) alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playground import PANELS, Play, playing
from server_process import serving
from tiny_learned import TinyLearnedPrior
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.page

LATENTS = 3


def test_page_of_a_learned_prior_says_nothing_of_the_standard_one(browser: Browser, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(
        store, name="learned", model=TinyModel.make(latent_size=LATENTS), learned=TinyLearnedPrior(LATENTS)
    )
    with (
        serving(store.root, tmp_path / "log") as running,
        playing(browser, f"http://127.0.0.1:{running.port}/") as play,
    ):
        for panel in PANELS:
            play.open(panel)
        assert play.record.console == []
        play.open("samples")
        panel = play.page.locator("#panel-samples")
        facts = panel.locator("figcaption.numbers")
        assert facts.inner_text().startswith("Sample 1: |z| = ")
        assert "N(0, I)" not in facts.inner_text()


@pytest.mark.parametrize("model", ["mnist", "fashion"])
def test_map_of_a_learned_prior_starts_at_a_real_image(play: Play, model: str) -> None:
    """An image of 32 latents at 0 looks like nothing there."""
    play.open("map", model=model)
    assert "0.00" in play.page.locator("#panel-map .near .note").inner_text()


def test_map_of_a_standard_prior_starts_at_the_origin(play: Play) -> None:
    play.open("map", model="mnist-2d")
    assert play.page.locator("#panel-map p.numbers").inner_text() == "z₁ = 0.00   z₂ = 0.00"
