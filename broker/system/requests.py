"""The requests of the system account: which subjects there are, who answers them, and how many at a time.

    $SYS.REQ.SERVER.PING.<Z>     all servers        zed.py
    $SYS.REQ.SERVER.<id>.<Z>     this one           zed.py; RELOAD, KICK, LDM: actions.py
    $SYS.REQ.ACCOUNT.<acc>.<X>   about an account   account_requests.py
    $SYS.REQ.USER.<acc>.INFO     about who asks     user_info.py
    $SYS.DEBUG.SUBSCRIBERS       subscribers.py

All of them are subscriptions in the system account, and in no other: clients of other accounts reach them through imports alone
(those that every account has are made in broker/accounts/automatic.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from broker.core import Message
from broker.log import Log
from broker.monitor.query import QueryError
from broker.monitor.state import Server
from broker.system import account_requests, subscribers
from broker.system.actions import KICK, LDM, Actions, Failure, client_number
from broker.system.compression import encoded, encoding
from broker.system.desk import Desk
from broker.system.envelope import BAD_REQUEST, FAILED, bare, failure, wrapped
from broker.system.events import ACCOUNT_CONNECTIONS, account_connections
from broker.system.filters import meant
from broker.system.gojson import JsonError, Shape, decode, shape_of
from broker.system.statsz import statsz
from broker.system.system import Handler, System
from broker.system.user_info import requester, text_of, user_info
from broker.system.zed import ENDPOINTS, Body, Context, Silence, Zed

AT_ONCE: Final = 16  # requests that are being answered, and as many of those for the state in short
_STATSZ_BODY: Final = Body("StatszEventOptions")
_FILTERS: Final = Body("EventFilterOptions")


@dataclass(slots=True, frozen=True)
class ConnsRequest:
    """Another server's question about an account."""

    acc: str = ""


_CONNS_TYPE: Final = "accNumConnsReq"
_CONNS_SHAPES: Final[dict[type, Shape]] = {ConnsRequest: shape_of(_CONNS_TYPE, ConnsRequest)}


