"""One process's data plane: its life, its turns, its connections, and its part in the mesh."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from broker.core.accounts import AccountSetup
from broker.core.binding import check, ffi, lib, or_null
from broker.core.counters import Counters
from broker.options import Options, Permissions, SubjectList
from broker.options.gotext import format_duration


class EventType(IntEnum):
    """What a turn may report."""

    ACCEPTED = 1
    CONNECT = 2
    CLOSED = 3
    LOG = 4
    PEER_LOST = 5
    INFO = 6
    MESSAGE = 7
    GUEST = 8
    LATENCY = 9
    TRACED = 10


_WITH_MESSAGE = frozenset((EventType.MESSAGE, EventType.TRACED))


# How long a worker looks for more work before it sleeps. It halves the time of a lone request; between workers that
# share cores it costs a quarter of the throughput of many requests.
SPIN_US = 30
UINT32_MAX = (1 << 32) - 1
_NOTHING = ffi.from_buffer(b"")


class Applied(IntEnum):
    """What became of a peer's control message."""

    MALFORMED = -1
    APPLIED = 0
    DRIFTED = 1  # what we knew of its interest was wrong; it has been asked for all of it


BOUND, CONNECTED, PONGED = 1, 2, 4
VERBOSE, PEDANTIC, ECHO, HEADERS, NO_RESPONDERS, LATE_PONG = 1, 2, 4, 8, 16, 32

SNAPPY_DATA: int = lib.SPL_SNAPPY_DATA
FED_AT_ONCE = 256
WIRE_SIZE = 128 * 1024  # what is received, or drained, at once; more would leave the cache
PLAIN_SIZE = 256 * 1024  # what that much may become


@dataclass(slots=True, frozen=True)
class Message:
    """A message for a subscription of our own. ``headers``: the whole block with its blank line, or nothing."""

    subject: bytes
    reply: bytes
    headers: bytes
    payload: bytes


@dataclass(slots=True, frozen=True)
class Event:
    """One event of a turn; `conn` is a handle, `reason` depends on the type."""

    type: int
    reason: int
    conn: int
    cid: int
    data: bytes
    ip: str
    port: int
    # Of a MESSAGE, whose ``reason`` is the tag of the subscription; or of a TRACED one of the account ``reason``: where the
    # trace goes, and the headers of the message that was traced.
    message: Message | None = None


@dataclass(slots=True, frozen=True)
class ConnInfo:
    """What the data plane knows about a connection."""

    cid: int
    ip: str
    port: int
    subs: int
    in_msgs: int
    in_bytes: int
    out_msgs: int
    out_bytes: int
    pending: int
    flags: int
    start_ns: int  # since 1970
    account: int  # -1: none yet
    meta: bytes
    cookie: bytes


