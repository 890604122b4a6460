"""What the calls of one client share: its model, and the limits of its server.

Knows references of models. Knows nothing of connections.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field

from vae_client.answers import Limit, ModelSummary
from vae_client.errors import other_version
from vae_client.latents import one_version
from vae_client.wire import Answer

_LABEL = re.compile(r".+@[0-9]+")


@dataclass
class Context:
    """The choices of a client, and what it has learnt from its server."""

    model: str | None
    """Reference that each request sends; None is the default model of the server."""
    limits: Mapping[str, Limit] | None = field(default=None)
    """Limits of the server, once they were needed."""
    answered: str | None = field(default=None)
    """Label of the version that answered last."""
    summaries: MutableMapping[str, ModelSummary] = field(default_factory=dict)
    """Versions by reference and by label, once their shapes were needed."""

    def query(self, model: str | None = None, **parameters: object) -> dict[str, str]:
        """The query of a request, without what is None.

        Args:
            model: Label of the version that answered the first request of a call; the others use it too.
            **parameters: Parameters of the operation.
        """
        made = {name: _text(value) for name, value in parameters.items() if value is not None}
        reference = model or self.model
        return made if reference is None else made | {"model": reference}

    def expect_version(self, latents: Iterable[object]) -> str | None:
        """The version of latents that are about to be sent, or None if none of them states any.

        Raises:
            VersionMismatch: They are of several versions, or this client is bound to another one.
        """
        expected = one_version(latents, "a request has one version")
        is_bound = self.model is not None and _LABEL.fullmatch(self.model)
        if is_bound and expected not in (None, self.model):
            raise other_version(str(expected), str(self.model))
        return expected

    def note(self, answer: Answer) -> str:
        """Label of the version that answered.

        Raises:
            VersionMismatch: It is another one than that of the latents that were sent.
        """
        self.answered = answer.model
        version = answer.call.version
        if version is not None and version != answer.model:
            raise other_version(version, answer.model)
        return answer.model


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ",".join(map(str, value))
    return repr(float(value)) if isinstance(value, float) else str(value)
