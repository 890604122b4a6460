"""Operations of the engine as plain calls: in the calling thread, with no queue and no event loop.

    model = load(published)
    posterior = directly(encode, model, x)

Knows the engine's public names. Knows nothing of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_store import PublishedModel
from service.engine import Call, EncoderDecoder, LoadedModel, WorkerPool, load_model
from service.engine.runtime.batch_invariance import BatchInvariantGraph
from service.engine.runtime.composition import ComposedGraph

Outputs = tuple[NDArray[np.float32], ...]
P = ParamSpec("P")
T = TypeVar("T")


def load(published: PublishedModel, *, threads: int = 1, **options: Any) -> LoadedModel:
    """A model whose queues nothing uses: no thread is started."""
    return load_model(published, **{"threads": threads, "worker_pool": WorkerPool(1), **options})


def directly(
    operation: Callable[Concatenate[EncoderDecoder, P], Coroutine[Any, Any, T]],
    model: LoadedModel,
    /,
    *arguments: P.args,
    **options: P.kwargs,
) -> T:
    """The result of an operation on the graphs themselves."""
    assert model.encoder is not None
    assert model.decoder is not None
    unqueued = replace(model.queued, run_encoder=_RunHere(model.encoder), run_decoder=_RunHere(model.decoder))
    if model.prior is not None and model.queued.learned_prior is not None:
        sampling, scoring = map(_RunHere, model.prior.with_decoder(model.decoder))
        runs = replace(model.queued.learned_prior, run_sampler=sampling, run_density=scoring)
        unqueued = replace(unqueued, learned_prior=runs)
    coroutine = operation(unqueued, *arguments, **options)
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("an operation on the graphs themselves has nothing to wait for")


class _RunHere:
    """A graph run in the calling thread, behind the interface of a queue."""

    def __init__(self, graph: BatchInvariantGraph | ComposedGraph) -> None:
        self._graph = graph

    def __call__(self, rows: NDArray[np.float32], _: Call, /) -> _Computed:
        return _Computed(self._graph.run(rows))


class _Computed:
    """Outputs that are there already."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def __await__(self) -> Generator[Any, None, Outputs]:
        return self._outputs
        yield

    def cancel(self) -> bool:
        return False