class Core:
    """One worker's data plane. Not thread safe, like the handle behind it.

    ``accounts`` sets its accounts up, ``counters`` looks at what it counts. ``wire``, ``plain`` and ``drained`` are buffers of
    ``receive``, ``feed`` and ``drain``, shared by all fed connections.
    """

    __slots__ = (
        "_drained",
        "_events",
        "_fed",
        "_handle",
        "_info",
        "_parts",
        "_plain",
        "_wire",
        "accounts",
        "counters",
        "drained",
        "plain",
        "wire",
    )

    def __init__(
        self,
        options: Options,
        *,
        index: int,
        serial: int,
        workers: int,
        gateway: bool,
        accounts: int,
        shared: int,
        auth_required: bool,
    ) -> None:
        """``index`` is that of a worker, or ``workers``: the gateway. OSError: memory or descriptors are short."""
        config = _config(options, auth_required)
        config.index, config.serial, config.workers, config.shared_fd = index, serial, workers, shared
        config.gateway, config.accounts = gateway, accounts
        alone = workers == 1 or workers < len(os.sched_getaffinity(0))
        config.spin_us = SPIN_US if alone and index < workers else 0
        self._handle = lib.spl_new(config)
        if self._handle == ffi.NULL:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        self._events = ffi.new("struct spl_event **")
        self._info = ffi.new("struct spl_conn_info *")
        self._parts = ffi.new("struct spl_parts *")
        self._fed = ffi.new("uint64_t[]", FED_AT_ONCE)
        self.accounts = AccountSetup(self._handle)
        self.counters = Counters(self._handle)
        self._wire = self._plain = self._drained = ffi.NULL
        self.wire = self.plain = self.drained = memoryview(b"")

    def prepare_feeding(self) -> None:
        """Make the buffers of fed connections. Raises MemoryError."""
        self._wire = ffi.new("char[]", WIRE_SIZE)
        self._plain = ffi.new("char[]", PLAIN_SIZE)
        self._drained = ffi.new("char[]", WIRE_SIZE)
        self.wire = memoryview(ffi.buffer(self._wire))
        self.plain = memoryview(ffi.buffer(self._plain))
        self.drained = memoryview(ffi.buffer(self._drained))

    def close(self) -> None:
        """Free everything; the object must not be used afterwards."""
        lib.spl_free(self._handle)
        self._handle = ffi.NULL

    def fileno(self) -> int:
        """The descriptor that is readable when a turn has work."""
        return int(lib.spl_fd(self._handle))

    def turn(self, linger_us: int) -> Iterator[Event]:
        """Serve what is ready, then yield what needs policy."""
        count = lib.spl_turn(self._handle, linger_us, self._events)
        return self._told(count) if count else iter(())

    def _told(self, count: int) -> Iterator[Event]:
        events = self._events[0]
        for i in range(count):
            e = events[i]
            yield Event(
                e.type,
                e.reason,
                e.conn,
                e.cid,
                ffi.unpack(e.data, e.len) if e.len else b"",
                ffi.string(e.ip).decode(),
                e.port,
                _message(e.message) if e.type in _WITH_MESSAGE else None,
            )

    def watch(self, fd: int) -> None:
        """End a lingering turn when fd is readable. Raises OSError."""
        check(lib.spl_watch(self._handle, fd))

    def unwatch(self, fd: int) -> None:
        """Undo watch()."""
        lib.spl_unwatch(self._handle, fd)

    def beat(self) -> None:
        """Tell the supervisor that this worker lives."""
        lib.spl_beat(self._handle)

    def listen(self, fd: int) -> None:
        """Accept clients from this listening socket once accepting(). Raises OSError."""
        check(lib.spl_listen(self._handle, fd))

    def handoff(self, worker: int, receive: int, send: int) -> None:
        """The channel on which `worker` is handed accepted sockets. Raises OSError."""
        check(lib.spl_handoff(self._handle, worker, receive, send))

    def accepting(self, on: bool) -> None:
        """Start or stop taking new connections."""
        lib.spl_accepting(self._handle, on)

    def subscribe(self, account: int, tag: int, subject: bytes) -> None:
        """Let messages come as events, without limits and permissions. Raises MemoryError, also for a bad subject."""
        if lib.spl_subscribe(self._handle, account, tag, subject, len(subject)) < 0:
            raise MemoryError

    def unsubscribe(self, account: int, tag: int) -> None:
        """End the subscriptions with this tag."""
        lib.spl_unsubscribe(self._handle, account, tag)

    def publish(
        self, account: int, subject: bytes, payload: bytes, reply: bytes = b"", headers: bytes = b""
    ) -> bool:
        """Publish a message of our own; whether somebody may have got it. Raises MemoryError, also for a bad subject."""
        parts = self._parts  # one for all calls: nobody looks into it after them
        parts.subject, parts.subject_len = ffi.from_buffer(subject), len(subject)
        parts.payload, parts.payload_len = ffi.from_buffer(payload), len(payload)
        parts.reply, parts.reply_len = ffi.from_buffer(reply) if reply else _NOTHING, len(reply)
        parts.headers, parts.headers_len = ffi.from_buffer(headers) if headers else _NOTHING, len(headers)
        delivered = int(lib.spl_publish(self._handle, account, parts))
        if delivered < 0:
            raise MemoryError
        return bool(delivered)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is published within this block leaves the process at its end. No turn may be taken meanwhile."""
        lib.spl_together(self._handle, 1)
        try:
            yield
        finally:
            lib.spl_together(self._handle, 0)

    def interested(self, account: int, subject: bytes) -> bool:
        """Would somebody other than ourselves get what is published on this subject?"""
        return bool(lib.spl_interest(self._handle, account, subject, len(subject)))

    def next_message(self) -> int:
        """The number of the server's next message of its own: it grows as long as the server runs."""
        return int(lib.spl_next_message(self._handle))

    def identify(self, conn: int, fields: bytes) -> None:
        """What services that may know it are told of a client, beyond what its connection shows."""
        lib.spl_conn_identity(self._handle, conn, fields, len(fields))

    def permissions(self, permissions: Permissions) -> Any:
        """A permission set in the data plane; lives as long as the core. Raises MemoryError."""
        handle = lib.spl_perms_new(self._handle)
        if handle == ffi.NULL:
            raise MemoryError
        lists: list[tuple[int, SubjectList, bool]] = [
            (0, permissions.publish, True),
            (1, permissions.publish, False),
            (2, permissions.subscribe, True),
            (3, permissions.subscribe, False),
        ]
        for number, entries, allow in lists:
            for entry in entries.allow if allow else entries.deny:
                subject, _, queue = entry.partition(" ")
                raw, raw_queue = subject.encode(), queue.strip().encode()
                if lib.spl_perms_add(handle, number, raw, len(raw), raw_queue, len(raw_queue)) < 0:
                    raise MemoryError
        responses = permissions.responses
        if responses is not None:
            expires = -1 if responses.expires < 0 else int(responses.expires * 1000)
            lib.spl_perms_responses(handle, responses.max_messages, expires)
        return handle

    def no_auth(self, account: int, permissions: Any) -> None:
        """Bind connections whose first verb is not CONNECT to this user; account -1: refuse them."""
        lib.spl_no_auth(self._handle, account, or_null(permissions))

    def start(self, conn: int, info: bytes, cookie: bytes) -> bool:
        """Send INFO and let the client in; False if it is gone or refused."""
        return bool(lib.spl_conn_start(self._handle, conn, info, len(info), cookie, len(cookie)) == 0)

    def accept(
        self, conn: int, account: int, permissions: Any, flags: int, meta: bytes, after_pong: bytes
    ) -> bool:
        """Bind a connection whose CONNECT is good; False if it is gone."""
        done = lib.spl_conn_accept(
            self._handle,
            conn,
            account,
            or_null(permissions),
            flags,
            meta,
            len(meta),
            after_pong,
            len(after_pong),
        )
        return bool(done == 0)

    def reject(self, conn: int, reason: int, text: str) -> bool:
        """Close with `-ERR '<text>'`, or without a word if text is empty; False if it is gone."""
        raw = text.encode()
        return bool(lib.spl_conn_reject(self._handle, conn, reason, raw, len(raw)) == 0)

    def resume(self, conn: int) -> bool:
        """Go on with a connection whose INFO was found good; False if it is gone."""
        return bool(lib.spl_conn_resume(self._handle, conn) == 0)

    def find(self, cid: int) -> int | None:
        """The handle of the client with this number."""
        return int(lib.spl_conn_find(self._handle, cid)) or None

    def info(self, conn: int) -> ConnInfo | None:
        """A connection's counters and memory; None if it is gone. Works while its SPL_CLOSED is being handled."""
        i = self._info
        if lib.spl_conn_get(self._handle, conn, i) < 0:
            return None
        return ConnInfo(
            i.cid,
            ffi.string(i.ip).decode(),
            i.port,
            i.subs,
            i.in_msgs,
            i.in_bytes,
            i.out_msgs,
            i.out_bytes,
            i.pending,
            i.flags,
            i.start_ns,
            i.account,
            ffi.unpack(i.meta, i.meta_len) if i.meta_len else b"",
            ffi.unpack(i.cookie, i.cookie_len) if i.cookie_len else b"",
        )

    # -- fed connections: csrc/feed.c --

    def set_fed(self, conn: int, on: bool) -> bool:
        """Between ACCEPTED and ``start``: whether we translate this connection's bytes. False if it is gone."""
        return bool(lib.spl_conn_feed(self._handle, conn, on) == 0)

    def admit(self, conn: int) -> bool:
        """Whether there is room for it; if not, it is told so and closed."""
        return bool(lib.spl_conn_admit(self._handle, conn) == 0)

    def handshake_allowed(self, limit: int) -> bool:
        """Whether one more handshake may begin, of ``limit`` a second over all workers."""
        return bool(lib.spl_handshake_allowed(self._handle, limit))

    def fed_input(self) -> list[int]:
        """Connections with input to ``receive`` and ``feed``; ask until there are none."""
        count = lib.spl_fed_input(self._handle, self._fed, FED_AT_ONCE)
        handles: list[int] = ffi.unpack(self._fed, count) if count else []
        return handles

    def fed_output(self) -> list[int]:
        """Connections with output to ``drain`` and ``send``; ask until there are none, after all input is fed."""
        count = lib.spl_fed_output(self._handle, self._fed, FED_AT_ONCE)
        handles: list[int] = ffi.unpack(self._fed, count) if count else []
        return handles

    def receive(self, conn: int, size: int = WIRE_SIZE, *, peek: bool = False) -> int:
        """How many bytes came from the wire, and are in ``wire`` now. 0: none for now; -1: the connection is gone."""
        return int(lib.spl_receive(self._handle, conn, self._wire, min(size, WIRE_SIZE), peek))

    def feed(self, conn: int, size: int) -> bool:
        """Protocol bytes: the first ``size`` of ``plain``. False if the connection is gone."""
        return bool(lib.spl_feed(self._handle, conn, self._plain, min(size, PLAIN_SIZE)) == 0)

    def drain(self, conn: int) -> int:
        """How many bytes of output are in ``drained`` now; 0 if there are none, or the wire takes no more for now."""
        return int(lib.spl_drain(self._handle, conn, self._drained, WIRE_SIZE))

    def send(self, conn: int, data: bytes) -> bool:
        """Bytes to the wire; what it does not take waits. False if the connection is gone."""
        return bool(lib.spl_send(self._handle, conn, data, len(data)) == 0)

    def configure(self, options: Options, auth_required: bool) -> None:
        """Take over other settings, as far as they may change."""
        lib.spl_configure(self._handle, _config(options, auth_required))

    def clients(self) -> Iterator[int]:
        """The handles of all clients; each may be closed meanwhile."""
        conn = int(lib.spl_conn_next(self._handle, 0))
        while conn:
            yield conn
            conn = int(lib.spl_conn_next(self._handle, conn))

    def permit(self, conn: int, permissions: Any, who: str) -> None:
        """Give a client other permissions; `who` is how the log calls it when it loses subscriptions."""
        raw = who.encode(errors="replace")
        lib.spl_conn_permit(self._handle, conn, or_null(permissions), raw, len(raw))

    def drop_permissions(self, permissions: Any) -> None:
        """Free a set as soon as no connection has it any more; it must not be used afterwards."""
        lib.spl_perms_drop(self._handle, permissions)

    def tell(self, conn: int, line: bytes) -> None:
        """Send a line to a client, or let it follow the first PONG if that is still to come."""
        lib.spl_conn_tell(self._handle, conn, line, len(line))

    def unlisten(self) -> None:
        """Close the listeners for good."""
        lib.spl_unlisten(self._handle)

    def close_clients(self, reason: int) -> None:
        """Flush and close every client."""
        lib.spl_close_clients(self._handle, reason)

    def set_trace(self, debug: bool, trace: bool) -> None:
        """Which protocol events become log events."""
        lib.spl_set_trace(self._handle, debug, trace)

    def mesh_listen(self, path: str) -> None:
        """Listen for peers' message streams. Raises OSError."""
        if lib.spl_mesh_listen(self._handle, path.encode()) < 0:
            raise OSError(ffi.errno, f"{os.strerror(ffi.errno)}: {path}")

    def peer_up(self, peer: int, serial: int, path: str) -> bool:
        """Meet a peer: its stream address is `path`. False if it cannot be reached (it has just died)."""
        return bool(lib.spl_peer_up(self._handle, peer, serial, path.encode()) == 0)

    def peer_down(self, peer: int, serial: int) -> None:
        """Forget a dead peer and its interest."""
        lib.spl_peer_down(self._handle, peer, serial)

    def control_messages(self) -> Iterator[tuple[int, bytes]]:
        """Take what must be sent to peers: (peer index, message)."""
        peer = ffi.new("uint32_t *")
        data = ffi.new("const char **")
        size = ffi.new("size_t *")
        while lib.spl_control_next(self._handle, peer, data, size):
            yield peer[0], ffi.unpack(data[0], size[0])

    def control(self, message: bytes) -> Applied:
        """Apply a peer's control message."""
        return Applied(lib.spl_control(self._handle, message, len(message)))

    def interest_mark(self) -> int:
        """For ``interest_known``: what has changed of our interest until now."""
        return int(lib.spl_interest_mark(self._handle))

    def interest_known(self, mark: int) -> bool:
        """Do all peers know our interest up to there?"""
        return bool(lib.spl_interest_known(self._handle, mark))

    def mesh_joined(self) -> bool:
        """Every peer's interest is here, and ours is there."""
        return bool(lib.spl_mesh_joined(self._handle))

    def mesh_flushed(self) -> bool:
        """Whatever was sent to peers will reach them, even if we end now."""
        return bool(lib.spl_mesh_flushed(self._handle))

    def describe(self, conn: int, user: bytes, about: bytes) -> None:
        """What monitoring shows of a connection beyond its counters. One that is gone, or no memory: forgotten."""
        lib.spl_conn_describe(self._handle, conn, user, len(user), about, len(about))


