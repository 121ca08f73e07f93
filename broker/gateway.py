"""The gateway's life: the server's face to its operators, and later to other servers.

It serves monitoring over HTTP: it asks the workers, adds up what they say, and answers. And it is the server's client in the
system account: a member of the mesh like the workers, with a data plane of its own, but without connections, and told of the
interest in that account only. No client needs it to reach another, so it may die and be started again at any time;
connections to its ports wait meanwhile, because the listening sockets are the supervisor's.

Exit codes: those of every child (`broker/child.py`).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

from broker.accounts.names import account_places, room_for, system_account
from broker.child import BEAT_SECONDS, CANNOT_BEGIN, Control, live
from broker.core import Core, EventType
from broker.launch import Launch
from broker.log import Log, ToWriter
from broker.mesh.collect import Questions
from broker.mesh.member import Member
from broker.monitor.counted import Counted
from broker.monitor.http import HttpServer
from broker.monitor.routes import Routes
from broker.monitor.state import SAMPLE_SECONDS, Server
from broker.monitor.tls import load_certificates, server_context
from broker.options import Options
from broker.reload import TwoStep
from broker.shared import Page
from broker.system.account import SystemAccount
from broker.system.actions import Reloads

GOODBYE_SECONDS = 0.9  # the supervisor waits a little longer


class Gateway:
    """One gateway process."""

    def __init__(self, launch: Launch) -> None:
        """Raises OSError or zmq.ZMQError if sockets cannot be made."""
        options = launch.options
        self._launch = launch
        self._loop = asyncio.get_running_loop()
        self._log_end = socket.socket(fileno=launch.log)
        self._log = Log.of(options, launch.server_pid, ToWriter(self._log_end))
        self._stopped: asyncio.Future[int] = self._loop.create_future()
        self._control = Control(launch.control, self._log.error)
        self._page = Page(launch.shared, launch.index)
        self._questions = Questions(launch.run_dir)
        self._tls: ssl.SSLContext | None = None
        self._reload = TwoStep(self._build, self._apply, self._control.tell, self._discard)
        self._met = self._listening = self._ready = False
        self._core = Core(
            options,
            index=launch.index,
            serial=launch.serial,
            workers=launch.workers,
            gateway=True,
            accounts=room_for(account_places(options)),
            shared=launch.shared,
            auth_required=False,
        )
        self._server = Server(launch, self._questions, self._page, self._core)
        self._http = HttpServer(Routes(self._server, self._log), self._log)
        self._reloads = Reloads(self._control.tell)
        self._system: SystemAccount | None = None
        if account := system_account(options):
            self._system = SystemAccount(
                self._core, account, self._server, self._log, self._core.next_message, self._reloads
            )
        self._mesh = Member(self._core, launch, self._log, self._check_ready)
        self._loop.add_reader(self._core.fileno(), self._turn)
        self._loop.add_reader(self._control, self._supervisor_spoke)

    async def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        self._control.tell({"op": "bound"})
        self._beat()
        if self._launch.http:
            self._sample()
        code = await self._stopped
        await self._say_goodbye()
        for watched in (self._control, self._core):
            self._loop.remove_reader(watched)
        self._mesh.close()
        await self._http.close()
        self._questions.close()
        return code

    async def _say_goodbye(self) -> None:
        """Our last message. The workers are told to stop when it is where they will find it."""
        if self._system is not None:
            self._system.end()
            self._system.announce("SHUTDOWN")
            until = time.monotonic() + GOODBYE_SECONDS
            while not self._core.mesh_flushed() and time.monotonic() < until:
                await asyncio.sleep(0.001)
        self._control.tell({"op": "farewell"})

    async def _listen(self) -> None:
        """Begin to answer; not before the workers are known, who have the answers."""
        try:
            options = self._launch.options
            self._tls = server_context(options) if options.https_port else None
            for descriptor in self._launch.http:
                await self._http.listen(descriptor, self._tls)
        except (OSError, ValueError) as error:
            self._control.tell({"op": "fatal", "text": f"monitoring: {error}"})
            self._stopped.set_result(CANNOT_BEGIN)
            return
        self._listening = True
        self._check_ready()

    def _turn(self) -> None:
        for event in self._core.turn(0):
            if event.type == EventType.PEER_LOST:
                self._mesh.lost(event.reason)
            elif event.message is not None and self._system is not None:
                self._system.receive(event.reason, event.message)
        self._mesh.send()

    def _check_ready(self) -> None:
        if self._listening and not self._ready and self._mesh.joined:
            self._ready = True
            if self._system is not None:
                self._system.begin()
            self._control.tell({"op": "ready"})

    def _build(self, options: Options) -> None:
        """See whether other options could be served."""
        self._core.accounts.make_room(room_for(account_places(options)))
        if self._tls is not None:
            server_context(options)
        if self._system is not None:
            self._system.expect(Counted(self._core, options))

    def _discard(self) -> None:
        """They will not be."""
        if self._system is not None:
            self._system.expect(self._server.accounts)

    def _apply(self, options: Options, _: None) -> None:
        """Show other options from now on."""
        self._log.configure(options)
        self._server.options = options
        self._server.loaded_ns = time.time_ns()
        if self._system is not None:
            self._system.use()
        if self._tls is not None:
            try:
                load_certificates(self._tls, options)
            except (OSError, ValueError) as error:  # they were there a moment ago
                self._log.error(f"monitoring: the old certificate is still in use: {error}")

    def _beat(self) -> None:
        self._core.beat()
        self._mesh.beat()
        if not self._stopped.done():
            self._loop.call_later(BEAT_SECONDS if self._ready else 0.02, self._beat)

    def _sample(self) -> None:
        """For the live page's history."""
        self._server.sample()
        if not self._stopped.done():
            self._loop.call_later(SAMPLE_SECONDS, self._sample)

    def _supervisor_spoke(self) -> None:
        for message, descriptors in self._control.packets():
            if message["op"] == "stop":
                if not self._stopped.done():
                    self._stopped.set_result(0)
            elif message["op"] == "peers":
                peers = [(index, serial) for index, serial in message["peers"]]
                self._mesh.meet(peers)
                self._server.meet([peer for peer in peers if peer[0] < self._launch.workers])
                if not self._met:
                    self._met = True
                    self._loop.create_task(self._listen())
            elif message["op"] == "reloaded":
                self._reloads.heard(message)
            elif message["op"] == "lame_duck":
                if self._system is not None:
                    self._system.announce("LAMEDUCK")
            else:
                self._reload.obey(message, descriptors)


def main() -> None:
    """Entry point of `python -m broker.gateway FD`."""
    live(lambda launch: "gateway", Gateway)


if __name__ == "__main__":
    main()
