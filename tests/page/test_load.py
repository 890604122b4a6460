"""Ten pages that move at once: the server answers all of them, and probes meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest
from playground import playing
from server_process import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.page

PAGES, MOVES = 10, 30


def test_ten_pages_moving_at_once_get_answers(browser: Browser, server: Running) -> None:
    statuses: list[int] = []
    is_over = threading.Event()

    def probe() -> None:
        while not is_over.is_set():
            statuses.append(server.get("/livez")[0])
            statuses.append(server.get("/readyz")[0])
            time.sleep(0.02)

    prober = threading.Thread(target=probe)
    address = f"http://127.0.0.1:{server.port}/"
    with contextlib.ExitStack() as stack:
        plays = [stack.enter_context(playing(browser, address)) for _ in range(PAGES)]
        for play in plays:
            play.open("map", model="mnist-2d@1")
        prober.start()
        try:
            # Each page moves its own pointer, in the page, so that all of them move at once.
            for play in plays:
                play.page.evaluate(
                    """(moves) => {
                        const plot = document.querySelector('#panel canvas[role=application]');
                        const {left, top, width, height} = plot.getBoundingClientRect();
                        let at = 0;
                        const move = () => {
                            const turn = 2 * Math.PI * at / moves;
                            plot.dispatchEvent(new PointerEvent('pointermove', {
                                pointerType: 'mouse', bubbles: true,
                                clientX: left + width * (0.5 + 0.4 * Math.cos(turn)),
                                clientY: top + height * (0.5 + 0.4 * Math.sin(turn)),
                            }));
                            window.moved = ++at;
                            if (at < moves) setTimeout(move, 40);
                        };
                        move();
                    }""",
                    MOVES,
                )
            for play in plays:
                play.eventually("window.moved", MOVES)
                play.settle()
        finally:
            is_over.set()
            prober.join()
        answers = [answer for play in plays for answer in play.record.answers]
        assert [answer for answer in answers if answer[0] >= 400] == []
        assert len([answer for answer in answers if "/decode" in answer[1]]) >= PAGES
        assert [play.record.console for play in plays] == [[]] * PAGES
    assert set(statuses) == {200}
