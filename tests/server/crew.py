"""Clients that sit where a test wants them: on chosen workers of one server."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.harness import Raw, Server

PATIENCE: Final = 60.0  # seconds; a client that waits this long waits for ever


class Crew:
    """The clients of one test. Workers are numbered 0, 1, ... in the order of their start."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._open: list[Raw] = []

    def place(self, *workers: int, **options: object) -> list[Raw]:
        """One introduced, watching client on each of these workers, in this order.

        A server spreads its clients evenly, so that one on each worker comes up soon; the surplus leaves again.
        """
        processes = self.server.workers()
        wanted = [processes[number] for number in workers]
        found: dict[int, list[Raw]] = {pid: [] for pid in wanted}
        surplus: list[Raw] = []
        while any(len(found[pid]) < wanted.count(pid) for pid in found):
            assert len(surplus) < 1000, f"no more clients come to {wanted}"
            client = Raw(self.server.port, timeout=PATIENCE)
            pid = self.server.worker_of(client.sock)
            enough = pid not in found or len(found[pid]) == wanted.count(pid)
            (surplus if enough else found[pid]).append(client)
        for client in surplus:
            client.leave()
        placed = [found[pid].pop(0) for pid in wanted]
        self._open += placed
        return [client.hello(**options).watch() for client in placed]

    def close(self) -> None:
        """Leave all clients."""
        for client in self._open:
            client.leave()
        self._open.clear()


def together(jobs: Sequence[Any]) -> list[Any]:
    """Run these functions at the same time; their results, or the exception of the first that failed."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [running.result() for running in [pool.submit(job) for job in jobs]]
