"""When the server's heartbeat comes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from broker.log import Log
from broker.system.heartbeat import Heartbeat
from broker.system.system import System

from .virtual import FakeSystem, run


class Errors:
    """A log."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def error(self, text: str) -> None:
        self.texts.append(text)


async def made() -> dict[str, Any]:
    return {"cores": 1}


def heartbeat(system: FakeSystem, log: Errors, make: Any = made) -> Heartbeat:
    return Heartbeat(cast(System, system), make, cast(Log, log))


def test_intervals_double() -> None:
    """As they were seen of a nats-server: soon, then 1, 2, 4, 8 and for ever 10 seconds apart."""

    async def work() -> None:
        system, log = FakeSystem(), Errors()
        beats = heartbeat(system, log)
        await asyncio.sleep(50)
        beats.close()
        assert [when for when, _, _ in system.published] == [
            0.25,
            1.25,
            3.25,
            7.25,
            15.25,
            25.25,
            35.25,
            45.25,
        ]
        assert system.published[0][1:] == (
            "$SYS.SERVER.ID.STATSZ",
            {"server": {"seq": 1}, "statsz": {"cores": 1}},
        )
        assert not log.texts

    run(work)


def test_nobody_listens() -> None:
    """Then it is not even made; whoever comes gets the next one."""

    async def work() -> None:
        system = FakeSystem()
        system.wanted = lambda subject: asyncio.get_running_loop().time() > 20
        beats = heartbeat(system, Errors())
        await asyncio.sleep(30)
        beats.close()
        assert [when for when, _, _ in system.published] == [25.25] and system.info.number == 1

    run(work)


def test_asked_for() -> None:
    """Those come at once, and one that is due soon after waits."""

    async def work() -> None:
        system = FakeSystem()
        beats = heartbeat(system, Errors())
        await asyncio.sleep(3)
        beats.now()
        beats.now()
        await asyncio.sleep(10)
        beats.close()
        assert [when for when, _, _ in system.published] == pytest.approx([0.25, 1.25, 3.0, 3.0, 4.0, 12.0])

    run(work)


def test_a_mistake_costs_one() -> None:
    async def work() -> None:
        async def broken() -> dict[str, Any]:
            if asyncio.get_running_loop().time() < 1:
                raise ValueError("oops")
            return {}

        system, log = FakeSystem(), Errors()
        beats = heartbeat(system, log, broken)
        await asyncio.sleep(2)
        beats.close()
        assert [when for when, _, _ in system.published] == [1.25]
        assert len(log.texts) == 1 and "oops" in log.texts[0]

    run(work)
