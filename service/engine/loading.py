"""Turn a published version into a loaded model: load its graphs, warm them and check them.

Knows verified bytes, the golden vectors and batch invariance. Knows nothing of HTTP, or of the origin of
versions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from model_store import GoldenMismatch, GoldenVectors, Manifest, PublishedModel
from service.engine.errors import InferenceFailed, ModelRejected
from service.engine.learned_prior import PriorGraphs
from service.engine.model import LoadedModel
from service.engine.observer import EngineObserver, Unobserved
from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder
from service.engine.operations.geometry import DEFAULT_SPAN, grid
from service.engine.operations.noise import standard_normal
from service.engine.operations.priors import Priors
from service.engine.runtime.allocator import return_memory
from service.engine.runtime.batch_invariance import BatchInvariantGraph
from service.engine.runtime.batcher import GraphQueue
from service.engine.runtime.session import GraphSession
from service.engine.runtime.worker_pool import WorkerPool

#: Default maximum for callers without one: 65,536 images of 28×28 are 205 MB.
DEFAULT_MAX_BATCH = 65_536
#: The same in values of images, the largest that a version may have 64 times: 4 GB.
DEFAULT_MAX_VALUES = 1 << 30
#: Values of the images of golden vectors that a slow graph is run on, in any case one vector: a graph of 16
#: vectors of 512 × 512 pixels would otherwise take half a minute to load.
_GOLDEN_VALUES = 1_048_576
#: Any seed would do; its rows are the inputs for comparing batches with single rows.
_PROBE_SEED = 0
#: Numbers of steps whose coordinates are part of the digest.
_PROBE_STEPS = (5, 8, 16, 64)


def load_model(
    published: PublishedModel,
    *,
    threads: int,
    worker_pool: WorkerPool,
    max_batch: int = DEFAULT_MAX_BATCH,
    max_values: int = DEFAULT_MAX_VALUES,
    aliases: tuple[str, ...] = (),
    observer: EngineObserver | None = None,
) -> LoadedModel:
    """Load both graphs from their verified bytes, warm them, and compare them with the golden vectors.

    Each graph first runs one golden vector, and its time decides what follows. A quick graph is compared in
    every batch size (`batch_invariance`), then run on all golden vectors as requests will run. A slow one is
    run on as many of the vectors as have `_GOLDEN_VALUES` values.

    Args:
        published: Verified bytes and manifest.
        threads: Threads of one run.
        worker_pool: Runs the model's queued work.
        max_batch: Maximum number of rows per call.
        max_values: Maximum number of values of the images of a call, or one image.
        aliases: Names of the version, without the model's own.
        observer: Counts the runs.

    Raises:
        ModelRejected: A graph does not load, contradicts the manifest, or disagrees with the golden vectors.
    """
    manifest, label = published.manifest, str(published.id)
    encoder = BatchInvariantGraph(GraphSession(published.encoder, manifest.encoder, threads=threads))
    decoder = BatchInvariantGraph(GraphSession(published.decoder, manifest.decoder, threads=threads))
    prior = None if manifest.learned_prior is None else PriorGraphs.load(published, threads=threads)
    try:
        computed = _prove(encoder, decoder, manifest, published.golden, label=label)
        if prior is not None:
            computed += prior.warm_and_check(label)
    except InferenceFailed as error:
        raise ModelRejected(f"{label}: a graph loaded, but does not run. {error}") from error
    if encoder.is_long or decoder.is_long:
        return_memory()
    watched = observer or Unobserved()
    values = manifest.values_per_row
    encoding, decoding = (
        GraphQueue(graph, worker_pool, model=label, observer=watched, row_values=values)
        for graph in (encoder, decoder)
    )
    queued = EncoderDecoder(
        label=label,
        image_shape=manifest.image.shape,
        latent_size=manifest.latent_size,
        max_batch=min(max_batch, max(1, max_values // values)),
        values_per_row=values,
        has_posterior=manifest.kind == "vae",
        likelihood=manifest.likelihood,
        priors=Priors(manifest, published.prior, model=label),
        encoder_file=manifest.encoder.file,
        decoder_file=manifest.decoder.file,
        run_encoder=encoding.run,
        run_decoder=decoding.run,
        check_decoding_time=decoding.check_time,
        learned_prior=None
        if prior is None
        else prior.queued(decoder, worker_pool, model=label, observer=watched, row_values=values),
    )
    return LoadedModel(
        id=published.id,
        manifest=manifest,
        aliases=aliases,
        encoder=encoder,
        decoder=decoder,
        queued=queued,
        computed_sha256=_digest_of((*computed, *_coordinates())),
        prior=prior,
        preview=published.preview,
    )


def _prove(
    encoder: BatchInvariantGraph,
    decoder: BatchInvariantGraph,
    manifest: Manifest,
    golden: GoldenVectors,
    *,
    label: str,
) -> tuple[Float32Array, ...]:
    """Golden vectors, with the same code as every request, so that the proof covers the responses.

    Returns:
        What both graphs computed, of the same number of vectors on every machine.
    """
    shape, latent_size = manifest.image.shape, manifest.latent_size

    def images(count: int) -> Float32Array:
        noise = standard_normal(seed=_PROBE_SEED, first_row=0, rows=count, size=math.prod(shape))
        # Zeros, ones and everything between, as in images.
        return np.clip(noise, 0.0, 1.0).reshape(count, *shape)

    def latents(count: int) -> Float32Array:
        return standard_normal(seed=_PROBE_SEED, first_row=0, rows=count, size=latent_size)

    most = max(1, _GOLDEN_VALUES // manifest.values_per_row)
    try:
        mu, logvar = _outputs(encoder, golden.x, images, most_if_slow=most)
        golden.first(len(mu)).check_encoder(mu, logvar, manifest.golden)
    except GoldenMismatch as error:
        raise ModelRejected(f"{label}: {encoder.file}: {error}") from error
    try:
        (x_hat,) = _outputs(decoder, golden.z, latents, most_if_slow=most)
        golden.first(len(x_hat)).check_decoder(x_hat, manifest.golden)
    except GoldenMismatch as error:
        raise ModelRejected(f"{label}: {decoder.file}: {error}") from error
    return mu[:most], logvar[:most], x_hat[:most]


def _outputs(
    graph: BatchInvariantGraph,
    rows: Float32Array,
    draw: Callable[[int], Float32Array],
    *,
    most_if_slow: int,
) -> tuple[Float32Array, ...]:
    """Outputs for golden rows: for all of them, or the first ones of a slow graph, each row run once."""
    first = graph.first_run(rows[:1])
    if graph.allow_exact_batches(draw):
        return graph.run(rows)
    others = rows[1:most_if_slow]
    if not len(others):
        return first
    return tuple(np.concatenate(both) for both in zip(first, graph.run(others), strict=True))


def _coordinates() -> Iterable[NDArray[np.float32]]:
    """Quantiles of the prior as /traverse uses them: they come from logarithms of the C library."""
    for steps in _PROBE_STEPS:
        yield grid(steps=steps, spacing="quantile", span=DEFAULT_SPAN).astype(np.float32)


def _digest_of(arrays: Iterable[NDArray[np.float32]]) -> str:
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()
