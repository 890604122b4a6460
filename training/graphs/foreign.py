"""A model of another library as two ONNX files: export with open sizes, and the comparison with torch.

Knows torch, the exporter and onnxruntime, through `export` and `parity`. Knows nothing of the libraries, of
ranges of pixels or of the store: values are those of the modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from model_store.numbers import told_apart
from training.errors import ExportError
from training.graphs.export import Graphs, export_graph
from training.graphs.parity import difference_of, run_session, session_of

Image = tuple[int, int, int]
"""(C, H, W)."""
#: Permitted difference of onnxruntime from torch, in units of the largest value of the output, at least 1.
TOLERANCE: Final = 1e-4
#: The upsampling of diffusers has another path for 64 rows and more.
_MOST_ROWS: Final = 63
#: Latent positions in a row or column; onnxruntime does not enforce them.
_FEWEST, _MOST_POSITIONS = 2, 1024
#: Height and width of the images that are exported and compared, in latent positions: H ≠ W.
_TRIED_POSITIONS: Final = ((8, 12), (10, 6))
_BATCHES: Final = (1, 3)
_EXAMPLE_BATCH: Final = 2
_SEED: Final = 0


@dataclass(frozen=True, eq=False)
class ForeignPair:
    """Both halves of a model as modules of one tensor each, without the draw between them."""

    encoder: nn.Module
    """(batch, C, H, W) → one tensor for each name in `encoder_outputs`."""
    decoder: nn.Module
    """(batch, *latent) → (batch, C, H, W)."""
    encoder_outputs: tuple[str, ...]
    """Such as mu and logvar, or latent_parameters for both in one."""
    image: Image
    """Shape of an image; with open sizes, H and W are those of an example."""
    latent: tuple[int, ...]
    """Shape of its latent."""
    factor: int | None = None
    """Pixels of a side for each latent position, if sizes are open."""
    encoder_input: str = "x"
    decoder_input: str = "z"
    decoder_output: str = "x_hat"

    @property
    def sizes(self) -> tuple[Image, ...]:
        """The images to try: two if sizes are open."""
        if self.factor is None:
            return (self.image,)
        f = self.factor
        return tuple((self.image[0], rows * f, columns * f) for rows, columns in _TRIED_POSITIONS)

    def latent_of(self, image: Image) -> tuple[int, ...]:
        """Shape of the latent of an image."""
        if self.factor is None:
            return self.latent
        return (self.latent[0], image[1] // self.factor, image[2] // self.factor)


@dataclass(frozen=True)
class ForeignParity:
    """Largest absolute differences between torch and onnxruntime, over all outputs of a graph."""

    encoder: float
    decoder: float
    sizes: tuple[Image, ...]

    def __str__(self) -> str:
        sizes = " and ".join(f"{height} × {width}" for _, height, width in self.sizes)
        return f"encoder {self.encoder:.1e}, decoder {self.decoder:.1e} (images of {sizes})"


def export_foreign(pair: ForeignPair) -> Graphs:
    """Both halves as self-contained files with a dynamic batch, and dynamic sides if sizes are open.

    Raises:
        ExportError: The exporter fails, or produces a file that is invalid or random.
    """
    image = pair.sizes[0]
    batch = torch.export.Dim("batch", max=_MOST_ROWS)
    of_image: dict[int, Any] = {0: batch}
    of_latent: dict[int, Any] = {0: batch}
    if pair.factor is not None:
        for axis, name in ((2, "h"), (3, "w")):
            side = torch.export.Dim(name, min=_FEWEST, max=_MOST_POSITIONS)
            of_latent[axis] = side
            of_image[axis] = pair.factor * side if pair.factor > 1 else side
    return Graphs(
        encoder=export_graph(
            "encoder",
            pair.encoder,
            torch.rand(_EXAMPLE_BATCH, *image, generator=_generator()),
            inputs=[pair.encoder_input],
            outputs=list(pair.encoder_outputs),
            dynamic=of_image,
        ),
        decoder=export_graph(
            "decoder",
            pair.decoder,
            torch.randn(_EXAMPLE_BATCH, *pair.latent_of(image), generator=_generator()),
            inputs=[pair.decoder_input],
            outputs=[pair.decoder_output],
            dynamic=of_latent,
        ),
    )


def check_foreign_parity(pair: ForeignPair, graphs: Graphs, *, threads: int = 1) -> ForeignParity:
    """Compare both files with their modules, at each size and for batches of one and three.

    Raises:
        ExportError: A shape is wrong, a value is not finite, or a difference exceeds its bound.
    """
    encoder = session_of("encoder", graphs.encoder, threads)
    decoder = session_of("decoder", graphs.decoder, threads)
    largest = {"encoder": 0.0, "decoder": 0.0}
    generator = _generator()
    for image in pair.sizes:
        for size in _BATCHES:
            x = torch.rand(size, *image, generator=generator)
            z = torch.randn(size, *pair.latent_of(image), generator=generator)
            found = {
                "encoder": _difference(
                    "encoder",
                    pair.encoder,
                    encoder,
                    x,
                    takes=pair.encoder_input,
                    gives=pair.encoder_outputs,
                ),
                "decoder": _difference(
                    "decoder",
                    pair.decoder,
                    decoder,
                    z,
                    takes=pair.decoder_input,
                    gives=(pair.decoder_output,),
                ),
            }
            largest = {role: max(found[role], largest[role]) for role in largest}
    return ForeignParity(**largest, sizes=pair.sizes)


def _difference(
    role: str,
    module: nn.Module,
    session: Any,
    rows: Float[Tensor, "batch ..."],
    *,
    takes: str,
    gives: Sequence[str],
) -> float:
    with torch.inference_mode():
        answer = module.eval()(rows)
    expected = [answer] if isinstance(answer, Tensor) else list(answer)
    got = run_session(role, session, list(gives), {takes: np.ascontiguousarray(rows.numpy())})
    worst = 0.0
    for name, right, found in zip(gives, expected, got, strict=True):
        values: npt.NDArray[np.float32] = right.numpy()
        difference = difference_of(name, values, found, len(rows))
        bound = TOLERANCE * max(1.0, float(np.abs(values).max(initial=0.0)))
        # Not `difference > bound`: NaN must fail too.
        if not difference <= bound:
            raise ExportError(
                f"parity: {name} of the {role} for an input of shape {tuple(rows.shape)}: expected torch and "
                f"onnxruntime to differ by at most {bound:g}, got {told_apart(difference, bound)}. Nothing "
                "was published. Install the versions of the constraints file and import again. If the "
                "difference remains, the exporter mistranslates a layer."
            )
        worst = max(worst, difference)
    return worst


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)
