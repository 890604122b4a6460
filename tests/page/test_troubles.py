"""The page states each failure of the server in a sentence, and continues by itself afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playground import Play, playing
from server_process import free_port, serving

from model_store import default_store_root

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = pytest.mark.page

DIGIT = "document.querySelector('#panel > section:not([hidden]) canvas.digit.large').toDataURL()"


def move(play: Play, *, to: float) -> None:
    """Another point, from the first slider of Dimensions."""
    slider = play.page.locator("#panel input[type=range]").first
    slider.evaluate("(input, to) => { input.value = to; input.dispatchEvent(new Event('input')); }", to)


def test_busy_server_is_a_countdown_that_ends_in_an_answer(play: Play) -> None:
    """The page asks again when the server said, and not before."""
    play.open("dimensions", model="mnist-2d@1")
    before = play.page.evaluate(DIGIT)
    problem = {
        "type": "/problems/too-busy", "title": "Too busy", "status": 429, "code": "too-busy",
        "detail": "Too many images wait.", "remedy": "Wait as long as Retry-After says.", "errors": [],
    }  # fmt: skip
    tries: list[str] = []

    def refuse(route: Route) -> None:
        tries.append(route.request.url)
        if len(tries) > 1:
            route.continue_()
            return
        headers = {"Retry-After": "3", "Content-Type": "application/problem+json"}
        route.fulfill(status=429, headers=headers, body=json.dumps(problem))

    play.page.route("**/decode.npy*", refuse)
    # Every sentence that the page shows, from the first refusal on.
    play.page.evaluate(
        """() => {
            window.told = [];
            const trouble = document.getElementById('trouble');
            new MutationObserver(() => window.told.push(trouble.textContent))
                .observe(trouble, {childList: true, characterData: true, subtree: true});
        }"""
    )
    move(play, to=1.5)
    play.eventually("window.told.length > 0 && document.getElementById('trouble').textContent", "")
    told = play.page.evaluate("window.told")
    seconds = [int(number) for text in told for number in text.replace(".", "").split() if number.isdigit()]
    assert seconds == [3, 2, 1]
    assert len(tries) == 2
    play.settle()
    assert play.page.evaluate(DIGIT) != before


def test_server_that_stops_and_starts_again_beneath_the_page(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    with playing(browser, f"http://127.0.0.1:{port}/") as play:
        with serving(default_store_root(), tmp_path / "first", port=port) as running:
            play.open("dimensions", model="mnist-2d@1", z="0,0")
            before = play.page.evaluate(DIGIT)
            assert running.stop() == 0
        move(play, to=1.5)
        play.eventually("document.getElementById('trouble').textContent.includes('does not answer')")
        with serving(default_store_root(), tmp_path / "second", port=port) as running:
            play.eventually(
                "document.getElementById('trouble').textContent.includes('does not answer')", expected=False
            )
            play.eventually(f"({DIGIT}) !== {json.dumps(before)}")
            play.settle()
            play.page.locator("#tab-samples").click()
            play.eventually("document.querySelectorAll('#panel .gallery canvas').length", 36)
            assert running.stop() == 0


def test_version_that_goes_is_replaced(browser: Browser, tmp_path: Path) -> None:
    """An administrator unloads the chosen model while the page is open."""
    with (
        serving(default_store_root(), tmp_path / "log", "--admin", "true") as running,
        playing(browser, f"http://127.0.0.1:{running.port}/") as play,
    ):
        play.open("dimensions", model="mnist-2d@1", z="1,1")
        assert running.get("/v2/repository/models/mnist-2d/unload", method="POST")[0] == 200
        move(play, to=0.5)
        play.eventually("document.querySelector('#header select').value !== 'mnist-2d@1'")
        play.settle()
        assert play.page.locator("#header select").first.input_value().startswith("mnist")
        before = play.page.evaluate(DIGIT)
        move(play, to=2.5)
        play.eventually(f"({DIGIT}) !== {json.dumps(before)}")
        assert running.stop() == 0


def test_picture_that_is_refused_is_told(play: Play, tmp_path: Path) -> None:
    play.open("draw", model="mnist-2d@1")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture")
    play.page.locator("#draw-file").set_input_files(broken)
    play.eventually("document.getElementById('panel').innerText.includes('broken.png')")
    for panel in ("noise", "loss", "between"):
        play.show(panel)
        play.page.locator("#panel > section:not([hidden]) input[type=file]").first.set_input_files(broken)
        play.eventually(
            "document.querySelector('#panel > section:not([hidden])').innerText.includes('broken.png')"
        )


def test_refusal_of_the_server_is_its_own_sentence(play: Play) -> None:
    """A request that the server refuses, such as one of a page that is older than the server."""
    play.open("samples", model="mnist@4")
    play.page.route("**/sample.npz*", lambda route: route.continue_(url=f"{route.request.url}&nonsense=1"))
    play.page.get_by_role("button", name="Draw again").click()
    play.eventually("document.getElementById('trouble').textContent.includes('nonsense')")
    play.page.unroute("**/sample.npz*")
    play.page.get_by_role("button", name="Draw again").click()
    play.eventually("document.getElementById('trouble').textContent", "")
