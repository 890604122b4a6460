"""What can be measured: a run directory or a published version, behind one face.

Knows how each is named, opened and described. Knows nothing of what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from model_store import InvalidReference, ModelStore, PublishedModel
from training.config import EvaluationConfig
from training.errors import RunDirectoryError
from training.models import LatentImageModel
from training.published import published_model
from training.run_directory import load_run

#: Where reports of published versions go, below the working directory: a version itself never changes.
REPORTS = Path("reports")


@dataclass(frozen=True, eq=False)
class Subject:
    """A model to measure, and what is known of where it comes from."""

    label: str
    """As a reader would call it: `runs/quick`, `mnist@1`."""
    measured_through: str
    """What computes: torch on a run's weights, or onnxruntime on the published files."""
    model: LatentImageModel
    settings: EvaluationConfig
    """K, images and seed, as its recipe states them."""
    trained_on: str
    """Fingerprint of the training images."""
    run: Path | None
    """Its run directory; None for a published version."""
    folder: Path
    """Where its report goes when nobody says."""


def open_subject(text: str, *, store: ModelStore, threads: int = 1) -> Subject:
    """Open what a user named: an existing directory is a run, anything else `name`, `name@3` or `name@alias`.

    Args:
        text: As typed.
        store: Where published versions are.
        threads: Of onnxruntime; torch's are set for the process.

    Raises:
        RunDirectoryError: Neither a run directory nor written like a version, or a run without weights.
        StoreError: There is no such version, or it cannot be trusted.
        ExportError: onnxruntime refuses a published graph.
    """
    if Path(text).is_dir():
        return _run(Path(text))
    try:
        published = store.open(text)
    except InvalidReference as error:
        raise RunDirectoryError(
            f"{text}: expected a run directory or a published version, got neither. Give the --out of an "
            f"earlier `vae-train fit`, or name, name@3 or name@alias of a model in {store.root}."
        ) from error
    return _version(published, threads)


def _run(run_dir: Path) -> Subject:
    run = load_run(run_dir)
    return Subject(
        label=str(run_dir),
        measured_through=f"torch {metadata.version('torch')}, float32, on the averaged weights of the run",
        model=run.model,
        settings=run.config.evaluation,
        trained_on=run.provenance.data_fingerprint,
        run=run_dir,
        folder=run_dir,
    )


def _version(published: PublishedModel, threads: int) -> Subject:
    manifest = published.manifest
    return Subject(
        label=str(published.id),
        measured_through=f"onnxruntime {metadata.version('onnxruntime')} on the published ONNX files",
        model=published_model(published, threads=threads).eval(),
        settings=_settings(manifest.provenance.recipe.get("evaluation")),
        trained_on=manifest.provenance.data_fingerprint,
        run=None,
        folder=REPORTS / f"{published.id.name}-{published.id.version}",
    )


def _settings(stated: object) -> EvaluationConfig:
    """The recipe's, where the manifest carries one of this package; other publishers state what they like."""
    try:
        return EvaluationConfig.model_validate(stated)
    except ValidationError:
        return EvaluationConfig()
