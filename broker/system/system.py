"""The server's own client in the system account: who listens to which subject, and how answers are sent.

Messages are handled one after the other in the order in which they came, and never inside the data plane's turn: a
handler may take its time, and ask the workers. How many may wait is bounded; more than that is dropped, as a client
would lose them.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from broker.core import Core, Message
from broker.log import Log
from broker.monitor.encode import compact
from broker.system.ids import EventIds
from broker.system.info import ServerInfo

Handler = Callable[[Message], Awaitable[None]]

MOST_WAITING: Final = 8192


class System:
    """Subscriptions and messages in the system account. ``account``: the data plane's number of it."""

    __slots__ = ("_account", "_core", "_dropped", "_handlers", "_log", "_running", "_waiting", "ids", "info")

    def __init__(self, core: Core, account: int, info: ServerInfo, log: Log) -> None:
        self._core = core
        self._account = account
        self._log = log
        self._handlers: list[Handler] = []
        self._waiting: deque[tuple[Handler, Message]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._dropped = 0
        self.ids = EventIds()
        self.info = info

    def on(self, subject: str, handler: Handler) -> None:
        """Let ``handler`` have what is published on a subject (which may have wildcards). Raises MemoryError."""
        self._handlers.append(handler)
        self._core.subscribe(self._account, len(self._handlers) - 1, subject.encode())

    def publish(self, subject: str, body: object, headers: bytes = b"") -> bool:
        """Publish a JSON value, or bytes as they are. Whether somebody may have got it."""
        payload = body if isinstance(body, bytes) else compact(body).encode()
        return self._core.publish(self._account, subject.encode(), payload, b"", headers)

    def answer(self, request: Message, body: object, headers: bytes = b"") -> None:
        """Answer a request, if it waits for that, and where somebody can listen."""
        if _is_subject(request.reply):
            payload = body if isinstance(body, bytes) else compact(body).encode()
            self._core.publish(self._account, request.reply, payload, b"", headers)

    def interested(self, subject: str) -> bool:
        """Would somebody other than ourselves get it?"""
        return self._core.interested(self._account, subject.encode())

    def receive(self, tag: int, message: Message) -> None:
        """A message came for the subscription with this tag."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append((self._handlers[tag], message))
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._work())

    @property
    def waiting(self) -> int:
        """How many messages wait to be handled."""
        return len(self._waiting)

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._running is not None:
            self._running.cancel()

    async def _work(self) -> None:
        try:
            while self._waiting:
                handler, message = self._waiting.popleft()
                await self.handle(handler, message)
        finally:
            self._running = None
        if self._dropped:
            self._log.warn(f"{self._dropped} messages to the system account were dropped: too many at a time")
            self._dropped = 0

    async def handle(self, handler: Handler, message: Message) -> None:
        """Have a message handled. Never raises: a mistake of ours costs the request that met it."""
        try:
            await handler(message)
        except Exception:
            subject = message.subject.decode(errors="backslashreplace")
            self._log.error(f"internal error while answering {subject}: {traceback.format_exc()}")


def _is_subject(text: bytes) -> bool:
    """Whether a subject may look like this: clients may write what they like for a reply."""
    tokens = text.split(b".")
    return all(tokens) and b">" not in tokens[:-1]
