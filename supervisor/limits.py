"""File descriptors: take what the machine gives, and refuse to start a server that could not serve."""

from __future__ import annotations

import contextlib
import resource
from typing import Final

from broker.log import Log
from supervisor.errors import StartError

# What one worker has open itself: standard streams, event loop, data plane, heartbeat page, ZeroMQ's own.
_WORKER_OWN: Final = 32
# For every other process: message streams and ZeroMQ pipes in both directions with their wake-ups.
_PER_PEER: Final = 5
# For every worker, inherited by all: the pair of sockets over which connections are handed to it.
_PER_WORKER: Final = 2
# A server that is up but could not take even this many clients is of no use.
_FEW_CLIENTS: Final = 8


def worker_need(workers: int) -> int:
    """How many descriptors each of ``workers`` workers needs without any client."""
    return _WORKER_OWN + (_PER_WORKER + _PER_PEER) * workers  # the other workers and the gateway


def raise_limit() -> int:
    """Raise this process's (and its children's) limit as far as allowed and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems name a hard limit beyond what the kernel accepts: then the old one stays.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 31 if soft == resource.RLIM_INFINITY else soft


def check_descriptors(workers: int, max_connections: int, log: Log) -> None:
    """Raise the limit; warn if ``max_connections`` does not fit into it. StartError: the minimum does not."""
    limit = raise_limit()
    own = worker_need(workers)
    if limit < own + _FEW_CLIENTS:
        raise StartError(
            f"Too few file descriptors: a process may open {limit} (ulimit -Hn), but each of "
            f"{workers} workers needs at least {own + _FEW_CLIENTS}"
        )
    capacity = workers * (limit - own)
    if capacity < max_connections:
        log.warn(
            f"max_connections is {max_connections}, but {workers} workers with {limit} file descriptors each "
            f"(ulimit -Hn) have room for {capacity} connections only"
        )
