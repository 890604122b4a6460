"""What is checked once for requests that look alike: only for models that mean the same by them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.api.open_inference.names import Part, ServedModel


def signature(part: Part = Part.ENCODER, **changed: Any) -> tuple[object, ...]:
    facts = {"image_shape": (1, 28, 28), "latent_shape": (), "max_batch": 256, "is_bounded": True, **changed}
    loaded = SimpleNamespace(
        id=SimpleNamespace(name="mnist", version=3), latent_shape=(16,), queued=SimpleNamespace(**facts)
    )
    return ServedModel(part, loaded).signature  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"image_shape": (3, 28, 28)},
        {"latent_shape": (4, 2, 2)},
        {"max_batch": 4},
        {"is_bounded": False},
        {"part": Part.WHOLE},
    ],
)
def test_a_model_that_reads_a_request_in_another_way_has_another_signature(changed: dict[str, Any]) -> None:
    """A promotion may change any of them, while a client repeats its request."""
    assert signature() == signature()
    assert signature(**changed) != signature()