class Requests:
    """Answers requests. ``broadcast``, if set, is told when somebody wants the heartbeat now instead of an answer."""

    def __init__(
        self, system: System, server: Server, log: Log, reload: Callable[[], Awaitable[str]]
    ) -> None:
        """``reload`` reads the configuration again and tells why it could not, if so. Raises MemoryError."""
        self.broadcast: Callable[[], None] | None = None
        self._system = system
        self._server = server
        self._log = log
        self._actions = Actions(server, reload)
        self._desk = Desk(AT_ONCE, log)
        self._pings = Desk(AT_ONCE, log)
        self._context = Context(server, self._queues)
        for subject, handler in self.table(system.info.id).items():
            system.on(subject, handler)

    def table(self, server_id: str) -> dict[str, Handler]:
        """Every subject, and who has what is published on it."""
        ping, own = "$SYS.REQ.SERVER.PING", f"$SYS.REQ.SERVER.{server_id}"
        table: dict[str, Handler] = {ping: self._pings.serve(self._statsz)}
        for start in (ping, own):
            table[f"{start}.STATSZ"] = table[ping]
            table[f"{start}.IDZ"] = self._idz
            for name, endpoint in ENDPOINTS.items():
                table[f"{start}.{name}"] = self._served(endpoint)
        table[f"{own}.RELOAD"] = self._desk.serve(self._reload)
        table[f"{own}.KICK"] = self._desk.serve(self._kick)
        table[f"{own}.LDM"] = self._desk.serve(self._lame_duck)
        for name in account_requests.NAMES:
            table[f"$SYS.REQ.ACCOUNT.*.{name}"] = self._of_account(name)
        everyone = Zed(account_requests.STATZ_BODY, account_requests.all_statz)
        table[f"$SYS.REQ.ACCOUNT.{account_requests.ALL}.STATZ"] = self._served(everyone)
        table["$SYS.REQ.ACCOUNT.*.CONNS"] = self._desk.serve(self._conns)
        table["$SYS.REQ.ACCOUNT.NSUBS"] = self._desk.serve(self._nsubs)
        table["$SYS.REQ.USER.*.INFO"] = self._desk.serve(self._user_info)
        table["$SYS.DEBUG.SUBSCRIBERS"] = self._desk.serve(self._subscribers)
        return table

    def close(self) -> None:
        """Drop what is not answered yet."""
        self._desk.close()
        self._pings.close()

    def _queues(self) -> dict[str, tuple[int, int]]:
        """As nats-server calls those that it has, too."""
        desks = {"System recvQ": self._desk, "System recvQ Pings": self._pings}
        return {name: (desk.waiting, desk.busy) for name, desk in desks.items()}

    # -- how they are run -----------------------------------------------------------------------------------------------

    def _served(self, endpoint: Zed) -> Handler:
        return self._desk.serve(lambda message: self._serve(message, endpoint))

    def _of_account(self, name: str) -> Handler:
        async def serve(message: Message) -> None:
            account = _token(message, 3)
            if (name, account) != ("STATZ", account_requests.ALL):  # which has a handler of its own
                await self._serve(message, account_requests.of_account(name, account))

        return self._desk.serve(serve)

    async def _serve(self, message: Message, endpoint: Zed) -> None:
        """The course of most requests: read the body, see whether we are meant, answer."""
        if not message.reply:
            return
        try:
            data = await endpoint.answer(self._context, self._read(message, endpoint.body))
        except QueryError as error:
            self._system.answer(message, failure(self._system.info, FAILED, str(error), data=None))
        except Silence:
            return
        else:
            await self._say(message, await wrapped(self._system.info, data))

    def _read(self, message: Message, body: Body) -> Any:
        """The options in a body. Raises Silence if there is nothing more to say: others are meant, or it makes no sense, which
        has been said."""
        try:
            filters, options = body.read(message.payload)
        except JsonError as error:
            self._system.answer(message, failure(self._system.info, BAD_REQUEST, str(error)))
            raise Silence from None
        if not meant(filters, self._system.info):
            raise Silence
        return options

    async def _say(self, message: Message, body: bytes) -> None:
        headers, payload = await encoded(body, encoding(message.headers))
        self._system.answer(message, payload, headers)

    # -- those that are different ---------------------------------------------------------------------------------------

    async def _statsz(self, message: Message) -> None:
        """Never compressed. Without a reply it asks for the heartbeat."""
        try:
            self._read(message, _STATSZ_BODY)
        except Silence:
            return
        if message.reply:
            body = await wrapped(self._system.info, await statsz(self._server), "statsz")
            self._system.answer(message, body)
        elif self.broadcast is not None:
            self.broadcast()

    def _idz(self, message: Message) -> None:
        """Whatever the body says, and without an envelope."""
        info = self._system.info
        self._system.answer(message, {"name": info.name, "host": info.host, "id": info.id})

    async def _conns(self, message: Message) -> None:
        """How many connections an account has here, told as an event; nothing if there are none."""
        account = asked_for = _token(message, 3)
        if message.payload:
            try:
                wanted: ConnsRequest = decode(message.payload, f"server.{_CONNS_TYPE}", _CONNS_SHAPES)[
                    ConnsRequest
                ]
            except JsonError as error:
                self._complain(f"Error unmarshalling account connections request message: {error}")
                return
            asked_for = wanted.acc or account
        if asked_for != account:
            self._complain("Error unmarshalled account does not match subject")
            return
        counted = self._server.counted(account)
        if counted is not None and counted["conns"]:
            start = self._system.typed(ACCOUNT_CONNECTIONS)
            self._system.answer(message, account_connections(self._system, start, account, counted))

    async def _user_info(self, message: Message) -> None:
        if message.reply:
            try:
                fields = await user_info(self._server, message.headers)
            except Silence:
                return
            self._system.answer(message, await wrapped(self._system.info, fields))

    async def _subscribers(self, message: Message) -> None:
        """Of the account that asks: ours, unless it comes through an import."""
        if message.reply:
            try:
                asks = requester(message.headers)
            except Silence:
                return
            account = text_of(asks, "svc") or text_of(asks, "acc") or self._server.system_account
            wanted = subscribers.of_text(account, message.payload)
            self._system.answer(message, str(await subscribers.count(self._server, wanted)).encode())

    async def _nsubs(self, message: Message) -> None:
        """Another server's question."""
        if not message.payload:
            self._complain("request requires a body")
            return
        try:
            wanted = subscribers.of_server(message.payload)
        except JsonError as error:
            self._complain(f"Error unmarshalling account nsubs request message: {error}")
            return
        if self._server.counted(wanted.acc) is not None:
            self._system.answer(message, str(await subscribers.count(self._server, wanted)).encode())

    # -- actions --------------------------------------------------------------------------------------------------------

    async def _reload(self, message: Message) -> None:
        await self._act(message, self._actions.reload)

    async def _kick(self, message: Message) -> None:
        await self._act_on_client(message, KICK, self._actions.kick)

    async def _lame_duck(self, message: Message) -> None:
        await self._act_on_client(message, LDM, self._actions.lame_duck)

    async def _act_on_client(
        self, message: Message, go_name: str, action: Callable[[int], Awaitable[None]]
    ) -> None:
        try:
            cid = client_number(message.payload, go_name)
        except JsonError as error:
            self._complain(f"Error unmarshalling kick client request: {error}")
            return
        await self._act(message, lambda: action(cid))

    async def _act(self, message: Message, action: Callable[[], Awaitable[None]]) -> None:
        """What nobody waits for is not done."""
        if not message.reply:
            return
        info = self._system.info
        try:
            self._read(message, _FILTERS)
            await action()
        except Silence:
            return
        except Failure as reason:
            self._system.answer(message, failure(info, FAILED, str(reason)))
        else:
            await self._say(message, bare(info))

    def _complain(self, text: str) -> None:
        """To the log, about a request that gets no answer."""
        self._log.error(f"SYSTEM - {text}")


def _token(message: Message, number: int) -> str:
    """A token of the subject."""
    return message.subject.split(b".")[number].decode("utf-8", "surrogateescape")
