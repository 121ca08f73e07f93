"""Monitoring while clients come and go: every answer is whole, quick, and holds up nobody's messages.

The numbers are small here, for the sake of slow machines: with CONNECTIONS at 10,000 it asks the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from typing import Any, Final

import pytest

from tests.harness import FOUR, start
from tests.server.monitor import MONITOR, Monitor, moment

CONNECTIONS: Final = 1000
SECONDS: Final = 4.0
ALWAYS: Final = frozenset(
    "cid kind type ip port start last_activity rtt uptime idle pending_bytes in_msgs out_msgs in_bytes out_bytes "
    "subscriptions name lang version".split()
)
CONNECT: Final = (
    b'CONNECT {"verbose":false,"name":"churn","lang":"x","version":"1"}\r\nSUB c.%d 1\r\nPING\r\n'
)


class Crowd:
    """Clients of which a few leave and come back all the time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def _join(self, number: int) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(CONNECT % number)
        while b"PONG" not in await reader.readline():
            pass
        return writer

    async def gather(self) -> None:
        for at in range(0, CONNECTIONS, 50):
            self._writers += await asyncio.gather(*(self._join(at + i) for i in range(50)))

    async def churn(self) -> None:
        at = 0
        while True:
            self._writers[at].close()
            self._writers[at] = await self._join(at)
            at = (at + 7) % CONNECTIONS

    def leave(self) -> None:
        for writer in self._writers:
            writer.close()


async def round_trips(port: int, times: list[float]) -> None:
    """One client that talks to itself: how long does a message take?"""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b'CONNECT {"verbose":false,"name":"probe","lang":"x","version":"1"}\r\nSUB probe 1\r\nPING\r\n'
    )
    try:
        while True:
            begun = time.monotonic()
            writer.write(b"PUB probe 1\r\nx\r\n")
            while await reader.readline() != b"x\r\n":
                pass
            times.append(time.monotonic() - begun)
            await asyncio.sleep(0.002)
    finally:
        writer.close()


def check_page(page: dict[str, Any]) -> None:
    """Nothing is missing, nobody is listed twice, everything is in order."""
    cids = [entry["cid"] for entry in page["connections"]]
    assert cids == sorted(set(cids)) and page["num_connections"] == len(cids)
    for entry in page["connections"]:
        if "name" in entry:  # one that has not said CONNECT yet has none
            missing = ALWAYS - set(entry)
            assert not missing, missing
        assert moment(entry["start"]) <= moment(entry["last_activity"]) <= moment(page["now"]) + 0.05


def test_churn() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < CONNECTIONS + 200:
        if hard < CONNECTIONS + 200:
            pytest.skip("too few descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (CONNECTIONS + 200, hard))
    server = start(FOUR, MONITOR)
    try:
        asyncio.run(watch(server.port, Monitor(server)))
        server.stop()
    finally:
        server.destroy()


async def watch(port: int, monitor: Monitor) -> None:
    """Ask all the time, and look at every answer."""
    loop = asyncio.get_running_loop()
    crowd = Crowd(port)
    await crowd.gather()
    took: list[float] = []
    trips: list[float] = []
    tasks = [asyncio.create_task(crowd.churn()), asyncio.create_task(round_trips(port, trips))]
    try:
        end = time.monotonic() + SECONDS
        total = 0
        while time.monotonic() < end:
            begun = time.monotonic()
            answer = await loop.run_in_executor(None, monitor.get, "/connz?limit=1024")
            took.append(time.monotonic() - begun)
            page = answer.json
            check_page(page)
            assert CONNECTIONS - 60 <= page["total"] <= CONNECTIONS + 60
            assert page["num_connections"] >= min(page["total"], 1024) - 30
            closed = (
                await loop.run_in_executor(None, monitor.get, "/connz?state=closed&sort=stop&limit=50")
            ).json
            stops = [moment(entry["stop"]) for entry in closed["connections"]]
            assert stops == sorted(stops, reverse=True)
            varz = (await loop.run_in_executor(None, monitor.get, "/varz")).json
            assert varz["total_connections"] >= total
            total = varz["total_connections"]
        assert total > CONNECTIONS + 20, "nobody came and went"
        assert sorted(took)[len(took) // 2] < 1.0 and sorted(trips)[len(trips) // 2] < 0.1
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        crowd.leave()
