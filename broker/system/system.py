"""The server's own client in the system account: who listens to which subject, and how answers are sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from broker.core import Core, Message
from broker.log import Log, guarded
from broker.monitor.encode import compact, time_text
from broker.system.ids import EventIds
from broker.system.info import ServerInfo

Handler = Callable[[Message], None]

_TYPE: Final = "io.nats.server.advisory.v1."


class System:
    """Subscriptions and messages in the system account. ``account``: the data plane's number of it."""

    __slots__ = ("_account", "_core", "_handlers", "_log", "ids", "info")

    def __init__(self, core: Core, account: int, info: ServerInfo, log: Log) -> None:
        self._core = core
        self._account = account
        self._log = log
        self._handlers: list[Handler] = []
        self.ids = EventIds()
        self.info = info

    def on(self, subject: str, handler: Handler) -> None:
        """Let ``handler`` have what is published on a subject (which may have wildcards). It is called between the data plane's
        turns, one message after the other, and must not take its time. Raises MemoryError."""
        self._handlers.append(handler)
        self._core.subscribe(self._account, len(self._handlers) - 1, subject.encode())

    def publish(self, subject: str, body: object, headers: bytes = b"") -> bool:
        """Publish a JSON value, or bytes as they are. Whether somebody may have got it."""
        payload = body if isinstance(body, bytes) else compact(body).encode()
        return self._core.publish(self._account, subject.encode(), payload, b"", headers)

    def together(self) -> AbstractContextManager[None]:
        """A block whose messages are sent together. It must not wait for anything."""
        return self._core.together()

    def answer(self, request: Message, body: object, headers: bytes = b"") -> None:
        """Answer a request, if it waits for that, and where somebody can listen."""
        if _is_subject(request.reply):
            payload = body if isinstance(body, bytes) else compact(body).encode()
            self._core.publish(self._account, request.reply, payload, b"", headers)

    def interested(self, subject: str) -> bool:
        """Would somebody other than ourselves get it?"""
        return self._core.interested(self._account, subject.encode())

    def typed(self, kind: str) -> str:
        """How an event of this kind begins, up to the block that names the server."""
        moment = time_text(time.time_ns())
        return f'{{"type":"{_TYPE}{kind}","id":"{self.ids.new()}","timestamp":"{moment}","server":'

    def receive(self, tag: int, message: Message) -> None:
        """A message came for the subscription with this tag. Never raises."""
        with guarded(self._log, f"taking a request for {message.subject.decode(errors='backslashreplace')}"):
            self._handlers[tag](message)


def _is_subject(text: bytes) -> bool:
    """Whether a subject may look like this: clients may write what they like for a reply."""
    tokens = text.split(b".")
    return all(tokens) and b">" not in tokens[:-1]
