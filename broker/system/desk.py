"""Requests that take their time are answered aside, some at a time, while others wait in a line of their own.

So neither what waits for a worker that hangs nor what is large holds up the messages behind it. The line is bounded: more than
that is dropped, as a client would lose it, and the log is told how many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from broker.core import Message
from broker.log import Log
from broker.system.system import Handler, System

MOST_WAITING: Final = 8192


class Desk:
    """One line, and ``at_once`` places where it is served."""

    __slots__ = ("_at_once", "_dropped", "_log", "_running", "_system", "_waiting")

    def __init__(self, system: System, at_once: int, log: Log) -> None:
        self._system = system
        self._at_once = at_once
        self._log = log
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[Handler, Message]] = deque()
        self._dropped = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """How many are being served."""
        return len(self._running)

    def serve(self, handler: Handler) -> Handler:
        """A handler that only puts messages into the line for this one."""

        async def put(message: Message) -> None:
            if len(self._running) < self._at_once:
                self._start(handler, message)
            elif len(self._waiting) < MOST_WAITING:
                self._waiting.append((handler, message))
            else:
                self._dropped += 1

        return put

    def _start(self, handler: Handler, message: Message) -> None:
        task = asyncio.get_running_loop().create_task(self._system.handle(handler, message))
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._waiting:
            self._start(*self._waiting.popleft())
        elif self._dropped and not self._running:
            self._log.warn(f"{self._dropped} requests to the system account were dropped: too many at a time")
            self._dropped = 0

    def close(self) -> None:
        """Drop all that is not answered yet."""
        self._waiting.clear()
        for task in self._running:
            task.cancel()
