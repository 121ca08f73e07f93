"""What a worker tells the gateway of its clients, for the events of the system account: who came, who went, who was refused.

A fact is made only if somebody would get an event that comes of it, and costs the client nothing: facts wait here until the
gateway asks for them, and if it does not for long, those that find no room are lost, and counted. They are told in the
order in which things happened.

    fact   size of the record u32, connections u32, kind u8, flags u8, 2 bytes | record
    record of the connection, as broker/records.py reads it

``connections``: how many its account had in this worker after it had come or gone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import lru_cache
from typing import Final

from broker.core import Core
from broker.options.users import GLOBAL_ACCOUNT
from broker.protocol.errors import ClosedReason
from broker.records import record_head

HEAD: Final = struct.Struct("=IIBB2x")
MOST_BYTES: Final = 4 << 20
MOST_TOLD: Final = 16384
_EVERYBODY: Final = GLOBAL_ACCOUNT.encode()
ACCOUNT_AUTH_ERROR: Final = "$SYS.ACCOUNT.CLIENT.AUTH.ERR"


class Kind(IntEnum):
    """What happened."""

    CONNECTED = 1  # it passed authentication
    GUEST = 2  # it was bound to an account without having said CONNECT
    LEFT = 3  # it left this account for another one
    CLOSED = 4
    LOST = 5  # so many facts (in place of ``connections``) found no room here
    GONE = 6  # told by nobody: the worker is dead


Fact = tuple[int, int, int, bytes]  # kind, flags, connections, record


KNOWN: Final = 1  # flag of CONNECTED: its end will be told, too, whoever listens then
ACCOUNT: Final = 2  # flag of CLOSED: somebody in the account wants to know why it was refused
BOUND: Final = 4  # flag of CLOSED: it was refused by rules that came when it was in its account already


@lru_cache(4096)
def subjects_of(account: str) -> tuple[str, str, str, str]:
    """CONNECT, DISCONNECT, and the two that tell the number of connections."""
    return (
        f"$SYS.ACCOUNT.{account}.CONNECT",
        f"$SYS.ACCOUNT.{account}.DISCONNECT",
        f"$SYS.SERVER.ACCOUNT.{account}.CONNS",
        f"$SYS.ACCOUNT.{account}.SERVER.CONNS",
    )


@lru_cache(4096)
def _subjects(account: bytes) -> tuple[bytes, ...]:
    name = account.decode("utf-8", "surrogateescape")
    return tuple(subject.encode("utf-8", "surrogateescape") for subject in subjects_of(name))


class Facts:
    """A worker's facts. ``system``, ``everybody``: the data plane's numbers of the system account and of the global one."""

    __slots__ = (
        "_auth_error",
        "_bytes",
        "_core",
        "_everybody",
        "_expelled",
        "_lost",
        "_system",
        "_told",
        "_waiting",
    )

    def __init__(self, core: Core, server_id: str, system: int, everybody: int) -> None:
        self._core = core
        self._system = system
        self._everybody = everybody
        self._auth_error = f"$SYS.SERVER.{server_id}.CLIENT.AUTH.ERR".encode()
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._lost = 0
        self._expelled: set[int] = set()
        self._told: set[int] = set()  # connection numbers of clients whose end will be told

    @property
    def pending(self) -> bool:
        """Is there something to tell?"""
        return bool(self._waiting or self._lost)

    def take(self) -> bytes:
        """All that is to be told, which then is forgotten here."""
        if self._lost:
            self._waiting.append(HEAD.pack(0, self._lost, Kind.LOST, 0))
        told = b"".join(self._waiting)
        self._waiting, self._bytes, self._lost = [], 0, 0
        return told

    def put_back(self, told: bytes) -> None:
        """It reached nobody."""
        self._waiting.insert(0, told)
        self._bytes += len(told)

    def before(self, conn: int) -> bytes:
        """What has to be given to ``connected``, asked for before the client is bound (perhaps to another account)."""
        record = self._core.counters.record(conn)[1]
        return record if record and record_head(record)[2] else b""

    def connected(self, conn: int, before: bytes) -> None:
        """A client has passed authentication; perhaps its account had no room for it."""
        conns, record = self._core.counters.record(conn)
        if not record:
            return
        cid, _, account, _ = record_head(record)
        if before and (old := record_head(before)[2]) != account and self._any(_subjects(old)[2:]):
            self._add(Kind.LEFT, 0, 0, before)
        connect, _, *counts = _subjects(account)
        if self._any((connect, *counts)):
            known = len(self._told) < MOST_TOLD
            if known:
                self._told.add(cid)
            self._add(Kind.CONNECTED, KNOWN if known else 0, conns, record)

    def guest(self, conn: int) -> None:
        """A client was bound to the account of those who do not say who they are."""
        conns, record = self._core.counters.record(conn)
        if record and self._any(_subjects(record_head(record)[2])[2:]):
            self._add(Kind.GUEST, 0, conns, record)

    def expel(self, conn: int) -> None:
        """A client that has been accepted is about to be closed, because it would not be accepted any more."""
        self._expelled.add(conn)

    def closed(self, conn: int) -> None:
        """A client is gone."""
        bound = conn in self._expelled
        self._expelled.discard(conn)
        conns, record = self._core.counters.record(conn)
        if not record:
            return
        cid, reason, account, presented = record_head(record)
        refused = reason == ClosedReason.AUTHENTICATION_FAILURE
        where = account if bound and account else _EVERYBODY
        inside = refused and (presented or bound) and self._wanted_inside(where)
        if (
            inside
            or cid in self._told
            or (refused and self._any((self._auth_error, _subjects(where)[1])))
            or self._any(_subjects(account or _EVERYBODY)[1:])
        ):
            self._told.discard(cid)
            self._add(Kind.CLOSED, ACCOUNT * inside | BOUND * bound, conns, record)

    def _wanted_inside(self, account: bytes) -> bool:
        """Does somebody in this account want to know who was refused?"""
        number = self._everybody
        if account != _EVERYBODY:
            found = self._core.counters.account_id(account.decode("utf-8", "surrogateescape"))
            if found is None:
                return False
            number = found
        return self._core.interested(number, ACCOUNT_AUTH_ERROR.encode())

    def _any(self, subjects: Iterable[bytes]) -> bool:
        return any(self._core.interested(self._system, subject) for subject in subjects)

    def _add(self, kind: Kind, flags: int, conns: int, record: bytes) -> None:
        size = HEAD.size + len(record)
        if self._bytes + size > MOST_BYTES:
            self._lost += 1
            return
        self._bytes += size
        self._waiting += (HEAD.pack(len(record), conns, kind, flags), record)


def read_facts(told: bytes) -> Iterator[Fact]:
    """Each fact in what ``Facts.take`` gave."""
    at = 0
    while at < len(told):
        size, conns, kind, flags = HEAD.unpack_from(told, at)
        at += HEAD.size
        yield kind, flags, conns, told[at : at + size]
        at += size
