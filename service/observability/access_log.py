"""Which requests get a line in the log.

Knows the setting `access_log`. Knows nothing of paths, statuses, protocols or the contents of a line.

                probe, succeeded    other, succeeded    failed
    all         yes                 yes                 yes
    no-probes   no                  yes                 yes
    errors      no                  no                  yes
    none        no                  no                  no

A probe that fails gets its line: it comes before a restart, and explains it.
"""

from __future__ import annotations

from service.setting_values import AccessLogMode


class AccessLog:
    """The choice of one application."""

    def __init__(self, mode: AccessLogMode) -> None:
        self._probes = mode == "all"
        self._others = mode in ("all", "no-probes")
        self._failures = mode != "none"

    def includes(self, *, is_probe: bool, has_failed: bool) -> bool:
        """Whether a request gets a line.

        Args:
            is_probe: Whether an orchestrator or Prometheus asks.
            has_failed: Whether it has a problem, its client left, or it has no response.
        """
        if has_failed:
            return self._failures
        return self._probes if is_probe else self._others
