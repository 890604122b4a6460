"""A published version, loaded and checked.

Knows the manifest, the two graphs, and the functions that operations use. Knows nothing of loading or finding
a version, of HTTP, JSON or image files.

`queued` is the argument of every operation: `await encode(model.queued, x, call=call)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from model_store import Manifest, Preview, VersionId
from service.engine.learned_prior import PriorGraphs
from service.engine.operations.encoder_decoder import EncoderDecoder
from service.engine.runtime.accelerator import Precision
from service.engine.runtime.batch_invariance import BatchInvariantGraph


class ImageSizes(Protocol):
    """Makes what a version needs for images of another size."""

    def of(self, height: int, width: int) -> Mapping[str, Any] | None:
        """Fields of `LoadedModel` for images of this size; None if the graphs do not accept it."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """One version that has reproduced its golden vectors in this process."""

    id: VersionId
    """Name and version."""
    manifest: Manifest
    """The version's description of itself."""
    aliases: tuple[str, ...]
    """Names of this version at the last reading of the store, such as `stable`, without the model's own."""
    encoder: BatchInvariantGraph | None
    """None if it was imported without."""
    decoder: BatchInvariantGraph | None
    queued: EncoderDecoder
    """The graphs behind their queues: batched, bounded, with deadlines. For one event loop."""
    computed_sha256: str
    """Digest of what this process computes with the version for fixed inputs, to the last bit. Another
    processor, runtime or number format may have another digest, although it reproduces the golden vectors."""
    prior: PriorGraphs | None = None
    """The graphs of the learned prior, if the version has one."""
    precision: Precision = "float32"
    """Number format of the computation."""
    preview: Preview | None = None
    """Posterior means of some real images, if the version was published with them."""
    sizes: ImageSizes | None = None
    """The same graphs for images of other sizes, if they accept some."""

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
        """Number of values of one z."""
        return self.queued.latent_size

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one z, for clients."""
        return self.queued.latent_shape or (self.queued.latent_size,)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels whose images can be requested; none without a fitted or learned prior."""
        return self.queued.priors.labels

    @property
    def max_batch(self) -> int:
        """Maximum number of rows per call."""
        return self.queued.max_batch

    @property
    def batch_sizes(self) -> dict[str, tuple[int, ...]]:
        """The batch sizes of each graph: (1,) if larger ones would change bits (`batch_invariance`)."""
        graphs = [self.encoder, self.decoder]
        if self.prior is not None:
            graphs += [self.prior.sampler, self.prior.density]
        return {graph.file: graph.batch_sizes for graph in graphs if graph is not None}

    def of_size(self, height: int, width: int) -> LoadedModel | None:
        """The same version for images of one size; None if its graphs do not accept it."""
        if (height, width) == self.image_shape[1:]:
            return self
        parts = None if self.sizes is None else self.sizes.of(height, width)
        return None if parts is None else dataclasses.replace(self, **parts)

    def with_aliases(self, aliases: tuple[str, ...]) -> LoadedModel:
        """The same loaded graphs under other names."""
        return dataclasses.replace(self, aliases=aliases)
