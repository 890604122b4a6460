"""From a run directory to a published version: export, compare, record, describe, publish.

Knows the order of these steps, and that a failed check publishes nothing. The steps are elsewhere: graphs in
`training.graphs.export`, comparison in `training.graphs.parity`, the card in
`training.publishing.model_card`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from model_store import ModelStore, PriorMixtures, VersionId
from model_store.echo import echo
from model_store.imported import LatentSpec
from model_store.manifest import (
    GoldenSpec,
    ImageSpec,
    ManifestDraft,
    StandardNormalPrior,
    TrainingProvenance,
    lowest_schema_version,
)
from model_store.reference import is_alias_name, is_model_name
from model_store.tensor_spec import graph_specs
from training.config.model_section import LearnedPriorConfig
from training.data import ImageData, load_images, to_unit_interval
from training.data.image_files import Conversion
from training.data.mnist_download import cached_mnist
from training.errors import ConfigError, ExportError
from training.evaluation.figures import Evaluation, read_evaluation, weights_sha256
from training.evaluation.verdict import reason_against_publishing
from training.graphs.export import OPSET, export_graphs
from training.graphs.parity import (
    OnnxPair,
    batch_sizes_for,
    check_parity,
    golden_examples,
    record_golden_vectors,
)
from training.models import LatentImageModel, LearnedPrior, latents_in_words
from training.objectives.posterior_collapse import STEPS_TO_LEARN
from training.priors.files import fit_again, read_prior
from training.publishing.learned_prior import ExportedPrior, export_learned_prior
from training.publishing.model_card import Evidence, model_card
from training.publishing.preview import MadePreview, make_preview
from training.runs.run_directory import FittedRun, load_run

_PROBE_SEED = 0
_EXPORTING_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Probes:
    """Inputs for the comparison of both halves."""

    x: Float[Tensor, "n c h w"]
    z: Float[Tensor, "n latent"]
    origin: str
    """Origin of `x`, for the model card."""


def export_run(
    run_dir: Path,
    *,
    name: str,
    store: ModelStore,
    aliases: Sequence[str] = (),
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    description: str | None = None,
    licence: str = "MIT",
    allow_collapsed: bool = False,
    with_preview: bool = True,
    tell: Tell = print,
) -> VersionId:
    """Export a run's averaged weights, check them, and publish them as the next version of `name`.

    Args:
        run_dir: The run directory of `vae-train fit`, with its evaluation.
        name: Name of the model in the store.
        store: The store to publish in.
        aliases: Aliases to move to the new version; `latest` moves by itself.
        data_dir: Images for the comparison of torch and onnxruntime, and for the preview. Left out: for a run
            on MNIST those in the download cache; for others the comparison uses images that the model draws
            itself, and there is no preview.
        cache_dir: Directory of downloads; an export never downloads.
        description: Description in the manifest; left out, a sentence from the recipe.
        licence: SPDX expression for the weights.
        allow_collapsed: Publish a model even if its latents carry no information about the image. A model of
            fewer than 50 steps does not count as collapsed, and is published anyway.
        with_preview: Add the posterior means of some test images, with the images, if there is data.
        tell: Called with a line for people at each step.

    Returns:
        The published version.

    Raises:
        ConfigError: The name or an alias is malformed.
        RunDirectoryError: The run is unusable.
        ExportError: The figures are missing or belong to other weights, the model collapsed, or a check
            failed; nothing was published.
        StoreError: The store rejected the version or was not writable; nothing was published.
    """
    check_names(name, aliases)
    run = load_run(run_dir)
    evaluation = _figures_of(run)
    if evaluation.collapsed and not allow_collapsed and run.directory.steps() >= STEPS_TO_LEARN:
        raise ExportError(
            f"{run_dir}: expected a model whose latents describe the image, got a collapsed one: "
            f"{evaluation.warnings[0]} Train again, or publish it anyway with --allow-collapsed."
        )
    tell(f"exporting {run_dir}")
    data = _data_of(run, data_dir, cache_dir)
    probes = make_probes(run.model, None if data is None else _test_images(data))
    graphs = export_graphs(run.model)
    runtime = OnnxPair(graphs)
    spec = GoldenSpec()
    parity = check_parity(run.model, runtime, x=probes.x, z=probes.z, spec=spec)
    tell(f"exported; torch and onnxruntime differ by at most {parity}")
    examples = golden_examples(run.model.image_shape)
    golden = record_golden_vectors(runtime, x=probes.x[:examples], z=probes.z[:examples])
    draft = _draft(run, evaluation, name=name, description=description, licence=licence, golden=spec)
    learned = _learned_prior(run, data)
    if learned is None:
        draft, prior = _with_prior(run, draft, weights_sha256=evaluation.weights_sha256)
    else:
        draft, prior = draft.with_learned_prior(learned.entry), learned.mixtures
        tell(f"exported the learned prior; torch and onnxruntime differ by at most {learned.parity}")
    preview = _preview(data, runtime, draft) if data is not None and with_preview else None
    if preview is not None:
        draft = draft.with_preview(preview.spec)
    evidence = Evidence(evaluation=evaluation, parity=parity, golden_origin=probes.origin, run=run)
    version = store.publish(
        draft,
        encoder=graphs.encoder,
        decoder=graphs.decoder,
        golden=golden,
        card=lambda manifest: model_card(manifest, evidence),
        prior=prior,
        preview=None if preview is None else preview.arrays,
        learned_prior=None if learned is None else learned.files,
        aliases=tuple(aliases),
    )
    moved = ", ".join(sorted({*aliases, "latest"}))
    tell(f"published {version} in {store.root} ({moved})")
    tell(how_to_serve(version, store))
    return version


def how_to_serve(version: VersionId, store: ModelStore) -> str:
    """The next command; a warning first if the figures show a grave fault of the model."""
    manifest = store.manifest(version)
    values = {metric.name: metric.value for metric in manifest.metrics}
    reason = reason_against_publishing(values, image_shape=manifest.image.shape)
    if reason:
        return f"warning: not worth serving: {reason}\nlook at it: {serve_command(version, store)}"
    return f"serve it: {serve_command(version, store)}"


def serve_command(version: VersionId, store: ModelStore) -> str:
    """The command line that serves a version; a running server uses it after its next start."""
    return f"vae-serve run --store {shlex.quote(str(store.root))} --default-model {version}"


def make_probes(model: LatentImageModel, images: Float[Tensor, "n c h w"] | None) -> Probes:
    """Images and latents like those of real requests: data, prior, posterior means, and the edges.

    Args:
        model: Draws images from its prior if there are none.
        images: Real ones in [0, 1], or None.
    """
    generator = torch.Generator().manual_seed(_PROBE_SEED)
    count = _probes(model.image_shape)
    with torch.inference_mode():
        prior = model.prior.draw(count, generator)
        if images is None:
            x, origin = model.decode(prior), "images that the model drew itself"
        else:
            spread = torch.linspace(0, len(images) - 1, count).long()
            x, origin = images[spread], "images of the test set"
        # An all-black and an all-white image last: valid requests, though no digits.
        x = torch.cat([x[:-2], torch.zeros_like(x[:1]), torch.ones_like(x[:1])]).contiguous()
        means = model.encode(x).mu
    every_other = (torch.arange(count) % 2 == 0).unsqueeze(-1)
    return Probes(x=x.clone(), z=torch.where(every_other, prior, means).clone(), origin=origin)


def _probes(image_shape: tuple[int, int, int]) -> int:
    """Images and latents for the comparison: enough for different ones in each batch."""
    return sum(batch_sizes_for(image_shape))


def check_names(name: str, aliases: Sequence[str]) -> None:
    """Reject an invalid name or alias before any work is done.

    Raises:
        ConfigError: Names it, and its form.
    """
    if not is_model_name(name):
        raise ConfigError(
            f"--name: expected 1 to 64 lower-case letters, digits and inner hyphens, got {echo(name)}."
        )
    check_aliases(aliases)


def check_aliases(aliases: Sequence[str]) -> None:
    """Reject an invalid alias before any work is done.

    Raises:
        ConfigError: Names the alias, and the form of an alias.
    """
    for alias in aliases:
        if not is_alias_name(alias):
            raise ConfigError(
                "--alias: expected a lower-case letter, then letters, digits and inner hyphens, got "
                f"{echo(alias)}."
            )


def _figures_of(run: FittedRun) -> Evaluation:
    """The run's evaluation, if it belongs to these weights: a version never shows another model's figures."""
    measure = f"vae-train evaluate {shlex.quote(str(run.directory.root))} --data DIR"
    remedy = f"Run `{measure}` first. Nothing was published."
    evaluation = read_evaluation(run.directory.root)
    if evaluation is None:
        raise ExportError(
            f"{run.directory.evaluation}: expected the figures of this run, found none. {remedy}"
        )
    if evaluation.weights_sha256 != weights_sha256(run.model):
        raise ExportError(
            f"{run.directory.evaluation}: expected the figures of the weights in model.pt, got those of "
            f"others: the run continued after its evaluation. {remedy}"
        )
    return evaluation


def _with_prior(
    run: FittedRun, draft: ManifestDraft, *, weights_sha256: str
) -> tuple[ManifestDraft, PriorMixtures | None]:
    """The draft with the run directory's prior and its mixtures; unchanged if there is none."""
    prior = read_prior(run.directory, latent_size=run.model.latent_size)
    if prior is None:
        return draft, None
    if prior.weights_sha256 != weights_sha256:
        raise ExportError(
            f"{run.directory.prior}: expected a prior of the weights in model.pt, got one of others: the "
            f"run continued after the prior was fitted. {fit_again(run.directory)}, or remove both files to "
            "publish without a prior. Nothing was published."
        )
    return draft.with_fitted_prior(prior.entry), prior.mixtures


