"""Errors between an array and a model's result.

    EngineError
    ├── InvalidInput            an array or a number that the model cannot take; raised before any run
    │   ├── InvalidParameter        a parameter that does not fit this model, or the arrays of the call
    │   ├── InvalidModelReference   text that is not name, name@version or name@alias
    │   ├── LabelNotApplicable      a label for a prior that has none
    │   └── UnknownLabel            a label that the version has no density for
    ├── UnknownModel            a well-formed reference to nothing that exists
    ├── ModelUnavailable        it exists, but cannot answer: failed its checks, or nothing is loaded yet
    ├── ModelRejected           why one version failed its checks; never reaches a caller
    ├── AcceleratorUnavailable  graphs would not run on the processor, or in the format, of the settings
    ├── NoPrior                 there is no such density over z, or none at all
    ├── NoDensity               a likelihood was requested of an autoencoder
    ├── NoGraph                 an imported version lacks the encoder or the decoder
    ├── NoThresholds            flags were requested of a version that was not calibrated
    ├── InferenceFailed         the runtime raised, or an output is not finite
    └── NotRun                  the rows are fine, but no model was run on them
        ├── TooBusy                 too many images wait
        ├── DeadlineExceeded        the caller's deadline came first
        ├── CallerDisconnected      the caller will read no result
        └── EngineStopped           the process is stopping

Knows no status codes. Every message names the place, the expected value, the actual value and the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence

from model_store.echo import did_you_mean, echo, listed

_MOST_NAMES_LISTED = 10
_MOST_LABELS_LISTED = 20


class EngineError(Exception):
    """Base of every deliberate error of the engine."""


class InvalidInput(EngineError):
    """The caller's own arrays or numbers are invalid; no other caller is affected.

    Attributes:
        where: Place in the caller's terms, such as `images[2]` or `temperature`.
        expected: The valid values.
        got: The actual value, bounded in length and never the array itself.
        remedy: The remedy for the caller.
    """

    def __init__(self, where: str, expected: str, got: str, remedy: str) -> None:
        self.where = where
        self.expected = expected
        self.got = got
        self.remedy = remedy
        super().__init__(f"{where}: expected {expected}, got {got}. {remedy}")


class InvalidParameter(InvalidInput):
    """A number or a word of the right kind that does not fit this model, or the arrays of the call."""


class InvalidModelReference(InvalidInput):
    """The text is no reference to a model."""

    def __init__(self, reference: str) -> None:
        super().__init__(
            "model",
            "name, name@version or name@alias (lower-case letters, digits and hyphens)",
            f"{echo(reference)}",
            "Ask for the list of models and use its names.",
        )


class LabelNotApplicable(InvalidInput):
    """The call has a label and a prior without labels."""

    def __init__(self) -> None:
        super().__init__(
            "label",
            "none with prior=standard, which is one density for all images",
            "a label",
            "Leave prior out, or ask for prior=fitted.",
        )


class UnknownLabel(InvalidInput):
    """The fitted prior of the version lacks that label; the message lists the labels it has."""

    def __init__(self, model: str, labels: Sequence[str], *, label: str) -> None:
        hint = did_you_mean(label, labels)
        remedy = f"GET /models/{model} lists the labels; without one, images of all labels are drawn."
        super().__init__(
            "label",
            f"one of [{listed(labels, most=_MOST_LABELS_LISTED)}]"
            if labels
            else "none: the fitted images had no labels",
            echo(label),
            f"{hint} {remedy}".strip(),
        )


class UnknownModel(EngineError):
    """No model has that name, version or alias.

    Attributes:
        reference: The reference; it matches the grammar of names, so it is safe to quote.
        available: References that exist, at most ten.
        left_out: Number of existing references beyond these.
    """

    def __init__(self, reference: str, available: Sequence[str]) -> None:
        self.reference = reference
        self.available = tuple(available[:_MOST_NAMES_LISTED])
        self.left_out = len(available) - len(self.available)
        super().__init__(
            f"model: expected one of [{listed(available, most=_MOST_NAMES_LISTED)}], got {echo(reference)}. "
            "Use a name, version or alias that exists."
        )


class ModelUnavailable(EngineError):
    """The model exists, or is the default, but cannot be served now.

    Attributes:
        reference: The reference of the call.
        reason: The reason.
    """

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        self.reason = reason
        super().__init__(f"model '{reference}' cannot be served: {reason}")


class ModelRejected(EngineError):
    """A version that verified on disk, but whose graphs contradict its manifest."""


class AcceleratorUnavailable(EngineError):
    """Graphs would not run on the processor, or in the number format, that the settings name."""


class NoPrior(EngineError):
    """The version lacks the requested density over z, or has none at all."""

    def __init__(
        self, model: str, *, asked: str | None = None, has: Sequence[str] = (), imported: bool = False
    ) -> None:
        self.model = model
        if imported:
            super().__init__(
                f"model '{model}': expected a version with a prior, got an imported one whose latents are "
                "not known to follow N(0, I): a decoder would turn such draws into noise. Send latents to "
                "/decode, or have the operator import it with --prior standard, if its training used that."
            )
            return
        if asked is not None and tuple(has) == ("learned",):
            super().__init__(
                f"model '{model}': expected prior=learned, or none, got '{asked}'. The version was trained "
                "with its learned prior in place of N(0, I), and draws of another density decode to images "
                "that it never learned. Leave prior out, or use a version that has it (GET /models)."
            )
            return
        if asked is not None:
            super().__init__(
                f"model '{model}': expected a version with the prior '{asked}', got one with "
                f"{', '.join(has)}. Leave prior and label out, or use a version that has it (GET /models)."
            )
            return
        super().__init__(
            f"model '{model}': expected a variational autoencoder, got an autoencoder, which has no "
            "distribution over z to draw from. Use a model of kind 'vae', or reconstruct without sampling."
        )


class NoDensity(EngineError):
    """The model has no posterior and no prior, or no known likelihood, so log p(x) has no bound."""

    def __init__(self, model: str, *, imported: bool = False) -> None:
        self.model = model
        if imported:
            super().__init__(
                f"model '{model}': expected a version with a known likelihood, got an imported one, whose "
                "training is not known here. Compare an image with its reconstruction."
            )
            return
        super().__init__(
            f"model '{model}': expected a variational autoencoder, got an autoencoder, which has no "
            "distribution over z and so assigns no probability to an image. Use a model of kind 'vae', or "
            "compare an image with its reconstruction."
        )


class NoGraph(EngineError):
    """The version was imported without the graph that the operation needs."""

    def __init__(self, model: str, *, missing: str, has: str) -> None:
        self.model = model
        super().__init__(
            f"model '{model}': expected a version with the {missing}, got an imported one with only the "
            f"{has}. Use another version, or have the operator import it with its {missing}."
        )


class NoThresholds(EngineError):
    """The version has no thresholds of scores."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"flag: model '{model}': expected a version with thresholds, got one without. Leave flag out, or "
            f"have the operator run `vae-store calibrate {model} --data normal/`, which publishes the next "
            "version with them."
        )


