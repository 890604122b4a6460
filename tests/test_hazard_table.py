"""The hazard table tells the truth: nothing measured, nothing met; and nothing passes for the whole suite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hazards import ROWS, Figure, Measured, table
from patience import PATIENCE_S

ROOT = Path(__file__).parents[1]
SUITE = """
import pytest

@pytest.mark.hazard_row("leak")
def test_measures(hazard):
    hazard("leak", figure="RSS +1.5 MB", bar="< 4 MB", met=True)

@pytest.mark.hazard_row("body-limit")
def test_is_below_its_bar(hazard):
    hazard("body-limit", figure="RSS +9 MB", bar="< 2 MB", met=False)

@pytest.mark.hazard_row("nan-model")
@pytest.mark.parametrize("n", range(3))
def test_only_holds(n): pass

@pytest.mark.hazard_row("odd-names")
def test_dies_before_it_measures(hazard): assert False

@pytest.mark.hazard_row("cpu-quota")
def test_is_skipped(hazard): pytest.skip("no taskset here")
"""


def run(directory: Path, source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A suite of its own, whose testpaths are its directory: run without arguments, it is run whole."""
    (directory / "test_suite.py").write_text(source)
    (directory / "pytest.ini").write_text("[pytest]\ntestpaths = .\n")
    path = os.pathsep.join([str(ROOT / "tests" / "support"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "hazard_plugin", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def row(output: str, name: str) -> str:
    (line,) = (line for line in output.splitlines() if line[2:].startswith(name + " "))
    return line


def test_every_row_is_printed_with_its_figure_beside_its_bar(tmp_path: Path) -> None:
    done = run(tmp_path, SUITE, "--hazard-table")
    for each in ROWS:
        assert row(done.stdout, each.id)
    assert row(done.stdout, "leak").split()[:6] == ["✓", "leak", "RSS", "+1.5", "MB", "<"]
    assert row(done.stdout, "nan-model").startswith("✓")
    assert "held in 3 of 3 tests" in row(done.stdout, "nan-model")
    assert row(done.stdout, "body-limit").startswith("✗")
    assert "RSS +9 MB" in row(done.stdout, "body-limit")
    assert "FAILED" in row(done.stdout, "odd-names")
    assert "not measured (Skipped: no taskset" in row(done.stdout, "cpu-quota")
    assert "not measured" in row(done.stdout, "overload")
    assert f"2 of {len(ROWS)} rows met" in done.stdout
    assert "body-limit: expected < 2 MB, got RSS +9 MB" in done.stdout


def test_a_row_that_nobody_measured_fails_the_whole_suite_and_no_selection(tmp_path: Path) -> None:
    good = SUITE.partition('@pytest.mark.hazard_row("body-limit")')[0]
    assert run(tmp_path, good, "--hazard-table").returncode == 1
    for narrowed in (("--hazard-table", "-k", "measures"), ("--hazard-table", "test_suite.py"), ()):
        done = run(tmp_path, good, *narrowed)
        assert done.returncode == 0, done.stdout
        assert row(done.stdout, "leak")
    assert "overload" not in done.stdout


def test_every_row_measured_and_met_passes(tmp_path: Path) -> None:
    source = (
        "import pytest, hazards\n"
        "@pytest.mark.parametrize('row', [row.id for row in hazards.ROWS])\n"
        "def test_all(row, hazard): hazard(row, figure='none', bar='none', met=True)\n"
    )
    done = run(tmp_path, source, "--hazard-table")
    assert done.returncode == 0, done.stdout
    assert f"{len(ROWS)} of {len(ROWS)} rows met" in done.stdout


def test_names_that_are_no_rows_are_refused(tmp_path: Path) -> None:
    wrong = 'import pytest\n@pytest.mark.hazard_row("leek")\ndef test_one(): pass\n'
    assert "'leek' is no row" in (done := run(tmp_path, wrong)).stdout + done.stderr
    assert done.returncode != 0


def test_one_figure_below_its_bar_spoils_its_row() -> None:
    good, bad = Figure("1", "2", True), Figure("3", "2", False)
    assert Measured(figures=[good]).met
    assert not Measured(figures=[good, bad]).met
    assert not Measured(figures=[good], failed=["test"]).met
    assert not Measured(skipped=["why"]).met
    assert Measured(figures=[good], skipped=["why"]).met


@pytest.mark.parametrize("width", [120, 180])
def test_long_figures_wrap_inside_their_column(width: int) -> None:
    figures = [Figure("figure " * 40, "bar " * 40, True)]
    lines = [line for line, _ in table({"leak": Measured(figures=figures, took_s=3)}, width=width)]
    assert max(map(len, lines)) <= width
    assert sum(line.count("figure") for line in lines) == 40
