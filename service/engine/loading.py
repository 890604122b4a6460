"""Turn a published version into a loaded model: load its graphs, warm them and check them.

Knows verified bytes, the golden vectors and batch invariance. Knows nothing of HTTP, or of the origin of
versions.
"""

from __future__ import annotations

import math

import numpy as np

from model_store import GoldenMismatch, GoldenVectors, GraphSpec, Manifest, PublishedModel
from service.engine.errors import InferenceFailed, ModelRejected
from service.engine.model import LoadedModel
from service.engine.observer import EngineObserver, Unobserved
from service.engine.operations.encoder_decoder import EncoderDecoder
from service.engine.operations.noise import standard_normal
from service.engine.operations.priors import Priors
from service.engine.runtime.accelerator import CPU, Accelerator
from service.engine.runtime.batch_invariance import BATCH_SIZES, BatchInvariantGraph
from service.engine.runtime.batcher import GraphQueue
from service.engine.runtime.session import GraphSession
from service.engine.runtime.worker_pool import WorkerPool

#: Default maximum for callers without one: 65,536 images of 28×28 are 205 MB.
DEFAULT_MAX_BATCH = 65_536
#: Any seed would do; its rows are the inputs for comparing batches with single rows.
_PROBE_SEED = 0


def load_model(
    published: PublishedModel,
    *,
    accelerator: Accelerator = CPU,
    threads: int,
    worker_pool: WorkerPool,
    max_batch: int = DEFAULT_MAX_BATCH,
    aliases: tuple[str, ...] = (),
    observer: EngineObserver | None = None,
) -> LoadedModel:
    """Load both graphs from their verified bytes, warm them, and compare them with the golden vectors.

    Args:
        published: Verified bytes and manifest.
        accelerator: What runs the graphs.
        threads: Threads of one run.
        worker_pool: Runs the model's queued work.
        max_batch: Maximum number of rows per call.
        aliases: Names of the version, without the model's own.
        observer: Counts the runs.

    Raises:
        ModelRejected: A graph does not load, contradicts the manifest, or disagrees with the golden vectors.
    """
    manifest, label = accelerator.tolerant(published.manifest), str(published.id)

    def loaded(graph: bytes, spec: GraphSpec) -> BatchInvariantGraph:
        return BatchInvariantGraph(GraphSession(graph, spec, threads=threads, accelerator=accelerator))

    encoder = loaded(published.encoder, manifest.encoder)
    decoder = loaded(published.decoder, manifest.decoder)
    try:
        _allow_exact_batches(encoder, decoder, manifest)
        _check_golden(encoder, decoder, manifest, published.golden, label=label)
    except InferenceFailed as error:
        raise ModelRejected(f"{label}: a graph loaded, but does not run. {error}") from error
    watched = observer or Unobserved()
    queued = EncoderDecoder(
        label=label,
        image_shape=manifest.image.shape,
        latent_size=manifest.latent_size,
        max_batch=max_batch,
        has_posterior=manifest.kind == "vae",
        likelihood=manifest.likelihood,
        priors=Priors(manifest, published.prior, model=label),
        encoder_file=manifest.encoder.file,
        decoder_file=manifest.decoder.file,
        run_encoder=GraphQueue(encoder, worker_pool, model=label, observer=watched).run,
        run_decoder=GraphQueue(decoder, worker_pool, model=label, observer=watched).run,
    )
    return LoadedModel(
        id=published.id,
        manifest=manifest,
        aliases=aliases,
        encoder=encoder,
        decoder=decoder,
        queued=queued,
        precision=accelerator.precision,
        preview=published.preview,
    )


def _allow_exact_batches(
    encoder: BatchInvariantGraph, decoder: BatchInvariantGraph, manifest: Manifest
) -> None:
    largest = BATCH_SIZES[0]
    shape, latent_size = manifest.image.shape, manifest.latent_size
    noise = standard_normal(seed=_PROBE_SEED, first_row=0, rows=largest, size=math.prod(shape))
    # Zeros, ones and everything between, as in images.
    encoder.allow_exact_batches(np.clip(noise, 0.0, 1.0).reshape(largest, *shape))
    decoder.allow_exact_batches(
        standard_normal(seed=_PROBE_SEED, first_row=0, rows=largest, size=latent_size)
    )


def _check_golden(
    encoder: BatchInvariantGraph,
    decoder: BatchInvariantGraph,
    manifest: Manifest,
    golden: GoldenVectors,
    *,
    label: str,
) -> None:
    """With the same code as every request, so that the proof covers the responses."""
    try:
        mu, logvar = encoder.run(golden.x)
        golden.check_encoder(mu, logvar, manifest.golden)
    except GoldenMismatch as error:
        raise ModelRejected(f"{label}: {encoder.file}: {error}") from error
    try:
        (x_hat,) = decoder.run(golden.z)
        golden.check_decoder(x_hat, manifest.golden)
    except GoldenMismatch as error:
        raise ModelRejected(f"{label}: {decoder.file}: {error}") from error
