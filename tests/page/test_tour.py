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


#: Steps that speak of what lies below the first screen of a telephone.
SPOKEN = 7
ABOVE_THE_CARD = """() => {
    const spoken = document.querySelector('[role=tabpanel]:not([hidden]) [data-step~=' + STEP + ']');
    const card = document.querySelector('.tour').getBoundingClientRect();
    return spoken ? card.top - spoken.getBoundingClientRect().top : null;
}"""


def test_card_hides_nothing_that_a_step_speaks_of_on_a_telephone(browser: Browser, server: Running) -> None:
    address = f"http://127.0.0.1:{server.port}/"
    steps = (
        "likelihood",
        "autoencoder",
        "wrong",
        "regions",
        "gaussian",
        "logvar",
        "loss",
        "sampling",
        "trick",
    )
    with playing(browser, address, viewport={"width": 390, "height": 844}) as play:
        play.open()
        play.page.locator("#tour-start").press("Enter")
        shown = []
        for step in steps:
            play.settle()
            # The start of it is in sight, with at least 100 pixels of it above the card.
            room = play.page.evaluate(ABOVE_THE_CARD.replace("STEP", f"'{step}'"))
            if room is not None:
                shown.append(step)
                assert 100 <= room <= 844, step
            play.page.locator(".tour button.primary").press("Enter")
        assert len(shown) == SPOKEN, shown


def test_step_of_the_tour_leaves_a_page_that_the_person_scrolled(browser: Browser, server: Running) -> None:
    with playing(browser, f"http://127.0.0.1:{server.port}/", viewport={"width": 390, "height": 844}) as play:
        play.open()
        play.page.locator("#tour-start").press("Enter")
        for _ in range(3):
            play.settle()
            play.page.locator(".tour button.primary").press("Enter")
        play.settle()
        play.page.mouse.move(100, 100)
        play.page.mouse.wheel(0, 300)
        play.eventually("scrollY > 0")
        play.page.evaluate("scrollTo(0, 40)")
        # The panel grows, as it does when an answer comes late.
        play.page.evaluate("document.querySelector('#panel').append(document.createElement('hr'))")
        play.settle()
        assert play.page.evaluate("scrollY") == 40


def test_invitation_comes_once(browser: Browser, server: Running) -> None:
    with playing(browser, f"http://127.0.0.1:{server.port}/") as play:
        play.open()
        invitation = play.page.locator(".invitation")
        invitation.get_by_role("button").last.click()
        assert invitation.count() == 0
        play.open()
        assert play.page.locator(".invitation").count() == 0
