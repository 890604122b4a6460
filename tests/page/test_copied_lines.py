"""The lines of "Copy as curl" and "Copy as Python" are run as they are: they work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from playground import PANELS, Play

pytestmark = pytest.mark.page

CLIENT = Path(__file__).parents[2] / "clients/python"
LIMIT_S = 240


def run(command: list[str], text: str, folder: Path) -> str:
    """What a program prints for a script on its standard input."""
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    done = subprocess.run(
        command,
        check=False,
        input=text,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return done.stdout


def save_body(play: Play, folder: Path) -> None:
    """A body that is too long for a line is a file to save first."""
    link = play.page.locator("#panel > section:not([hidden]) details.copy a.button")
    if link.is_visible():
        with play.page.expect_download() as waiting:
            link.click()
        waiting.value.save_as(folder / waiting.value.suggested_filename)


@pytest.mark.parametrize("panel", PANELS)
def test_every_copied_line_works(play: Play, panel: str, tmp_path: Path) -> None:
    play.open("samples", model="mnist-2d@1", seed="7")
    # A picture for the panels that need one, by the way that a person takes.
    play.page.get_by_role("button", name="To Noise").click()
    play.settle()
    play.show(panel)
    section = "#panel > section:not([hidden])"
    if panel == "map":
        play.page.locator(f"{section} canvas[role=application]").press("ArrowRight")
        play.settle()
    play.page.locator(f"{section} details.copy summary").click()
    choice = play.page.locator(f"{section} details.copy select")
    operations = choice.locator("option").evaluate_all("(all) => all.map((each) => each.value)") or [""]
    for operation in operations:
        if operation:
            choice.select_option(operation)
        folder = tmp_path / (operation or "one")
        folder.mkdir()
        lines = {}
        for language in ("curl", "Python"):
            play.page.locator(section).get_by_role("button", name=f"Copy as {language}").click()
            play.eventually(f"document.querySelector('{section} code').textContent !== ''")
            play.page.wait_for_timeout(50)
            lines[language] = play.page.locator(f"{section} details.copy code").inner_text()
        assert lines["curl"] != lines["Python"]
        save_body(play, folder)
        # --fail: an answer that is a problem is an error of the line.
        printed = run(
            ["bash", "-e", "-o", "pipefail"],
            lines["curl"].replace("curl ", "curl -sS --fail-with-body ", 1),
            folder,
        )
        answers = [
            file
            for file in folder.iterdir()
            if file.suffix in {".npz", ".npy", ".png"} and file.name != "images.npy"
        ]
        assert printed or any(file.stat().st_size > 100 for file in answers)
        for file in answers:
            if file.name != "picture.png":
                file.unlink()
        printed = run([sys.executable, "-W", "error", "-"], lines["Python"], folder)
        assert printed or [file for file in folder.iterdir() if file.stat().st_size > 100]
    assert play.record.console == []
