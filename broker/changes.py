"""What a running worker is told to change: another configuration, fewer clients, lame duck mode."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from broker.auth import Authenticator
from broker.clients import Clients
from broker.core import Core
from broker.log import Log
from broker.options import Options
from broker.protocol.errors import MAXIMUM_CONNECTIONS, ClosedReason
from broker.protocol.info import InfoTemplate
from broker.reload import TwoStep
from broker.system.trace import Traces
from broker.tls.switch import Tls

if TYPE_CHECKING:
    from broker.accounts.setup import Tables
    from broker.tls.context import TlsContext

Built = tuple[Authenticator, InfoTemplate, "TlsContext | None", "Tables | None"]

CLOSES_AT_ONCE: Final = 64  # a pace that the clock cannot keep closes several together


class Changes:
    """One worker's changes."""

    __slots__ = (
        "_clients",
        "_core",
        "_lame_duck",
        "_log",
        "_loop",
        "_mark",
        "_reload",
        "_server_id",
        "_tell",
        "_tls",
        "_traces",
    )

    def __init__(
        self,
        core: Core,
        clients: Clients,
        tls: Tls,
        traces: Traces | None,
        log: Log,
        server_id: str,
        tell: Callable[[dict[str, object]], None],
    ) -> None:
        """``tell`` answers the supervisor."""
        self._core = core
        self._clients = clients
        self._tls = tls
        self._traces = traces
        self._log = log
        self._server_id = server_id
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._mark = 0
        self._reload = TwoStep(
            self._build,
            self._apply,
            tell,
            core.accounts.abort,
            lambda: core.interest_known(self._mark),
        )
        self._lame_duck = False

    def obey(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Do what the supervisor says (supervisor/control.py lists it)."""
        if self._reload.obey(message, descriptors):
            return
        match message["op"]:
            case "shed":
                self._shed(int(message["count"]))
            case "shed_account":
                self._clients.shed(str(message["account"]), int(message["count"]))
            case "lame_duck":
                self._enter_lame_duck()
            case "close_clients":
                self._close_clients(float(message["pace"]))

    def settle(self) -> None:
        """A peer may have learnt what a reload has changed for it."""
        self._reload.settle()

    def _build(self, options: Options) -> Generator[None, None, Built]:
        auth, info = Authenticator(options), InfoTemplate(options, self._server_id)
        context = self._tls.build(options)
        yield
        accounts = yield from self._clients.prepare(options, info)  # last: it would have to be undone
        return auth, info, context, accounts

    def _apply(self, options: Options, built: Built) -> dict[str, object]:
        auth, info, context, accounts = built
        if self._lame_duck:
            info.enter_lame_duck()
        self._log.configure(options)
        self._core.set_trace(self._log.debug_on, self._log.trace_on)
        self._core.configure(options, auth.required)
        self._tls.use(options, context)
        if self._traces is not None:
            self._traces.use(options)
        self._core.accounts.commit()
        crowds = self._clients.change(options, auth, info, accounts)
        self._mark = self._core.interest_mark()
        return {"crowds": crowds} if crowds else {}

    def _shed(self, count: int) -> None:
        """There are too many clients: some have to go, any of them."""
        clients = list(self._core.clients())
        for conn in random.sample(clients, min(count, len(clients))):
            self._core.reject(conn, ClosedReason.MAXIMUM_CONNECTIONS_EXCEEDED, MAXIMUM_CONNECTIONS)

    def _enter_lame_duck(self) -> None:
        self._lame_duck = True
        self._core.unlisten()
        self._clients.enter_lame_duck()

    def _close_clients(self, pace: float) -> None:
        """Begin to close them; not all workers close their first one at the same moment."""
        clients = list(self._core.clients())
        random.shuffle(clients)
        due = time.monotonic() + random.uniform(0.0, pace)
        self._loop.call_later(due - time.monotonic(), self._close_next, clients, pace, due)

    def _close_next(self, clients: list[int], pace: float, due: float) -> None:
        """Close a client, or as many as the pace demands, and come back for the next one."""
        for _ in range(CLOSES_AT_ONCE):
            if not clients:
                clients = list(self._core.clients())  # some may have been on their way to us
                if not clients:
                    self._tell({"op": "empty"})
                    return
            if not self._core.reject(clients.pop(), ClosedReason.SERVER_SHUTDOWN, ""):
                continue  # it has left by itself
            if not clients:
                continue
            due += random.uniform(pace / 2, pace)
            if due > time.monotonic():
                break
        self._loop.call_later(max(0.0, due - time.monotonic()), self._close_next, clients, pace, due)
