"""Who is served when: accounts take turns, lines are bounded, nothing is lost in between."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from broker.core import Message
from broker.system.desk import MOST_OF_ONE, MOST_WAITING, Desk


class Log:
    """Remembers warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


def message(account: str, number: int) -> Message:
    return Message(
        str(number).encode(), b"", b'N\r\nNats-Request-Info: {"acc":"%s"}\r\n\r\n' % account.encode(), b""
    )


class Scene:
    """A desk whose requests end when the test says so."""

    def __init__(self, places: int) -> None:
        self.log = Log()
        self.desk = Desk(places, cast(Any, self.log))
        self.served: list[str] = []
        self.gate = asyncio.Semaphore(0)
        self.put = self.desk.serve(self.handle)

    async def handle(self, message: Message) -> None:
        account = message.headers.split(b'"')[3].decode()
        self.served.append(f"{account}{message.subject.decode()}")
        await self.gate.acquire()

    async def step(self, count: int = 1) -> None:
        """Let some come to an end, and others begin."""
        for _ in range(count):
            self.gate.release()
            for _ in range(4):
                await asyncio.sleep(0)


def test_accounts_take_turns() -> None:
    async def run() -> None:
        scene = Scene(places=2)
        for number in range(5):
            scene.put(message("a", number))
        scene.put(message("b", 0))
        scene.put(message("c", 0))
        scene.put(message("b", 1))
        await asyncio.sleep(0)
        assert scene.served == ["a0", "a1"] and (scene.desk.waiting, scene.desk.busy) == (6, 2)
        await scene.step(8)
        assert scene.served == ["a0", "a1", "a2", "b0", "c0", "a3", "b1", "a4"]
        assert (scene.desk.waiting, scene.desk.busy) == (0, 0) and not scene.log.lines

    asyncio.run(run())


def test_lines_are_bounded() -> None:
    async def run() -> None:
        scene = Scene(places=1)
        for number in range(MOST_OF_ONE + 4):
            scene.put(message("loud", number))
        assert scene.desk.waiting == MOST_OF_ONE
        scene.put(message("quiet", 0))
        assert scene.desk.waiting == MOST_OF_ONE + 1
        await scene.step(3)
        assert "quiet0" in scene.served
        await scene.step(MOST_OF_ONE)
        assert scene.log.lines == ["3 requests to the system account were dropped: too many at a time"]

    asyncio.run(run())


def test_all_lines_together_are_bounded() -> None:
    async def run() -> None:
        scene = Scene(places=1)
        for number in range(MOST_WAITING + 10):
            scene.put(message(f"account{number % 100}", number))
        assert scene.desk.waiting == MOST_WAITING
        scene.desk.close()
        assert scene.desk.waiting == 0

    asyncio.run(run())
