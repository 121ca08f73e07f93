"""Features that nats-server of NATS_VERSION lets its configuration switch on, and other servers are told of.

All of them are JetStream's, which is not here: they change nothing, but a server that does not name them looks old.
"""

from __future__ import annotations

from typing import Final

from broker.options import Options

DEFAULTS: Final = {"js_ack_fc_v2": False, "js_raft_delete_range": False}


def feature_flags(options: Options) -> dict[str, bool]:
    """Every one of them; what else the configuration names is not among them."""
    return {name: options.feature_flags.get(name, default) for name, default in DEFAULTS.items()}


def unsupported_flags(options: Options) -> list[str]:
    """What the configuration names and nobody knows."""
    return sorted(options.feature_flags.keys() - DEFAULTS.keys())
