"""sample_many: a draw of any number of images, which arrives part by part.

Knows seeds, rows and npy streams. Knows nothing of connections.

One seed has as many rows as one answer of the server. So a long draw has blocks: block 0 has the seed of the
caller, and every further one a seed derived from it. Blocks always have `BLOCK` rows, so that the draw is the
same from every server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from vae_client.arrays import NpyStream
from vae_client.context import Context
from vae_client.errors import ConnectionFailed, InvalidInput, NotSplittable
from vae_client.operations import Prior, drawn, new_seed, whole
from vae_client.results import Samples
from vae_client.server_limits import rows_in_one_stream
from vae_client.wire import Answer, Call, Plan

#: Rows of a block: the default of `max_stream_images`.
BLOCK = 65_536


def seed_of_block(seed: int, block: int) -> int:
    """The seed of a block: that of the caller, and then 53 bits of SHA-256 of "SEED/BLOCK"."""
    if block == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/{block}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


class Draw:
    """A draw of many images."""

    def __init__(
        self,
        context: Context,
        n: int,
        *,
        seed: int | None,
        temperature: float | None,
        prior: Prior | None,
        label: str | int | None,
        batch: int,
    ) -> None:
        """A draw that has not begun.

        Args:
            context: That of the client.
            n: Number of images.
            seed: Seed of the first block; None chooses one.
            temperature: As in /sample.
            prior: As in /sample.
            label: As in /sample.
            batch: Most images of a part.
        """
        n, batch = whole("n", n), whole("batch", batch)
        if n < 1 or batch < 1:
            raise InvalidInput(f"n and batch: expected at least 1, got {n} and {batch}.")
        self._context = context
        self._n = n
        self._seed = new_seed() if seed is None else seed
        self._parameters = {"temperature": temperature, "prior": prior, "label": label}
        self.label = label
        self.batch = batch
        self.version: str | None = None

    def check(self) -> Plan[None]:
        """Whether the server can send blocks of this size."""
        most = yield from rows_in_one_stream(self._context)
        if most < min(self._n, BLOCK):
            raise NotSplittable(
                f"n: this server sends at most {most} images of one seed (max_stream_images and "
                f"max_stream_values), and sample_many takes {BLOCK:,} of each, so that a seed draws the same "
                f"from every server. Draw at most {most}, or raise the limit."
            )

    def blocks(self) -> Iterator[Block]:
        """Its blocks, in order."""
        for number, first in enumerate(range(0, self._n, BLOCK)):
            yield Block(self, min(BLOCK, self._n - first), seed_of_block(self._seed, number))

    def call(self, rows: int, seed: int) -> Call:
        """The request of a block; all blocks are of the version that answered the first."""
        query = self._context.query(self.version, n=rows, seed=seed, **self._parameters)
        return Call("GET", "/sample.npy", query, version=self.version)

    def note(self, answer: Answer) -> None:
        """Remember the version."""
        self.version = self._context.note(answer)


class Block:
    """The images of one seed. A stream that broke begins again, without the images that had already come."""

    def __init__(self, draw: Draw, rows: int, seed: int) -> None:
        """A block that has not begun.

        Args:
            draw: The draw it belongs to.
            rows: Its number of images.
            seed: Its seed.
        """
        self._draw = draw
        self._rows = rows
        self._seed = seed
        self.delivered = 0
        self._skip = 0
        self._stream = NpyStream(draw.batch)
        self._answer: Answer | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the caller has all images."""
        return self.delivered == self._rows

    @property
    def call(self) -> Call:
        """Its request."""
        return self._draw.call(self._rows, self._seed)

    def begin(self, headers: Mapping[str, str], elapsed_s: float, tries: int) -> None:
        """The head of an answer has come."""
        self._answer = Answer(self.call, headers, b"", elapsed_s, tries)
        self._draw.note(self._answer)
        self._stream = NpyStream(self._draw.batch)
        self._skip = self.delivered

    def feed(self, piece: bytes) -> Iterator[Samples]:
        """The parts that a piece of the body completes."""
        for images in self._stream.feed(piece):
            fresh = images[min(self._skip, len(images)) :]
            self._skip -= len(images) - len(fresh)
            if len(fresh):
                yield self._part(fresh)

    def end(self) -> None:
        """The body has come to its end.

        Raises:
            ConnectionFailed: It was cut short.
        """
        if not self.is_complete:
            raise ConnectionFailed(
                f"The server ended its answer after {self.delivered} of {self._rows} images."
            )

    def _part(self, images: NDArray[Any]) -> Samples:
        assert self._answer is not None
        first, self.delivered = self.delivered, self.delivered + len(images)
        return drawn(self._answer, images, None, self._draw.label, first)
