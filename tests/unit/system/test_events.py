"""Events that facts become: their order, the numbers in them, and the heartbeat of accounts."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from broker.log import Log
from broker.mesh.collect import Questions
from broker.monitor.counted import Counted
from broker.protocol.errors import ClosedReason
from broker.system.events import Events
from broker.system.facts import ACCOUNT, HEAD, KNOWN, Kind
from broker.system.system import System

from .virtual import FakeSystem, record, run

CONNS = ["$SYS.SERVER.ACCOUNT.A.CONNS", "$SYS.ACCOUNT.A.SERVER.CONNS"]


class FakeAccounts:
    """Connections of account A, by worker."""

    def __init__(self, *there: str, before: str = "") -> None:
        self.by_worker = {0: 0, 1: 0}
        self.there = ["$G", *there]
        self.known = {*self.there, before}

    def names(self) -> list[str]:
        return self.there

    def knows(self, name: str) -> bool:
        return name in self.known

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def of(self, name: str) -> Counter[str]:
        names = ("held", "in_msgs", "in_bytes", "out_msgs", "out_bytes", "slow_consumers")
        return Counter(conns=self.conns(name), **dict.fromkeys(names, 2))

    def conns(self, name: str) -> int:
        return sum(self.by_worker.values()) if name == "A" else 0

    def conns_elsewhere(self, name: str, worker: int) -> int:
        return self.conns(name) - self.by_worker[worker]


class FakeQuestions:
    """Hears what the test says."""

    def __init__(self) -> None:
        self.hear: Callable[..., None] | None = None
        self.told: list[tuple[int, dict[str, Any]]] = []

    def follow(self, request: dict[str, Any], hear: Callable[..., None]) -> None:
        assert request == {"op": "facts"}
        self.hear = hear

    def unfollow(self) -> None:
        self.hear = None

    def tell(self, index: int, request: dict[str, Any]) -> bool:
        self.told.append((index, request))
        return True


class FakeLog:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, text: str) -> None:
        self.lines.append(text)

    warn = error


class Scene:
    """The whole of it."""

    def __init__(self) -> None:
        self.system, self.accounts, self.questions, self.log = (
            FakeSystem(),
            FakeAccounts("A"),
            FakeQuestions(),
            FakeLog(),
        )
        self.events = Events(
            cast(System, self.system),
            cast(Questions, self.questions),
            cast(Log, self.log),
            cast(Counted, self.accounts),
        )
        self.events.begin()

    async def say(self, *facts: tuple[int, int, int, bytes], index: int = 0, serial: int = 1) -> None:
        """A worker says this; nothing: it is dead. Returns when it is asked for more."""
        told = b"".join(HEAD.pack(len(data), conns, kind, flags) + data for kind, flags, conns, data in facts)
        done = asyncio.Event()
        assert self.questions.hear is not None
        self.questions.hear(index, serial, told, done.set)
        await done.wait()


def test_order_and_numbers() -> None:
    """The worker's own number as it said it, the others' as of now."""

    async def work() -> None:
        scene = Scene()
        scene.accounts.by_worker = {0: 9, 1: 2}
        about = '{"name":"n","lang":"go","version":"1"}'
        await scene.say(
            (Kind.CONNECTED, KNOWN, 5, record(7, "A", "u", about)),
            (Kind.CLOSED, 0, 4, record(7, "A", "u", about, ClosedReason.CLIENT_CLOSED)),
        )
        bodies = [json.loads(body) for _, _, body in scene.system.published]
        subjects = scene.system.subjects()
        assert subjects == [*CONNS, "$SYS.ACCOUNT.A.CONNECT", *CONNS, "$SYS.ACCOUNT.A.DISCONNECT"]
        assert [body["server"]["seq"] for body in bodies] == [1, 2, 3, 4, 5, 6]
        assert [body.get("conns") for body in bodies] == [7, 7, None, 6, 6, None]
        assert bodies[0]["id"] == bodies[1]["id"] != bodies[2]["id"]
        assert bodies[2]["client"] == {
            "start": "1970-01-01T00:00:01Z",
            "host": "1.2.3.4",
            "id": 7,
            "acc": "A",
            "user": "u",
            "name": "n",
            "lang": "go",
            "ver": "1",
            "name_tag": "A",
            "kind": "Client",
            "client_type": "nats",
        }
        assert bodies[5]["client"]["rtt"] == 1234 and bodies[5]["client"]["stop"] == "1970-01-01T00:00:03Z"
        assert bodies[5]["sent"] == {"msgs": 3, "bytes": 30} and bodies[5]["received"] == {
            "msgs": 4,
            "bytes": 40,
        }
        assert bodies[5]["reason"] == "Client Closed"
        scene.events.close()

    run(work)


def test_not_of_everybody() -> None:
    """The global account has no number; a refused client was in no other one; a full account's number is the same."""

    async def work() -> None:
        scene = Scene()
        await scene.say(
            (Kind.CONNECTED, KNOWN, 5, record(1, "$G", "", "{}")),
            (Kind.CLOSED, ACCOUNT, 0, record(2, "A", "u", "{}", ClosedReason.AUTHENTICATION_FAILURE)),
            (
                Kind.CONNECTED,
                0,
                0,
                record(3, "A", "u", "{}", ClosedReason.MAXIMUM_ACCOUNT_CONNECTIONS_EXCEEDED),
            ),
        )
        assert scene.system.subjects() == [
            "$SYS.ACCOUNT.$G.CONNECT",
            *CONNS,
            "$SYS.SERVER.ID.CLIENT.AUTH.ERR",
            "$SYS.ACCOUNT.$G.DISCONNECT",
            "$SYS.ACCOUNT.A.CONNECT",
        ]
        ((index, request),) = scene.questions.told
        assert (
            index == 0 and request["account"] == "$G" and request["subject"] == "$SYS.ACCOUNT.CLIENT.AUTH.ERR"
        )
        assert json.loads(request["payload"])["client"]["acc"] == "$G"
        scene.events.close()

    run(work)


