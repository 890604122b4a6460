"""The graphs of a learned prior: load them, warm them, check them, and queue them with the decoder.

Knows verified bytes, the golden vectors of the prior and batch invariance. Knows nothing of HTTP.

    u ── prior_sampler.onnx ──▶ z ── decoder.onnx ──▶ x_hat        one run, for a few samples; else two
    z ── decoder.onnx ──▶ x_hat,  z ── prior_density.onnx ──▶ u, log_pz        one run, for scores
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from model_store import GoldenMismatch, LearnedPrior, PriorGolden, PublishedModel
from service.engine.errors import ModelRejected
from service.engine.observer import EngineObserver
from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import LearnedPriorRuns, PendingRun, RunGraph
from service.engine.operations.noise import standard_normal
from service.engine.runtime.batch_invariance import BatchInvariantGraph
from service.engine.runtime.batcher import QUANTUM_S, GraphQueue
from service.engine.runtime.call import Call
from service.engine.runtime.composition import ComposedGraph, one_after_the_other, side_by_side
from service.engine.runtime.session import GraphSession
from service.engine.runtime.worker_pool import WorkerPool

#: Any seed would do; its rows are the inputs for comparing batches with single rows.
_PROBE_SEED = 0


@dataclass(frozen=True, eq=False)
class PriorGraphs:
    """Both graphs of one version's learned prior."""

    sampler: BatchInvariantGraph
    density: BatchInvariantGraph
    entry: LearnedPrior
    golden: PriorGolden

    @classmethod
    def load(cls, published: PublishedModel, *, threads: int) -> PriorGraphs:
        """Both graphs from their verified bytes.

        Raises:
            ModelRejected: A graph does not load, or contradicts the manifest.
        """
        entry, files = published.manifest.learned_prior, published.learned_prior
        assert entry is not None
        assert files is not None, "verified with the manifest"
        return cls(
            sampler=BatchInvariantGraph(GraphSession(files.sampler, entry.sampler, threads=threads)),
            density=BatchInvariantGraph(GraphSession(files.density, entry.density, threads=threads)),
            entry=entry,
            golden=files.golden,
        )

    def warm_and_check(self, label: str) -> tuple[Float32Array, ...]:
        """Compare every batch size with single rows, and both directions with the golden vectors.

        Args:
            label: `name@version`, for messages.

        Returns:
            What both graphs computed for the golden vectors.

        Raises:
            ModelRejected: A graph disagrees with the golden vectors, or u does not come back from z.
            InferenceFailed: The runtime raised.
        """
        size = self.golden.u.shape[1]

        def draw(count: int) -> Float32Array:
            return standard_normal(seed=_PROBE_SEED, first_row=0, rows=count, size=size)

        for graph in (self.sampler, self.density):
            graph.first_run(draw(1))
            graph.allow_exact_batches(draw)
        try:
            (z,) = self.sampler.run(self.golden.u)
            self.golden.check_sampler(z, self.entry.golden)
        except GoldenMismatch as error:
            raise ModelRejected(f"{label}: {self.sampler.file}: {error}") from error
        try:
            u, log_pz = self.density.run(self.golden.z)
            self.golden.check_density(u, log_pz, self.entry.golden)
        except GoldenMismatch as error:
            raise ModelRejected(f"{label}: {self.density.file}: {error}") from error
        return z, u, log_pz

    def with_decoder(self, decoder: BatchInvariantGraph) -> tuple[ComposedGraph, ComposedGraph]:
        """u → x_hat, z, for samples; and z → x_hat, u, log_pz, for scores."""
        return (
            ComposedGraph(self.sampler, decoder, one_after_the_other),
            ComposedGraph(decoder, self.density, side_by_side),
        )

    def queued(
        self,
        decoder: BatchInvariantGraph,
        worker_pool: WorkerPool,
        *,
        model: str,
        observer: EngineObserver,
        row_values: int,
        run_decoder: RunGraph,
    ) -> LearnedPriorRuns:
        """The runs of samples and of scores behind queues of their own.

        Args:
            decoder: The decoder of the same version.
            worker_pool: As of `GraphQueue`, like the next three.
            model: Its label.
            observer: Counts the runs.
            row_values: Values of an image.
            run_decoder: The decoder behind its own queue.
        """
        both, scores = self.with_decoder(decoder)
        sampling, together, scoring = (
            GraphQueue(graph, worker_pool, model=model, observer=observer, row_values=row_values)
            for graph in (self.sampler, both, scores)
        )

        def run_sampler(u: Float32Array, call: Call, /) -> PendingRun:
            """In one run if that is short; otherwise each graph in slices of the size that suits it.

            A slice is as long for any graph, which is 2 rows of both graphs, but 128 of the sampler alone. In
            slices of 2 rows it took five times as long for a row.
            """
            if len(u) <= both.rows_within(QUANTUM_S):
                return together.run(u, call)
            return asyncio.ensure_future(run_both(u, call))

        async def run_both(u: Float32Array, call: Call) -> tuple[Float32Array, ...]:
            (z,) = await sampling.run(u, call)
            return (*await run_decoder(z, call), z)

        return LearnedPriorRuns(
            run_sampler=run_sampler,
            run_density=scoring.run,
            sampler_file=self.sampler.file,
            density_file=self.density.file,
        )
