"""The state of the server in short: what its heartbeat says, and what a PING is answered with."""

from __future__ import annotations

import os
from typing import Any

from broker.monitor.encode import time_text
from broker.monitor.state import Server


async def statsz(server: Server) -> dict[str, Any]:
    """The object."""
    sums = server.sums()
    fields: dict[str, Any] = {
        "start": time_text(server.started_ns),
        "mem": server.memory(),
        "cores": os.cpu_count() or 1,
        "cpu": round(server.cpu(), 2),
        "connections": sums["connections"],
        "total_connections": sums["total_connections"],
        "active_accounts": server.accounts.active(),
        "subscriptions": sums["subscriptions"],
        "sent": {"msgs": sums["out_msgs"], "bytes": sums["out_bytes"]},
        "received": {"msgs": sums["in_msgs"], "bytes": sums["in_bytes"]},
        "slow_consumers": sums["slow_consumers"],
    }
    if sums["slow_consumers"]:
        fields["slow_consumer_stats"] = _by_kind(sums["slow_consumers"])
    if sums["stale_connections"]:
        fields["stale_connections"] = sums["stale_connections"]
        fields["stale_connection_stats"] = _by_kind(sums["stale_connections"])
    if sums["stalls"]:
        fields["stalled_clients"] = sums["stalls"]
    return {**fields, "active_servers": 1, "gomaxprocs": len(os.sched_getaffinity(0))}


def _by_kind(clients: int) -> dict[str, int]:
    return {"clients": clients, "routes": 0, "gateways": 0, "leafs": 0}
