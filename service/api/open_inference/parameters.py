"""Parameters of a request for inference: its time, its order, and what the operation draws.

Knows names, bounds and types. Knows nothing of the bytes of a request. Parameters that the protocol reserves
for the transport or for sequences have no effect here; any other unknown one is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from model_store.manifest import MAX_LABEL_CHARACTERS
from model_store.pictures import Fit
from service.api.open_inference.names import Part
from service.api.parameters import Invert
from service.api.request_images import Reading
from service.http.parameters import Limits, read_object
from service.http.parameters import Parameters as StrictParameters

#: Reserved names without effect: every request of this server stands alone.
WITHOUT_EFFECT: Final = frozenset(
    {
        *("sequence_id", "sequence_start", "sequence_end", "headers"),
        *("binary_data_output", "binary_data_size", "binary_data"),  # of REST
        "content_type",  # MLServer's clients
    }
)
#: Names with this beginning are reserved for Triton.
RESERVED_PREFIX: Final = "triton_"
_LARGEST: Final = 2**64 - 1


class InferenceParameters(StrictParameters):
    """Parameters of every model."""

    timeout: Annotated[int | None, Field(ge=0, le=_LARGEST, examples=[500_000])] = None
    """Microseconds from the request to its result. It shortens the server's own limit and never lengthens it;
    0 or left out: that limit."""
    priority: Annotated[int | None, Field(ge=0, le=_LARGEST, examples=[1])] = None
    """1 is served first, 9 last; 0, the default, is 5. A request waits at most 0.8 seconds longer for those
    before it."""


class PictureParameters(InferenceParameters):
    """Parameters of the models that take `x` or `image`."""

    resize: Annotated[bool | None, Field(examples=[True])] = None
    """`image` only: accept any size, as of /encode."""
    fit: Annotated[Fit | None, Field(examples=["mnist"])] = None
    """`image` only: the way to the model's size, as of /encode."""
    invert: Annotated[Invert | bool | None, Field(examples=["auto"])] = None
    """`image` only: `yes`, `no` or `auto`, as of /encode."""

    @property
    def reading(self) -> Reading:
        """The choices of the client."""
        invert = self.invert
        if isinstance(invert, bool):
            invert = "yes" if invert else "no"
        return Reading.of(bool(self.resize), self.fit, invert)


class SamplerParameters(InferenceParameters):
    """Parameters of the models that draw."""

    temperature: Annotated[float | None, Field(ge=0.0, le=10.0, allow_inf_nan=False, examples=[0.8])] = None
    """Factor on the noise, as of /sample."""
    prior: Annotated[Literal["standard", "fitted", "learned"] | None, Field(examples=["standard"])] = None
    """`standard`, `fitted` or `learned`, as of /sample."""
    label: Annotated[str | None, Field(max_length=MAX_LABEL_CHARACTERS, examples=["7"])] = None
    """Draw only images of this label, as of /sample."""


_OF: Final[Mapping[Part, type[InferenceParameters]]] = {
    Part.WHOLE: PictureParameters,
    Part.ENCODER: PictureParameters,
    Part.DECODER: InferenceParameters,
    Part.SAMPLER: SamplerParameters,
}
_DEFAULTS: Final = {part: kind() for part, kind in _OF.items()}


def read_parameters(part: Part, values: Mapping[str, object], limits: Limits) -> InferenceParameters:
    """The parameters of a request to a model of this part.

    Raises:
        ProblemError: `invalid-value`, naming up to ten unknown or invalid parameters.
    """
    own = {
        name: value
        for name, value in values.items()
        if name not in WITHOUT_EFFECT and not name.startswith(RESERVED_PREFIX)
    }
    return read_object(own, _OF[part], limits) if own else _DEFAULTS[part]
