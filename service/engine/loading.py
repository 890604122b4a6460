"""Turn a published version into a loaded model: load its graphs, warm them and check them.

Knows verified bytes, the golden vectors and batch invariance. Knows nothing of HTTP, or of the origin of
versions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from model_store import GoldenMismatch, GoldenVectors, GraphSpec, Manifest, PublishedModel
from model_store.imported import latent_shape_of
from model_store.manifest import DECODER_FILE, ENCODER_FILE
from service.engine.errors import InferenceFailed, ModelRejected, NoGraph
from service.engine.image_sizes import OpenImageSizes
from service.engine.model import LoadedModel
from service.engine.observer import EngineObserver, Unobserved
from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder, PendingRun, RunGraph
from service.engine.operations.noise import standard_normal
from service.engine.operations.priors import Priors
from service.engine.runtime.batch_invariance import BATCH_SIZES, BatchInvariantGraph
from service.engine.runtime.batcher import GraphQueue
from service.engine.runtime.call import Call
from service.engine.runtime.imported_graph import ImportedGraph
from service.engine.runtime.session import GraphSession
from service.engine.runtime.worker_pool import WorkerPool

#: Default maximum for callers without one: 65,536 images of 28×28 are 205 MB.
DEFAULT_MAX_BATCH = 65_536
#: Any seed would do; its rows are the inputs for comparing batches with single rows.
_PROBE_SEED = 0


def load_model(
    published: PublishedModel,
    *,
    threads: int,
    worker_pool: WorkerPool,
    max_batch: int = DEFAULT_MAX_BATCH,
    aliases: tuple[str, ...] = (),
    observer: EngineObserver | None = None,
) -> LoadedModel:
    """Load both graphs from their verified bytes, warm them, and compare them with the golden vectors.

    Args:
        published: Verified bytes and manifest.
        threads: Threads of one run.
        worker_pool: Runs the model's queued work.
        max_batch: Maximum number of rows per call.
        aliases: Names of the version, without the model's own.
        observer: Counts the runs.

    Raises:
        ModelRejected: A graph does not load, contradicts the manifest, or disagrees with the golden vectors.
    """
    manifest, label = published.manifest, str(published.id)
    encoder = _session(published.encoder, manifest.encoder, threads=threads)
    decoder = _session(published.decoder, manifest.decoder, threads=threads)
    priors = Priors(manifest, published.prior, model=label)
    watched = observer or Unobserved()

    def parts(shape: tuple[int, int, int], latent_shape: tuple[int, ...]) -> Mapping[str, Any]:
        """Fields of a loaded model for images of one size."""
        graphs = {
            "encoder": _graph(encoder, manifest.encoder, manifest, latent_shape),
            "decoder": _graph(decoder, manifest.decoder, manifest, latent_shape),
        }
        queues = {
            name: _no_graph(label, name)
            if graph is None
            else GraphQueue(graph, worker_pool, model=label, observer=watched).run
            for name, graph in graphs.items()
        }
        queued = EncoderDecoder(
            label=label,
            image_shape=shape,
            latent_size=math.prod(latent_shape),
            max_batch=max_batch,
            has_posterior=manifest.kind == "vae",
            likelihood=manifest.likelihood,
            priors=priors,
            encoder_file=ENCODER_FILE,
            decoder_file=DECODER_FILE,
            run_encoder=queues["encoder"],
            run_decoder=queues["decoder"],
            latent_shape=latent_shape if manifest.latent is not None else (),
            is_bounded=manifest.image.range is not None,
        )
        return {**graphs, "queued": queued}

    made = parts(manifest.image.shape, manifest.latent_shape)
    sizes = _image_sizes(manifest, parts)
    try:
        _allow_exact_batches(made["encoder"], made["decoder"], manifest)
        _check_golden(made["encoder"], made["decoder"], manifest, published.golden, label=label)
        if published.golden.other is not None and sizes is not None:
            other = published.golden.other
            image = (other.x if len(other.x) else other.x_hat).shape
            at_other = sizes.of(image[2], image[3])
            assert at_other is not None, "checked with the golden vectors"
            _check_golden(at_other["encoder"], at_other["decoder"], manifest, other, label=label)
    except InferenceFailed as error:
        raise ModelRejected(f"{label}: a graph loaded, but does not run. {error}") from error
    return LoadedModel(
        id=published.id,
        manifest=manifest,
        aliases=aliases,
        preview=published.preview,
        sizes=sizes,
        **made,
    )


def _session(graph: bytes, spec: GraphSpec | None, *, threads: int) -> GraphSession | None:
    return None if spec is None else GraphSession(graph, spec, threads=threads)


def _graph(
    session: GraphSession | None,
    spec: GraphSpec | None,
    manifest: Manifest,
    latent_shape: tuple[int, ...],
) -> BatchInvariantGraph | None:
    """A graph for images of one size, behind the tensors of the contract."""
    if session is None or spec is None:
        return None
    if not manifest.is_imported:
        return BatchInvariantGraph(session)
    return BatchInvariantGraph(
        ImportedGraph(session, spec, pixels=manifest.image.range, latent_shape=latent_shape)
    )


def _no_graph(label: str, name: str) -> RunGraph:
    """In the place of a graph that the version does not have."""

    def run(rows: Float32Array, call: Call, /) -> PendingRun:  # noqa: ARG001
        raise NoGraph(label, missing=name, has="decoder" if name == "encoder" else "encoder")

    return run


def _image_sizes(
    manifest: Manifest, parts: Callable[[tuple[int, int, int], tuple[int, ...]], Mapping[str, Any]]
) -> OpenImageSizes | None:
    """The other sizes of images that the graphs accept."""
    sizes, latent, default = manifest.image.sizes, manifest.latent, manifest.image.shape
    if sizes is None or latent is None:
        return None

    def make(height: int, width: int) -> Mapping[str, Any]:
        shape = (default[0], height, width)
        return parts(shape, latent_shape_of(shape, default_image=default, latent=latent))

    return OpenImageSizes(sizes, make)


def _allow_exact_batches(
    encoder: BatchInvariantGraph | None, decoder: BatchInvariantGraph | None, manifest: Manifest
) -> None:
    if manifest.image.sizes is not None:
        return  # rows of large images gain nothing from batches, and 64 of them are much memory
    largest = BATCH_SIZES[0]
    shape, latent_size = manifest.image.shape, manifest.latent_size
    if encoder is not None and _takes_batches(manifest.encoder):
        noise = standard_normal(seed=_PROBE_SEED, first_row=0, rows=largest, size=math.prod(shape))
        # Zeros, ones and everything between, as in images.
        encoder.allow_exact_batches(np.clip(noise, 0.0, 1.0).reshape(largest, *shape))
    if decoder is not None and _takes_batches(manifest.decoder):
        decoder.allow_exact_batches(
            standard_normal(seed=_PROBE_SEED, first_row=0, rows=largest, size=latent_size)
        )


def _takes_batches(spec: GraphSpec | None) -> bool:
    """Whether the first axis of every tensor is dynamic; that of an imported graph may be 1."""
    return spec is not None and all(tensor.shape[0] == "batch" for tensor in (*spec.inputs, *spec.outputs))


def _check_golden(
    encoder: BatchInvariantGraph | None,
    decoder: BatchInvariantGraph | None,
    manifest: Manifest,
    golden: GoldenVectors,
    *,
    label: str,
) -> None:
    """With the same code as every request, so that the proof covers the responses."""
    try:
        if encoder is not None:
            mu, logvar = encoder.run(golden.x)
            golden.check_encoder(mu, logvar, manifest.golden)
    except GoldenMismatch as error:
        raise ModelRejected(f"{label}: {ENCODER_FILE}: {error}") from error
    try:
        if decoder is not None:
            (x_hat,) = decoder.run(golden.z)
            golden.check_decoder(x_hat, manifest.golden)
    except GoldenMismatch as error:
        raise ModelRejected(f"{label}: {DECODER_FILE}: {error}") from error
