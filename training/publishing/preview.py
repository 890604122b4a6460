"""Previews: the posterior means of some test images, for people who look at a model.

Knows image sets, encoders in onnxruntime, and published versions. Knows nothing of pages or of servers. The
choice of the images is part of the labels and of the order of the data: the same data yields the same bytes,
because the means are rounded to three decimals, beyond which processors differ.

A published version never changes: `add_preview` publishes its graphs again, with the preview.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model_store import Manifest, ModelStore, Preview, PreviewSpec, VersionId
from model_store.manifest import MAX_PREVIEW_IMAGES
from model_store.preview import MAX_MAGNITUDE, MAX_PREVIEW_BYTES
from training.compute.batch_size import images_at_once
from training.config.recipe import RunConfig
from training.data import ImageData, ImageSet, load_images, to_unit_interval
from training.errors import DataError
from training.graphs.export import Graphs
from training.graphs.parity import OnnxPair
from training.publishing.model_card import card_with_preview
from training.runs.origin import training_of

Tell = Callable[[str], None]
Floats = NDArray[np.float32]
Encode = Callable[[Floats], tuple[Floats, Floats]]
"""(mu, logvar) of images (N, C, H, W) in [0, 1]."""

#: Images whose KL is averaged: the mean of one dimension then has an error of about 2 %.
_KL_IMAGES = 2_000
_BATCH = 256
#: Longest side of a thumbnail: larger images are scaled down to it.
_SIDE = 32
_DECIMALS = 3
#: What the archive needs in addition to its values.
_ARCHIVE_BYTES = 8_192


@dataclass(frozen=True, eq=False)
class MadePreview:
    """The manifest's entry, and the arrays of its file."""

    spec: PreviewSpec
    arrays: Preview


def make_preview(data: ImageData, encode: Encode, *, kind: str, latent_size: int) -> MadePreview:
    """The preview of a model.

    Args:
        data: Its images; those of the test set are shown.
        encode: Returns the posterior of a batch.
        kind: `vae` or `ae`.
        latent_size: Numbers in a z.
    """
    test = data.test
    chosen = _chosen(test, most=_most(test, kind=kind, latent_size=latent_size))
    mu, logvar = _encoded(test, chosen, encode)
    names, labels = _labels(test, data.label_names, chosen)
    thumbnails = _thumbnails(test, chosen)
    is_vae = kind == "vae"
    kl_of = _spread(len(test), _KL_IMAGES)
    spec = PreviewSpec(
        images=len(chosen),
        labels=names,
        thumbnail=(thumbnails.shape[1], thumbnails.shape[2], thumbnails.shape[3]),
        protocol=_protocol(
            test, shown=len(chosen), kl_of=len(kl_of) if is_vae else 0, is_by_label=bool(names)
        ),
    )
    arrays = Preview(
        mu=_rounded(mu),
        thumbnails=thumbnails,
        logvar=_rounded(logvar) if is_vae else None,
        kl=_mean_kl(test, kl_of, encode) if is_vae else None,
        labels=labels,
    )
    return MadePreview(spec, arrays)


def add_preview(
    reference: str,
    *,
    store: ModelStore,
    data_dir: Path | None,
    cache_dir: Path | None = None,
    aliases: Sequence[str] = (),
    tell: Tell = lambda _: None,
) -> VersionId:
    """Publish the next version of a published model: the same graphs and the same prior, with a preview.

    The graphs are first compared with their golden vectors, so that the means equal those of every server.

    Args:
        reference: `name`, `name@version` or `name@alias`.
        store: Contains the version, and receives the next one.
        data_dir: The images of the model; None is the download cache.
        cache_dir: Directory of downloads.
        aliases: Aliases to move to the new version; `latest` moves by itself.
        tell: Called with a line for people at each step.

    Raises:
        TrainingError: The data is not the model's; nothing was published.
        StoreError: No such version, its graphs have other results here, or the store is not writable.
    """
    published = store.open(reference)
    manifest, origin = published.manifest, training_of(published)
    runtime = OnnxPair(Graphs(encoder=published.encoder, decoder=published.decoder))
    published.golden.check_encoder(*runtime.encode(published.golden.x), manifest.golden)
    recipe = json.dumps(origin.recipe)
    config = RunConfig.from_json(recipe, where=f"{published.id}: provenance.recipe")
    data = load_images(data_dir, config.data, cache_dir=cache_dir, tell=tell)
    if data.train.fingerprint != origin.data_fingerprint:
        raise DataError(
            f"{data.train.name}: expected the images of {published.id} (shape {manifest.image.shape}, "
            f"fingerprint {origin.data_fingerprint} of those for training), got shape "
            f"{data.image_shape}, fingerprint {data.train.fingerprint}. Name the folder that it was trained "
            "on with --data."
        )
    made = make_preview(data, runtime.encode, kind=manifest.kind, latent_size=manifest.latent_size)
    now = datetime.now(UTC).replace(microsecond=0)
    provenance = manifest.provenance.model_copy(update={"created_at": now})
    draft = manifest.with_preview(made.spec).model_copy(update={"provenance": provenance})

    def card(new: Manifest) -> str:
        return card_with_preview(published.card, of=published.id, manifest=new)

    return store.publish(
        draft,
        card=card,
        aliases=tuple(aliases),
        **(published.parts | {"preview": made.arrays}),
    )


