"""A drawn digit is as readable as one of MNIST, because the page normalises it as MNIST was made."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playground import Play

from training.data import load_mnist

pytestmark = pytest.mark.page

ROOT = Path(__file__).parents[2]
#: Full MNIST from the shared folder if there is one; otherwise the sample of the repository.
MNIST = next(each for each in (ROOT.parent / "shared/data/mnist", ROOT / "tests/data/mnist") if each.is_dir())
HELD, LEARNT = 200, 8_000
SIDE = 280
#: Of 200 digits: within 1 %.
TOLERANCE = HELD // 100

#: Ten digits as a hand draws them: strokes of points in a square of side 100.
STROKES = {
    "0": "50,12 28,25 22,50 30,78 50,88 70,78 78,50 70,22 50,12",
    "1": "55,12 50,50 45,88",
    "2": "28,30 38,15 60,13 70,28 60,50 35,72 25,86 50,85 78,85",
    "3": "30,18 55,12 70,25 60,42 45,48 65,55 72,72 55,87 28,82",
    "4": "32,12 27,50 72,50 | 68,12 62,50 60,90",
    "5": "72,14 38,14 34,45 55,42 70,55 66,78 48,88 27,82",
    "6": "62,10 40,32 30,60 36,82 55,88 68,74 60,58 42,60 34,72",
    "7": "25,17 74,15 60,45 45,88",
    "8": "66,22 50,12 34,25 45,42 62,58 66,77 48,88 34,75 42,57 60,40 66,22",
    "9": "66,28 50,13 34,26 42,44 62,38 67,25 64,55 56,88",
}


class Judge:
    """A classifier of pixels that knows nothing of the page: a support vector machine, 98 % right."""

    def __init__(self) -> None:
        from sklearn.svm import SVC

        digits = load_mnist(MNIST)
        random = np.random.default_rng(0)
        self.images = digits.test.images.numpy()[:, 0]
        self.labels = digits.test.labels.numpy()
        held = random.permutation(len(self.images))[:HELD]
        self.images, self.labels = self.images[held], self.labels[held]
        learnt = random.permutation(len(digits.train))[:LEARNT]
        x = digits.train.images.numpy()[learnt].reshape(len(learnt), -1) / 255.0
        self._machine = SVC(C=5.0).fit(x, digits.train.labels.numpy()[learnt])

    def read(self, images: NDArray[Any]) -> NDArray[Any]:
        """The digit of each image (N, 28, 28) in [0, 1]."""
        found: NDArray[Any] = self._machine.predict(images.reshape(len(images), -1))
        return found


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def on_a_large_sheet(digit: NDArray[np.uint8], random: np.random.Generator) -> bytes:
    """RGBA of 280 × 280 with the figure cut out, at another size and place, as a person would draw it."""
    rows, columns = np.nonzero(digit)
    figure = Image.fromarray(digit[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    longest = random.integers(120, 240)
    scale = longest / max(figure.size)
    size = [max(1, round(scale * side)) for side in figure.size]
    figure = figure.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    left, top = (int(random.integers(10, SIDE - 10 - side + 1)) for side in figure.size)
    sheet = Image.new("L", (SIDE, SIDE))
    sheet.paste(figure, (left, top))
    return sheet.convert("RGBA").tobytes()


def test_digits_redrawn_at_280_pixels_are_read_as_well_as_the_originals(play: Play, judge: Judge) -> None:
    play.open("draw", model="mnist-2d@1")
    random = np.random.default_rng(1)
    normalise = f"""(module, sheets) => sheets.map((sheet) => {{
        const data = Uint8ClampedArray.from(atob(sheet), (each) => each.charCodeAt(0));
        return [...module.normalised({{data, width: {SIDE}, height: {SIDE}}})];
    }})"""
    redrawn = []
    for start in range(0, HELD, 20):
        sheets = [on_a_large_sheet(digit, random) for digit in judge.images[start : start + 20]]
        redrawn += play.script(
            "normalise.js", normalise, [base64.b64encode(sheet).decode() for sheet in sheets]
        )
    images = np.array(redrawn, dtype=np.float32).reshape(HELD, 28, 28)
    originals = int((judge.read(judge.images / 255.0) == judge.labels).sum())
    right = int((judge.read(images) == judge.labels).sum())
    assert originals > 0.9 * HELD
    assert right >= originals - TOLERANCE, (right, originals)


def test_empty_canvas_says_what_to_do_and_nothing_is_sent_of_it(play: Play) -> None:
    play.open("draw", model="mnist-2d@2")
    light = """() => {
        const canvas = document.getElementById('draw-canvas');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((value, at) => at % 4 === 0 && value > 0).length;
    }"""
    hint = play.page.evaluate(light)
    assert hint > 100
    play.record.clear()
    play.page.get_by_role("button", name="Clear").click()
    play.settle()
    assert play.record.addresses == []
    play.page.locator("#draw-canvas").click(position={"x": 20, "y": 20})
    # A dot, and no hint any more.
    assert 100 < play.page.evaluate(light) != hint
    play.page.get_by_role("button", name="Undo").click()
    assert play.page.evaluate(light) == hint


def test_ten_digits_drawn_with_the_mouse_reach_the_model(play: Play, judge: Judge) -> None:
    """Strokes of no hand in particular: nine of ten are read, and each has its costs."""
    play.open("draw", model="mnist-2d@1")
    board = play.page.locator("#draw-canvas")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    read = {}
    for label, strokes in STROKES.items():
        play.page.get_by_role("button", name="Clear").click()
        for stroke in strokes.split(" | "):
            points = [tuple(map(int, point.split(","))) for point in stroke.split()]
            places = [
                (box["x"] + x * box["width"] / 100, box["y"] + y * box["height"] / 100) for x, y in points
            ]
            play.page.mouse.move(*places[0])
            play.page.mouse.down()
            for place in places[1:]:
                play.page.mouse.move(*place, steps=6)
            play.page.mouse.up()
        play.settle()
        address = play.page.evaluate("document.getElementById('draw-seen').toDataURL('image/png')")
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("L"))
        assert seen.shape == (28, 28)
        read[label] = str(judge.read(seen[None] / 255.0)[0])
        assert "−ELBO = " in play.page.locator("#panel > section:not([hidden])").inner_text()
        assert play.z() != [0.0, 0.0]
    assert sum(label == found for label, found in read.items()) >= 9, read
    assert play.record.console == []
