"""A loaded model of another library, and what its library says about it.

Knows modules and words. Knows nothing of files or of the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from training.graphs.foreign import ForeignPair


@dataclass(frozen=True, eq=False)
class Loaded:
    """One model, before its export."""

    pair: ForeignPair
    origin: str
    """Folder, class, library and version, for people."""
    is_optimum: bool = False
    """Whether its graphs become a folder as Optimum writes it, with `settings` as the config.json of each."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    pixels: tuple[float, float] | None = None
    """Usual range of pixels of the library; None: as for a folder of Optimum."""
    prior: Literal["standard", "none"] | None = None
    """Whether training drew the latents towards N(0, I)."""
