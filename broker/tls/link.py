"""TLS links: one for each client whose bytes are not plain, from its first byte to its last.

The data plane keeps the connection; here its bytes are translated, with a call or two per turn and connection, never per message:

    receive -> [OpenSSL] -> feed          drain -> [OpenSSL] -> send

A link begins in one of three ways, and then shakes hands:

    INFO in the clear                     the usual way; with `allow_non_tls` the first byte says whether it is TLS (PEEK)
    nothing (`handshake_first`)           INFO comes through TLS
    nothing for a while (its delay form)  a client that says nothing meanwhile (WAIT) is sent INFO in the clear after all

Handshakes cost a thousand times what a message does. So a turn spends a bounded time on them, after it has served those who are
connected: a storm of reconnecting clients takes longer, but does not stop anybody's messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from broker.core import PLAIN_SIZE, Core, Event
from broker.log import About, Log
from broker.options.sections import DEFAULT_TLS_TIMEOUT, TlsOptions
from broker.protocol.errors import ClosedReason
from broker.tls.certificate import Certificate, read_certificate
from broker.tls.context import TlsContext, suite_name
from broker.tls.names import subject_text

HANDSHAKE_SECONDS = 0.001  # of one turn
RECORD = 16 * 1024  # what one TLS record holds at most
PIECE = 2 * RECORD  # OpenSSL's buffers keep the size that they once had: so much is put into them at once
_THROTTLED = "Connection throttling is active. Please try again later."
_HANDSHAKE_RECORD = 0x16  # the first byte of a client that speaks TLS


class _State(enum.Enum):
    WAIT = enum.auto()  # for a client that begins the handshake before it is sent INFO
    PEEK = enum.auto()  # for the first byte, which says whether it speaks TLS at all
    SHAKE = enum.auto()
    OPEN = enum.auto()


@dataclass(slots=True)
class _Link:
    conn: int
    about: About
    line: Callable[[bool], bytes]  # INFO, given whether TLS came first
    cookie: bytes
    state: _State = _State.SHAKE
    first: bool = False
    queued: bool = False  # waits for its turn to shake hands
    tls: ssl.SSLObject | None = None
    incoming: ssl.MemoryBIO | None = None
    outgoing: ssl.MemoryBIO | None = None
    timer: asyncio.TimerHandle | None = None
    certificate: Certificate | None = None


class Links:
    """The TLS links of one worker."""

    __slots__ = ("_allow_plain", "_context", "_core", "_links", "_log", "_loop", "_options", "_shaking")

    def __init__(self, core: Core, context: TlsContext, allow_non_tls: bool, log: Log) -> None:
        core.prepare_feeding()
        self._core = core
        self._context = context
        self._options: TlsOptions = context.options
        self._allow_plain = allow_non_tls
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._links: dict[int, _Link] = {}
        self._shaking: deque[_Link] = deque()

    # -- the life of a link --

    def begin(self, event: Event, line: Callable[[bool], bytes], cookie: bytes) -> None:
        """A client was accepted. ``line`` gives its INFO, ``cookie`` is kept for it."""
        link = _Link(event.conn, About(event.cid, f"{event.ip}:{event.port}"), line, cookie)
        if not self._core.set_fed(link.conn, True):
            return
        self._links[link.conn] = link
        link.first = self._options.handshake_first
        if not link.first:
            self._core.send(link.conn, line(False))
        if not self._core.admit(link.conn):
            return
        if not link.first:
            self._expect(link)
        elif self._options.handshake_first_fallback > 0:
            link.state = _State.WAIT
            self._arm(link, self._options.handshake_first_fallback)
        else:
            self._begin_handshake(link)

    def change(self, context: TlsContext, allow_non_tls: bool) -> None:
        """Other certificates and rules, for those who shake hands from now on."""
        self._context = context
        self._options = context.options
        self._allow_plain = allow_non_tls

    def closed(self, conn: int) -> None:
        """A connection is gone: say what is left to say to it. Nothing happens for one that is not ours."""
        link = self._links.pop(conn, None)
        if link is None:
            return
        _disarm(link)
        if link.state is not _State.OPEN:
            if link.tls is None:  # nothing but plain text has been exchanged
                while size := self._core.drain(conn):
                    self._core.send(conn, bytes(self._core.drained[:size]))
            return
        self._write(link)
        self._say_goodbye(link)

    def close(self) -> None:
        """The server stops: every client gets what waits for it, and a proper end."""
        for link in self._links.values():
            if link.state is _State.OPEN:
                self._write(link)
                self._say_goodbye(link)

    def is_first(self, conn: int) -> bool:
        """Whether this client has shaken hands before INFO."""
        link = self._links.get(conn)
        return link is not None and link.first

    def certificate(self, conn: int) -> Certificate | None:
        """The client's certificate, if it had to have one."""
        link = self._links.get(conn)
        return link.certificate if link is not None else None

    def facts(self, conn: int) -> dict[str, object]:
        """What `/connz` shows of a link, by the names that it has there; nothing of a connection without TLS."""
        link = self._links.get(conn)
        if link is None or link.tls is None:
            return {}
        version, suite = _parameters(link.tls)
        facts: dict[str, object] = {"tls_version": version, "tls_cipher_suite": suite}
        if link.first:
            facts["tls_first"] = True
        if link.certificate is not None:
            one = {"subject": subject_text(link.certificate)}
            one |= {"spki_sha256": link.certificate.pin, "cert_sha256": link.certificate.digest}
            facts["tls_peer_certs"] = [one]
        return facts

    # -- turns --

    def serve(self) -> None:
        """Translate what came and what is to go. To be called after every turn of the data plane."""
        core, links = self._core, self._links
        while handles := core.fed_input():
            for conn in handles:
                link = links.get(conn)
                if link is None:
                    continue
                if link.state is _State.OPEN:
                    self._read(link)
                elif not link.queued:
                    link.queued = True
                    self._shaking.append(link)
        if self._shaking:
            self._shake()
        while handles := core.fed_output():
            for conn in handles:
                link = links.get(conn)
                if link is not None and link.state is _State.OPEN:
                    self._write(link)

    def _shake(self) -> None:
        """Serve those who are not connected yet, for a while; the others wait for the next turn."""
        until = time.monotonic() + HANDSHAKE_SECONDS
        while self._shaking:
            link = self._shaking.popleft()
            link.queued = False
            if link.conn in self._links:
                self._step(link)
            if time.monotonic() >= until:
                return

    # -- before the handshake --

    def _expect(self, link: _Link) -> None:
        """INFO was sent in the clear. What comes now?"""
        if self._allow_plain:
            link.state = _State.PEEK
            self._arm(link, self._options.timeout or DEFAULT_TLS_TIMEOUT)
        else:
            self._begin_handshake(link)

    def _step(self, link: _Link) -> None:
        """Input of a link that is not open."""
        if link.state in (_State.WAIT, _State.PEEK):
            if self._core.receive(link.conn, 1, peek=True) <= 0:
                return
            if link.state is _State.PEEK and self._core.wire[0] != _HANDSHAKE_RECORD:
                self._start_plain(link)
                return
            if not self._begin_handshake(link):
                return
        self._handshake(link)

    def _start_plain(self, link: _Link) -> None:
        _disarm(link)
        self._links.pop(link.conn)
        if self._core.set_fed(link.conn, False):
            self._core.start(link.conn, b"", link.cookie)

    def _begin_handshake(self, link: _Link) -> bool:
        limit = self._options.connection_rate_limit
        if limit > 0 and not self._core.handshake_allowed(limit):
            self._core.reject(link.conn, ClosedReason.MAXIMUM_CONNECTIONS_EXCEEDED, _THROTTLED)
            return False
        link.state = _State.SHAKE
        self._arm(link, self._options.timeout or DEFAULT_TLS_TIMEOUT)
        self._log.debug("Starting TLS client connection handshake", link.about)
        return True

    # -- the handshake --

    def _handshake(self, link: _Link) -> None:
        size = self._core.receive(link.conn)
        if size <= 0:
            return
        if link.tls is None and self._core.wire[0] != _HANDSHAKE_RECORD:
            self._failed(link, "tls: first record does not look like a TLS handshake")
            return
        if link.tls is None or link.incoming is None:
            link.incoming, link.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            link.tls = self._context.context.wrap_bio(link.incoming, link.outgoing, server_side=True)
        link.incoming.write(self._core.wire[:size])
        try:
            link.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send(link)
            return
        except (ssl.SSLError, ValueError) as error:
            self._send(link)  # an alert says why
            self._failed(link, _reason(error))
            return
        if self._send(link):
            self._established(link, link.tls)

    def _established(self, link: _Link, tls: ssl.SSLObject) -> None:
        options = self._options
        der = tls.getpeercert(binary_form=True)
        try:
            link.certificate = read_certificate(der) if der else None
        except ValueError as error:
            self._failed(link, str(error))
            return
        if options.pinned_certs:
            if link.certificate is None:
                self._log.debug("Failed pinned cert test as client did not provide a certificate", link.about)
            if link.certificate is None or link.certificate.pin not in options.pinned_certs:
                self._failed(link, "certificate not pinned")
                return
        _disarm(link)
        link.state = _State.OPEN
        if self._log.debug_on:
            version, suite = _parameters(tls)
            self._log.debug("TLS handshake complete", link.about)
            self._log.debug(f"TLS version {version}, cipher suite {suite}", link.about)
        if self._core.start(link.conn, link.line(True) if link.first else b"", link.cookie):
            self._decrypt(link, 0)  # what came right behind the handshake

    def _failed(self, link: _Link, why: str) -> None:
        self._log.error(f"TLS handshake error: {why}", link.about)
        if link.tls is not None and link.outgoing is not None:
            with contextlib.suppress(
                ssl.SSLError
            ):  # it is over anyhow; what there is to say has been written
                link.tls.unwrap()
            self._send(link)
        self._core.reject(link.conn, ClosedReason.TLS_HANDSHAKE_FAILURE, "")

    def _arm(self, link: _Link, seconds: float) -> None:
        _disarm(link)
        link.timer = self._loop.call_later(seconds, self._late, link)

    def _late(self, link: _Link) -> None:
        link.timer = None
        if link.queued:  # it is us who are late
            self._arm(link, self._options.timeout or DEFAULT_TLS_TIMEOUT)
        elif link.state is _State.WAIT:
            link.first = False
            if self._core.send(link.conn, link.line(False)):
                self._expect(link)
        elif link.state is _State.PEEK:
            self._start_plain(link)
        else:
            self._log.error("TLS handshake timeout", link.about)
            self._failed(link, "i/o timeout")

    # -- open links --

    def _read(self, link: _Link) -> None:
        size = self._core.receive(link.conn)
        if size > 0:
            self._decrypt(link, size)

    def _decrypt(self, link: _Link, size: int) -> None:
        """Feed what the first ``size`` bytes of ``wire``, and what was left before them, mean."""
        incoming, outgoing, wire = link.incoming, link.outgoing, self._core.wire
        if incoming is None or outgoing is None:
            return
        have = 0
        for start in range(0, max(size, 1), PIECE):
            incoming.write(wire[start : min(start + PIECE, size)])
            taken = self._take_records(link, incoming, have)
            if taken is None:
                return
            have = taken
        if have:
            self._core.feed(link.conn, have)
        if outgoing.pending:  # a key update is answered
            self._send(link)

    def _take_records(self, link: _Link, incoming: ssl.MemoryBIO, have: int) -> int | None:
        """Append what is in ``incoming`` to the ``have`` bytes in ``plain``: how many there are now, or None: it has ended."""
        tls, plain = link.tls, self._core.plain
        if tls is None:
            return None
        try:
            while incoming.pending or tls.pending():
                if PLAIN_SIZE - have < RECORD:
                    if not self._core.feed(link.conn, have):
                        return None
                    have = 0
                read: Any = tls.read(PLAIN_SIZE - have, plain[have:])  # an int, whatever typeshed says
                if not read:  # the client says that this was all
                    self._core.feed(link.conn, have)
                    self._core.reject(link.conn, ClosedReason.CLIENT_CLOSED, "")
                    return None
                have += read
        except ssl.SSLWantReadError:
            return have  # the rest of a record is still on its way
        except ssl.SSLError as error:
            self._log.debug(f"TLS read error: {_reason(error)}", link.about)
            self._core.feed(link.conn, have)
            self._send(link)
            self._core.reject(link.conn, ClosedReason.READ_ERROR, "")
            return None
        return have

    def _write(self, link: _Link) -> None:
        """Encrypt and send its output, as long as the wire takes it."""
        core, tls, outgoing = self._core, link.tls, link.outgoing
        if tls is None or outgoing is None:
            return
        try:
            while size := core.drain(link.conn):
                parts: list[bytes] = []
                for start in range(0, size, PIECE):
                    tls.write(core.drained[start : min(start + PIECE, size)])
                    parts.append(outgoing.read())
                if not core.send(link.conn, parts[0] if len(parts) == 1 else b"".join(parts)):
                    return
        except ssl.SSLError as error:
            self._log.debug(f"TLS write error: {_reason(error)}", link.about)
            core.reject(link.conn, ClosedReason.WRITE_ERROR, "")

    def _send(self, link: _Link) -> bool:
        """Whether what OpenSSL has to say to the client could be sent, or waits; False: it is gone."""
        if link.outgoing is None or not link.outgoing.pending:
            return True
        return self._core.send(link.conn, link.outgoing.read())

    def _say_goodbye(self, link: _Link) -> None:
        if link.tls is not None:
            with contextlib.suppress(ssl.SSLError):  # it waits for the other's good-bye; we do not
                link.tls.unwrap()
            self._send(link)


def _disarm(link: _Link) -> None:
    if link.timer is not None:
        link.timer.cancel()
        link.timer = None


def _reason(error: Exception) -> str:
    """OpenSSL's reason without the place in its source."""
    reason = getattr(error, "reason", None)
    return f"tls: {reason.replace('_', ' ').lower()}" if isinstance(reason, str) else str(error)


def _parameters(tls: ssl.SSLObject) -> tuple[str, str]:
    """The version and the cipher suite, as nats-server calls them."""
    cipher = tls.cipher()
    return (tls.version() or "").removeprefix("TLSv"), suite_name(cipher[0]) if cipher else ""
