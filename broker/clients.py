"""What happens once in a client's life: INFO, CONNECT, the decision who it is, and its end.

Everything between is the data plane's. A client costs Python nothing while it is connected: what must be remembered
(the nonce, the CONNECT options) is kept by the data plane as bytes.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import traceback
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from broker import core as plane
from broker.accounts.identity import identity, issuer_key, sharing_accounts, user_name
from broker.accounts.names import system_account
from broker.accounts.setup import Tables, prepare_accounts, set_up_accounts
from broker.auth import Accepted, Authenticator, Fate, NeedsBcrypt, Rejected, fate, verify_bcrypt
from broker.core import ConnInfo, Core, Event
from broker.log import About, Log
from broker.options import NkeyUser, Options, Permissions, User
from broker.options.gotext import quote
from broker.options.users import GLOBAL_ACCOUNT
from broker.protocol.connect import Connect, Meta, decode, encode, is_object, redacted
from broker.protocol.errors import (
    AUTHORIZATION_VIOLATION,
    MAXIMUM_ACCOUNT_CONNECTIONS,
    MAXIMUM_SUBSCRIPTIONS,
    ClosedReason,
    reason_text,
)
from broker.protocol.info import InfoTemplate
from broker.system.shown import permission_fields

if TYPE_CHECKING:
    from broker.system.facts import Facts
    from broker.tls.link import Links

BCRYPT_THREADS = 2
NEWEST = 4000  # numbers of clients in one message to the supervisor
MAX_USER = 65535  # bytes of a user's name that monitoring knows
# What decides who may connect. While all of it is the same, a reload concerns no client that is connected.
_AUTH_FIELDS = ("username", "password", "token", "users", "nkeys", "no_auth_user", "accounts")

Sets = dict[int, tuple[Permissions, Any]]  # by the identity of the options' own
LOG_LEVELS = ("error", "debug", "trace", "warn", "info")


class Clients:
    """The policy for one worker's clients."""

    __slots__ = (
        "_accounts",
        "_auth",
        "_core",
        "_generation",
        "_imports",
        "_info",
        "_links",
        "_log",
        "_loop",
        "_max_payloads",
        "_options",
        "_pool",
        "_sets",
        "_sharing",
        "_system",
        "_wake",
        "facts",
    )

    def __init__(
        self,
        core: Core,
        options: Options,
        auth: Authenticator,
        info: InfoTemplate,
        log: Log,
        wake: Callable[[], None],
    ) -> None:
        """`wake` makes a lingering turn of the core return; it is called from other threads."""
        self._core = core
        self._options = options
        self._auth = auth
        self._info = info
        self._log = log
        self._wake = wake
        self._links: Links | None = None
        self.facts: Facts | None = None  # where there is somebody to be told
        self._loop = asyncio.get_running_loop()
        self._pool: ThreadPoolExecutor | None = None
        self._accounts, self._imports = set_up_accounts(core, options, info.server_name)
        self._system = system_account(options)
        self._take_over(options)
        self._sets: Sets = {}
        self._generation = 0  # of the configuration
        self._set_no_auth()

    def handle(self, event: Event) -> None:
        """Answer one event of the data plane. Never raises: a mistake of ours costs the connection that met it."""
        try:
            self._answer(event)
        except Exception:
            self._mistake(event)

    def _mistake(self, event: Event) -> None:
        """Say what went wrong, and close the connection: nobody else would ever answer its event."""
        self._log.error(f"cid:{event.cid} - closed after an internal error: {traceback.format_exc()}")
        self._core.reject(event.conn, ClosedReason.INTERNAL_CLIENT, "")

    def _answer(self, event: Event) -> None:
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
        elif kind == plane.EventType.GUEST:
            self._guest(event)
        elif kind == plane.EventType.CLOSED:
            if self.facts is not None:
                self.facts.closed(event.conn)
            if self._links is not None:
                self._links.closed(event.conn)
            if self._log.debug_on:
                reason = reason_text(event.reason)
                self._log.debug(f"Client connection closed: {reason}", self._about(event))
        elif kind == plane.EventType.LOG:
            self._report(event)

    def _guest(self, event: Event) -> None:
        """A client did not say who it is, and need not: it has been bound already."""
        user = self._auth.no_auth
        if user is not None:
            self._core.describe(event.conn, *shown(Connect(), user))
        if self.facts is not None:
            self.facts.guest(event.conn)

    def set_links(self, links: Links) -> None:
        """Clients speak TLS, as long as the options say so."""
        self._links = links

    def close(self) -> None:
        """Stop the password threads; decisions still under way are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _accepted(self, event: Event) -> None:
        nonce = secrets.token_urlsafe(11) if self._auth.nonce_required else None
        if self._log.debug_on:
            self._log.debug("Client connection created", About(event.cid, f"{event.ip}:{event.port}"))
        cookie = nonce.encode() if nonce else b""
        if self._links is not None and self._options.tls is not None:
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
            if previous is None:
                self._core.describe(event.conn, b"", b"")  # it has answered INFO, in its way
            self._core.reject(event.conn, ClosedReason.PROTOCOL_VIOLATION, "")
            return
        meta = encode(connect) if previous else event.data
        if self._log.trace_on:
            self._log.trace(f"<<- [CONNECT {redacted(event.data)}]", self._about(event))
        self._judge(event, connect, meta)

    def _judge(self, event: Event, connect: Connect, meta: bytes) -> None:
        """Decide about a CONNECT, by the rules that are in force when the decision is made."""
        known = self._core.info(event.conn)
        if known is None:
            return
        generation = self._generation
        certificate = self._links.certificate(event.conn) if self._links is not None else None
        verdict = self._auth.check(connect, known.cookie.decode(), certificate=certificate)
        if isinstance(verdict, NeedsBcrypt):
            then, otherwise = verdict.then, verdict.otherwise

            def decide(good: bool) -> None:
                try:
                    if generation != self._generation:
                        self._judge(event, connect, meta)
                    else:
                        self._decide(event, connect, meta, then if good else otherwise)
                except Exception:
                    self._mistake(event)

            self._verify(verdict, decide)
            return
        self._decide(event, connect, meta, verdict)

    def _verify(self, question: NeedsBcrypt, answer: Callable[[bool], None]) -> None:
        """Compare a password with its hash, which takes too long to be done here; ``answer`` is called here."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(BCRYPT_THREADS, "bcrypt")
        job = self._pool.submit(verify_bcrypt, question.hash, question.password)
        job.add_done_callback(lambda done: self._from_thread(lambda: answer(done.result())))

    def _from_thread(self, action: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            self._log.debug("a password was checked after the worker had stopped")
            return
        self._wake()

    def _decide(self, event: Event, connect: Connect, meta: bytes, verdict: Accepted | Rejected) -> None:
        tls = self._links.facts(event.conn) if self._links is not None else None
        user = verdict.user if isinstance(verdict, Accepted) else None
        self._core.describe(event.conn, *shown(connect, user, tls))
        if isinstance(verdict, Rejected):
            if verdict.detail:
                self._log.debug(verdict.detail, self._about(event))
            self._log.error(verdict.log, self._about(event))
            self._core.reject(event.conn, ClosedReason.AUTHENTICATION_FAILURE, "Authorization Violation")
            return
        headers = connect.headers and not self._options.no_header_support
        unfit = _unfit(connect, headers)
        flags = (
            plane.VERBOSE * (connect.verbose and unfit is None)
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
            after_pong = self._account_info(event.conn, known, verdict.account)
        self._imports.open(verdict.account)
        if verdict.account in self._sharing:
            self._core.identify(event.conn, identity(connect, verdict.user))
        before = self.facts.before(event.conn) if self.facts is not None else b""
        self._core.accept(
            event.conn,
            self._accounts[verdict.account],
            self._permission_set(verdict.permissions),
            flags,
            (f"{verdict.account}/{verdict.label}" if verdict.label else "").encode() + b"\n" + meta,
            after_pong,
        )
        if self.facts is not None:
            self.facts.connected(event.conn, before)
        if unfit is not None:
            self._core.reject(event.conn, *unfit)

    def _permission_set(self, permissions: Permissions | None) -> Any:
        if permissions is None:
            return None
        known = self._sets.get(id(permissions))
        if known is None:  # the options outlive us, so an id names one set for good
            known = self._sets[id(permissions)] = (permissions, self._core.permissions(permissions))
        return known[1]

    def _report(self, event: Event) -> None:
        text = event.data.decode(errors="backslashreplace")
        getattr(self._log, LOG_LEVELS[event.reason])(text, self._about(event))

    def _about(self, event: Event) -> About | None:
        return self._about_conn(event.conn, event.cid) if event.cid else None

    def _about_conn(self, conn: int, cid: int) -> About:
        known = self._core.info(conn)
        if known is None:
            return About(cid)
        address = f"{known.ip}:{known.port}"
        label, connect = _known_connect(known.meta)
        if connect is None:
            return About(cid, address)
        return About(cid, address, Meta(connect.name, connect.lang, connect.version).client, label)

    # -- changes ---------------------------------------------------------------------------------------------------

    def prepare(self, options: Options, info: InfoTemplate) -> Generator[None, None, Tables | None]:
        """Make ready what ``change`` is to be given, once the data plane's part is in force. Raises MemoryError."""
        return prepare_accounts(self._core, self._options, options, info.server_name, self._imports.used)

    def change(
        self, options: Options, auth: Authenticator, info: InfoTemplate, accounts: Tables | None
    ) -> dict[str, list[int]]:
        """Another configuration, for those who will come and for those who are here.

        Returns who is here in those accounts that may have too many now: how many, and the numbers of the newest, downwards.
        """
        old_options, self._options, self._info = self._options, options, info
        if accounts is not None:
            self._use_accounts(accounts)
        if all(getattr(old_options, name) == getattr(options, name) for name in _AUTH_FIELDS):
            return {}  # then nothing is to be decided again, and the users keep their permission sets
        old_sharing = self._sharing
        self._take_over(options)
        self._judge_all(auth, self._sharing - old_sharing)
        return self._apply_limits(old_options)

    def _use_accounts(self, accounts: Tables) -> None:
        """Those that have been used for the first time since the new ones were prepared are to be caught up with."""
        late = self._imports.used
        self._accounts, self._imports = accounts
        for name in late & self._accounts.keys():
            try:
                self._imports.open(name)
            except MemoryError:
                self._log.error(f"no memory for what account {quote(name)} may ask the system account")

    def _take_over(self, options: Options) -> None:
        self._sharing = sharing_accounts(options)
        self._max_payloads = {account.name: account.limits.max_payload for account in options.accounts}

    def _judge_all(self, auth: Authenticator, sharing: frozenset[str]) -> None:
        """Other rules: who may stay, and with what rights? Clients in the accounts ``sharing`` are shown to services now."""
        old_auth, self._auth = self._auth, auth
        old_sets, self._sets = self._sets, {}
        self._generation += 1
        shown_accounts = {self._accounts[name] for name in sharing}
        fates: dict[bytes, tuple[Fate, User | NkeyUser | None, User | NkeyUser | None]] = {}
        for conn in self._core.clients():
            known = self._core.info(conn)
            if known is None or not known.flags & plane.BOUND:
                continue  # its CONNECT is still to come, and will be judged by the new rules
            label, _, raw = known.meta.partition(b"\n")
            found = fates.get(label)
            if found is None:
                found = fates[label] = fate(old_auth, auth, label.decode(errors="replace"))
                self._keep_set(old_sets, found[1], found[2])
            self._meet_fate(conn, known, raw, *found)
            if found[0] is not Fate.GONE and known.account in shown_accounts:
                connect = (decode(raw, None) if raw else None) or Connect()
                self._core.identify(conn, identity(connect, found[2]))
        self._set_no_auth()
        kept = {handle for _, handle in self._sets.values()}
        for _, handle in old_sets.values():
            if handle not in kept:
                self._core.drop_permissions(handle)

    def _apply_limits(self, old: Options) -> dict[str, list[int]]:
        """Close those who have more subscriptions than they may have now; find those in accounts that may have too many."""
        before = {account.name: account.limits for account in old.accounts}
        most: dict[int, int] = {}
        crowds: dict[int, list[int]] = {}
        for account in self._options.accounts:
            was, limits = before.get(account.name), account.limits
            if was is None or was == limits:
                continue
            if limits.max_subscriptions >= 0:
                most[self._accounts[account.name]] = limits.max_subscriptions
            if limits.max_connections >= 0:
                crowds[self._accounts[account.name]] = []
        if not most and not crowds:
            return {}
        for conn in self._core.clients():
            known = self._core.info(conn)
            if known is None:
                continue
            if known.subs > most.get(known.account, known.subs):
                self._log.error(MAXIMUM_SUBSCRIPTIONS, self._about_conn(conn, known.cid))
                self._core.reject(conn, ClosedReason.MAXIMUM_SUBSCRIPTIONS_EXCEEDED, MAXIMUM_SUBSCRIPTIONS)
            elif known.account in crowds:
                crowds[known.account].append(known.cid)
        each = NEWEST // max(len(crowds), 1)
        names = {number: name for name, number in self._accounts.items()}
        return {
            names[number]: [len(cids), *sorted(cids, reverse=True)[:each]] for number, cids in crowds.items()
        }

    def shed(self, account: str, count: int) -> None:
        """An account has too many clients: those who came last have to go."""
        number = self._accounts.get(account)
        found = [
            (known.cid, conn)
            for conn in self._core.clients()
            if (known := self._core.info(conn)) and known.account == number
        ]
        for cid, conn in sorted(found, reverse=True)[:count]:
            self._log.error(MAXIMUM_ACCOUNT_CONNECTIONS, self._about_conn(conn, cid))
            reason = ClosedReason.MAXIMUM_ACCOUNT_CONNECTIONS_EXCEEDED
            self._core.reject(conn, reason, MAXIMUM_ACCOUNT_CONNECTIONS)

    def enter_lame_duck(self) -> None:
        """Tell the clients that they had better go elsewhere."""
        self._info.enter_lame_duck()
        for conn in self._core.clients():
            known = self._core.info(conn)
            connect = _known_connect(known.meta)[1] if known is not None else None
            if known is None or connect is None or connect.protocol < 1:
                continue
            tls_first = self._links is not None and self._links.is_first(conn)
            if known.flags & plane.PONGED:
                line = self._info.news(known.cid, known.ip, tls_first)
            else:
                user = self._auth.by_label.get(_known_connect(known.meta)[0])
                account = user.account if user is not None else GLOBAL_ACCOUNT
                line = self._account_info(conn, known, account)
            self._core.tell(conn, line)

    # -- requests of the system account about one client -----------------------------------------------------------

    def user_of(self, cid: int) -> dict[str, Any] | None:
        """Who a client is, and what it may do; None: there is no such client here."""
        conn = self._core.find(cid)
        known = self._core.info(conn) if conn is not None else None
        if known is None or not known.flags & plane.BOUND:
            return None
        label, connect = _known_connect(known.meta)
        user = self._auth.by_label.get(label) if known.meta else self._auth.no_auth
        account = user.account if user is not None else label.partition("/")[0] or GLOBAL_ACCOUNT
        facts: dict[str, Any] = {"account": account, "user": user_name(user, connect or Connect())}
        if user is not None and user.permissions is not None:
            facts["permissions"] = permission_fields(user.permissions)
        return facts

    def kick(self, cid: int) -> bool:
        """Close a client without a word; False: there is no such client here."""
        conn = self._core.find(cid)
        return conn is not None and self._core.reject(conn, ClosedReason.KICKED, "")

    def tell_lame_duck(self, cid: int) -> bool | None:
        """Tell one client that it had better go elsewhere; False: it would not understand; None: it is not here."""
        conn = self._core.find(cid)
        known = self._core.info(conn) if conn is not None else None
        if conn is None or known is None:
            return None
        connect = _known_connect(known.meta)[1]
        if connect is None or connect.protocol < 1 or not known.flags & plane.PONGED:
            return False
        tls_first = self._links is not None and self._links.is_first(conn)
        self._core.tell(conn, self._info.news(known.cid, known.ip, tls_first, lame_duck=True))
        return True

    def _account_info(self, conn: int, known: ConnInfo, account: str) -> bytes:
        """What a client is told of the account that it is in."""
        return self._info.connect_info(
            known.cid,
            known.ip,
            account,
            system=account == self._system,
            tls_first=self._links is not None and self._links.is_first(conn),
            max_payload=self._max_payloads.get(account, -1),
        )

    def _set_no_auth(self) -> None:
        user = self._auth.no_auth
        if user is None:
            self._core.no_auth(-1, None)
        else:
            self._imports.open(user.account)
            self._core.no_auth(self._accounts[user.account], self._permission_set(user.permissions))

    def _keep_set(
        self, old_sets: Sets, before: User | NkeyUser | None, after: User | NkeyUser | None
    ) -> None:
        """A user whose permissions are the same keeps the set that the data plane has."""
        if (
            before is None
            or after is None
            or after.permissions is None
            or after.permissions != before.permissions
        ):
            return
        known = old_sets.get(id(before.permissions))
        if known is not None:
            self._sets.setdefault(id(after.permissions), (after.permissions, known[1]))

    def _meet_fate(
        self,
        conn: int,
        known: ConnInfo,
        raw: bytes,
        what: Fate,
        before: User | NkeyUser | None,
        after: User | NkeyUser | None,
    ) -> None:
        if what is Fate.GONE:
            self._core.reject(conn, ClosedReason.CLIENT_CLOSED, "")
        elif what is Fate.CHECK:
            self._check_again(conn, known, raw, before.account if before else GLOBAL_ACCOUNT)
        elif before is not None and after is not None and before.permissions != after.permissions:
            self._permit(conn, after.permissions, raw)

    def _check_again(self, conn: int, known: ConnInfo, raw: bytes, account: str) -> None:
        connect = (decode(raw, None) if raw else None) or Connect()
        certificate = self._links.certificate(conn) if self._links is not None else None
        verdict = self._auth.check(connect, known.cookie.decode(), certificate=certificate)
        accepted = verdict.then if isinstance(verdict, NeedsBcrypt) else verdict
        if isinstance(accepted, Rejected):
            self._violation(conn, known, accepted)
            return
        if accepted.account != account:
            self._core.reject(conn, ClosedReason.CLIENT_CLOSED, "")
            return
        self._permit(conn, accepted.permissions, raw)
        if isinstance(verdict, NeedsBcrypt):
            generation, refused = self._generation, verdict.otherwise

            def decide(good: bool) -> None:
                if not good and generation == self._generation:
                    self._violation(conn, known, refused)

            self._verify(verdict, decide)

    def _violation(self, conn: int, known: ConnInfo, verdict: Rejected) -> None:
        self._log.error(verdict.log, self._about_conn(conn, known.cid))
        if self.facts is not None:
            self.facts.expel(conn)
        self._core.reject(conn, ClosedReason.AUTHENTICATION_FAILURE, AUTHORIZATION_VIOLATION)

    def _permit(self, conn: int, permissions: Permissions | None, raw: bytes) -> None:
        connect = decode(raw, None) if raw else None
        who = 'User "N/A"'
        if connect is not None and connect.nkey:
            who = f"Nkey {quote(connect.nkey)}"
        elif connect is not None and connect.user:
            who = f"User {quote(connect.user)}"
        self._core.permit(conn, self._permission_set(permissions), who)


def _unfit(connect: Connect, headers: bool) -> tuple[ClosedReason, str] | None:
    """Why somebody who may come in cannot be served: it is counted and told of as one who came and went."""
    if connect.protocol not in (0, 1):
        return ClosedReason.BAD_CLIENT_PROTOCOL_VERSION, "invalid client protocol"
    if connect.no_responders and not headers:
        return ClosedReason.NO_RESPONDERS_REQUIRES_HEADERS, "no responders requires headers support"
    return None


def shown(
    connect: Connect, user: User | NkeyUser | None, tls: Mapping[str, object] | None = None
) -> tuple[bytes, bytes]:
    """What monitoring may show of a client: the user it is (or wanted to be), and a JSON object of the rest.

    The members have the names that `/connz` gives them, and none of them is a secret.
    """
    name = user_name(user, connect)
    fields = {
        "name": connect.name,
        "lang": connect.lang,
        "version": connect.version,
        **(tls or {}),
        "issuer_key": issuer_key(user),
    }
    about = json.dumps({key: value for key, value in fields.items() if value}, separators=(",", ":"))
    return name.encode("utf-8", "surrogateescape")[:MAX_USER], about.encode()


def _known_connect(meta: bytes) -> tuple[str, Connect | None]:
    """What is kept of a client: the label of its user, a line end, its CONNECT."""
    label, _, raw = meta.partition(b"\n")
    return label.decode(errors="replace"), decode(raw, None) if raw else None