def _most(test: ImageSet, *, kind: str, latent_size: int) -> int:
    """Maximum number of images in a file of the usual ceiling."""
    channels, height, width = test.image_shape
    thumbnail = math.prod((channels, *_thumbnail_size(height, width)))
    latents = 4 * latent_size * (2 if kind == "vae" else 1)
    room = MAX_PREVIEW_BYTES - _ARCHIVE_BYTES - 4 * latent_size
    return max(1, min(MAX_PREVIEW_IMAGES, len(test), room // (latents + thumbnail + 2)))


def _chosen(test: ImageSet, *, most: int) -> NDArray[np.int64]:
    """Indices of the images to show, ascending: as many of each label as it has, each spread over the set."""
    if test.labels is None:
        return _spread(len(test), most)
    labels = test.labels.numpy()
    kinds = np.unique(labels)
    if len(kinds) > most:
        return _spread(len(test), most)
    of_each = [np.flatnonzero(labels == kind) for kind in kinds]
    quota = _quota([len(rows) for rows in of_each], most=most)
    return np.sort(np.concatenate([rows[_spread(len(rows), quota)] for rows in of_each]))


def _quota(counts: Sequence[int], *, most: int) -> int:
    """The largest number of images of each label, where it has so many, that yields at most `most`."""
    quota = most // len(counts)
    while quota < max(counts) and sum(min(count, quota + 1) for count in counts) <= most:
        quota += 1
    return quota


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many indices below `count`, evenly spread, both ends included."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _labels(
    test: ImageSet, label_names: Sequence[str], chosen: NDArray[np.int64]
) -> tuple[tuple[str, ...], NDArray[np.uint16] | None]:
    """The labels of the chosen images, and the index of each image's label; none without labels."""
    if test.labels is None:
        return (), None
    kinds, indices = np.unique(test.labels.numpy()[chosen], return_inverse=True)
    names = tuple(label_names[int(kind)] if label_names else str(int(kind)) for kind in kinds)
    return names, indices.astype(np.uint16)


def _pixels(test: ImageSet, rows: NDArray[np.int64]) -> torch.Tensor:
    """Images (N, C, H, W), 0 to 255."""
    return test.images[torch.from_numpy(rows)]


def _encoded(test: ImageSet, rows: NDArray[np.int64], encode: Encode) -> tuple[Floats, Floats]:
    """(mu, logvar), each (N, latent), of grey images: those that a client would send."""
    step = images_at_once(test.image_shape, most=_BATCH)
    parts = [
        encode(to_unit_interval(_pixels(test, rows[start : start + step])).contiguous().numpy())
        for start in range(0, len(rows), step)
    ]
    mu, logvar = (np.concatenate(each) for each in zip(*parts, strict=True))
    return mu, logvar


def _mean_kl(test: ImageSet, rows: NDArray[np.int64], encode: Encode) -> Floats:
    """Mean over images of KL(q(z|x) ‖ N(0, 1)) of each latent dimension, in nats."""
    mu, logvar = (each.astype(np.float64) for each in _encoded(test, rows, encode))
    kl = 0.5 * (mu**2 + np.exp(logvar) - 1.0 - logvar)
    # The closed form of a dead dimension rounds to -0.0000001.
    mean: Floats = np.clip(kl.mean(axis=0).round(_DECIMALS + 1), 0.0, MAX_MAGNITUDE).astype(np.float32)
    return mean


def _rounded(latents: Floats) -> Floats:
    return np.clip(latents.astype(np.float64).round(_DECIMALS), -MAX_MAGNITUDE, MAX_MAGNITUDE).astype(
        np.float32
    )


def _thumbnails(test: ImageSet, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    pixels = _pixels(test, rows)
    height, width = _thumbnail_size(*test.image_shape[1:])
    if (height, width) != test.image_shape[1:]:
        # The mean of the pixels below each pixel of the thumbnail.
        shrunk = torch.nn.functional.adaptive_avg_pool2d(pixels.to(torch.float32), (height, width))
        pixels = shrunk.round().to(torch.uint8)
    return np.ascontiguousarray(pixels.numpy())


def _thumbnail_size(height: int, width: int) -> tuple[int, int]:
    """(height, width), in the proportions of the image."""
    scale = min(1.0, _SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _protocol(test: ImageSet, *, shown: int, kl_of: int, is_by_label: bool) -> str:
    choice = "as many of each label, evenly spread" if is_by_label else "evenly spread"
    kl = f"; KL: mean over {kl_of:,} of those {len(test):,}, evenly spread" if kl_of else ""
    return f"{shown} of {len(test):,} images of {test.name}, {choice}, grey as they are{kl}"
