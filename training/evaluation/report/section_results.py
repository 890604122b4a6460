"""What a section of a report finds: figures with protocols, pictures, and what a reader must be warned of.

Knows words, numbers and bytes. Knows nothing of models, arrays or how anything is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model_store.manifest import FiniteFloat, Text
from training.evaluation.figures import Evaluation

Better = Literal["higher", "lower", "neither"]


class Record(BaseModel):
    """Frozen, no unknown keys, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Figure(Record):
    """A number and how it was measured, as in a manifest, but of any unit."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    value: FiniteFloat
    unit: Annotated[str, Field(max_length=60)]
    """`share` is a part of a whole, 0 to 1; other units are words."""
    protocol: Text
    better: Better = "neither"
    """Which way it goes as a model improves; `neither` where that cannot be said."""

    def __str__(self) -> str:
        if self.unit == "share":
            return f"{100.0 * self.value:.2f} %"
        if self.unit == "units":
            return f"{self.value:,.0f}"
        return f"{self.value:.4f}" if self.unit == "pixel value" else f"{self.value:.2f}"


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    name: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Findings:
    """One section."""

    key: str
    title: str
    about: str
    """What the section asks, in a sentence or two."""
    figures: tuple[Figure, ...] = ()
    pictures: tuple[Picture, ...] = ()
    series: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Numbers behind the pictures, for programs: such as the KL of each latent."""
    alarms: tuple[str, ...] = ()


class SectionRecord(Record):
    """A section as `report.json` holds it; pictures are in the page."""

    title: str
    figures: tuple[Figure, ...]
    series: dict[str, tuple[FiniteFloat, ...]]


class Report(Record):
    """`report.json`: everything that was measured of one model."""

    subject: str
    """`runs/quick` or `mnist@1`."""
    kind: Literal["vae", "ae"]
    measured_through: str
    data: str
    seed: int
    judge: str | None
    """The classifier that looked at images; None where there was none."""
    threads: int
    took_s: Annotated[float, Field(ge=0.0)]
    """On the clock."""
    cpu_s: Annotated[float, Field(ge=0.0)]
    """Of processor time, which other work on the machine does not lengthen."""
    evaluation: Evaluation
    """The figures that an export puts into the manifest."""
    sections: dict[str, SectionRecord]
    alarms: tuple[str, ...]

    def figure(self, name: str, *, section: str | None = None) -> Figure | None:
        """The figure of this name, or None; of several priors the first, which all models of a kind have.

        Args:
            name: As the section calls it.
            section: The key of the only one to look in.
        """
        for key, record in self.sections.items():
            for figure in record.figures:
                if figure.name == name and section in (None, key):
                    return figure
        return None

    def to_markdown(self) -> str:
        """The figures of every section as tables, each with its protocol, and the alarms below them."""
        lines: list[str] = []
        for section in self.sections.values():
            if section.figures:
                lines += [f"\n## {section.title}\n", "| figure | value | unit | measured on |"]
                lines += ["| --- | ---: | --- | --- |"]
                lines += [
                    f"| {figure.name} | {figure} | {figure.unit} | {figure.protocol} |"
                    for figure in section.figures
                ]
        lines += [f"\n**Warning:** {alarm}" for alarm in self.alarms]
        return "\n".join(lines).lstrip("\n") + "\n"
