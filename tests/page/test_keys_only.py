"""The page without a mouse: Tab reaches everything, arrows move everything, and the focus is seen."""

from __future__ import annotations

import pytest
from playground import PANELS, Play

pytestmark = pytest.mark.page

LONGEST_WALK = 200
#: The focused element, whether its focus can be seen, and the sides of what a finger would hit.
FOCUSED = """() => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    window.walked = window.walked ?? new Map();
    if (!window.walked.has(one)) window.walked.set(one, window.walked.size);
    // A hidden file input is hit, and shows its focus, by its label.
    const shown = one.matches('.unseen') ? one.nextElementSibling : one;
    const style = getComputedStyle(shown);
    const box = shown.getBoundingClientRect();
    return {
        number: window.walked.get(one), name: one.outerHTML.slice(0, 120),
        outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
        width: box.width, height: box.height,
    };
}"""


@pytest.mark.parametrize("panel", PANELS)
def test_tab_reaches_everything_and_shows_where_it_is(play: Play, panel: str) -> None:
    play.open(panel)
    reachable = play.page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex="0"]')]
            .filter((one) => !one.disabled && one.tabIndex >= 0 && one.checkVisibility()).length"""
    )
    seen: dict[int, str] = {}
    for _ in range(LONGEST_WALK):
        play.page.keyboard.press("Tab")
        found = play.page.evaluate(FOCUSED)
        if found is None or found["number"] in seen:
            break
        seen[found["number"]] = found["name"]
        assert found["outline"] >= 2, found
        assert min(found["width"], found["height"]) >= 24, found
    assert len(seen) == reachable, list(seen.values())


def test_arrows_walk_through_the_panels(play: Play) -> None:
    play.open("map")
    play.page.locator("#tab-map").focus()
    for panel in (*PANELS[1:], PANELS[0]):
        play.page.keyboard.press("ArrowRight")
        play.eventually("document.activeElement.id", f"tab-{panel}")
        play.eventually("document.querySelector('[role=tab][aria-selected=true]').id", f"tab-{panel}")
    play.page.keyboard.press("End")
    play.eventually("document.activeElement.id", "tab-loss")
    play.settle()
    assert play.record.console == []


def test_arrows_move_the_point_of_the_map(play: Play) -> None:
    play.open("map", model="mnist-2d@1", z="0.5,-0.5")
    plot = play.page.locator("#panel canvas[role=application]").first
    plot.focus()
    for key, expected in (
        ("ArrowRight", [0.55, -0.5]),
        ("ArrowUp", [0.55, -0.45]),
        ("Shift+ArrowLeft", [0.05, -0.45]),
        ("Shift+ArrowDown", [0.05, -0.95]),
        ("Home", [0.0, 0.0]),
    ):
        play.page.keyboard.press(key)
        fragment = ",".join(f"{value:g}" for value in expected)
        play.eventually("new URLSearchParams(location.hash.slice(1)).get('z')", fragment)
    play.page.keyboard.press("ArrowRight")
    play.eventually("document.getElementById('status').textContent.includes('0.05')")
    play.settle()
    assert play.record.console == []


def test_arrows_move_the_points_of_both_kinds(play: Play) -> None:
    play.open("kinds")
    for plot in play.page.locator("#panel canvas[role=application]").all():
        play.record.clear()
        plot.focus()
        play.page.keyboard.press("Shift+ArrowRight")
        play.settle()
        assert [address for address in play.record.addresses if "/decode" in address]
    assert play.record.console == []


def test_sliders_follow_the_arrows(play: Play) -> None:
    play.open("dimensions", model="mnist-2d@1", z="0,0")
    play.page.locator("#panel input[type=range]").first.focus()
    play.page.keyboard.press("ArrowRight")
    play.eventually("location.hash.includes('0.05')")
    play.page.keyboard.press("Home")
    play.eventually("location.hash.includes('-3')")


def test_digit_is_drawn_with_keys(play: Play) -> None:
    play.open("draw", model="mnist-2d@1")
    play.page.locator("#draw-canvas").focus()
    play.page.keyboard.press("Space")
    for _ in range(5):
        play.page.keyboard.press("Shift+ArrowDown")
    play.page.keyboard.press("Space")
    play.settle()
    ink = """() => {
        const canvas = document.getElementById('draw-seen');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((value, at) => at % 4 === 0 && value > 128).length;
    }"""
    assert play.page.evaluate(ink) > 20
    assert play.record.console == []
