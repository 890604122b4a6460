"""The tour: nine steps that move the page, each with its equation, in both languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playground import playing
from playwright_page import violations
from server_process import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.page


@pytest.mark.parametrize("language", ["en", "ko"])
def test_tour_leads_to_its_end_with_keys_alone(browser: Browser, server: Running, language: str) -> None:
    address = f"http://127.0.0.1:{server.port}/"
    size = {"width": 320, "height": 700} if language == "ko" else {"width": 1280, "height": 900}
    with playing(browser, address, locale=f"{language}-KR", viewport=size) as play:
        play.open()
        play.page.locator("#tour-start").press("Enter")
        tour = play.page.locator(".tour")
        tour.wait_for()
        assert play.page.locator(".invitation").count() == 0
        titles, panels = [], []
        while tour.is_visible():
            play.settle()
            titles.append(tour.locator("h2").inner_text())
            panels.append(play.page.locator("[role=tab][aria-selected=true]").get_attribute("id"))
            assert tour.locator("math").is_visible()
            assert tour.locator("math").bounding_box()["width"] > 20
            if language == "en":
                assert violations(play.page) == [], titles[-1]
            assert play.page.evaluate("document.documentElement.scrollWidth") == size["width"]
            tour.locator("button.primary").press("Enter")
        assert len(titles) == len(set(titles)) == 9
        assert len(set(panels)) >= 5
        assert play.record.console == []
        assert play.page.evaluate("document.activeElement.id") == "tour-start"


def test_invitation_comes_once(browser: Browser, server: Running) -> None:
    with playing(browser, f"http://127.0.0.1:{server.port}/") as play:
        play.open()
        invitation = play.page.locator(".invitation")
        invitation.get_by_role("button").last.click()
        assert invitation.count() == 0
        play.open()
        assert play.page.locator(".invitation").count() == 0
