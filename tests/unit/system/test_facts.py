"""Which facts a worker makes, and that they stay within bounds."""

from __future__ import annotations

from typing import cast

import pytest

from broker.core import Core
from broker.protocol.errors import ClosedReason
from broker.system import facts as module
from broker.system.facts import ACCOUNT, KNOWN, Facts, Kind, read_facts

from .virtual import record

SYSTEM, EVERYBODY = 1, 0


class FakeCore:
    """Connections are their records; who listens is a set of (account, subject)."""

    def __init__(self, *interest: tuple[int, str]) -> None:
        self.records: dict[int, tuple[int, bytes]] = {}
        self.interest = {(account, subject.encode()) for account, subject in interest}
        self.counters = self

    def record(self, conn: int) -> tuple[int, bytes]:
        return self.records.get(conn, (0, b""))

    def interested(self, account: int, subject: bytes) -> bool:
        return (account, subject) in self.interest


def facts_of(core: FakeCore) -> Facts:
    return Facts(cast(Core, core), "ID", SYSTEM, EVERYBODY)


def told(facts: Facts) -> list[tuple[int, int, int, bytes]]:
    return list(read_facts(facts.take()))


def test_nobody_listens() -> None:
    core = FakeCore()
    facts = facts_of(core)
    core.records[5] = 1, record(7, "A", "u", "{}")
    facts.connected(5, facts.before(5))
    facts.guest(5)
    core.records[5] = 0, record(7, "A", "u", "{}", ClosedReason.AUTHENTICATION_FAILURE)
    facts.closed(5)
    facts.closed(6)
    assert not facts.pending and facts.take() == b""


@pytest.mark.parametrize(
    "subject", ["$SYS.ACCOUNT.A.CONNECT", "$SYS.SERVER.ACCOUNT.A.CONNS", "$SYS.ACCOUNT.A.SERVER.CONNS"]
)
def test_connected(subject: str) -> None:
    """Each of the events is reason enough; its end is told, too, whoever listens then."""
    core = FakeCore((SYSTEM, subject))
    facts = facts_of(core)
    before = core.records[5] = 4, record(7, "A", "u", "{}")
    facts.connected(5, b"")
    assert facts.pending and told(facts) == [(Kind.CONNECTED, KNOWN, 4, before[1])]
    core.interest.clear()
    core.records[5] = 3, record(7, "A", "u", "{}", ClosedReason.CLIENT_CLOSED)
    facts.closed(5)
    facts.closed(5)
    assert told(facts) == [(Kind.CLOSED, 0, 3, core.records[5][1])]


def test_another_account() -> None:
    core = FakeCore((SYSTEM, "$SYS.ACCOUNT.A.SERVER.CONNS"), (SYSTEM, "$SYS.ACCOUNT.B.CONNECT"))
    facts = facts_of(core)
    core.records[5] = 1, record(7, "A")
    before = facts.before(5)
    core.records[5] = 1, record(7, "B")
    facts.connected(5, before)
    assert [(kind, data) for kind, _, _, data in told(facts)] == [
        (Kind.LEFT, record(7, "A")),
        (Kind.CONNECTED, record(7, "B")),
    ]


def test_refused() -> None:
    """Those who listen in the global account hear of clients that have said who they are."""
    core = FakeCore((EVERYBODY, "$SYS.ACCOUNT.CLIENT.AUTH.ERR"))
    facts = facts_of(core)
    core.records[5] = 0, record(7, "", "u", "{}", ClosedReason.AUTHENTICATION_FAILURE)
    core.records[6] = 0, record(8, "", "", "", ClosedReason.AUTHENTICATION_FAILURE)
    facts.closed(5)
    facts.closed(6)
    assert [(kind, flags) for kind, flags, _, _ in told(facts)] == [(Kind.CLOSED, ACCOUNT)]
    core.interest = {(SYSTEM, b"$SYS.SERVER.ID.CLIENT.AUTH.ERR")}
    facts.closed(5)
    facts.closed(6)
    assert [(kind, flags) for kind, flags, _, _ in told(facts)] == [(Kind.CLOSED, 0)] * 2


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room is counted; what reached nobody comes first the next time."""
    one = record(7, "A")
    monkeypatch.setattr(module, "MOST_BYTES", 3 * (module.HEAD.size + len(one)))
    monkeypatch.setattr(module, "MOST_TOLD", 2)
    core = FakeCore((SYSTEM, "$SYS.ACCOUNT.A.CONNECT"))
    facts = facts_of(core)
    for cid in range(8):
        core.records[cid] = cid, record(cid, "A")
        facts.connected(cid, b"")
    first = facts.take()
    assert [(kind, flags) for kind, flags, _, _ in read_facts(first)] == [
        (Kind.CONNECTED, KNOWN),
        (Kind.CONNECTED, KNOWN),
        (Kind.CONNECTED, 0),
        (Kind.LOST, 0),
    ]
    assert [conns for *_, conns, _ in read_facts(first)] == [0, 1, 2, 5]
    facts.put_back(first)
    facts.connected(1, b"")
    assert [(kind, conns) for kind, _, conns, _ in told(facts)] == [
        *((Kind.CONNECTED, cid) for cid in range(3)),
        (Kind.LOST, 5),
        (Kind.LOST, 1),
    ]
