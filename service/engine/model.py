"""A published version, loaded and checked.

Knows the two graphs, their queues and the golden vectors. Knows nothing of HTTP, JSON, pictures or where
versions come from. What a version can do is in `operations.py`: `queued` is for many callers on an event
loop; the methods of the same names here run in the calling thread, which may be any.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from model_store import GoldenMismatch, GoldenVectors, Manifest, PublishedModel, VersionId
from service.engine.errors import InferenceFailed, ModelRejected
from service.engine.observer import EngineObserver, Unobserved
from service.engine.operations.core import (
    Float32Array,
    Posterior,
    Reconstruction,
    RunGraph,
    Samples,
    at_once,
)
from service.engine.operations.geometry import Method, Spacing
from service.engine.operations.latent_paths import (
    DEFAULT_SPAN,
    DEFAULT_STEPS,
    Interpolation,
    LatentPathOperations,
    Traversal,
)
from service.engine.operations.noise import standard_normal
from service.engine.operations.priors import Priors
from service.engine.operations.scoring import DEFAULT_MAX_DRAWS, Binarise, ScoreOperations, Scores
from service.engine.runtime.batch_invariance import BATCH_SIZES, BatchInvariantGraph
from service.engine.runtime.batcher import GraphQueue
from service.engine.runtime.call import Call
from service.engine.runtime.session import GraphSession
from service.engine.runtime.worker_pool import WorkerPool

#: A ceiling for callers that set none: 65,536 images of 28×28 are 205 MB.
DEFAULT_MAX_BATCH = 65_536
#: Any seed would do; the rows it gives are the inputs on which batches are compared with single rows.
_PROBE_SEED = 0


class AllOperations(LatentPathOperations, ScoreOperations):
    """Everything that one version can do."""


class LoadedModel:
    """One version that has reproduced its golden vectors in this process."""

    def __init__(
        self,
        published: PublishedModel,
        *,
        threads: int,
        max_batch: int = DEFAULT_MAX_BATCH,
        aliases: tuple[str, ...] = (),
        worker_pool: WorkerPool | None = None,
        observer: EngineObserver | None = None,
    ) -> None:
        """Load both graphs from their verified bytes, warm them, and compare them with the golden vectors.

        Args:
            published: Verified bytes and manifest.
            threads: Threads of one run.
            max_batch: Most rows that one call takes.
            aliases: Names that point here, without the model's own.
            worker_pool: Where the runs of `queued` happen; None for a version that is never used so.
            observer: Told of those runs.

        Raises:
            ModelRejected: A graph does not load, is not what the manifest says, or disagrees with the golden
                vectors.
        """
        self._manifest = published.manifest
        self._id = published.id
        self._label = str(published.id)
        self._aliases = aliases
        self._max_batch = max_batch
        self._encoder = BatchInvariantGraph(
            GraphSession(published.encoder, self._manifest.encoder, threads=threads)
        )
        self._decoder = BatchInvariantGraph(
            GraphSession(published.decoder, self._manifest.decoder, threads=threads)
        )
        try:
            self._allow_exact_batches()
            self._check_golden(published.golden)
        except InferenceFailed as error:
            raise ModelRejected(f"{self.label}: a graph loaded, but does not run. {error}") from error
        self._priors = Priors(self._manifest, published.prior, model=self.label)
        self._at_once = self._operations(_AtOnce(self._encoder), _AtOnce(self._decoder))
        self._queued: AllOperations | None = None
        if worker_pool is not None:
            watched = observer or Unobserved()
            queues = (
                GraphQueue(graph, worker_pool, model=self.label, observer=watched)
                for graph in (self._encoder, self._decoder)
            )
            self._queued = self._operations(*(queue.run for queue in queues))

    @property
    def id(self) -> VersionId:
        """Name and version."""
        return self._id

    @property
    def label(self) -> str:
        """`name@version`, as answers carry it."""
        return self._label

    @property
    def manifest(self) -> Manifest:
        """What the version says about itself."""
        return self._manifest

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names that pointed here when the store was last read, such as `stable`."""
        return self._aliases

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self._manifest.image.shape

    @property
    def latent_size(self) -> int:
        """Length of one z."""
        return self._manifest.latent_size

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels whose images can be asked for; none without a fitted prior."""
        return self._priors.labels

    @property
    def max_batch(self) -> int:
        """Most rows that one call takes."""
        return self._max_batch

    @property
    def batch_sizes(self) -> dict[str, tuple[int, ...]]:
        """By graph, the sizes it is run in: (1,) where larger ones would change bits (`batch_invariance`)."""
        return {graph.file: graph.batch_sizes for graph in (self._encoder, self._decoder)}

    def with_aliases(self, aliases: tuple[str, ...]) -> LoadedModel:
        """The same loaded graphs under other names."""
        renamed = copy.copy(self)
        renamed._aliases = aliases
        return renamed

    @property
    def queued(self) -> AllOperations:
        """The operations for many callers on one event loop: batched, bounded, with deadlines."""
        assert self._queued is not None, "loaded without a worker pool"
        return self._queued

    def encode(self, x: Float32Array) -> Posterior:
        """`Operations.encode` in this thread, without any queue."""
        return at_once(self._at_once.encode(x))

    def decode(self, z: Float32Array) -> Float32Array:
        """`Operations.decode` in this thread, without any queue."""
        return at_once(self._at_once.decode(z))

    def sample(
        self,
        *,
        n: int = 1,
        seed: int | None = None,
        temperature: float = 1.0,
        prior: str | None = None,
        label: str | None = None,
    ) -> Samples:
        """`Operations.sample` in this thread, without any queue."""
        return at_once(
            self._at_once.sample(n=n, seed=seed, temperature=temperature, prior=prior, label=label)
        )

    def reconstruct(
        self, x: Float32Array, *, sample: bool = False, seed: int | None = None
    ) -> Reconstruction:
        """`Operations.reconstruct` in this thread, without any queue."""
        return at_once(self._at_once.reconstruct(x, sample=sample, seed=seed))

    def interpolate(
        self,
        *,
        x: Float32Array | None = None,
        z: Float32Array | None = None,
        steps: int = DEFAULT_STEPS,
        method: Method | None = None,
    ) -> Interpolation:
        """`LatentPathOperations.interpolate` in this thread, without any queue."""
        return at_once(self._at_once.interpolate(x=x, z=z, steps=steps, method=method))

    def traverse(
        self,
        *,
        x: Float32Array | None = None,
        z: Float32Array | None = None,
        dims: Sequence[int] | None = None,
        steps: int = DEFAULT_STEPS,
        spacing: Spacing | None = None,
        span: float = DEFAULT_SPAN,
    ) -> Traversal:
        """`LatentPathOperations.traverse` in this thread, without any queue."""
        return at_once(self._at_once.traverse(x=x, z=z, dims=dims, steps=steps, spacing=spacing, span=span))

    def score(
        self,
        x: Float32Array,
        *,
        importance_samples: int | None = None,
        seed: int | None = None,
        binarise: Binarise | None = None,
        max_draws: int = DEFAULT_MAX_DRAWS,
    ) -> Scores:
        """`ScoreOperations.score` in this thread, without any queue."""
        return at_once(
            self._at_once.score(
                x,
                importance_samples=importance_samples,
                seed=seed,
                binarise=binarise,
                max_draws=max_draws,
            )
        )

    def _operations(self, encoder: RunGraph, decoder: RunGraph) -> AllOperations:
        return AllOperations(
            self._manifest,
            label=self.label,
            max_batch=self._max_batch,
            encoder=encoder,
            decoder=decoder,
            priors=self._priors,
        )

    def _allow_exact_batches(self) -> None:
        largest = BATCH_SIZES[0]
        pixels = int(np.prod(self.image_shape))
        noise = standard_normal(seed=_PROBE_SEED, first_row=0, rows=largest, size=pixels)
        # Zeros, ones and everything between, as images have them.
        self._encoder.allow_exact_batches(np.clip(noise, 0.0, 1.0).reshape(largest, *self.image_shape))
        self._decoder.allow_exact_batches(
            standard_normal(seed=_PROBE_SEED, first_row=0, rows=largest, size=self.latent_size)
        )

    def _check_golden(self, golden: GoldenVectors) -> None:
        """Through the same code as every request, so that what is proved here is what answers."""
        spec = self._manifest.golden
        try:
            mu, logvar = self._encoder.run(golden.x)
            golden.check_encoder(mu, logvar, spec)
        except GoldenMismatch as error:
            raise ModelRejected(f"{self.label}: {self._encoder.file}: {error}") from error
        try:
            (x_hat,) = self._decoder.run(golden.z)
            golden.check_decoder(x_hat, spec)
        except GoldenMismatch as error:
            raise ModelRejected(f"{self.label}: {self._decoder.file}: {error}") from error


class _AtOnce:
    """A graph run in the calling thread, behind the face of a queue."""

    def __init__(self, graph: BatchInvariantGraph) -> None:
        self._graph = graph

    async def __call__(self, rows: Float32Array, _: Call, /) -> tuple[Float32Array, ...]:
        return self._graph.run(rows)
