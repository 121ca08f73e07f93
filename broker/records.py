"""What workers tell of connections and subscriptions, read from the bytes that their data planes wrote.

The bytes are C structures with texts behind them (`spl_key` and the records in `csrc/spline.h`). A worker
passes them on as they are; only whoever shows them looks inside.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

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


# One connection that was selected: key, cid, handle, when it was closed (0: it is open), reason. In ascending order they are in
# the order that was asked for.
Key = tuple[int, int, int, int, int]

_KEY: Final = struct.Struct("=QQQqQ")
_CONN: Final = struct.Struct("=II8Q3q6I48s")
_FEW: Final = struct.Struct(
    "=8xQ84xI4xI4xI48x"
)  # of the same: number, reason, how long account and `about` are
_SUB: Final = struct.Struct("=II3Q4I")
_ANSWER: Final = struct.Struct("=6I")
_HEAD: Final = struct.Struct("=II")  # how either begins: size, kind

for _ours, _theirs in (
    (_KEY, "spl_key"),
    (_CONN, "spl_conn_record"),
    (_FEW, "spl_conn_record"),
    (_SUB, "spl_sub_record"),
    (_ANSWER, "spl_answer_record"),
):
    if _ours.size != ffi.sizeof(f"struct {_theirs}"):
        raise ImportError(f"struct {_theirs} has another form than is known here")


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


@dataclass(slots=True, frozen=True)
class AnswerRecord:
    """An answer that ``account`` waits for: who gives it publishes it as ``name``, and it comes as ``reply``."""

    name: str
    reply: str
    account: str
    share: bool  # may who answers know who asks?
    tracked: bool  # is it being measured?


def read_keys(data: bytes) -> Iterator[Key]:
    """The keys in what `Core.select` yields."""
    return _KEY.iter_unpack(data)


def read_records(parts: list[bytes]) -> Iterator[ConnRecord]:
    """The connections in what `Core.records` yields (all of it, in order), each with its subscriptions."""
    conn: ConnRecord | None = None
    for begun in read_pieces(parts):
        if begun is not conn and conn is not None:
            yield conn
        conn = begun
    if conn is not None:
        yield conn


def read_pieces(parts: list[bytes]) -> Iterator[ConnRecord]:
    """The same in small steps: a connection comes when it begins, and again with each of its subscriptions."""
    conn: ConnRecord | None = None
    for data in parts:
        for kind, at in _each(data):
            if kind == 1:
                conn = _conn(data, at)
            elif conn is not None:
                conn.subs.append(_sub(data, at))
            if conn is not None:
                yield conn


def read_subs(data: bytes) -> Iterator[SubRecord]:
    """The subscriptions in what `Core.subscriptions` yields."""
    for _, at in _each(data):
        yield _sub(data, at)


def read_answers(data: bytes) -> Iterator[AnswerRecord]:
    """The answers in what `Core.answers` yields."""
    for _, at in _each(data):
        _, _, name_len, reply_len, account_len, flags = _ANSWER.unpack_from(data, at)
        name = at + _ANSWER.size
        reply = name + name_len
        account = reply + reply_len
        yield AnswerRecord(
            _text(data, name, reply),
            _text(data, reply, account),
            _text(data, account, account + account_len),
            bool(flags & 1),
            bool(flags & 2),
        )


def _each(data: bytes) -> Iterator[tuple[int, int]]:
    """(kind, offset) of every record."""
    at = 0
    while at < len(data):
        size, kind = _HEAD.unpack_from(data, at)
        yield kind, at
        at += size


def _text(data: bytes, start: int, end: int) -> str:
    return data[start:end].decode("utf-8", "replace")


def _conn(data: bytes, at: int) -> ConnRecord:
    _, _, *numbers, account_len, user_len, about_len, ip = _CONN.unpack_from(data, at)
    account = at + _CONN.size
    user = account + account_len
    about = user + user_len
    texts = [ip.rstrip(b"\0").decode(), _text(data, account, user), _text(data, user, about)]
    return ConnRecord(*[*numbers, *texts, data[about : about + about_len], []])


def _sub(data: bytes, at: int) -> SubRecord:
    _, _, cid, msgs, most, *sizes = _SUB.unpack_from(data, at)
    subject = at + _SUB.size
    queue = subject + sizes[0]
    sid = queue + sizes[1]
    account = sid + sizes[2]
    return SubRecord(
        cid,
        _text(data, subject, queue),
        _text(data, queue, sid),
        _text(data, sid, account),
        _text(data, account, account + sizes[3]),
        msgs,
        most,
    )


def record_head(record: bytes) -> tuple[int, int, bytes, bool]:
    """Of one connection's record: its number, why it was closed, its account, whether it has said who it is."""
    cid, reason, account_len, about_len = _FEW.unpack_from(record)
    return cid, reason, record[_CONN.size : _CONN.size + account_len], about_len > 0
