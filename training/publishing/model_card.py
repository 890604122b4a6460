"""The model card: description, training, figures and limits of a published version.

Knows words and figures. Knows nothing of torch, ONNX or files. Every figure comes from the manifest or from
the evidence of the export; the card measures and guesses nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from model_store import TrainingProvenance, VersionId
from model_store.manifest import GaussianLikelihood, Manifest
from training.config.reading import load_recipe, recipe_names
from training.config.recipe import RunConfig
from training.evaluation.figures import Evaluation, format_value
from training.graphs.parity import Parity
from training.runs.run_directory import FittedRun

_PRIOR_HEADING = "## Fitted prior"
_PREVIEW_HEADING = "## Preview"
#: For an autoencoder, without and with a fitted prior.
_NO_PRIOR = "none: sampling is refused, since decoding random codes is not generation"
_NO_PRIOR_BUT_FITTED = "none in training; `z` is drawn from the fitted prior below"
#: The paragraph that `card_with_prior` puts before the rest.
_LEAD = re.compile(r"^\nThe graphs of \S+, byte for byte, with a prior that was fitted later\.\n")
#: The same of `card_with_preview`.
_LEAD_OF_PREVIEW = re.compile(r"^\nThe graphs of \S+, byte for byte, with a preview\.\n")
_MNIST_AUTHORS = "Yann LeCun, Corinna Cortes and Christopher Burges"


@dataclass(frozen=True)
class Evidence:
    """Evidence from the export, in addition to the manifest."""

    evaluation: Evaluation
    parity: Parity
    golden_origin: str
    run: FittedRun


def model_card(manifest: Manifest, evidence: Evidence) -> str:
    """The card of one version, in Markdown."""
    sections = (
        _heading(manifest),
        _facts(manifest),
        _figures(evidence),
        *fitted_prior_section(manifest),
        *_learned_prior_section(manifest),
        *preview_section(manifest),
        _training(manifest, evidence),
        _graphs(manifest, evidence),
        _use(manifest),
        _licence(manifest),
    )
    return "\n\n".join(sections) + "\n"


def _heading(manifest: Manifest) -> str:
    return f"# {manifest.name}, version {manifest.version}\n\n{manifest.description}"


def _facts(manifest: Manifest) -> str:
    channels, height, width = manifest.image.shape
    likelihood = manifest.likelihood
    if isinstance(likelihood, GaussianLikelihood):
        sigma = "fitted with the weights" if likelihood.learned else "stated by the recipe"
        density = f"Gaussian around `x_hat`, σ = {likelihood.sigma:.4g} ({sigma})"
    else:
        density = "Bernoulli of each pixel; `x_hat` is the probability of ink"
    if manifest.kind == "vae":
        posterior = "Gaussian with a mean `mu` and a log variance `logvar` for each latent dimension"
        prior = "N(0, I): draw `z` from it for a new image"
        if manifest.fitted_prior is not None:
            prior += ", or from the fitted prior below"
        if manifest.learned_prior is not None:
            prior = "learned with the model, see below: draw `z` from it for a new image"
    else:
        posterior = "none: `mu` is the code, `logvar` is a constant without meaning"
        prior = _NO_PRIOR if manifest.fitted_prior is None else _NO_PRIOR_BUT_FITTED
    return _table(
        ("", ""),
        [
            ("images", f"{channels} × {height} × {width} (channels, height, width), float32 in [0, 1]"),
            ("picture files", _picture_files(manifest)),
            ("latents", " × ".join(map(str, manifest.latent_shape))),
            ("posterior q(z∣x)", posterior),
            ("likelihood p(x∣z)", density),
            ("prior p(z)", prior),
        ],
    )


def _picture_files(manifest: Manifest) -> str:
    how = manifest.image.preprocessing
    size = "the largest middle part is scaled" if how.fit == "crop" else "each axis is scaled by itself"
    levels = "" if how.levels is None else f", rounded to {how.levels} levels"
    return f"turned upright by EXIF; transparent pixels become {how.ground}; {size}{levels}"


def _figures(evidence: Evidence) -> str:
    text = f"## Figures\n\n{evidence.evaluation.to_markdown().rstrip()}"
    kl = sorted(evidence.evaluation.kl_per_dimension, reverse=True)
    if kl:
        shown = ", ".join(f"{value:.2f}" for value in kl[:8])
        text += (
            f"\n\nLower is better for every cost. KL by latent dimension{_to_what(evidence)}, largest first: "
            f"{shown}{f', … {kl[-1]:.2f}' if len(kl) > 8 else ''} nats."
        )
    return text


def _to_what(evidence: Evidence) -> str:
    """The other density of the KL by dimension, where that is not the prior."""
    return "" if evidence.run.config.model.prior.name == "standard" else " to N(0, 1)"


def _learned_prior_section(manifest: Manifest) -> tuple[str, ...]:
    """The prior learned with the model; empty without one."""
    learned = manifest.learned_prior
    if learned is None:
        return ()
    labels = (
        ", ".join(
            f"{each.label.replace('|', '&#124;')} ({each.components}, {100 * each.share:.1f} %)"
            for each in learned.labels
        )
        or "none"
    )
    table = _table(
        ("", ""),
        [
            ("map", f"`{learned.sampler.file}`: u to z; `{learned.density.file}`: z to u and log p(z)"),
            ("mixture of u", f"`{learned.file}`: {learned.components} Gaussians"),
            ("labels (Gaussians, p(y))", labels),
            ("training", learned.protocol),
        ],
    )
    text = "The model was trained with this prior in place of N(0, I): draws of N(0, I) mean nothing to it."
    return (f"## Learned prior\n\n{text}\n\n{table}",)


def fitted_prior_section(manifest: Manifest) -> tuple[str, ...]:
    """The prior fitted after training and its quality; empty without one."""
    fitted = manifest.fitted_prior
    if fitted is None:
        return ()
    labels = (
        ", ".join(
            f"{each.label.replace('|', '&#124;')} ({each.components}, {100 * each.share:.1f} %)"
            for each in fitted.labels
        )
        or "none"
    )
    rows = [
        ("file", f"`{fitted.file}`: weights, means and Cholesky factors"),
        (
            "all images",
            f"{fitted.components} Gaussian{'s' if fitted.components > 1 else ''}, full covariances",
        ),
        ("labels (Gaussians, share of the images)", labels),
        ("fitted to", fitted.protocol),
    ]
    figures = ["| figure | value | unit | measured on |", "| --- | ---: | --- | --- |"]
    figures += [f"| {m.name} | {format_value(m)} | {m.unit} | {m.protocol} |" for m in fitted.metrics]
    return (
        f"{_PRIOR_HEADING}\n\nMixtures of Gaussians, fitted to the latents of the training images after the "
        "weights were final: a `z` from the mixture of a label decodes to an image of it.\n\n"
        f"{_table(('', ''), rows)}\n\n" + "\n".join(figures),
    )


def preview_section(manifest: Manifest) -> tuple[str, ...]:
    """The images that the version shows; empty without a preview."""
    preview = manifest.preview
    if preview is None:
        return ()
    return (
        f"{_PREVIEW_HEADING}\n\n`{preview.file}` contains the posterior means of {preview.images} images and "
        "the images, for people who look at the model. A server shows them to its clients (`GET "
        f"/models/{{name}}/preview`).\n\nThe images: {preview.protocol}.",
    )


def card_with_preview(card: str, *, of: VersionId, manifest: Manifest) -> str:
    """The card of the next version, which differs only by its preview.

    Args:
        card: Card of the earlier version.
        of: Name and number of the earlier version.
        manifest: Manifest of the new version.
    """
    heading = f"# {manifest.name}, version {manifest.version}"
    lead = f"{heading}\n\nThe graphs of {of}, byte for byte, with a preview.\n"
    body = card.removeprefix(f"# {of.name}, version {of.version}\n")
    body = _without_section(_LEAD_OF_PREVIEW.sub("", body, count=1), _PREVIEW_HEADING)
    (section,) = preview_section(manifest)
    before, training, rest = body.partition("\n## Training\n")
    if training:
        return f"{lead}{before}\n{section}\n{training}{rest}"
    return f"{lead}{body.rstrip()}\n\n{section}\n"


def _without_section(body: str, heading: str) -> str:
    """The text without a section, up to the next heading."""
    before, found, after = body.partition(f"\n{heading}\n")
    if not found:
        return body
    return before + after[after.find("\n## ") :] if "\n## " in after else before


def card_with_prior(card: str, *, of: VersionId, manifest: Manifest) -> str:
    """The card of the next version, which differs only by its prior.

    Args:
        card: Card of the earlier version.
        of: Name and number of the earlier version.
        manifest: Manifest of the new version.
    """
    heading = f"# {manifest.name}, version {manifest.version}"
    body = _LEAD.sub("", card.removeprefix(f"# {of.name}, version {of.version}\n"), count=1)
    body = body.replace(_NO_PRIOR, _NO_PRIOR_BUT_FITTED)
    lead = f"{heading}\n\nThe graphs of {of}, byte for byte, with a prior that was fitted later.\n"
    body = _without_section(body, _PRIOR_HEADING)
    (section,) = fitted_prior_section(manifest)
    figures, training, rest = body.partition("\n## Training\n")
    if training:
        return f"{lead}{figures}\n{section}\n{training}{rest}"
    return f"{lead}{body.rstrip()}\n\n{section}\n"


def _trained(manifest: Manifest) -> TrainingProvenance:
    assert isinstance(manifest.provenance, TrainingProvenance), "cards are of exported versions"
    return manifest.provenance


def _training(manifest: Manifest, evidence: Evidence) -> str:
    provenance, config, run = _trained(manifest), evidence.run.config, evidence.run.provenance
    kept = evidence.run.kept
    warmup = config.objective.beta_warmup_epochs
    objective = f"-ELBO, β = {config.objective.beta:g}"
    if warmup:
        objective += f" after a warm-up over {warmup:g} epochs"
    if config.objective.importance_samples > 1:
        part = 100 * config.objective.importance_part
        objective += (
            f"; in the last {part:g} % of steps minus the mean of the ELBO and of the importance-weighted "
            f"bound of {config.objective.importance_samples} posterior samples"
        )
    if manifest.kind == "ae":
        objective = "reconstruction alone"
    averaging = (
        f"running mean with decay {config.trainer.ema_decay:g}" if config.trainer.ema_decay else "last step"
    )
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(provenance.libraries.items()))
    rows = [
        ("data", provenance.data),
        ("data fingerprint", f"`{provenance.data_fingerprint}`"),
        ("pixels in training", _pixels(config)),
        ("objective", objective),
        ("weights at the start", _start(config)),
        *([("restart", str(evidence.run.restart))] if evidence.run.restart else []),
        ("epochs, batch size", f"{_epochs(provenance.epochs, config)}, {config.trainer.batch_size}"),
        ("optimiser", _optimiser(config)),
        ("weights published", averaging),
        *([] if kept is None else [("epoch kept", str(kept))]),
        ("weights sha256", f"`{evidence.evaluation.weights_sha256}`"),
        ("seed", str(provenance.seed)),
        ("precision, threads", f"{run.precision}, {run.threads}"),
        *([("changed on the way", "; ".join(run.changes))] if run.changes else []),
        ("source revision", f"`{provenance.git_revision}`"),
        ("libraries", libraries),
    ]
    again = _reproduction(manifest, config) + _continued(run.changes)
    return f"## Training\n\n{_table(('', ''), rows)}\n\n{again}"


def _start(config: RunConfig) -> str:
    if config.first_part:
        return f"those of recipe '{config.first_part}', by which the run trained first"
    return config.trainer.start_from or "drawn by the seed"


def _epochs(count: int, config: RunConfig) -> str:
    """Their number, and where a pass over few images is no epoch, what is one."""
    fewest = config.trainer.min_steps_per_epoch
    return f"{count} of at least {fewest} steps" if fewest else f"{count}"


def _continued(changes: tuple[str, ...]) -> str:
    if not changes:
        return ""
    return (
        "\n\nThis run was changed during training, as the table shows: a new run with its last "
        "configuration has other weights."
    )


def _optimiser(config: RunConfig) -> str:
    chosen = config.optimiser
    adamw = f"AdamW, learning rate {chosen.learning_rate:g}"
    if chosen.name == "adamw":
        return adamw
    return f"Muon for hidden matrices, learning rate {chosen.muon_learning_rate:g}; {adamw}, for the rest"


def _pixels(config: RunConfig) -> str:
    chosen = config.data
    told = ["grey" if chosen.binarisation == "grey" else "binarised anew in every batch"]
    if chosen.grey_fraction:
        told.append(f"the encoder saw {100 * chosen.grey_fraction:g} % of the images in grey")
    if chosen.distorted_fraction:
        told.append(
            f"{100 * chosen.distorted_fraction:g} % of the images were rotated, scaled, sheared and shifted "
            f"slightly (strength {chosen.distortion:g}) in the first {100 * chosen.distorted_part:g} % of "
            "steps"
        )
    return "; ".join(told)


def _reproduction(manifest: Manifest, config: RunConfig) -> str:
    bundled = config.name in recipe_names() and _from_where(load_recipe(config.name), config) == (
        config.decisive()
    )
    flag = " --from-nothing" if config.first_part else ""
    recipe = config.name if bundled else f"{config.name}.toml"
    where = "" if bundled else f" `{recipe}` is `provenance.recipe` of `manifest.json`, written as TOML."
    return (
        "To train it again (equal bits need the same processor type, threads and libraries; otherwise the "
        f"figures agree to about the noise of training):{where}\n\n"
        "```sh\n"
        f"vae-train fit --recipe {recipe}{flag} --data DIR --out runs/{manifest.name}\n"
        f"vae-train export runs/{manifest.name} --name {manifest.name}\n"
        "```"
    )


def _from_where(recipe: RunConfig, config: RunConfig) -> RunConfig:
    """The recipe as it is for a run with, or without, a part of its own before it."""
    if not config.first_part:
        return recipe.decisive()
    trainer = recipe.trainer.model_copy(update={"start_from": ""})
    return recipe.model_copy(update={"trainer": trainer}).decisive()


def _graphs(manifest: Manifest, evidence: Evidence) -> str:
    assert manifest.encoder is not None, "every export has both graphs"
    return (
        "## Files\n\n"
        f"`encoder.onnx` computes `x` → `mu`, `logvar` and `decoder.onnx` computes `z` → `x_hat`: ONNX "
        f"opset {manifest.encoder.opset}, float32, batch axis first and of any size, no randomness inside. "
        "`logvar` is log σ² (not log σ): σ = exp(0.5 · logvar).\n\n"
        f"Largest difference between torch and onnxruntime at export: {evidence.parity}. `golden.npz` holds "
        f"answers of onnxruntime for {evidence.golden_origin} and for latents; another machine may differ "
        f"from them by {manifest.golden.latent_atol:g} (latents) and {manifest.golden.pixel_atol:g} (pixels)."
    )


def _use(manifest: Manifest) -> str:
    _, height, width = manifest.image.shape
    limits = [
        f"The model knows only images like its training data. It turns any other {height} × {width} image "
        "into the nearest image that it knows, without a warning.",
        "Do not use the ELBO or the reconstruction error to detect anomalies without measuring that on "
        "your own data: simple unfamiliar images often score better than familiar ones.",
        "Latent dimensions have no names; the meaning of each is unknown.",
        "It was neither made nor measured for reading handwriting or for any decision about people.",
    ]
    if isinstance(manifest.likelihood, GaussianLikelihood):
        limits.append(
            "Its densities are of continuous grey levels and are not comparable with a Bernoulli model's."
        )
    purpose = (
        "Purpose: draw new images, encode images as a few numbers and decode them, interpolate between "
        "images, teach."
        if manifest.priors
        else "Purpose: encode images as a few numbers and decode them; a baseline to compare a VAE with."
    )
    return f"## Use and limits\n\n{purpose}\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _licence(manifest: Manifest) -> str:
    trained_on = _trained(manifest).data
    if trained_on.startswith("mnist:"):
        data = f"The training images are MNIST, by {_MNIST_AUTHORS}: CC BY-SA 3.0."
    elif trained_on.startswith("fashion-mnist:"):
        data = "The training images are Fashion-MNIST, by Zalando SE: MIT."
    else:
        data = "The training images have a licence of their own; ask their publisher."
    return f"## Licence\n\nWeights: {manifest.licence}. {data}"


def _table(header: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {header[0]} | {header[1]} |", "| --- | --- |"]
    return "\n".join(lines + [f"| {left} | {right} |" for left, right in rows])