def test_only_what_is_wanted() -> None:
    """Nothing else takes a number."""

    async def work() -> None:
        scene = Scene()
        scene.system.wanted = lambda subject: subject.endswith(".CONNECT")
        await scene.say(
            (Kind.CONNECTED, KNOWN, 5, record(7, "A")), (Kind.CLOSED, 0, 4, record(7, "A", reason=1))
        )
        assert scene.system.subjects() == ["$SYS.ACCOUNT.A.CONNECT"] and scene.system.info.number == 1
        scene.events.close()

    run(work)


def test_an_account_says_that_it_has_connections() -> None:
    """Thirty seconds after it last did; an account without any is silent."""

    async def work() -> None:
        scene = Scene()
        scene.accounts.by_worker = {0: 1, 1: 0}
        await asyncio.sleep(12)
        await scene.say((Kind.CONNECTED, KNOWN, 1, record(7, "A")))
        assert scene.system.subjects() == [*CONNS, "$SYS.ACCOUNT.A.CONNECT"]
        await asyncio.sleep(29)
        assert scene.system.subjects() == []
        await asyncio.sleep(2)
        assert [json.loads(body)["conns"] for _, _, body in scene.system.published] == [1, 1]
        assert scene.system.subjects() == CONNS
        await asyncio.sleep(30)
        assert scene.system.subjects() == CONNS
        scene.accounts.by_worker = {0: 0, 1: 0}
        await asyncio.sleep(90)
        assert scene.system.subjects() == []
        scene.events.close()
        scene.accounts.by_worker = {0: 1, 1: 0}
        await asyncio.sleep(90)
        assert scene.system.subjects() == []

    run(work)


