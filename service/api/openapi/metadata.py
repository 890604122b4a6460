"""JSON schemas of what an answer tells beside its arrays, for the walks and the scores.

Knows names and types. Knows nothing of requests or models.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from service.api.openapi.components import Schema, seed_fact
from service.engine import BINARISE, METHODS, SPACINGS

#: By path.
FACTS: Final[Mapping[str, dict[str, Schema]]] = MappingProxyType(
    {
        "/interpolate": {
            "method": {"type": "string", "enum": list(METHODS), "description": "The way that was taken."},
        },
        "/traverse": {
            "dims": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "description": "The latent indices that change, the one that changes slowest first.",
            },
            "steps": {"type": "integer", "minimum": 2, "description": "Points along each of them."},
            "spacing": {"type": "string", "enum": list(SPACINGS), "description": "How they are spaced."},
            "span": {"type": "number", "description": "How far they reach to either side of 0."},
        },
        "/score": {
            "seed": seed_fact(nullable=False),
            "likelihood": {
                "type": "string",
                "enum": ["bernoulli", "gaussian"],
                "description": "What the figures are about: binary images, or a density of grey ones.",
            },
            "binarise": {
                "type": "string",
                "enum": list(BINARISE),
                "description": "`dynamic`: grey pixels were drawn by the seed.",
            },
            "importance_samples": {
                "type": ["integer", "null"],
                "minimum": 1,
                "description": "K of log_px; null when it was not asked for.",
            },
        },
    }
)
