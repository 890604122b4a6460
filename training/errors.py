"""Errors of training, one class per thing a caller would handle differently.

    TrainingError
    ├── ConfigError            a recipe or an option is wrong; nothing was started
    ├── DataError              the images are missing, damaged or not what the recipe expects
    ├── RunDirectoryError      the run directory cannot be used as asked
    │   └── RunNotFinished     it holds no weights yet
    ├── WriteFailed            a file cannot be written: disk full, quota, file-size limit, read-only
    ├── NonFiniteTraining      loss or weights became NaN or infinite; the last checkpoint is kept
    ├── PosteriorCollapse      the decoder no longer listens to the latents; the last checkpoint is kept
    ├── TrainingInterrupted    stopped from outside (Ctrl-C, SIGTERM) after saving a checkpoint
    ├── ProcessLost            another process of the run ended or never came; the last checkpoint is kept
    ├── MissingLibrary         the library of a foreign model is not installed, or fails to import
    ├── ForeignModelError      a model of another library is missing, damaged or of an unsupported kind
    └── ExportError            the exported graphs do not agree with the model; nothing was published

Every message names the place, the expected value, the actual value and the remedy. Knows no exit code:
`training.cli` maps classes to codes in one table.
"""


class TrainingError(Exception):
    """An error of this package for its user; its message is one readable paragraph."""


class ConfigError(TrainingError):
    """A recipe or an option is wrong: unknown key, wrong type, out of range, or not found."""


class DataError(TrainingError):
    """Images are missing, damaged, mislabelled or of another shape than the recipe expects."""


class RunDirectoryError(TrainingError):
    """A run directory is unusable for the command: not empty, not a run, or of another configuration."""


class RunNotFinished(RunDirectoryError):
    """The run directory contains no weights yet."""


class WriteFailed(TrainingError):
    """A file cannot be written; the previous file is intact, the last checkpoint included."""


class NonFiniteTraining(TrainingError):
    """Loss, gradients or weights became NaN or infinite; the last good checkpoint is kept."""


class PosteriorCollapse(TrainingError):
    """Posterior collapse: the decoder ignores the latents; the state of the epoch is kept."""

    def __init__(self, message: str, *, epochs: int) -> None:
        """`epochs` is the number of epochs until then."""
        super().__init__(message)
        self.epochs = epochs


class TrainingInterrupted(TrainingError):
    """Stopped from outside after the state was saved; the message contains the command to resume."""


class ProcessLost(TrainingError):
    """Another process of the same run ended or never came; the last checkpoint is kept."""


class MissingLibrary(TrainingError):
    """The library that made a model is missing, or fails to import; the message says what to install."""


class ForeignModelError(TrainingError):
    """A model of another library is missing, damaged, of an unsupported kind, or would run code."""


class ExportError(TrainingError):
    """An exported graph does not agree with its model; nothing was published."""
