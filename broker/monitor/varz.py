"""/varz: the server's settings and counters."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from broker.monitor.asked import VarzOptions
from broker.monitor.encode import time_text, uptime_text
from broker.monitor.state import Server
from broker.options import Options
from broker.options.loading import advertised_address
from broker.protocol.features import feature_flags
from broker.protocol.info import auth_required
from broker.protocol.version import NATS_VERSION, PROTO, RUNTIME


def nanoseconds(seconds: float) -> int:
    """How answers tell durations."""
    return round(seconds * 1e9)


async def varz(server: Server, options: VarzOptions) -> dict[str, Any]:
    """The answer."""
    sums = server.sums()
    now = time.time_ns()
    settings = _settings(server, server.options)
    return {
        **settings,
        "start": time_text(server.started_ns),
        "now": time_text(now),
        "uptime": uptime_text(now - server.started_ns),
        "mem": server.memory(),
        "cores": os.cpu_count() or 1,
        "gomaxprocs": len(os.sched_getaffinity(0)),
        "cpu": round(server.cpu(), 2),
        "connections": sums["connections"],
        "total_connections": sums["total_connections"],
        "routes": 0,
        "remotes": 0,
        "leafnodes": 0,
        "in_msgs": sums["in_msgs"],
        "out_msgs": sums["out_msgs"],
        "in_bytes": sums["in_bytes"],
        "out_bytes": sums["out_bytes"],
        "slow_consumers": sums["slow_consumers"],
        "stale_connections": sums["stale_connections"],
        "stalled_clients": sums["stalls"],
        "subscriptions": sums["subscriptions"],
        "http_req_stats": dict(sorted(server.requests.items())),
        "config_load_time": time_text(server.loaded_ns),
        "config_digest": server.options.config_digest,
        **_identity(server),
        "slow_consumer_stats": _by_kind(sums["slow_consumers"]),
        "stale_connection_stats": _by_kind(sums["stale_connections"]),
        **_certificate(server.options),
    }


def _certificate(options: Options) -> dict[str, str]:
    """Until when the clients' listener has a certificate: as the file says now, since that is what is used."""
    if options.tls is None:
        return {}
    from broker.tls.certificate import read_pem  # loads ssl

    try:
        expires = [
            read_pem(Path(pair.cert_file).read_text(encoding="utf-8", errors="replace")).expires
            for pair in options.tls.certificates
        ]
    except (OSError, ValueError):
        return {}  # it is being replaced; whoever uses it has said so in the log
    return {"tls_cert_not_after": time_text(min(expires) * 1_000_000_000)} if expires else {}


def _by_kind(clients: int) -> dict[str, int]:
    return {"clients": clients, "routes": 0, "gateways": 0, "leafs": 0}


def _settings(server: Server, options: Options) -> dict[str, Any]:
    host, port = advertised_address(options)
    tls = options.tls
    fields: dict[str, Any] = {
        "server_id": server.server_id,
        "server_name": server.name,
        "version": NATS_VERSION,
        "proto": PROTO,
        "go": RUNTIME,
        "host": host,
        "port": port,
    }
    if auth_required(options):
        fields["auth_required"] = True
    if tls is not None:
        fields["tls_required"] = True
        if tls.verify or tls.verify_and_map:
            fields["tls_verify"] = True
    fields["max_connections"] = options.max_connections
    if options.max_subscriptions:
        fields["max_subscriptions"] = options.max_subscriptions
    fields |= {
        "ping_interval": nanoseconds(options.ping_interval),
        "ping_max": options.ping_max,
        "http_host": options.http_host,
        "http_port": options.http_port,
        "http_base_path": options.http_base_path,
        "https_port": options.https_port,
        "auth_timeout": options.auth_timeout,
        "max_control_line": options.max_control_line,
        "max_payload": options.max_payload,
        "max_pending": options.max_pending,
        "cluster": {},
        "gateway": {},
        "leaf": {},
        "mqtt": {},
        "websocket": {},
        "jetstream": {},
        "tls_timeout": tls.timeout if tls is not None else 2.0,
        "write_deadline": nanoseconds(options.write_deadline),
    }
    if options.write_timeout != "default":
        fields["write_timeout"] = options.write_timeout
    return fields


def _identity(server: Server) -> dict[str, Any]:
    options = server.options
    fields: dict[str, Any] = {}
    if options.server_tags:
        fields["tags"] = list(options.server_tags)
    if options.server_metadata:
        fields["metadata"] = dict(options.server_metadata)
    fields["feature_flags"] = feature_flags(options)
    if server.system_account:
        fields["system_account"] = server.system_account
    return fields
