"""Recipes that train in a second on the small MNIST of the tests.

Knows the keys that make a run small. Knows nothing of what a test measures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

Table = Mapping[str, object]


def small_recipe(
    name: str,
    *,
    latent_size: int,
    hidden: int,
    trainer: Table,
    data: Table,
    description: str | None = None,
    **tables: Table,
) -> str:
    """A recipe as TOML: a small MLP, and an evaluation of 10 images.

    Args:
        name: Of the recipe.
        latent_size: Of the model.
        hidden: Width of the only hidden layer of encoder and decoder.
        trainer: Keys of `[trainer]`.
        data: Keys of `[data]`.
        description: Of the recipe; None leaves it out.
        **tables: Further tables, such as `objective`.
    """
    top: dict[str, object] = {"name": name}
    if description is not None:
        top["description"] = description
    found: dict[str, Table] = {
        "data": data,
        "model": {"latent_size": latent_size},
        "model.trunk": {"type": "mlp", "encoder_hidden": [hidden], "decoder_hidden": [hidden]},
        "trainer": trainer,
        "evaluation": {"importance_samples": 2, "importance_images": 10},
        **tables,
    }
    return _lines(top) + "".join(f"[{title}]\n{_lines(keys)}" for title, keys in found.items())


def _lines(keys: Table) -> str:
    # Words, numbers and lists of them are the same in JSON and TOML.
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


#: Half a second, with one latent dimension for each axis of a map.
TINY = small_recipe(
    "tiny",
    description="Half a second of training.",
    latent_size=2,
    hidden=16,
    data={"validation_size": 1000},
    trainer={"epochs": 2, "batch_size": 64},
    expect={"minutes": 0.1, "negative_elbo": 300.0, "measured_on": "this test"},
)
