"""The rows of a tensor, batch by batch, and how far a long computation over them has come.

Knows tensors. Knows nothing of models, or of who watches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Progress = Callable[[str, int, int], None]
"""Called with (what is being measured, images done, images in all)."""


def in_batches(
    rows: Tensor,
    batch_size: int,
    what: str,
    progress: Progress | None,
    *,
    earlier: int = 0,
    total: int | None = None,
) -> Iterator[Tensor]:
    """The rows in their order, at most `batch_size` at a time; reports each batch once it is dealt with.

    Args:
        rows: Images, latents or indices.
        batch_size: Rows of a batch; the last one may be shorter.
        what: Name of the computation.
        progress: Left out, nothing is reported.
        earlier: Rows of the same computation that were dealt with before these.
        total: Rows of the whole computation; left out, these are all.
    """
    done = earlier
    for batch in torch.split(rows, batch_size):
        yield batch
        done += len(batch)
        if progress is not None:
            progress(what, done, len(rows) if total is None else total)
