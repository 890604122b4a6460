"""The weights that a run with early stopping keeps, compared with the last ones.

Knows epochs and figures. Knows nothing of weights, callbacks or the location of the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

_FIGURE = "validation_negative_elbo"


@dataclass(frozen=True)
class KeptWeights:
    """The contents of `kept.json`. Figures are the validation -ELBO, in nats per image."""

    epoch: int
    """Epoch after which the kept weights were validated: the one with the lowest figure."""
    validation_negative_elbo: float
    last_epoch: int
    last_validation_negative_elbo: float

    @classmethod
    def of(cls, row: Mapping[str, float]) -> KeptWeights:
        """The weights at a line of the log, the last and the best so far."""
        epoch, figure = int(row["epoch"]), row[_FIGURE]
        return cls(epoch, figure, epoch, figure)

    def followed_by(self, row: Mapping[str, float]) -> KeptWeights:
        """The same weights, after another line of the log without an improvement."""
        return replace(self, last_epoch=int(row["epoch"]), last_validation_negative_elbo=row[_FIGURE])

    @property
    def are_the_last(self) -> bool:
        """Whether it is the last epoch so far."""
        return self.epoch == self.last_epoch

    def __str__(self) -> str:
        best = f"epoch {self.epoch} (validation -ELBO {self.validation_negative_elbo:.2f})"
        if self.are_the_last:
            return f"{best}, the last and the best"
        return (
            f"{best}, the best; training ended after epoch {self.last_epoch} "
            f"({self.last_validation_negative_elbo:.2f})"
        )

    def to_json(self) -> str:
        """The JSON in a run directory."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> KeptWeights:
        """Read the output of `to_json`.

        Raises:
            ValueError: The text is something else.
        """
        stated = json.loads(text)
        types = {"epoch": int, _FIGURE: float, "last_epoch": int, f"last_{_FIGURE}": float}
        if not isinstance(stated, dict) or {name: type(value) for name, value in stated.items()} != types:
            raise ValueError(f"expected the keys {', '.join(types)} with numbers")
        return cls(**stated)