def _learned_prior(run: FittedRun, data: ImageData | None) -> ExportedPrior | None:
    prior = run.model.prior
    if not isinstance(prior, LearnedPrior):
        return None
    config = run.config.model.prior
    assert isinstance(config, LearnedPriorConfig)
    names = tuple(map(str, range(config.labels)))
    if data is not None and data.label_names:
        names = data.label_names[: config.labels]
    return export_learned_prior(prior, config, label_names=names, seed=_PROBE_SEED)


def _data_of(run: FittedRun, data_path: Path | None, cache_dir: Path | None) -> ImageData | None:
    """The images of the run; None if they are not here."""
    if data_path is None:
        # The contents of the cache are useful only for a run on the same data.
        data_path = cached_mnist(cache_dir) if run.provenance.data.startswith("mnist:") else None
    if data_path is None:
        return None
    data, model = load_images(data_path, run.config.data), run.model
    if data.test.image_shape != model.image_shape:
        raise ConfigError(
            f"{data_path}: expected images of shape {model.image_shape}, as the model requires, got "
            f"{data.test.image_shape}. Use the run's training data, or leave --data out."
        )
    return data


def _test_images(data: ImageData) -> Float[Tensor, "n c h w"]:
    """As many images as probes, spread over the test set."""
    test = data.test
    return to_unit_interval(test.images[torch.linspace(0, len(test) - 1, _probes(test.image_shape)).long()])


