"""A published version, loaded and checked.

Knows the manifest, the two graphs, and the functions that operations use. Knows nothing of loading or finding
a version, of HTTP, JSON or image files.

`queued` is the argument of every operation: `await encode(model.queued, x, call=call)`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from model_store import Manifest, Preview, VersionId
from service.engine.operations.encoder_decoder import EncoderDecoder
from service.engine.runtime.accelerator import Precision
from service.engine.runtime.batch_invariance import BatchInvariantGraph


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """One version that has reproduced its golden vectors in this process."""

    id: VersionId
    """Name and version."""
    manifest: Manifest
    """The version's description of itself."""
    aliases: tuple[str, ...]
    """Names of this version at the last reading of the store, such as `stable`, without the model's own."""
    encoder: BatchInvariantGraph
    decoder: BatchInvariantGraph
    queued: EncoderDecoder
    """The graphs behind their queues: batched, bounded, with deadlines. For one event loop."""
    precision: Precision = "float32"
    """Number format of the computation."""
    preview: Preview | None = None
    """Posterior means of some real images, if the version was published with them."""

    @property
    def label(self) -> str:
        """`name@version`, as in responses."""
        return self.queued.label

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.queued.image_shape

    @property
    def latent_size(self) -> int:
        """Length of one z."""
        return self.queued.latent_size

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels whose images can be requested; none without a fitted prior."""
        return self.queued.priors.labels

    @property
    def max_batch(self) -> int:
        """Maximum number of rows per call."""
        return self.queued.max_batch

    @property
    def batch_sizes(self) -> dict[str, tuple[int, ...]]:
        """The batch sizes of each graph: (1,) if larger ones would change bits (`batch_invariance`)."""
        return {graph.file: graph.batch_sizes for graph in (self.encoder, self.decoder)}

    def with_aliases(self, aliases: tuple[str, ...]) -> LoadedModel:
        """The same loaded graphs under other names."""
        return dataclasses.replace(self, aliases=aliases)
