"""What happens once in a client's life: INFO, CONNECT, the decision who it is, and its end.

Everything between is the data plane's. A client costs Python nothing while it is connected: what must be remembered
(the nonce, the CONNECT options) is kept by the data plane as bytes.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from broker import core as plane
from broker.auth import Accepted, Authenticator, NeedsBcrypt, Rejected, verify_bcrypt
from broker.core import Core, Event
from broker.log import Log
from broker.options import NkeyUser, Options, Permissions
from broker.protocol.connect import Connect, Meta, decode, encode, is_object
from broker.protocol.errors import ClosedReason, reason_text
from broker.protocol.info import InfoTemplate

if TYPE_CHECKING:
    from broker.tls.link import Links

BCRYPT_THREADS = 2
MAX_USER = 65535  # bytes of a user's name that monitoring knows
LOG_LEVELS = ("error", "debug", "trace", "warn", "info")


class Clients:
    """The policy for one worker's clients."""

    __slots__ = (
        "_accounts",
        "_auth",
        "_core",
        "_info",
        "_links",
        "_log",
        "_loop",
        "_options",
        "_pool",
        "_sets",
        "_wake",
    )

    def __init__(
        self,
        core: Core,
        options: Options,
        auth: Authenticator,
        info: InfoTemplate,
        log: Log,
        wake: Callable[[], None],
        links: Links | None = None,
    ) -> None:
        """`wake` makes a lingering turn of the core return; it is called from other threads. `links`: clients speak TLS."""
        self._core = core
        self._options = options
        self._auth = auth
        self._info = info
        self._log = log
        self._wake = wake
        self._links = links
        self._loop = asyncio.get_running_loop()
        self._pool: ThreadPoolExecutor | None = None
        self._accounts = {"$G": core.account("$G")}
        self._sets: dict[int, tuple[Permissions, Any]] = {}
        user = auth.no_auth
        if user is not None:
            core.no_auth(self._account(user.account), self._permission_set(user.permissions))

    def handle(self, event: Event) -> None:
        """Answer one event of the data plane."""
        kind = event.type
        if kind == plane.EventType.ACCEPTED:
            self._accepted(event)
        elif kind == plane.EventType.CONNECT:
            self._connect(event)
        elif kind == plane.EventType.INFO:
            if is_object(event.data):
                self._core.resume(event.conn)
            else:
                self._core.reject(event.conn, ClosedReason.PROTOCOL_VIOLATION, "")
        elif kind == plane.EventType.CLOSED:
            if self._links is not None:
                self._links.closed(event.conn)
            if self._log.debug_on:
                reason = reason_text(event.reason)
                self._log.debug(f"{self._prefix(event)}Client connection closed: {reason}")
        elif kind == plane.EventType.LOG:
            self._report(event)

    def close(self) -> None:
        """Stop the password threads; decisions still under way are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _accepted(self, event: Event) -> None:
        nonce = secrets.token_urlsafe(11) if self._auth.nonce_required else None
        if self._log.debug_on:
            self._log.debug(f"{event.ip}:{event.port} - cid:{event.cid} - Client connection created")
        cookie = nonce.encode() if nonce else b""
        if self._links is not None:
            self._links.begin(
                event, lambda first: self._info.first(event.cid, event.ip, nonce, first), cookie
            )
            return
        self._core.start(event.conn, self._info.first(event.cid, event.ip, nonce), cookie)

    def _connect(self, event: Event) -> None:
        known = self._core.info(event.conn)
        if known is None:
            return
        previous = _known_connect(known.meta)[1]
        connect = decode(event.data, previous)
        if connect is None:
            self._core.reject(event.conn, ClosedReason.PROTOCOL_VIOLATION, "")
            return
        meta = encode(connect) if previous else event.data
        certificate = self._links.certificate(event.conn) if self._links is not None else None
        verdict = self._auth.check(connect, known.cookie.decode(), certificate=certificate)
        if isinstance(verdict, NeedsBcrypt):
            if self._pool is None:
                self._pool = ThreadPoolExecutor(BCRYPT_THREADS, "bcrypt")
            job = self._pool.submit(verify_bcrypt, verdict.hash, verdict.password)
            job.add_done_callback(
                lambda done: self._from_thread(
                    lambda: self._decide(
                        event, connect, meta, verdict.then if done.result() else verdict.otherwise
                    )
                )
            )
            return
        self._decide(event, connect, meta, verdict)

    def _from_thread(self, action: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            self._log.debug("a password was checked after the worker had stopped")
            return
        self._wake()

    def _decide(self, event: Event, connect: Connect, meta: bytes, verdict: Accepted | Rejected) -> None:
        self._core.describe(event.conn, *shown(connect, verdict))
        if isinstance(verdict, Rejected):
            self._log.error(f"{self._prefix(event)}{verdict.log}")
            self._core.reject(event.conn, ClosedReason.AUTHENTICATION_FAILURE, "Authorization Violation")
            return
        if connect.protocol not in (0, 1):
            self._core.reject(event.conn, ClosedReason.BAD_CLIENT_PROTOCOL_VERSION, "invalid client protocol")
            return
        headers = connect.headers and not self._options.no_header_support
        if connect.no_responders and not headers:
            self._core.reject(
                event.conn,
                ClosedReason.NO_RESPONDERS_REQUIRES_HEADERS,
                "no responders requires headers support",
            )
            return
        flags = (
            plane.VERBOSE * connect.verbose
            | plane.PEDANTIC * connect.pedantic
            | plane.ECHO * connect.echo
            | plane.HEADERS * headers
            | plane.NO_RESPONDERS * connect.no_responders
            | plane.LATE_PONG * (connect.lang == "python3")  # nats-py's flush overtakes what it is to flush
        )
        after_pong = b""
        if connect.protocol == 1:
            known = self._core.info(event.conn)
            if known is None:
                return
            tls_first = self._links is not None and self._links.is_first(event.conn)
            after_pong = self._info.connect_info(event.cid, known.ip, verdict.account, tls_first=tls_first)
        self._core.accept(
            event.conn,
            self._account(verdict.account),
            self._permission_set(verdict.permissions),
            flags,
            (f"{verdict.account}/{verdict.label}" if verdict.label else "").encode() + b"\n" + meta,
            after_pong,
        )

    def _account(self, name: str) -> int:
        number = self._accounts.get(name)
        if number is None:
            number = self._accounts[name] = self._core.account(name)
        return number

    def _permission_set(self, permissions: Permissions | None) -> Any:
        if permissions is None:
            return None
        known = self._sets.get(id(permissions))
        if known is None:  # the options outlive us, so an id names one set for good
            known = self._sets[id(permissions)] = (permissions, self._core.permissions(permissions))
        return known[1]

    def _report(self, event: Event) -> None:
        getattr(self._log, LOG_LEVELS[event.reason])(
            self._prefix(event) + event.data.decode(errors="backslashreplace")
        )

    def _prefix(self, event: Event) -> str:
        if not event.cid:
            return ""
        known = self._core.info(event.conn)
        if known is None:
            return f"cid:{event.cid} - "
        text = f"{known.ip}:{known.port} - cid:{event.cid} - "
        label, connect = _known_connect(known.meta)
        if connect is None:
            return text
        client = Meta(connect.name, connect.lang, connect.version).client
        if client:
            text += f'"{client}" - '
        if label:
            text += f'"{label}" - '
        return text


def shown(connect: Connect, verdict: Accepted | Rejected) -> tuple[bytes, bytes]:
    """What monitoring may show of a client: the user it is (or wanted to be), and a JSON object of the rest.

    The members have the names that `/connz` gives them, and none of them is a secret.
    """
    user = connect.nkey or connect.user or ("[REDACTED]" if connect.auth_token else "")
    if not user and isinstance(verdict, Accepted) and verdict.user is not None:
        user = verdict.user.nkey if isinstance(verdict.user, NkeyUser) else verdict.user.name
    fields = {"name": connect.name, "lang": connect.lang, "version": connect.version}
    about = json.dumps({key: value for key, value in fields.items() if value}, separators=(",", ":"))
    return user.encode("utf-8", "surrogateescape")[:MAX_USER], about.encode()


def _known_connect(meta: bytes) -> tuple[str, Connect | None]:
    """What is kept of a client: the label of its user, a line end, its CONNECT."""
    label, _, raw = meta.partition(b"\n")
    return label.decode(errors="replace"), decode(raw, None) if raw else None
