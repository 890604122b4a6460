"""The paths that orchestrators and Prometheus request without being clients."""

from __future__ import annotations

from typing import Final

PROBES: Final = ("/livez", "/readyz", "/metrics")
