"""Turn a published version into a loaded model: load its graphs, warm them and check them.

Knows verified bytes, the golden vectors and batch invariance. Knows nothing of HTTP, or of the origin of
versions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_store import GoldenMismatch, GoldenVectors, GraphSpec, Manifest, PublishedModel
from model_store.imported import latent_shape_of
from model_store.manifest import DECODER_FILE, ENCODER_FILE
from service.engine.errors import InferenceFailed, ModelRejected, NoGraph
from service.engine.image_sizes import OpenImageSizes
from service.engine.learned_prior import PriorGraphs
from service.engine.model import LoadedModel
from service.engine.observer import EngineObserver, Unobserved
from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder, PendingRun, RunGraph
from service.engine.operations.geometry import DEFAULT_SPAN, grid
from service.engine.operations.noise import standard_normal
from service.engine.operations.priors import Priors
from service.engine.runtime.accelerator import CPU, Accelerator
from service.engine.runtime.allocator import keep_no_large_blocks, return_memory
from service.engine.runtime.batch_invariance import BatchInvariantGraph
from service.engine.runtime.batcher import GraphQueue
from service.engine.runtime.call import Call
from service.engine.runtime.imported_graph import ImportedGraph
from service.engine.runtime.session import GraphSession
from service.engine.runtime.worker_pool import WorkerPool

#: Default maximum for callers without one: 65,536 images of 28×28 are 205 MB.
DEFAULT_MAX_BATCH = 65_536
#: The same in values of images, the largest that a version may have 64 times: 4 GB.
DEFAULT_MAX_VALUES = 1 << 30
#: Values of the images of golden vectors that a slow graph is run on, in any case one vector: a graph of 16
#: vectors of 512 × 512 pixels would otherwise take half a minute to load.
_GOLDEN_VALUES = 1_048_576
#: Values of an image whose layers have blocks that the heaps must not keep: 512 × 512 pixels.
_LARGE_VALUES: Final = 512 * 512
#: Any seed would do; its rows are the inputs for comparing batches with single rows.
_PROBE_SEED = 0
#: Numbers of steps whose coordinates are part of the digest.
_PROBE_STEPS = (5, 8, 16, 64)


def load_model(
    published: PublishedModel,
    *,
    accelerator: Accelerator = CPU,
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
        accelerator: What runs the graphs.
        threads: Threads of one run.
        worker_pool: Runs the model's queued work.
        max_batch: Maximum number of rows per call.
        max_values: Maximum number of values of the images of a call, or one image.
        aliases: Names of the version, without the model's own.
        observer: Counts the runs.

    Raises:
        ModelRejected: A graph does not load, contradicts the manifest, or disagrees with the golden vectors.
    """
    manifest, label = accelerator.tolerant(published.manifest), str(published.id)
    if manifest.values_per_row >= _LARGE_VALUES:
        keep_no_large_blocks()  # before the first run: heaps keep what it frees
    encoder = _session(published.encoder, manifest.encoder, threads=threads, accelerator=accelerator)
    decoder = _session(published.decoder, manifest.decoder, threads=threads, accelerator=accelerator)
    prior = None if manifest.learned_prior is None else PriorGraphs.load(published, threads=threads)
    priors = Priors(manifest, published.prior, model=label)
    watched = observer or Unobserved()

    def parts(shape: tuple[int, int, int], latent_shape: tuple[int, ...]) -> Mapping[str, Any]:
        """Fields of a loaded model for images of one size."""
        values = max(math.prod(shape), math.prod(latent_shape))
        graphs = {
            "encoder": _graph(encoder, manifest.encoder, manifest, latent_shape),
            "decoder": _graph(decoder, manifest.decoder, manifest, latent_shape),
        }
        queues = {
            name: GraphQueue(graph, worker_pool, model=label, observer=watched, row_values=values)
            for name, graph in graphs.items()
            if graph is not None
        }
        runs = {name: queues[name].run if name in queues else _no_graph(label, name) for name in graphs}
        learned = None
        if prior is not None and graphs["decoder"] is not None:
            learned = prior.queued(
                graphs["decoder"],
                worker_pool,
                model=label,
                observer=watched,
                row_values=values,
                run_decoder=runs["decoder"],
            )
        queued = EncoderDecoder(
            label=label,
            image_shape=shape,
            latent_size=math.prod(latent_shape),
            max_batch=min(max_batch, max(1, max_values // values)),
            values_per_row=values,
            has_posterior=manifest.kind == "vae",
            likelihood=manifest.likelihood,
            priors=priors,
            encoder_file=ENCODER_FILE,
            decoder_file=DECODER_FILE,
            run_encoder=runs["encoder"],
            run_decoder=runs["decoder"],
            check_decoding_time=queues["decoder"].check_time if "decoder" in queues else _in_no_time,
            learned_prior=learned,
            latent_shape=latent_shape if manifest.latent is not None else (),
            is_bounded=manifest.image.range is not None,
        )
        return {**graphs, "queued": queued}

    made = parts(manifest.image.shape, manifest.latent_shape)
    sizes = _image_sizes(manifest, parts)
    try:
        computed = _prove(made["encoder"], made["decoder"], manifest, published.golden, label=label)
        if published.golden.other is not None and sizes is not None:
            other = published.golden.other
            image = (other.x if len(other.x) else other.x_hat).shape
            at_other = sizes.of(image[2], image[3])
            assert at_other is not None, "checked with the golden vectors"
            computed += _prove(at_other["encoder"], at_other["decoder"], manifest, other, label=label)
        if prior is not None:
            computed += prior.warm_and_check(label)
    except InferenceFailed as error:
        raise ModelRejected(f"{label}: a graph loaded, but does not run. {error}") from error
    if any(graph is not None and graph.is_long for graph in (made["encoder"], made["decoder"])):
        keep_no_large_blocks()
        return_memory()
    return LoadedModel(
        id=published.id,
        manifest=manifest,
        aliases=aliases,
        computed_sha256=_digest_of((*computed, *_coordinates())),
        prior=prior,
        precision=accelerator.precision,
        preview=published.preview,
        sizes=sizes,
        **made,
    )


def _session(
    graph: bytes, spec: GraphSpec | None, *, threads: int, accelerator: Accelerator
) -> GraphSession | None:
    return None if spec is None else GraphSession(graph, spec, threads=threads, accelerator=accelerator)


def _graph(
    session: GraphSession | None,
    spec: GraphSpec | None,
    manifest: Manifest,
    latent_shape: tuple[int, ...],
) -> BatchInvariantGraph | None:
    """A graph for images of one size, behind the tensors of the contract."""
    if session is None or spec is None:
        return None
    if not manifest.is_imported and manifest.latent is None:
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


def _in_no_time(rows: int, call: Call, /) -> None:
    """In the place of an estimate for a decoder that the version does not have: its run is refused."""


def _takes_batches(spec: GraphSpec | None, manifest: Manifest) -> bool:
    """Whether batches of the graph may be compared with single rows.

    The first axis of an imported graph may be 1. Rows of images of open sizes gain nothing from batches, and
    64 of them are much memory.
    """
    return (
        spec is not None
        and manifest.image.sizes is None
        and all(tensor.shape[0] == "batch" for tensor in (*spec.inputs, *spec.outputs))
    )


def _prove(
    encoder: BatchInvariantGraph | None,
    decoder: BatchInvariantGraph | None,
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
    computed: tuple[Float32Array, ...] = ()
    try:
        if encoder is not None:
            draw = images if _takes_batches(manifest.encoder, manifest) else None
            mu, logvar = _outputs(encoder, golden.x, draw, most_if_slow=most)
            golden.first(len(mu)).check_encoder(mu, logvar, manifest.golden)
            computed += (mu[:most], logvar[:most])
    except GoldenMismatch as error:
        raise ModelRejected(f"{label}: {ENCODER_FILE}: {error}") from error
    try:
        if decoder is not None:
            draw = latents if _takes_batches(manifest.decoder, manifest) else None
            (x_hat,) = _outputs(decoder, golden.z, draw, most_if_slow=most)
            golden.first(len(x_hat)).check_decoder(x_hat, manifest.golden)
            computed += (x_hat[:most],)
    except GoldenMismatch as error:
        raise ModelRejected(f"{label}: {DECODER_FILE}: {error}") from error
    return computed


def _outputs(
    graph: BatchInvariantGraph,
    rows: Float32Array,
    draw: Callable[[int], Float32Array] | None,
    *,
    most_if_slow: int,
) -> tuple[Float32Array, ...]:
    """Outputs for golden rows: for all of them, or the first ones of a slow graph, each row run once.

    Args:
        graph: Runs the rows.
        rows: Inputs of the golden vectors.
        draw: Makes inputs for comparing batches; None: batches are not compared.
        most_if_slow: Rows to run if batches were not compared.
    """
    first = graph.first_run(rows[:1])
    if draw is not None and graph.allow_exact_batches(draw):
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
