"""An event loop in which waiting takes no time, and stand-ins for what events need."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from broker.system.ids import EventIds
from broker.system.system import System


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock is where the next timer is due, whenever there is nothing else to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None) -> Any:
            assert timeout is not None, "waits for ever"
            self._now += timeout
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        """Seconds since its beginning."""
        return self._now


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in such a loop."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(work())
    finally:
        loop.close()


def record(cid: int, account: str = "", user: str = "", about: str = "", reason: int = 0) -> bytes:
    """What the data plane tells of a connection."""
    texts = [text.encode() for text in (account, user, about)]
    numbers = [cid, 3, 30, 4, 40, 0, 0, 1234, 1_000_000_000, 2_000_000_000, 3_000_000_000 * bool(reason)]
    sizes = [len(text) for text in texts]
    body = struct.pack("=8Q3q6I48s", *numbers, 0, reason, 1, *sizes, b"1.2.3.4") + b"".join(texts)
    return struct.pack("=II", 8 + len(body), 1) + body


class FakeInfo:
    """A server block without a server."""

    id = "ID"

    def __init__(self) -> None:
        self.number = 0

    def text(self) -> str:
        """As JSON."""
        self.number += 1
        return f'{{"seq":{self.number}}}'

    def block(self) -> dict[str, Any]:
        """As an object."""
        self.number += 1
        return {"seq": self.number}


class FakeSystem:
    """Remembers what is published; ``wanted`` says who listens."""

    def __init__(self) -> None:
        self.info = FakeInfo()
        self.ids = EventIds()
        self.published: list[tuple[float, str, Any]] = []
        self.wanted: Callable[[str], bool] = lambda subject: True

    typed = System.typed

    def together(self) -> AbstractContextManager[None]:
        """Makes no difference here."""
        return nullcontext()

    def interested(self, subject: str) -> bool:
        """Does anybody listen?"""
        return self.wanted(subject)

    def publish(self, subject: str, body: Any) -> bool:
        """Somebody gets it."""
        self.published.append((asyncio.get_running_loop().time(), subject, body))
        return True

    def subjects(self) -> list[str]:
        """Of all so far, which then are forgotten."""
        subjects = [subject for _, subject, _ in self.published]
        self.published.clear()
        return subjects
