"""A worker's life: join the mesh, serve clients, stop.

One thread, one uvloop. The loop watches three things: the data plane's epoll descriptor (everything on the hot path), the ZeroMQ
pipe to the peers, and the supervisor's control channel. Under load the data plane waits for its own next event inside a
turn (see LINGER_US); the other two descriptors, and `wake`, end such a wait.

Exit codes: those of every child (`broker/child.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Iterator
from itertools import chain

from broker.accounts.names import account_places, room_for, system_account
from broker.auth import Authenticator
from broker.changes import Changes
from broker.child import BEAT_SECONDS, Control, live
from broker.clients import Clients
from broker.core import Core, EventType
from broker.launch import Launch
from broker.log import Log, ToWriter
from broker.mesh.collect import Answers, Request
from broker.mesh.member import Member
from broker.monitor.answers import answer
from broker.options.users import GLOBAL_ACCOUNT
from broker.protocol.errors import ClosedReason
from broker.protocol.info import InfoTemplate
from broker.system.answers import answer as system_answer
from broker.system.facts import Facts
from broker.system.info import ServerInfo
from broker.system.latency import Latency
from broker.system.trace import Traces
from broker.tls.switch import Tls

LINGER_US = 5000  # how long a turn that found work waits in epoll for more
LAST_TURNS = 8  # before the clients are closed


class Worker:
    """One worker process around one core."""

    def __init__(self, launch: Launch) -> None:
        """Raises OSError or zmq.ZMQError if sockets cannot be made."""
        options = launch.options
        self._launch = launch
        self._loop = asyncio.get_running_loop()
        self._log_end = socket.socket(fileno=launch.log)
        self._log = Log.of(options, launch.server_pid, ToWriter(self._log_end))
        self._stopped: asyncio.Future[int] = self._loop.create_future()
        self._ready = False
        self._control = Control(launch.control, self._log.error)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        auth = Authenticator(options)
        self._core = Core(
            options,
            index=launch.index,
            serial=launch.serial,
            workers=launch.workers,
            gateway=launch.gateway,
            accounts=room_for(account_places(options)),
            shared=launch.shared,
            auth_required=auth.required,
        )
        self._core.set_trace(self._log.debug_on, self._log.trace_on)
        info = InfoTemplate(options, launch.server_id)
        self._clients = Clients(self._core, options, auth, info, self._log, self._wake)
        self._tls = Tls(self._core, self._clients, self._log, announce=launch.index == 0)
        self._tls.use(options, self._tls.build(options))
        self._traces: Traces | None = None
        if system_account(options):  # without one nats-server publishes nothing of its own
            known_as = ServerInfo(options, launch.server_id, self._core.next_message)
            self._traces = Traces(self._core, known_as, self._log)
        self._changes = Changes(
            self._core,
            self._clients,
            self._tls,
            self._traces,
            self._log,
            launch.server_id,
            self._control.tell,
        )
        self._latency = Latency(self._core, self._log)
        self._mesh = Member(self._core, launch, self._log, self._check_joined)
        self._answers: Answers | None = None
        if launch.gateway:
            self._answers = Answers(
                launch.run_dir,
                launch.index,
                launch.serial,
                self._answer_to,
                self._mesh.context,
            )
        self._facts: Facts | None = None
        if launch.gateway and (account := system_account(options)):
            everybody = self._core.accounts.account(GLOBAL_ACCOUNT)
            self._facts = Facts(self._core, launch.server_id, self._core.accounts.account(account), everybody)
            self._clients.facts = self._facts
        for fd in launch.listeners:
            self._core.listen(fd)
        if launch.workers > 1:
            for index, (receive, send) in enumerate(launch.handoff):
                self._core.handoff(index, receive, send)
        self._watch()

    async def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        self._control.tell({"op": "bound"})
        self._beat()
        code = await self._stopped
        self._last_turns()
        for fd in (self._core.fileno(), self._control.fileno(), self._wake_fd):
            self._loop.remove_reader(fd)
        self._core.accepting(False)
        self._tls.close()
        self._core.close_clients(ClosedReason.SERVER_SHUTDOWN)
        self._clients.close()
        if self._answers is not None:
            self._loop.remove_reader(self._answers.fileno())
            self._answers.close()
            self._answers = None
        self._mesh.close()
        return code

    def _last_turns(self) -> None:
        """Deliver what has reached us from other processes: the server's own last message may be among it."""
        self._clients.facts = None  # the gateway has said its last word
        for _ in range(LAST_TURNS):
            if not select.select([self._core], [], [], 0.0)[0]:
                return
            self._turn(0)

    def _watch(self) -> None:
        self._loop.add_reader(self._core.fileno(), self._turn)
        self._loop.add_reader(self._control, self._supervisor_spoke)
        self._loop.add_reader(self._wake_fd, self._woken)
        fds = [self._control.fileno(), self._wake_fd]
        if self._answers is not None:
            fds.append(self._answers.fileno())
            self._loop.add_reader(self._answers.fileno(), self._asked)
            self._loop.call_soon(self._asked)
        for fd in fds:
            self._core.watch(fd)

    def _turn(self, linger_us: int = LINGER_US) -> None:
        answering = self._answers is not None and self._answers.busy
        self._log.hold()
        for event in self._core.turn(0 if answering else linger_us):
            if event.type == EventType.PEER_LOST:
                self._mesh.lost(event.reason)
            elif event.type == EventType.LATENCY:
                self._latency.report(event)
            elif event.type == EventType.TRACED:
                if self._traces is not None:
                    self._traces.report(event)
            else:
                self._clients.handle(event)
        self._tls.serve()
        self._log.flush()
        self._mesh.send()
        self._tell_facts()

    def _answer_to(self, request: Request) -> Iterator[bytes] | None:
        """The parts of an answer; None: it comes when there is something to tell."""
        if request["op"] == "facts":
            return None
        return chain(answer(self._core, request), system_answer(self._core, self._clients, request))

    def _asked(self) -> None:
        if self._answers is not None and not self._answers.busy and self._answers.receive():
            self._loop.call_soon(self._answer)
        self._tell_facts()

    def _tell_facts(self) -> None:
        """What has happened, as soon as the gateway wants to hear more."""
        answers, facts = self._answers, self._facts
        while answers is not None and facts is not None and facts.pending and answers.listened:
            told = facts.take()
            if not answers.say(told):
                facts.put_back(told)  # for the next gateway
            if not answers.busy and answers.receive():
                self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        """One step of one answer; what clients have sent meanwhile comes before the next."""
        if self._answers is not None and self._answers.step():
            self._loop.call_soon(self._answer)
        self._tell_facts()

    def _supervisor_spoke(self) -> None:
        for message, descriptors in self._control.packets():
            if message["op"] == "stop":
                if not self._stopped.done():
                    self._stopped.set_result(0)
            elif message["op"] == "peers":
                self._mesh.meet(message["peers"])
            else:
                self._changes.obey(message, descriptors)
                self._mesh.send()

    def _check_joined(self) -> None:
        self._changes.settle()
        if self._ready or not self._mesh.joined:
            return
        self._ready = True
        self._core.accepting(True)
        self._control.tell({"op": "ready"})

    def _beat(self) -> None:
        self._core.beat()
        self._mesh.beat()
        if not self._stopped.done():
            self._loop.call_later(BEAT_SECONDS if self._ready else 0.02, self._beat)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # already awake
            os.eventfd_write(self._wake_fd, 1)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)
        self._mesh.send()
        self._tell_facts()


def main() -> None:
    """Entry point of `python -m broker.worker FD`."""
    live(lambda launch: f"worker {launch.index}", Worker)


if __name__ == "__main__":
    main()
