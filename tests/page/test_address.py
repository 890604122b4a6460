"""What the address keeps: model, point, seed and panel, and never a key."""

from __future__ import annotations

import pytest
from playground import Play

pytestmark = pytest.mark.page


FIRST_IMAGE = "document.querySelector('#panel .gallery canvas').toDataURL()"


def test_copied_address_opens_the_same_view(play: Play) -> None:
    play.open("samples", model="mnist@4", seed="7")
    image = play.page.evaluate(FIRST_IMAGE)
    play.page.get_by_role("button", name="To the sliders").click()
    play.eventually("new URLSearchParams(location.hash.slice(1)).get('z')?.split(',').length", 32)
    # They are built after the KL of each dimension has arrived.
    play.eventually("document.querySelectorAll('#panel-dimensions input[type=range]').length", 32)
    play.settle()
    fragment = play.fragment()
    assert (fragment["panel"], fragment["model"], fragment["seed"]) == ("dimensions", "mnist@4", "7")
    sliders = "[...document.querySelectorAll('#panel-dimensions input')].map((each) => each.value)"
    values = play.page.evaluate(sliders)
    play.open(**fragment)
    assert play.page.evaluate(sliders) == values
    play.open("samples", model="mnist@4", seed="7")
    assert play.page.evaluate(FIRST_IMAGE) == image
    assert play.page.locator("#panel input[type=number]").input_value() == "7"


def test_point_of_the_address_is_shown(play: Play) -> None:
    play.open("dimensions", model="mnist-2d@1", z="1.5,-0.75")
    values = play.page.evaluate(
        "[...document.querySelectorAll('#panel input[type=range]')].map((each) => each.valueAsNumber)"
    )
    assert sorted(values) == [-0.75, 1.5]


def test_edited_address_moves_the_page(play: Play) -> None:
    play.open("map", model="mnist-2d@1")
    play.page.evaluate("location.hash = '#panel=noise&model=mnist@4&seed=3'")
    play.page.wait_for_selector("#tab-noise[aria-selected=true]")
    play.eventually("new URLSearchParams(location.hash.slice(1)).get('z')?.split(',').length", 32)
    assert play.fragment()["model"] == "mnist@4"


@pytest.mark.parametrize(
    "fragment",
    [
        "#panel=nowhere",
        "#model=..%2f..%2fetc",
        "#z=NaN,1e999",
        "#z=1,2,3&model=mnist-2d@1",
        "#seed=-1",
        "#%ff=%00",
        "#" + "9" * 5000,
    ],
)
def test_malformed_address_opens_the_page_all_the_same(play: Play, fragment: str) -> None:
    play.page.goto(play.address + fragment)
    play.page.wait_for_selector("[role=tab][aria-selected=true]")
    play.settle()
    assert play.record.console == []
    assert "NaN" not in play.page.locator("body").inner_text()


def test_version_that_is_not_there_is_told_and_replaced(play: Play) -> None:
    play.page.goto(f"{play.address}#panel=map&model=mnist@99")
    play.page.wait_for_selector("[role=tab][aria-selected=true]")
    assert "mnist@99" in play.trouble()
    play.eventually("new URLSearchParams(location.hash.slice(1)).get('model')?.startsWith('mnist')")
