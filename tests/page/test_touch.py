"""The page on a phone: a finger draws and moves the point, and the page beneath does not scroll away."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest
from playground import PANELS, Play, playing
from playwright_page import violations
from server_process import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.page

SIZE = {"width": 360, "height": 740}
#: A 3, in shares of the canvas.
THREE = [(0.3, 0.2), (0.55, 0.12), (0.7, 0.28), (0.45, 0.46), (0.7, 0.65), (0.55, 0.87), (0.28, 0.82)]


@pytest.fixture
def phone(browser: Browser, server: Running) -> Iterator[Play]:
    options = {"viewport": SIZE, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    with playing(browser, f"http://127.0.0.1:{server.port}/", **options) as play:
        yield play


def stroke(play: Play, selector: str, places: Sequence[tuple[float, float]]) -> None:
    """One finger along places of an element, with steps between them."""
    element = play.page.locator(selector)
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    session = play.page.context.new_cdp_session(play.page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", places[0])
    for (x, y), (to_x, to_y) in itertools.pairwise(places):
        for share in (0.2, 0.4, 0.6, 0.8, 1.0):
            touch("touchMove", (x + share * (to_x - x), y + share * (to_y - y)))
    touch("touchEnd")
    session.detach()


def scrolled(play: Play) -> float:
    down: float = play.page.evaluate("scrollY")
    return down


def test_finger_draws_a_digit_and_sees_what_becomes_of_it(phone: Play) -> None:
    phone.open("draw", model="mnist-2d@2")
    phone.page.locator("#draw-canvas").scroll_into_view_if_needed()
    before = scrolled(phone)
    stroke(phone, "#draw-canvas", THREE)
    phone.eventually("document.getElementById('panel').innerText.includes('−ELBO = ')")
    phone.settle()
    assert scrolled(phone) == before
    ink = """() => {
        const canvas = document.getElementById('draw-seen');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((value, at) => at % 4 === 0 && value > 128).length;
    }"""
    assert phone.page.evaluate(ink) > 40
    # The canvas and its reconstruction fit on the screen together.
    board, seen = (phone.page.locator(each).bounding_box() for each in ("#draw-canvas", "#draw-seen"))
    assert seen["y"] + seen["height"] - board["y"] <= SIZE["height"]
    assert phone.record.console == []


def test_finger_moves_the_point_of_the_map(phone: Play) -> None:
    phone.open("map", model="mnist-2d@2")
    plot = "#panel > section:not([hidden]) canvas[role=application]"
    phone.page.locator(plot).scroll_into_view_if_needed()
    before = scrolled(phone)
    stroke(phone, plot, [(0.5, 0.5), (0.6, 0.3), (0.8, 0.25)])
    phone.eventually("(new URLSearchParams(location.hash.slice(1)).get('z') ?? '0,0') !== '0,0'")
    right, up = phone.z()
    assert right > 1
    assert up > 1
    assert scrolled(phone) == before


def test_every_panel_fits_on_a_phone(phone: Play) -> None:
    phone.open("map")
    for panel in PANELS:
        phone.page.locator(f"#tab-{panel}").tap()
        phone.page.wait_for_selector(f"#tab-{panel}[aria-selected=true]")
        phone.settle()
        assert phone.page.evaluate("document.documentElement.scrollWidth") == SIZE["width"], panel
    assert violations(phone.page) == []
    assert phone.record.console == []
