"""/healthz: can clients connect?"""

from __future__ import annotations

from typing import Any

from broker.monitor.asked import HealthzOptions
from broker.monitor.state import Server
from broker.options.gotext import quote


def healthz(server: Server, options: HealthzOptions) -> tuple[int, dict[str, Any]]:
    """(status, answer). What concerns JetStream is healthy: there is none."""
    details = options.details
    if options.stream and not options.account:
        return _failed(
            400, f"{quote('account')} must not be empty when checking stream health", details, "BAD_REQUEST"
        )
    if options.consumer and not options.stream:
        return _failed(
            400, f"{quote('stream')} must not be empty when checking consumer health", details, "BAD_REQUEST"
        )
    if not server.accepting:
        return _failed(500, "failed to be ready for connections after 1ms: server", details, "CONNECTION")
    return 200, {"status": "ok"}


def _failed(status: int, error: str, details: bool, kind: str) -> tuple[int, dict[str, Any]]:
    if details:
        return status, {"status": "error", "errors": [{"type": kind, "error": error}]}
    return status, {"status": "error", "error": error}
