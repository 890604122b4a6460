"""A real Chromium without a window, driven by its DevTools protocol over two pipes.

Knows the protocol and the process. Knows nothing of what is tested.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S, eventually

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)")

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--window-size=1280,900", "--remote-debugging-pipe"),
)
#: Descriptors of the pipes are moved above those that the shell gives them; `sh` could not name these.
_LOWEST_DESCRIPTOR = 20


class Browser:
    """One page of one browser."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._numbers = itertools.count(1)
        self._begun = b""
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command and its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def go(self, url: str) -> None:
        """Load a page anew, also if only its fragment differs from that of the present one."""
        for address in ("about:blank", url):
            assert "errorText" not in self.call("Page.navigate", url=address), address
            eventually(lambda: self.js("document.readyState") == "complete", lambda: url)

    def js(self, code: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        result = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def click(self, selector: str) -> None:
        """Click an element as soon as it is there."""
        self.wait_for(selector)
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def wait_for(self, selector: str) -> str:
        """The text of an element as soon as it is there."""
        found = f"document.querySelector({json.dumps(selector)})"
        eventually(lambda: self.js(f"{found} !== null"), lambda: self.js("document.body.innerText"))
        text: str = self.js(f"{found}.innerText")
        return text

    def _message(self) -> dict[str, Any]:
        until_s = time.monotonic() + PATIENCE_S
        while b"\0" not in self._begun:
            readable, _, _ = select.select([self._reading], [], [], max(0.0, until_s - time.monotonic()))
            part = os.read(self._reading, 1 << 20) if readable else b""
            assert part, "the browser has ended, or says nothing"
            self._begun += part
        whole, _, self._begun = self._begun.partition(b"\0")
        message: dict[str, Any] = json.loads(whole)
        return message


@contextlib.contextmanager
def browsing(home: Path) -> Iterator[Browser]:
    """A browser with a fresh profile below `home`."""
    with contextlib.ExitStack() as stack:

        def pipe() -> tuple[int, int]:
            ends = []
            for end in os.pipe():
                ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _LOWEST_DESCRIPTOR))
                os.close(end)
                stack.callback(os.close, ends[-1])
            return ends[0], ends[1]

        (commands, writing), (reading, answers) = pipe(), pipe()
        shell = f'exec "$@" 3<&{commands} 4>&{answers}'
        command = [*_FLAGS, f"--user-data-dir={home / 'profile'}", "about:blank"]
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", str(CHROMIUM), *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(commands, answers),
        )
        try:
            yield Browser(reading, writing)
        finally:
            os.write(writing, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            try:
                process.wait(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=PATIENCE_S)
                raise
