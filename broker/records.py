"""What workers tell of connections and subscriptions, read from the bytes that their data planes wrote.

The bytes are C structures with texts behind them (`spl_key`, `spl_conn_record`, `spl_sub_record` in `csrc/spline.h`). A worker
passes them on as they are; only whoever shows them looks inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from broker.core import ffi


class State(IntEnum):
    """Which connections are asked for; bits."""

    OPEN = 1
    CLOSED = 2


class Sort(IntEnum):
    """Orders that the data plane knows, as in `spl_sort`."""

    CID = 0
    SUBS = 1
    PENDING = 2
    OUT_MSGS = 3
    IN_MSGS = 4
    OUT_BYTES = 5
    IN_BYTES = 6
    LAST = 7
    IDLE = 8
    UPTIME = 9
    STOP = 10
    RTT = 11


@dataclass(slots=True, frozen=True, order=True)
class Key:
    """One connection that was selected. Ascending keys are in the order that was asked for."""

    key: int
    cid: int
    handle: int
    stop_ns: int
    reason: int


@dataclass(slots=True)
class SubRecord:
    """One subscription. `max` 0: no maximum."""

    cid: int
    subject: str
    queue: str
    sid: str
    account: str
    msgs: int
    max: int


@dataclass(slots=True)
class ConnRecord:
    """One connection; `stop_ns` 0 if it is open. Times are nanoseconds since 1970. `about`: see broker.clients."""

    cid: int
    in_msgs: int
    in_bytes: int
    out_msgs: int
    out_bytes: int
    pending: int
    stalls: int
    rtt_ns: int
    start_ns: int
    last_ns: int
    stop_ns: int
    nsubs: int
    reason: int
    port: int
    ip: str
    account: str
    user: str
    about: bytes
    subs: list[SubRecord]


def read_keys(data: bytes) -> Iterator[Key]:
    """The keys in what `Core.select` yields."""
    for k in ffi.cast("struct spl_key *", ffi.from_buffer(data))[
        0 : len(data) // ffi.sizeof("struct spl_key")
    ]:
        yield Key(k.key, k.cid, k.handle, k.stop_ns, k.reason)


def read_records(parts: list[bytes]) -> Iterator[ConnRecord]:
    """The connections in what `Core.records` yields (all of it, in order), each with its subscriptions."""
    conn: ConnRecord | None = None
    for data in parts:
        for kind, base, at in _each(data):
            if kind == 1:
                if conn is not None:
                    yield conn
                conn = _conn(data, base, at)
            elif conn is not None:
                conn.subs.append(_sub(data, base, at))
    if conn is not None:
        yield conn


def read_subs(data: bytes) -> Iterator[SubRecord]:
    """The subscriptions in what `Core.subscriptions` yields."""
    for _, base, at in _each(data):
        yield _sub(data, base, at)


def _each(data: bytes) -> Iterator[tuple[int, Any, int]]:
    """(kind, address of the data, offset) of every record."""
    base = ffi.from_buffer(data)
    at = 0
    while at < len(data):
        head = ffi.cast("struct spl_sub_record *", base + at)
        yield head.kind, base, at
        at += head.size


def _text(data: bytes, start: int, size: int) -> str:
    return data[start : start + size].decode("utf-8", "replace")


def _conn(data: bytes, base: Any, at: int) -> ConnRecord:
    r = ffi.cast("struct spl_conn_record *", base + at)
    account = at + _CONN_BYTES
    user = account + r.account_len
    about = user + r.user_len
    return ConnRecord(
        r.cid,
        r.in_msgs,
        r.in_bytes,
        r.out_msgs,
        r.out_bytes,
        r.pending,
        r.stalls,
        r.rtt_ns,
        r.start_ns,
        r.last_ns,
        r.stop_ns,
        r.nsubs,
        r.reason,
        r.port,
        ffi.string(r.ip).decode(),
        _text(data, account, r.account_len),
        _text(data, user, r.user_len),
        data[about : about + r.about_len],
        [],
    )


def _sub(data: bytes, base: Any, at: int) -> SubRecord:
    r = ffi.cast("struct spl_sub_record *", base + at)
    subject = at + _SUB_BYTES
    queue = subject + r.subject_len
    sid = queue + r.queue_len
    account = sid + r.sid_len
    return SubRecord(
        r.cid,
        _text(data, subject, r.subject_len),
        _text(data, queue, r.queue_len),
        _text(data, sid, r.sid_len),
        _text(data, account, r.account_len),
        r.msgs,
        r.max,
    )


_CONN_BYTES = ffi.sizeof("struct spl_conn_record")
_SUB_BYTES = ffi.sizeof("struct spl_sub_record")
