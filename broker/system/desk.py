"""Requests that take their time are answered aside, some at a time, while others wait.

So neither what waits for a worker that hangs nor what is large holds up the messages behind it. Every account has a line of its
own, and the lines take turns: who asks too often delays nobody but itself. The lines are bounded: more than that is dropped, as a
client would lose it, and the log is told how many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from broker.core import Message
from broker.log import Log, guarded
from broker.system.system import Handler
from broker.system.user_info import requester, text_of
from broker.system.zed import Silence

MOST_WAITING: Final = 8192
MOST_OF_ONE: Final = 1024

Work = Callable[[Message], Awaitable[None]]
_Job = tuple[Work, Message]


class Desk:
    """The lines, and ``at_once`` places where they are served."""

    __slots__ = ("_at_once", "_dropped", "_lines", "_log", "_running", "waiting")

    def __init__(self, at_once: int, log: Log) -> None:
        self.waiting = 0  # in all lines
        self._at_once = at_once
        self._log = log
        self._running: set[asyncio.Task[None]] = set()
        # By account, in the order of their turns; none of them is empty.
        self._lines: dict[str, deque[_Job]] = {}
        self._dropped = 0

    @property
    def busy(self) -> int:
        """How many are being served."""
        return len(self._running)

    def serve(self, work: Work) -> Handler:
        """A handler that puts messages into a line for this work."""

        def put(message: Message) -> None:
            if len(self._running) < self._at_once:
                self._start((work, message))
                return
            account = _account(message)
            line = self._lines.get(account, ())
            if self.waiting >= MOST_WAITING or len(line) >= MOST_OF_ONE:
                self._dropped += 1
                return
            self._lines.setdefault(account, deque()).append((work, message))
            self.waiting += 1

        return put

    def _start(self, job: _Job) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(*job))
        self._running.add(task)
        task.add_done_callback(self._done)

    async def _serve(self, work: Work, message: Message) -> None:
        """Never raises: a mistake of ours costs the request that met it."""
        with guarded(self._log, f"answering {message.subject.decode(errors='backslashreplace')}"):
            await work(message)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._lines:
            account, line = next(iter(self._lines.items()))
            del self._lines[account]
            self._start(line.popleft())
            self.waiting -= 1
            if line:
                self._lines[account] = line  # behind the others
        elif self._dropped and not self._running:
            self._log.warn(f"{self._dropped} requests to the system account were dropped: too many at a time")
            self._dropped = 0

    def close(self) -> None:
        """Drop all that is not answered yet."""
        self._lines.clear()
        self.waiting = 0
        for task in self._running:
            task.cancel()


def _account(message: Message) -> str:
    """Who asks; empty: the system account, and whoever cannot be told."""
    try:
        return text_of(requester(message.headers), "acc")
    except Silence:
        return ""
