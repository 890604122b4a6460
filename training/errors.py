"""What can go wrong while training, one class per thing a caller would handle differently.

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
    └── ExportError            the exported graphs do not agree with the model; nothing was published

Every message says where, what was expected, what came, and what to do. Knows no exit code:
`training.cli` maps classes to codes in one table.
"""


class TrainingError(Exception):
    """Anything this package tells a user about; its message is one readable paragraph."""


class ConfigError(TrainingError):
    """A recipe or an option is wrong: unknown key, wrong type, out of range, or not to be found."""


class DataError(TrainingError):
    """Images are missing, damaged, mislabelled or of another shape than the recipe expects."""


class RunDirectoryError(TrainingError):
    """A run directory cannot be used as asked: not empty, not a run, or of another configuration."""


class RunNotFinished(RunDirectoryError):
    """The run directory holds no weights yet."""


class WriteFailed(TrainingError):
    """A file cannot be written; the one that was there before is whole, the last checkpoint among them."""


class NonFiniteTraining(TrainingError):
    """Loss, gradients or weights became NaN or infinite; the last good checkpoint is kept."""


class PosteriorCollapse(TrainingError):
    """The decoder no longer listens to the latents; the state of the epoch is kept."""

    def __init__(self, message: str, *, epochs: int) -> None:
        """`epochs` are the passes over the images until then."""
        super().__init__(message)
        self.epochs = epochs


class TrainingInterrupted(TrainingError):
    """Stopped from outside after the state was saved; the message says how to resume."""


class ProcessLost(TrainingError):
    """Another process of the same run ended or never came; the last checkpoint is kept."""


class ExportError(TrainingError):
    """An exported graph does not agree with the model it came from; nothing was published."""
