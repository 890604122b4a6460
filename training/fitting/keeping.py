"""The weights to keep of a running run: the last, or with early stopping the best.

Knows the run directory, the lines of the log and the epochs without improvement. Knows no hooks.
"""

from __future__ import annotations

from collections.abc import Mapping

from training.models import LatentImageModel
from training.runs.kept_weights import KeptWeights
from training.runs.run_directory import RunDirectory, save_model, write_text


def keep_weights(
    directory: RunDirectory,
    model: LatentImageModel,
    row: Mapping[str, float],
    *,
    epochs_without_better: int | None,
) -> None:
    """Write `model.pt`, and with early stopping also `kept.json` and the last weights.

    Call this before the checkpoint of the same epoch is written. A process that is killed in between then
    trains the epoch again and writes the same weights. In the other order the best weights could be lost.

    Args:
        directory: The run directory.
        model: The weights at the end of the epoch.
        row: The line of that epoch in the log.
        epochs_without_better: Epochs since the lowest validation -ELBO; None without early stopping.
    """
    kept = None if epochs_without_better is None else directory.read_kept()
    if kept is not None and epochs_without_better:
        save_model(directory, model, epochs=int(row["epoch"]), last=True)
        write_text(directory.kept, kept.followed_by(row).to_json())
        return
    # Also for a resumed run of an earlier release, which kept no best weights.
    save_model(directory, model, epochs=int(row["epoch"]))
    directory.last_model.unlink(missing_ok=True)
    if epochs_without_better is None:
        directory.kept.unlink(missing_ok=True)
    else:
        write_text(directory.kept, KeptWeights.of(row).to_json())
