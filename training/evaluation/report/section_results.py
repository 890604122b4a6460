"""The results of a section: figures with protocols, plots, and warnings for the reader.

Knows words, numbers and bytes. Knows nothing of models, arrays or measurements.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model_store.strict_model import FiniteFloat, Text
from training.evaluation.figures import Evaluation

Better = Literal["higher", "lower", "neither"]


class Record(BaseModel):
    """Frozen, no unknown keys, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Figure(Record):
    """A number and its protocol, as in a manifest, but of any unit."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    value: FiniteFloat
    unit: Annotated[str, Field(max_length=60)]
    """`share` is a part of a whole, 0 to 1; other units are words."""
    protocol: Text
    better: Better = "neither"
    """The direction of improvement; `neither` if there is none."""

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
class SectionResult:
    """One section."""

    key: str
    title: str
    about: str
    """The question of the section, in a sentence or two."""
    figures: tuple[Figure, ...] = ()
    pictures: tuple[Picture, ...] = ()
    series: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Numbers behind the plots, for programs: such as the KL of each latent."""
    alarms: tuple[str, ...] = ()


class SectionRecord(Record):
    """A section in `report.json`; its plots are in the page."""

    title: str
    figures: tuple[Figure, ...]
    series: dict[str, tuple[FiniteFloat, ...]]


class Report(Record):
    """`report.json`: all measurements of one model."""

    subject: str
    """`runs/quick` or `mnist@1`."""
    kind: Literal["vae", "ae"]
    measured_through: str
    data: str
    seed: int
    judge: str | None
    """The classifier of the images; None without one."""
    threads: int
    took_s: Annotated[float, Field(ge=0.0)]
    """Elapsed time."""
    cpu_s: Annotated[float, Field(ge=0.0)]
    """Processor time, which other work on the machine does not lengthen."""
    evaluation: Evaluation
    """The figures that an export writes into the manifest."""
    sections: dict[str, SectionRecord]
    alarms: tuple[str, ...]

    def figure(self, name: str, *, sections: Collection[str] = ()) -> Figure | None:
        """The figure of this name, or None; of several priors the first, which all models of a kind have.

        Args:
            name: Its name in the section.
            sections: Keys of the only sections to search; empty: all.
        """
        for key, record in self.sections.items():
            for figure in record.figures:
                if figure.name == name and (not sections or key in sections):
                    return figure
        return None

    def to_markdown(self) -> str:
        """The figures of every section as tables, each with its protocol, and the warnings below them."""
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