def snappy_chunk(data: bytes) -> bytes:
    """Up to ``SNAPPY_DATA`` bytes as a chunk of Snappy's framing format."""
    out = ffi.new("char[]", lib.SPL_SNAPPY_ROOM)
    return bytes(ffi.buffer(out, lib.spl_snappy(data, len(data), out)))


def _message(parts: Any) -> Message:
    def text(start: Any, size: int) -> bytes:
        return ffi.unpack(start, size) if size else b""

    return Message(
        text(parts.subject, parts.subject_len),
        text(parts.reply, parts.reply_len),
        text(parts.headers, parts.headers_len),
        text(parts.payload, parts.payload_len),
    )


def _config(options: Options, auth_required: bool) -> Any:
    """The data plane's settings for these options; where it stands among its peers is left out."""
    return ffi.new(
        "struct spl_config *",
        {
            "max_control_line": options.max_control_line,
            "max_subscriptions": max(options.max_subscriptions, 0),
            "max_sub_tokens": options.max_sub_tokens,
            "max_payload": options.max_payload,
            "max_connections": options.max_connections,
            "max_pending": options.max_pending,
            "ping_interval": max(_milliseconds(options.ping_interval), 1),
            "ping_max": min(max(options.ping_max, 0), UINT32_MAX),
            "write_deadline": _milliseconds(options.write_deadline),
            "auth_timeout": _milliseconds(options.auth_timeout),
            "cache_entries": 0 if options.disable_sublist_cache else options.sublist_cache_size,
            "max_closed": max(options.max_closed_clients, 0),
            "max_traced": max(options.max_traced_msg_len, 0),
            "trace_headers": options.trace_headers,
            "headers": not options.no_header_support,
            "auth_required": auth_required,
            "no_stall": options.no_fast_producer_stall,
            "write_deadline_text": format_duration(options.write_deadline).encode()[:31],
        },
    )


def _milliseconds(seconds: float) -> int:
    """What the data plane can count of it: from none to 49 days."""
    return min(max(int(seconds * 1000), 0), UINT32_MAX)