class InferenceFailed(EngineError):
    """The runtime raised, or an output is not finite. The model is at fault, not the caller."""


class NotRun(EngineError):
    """The rows are fine and no model has run on them: they can be sent again."""


class TooBusy(NotRun):
    """The queues are full.

    Attributes:
        retry_after_s: Whole seconds until the queues will have been worked off, at least 1.
    """

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(
            f"the queue of images is full; it takes about {retry_after_s} s. Send the request again after "
            "that, or to another instance."
        )


class DeadlineExceeded(NotRun):
    """The deadline came before the result, or would."""

    def __init__(self, reason: str = "") -> None:
        """Without a reason: the deadline has come."""
        super().__init__(
            reason
            or "the request exceeded its time limit in the queue. Send it again, or fewer images at once."
        )

    @classmethod
    def foreseen(cls, *, needed_s: float, left_s: float, rows: int, fit: int) -> DeadlineExceeded:
        """The error of a call that cannot be done before its deadline, raised before it runs.

        Args:
            needed_s: Estimated seconds for its rows.
            left_s: Seconds until the deadline.
            rows: Rows of the call; for a score its draws too.
            fit: Rows that would be done in time.
        """
        remedy = (
            f"Send at most {fit} at once."
            if fit
            else "The operator may raise --request-timeout-s (VAE_REQUEST_TIMEOUT_S)."
        )
        return cls(
            f"the request would take about {needed_s:.0f} s for {rows} runs of the model, and {left_s:.0f} s "
            f"are left. No model was run. {remedy}"
        )


class CallerDisconnected(NotRun):
    """The caller had disconnected when its turn came."""

    def __init__(self) -> None:
        super().__init__("the caller disconnected before its images were run.")


class EngineStopped(NotRun):
    """The worker pool is closed."""

    def __init__(self) -> None:
        super().__init__("the models are being shut down. Send the request to another instance.")
