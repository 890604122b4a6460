"""Figures on standard output as tables for people: on a terminal by its width, in a pipe as plain text.

Knows reports, figures and rich. The protocol of each figure, a sentence or more, is in the Markdown file of
the same report. Knows nothing of measurements.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.commands.progress import can_print, is_terminal, width_of
from training.evaluation.figures import Evaluation, format_value
from training.evaluation.report.comparison import compared
from training.evaluation.report.page import unit_of
from training.evaluation.report.section_results import Report

#: Wider than any line: a pipe has no width, and its reader may search it by lines.
_UNBOUNDED = 10_000
_Row = Sequence[str]


def print_report(report: Report) -> None:
    """The figures of every section, and the warnings below them."""
    tables = [
        (section.title, ("figure", "value", "unit"), [(f.name, str(f), unit_of(f)) for f in section.figures])
        for section in report.sections.values()
        if section.figures
    ]
    _print(tables, [f"Warning: {alarm}" for alarm in report.alarms])


def print_evaluation(evaluation: Evaluation) -> None:
    """The figures for an export, and the warnings below them."""
    rows = [(metric.name, format_value(metric), metric.unit) for metric in evaluation.metrics]
    table = ("Figures", ("figure", "value", "unit"), rows)
    _print([table], [f"Warning: {warning}" for warning in evaluation.warnings])


def print_comparison(reports: Sequence[Report]) -> None:
    """The figures of every complaint, with a column for each model, and the warnings of each model."""
    names = [report.subject for report in reports]
    tables = [
        (complaint.title, ("figure", *names, "unit"), [(name, *cells, unit) for name, cells, unit in rows])
        for complaint, rows in compared(reports)
    ]
    alarms = [f"Warning, {report.subject}: {alarm}" for report in reports for alarm in report.alarms]
    _print(tables, alarms)


def _print(tables: Iterable[tuple[str, _Row, Sequence[_Row]]], warnings: Sequence[str]) -> None:
    """Everything as one text, so that a reader who leaves early ends the command once."""
    terminal = is_terminal(sys.stdout)
    width = width_of(sys.stdout) if terminal else _UNBOUNDED
    console = Console(
        file=sys.stdout,
        force_terminal=terminal,
        width=width,
        highlight=False,
        legacy_windows=False,
    )
    with console.capture() as captured:
        for number, (title, head, rows) in enumerate(tables):
            console.print(*([] if number == 0 else [""]), Text(title, style="bold"), sep="\n")
            console.print(_table(head, rows, ruled=terminal))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    while lines and not lines[-1]:
        lines.pop()  # rich ends a ruled table with an empty line
    lines += _paragraphs(warnings, width)
    print("\n".join(lines), flush=True)  # noqa: T201  # this is what the commands are for


def _table(head: _Row, rows: Sequence[_Row], *, ruled: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD if ruled else None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(head):
        is_last = number == len(head) - 1
        table.add_column(
            Text(name),
            justify="left" if is_last or number == 0 else "right",
            no_wrap=not is_last,
            overflow="fold" if is_last else "crop",
        )
    for row in rows:
        # As text, because names of directories may contain rich's markup.
        table.add_row(*(Text(_plain(cell)) for cell in row))
    return table


def _plain(cell: str) -> str:
    return cell if can_print(cell, sys.stdout) else cell.replace("–", "-")


def _paragraphs(texts: Sequence[str], width: int) -> Iterator[str]:
    for text in texts:
        yield ""
        yield from textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
