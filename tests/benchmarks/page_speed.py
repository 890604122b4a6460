"""`make bench-page`: how fast the playground page is in Chromium, next to the bars.

    make bench-page
    make bench-page ARGS="--moves 50"

"Painted" is the end of the frame after the canvas has changed; a screen of 60 Hz takes up to 17 ms of it.
Two minutes on a machine that does nothing else.
Exit codes: 0 every figure met its bar; 1 one did not.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import http.client
import math
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from playground import Play, playing
from playwright_page import chromium
from server_process import Running, serving

from model_store import default_store_root

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: In every page, before its scripts: `painted(selector)` is when a canvas's next change is on the screen.
HOOKS = """
window.waiting = new Map();
const put = CanvasRenderingContext2D.prototype.putImageData;
CanvasRenderingContext2D.prototype.putImageData = function (...given) {
    put.apply(this, given);
    const wanted = [...window.waiting.keys()].find((selector) => this.canvas.matches(selector));
    const settle = window.waiting.get(wanted);
    window.waiting.delete(wanted);
    if (settle) requestAnimationFrame(() => setTimeout(() => settle(performance.now())));
};
window.painted = (selector) => new Promise((settle) => window.waiting.set(selector, settle));
// An image that never comes ends the run with a reason.
window.soon = (waited, what) => Promise.race([waited, new Promise((_, fail) => {
    setTimeout(() => fail(new Error(`${what}: nothing was painted in 20 s`)), 20_000);
})]);
window.first = window.painted('canvas.digit.large');
for (const type of ['pointermove', 'pointerup']) {
    addEventListener(type, (event) => { window.begun = event.timeStamp; }, true);
}
"""
LARGE = "canvas.digit.large"
AGAIN = ".stages figure:nth-child(2) canvas"
PAGES = 10


def main() -> int:
    """Measure, print, and say whether every bar is met."""
    parser = argparse.ArgumentParser(prog="make bench-page", description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=300)
    parser.add_argument("--strokes", type=int, default=60)
    parser.add_argument("--loads", type=int, default=20)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-page-") as home,
        serving(default_store_root(), Path(home) / "log") as running,
        chromium() as browser,
    ):
        _say(f"{given.loads} loads, each in a fresh profile")
        paint, image = loads_ms(browser, running, given.loads)
        _say(f"{given.moves} moves over the map")
        moves = moves_ms(browser, running, given.moves)
        _say(f"{given.strokes} strokes")
        strokes = strokes_ms(browser, running, given.strokes)
        _say(f"{PAGES} pages that move at once")
        rows = [
            _row("move → painted, mnist-2d", moves, 50.0),
            _row("stroke end → reconstruction", strokes, 100.0),
            _row("first contentful paint", paint, 500.0),
            _row("first image painted", image, 500.0),
            *(_weight(browser, running, locale) for locale in ("en-GB", "ko-KR")),
            *_ten_pages(browser, running),
        ]
    print("| what | figure | bar |\n| --- | ---: | --- |")
    for what, figure, bar, _ in rows:
        print(f"| {what} | {figure} | {bar} |")
    return 0 if all(is_met for *_, is_met in rows) else 1


Row = tuple[str, str, str, bool]


def moves_ms(browser: Browser, running: Running, count: int) -> list[float]:
    """From each move of a mouse over the map until its image is painted."""
    with _page(browser, running) as play:
        play.open("map", model="mnist-2d@1")
        plot = play.page.locator("#panel canvas[role=application]")
        # All of it: no event reaches the page from a place below the window's edge.
        plot.evaluate("(plot) => plot.scrollIntoView({block: 'center'})")
        box = plot.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= play.page.viewport_size["height"]
        took = []
        for at in range(count):
            turn = 2 * math.pi * at / 61  # no place twice
            reach = 0.1 + 0.35 * (at % 97) / 97
            place = [0.5 + reach * math.cos(turn), 0.5 + reach * math.sin(turn)]
            x, y = box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"]
            took.append(_timed(play, LARGE, functools.partial(play.page.mouse.move, x, y)))
        return took


def strokes_ms(browser: Browser, running: Running, count: int) -> list[float]:
    """From the end of a stroke until the reconstruction is painted."""
    with _page(browser, running) as play:
        play.open("draw", model="mnist-2d@1")
        board = play.page.locator("#draw-canvas")
        board.scroll_into_view_if_needed()
        box = board.bounding_box()
        assert box is not None
        took = []
        for at in range(count):
            play.page.get_by_role("button", name="Clear").click()
            lean = 0.2 * (at % 7) / 7
            play.page.mouse.move(box["x"] + box["width"] * (0.4 + lean), box["y"] + box["height"] * 0.2)
            play.page.mouse.down()
            end = (box["x"] + box["width"] * (0.6 - lean), box["y"] + box["height"] * 0.8)
            play.page.mouse.move(*end, steps=12)
            play.settle()
            took.append(_timed(play, AGAIN, play.page.mouse.up))
            play.settle()
        return took


def loads_ms(browser: Browser, running: Running, count: int) -> tuple[list[float], list[float]]:
    """From the navigation to the first paint and to the first image, each time in a fresh profile."""
    first, image = [], []
    for _ in range(count):
        with _page(browser, running) as play:
            play.page.goto(play.address)
            image.append(float(play.page.evaluate("window.soon(window.first, 'load')")))
            entry = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            first.append(float(play.page.evaluate(entry)))
    return first, image


def _timed(play: Play, selector: str, act: Callable[[], object]) -> float:
    play.page.evaluate("(selector) => { window.result = window.painted(selector); }", selector)
    act()
    ended = "window.soon(window.result, 'act').then((at) => at - window.begun)"
    return float(play.page.evaluate(ended))


def _weight(browser: Browser, running: Running, locale: str) -> Row:
    with _page(browser, running, locale=locale) as play:
        play.open()
        own = {urlsplit(each).path for each in play.record.addresses if "/playground/" in each} | {"/"}
        others = play.record.hosts() - {urlsplit(play.address).netloc}
    total = sum(_transferred(running, path) for path in own)
    figure = f"{total:,} bytes, {len(others)} other hosts"
    return (
        f"transfer without pictures, {locale}",
        figure,
        "≤ 60,000 bytes, 0 other hosts",
        total <= 60_000 and not others,
    )


def _transferred(running: Running, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Accept": "text/html,*/*;q=0.8", "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        body = answer.read()
        return len(body if answer.getheader("Content-Encoding") == "gzip" else gzip.compress(body))


def _ten_pages(browser: Browser, running: Running) -> list[Row]:
    """Pages that move as fast as they can, and probes from here."""
    took_ms: list[float] = []
    is_over = threading.Event()

    def probe() -> None:
        while not is_over.wait(0.02):
            begun = time.monotonic()
            assert running.get("/readyz")[0] == 200
            took_ms.append(1000 * (time.monotonic() - begun))

    prober = threading.Thread(target=probe)
    with contextlib.ExitStack() as stack:
        plays = [stack.enter_context(_page(browser, running)) for _ in range(PAGES)]
        for play in plays:
            play.open("map", model="mnist-2d@1")
        prober.start()
        try:
            for play in plays:
                play.page.evaluate(MOVING)
            for play in plays:
                play.eventually("window.moved >= 150")
        finally:
            is_over.set()
            prober.join()
        for play in plays:
            play.settle()
        failed = [answer for play in plays for answer in play.record.answers if answer[0] >= 500]
    p99 = float(np.percentile(took_ms, 99))
    return [
        ("ten pages moving: answers of 5xx", str(len(failed)), "0", not failed),
        (f"ten pages moving: probes, p99 of {len(took_ms)}", f"{p99:.0f} ms", "< 100 ms", p99 < 100.0),
    ]


#: 150 moves in six seconds.
MOVING = """() => {
    const plot = document.querySelector('#panel canvas[role=application]');
    const {left, top, width, height} = plot.getBoundingClientRect();
    let at = 0;
    const move = () => {
        plot.dispatchEvent(new PointerEvent('pointermove', {
            pointerType: 'mouse', bubbles: true,
            clientX: left + width * (0.5 + 0.4 * Math.cos(at / 9)),
            clientY: top + height * (0.5 + 0.4 * Math.sin(at / 7)),
        }));
        window.moved = ++at;
        if (at < 150) setTimeout(move, 40);
    };
    move();
}"""


@contextlib.contextmanager
def _page(browser: Browser, running: Running, **context: str) -> Iterator[Play]:
    with playing(browser, f"http://127.0.0.1:{running.port}/", **context) as play:
        play.page.add_init_script(HOOKS)
        yield play


def _say(what: str) -> None:
    print(f"bench-page: {what}", file=sys.stderr, flush=True)


def _row(what: str, took_ms: Sequence[float], bar_ms: float) -> Row:
    p50, p95 = np.percentile(took_ms, [50, 95])
    figure = f"p95 {p95:.0f} ms (p50 {p50:.0f}, n {len(took_ms)})"
    return what, figure, f"p95 < {bar_ms:.0f} ms", bool(p95 < bar_ms)


if __name__ == "__main__":
    sys.exit(main())
