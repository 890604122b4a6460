"""Figures on a terminal and in a pipe."""

from __future__ import annotations

import io
import os
import sys

import pytest

from model_store import Metric
from training.commands.tables import print_comparison, print_evaluation, print_report
from training.evaluation.figures import Evaluation
from training.evaluation.report.section_results import Figure, Report, SectionRecord

WARNING = "dead units: 3 of 16 latents hardly depend on the image and are useless. Train with fewer latents."
PROTOCOL = "all 10,000 images of mnist test, dynamic binarisation, seed 0; one posterior sample an image"


class Stream(io.TextIOWrapper):
    """Standard output that is, or is no, terminal."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="backslashreplace", newline="")
        self._is_terminal = terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def fileno(self) -> int:
        raise OSError("no descriptor")

    @property
    def shown(self) -> str:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode(self.encoding)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch):
    """Prints to a stream of this kind, and returns the text."""

    def printed_by(
        call, *, terminal: bool, columns: int = 80, encoding: str = "utf-8", **environment: str
    ) -> str:
        for name, value in {"TERM": "xterm-256color", "COLUMNS": str(columns), **environment}.items():
            monkeypatch.setenv(name, value)
        stream = Stream(terminal=terminal, encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            call()
        return stream.shown

    return printed_by


def evaluation() -> Evaluation:
    return Evaluation(
        metrics=(
            Metric(name="negative_elbo", value=95.712, unit="nats per image", protocol=PROTOCOL),
            Metric(name="reconstruction_rmse", value=0.0913, unit="pixel value", protocol=PROTOCOL),
        ),
        kl_per_dimension=(1.0,),
        warnings=(WARNING,),
        weights_sha256="0" * 64,
    )


def report(subject: str, *, judged: bool = True) -> Report:
    figures = [
        Figure(name="negative_elbo", value=95.712, unit="nats per image", protocol=PROTOCOL, better="lower"),
        Figure(name="linear_probe_accuracy", value=0.9, unit="share", protocol=PROTOCOL, better="higher"),
    ]
    return Report(
        subject=subject,
        kind="vae",
        measured_through="torch",
        data="mnist",
        seed=0,
        judge=None,
        threads=1,
        took_s=1.0,
        cpu_s=1.0,
        evaluation=evaluation(),
        sections={
            "likelihood": SectionRecord(title="Likelihood", figures=tuple(figures[: 1 + judged]), series={})
        },
        alarms=(WARNING,),
    )


def test_a_pipe_gets_aligned_lines_without_colour_markdown_or_spaces_at_the_end(printed) -> None:
    text = printed(lambda: print_report(report("runs/quick")), terminal=False)
    assert text == (
        "Likelihood\n"
        "figure                   value  unit\n"
        "negative_elbo            95.71  nats per image, lower is better\n"
        "linear_probe_accuracy  90.00 %  higher is better\n"
        f"\nWarning: {WARNING}\n"
    )
    assert all(line == line.rstrip() for line in text.splitlines())
    assert printed(lambda: print_report(report("r")), terminal=False, columns=30, FORCE_COLOR="1") == text


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_terminal_gets_lines_that_fit_it(columns: int, printed) -> None:
    text = printed(lambda: print_report(report("runs/quick")), terminal=True, columns=columns, NO_COLOR="1")
    plain = text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(map(len, plain.splitlines())) <= columns
    assert "negative_elbo" in plain
    assert "95.71" in plain
    assert "─" in plain
    words = " ".join(plain.split())
    assert f"Warning: {WARNING}" in words


def test_no_color_leaves_no_colour_and_a_dumb_terminal_no_sequence_at_all(printed) -> None:
    plain = printed(lambda: print_evaluation(evaluation()), terminal=True, TERM="dumb")
    assert "\x1b" not in plain
    no_color = printed(lambda: print_evaluation(evaluation()), terminal=True, NO_COLOR="1")
    assert "\x1b[3" not in no_color


def test_figures_for_an_export_are_one_table(printed) -> None:
    text = printed(lambda: print_evaluation(evaluation()), terminal=False)
    assert text.startswith("Figures\nfigure ")
    assert "reconstruction_rmse  0.0913  pixel value\n" in text
    assert text.endswith(f"\n\nWarning: {WARNING}\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_an_encoding_without_lines_and_dashes_gets_others(terminal: bool, printed) -> None:
    reports = [report("runs/a"), report("runs/b", judged=False)]
    text = printed(lambda: print_comparison(reports), terminal=terminal, encoding="latin-1", TERM="dumb")
    assert "\\u" not in text
    assert "–" not in text
    row = next(line for line in text.splitlines() if line.strip("| ").startswith("linear_probe_accuracy"))
    assert row.replace("|", " ").split()[:4] == ["linear_probe_accuracy", "90.00", "%", "-"]


def test_a_comparison_has_a_column_for_each_model_and_names_that_look_like_markup(printed) -> None:
    reports = [report("runs/[bold]a"), report("mnist@4")]
    text = printed(lambda: print_comparison(reports), terminal=False)
    assert "The latent space is hard to read\n" in text
    head = next(line for line in text.splitlines() if line.startswith("figure "))
    assert head.split() == ["figure", "runs/[bold]a", "mnist@4", "unit"]
    assert f"Warning, mnist@4: {WARNING}" in text


def test_a_report_without_figures_or_warnings_is_no_error(printed) -> None:
    empty = report("r").model_copy(update={"sections": {}, "alarms": ()})
    assert printed(lambda: print_report(empty), terminal=False).strip() == ""
    assert os.linesep == "\n"