def _preview(data: ImageData, runtime: OnnxPair, draft: ManifestDraft) -> MadePreview:
    return make_preview(data, runtime.encode, kind=draft.kind, latent_size=draft.latent_size)


def _draft(
    run: FittedRun,
    evaluation: Evaluation,
    *,
    name: str,
    description: str | None,
    licence: str,
    golden: GoldenSpec,
) -> ManifestDraft:
    model, provenance = run.model, run.provenance
    encoder, decoder = graph_specs(
        image_shape=model.image_shape,
        latent_size=model.latent_size,
        latent_shape=model.latent_shape,
        opset=OPSET,
    )
    latent = LatentSpec(shape=model.latent_shape) if len(model.latent_shape) > 1 else None
    exporting = {library: metadata.version(library) for library in _EXPORTING_LIBRARIES}
    # The conversion of image files in this run; for images from arrays, the server converts files in the same
    # way.
    image = ImageSpec(
        shape=model.image_shape, preprocessing=Conversion(ground=run.config.data.ground).preprocessing
    )
    return ManifestDraft(
        schema_version=lowest_schema_version(image, fitted=False, shaped=latent is not None),
        name=name,
        kind=model.kind,
        description=description if description is not None else _describe(run),
        image=image,
        latent_size=model.latent_size,
        latent=latent,
        likelihood=model.likelihood.spec(),
        encoder=encoder,
        decoder=decoder,
        golden=golden,
        metrics=evaluation.metrics,
        provenance=TrainingProvenance(
            recipe=run.config.model_dump(mode="json"),
            data=provenance.data,
            data_fingerprint=provenance.data_fingerprint,
            libraries={**provenance.libraries, **exporting},
            seed=provenance.seed,
            epochs=run.epochs,
            git_revision=provenance.git_revision,
            created_at=datetime.now(UTC).replace(microsecond=0),
        ),
        priors=(StandardNormalPrior(),) if model.kind == "vae" else (),
        licence=licence,
    )


def _describe(run: FittedRun) -> str:
    model = run.model
    channels, height, width = model.image_shape
    what = {"vae": "Variational autoencoder", "ae": "Deterministic autoencoder"}[model.kind]
    colour = "grey" if channels == 1 else f"{channels}-channel"
    return (
        f"{what} of {height} × {width} {colour} images, {latents_in_words(model.latent_shape)}, "
        f"{run.config.model.trunk.type} networks, {model.likelihood.spec().name} likelihood; "
        f"recipe '{run.config.name}'."
    )
