"""All that the server does in the system account, as one thing that the gateway process begins and ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from broker.core import Core, Message
from broker.log import Log
from broker.monitor.counted import Counted
from broker.monitor.state import Server
from broker.system.events import Events
from broker.system.heartbeat import Heartbeat
from broker.system.info import ServerInfo
from broker.system.requests import Requests
from broker.system.statsz import statsz
from broker.system.system import System


class SystemAccount:
    """Answers requests, publishes events, and the heartbeat."""

    __slots__ = ("_events", "_heartbeat", "_requests", "_server", "_system")

    def __init__(
        self,
        core: Core,
        name: str,
        server: Server,
        log: Log,
        number: Callable[[], int],
        reload: Callable[[], Awaitable[str]],
    ) -> None:
        """``name``: the account's. ``number``, ``reload``: see ServerInfo and Requests. Raises MemoryError."""
        account = core.accounts.account(name)
        core.accounts.set_system_account(account)
        system = self._system = System(
            core, account, ServerInfo(server.options, server.server_id, number), log
        )
        self._server = server
        self._requests = Requests(system, server, log, reload)
        self._events = Events(system, server.questions, log, server.accounts)
        self._heartbeat = Heartbeat(system, lambda: statsz(server), log)
        self._requests.broadcast = self._heartbeat.now

    def begin(self) -> None:
        """The interest of all workers is known."""
        self._events.begin()

    def receive(self, tag: int, message: Message) -> None:
        """A message came for one of our subscriptions."""
        self._system.receive(tag, message)

    def expect(self, accounts: Counted) -> None:
        """There are about to be other accounts."""
        self._events.expect(accounts)

    def use(self) -> None:
        """The server has other options from now on."""
        self._system.info.use(self._server.options)
        self._events.use(self._server.accounts)

    def announce(self, what: str) -> None:
        """Say of the server itself what is happening to it: LAMEDUCK or SHUTDOWN."""
        info = self._system.info
        self._system.publish(f"$SYS.SERVER.{info.id}.{what}", info.block())

    def end(self) -> None:
        """No more events, and no more answers."""
        self._events.close()
        self._heartbeat.close()
        self._requests.close()
