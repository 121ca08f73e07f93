"""Events about clients: who came, who went, who was refused, and how many an account has.

They are made of what the workers tell (broker/system/facts.py), in the order in which a worker told it: of one connection
both CONNS, then CONNECT; both CONNS, then DISCONNECT. Numbers of other workers are read from the shared page, as of now.

A worker that dies does not tell its clients' ends. We know those clients whose CONNECT was wanted by somebody, and publish their
DISCONNECT, with the counters as they were then, and CONNS for the accounts whose number was told. A gateway that is started
again knows none of them: events are never made twice.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from broker.log import Log, guarded
from broker.mesh.collect import Questions
from broker.monitor.counted import Counted
from broker.options.users import GLOBAL_ACCOUNT
from broker.protocol.errors import ClosedReason
from broker.records import ConnRecord, read_records
from broker.system.facts import ACCOUNT, ACCOUNT_AUTH_ERROR, BOUND, KNOWN, Fact, Kind, read_facts, subjects_of
from broker.system.system import System
from broker.system.texts import account_text, client_text, end_text

CONNS_SECONDS: Final = 30.0
AT_ONCE: Final = 0.005  # seconds of work before others have their turn
ACCOUNT_CONNECTIONS: Final = "account_connections"
_CONNECT: Final = "client_connect"
_DISCONNECT: Final = "client_disconnect"
_GONE: Final[tuple[Fact, ...]] = ((Kind.GONE, 0, 0, b""),)
_NAME: Final = re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)*")  # an account that can be part of a subject


class Events:
    """Publishes them."""

    def __init__(self, system: System, questions: Questions, log: Log, accounts: Counted) -> None:
        self._system = system
        self._questions = questions
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._accounts = accounts
        self._due: dict[str, float] = {}
        self._told: dict[str, int] = {}  # the last number of connections that was published
        self._clients: dict[int, dict[int, bytes]] = {}  # records, by start number of the worker and client
        self._waiting: deque[tuple[int, int, bytes, Callable[[], None]]] = deque()
        self._working: asyncio.Task[None] | None = None
        self.use(accounts)
        self._timer = self._loop.call_later(1.0, self._heartbeat)

    def begin(self) -> None:
        """Listen to the workers. Not before we know who listens to us: what nobody wants is not made."""
        self._questions.follow({"op": "facts"}, self._hear)

    def expect(self, accounts: Counted) -> None:
        """There will be other accounts soon: a worker may tell of their clients before we are told that they are there."""
        self._accounts = accounts

    def use(self, accounts: Counted) -> None:
        """Other accounts from now on. Those that are gone still have events as long as they have clients."""
        self._accounts = accounts
        due = self._loop.time() + CONNS_SECONDS
        for name in accounts.names():
            if name != GLOBAL_ACCOUNT:
                self._due.setdefault(name, due)

    def close(self) -> None:
        """No more events."""
        self._timer.cancel()
        self._waiting.clear()
        if self._working is not None:
            self._working.cancel()
        self._questions.unfollow()

    # -- what workers tell -----------------------------------------------------------------------------------------

    def _hear(self, index: int, serial: int, told: bytes, more: Callable[[], None]) -> None:
        self._waiting.append((index, serial, told, more))
        if self._working is None:
            self._working = self._loop.create_task(self._work())

    async def _work(self) -> None:
        """One worker's facts after the other's, with pauses for others; only then is it asked for more."""
        try:
            while self._waiting:
                index, serial, told, more = self._waiting.popleft()
                facts = read_facts(told) if told else iter(_GONE)
                while self._some(index, serial, facts):
                    await asyncio.sleep(0)
                more()
                await asyncio.sleep(0)
        finally:
            self._working = None

    def _some(self, index: int, serial: int, facts: Iterator[Fact]) -> bool:
        """As much work as may be done at once; whether there is more."""
        until = time.monotonic() + AT_ONCE
        with self._system.together():
            for fact in facts:
                self._act(index, serial, *fact)
                if time.monotonic() > until:
                    return True
        return False

    def _act(self, index: int, serial: int, kind: int, flags: int, conns: int, record: bytes) -> None:
        """Never raises."""
        with guarded(self._log, "making an event"):
            if kind == Kind.GONE:
                self._died(serial)
            elif kind == Kind.LOST:
                self._lost(index, serial, conns)
            else:
                (client,) = read_records([record])
                if _NAME.fullmatch(client.account or GLOBAL_ACCOUNT):
                    self._fact(index, serial, kind, flags, conns, client, record)

    def _lost(self, index: int, serial: int, number: int) -> None:
        self._clients.pop(serial, None)  # some of them may have gone
        self._log.warn(f"system account: {number} events of worker {index} were lost: too many at a time")

    def _fact(
        self, index: int, serial: int, kind: int, flags: int, conns: int, client: ConnRecord, record: bytes
    ) -> None:
        if kind == Kind.LEFT:
            self._count(client.account, None)
            return
        # Whom a full account refused never was in it.
        full = client.reason == ClosedReason.MAXIMUM_ACCOUNT_CONNECTIONS_EXCEEDED
        if client.account and not full:
            self._count(client.account, conns, index)
        if kind == Kind.CONNECTED:
            if flags & KNOWN and not full:
                self._clients.setdefault(serial, {})[client.cid] = record
            self._connect(client)
        elif kind == Kind.CLOSED:
            known = self._clients.get(serial)
            if known is not None:
                known.pop(client.cid, None)
            self._closed(client, index, flags)

    def _died(self, serial: int) -> None:
        """A worker is gone, and its clients with it."""
        for name, told in list(self._told.items()):
            if self._accounts.conns(name) != told:
                self._count(name, None)
        now = time.time_ns()
        for record in self._clients.pop(serial, {}).values():
            (client,) = read_records([record])
            client.stop_ns, client.reason = now, ClosedReason.SERVER_SHUTDOWN
            self._disconnect(client, client.account or GLOBAL_ACCOUNT)

    # -- events ----------------------------------------------------------------------------------------------------

    def _connect(self, client: ConnRecord) -> None:
        account = client.account or GLOBAL_ACCOUNT
        subject = subjects_of(account)[0]
        if self._wanted(subject):
            tail = f',"client":{client_text(client, account, ended=False)}}}'
            self._publish(subject, _CONNECT, tail)

    def _closed(self, client: ConnRecord, index: int, flags: int) -> None:
        account = client.account or GLOBAL_ACCOUNT
        if client.reason == ClosedReason.AUTHENTICATION_FAILURE:
            if not flags & BOUND:
                account = GLOBAL_ACCOUNT  # whoever does not pass is in no other
            tail = end_text(client, account)
            if flags & ACCOUNT:
                self._tell_inside(index, account, tail)
            self._publish(f"$SYS.SERVER.{self._system.info.id}.CLIENT.AUTH.ERR", _DISCONNECT, tail)
        self._disconnect(client, account)

    def _disconnect(self, client: ConnRecord, account: str) -> None:
        subject = subjects_of(account)[1]
        if self._wanted(subject):
            self._publish(subject, _DISCONNECT, end_text(client, account))

    def _tell_inside(self, index: int, account: str, tail: str) -> None:
        """Publish in another account than the system's: a worker does that for us."""
        payload = self._system.typed(_DISCONNECT) + self._system.info.text() + tail
        request = {"op": "publish", "account": account, "subject": ACCOUNT_AUTH_ERROR, "payload": payload}
        self._questions.tell(index, request)

    def _count(self, name: str, conns: int | None, index: int = 0) -> None:
        """Publish how many connections an account has. ``conns``: those of one worker, if it said so."""
        if name == GLOBAL_ACCOUNT or not self._accounts.knows(name):
            return
        *_, old, new = subjects_of(name)
        self._due[name] = self._loop.time() + CONNS_SECONDS
        if not self._wanted(old) and not self._wanted(new):
            self._told.pop(name, None)
            return
        sums = self._accounts.of(name)
        if conns is not None:
            sums["conns"] = conns + self._accounts.conns_elsewhere(name, index)
        self._told[name] = sums["conns"]
        start, numbers = self._system.typed(ACCOUNT_CONNECTIONS), account_text(name, sums)[1:]
        for subject in (old, new):
            self._system.publish(subject, f"{start}{self._system.info.text()},{numbers}".encode())

    def _heartbeat(self) -> None:
        """Every account that has connections says so when it has said nothing for a while."""
        self._timer = self._loop.call_later(1.0, self._heartbeat)
        now = self._loop.time()
        gone: list[str] = []
        for name, due in self._due.items():
            if now < due:
                continue
            self._due[name] = now + CONNS_SECONDS
            if self._accounts.conns(name):
                self._count(name, None)
            elif name not in self._accounts:
                gone.append(name)
        for name in gone:
            del self._due[name]
            self._told.pop(name, None)

    def _wanted(self, subject: str) -> bool:
        return self._system.interested(subject)

    def _publish(self, subject: str, kind: str, tail: str) -> None:
        self._system.publish(subject, f"{self._system.typed(kind)}{self._system.info.text()}{tail}".encode())


def account_connections(system: System, start: str, name: str, sums: Mapping[str, int]) -> bytes:
    """How many connections an account has, as an event that begins with ``start``."""
    return f"{start}{system.info.text()},{account_text(name, sums)[1:]}".encode()
