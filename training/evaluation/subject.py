"""The model under test: a run directory or a published version, with one interface.

Knows the name, the files and the description of each kind. Knows nothing of the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from model_store import FittedPrior, InvalidReference, ModelStore, PriorMixtures, PublishedModel
from model_store.manifest import PRIOR_FILE
from model_store.prior import GaussianMixture
from training.config.sections import DataConfig, EvaluationConfig, Section
from training.errors import RunDirectoryError
from training.evaluation.figures import weights_sha256
from training.graphs.published_model import published_model
from training.models import LatentImageModel
from training.priors.files import fit_again, read_prior
from training.runs.origin import training_of
from training.runs.run_directory import FittedRun, load_run

S = TypeVar("S", bound=Section)

#: Directory for reports of published versions, below the working directory: a version itself never changes.
REPORTS = Path("reports")


@dataclass(frozen=True, eq=False)
class SubjectPrior:
    """The mixtures of a fitted prior: that of all images, then one for each label."""

    mixtures: tuple[GaussianMixture, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, entry: FittedPrior, mixtures: PriorMixtures) -> SubjectPrior:
        """As `prior.npz` and its entry in the manifest contain it."""
        return cls(mixtures.split(entry), tuple(each.label for each in entry.labels))


@dataclass(frozen=True, eq=False)
class Subject:
    """A model to measure, and its origin."""

    label: str
    """Its name for a reader: `runs/quick`, `mnist@1`."""
    measured_through: str
    """The runtime: torch on a run's weights, or onnxruntime on the published files."""
    model: LatentImageModel
    settings: EvaluationConfig
    """K, images and seed of its recipe."""
    data: DataConfig
    """The conversion of its images, from its recipe."""
    trained_on: str
    """Fingerprint of the training images."""
    trained_on_text: str
    """The same for people: name and number."""
    prior: SubjectPrior | None
    """The fitted prior of a version, or of a run directory."""
    run: Path | None
    """Its run directory; None for a published version."""
    folder: Path
    """Default directory for its report."""
    stale_prior: str | None = None
    """A warning for the reader if the fitted prior belongs to other weights and is not used."""
    prior_labels: tuple[str, ...] = ()
    """Labels of a published learned prior, in the order of its numbers; those of a run are the data's."""
    file_bytes: Mapping[str, int] = field(default_factory=dict)
    """Sizes of a version's graphs and prior; empty for a run."""


def open_subject(text: str, *, store: ModelStore, threads: int = 1) -> Subject:
    """Open a model by its name: an existing directory is a run, other text names a published version.

    Args:
        text: The name from the user.
        store: Contains the published versions.
        threads: Threads of onnxruntime; torch's are set for the process.

    Raises:
        RunDirectoryError: Neither a run directory nor in the form of a version, a run without weights, or one
            with a damaged prior.
        StoreError: The version does not exist, or is corrupt.
        ExportError: onnxruntime rejects a published graph.
    """
    if Path(text).is_dir():
        return _run(Path(text))
    try:
        published = store.open(text)
    except InvalidReference as error:
        raise RunDirectoryError(
            f"{text}: expected a run directory or a published version, got neither. Use the --out of an "
            f"earlier `vae-train fit`, or name, name@3 or name@alias of a model in {store.root}."
        ) from error
    return _version(published, threads)


def _run(run_dir: Path) -> Subject:
    run = load_run(run_dir)
    prior, stale_prior = _prior_of_run(run)
    return Subject(
        label=str(run_dir),
        measured_through=f"torch {metadata.version('torch')}, float32, on the averaged weights of the run",
        model=run.model,
        settings=run.config.evaluation,
        prior=prior,
        data=run.config.data,
        trained_on=run.provenance.data_fingerprint,
        trained_on_text=run.provenance.data,
        run=run_dir,
        folder=run_dir,
        stale_prior=stale_prior,
    )


def _prior_of_run(run: FittedRun) -> tuple[SubjectPrior | None, str | None]:
    """The prior in the run directory if it belongs to these weights; otherwise a warning about it."""
    found = read_prior(run.directory, latent_size=run.model.latent_size)
    if found is None:
        return None, None
    if found.weights_sha256 != weights_sha256(run.model):
        return None, (
            f"a stale prior: {run.directory.prior} was fitted to other weights than those in model.pt, "
            "because the run continued after it. Nothing here is drawn from it. "
            f"{fit_again(run.directory)}, then evaluate again."
        )
    return SubjectPrior.of(found.entry, found.mixtures), None


def _version(published: PublishedModel, threads: int) -> Subject:
    origin = training_of(published)
    return Subject(
        label=str(published.id),
        measured_through=f"onnxruntime {metadata.version('onnxruntime')} on the published ONNX files",
        model=published_model(published, threads=threads).eval(),
        prior=_prior(published),
        prior_labels=()
        if published.manifest.learned_prior is None
        else tuple(each.label for each in published.manifest.learned_prior.labels),
        settings=_section(EvaluationConfig, origin.recipe.get("evaluation")),
        data=_section(DataConfig, origin.recipe.get("data")),
        trained_on=origin.data_fingerprint,
        trained_on_text=origin.data,
        run=None,
        folder=REPORTS / f"{published.id.name}-{published.id.version}",
        file_bytes={
            name: published.manifest.files[name].size_bytes
            for name in published.manifest.file_names
            if name.endswith(".onnx") or name == PRIOR_FILE
        },
    )


def _prior(published: PublishedModel) -> SubjectPrior | None:
    fitted = published.manifest.fitted_prior
    if fitted is None or published.prior is None:
        return None
    return SubjectPrior.of(fitted, published.prior)


def _section(kind: type[S], stated: object) -> S:
    """The recipe, if the manifest contains one of this package; other publishers may write anything there."""
    try:
        return kind.model_validate(stated)
    except ValidationError:
        return kind()
