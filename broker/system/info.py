"""The block by which every message of the system account names its server (upstream: ``ServerInfo`` in server/events.go)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from broker.monitor.encode import compact, time_text
from broker.options import Options
from broker.protocol.features import feature_flags
from broker.protocol.version import NATS_VERSION


class ServerInfo:
    """Makes the block: the same each time but for ``seq``, which never goes back, and ``time``."""

    __slots__ = ("_fixed", "_number", "_start", "cluster", "host", "id", "name", "tags")

    def __init__(self, options: Options, server_id: str, number: Callable[[], int]) -> None:
        """``number`` counts messages, also over the deaths of processes: others ignore what is not newer."""
        self.id = server_id
        self._number = number
        self.use(options)

    def use(self, options: Options) -> None:
        """Other options from now on."""
        self.name = options.server_name or self.id
        self.host = options.host
        self.tags = list(options.server_tags)
        self.cluster = ""
        if options.gateway is not None:
            self.cluster = options.gateway.name
        elif options.cluster is not None:
            self.cluster = options.cluster.name
        fixed: dict[str, Any] = {"name": self.name, "host": self.host, "id": self.id}
        if self.cluster:
            fixed["cluster"] = self.cluster
        fixed["ver"] = NATS_VERSION
        if self.tags:
            fixed["tags"] = self.tags
        if options.server_metadata:
            fixed["metadata"] = dict(options.server_metadata)
        fixed["feature_flags"] = feature_flags(options)
        self._fixed = fixed
        self._start = compact({**fixed, "jetstream": False, "flags": 0, "seq": 0})[:-2]

    def text(self) -> str:
        """The same as JSON, for events that come by the thousand."""
        return f'{self._start}{self._number()},"time":"{time_text(time.time_ns())}"}}'

    def block(self) -> dict[str, Any]:
        """For one message, which has to be sent in the order of these calls."""
        return {
            **self._fixed,
            "jetstream": False,
            "flags": 0,
            "seq": self._number(),
            "time": time_text(time.time_ns()),
        }
