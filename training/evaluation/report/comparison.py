"""Models side by side: each complaint about autoencoders with an image and numbers, for each model.

Knows reports, findings and HTML. Knows nothing of models or of the measurements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from training.evaluation.report.page import alarms_of, document, image_of, unit_of
from training.evaluation.report.section_results import Figure, Picture, Record, Report, SectionResult

Measured = tuple[Report, tuple[SectionResult, ...]]


@dataclass(frozen=True)
class Complaint:
    """A complaint about autoencoders, and the figures and plots that show whether it holds."""

    title: str
    asks: str
    figures: tuple[str, ...]
    pictures: tuple[str, ...]
    """Names of plots; a name that ends in `_` stands for the first plot with this prefix."""
    sections: tuple[str, ...] = ()
    """The only sections to search, of which a model has at most one; left out if no model has one."""


_SAMPLES = ("readable_share", "sure_share", "frechet_distance", "frechet_floor", "density", "coverage")
COMPLAINTS = (
    Complaint(
        "The latent space is hard to read",
        "Are similar images close together? A straight line should separate the labels, and the "
        "neighbours of a code should share its label.",
        ("linear_probe_accuracy", "neighbour_agreement"),
        ("scatter",),
    ),
    Complaint(
        "The scatter is uneven and has holes",
        "Samples come from a density over the whole space. In regions with mass and without training "
        "images, the decoder was never trained.",
        ("scatter_evenness", "scatter_holes"),
        ("manifold",),
    ),
    Complaint(
        "Generated images are poor",
        "New images from the prior; for an autoencoder, which has no prior, from the Gaussian of its codes.",
        _SAMPLES,
        ("samples_", "least_readable", "label_histogram"),
    ),
    Complaint(
        "Generated images are poor: from a fitted or learned prior",
        "The same from a density that was fitted to the codes of the training images after training, or "
        "learned with the model: it should avoid regions without images.",
        _SAMPLES,
        ("samples_", "least_readable", "label_histogram"),
        sections=("samples_fitted", "samples_learned"),
    ),
    Complaint(
        "Samples of a requested label are impossible",
        "With a prior for each label, a sample should have the label of its prior.",
        ("asked_label_share", *_SAMPLES),
        ("samples_", "least_readable"),
        sections=("samples_fitted_by_label", "samples_learned_by_label"),
    ),
    Complaint(
        "Latent space is not continuous",
        "A path between two images should change a little at every step and pass through images. Its ends "
        "are codes of real images, so this hides the faults of samples: read the two together.",
        ("largest_step_lerp", "largest_step_slerp", "readable_between_lerp", "readable_between_slerp"),
        ("interpolations",),
    ),
    Complaint(
        "An image is a point, not a region",
        "The neighbourhood of a code should decode to the same digit.",
        ("displaced_same_digit", "mutual_information"),
        ("displaced",),
    ),
    Complaint(
        "The cost of regions",
        "Noise in the latents makes reconstructions less exact, and yields a likelihood of images.",
        ("reconstruction_rmse", "same_digit", "reconstruction_nll", "kl", "negative_elbo", "nll_iw"),
        ("reconstructions",),
    ),
)


class Comparison(Record):
    """`compare.json`: the reports, in the order of the command line."""

    reports: tuple[Report, ...]


def comparison_page(measured: Sequence[Measured]) -> str:
    """One page for several models."""
    names = " and ".join(report.subject for report, _ in measured)
    return document(f"Comparison of {names}", _body(measured))


def comparison_markdown(reports: Sequence[Report]) -> str:
    """The figures of every complaint as tables, a column for each model."""
    lines: list[str] = []
    for complaint, rows in compared(reports):
        lines += [f"\n## {complaint.title}\n", f"| figure | {' | '.join(r.subject for r in reports)} | |"]
        lines.append(f"| --- |{' ---: |' * len(reports)} --- |")
        lines += [f"| {name} | {' | '.join(cells)} | {unit} |" for name, cells, unit in rows]
    lines += [f"\n**Warning**, {report.subject}: {alarm}" for report in reports for alarm in report.alarms]
    return "\n".join(lines).lstrip("\n") + "\n"


def compared(reports: Sequence[Report]) -> Iterator[tuple[Complaint, list[tuple[str, list[str], str]]]]:
    """Each complaint with its figures: name, value of each model, unit and better direction."""
    for complaint in COMPLAINTS:
        rows = [(name, _cells(figures), _better(figures)) for name, figures in _rows(complaint, reports)]
        if rows:
            yield complaint, rows


def _body(measured: Sequence[Measured]) -> Iterator[str]:
    reports = [report for report, _ in measured]
    for report in reports:
        yield (
            f"<p><strong>{escape(report.subject)}</strong>: "
            f"{'autoencoder' if report.kind == 'ae' else 'variational autoencoder'}, "
            f"{escape(report.measured_through)}, seed {report.seed}, on {escape(report.data)}.</p>"
        )
    judge = reports[0].judge
    yield (
        f"<p>The judge is {escape(judge)}.</p>"
        if judge
        else (
            "<p>No judge classified the images: assess by eye whether samples are recognisable. Make a "
            "judge with <code>vae-train judge</code> and use it with <code>--judge</code>.</p>"
        )
    )
    for report in reports:
        yield from alarms_of(report.alarms, subject=report.subject)
    for complaint in COMPLAINTS:
        if complaint.sections and not any(set(complaint.sections) & set(r.sections) for r in reports):
            continue
        yield f"<h2>{escape(complaint.title)}</h2><p>{escape(complaint.asks)}</p>"
        rows = list(_rows(complaint, reports))
        if rows:
            yield _table(rows, reports)
        for name in complaint.pictures:
            yield from _pictures(name, complaint.sections, measured)


def _rows(complaint: Complaint, reports: Sequence[Report]) -> Iterator[tuple[str, list[Figure | None]]]:
    """Figures by name, one of each model, without those that no model has."""
    for name in complaint.figures:
        figures = [report.figure(name, sections=complaint.sections) for report in reports]
        if any(figures):
            yield name, figures


def _table(rows: Sequence[tuple[str, list[Figure | None]]], reports: Sequence[Report]) -> str:
    head = "".join(f'<th class="number">{escape(report.subject)}</th>' for report in reports)
    lines = []
    for name, figures in rows:
        best = _best(figures)
        cells = "".join(
            f'<td class="number{" best" if number in best else ""}">{escape(text)}</td>'
            for number, text in enumerate(_cells(figures))
        )
        protocols = "<br>".join(dict.fromkeys(escape(figure.protocol) for figure in figures if figure))
        lines.append(
            f'<tr><td class="name">{escape(name.replace("_", " "))}</td>{cells}'
            f"<td>{escape(_better(figures))}</td>"
            f'<td class="protocol">{protocols}</td></tr>'
        )
    return (
        f'<div class="wide"><table><tr><th>figure</th>{head}<th></th><th>measured on</th></tr>'
        f"{''.join(lines)}</table></div>"
    )


def _cells(figures: Sequence[Figure | None]) -> list[str]:
    return ["–" if figure is None else str(figure) for figure in figures]


def _better(figures: Sequence[Figure | None]) -> str:
    return unit_of(next(figure for figure in figures if figure is not None))


def _best(figures: Sequence[Figure | None]) -> set[int]:
    """Index of the best value, if all models have one, they differ, and the better direction is known."""
    values = [figure.value for figure in figures if figure is not None]
    first = figures[0]
    if first is None or len(values) < len(figures) or first.better == "neither" or len(set(values)) == 1:
        return set()
    best = max(values) if first.better == "higher" else min(values)
    return {number for number, value in enumerate(values) if value == best}


def _pictures(name: str, sections: tuple[str, ...], measured: Sequence[Measured]) -> Iterator[str]:
    shown = [
        image_of(picture, caption=f"{report.subject}: {picture.caption}")
        for report, findings in measured
        if (picture := _picture(name, [each for each in findings if not sections or each.key in sections]))
        is not None
    ]
    if shown:
        yield f'<div class="beside">{"".join(shown)}</div>'


def _picture(name: str, findings: Sequence[SectionResult]) -> Picture | None:
    for section in findings:
        for picture in section.pictures:
            if picture.name == name or (name.endswith("_") and picture.name.startswith(name)):
                return picture
    return None
