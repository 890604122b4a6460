"""Pictures of a person: chosen, dropped or pasted, of any size, and refused with a sentence."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from playground import Play, playing
from server_process import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.page

#: A file as a browser gets it from a person, dropped on the page or pasted into it.
GIVE = """([way, content, name, type]) => {
    const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, {type}));
    const event = way === 'drop'
        ? new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})
        : new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true});
    document.querySelector('#panel h2').dispatchEvent(event);
    return event.defaultPrevented;
}"""
#: Mean of the red, green and blue that the page shows as what the model sees, and the size of it.
SEEN = """() => {
    const {width, height} = document.getElementById('draw-seen');
    const context = document.getElementById('draw-seen').getContext('2d');
    const {data} = context.getImageData(0, 0, width, height);
    const mean = (band) => data.filter((_, at) => at % 4 === band).reduce((a, b) => a + b) / width / height;
    return [width, height, mean(0), mean(1), mean(2)].map(Math.round);
}"""


@pytest.fixture
def colour(browser: Browser, odd: Running) -> Iterator[Play]:
    """The panel Draw for a model of 32 × 32 pixels in colour."""
    with playing(browser, f"http://127.0.0.1:{odd.port}/") as play:
        play.open("draw", model="photo")
        play.record.clear()
        yield play


def picture(width: int, height: int, shade: tuple[int, int, int] = (200, 60, 20)) -> bytes:
    """A PNG whose right half is dark."""
    image = Image.new("RGB", (width, height), shade)
    image.paste((0, 0, 0), (width // 2, 0, width, height))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def give(play: Play, way: str, content: bytes, name: str = "photo.png", kind: str = "image/png") -> None:
    if way == "choose":
        file = {"name": name, "mimeType": kind, "buffer": content}
        play.page.locator("#draw-file").set_input_files(file)
    else:
        encoded = base64.b64encode(content).decode()
        was_taken = play.page.evaluate(GIVE, [way, encoded, name, kind])
        # Otherwise the browser leaves the page for the file.
        assert was_taken or way == "paste"


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_picture_is_brought_to_the_size_of_the_model_by_the_server(colour: Play, way: str) -> None:
    give(colour, way, picture(120, 90))
    colour.eventually("document.getElementById('panel').innerText.includes('−ELBO = ')")
    colour.settle()
    assert colour.page.evaluate(SEEN) == [32, 32, 100, 30, 10]
    calls = [each for each in colour.record.addresses if "/encode" in each]
    assert calls
    assert all("resize=true" in each for each in calls)
    assert {status for status, address in colour.record.answers} == {200}
    # It is the picture of the other panels too.
    colour.show("noise")
    assert colour.page.locator("#panel > section:not([hidden])").get_by_text("photo.png").count() == 1
    assert colour.record.console == []


def test_picture_of_the_models_size_is_sent_as_it_is(colour: Play) -> None:
    give(colour, "choose", picture(32, 32))
    colour.eventually("document.getElementById('panel').innerText.includes('−ELBO = ')")
    assert not [each for each in colour.record.addresses if "resize" in each]


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_file_that_is_no_picture_is_named_in_a_sentence(colour: Play, way: str) -> None:
    give(colour, way, b"\x89PNG\r\n\x1a\nno picture", name="broken.png")
    colour.eventually("document.getElementById('panel').innerText.includes('broken.png')")
    give(colour, way, picture(64, 64))
    colour.eventually("document.getElementById('panel').innerText.includes('broken.png')", expected=False)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_file_of_another_kind_is_named_too(colour: Play, way: str) -> None:
    """Without a word, a person waits for something to happen."""
    give(colour, way, b"%PDF-1.7", name="paper.pdf", kind="application/pdf")
    colour.eventually("document.getElementById('panel').innerText.includes('paper.pdf')")


@pytest.mark.parametrize(("panel", "taker"), [("noise", "noise"), ("loss", "loss"), ("map", "draw")])
def test_picture_dropped_on_another_panel_is_taken_too(colour: Play, panel: str, taker: str) -> None:
    colour.show(panel)
    give(colour, "drop", picture(64, 64))
    colour.page.wait_for_selector(f"#tab-{taker}[aria-selected=true]")
    colour.settle()
    assert [each for each in colour.record.addresses if "resize=true" in each]
    assert colour.trouble() == ""


def test_picture_that_is_too_large_for_the_server_is_scaled_by_the_page(colour: Play) -> None:
    give(colour, "choose", picture(2_100, 2_100))
    colour.eventually("document.getElementById('panel').innerText.includes('−ELBO = ')")
    colour.settle()
    assert colour.page.evaluate(SEEN) == [32, 32, 100, 30, 10]
    assert {status for status, _ in colour.record.answers} == {200}


def test_picture_that_the_server_refuses_is_told_and_the_next_one_taken(colour: Play) -> None:
    colour.page.route("**/encode.json*", lambda route: route.continue_(url=f"{route.request.url}&nonsense=1"))
    give(colour, "choose", picture(64, 64))
    colour.eventually("document.getElementById('trouble').textContent.includes('nonsense')")
    colour.page.unroute("**/encode.json*")
    give(colour, "choose", picture(48, 48))
    colour.eventually("document.getElementById('trouble').textContent", "")
    colour.eventually("document.getElementById('panel').innerText.includes('−ELBO = ')")
