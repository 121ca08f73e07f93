"""A server of one test, clients whose workers are known, and what else the machine does meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from tests import probe
from tests.harness import Kind, Raw, Server, start


class Farm:
    """A server and clients whose workers are known. All ends with the test."""

    def __init__(self, kind: Kind, config: str = "") -> None:
        self.config = config
        self.server = start(kind, config)
        self.clients: list[Raw] = []
        self.threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self.allow = ""  # what its log may say, see Server.stop()

    def dial(self) -> Raw:
        """A client on whatever worker."""
        client = Raw(self.server.port, timeout=20.0)
        self.clients.append(client)
        return client

    def spread(self, each: int) -> dict[int, list[Raw]]:
        """Quiet clients, ``each`` or more of them on every worker, by worker."""
        groups: dict[int, list[Raw]] = {pid: [] for pid in self.server.workers()}
        for _ in range(16 * each * len(groups)):
            if all(len(group) >= each for group in groups.values()):
                return groups
            client = self.dial().hello()
            groups[self.server.worker_of(client.sock)].append(client)
        raise AssertionError(
            f"clients are not spread: { {pid: len(group) for pid, group in groups.items()} }"
        )

    def run(self, action: Callable[[], None]) -> threading.Thread:
        """Run ``action`` in a thread that is waited for at the end."""
        thread = threading.Thread(target=action, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def close(self) -> None:
        """Stop the threads, then the server; assert that it is well."""
        self.stopping.set()
        try:
            for thread in self.threads:
                thread.join(20.0)
                assert not thread.is_alive(), f"{thread} does not end"
            for client in self.clients:
                client.close()
            self.server.stop(allow=self.allow)
        finally:
            self.server.destroy()


class Others:
    """What share of the machine other processes than ours have used since this was made."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.began = time.monotonic()
        self.at_first = self._theirs()

    def _theirs(self) -> float:
        own = sum(probe.cpu_seconds(pid) for pid in (os.getpid(), *self.server.processes()))
        return probe.machine_cpu_seconds() - own

    def busy(self) -> bool:
        """Whether it was too much for a measurement of our own speed to mean much."""
        used = self._theirs() - self.at_first
        return used > 0.2 * (time.monotonic() - self.began) * (os.cpu_count() or 1)


def kill(server: Server, pid: int, number: signal.Signals = signal.SIGKILL) -> float:
    """Send a worker a signal; returns when that was."""
    began = time.monotonic()
    os.kill(pid, number)
    return began
