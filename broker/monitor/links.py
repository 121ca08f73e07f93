"""/routez, /gatewayz, /leafz and /jsz: links to other servers, of which there are none, and JetStream, which there is not."""

from __future__ import annotations

from typing import Any

from broker.monitor.asked import GatewayzOptions, JSzOptions, LeafzOptions, RoutezOptions
from broker.monitor.state import Server


async def routez(server: Server, options: RoutezOptions) -> dict[str, Any]:
    """The answer."""
    envelope = server.envelope()
    return {
        "server_id": envelope["server_id"],
        "server_name": server.name,
        "now": envelope["now"],
        "num_routes": 0,
        "routes": [],
    }


async def gatewayz(server: Server, options: GatewayzOptions) -> dict[str, Any]:
    """The answer."""
    return {**server.envelope(), "outbound_gateways": {}, "inbound_gateways": {}}


async def leafz(server: Server, options: LeafzOptions) -> dict[str, Any]:
    """The answer."""
    return {**server.envelope(), "leafnodes": 0, "leafs": []}


async def jsz(server: Server, options: JSzOptions) -> dict[str, Any]:
    """The answer."""
    return {
        "memory": 0,
        "storage": 0,
        "reserved_memory": 0,
        "reserved_storage": 0,
        "accounts": 0,
        "ha_assets": 0,
        "api": {"level": 0, "total": 0, "errors": 0},
        **server.envelope(),
        "disabled": True,
        "config": {"max_memory": 0, "max_storage": 0},
        "streams": 0,
        "consumers": 0,
        "messages": 0,
        "bytes": 0,
        "total": 0,
    }
