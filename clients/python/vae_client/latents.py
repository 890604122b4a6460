"""Latents that know the version they belong to.

Knows arrays and labels of versions. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vae_client.errors import VersionMismatch


class Latents(np.ndarray[Any, np.dtype[Any]]):
    """An array whose rows are latents, with the label of its version in `model`.

    Rows, slices and arithmetic keep `model`. `numpy.save` does not: after `numpy.load`, write
    `Latents(array, model="mnist@4")`, and the client checks the version again. An array without `model` is
    sent unchecked.
    """

    model: str | None
    __array_priority__ = 1.0  # so that concatenation makes latents, too

    def __new__(cls, values: ArrayLike, model: str | None = None) -> Latents:
        """Latents of a version, as float32.

        Args:
            values: (N, latent), or (latent,) for one.
            model: Label of the version, such as `mnist@4`; None leaves it open.
        """
        made = np.asarray(values, dtype=np.float32).view(cls)
        made.model = model
        return made

    def __repr__(self) -> str:
        shown = super().__repr__()
        return shown if self.model is None else f"{shown[:-1]}, model={self.model!r})"

    def __array_finalize__(self, origin: Any) -> None:
        self.model = getattr(origin, "model", None)

    def __array_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Iterable[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Concatenation and the like keep the version, and refuse to mix two."""
        args = tuple(args)
        model = one_version(_latents_in(args), "they cannot be in one array")
        result = super().__array_function__(func, types, args, kwargs)
        if isinstance(result, Latents):
            result.model = model
        return result

    def __reduce__(self) -> Any:
        made = super().__reduce__()
        assert isinstance(made, tuple)
        return made[0], made[1], (made[2], self.model)

    def __setstate__(self, state: Any) -> None:
        parent, self.model = state
        super().__setstate__(parent)


def _latents_in(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, Latents):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _latents_in(value)


def one_version(values: Iterable[Any], harm: str) -> str | None:
    """The one version of latents, or None if none of them states any.

    Raises:
        VersionMismatch: They are of several versions.
    """
    models = sorted({model for value in values if (model := getattr(value, "model", None)) is not None})
    if len(models) > 1:
        raise VersionMismatch(
            f"Latents of {' and '.join(models)}: expected one version, because {harm}. "
            "Encode the images again with one version."
        )
    return models[0] if models else None
