"""The page at /docs, as a browser shows it: short, complete and without other servers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from nginx import needs_nginx, nginx
from patience import PATIENCE_S
from server_process import serving

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)")


def page_in_a_browser(url: str, home: Path) -> str:
    """The elements of a page once its scripts have run."""
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={home / 'profile'}", "--virtual-time-budget=30000", "--dump-dom", url),
        ],
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return done.stdout.decode()


@needs_nginx
def test_operation_shows_its_answer_and_one_line_of_problems(tiny_store: Path, tmp_path: Path) -> None:
    """Twelve problems, each with headers and an example, made 12,000 pixels of one operation."""
    with (
        serving(tiny_store, tmp_path / "log") as running,
        nginx(tmp_path, f"location /vae/ {{ proxy_pass http://127.0.0.1:{running.port}/; }}") as public,
    ):
        page = page_in_a_browser(f"{public}/vae/docs#/model/sample_get", tmp_path)
        assert running.stop() == 0
    (responses,) = re.findall(
        r'<table aria-live="polite" class="responses-table".*?</table>', page, re.DOTALL
    )
    assert re.findall(r'data-code="(\w+)"', responses) == ["200"]
    (problems,) = re.findall(r'<details class="problems">(.*?)</details>', page, re.DOTALL)
    (summary,) = re.findall(r"<summary>(.*?)</summary>", problems)
    assert re.fullmatch(r"Problems: 400, 401, 404, .*, 504", summary)
    statuses = re.findall(r'<td class="response-col_status">(\d+)</td>', problems)
    assert summary == f"Problems: {', '.join(statuses)}"
    assert "<code>too-busy</code>" in problems
    assert "request_id" not in problems, "an example of each is not shown"
    assert "mnist@" in responses, "the example of the answer"
    assert '"string"' not in responses
