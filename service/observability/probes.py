"""The paths that orchestrators and Prometheus request, which are no clients."""

from __future__ import annotations

from typing import Final

PROBES: Final = ("/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")
