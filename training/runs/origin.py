"""How a published version was trained, for commands that need its recipe or its data.

Knows the two kinds of provenance. Knows nothing of recipes or images.
"""

from __future__ import annotations

from model_store import ImportedProvenance, PublishedModel, TrainingProvenance
from training.errors import ConfigError


def training_of(published: PublishedModel) -> TrainingProvenance:
    """The provenance of a version that this trainer made.

    Raises:
        ConfigError: Its graphs were made elsewhere.
    """
    provenance = published.manifest.provenance
    if isinstance(provenance, ImportedProvenance):
        raise ConfigError(
            f"{published.id}: expected a version that vae-train exported, got one that was imported from "
            f"{provenance.source}: it has no recipe, no training data and no likelihood here. Evaluate it "
            "over HTTP, or name a trained version."
        )
    return provenance
