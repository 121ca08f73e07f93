"""The server's heartbeat in the system account: STATSZ, without having been asked.

First soon after the start, then at intervals that double until they are ten seconds long. Nobody listens: it is not made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from broker.log import Log, guarded
from broker.system.system import System

FIRST: Final = 0.25
LONGEST: Final = 10.0
CLOSEST: Final = 1.0  # seconds between two of them, but for those that are asked for


class Heartbeat:
    """Publishes it. ``make`` gives the object."""

    def __init__(self, system: System, make: Callable[[], Awaitable[dict[str, Any]]], log: Log) -> None:
        self._system = system
        self._make = make
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._subject = f"$SYS.SERVER.{system.info.id}.STATSZ"
        self._interval = FIRST
        self._last = -LONGEST
        self._timer = self._loop.call_later(FIRST, self._tick)
        self._beats: set[asyncio.Task[None]] = set()

    def now(self) -> None:
        """Somebody wants it at once."""
        self._last = self._loop.time()
        self._beat()

    def close(self) -> None:
        """No more of it."""
        self._timer.cancel()
        for beat in self._beats:
            beat.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        self._interval = min(2 * self._interval, LONGEST)
        again = now + self._interval
        if now - self._last < min(self._interval, CLOSEST):
            again = self._last + CLOSEST
        else:
            self._last = now
            self._beat()
        self._timer = self._loop.call_at(again, self._tick)

    def _beat(self) -> None:
        if self._system.interested(self._subject):
            beat = self._loop.create_task(self._publish())
            self._beats.add(beat)
            beat.add_done_callback(self._beats.discard)

    async def _publish(self) -> None:
        with guarded(self._log, "making the heartbeat"):
            fields = await self._make()
            self._system.publish(self._subject, {"server": self._system.info.block(), "statsz": fields})
