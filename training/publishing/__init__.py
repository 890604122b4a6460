"""From a run to a published version: export, model card, and a fitted prior for a published version."""
