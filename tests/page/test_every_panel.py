"""Every panel, whatever model is loaded: quiet console, one host, accessible, as wide as the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bundled_models import BUNDLED_MODELS
from playground import PANELS, WIDTHS, Play, playing
from playwright_page import violations
from server_process import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.page

ODD = ("colour", "line", "photo", "plain", "wide")


def assert_quiet(play: Play) -> None:
    assert play.record.console == []
    assert [answer for answer in play.record.answers if answer[0] >= 400] == []
    assert play.record.hosts() == {play.address.split("/")[2]}
    assert play.trouble() == ""


@pytest.mark.parametrize("panel", PANELS)
def test_panel_is_accessible_in_every_width_and_scheme(play: Play, panel: str) -> None:
    play.open(panel)
    for scheme in ("light", "dark"):
        play.page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            play.page.set_viewport_size({"width": width, "height": 900})
            play.settle()
            assert violations(play.page) == [], (scheme, width)
            assert play.page.evaluate("document.documentElement.scrollWidth") == width, (scheme, width)
    assert_quiet(play)


@pytest.mark.parametrize("model", BUNDLED_MODELS)
def test_bundled_model_has_every_panel(play: Play, model: str) -> None:
    play.open(model=model)
    for panel in PANELS:
        play.show(panel)
        assert play.page.locator("#panel h2:visible").count() == 1
        assert_quiet(play)


@pytest.mark.parametrize("model", ODD)
def test_model_of_another_shape_has_every_panel(browser: Browser, odd: Running, model: str) -> None:
    with playing(browser, f"http://127.0.0.1:{odd.port}/") as play:
        play.open(model=model)
        for panel in PANELS:
            play.show(panel)
            assert play.page.locator("#header select").first.input_value() == f"{model}@1"
            assert_quiet(play)
        # One of them on a small screen, because wide shapes are where a page grows too wide.
        play.page.set_viewport_size({"width": 320, "height": 700})
        assert violations(play.page) == []


def test_panels_are_those_that_the_tests_know(play: Play) -> None:
    play.open()
    tabs = play.page.evaluate("[...document.querySelectorAll('[role=tab]')].map((tab) => tab.id)")
    assert tabs == [f"tab-{panel}" for panel in PANELS]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_text_is_there_in_both_languages(browser: Browser, server: Running, language: str) -> None:
    """The first language of the browser decides, and the choice of a person is kept."""
    with playing(browser, f"http://127.0.0.1:{server.port}/", locale=f"{language}-KR") as play:
        play.open()
        assert play.page.evaluate("document.documentElement.lang") == language
        for panel in PANELS:
            play.show(panel)
            text = play.page.locator("body").inner_text()
            assert "undefined" not in text
            assert "NaN" not in text
            assert "[object" not in text
        other = "ko" if language == "en" else "en"
        play.page.locator("#header select").nth(1).select_option(other)
        play.settle()
        play.open("loss")
        assert play.page.evaluate("document.documentElement.lang") == other
        assert_quiet(play)


def test_page_without_motion_moves_nothing_by_itself(browser: Browser, server: Running) -> None:
    with playing(browser, f"http://127.0.0.1:{server.port}/", reduced_motion="reduce") as play:
        play.open()
        for panel in PANELS:
            play.show(panel)
            moving = "document.getAnimations().filter((each) => each.playState === 'running').length"
            assert play.page.evaluate(moving) == 0
            durations = (
                "Math.max(...[...document.querySelectorAll('*')].map("
                "(each) => parseFloat(getComputedStyle(each).transitionDuration)))"
            )
            assert play.page.evaluate(durations) == 0
