"""The rows of a tensor, batch by batch, and the progress of a long computation over them.

Knows tensors. Knows nothing of models, or of the display of the progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Progress = Callable[[str, int, int], None]
"""Called with (name of the figure, images done, images in all)."""


def in_batches(
    rows: Tensor,
    batch_size: int,
    what: str,
    progress: Progress | None,
    *,
    earlier: int = 0,
    total: int | None = None,
) -> Iterator[Tensor]:
    """The rows in their order, at most `batch_size` at a time; reports each batch when it is processed.

    Args:
        rows: Images, latents or indices.
        batch_size: Rows of a batch; the last one may be shorter.
        what: Name of the computation.
        progress: Left out, nothing is reported.
        earlier: Rows of the same computation that were processed before these.
        total: Rows of the whole computation; left out, these are all.
    """
    done = earlier
    for batch in torch.split(rows, batch_size):
        yield batch
        done += len(batch)
        if progress is not None:
            progress(what, done, len(rows) if total is None else total)