def test_other_accounts() -> None:
    """A client of a new one may come before we know that it is there; one that is gone is heard of until its last client is."""

    async def work() -> None:
        scene = Scene()
        before, after, gone = (
            FakeAccounts("OLD"),
            FakeAccounts("A", before="OLD"),
            FakeAccounts("OLD", before="A"),
        )
        after.by_worker = gone.by_worker = {0: 1, 1: 0}
        scene.events.use(cast(Counted, before))
        await scene.say((Kind.CONNECTED, KNOWN, 1, record(7, "A")))
        assert scene.system.subjects() == ["$SYS.ACCOUNT.A.CONNECT"], "its number is not known"
        scene.events.expect(cast(Counted, after))
        await scene.say((Kind.CONNECTED, KNOWN, 1, record(8, "A")))
        assert scene.system.subjects() == [*CONNS, "$SYS.ACCOUNT.A.CONNECT"]
        scene.events.use(cast(Counted, after))
        await asyncio.sleep(32)
        assert scene.system.subjects() == CONNS
        scene.events.use(cast(Counted, gone))
        await asyncio.sleep(32)
        assert scene.system.subjects() == CONNS, "it still has a client"
        gone.by_worker = {0: 0, 1: 0}
        await scene.say((Kind.CLOSED, 0, 0, record(8, "A", reason=1)))
        assert scene.system.subjects() == [*CONNS, "$SYS.ACCOUNT.A.DISCONNECT"]
        await asyncio.sleep(90)
        gone.by_worker = {0: 1, 1: 0}  # nobody looks any more
        await asyncio.sleep(90)
        assert scene.system.subjects() == []
        scene.events.close()

    run(work)


def test_a_worker_dies() -> None:
    """After all that it had said; then its clients' ends are told for it."""

    async def work() -> None:
        scene = Scene()
        scene.accounts.by_worker = {0: 2, 1: 1}
        await scene.say(
            (Kind.CONNECTED, KNOWN, 1, record(7, "A", "u")),
            (Kind.CONNECTED, KNOWN, 2, record(8, "A", "u")),
            (Kind.CONNECTED, 0, 2, record(9, "A", "u")),
            (Kind.CLOSED, 0, 1, record(8, "A", "u", reason=1)),
        )
        await scene.say((Kind.CONNECTED, KNOWN, 1, record(10, "A")), index=1, serial=2)
        scene.system.published.clear()
        scene.accounts.by_worker[0] = 0
        await scene.say()
        first, _, last = [json.loads(body) for _, _, body in scene.system.published]
        assert scene.system.subjects() == [*CONNS, "$SYS.ACCOUNT.A.DISCONNECT"]
        assert first["conns"] == 1 and last["client"]["id"] == 7 and last["reason"] == "Server Shutdown"
        await scene.say()
        assert scene.system.subjects() == []
        scene.events.close()

    run(work)


def test_what_was_lost_is_said() -> None:
    """And nothing is made up later about clients that may have gone meanwhile."""

    async def work() -> None:
        scene = Scene()
        await scene.say((Kind.CONNECTED, KNOWN, 0, record(7, "A")), (Kind.LOST, 0, 12, b""))
        (line,) = scene.log.lines
        assert "12 events of worker 0 were lost" in line
        scene.system.published.clear()
        await scene.say()
        assert scene.system.subjects() == []
        scene.events.close()

    run(work)


def test_a_mistake_costs_one_event() -> None:
    async def work() -> None:
        scene = Scene()
        await scene.say(
            (Kind.CONNECTED, 0, 0, record(7, "A", about="no json")), (Kind.CONNECTED, 0, 0, record(8, "A"))
        )
        assert [subject for subject in scene.system.subjects() if subject not in CONNS] == [
            "$SYS.ACCOUNT.A.CONNECT"
        ]
        assert len(scene.log.lines) == 1
        await scene.say((Kind.CONNECTED, 0, 0, record(7, "no subject", about="no json")))
        assert scene.system.subjects() == [] and len(scene.log.lines) == 1
        scene.events.close()

    run(work)
