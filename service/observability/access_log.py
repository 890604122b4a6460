"""Which requests get a line in the log.

Knows the setting `access_log` and statuses. Knows nothing of paths, protocols or the contents of a line.

                probe, succeeded    other, succeeded    failed
    all         yes                 yes                 yes
    no-probes   no                  yes                 yes
    errors      no                  no                  yes
    none        no                  no                  no

A probe that fails gets its line: it comes before a restart, and explains it.
"""

from __future__ import annotations

from typing import Final

from service.settings import AccessLogMode

_LOWEST_ERROR: Final = 400


class AccessLog:
    """The choice of one application."""

    def __init__(self, mode: AccessLogMode) -> None:
        self._probes = mode == "all"
        self._others = mode in ("all", "no-probes")
        self._failures = mode != "none"

    def includes(self, *, is_probe: bool, status: int, code: str | None) -> bool:
        """Whether a request gets a line.

        Args:
            is_probe: Whether an orchestrator or Prometheus asks.
            status: HTTP status of its response; 499 if the client left, 0 if there was no response.
            code: Code of its problem, also if it arose after a status of success.
        """
        if status >= _LOWEST_ERROR or status == 0 or code is not None:
            return self._failures
        return self._probes if is_probe else self._others
