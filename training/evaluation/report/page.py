"""A report as one self-contained HTML page: no script, no request, images inside.

Knows figures, plots and HTML. Knows nothing of models. All text from outside is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from training.evaluation.report.section_results import Figure, Picture, Report, SectionResult

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --alarm: #c0392b; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 74rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .3rem 0 .8rem; max-width: 52rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.protocol { font-size: .82rem; opacity: .8; } td.name { white-space: nowrap; }
td.best { font-weight: 700; }
.alarm { border-left: 4px solid var(--alarm); background: var(--soft); }
.alarm { padding: .5rem .8rem; margin: .5rem 0; }
figure { margin: 1rem 0; }
figcaption { font-size: .86rem; opacity: .85; max-width: 52rem; margin-top: .3rem; }
img { max-width: 100%; height: auto; background: #fff; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem; }
.beside figure { margin: 0; }
"""


def page_of(report: Report, findings: Sequence[SectionResult]) -> str:
    """The page of one model."""
    return document(f"Report on {report.subject}", _body(report, findings))


def document(title: str, body: Iterable[str]) -> str:
    """A whole page around the parts of its body, which are HTML already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def alarms_of(alarms: Sequence[str], *, subject: str = "") -> Iterator[str]:
    """Each warning as a box, with its `subject` if a page shows several."""
    of = f", {escape(subject)}" if subject else ""
    for alarm in alarms:
        yield f'<div class="alarm"><strong>Alarm{of}:</strong> {escape(alarm)}</div>'


def image_of(picture: Picture, *, caption: str | None = None) -> str:
    """An image inside the page, with its caption or another."""
    data = base64.b64encode(picture.png).decode("ascii")
    text = escape(picture.caption if caption is None else caption)
    return (
        f'<figure><img alt="{escape(picture.name)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _body(report: Report, findings: Sequence[SectionResult]) -> Iterator[str]:
    kind = {"vae": "A variational autoencoder", "ae": "A deterministic autoencoder"}[report.kind]
    yield (
        f"<p>{kind}, measured through {escape(report.measured_through)}, seed {report.seed}, on "
        f"{escape(report.data)}. It took {report.took_s:.0f} s on "
        f"{report.threads} thread{'s' if report.threads > 1 else ''}, {report.cpu_s:.0f} s of processor "
        "time.</p>"
    )
    yield f"<p>{_judge(report)}</p>"
    yield from alarms_of(report.alarms)
    for section in findings:
        yield f'<h2 id="{escape(section.key)}">{escape(section.title)}</h2><p>{escape(section.about)}</p>'
        if section.figures:
            yield _table(section.figures)
        yield from map(image_of, section.pictures)


def _judge(report: Report) -> str:
    if report.judge is None:
        return (
            "No judge classified the images, so the report contains no figures on recognisability. Make a "
            "judge with <code>vae-train judge --data DIR --out DIR</code> and use it with <code>--judge "
            "DIR</code>."
        )
    return f"The judge is {escape(report.judge)}. Its figures compare only with those of the same judge."


def _table(figures: Sequence[Figure]) -> str:
    rows = "".join(
        f'<tr><td class="name">{escape(figure.name.replace("_", " "))}</td>'
        f'<td class="number">{escape(str(figure))}</td>'
        f'<td>{escape(unit_of(figure))}</td><td class="protocol">{escape(figure.protocol)}</td></tr>'
        for figure in figures
    )
    head = '<tr><th>figure</th><th class="number">value</th><th>unit</th><th>measured on</th></tr>'
    return f'<div class="wide"><table>{head}{rows}</table></div>'


def unit_of(figure: Figure) -> str:
    """The unit, unless the value shows it, and the better direction."""
    words = ["" if figure.unit == "share" else figure.unit]
    words += ["" if figure.better == "neither" else f"{figure.better} is better"]
    return ", ".join(filter(None, words))
