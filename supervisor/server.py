"""One server from its first log line to its last: what is made on the way in is taken back on the way out."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from broker.accounts.names import (
    account_names,
    account_places,
    guest_name,
    new_places,
    room_for,
    system_account,
    with_implied_user,
)
from broker.launch import Launch
from broker.log import Log
from broker.options import Options
from broker.options.command_line import program_name
from broker.options.features import start_warnings
from supervisor.banner import log_banner
from supervisor.children import Child, Children
from supervisor.errors import StartError, system_text
from supervisor.files import (
    make_run_dir,
    remove_pid_file,
    write_pid_file,
)
from supervisor.heartbeat import SharedPage
from supervisor.identity import new_server_id
from supervisor.lameduck import LameDuck
from supervisor.limits import check_descriptors
from supervisor.listeners import adopt, listen, listen_monitor
from supervisor.live import make_live_options
from supervisor.logs import LogWriter, SinkError, say_last
from supervisor.policy import Policy
from supervisor.reload import Load, Reloads
from supervisor.signals import NAMES, SignalQueue
from supervisor.systemd import Notifier, inherited_sockets

if TYPE_CHECKING:
    from supervisor.ports import PortsFile

# The data plane keeps its peers as bits of a 64-bit set; one is left for a peer that is not a worker.
MAX_WORKERS: Final = 63
MAX_ERROR: Final = 8192  # of a message to a child: it must fit a packet


def run_server(
    options: Options,
    worker_argv: Sequence[str],
    policy: Policy | None = None,
    refusal: str = "",
    load: Load | None = None,
) -> int:
    """Run a server until a signal ends it. Returns the exit code: 0, or 1 if it could not start or go on.

    ``worker_argv`` is the command that starts a worker; the number of its ``Launch`` descriptor is appended.
    ``refusal`` is why the server cannot start, if that is known already; ``load`` reads the configuration again.
    """
    notifier = Notifier(os.environ)
    inherited = inherited_sockets(os.environ)
    # From here on signals wait for the loop: none can end this process with half of it set up.
    signals = SignalQueue((signal.SIGCHLD, *NAMES))
    with closing(signals):
        try:
            writer = LogWriter(options)
        except SinkError as error:
            say_last(str(error))
            return 1
        except OSError as error:
            say_last(f"Could not start: {system_text(error)}")
            return 1
        with closing(writer):
            server_id = new_server_id()
            log_banner(writer.log, options, server_id)
            for warning in start_warnings(options):
                writer.log.warn(warning)
            try:
                with ExitStack() as undo:
                    if refusal:
                        raise StartError(refusal)
                    server = Server(
                        options, server_id, worker_argv, policy or Policy(), writer, undo, notifier
                    )
                    code = server.run(signals, load, inherited)
            except StartError as error:
                writer.log.fatal(str(error))
                return 1
            if code == 0:
                writer.log.info("Server Exiting..")
            return code


def usable_workers(wanted: int) -> int:
    """The number of workers: as wanted, or (0) one for each core that this process may use."""
    return min(wanted or len(os.sched_getaffinity(0)), MAX_WORKERS)


class Server:
    """The supervisor's loop and what it looks after."""

    def __init__(
        self,
        options: Options,
        server_id: str,
        worker_argv: Sequence[str],
        policy: Policy,
        writer: LogWriter,
        undo: ExitStack,
        notifier: Notifier,
    ) -> None:
        """``undo`` takes back what has been done, however far that got."""
        self._options = options
        self._server_id = server_id
        self._worker_argv = worker_argv
        self._policy = policy
        self._writer = writer
        self._undo = undo
        self._notifier = notifier
        self._ports_file: PortsFile | None = None
        self._guest = guest_name()
        self._places = account_places(options)
        self._lame_duck: LameDuck | None = None
        self._stopping = False

    @property
    def _log(self) -> Log:
        return self._writer.log

    def run(self, signals: SignalQueue, load: Load | None, inherited: list[socket.socket]) -> int:
        """Set up, start, serve, stop. Returns the exit code. StartError: cannot."""
        options, undo = self._options, self._undo
        workers = self._workers = usable_workers(options.workers)
        if workers < options.workers:
            self._log.warn(f"{options.workers} workers are too many: {workers} will be started")
        check_descriptors(workers, options.max_connections, self._log)
        # First: a second server with these options ends here.
        self._listeners = adopt(inherited) if inherited else listen(options.host, options.port)
        undo.callback(self._listeners.close)
        self._monitor = listen_monitor(options)
        if self._monitor is not None:
            undo.callback(self._monitor.close)
        pid_file = undo.enter_context(ExitStack())
        if options.pid_file:
            write_pid_file(options.pid_file, os.getpid())
            pid_file.callback(remove_pid_file, options.pid_file, os.getpid())
        run_dir = make_run_dir()
        undo.callback(run_dir.remove)
        try:
            self._live = make_live_options(replace(options, port=self._listeners.port))
            undo.callback(self._live.close)
            self._page = SharedPage(workers + 1, room_for(self._places))  # and the gateway
            undo.callback(self._page.close)
            launch = Launch(
                index=-1,
                serial=0,
                workers=workers,
                run_dir=run_dir.path,
                options=self._bound(options),
                server_id=self._server_id,
                server_pid=os.getpid(),
                listeners=self._listeners.descriptors(),
                control=-1,
                shared=self._page.descriptor,
                handoff=[_datagram_pair(undo) for _ in range(workers)],
                log=self._writer.descriptor,
                gateway=self._monitor is not None or bool(system_account(options)),
                http=self._monitor.descriptors() if self._monitor is not None else [],
                started_ns=time.time_ns(),
            )
            self._selector = undo.enter_context(selectors.DefaultSelector())
        except OSError as error:
            raise StartError(f"Could not start: {system_text(error)}") from error
        children = Children(self._worker_argv, launch, self._page, self._selector, self._log, self._policy)
        self._children = children
        self._reloads = Reloads(
            options,
            load,
            children,
            self._page,
            self._writer,
            self._policy,
            self._apply,
            self._bound,
        )
        self._reloads.on_end = self._reload_ended
        children.on_message = self._heard
        children.on_death = self._died
        undo.callback(children.kill)
        undo.callback(self._remove_ports_file)
        children.start()
        if self._monitor is not None:
            secure = "s" if options.https_port else ""
            self._log.info(f"Starting http{secure} monitor on {self._monitor.address}")
        self._log.info(f"Listening for client connections on {self._listeners.address}")
        if options.tls is not None:
            self._log.info("TLS required for client connections")
            if options.tls.handshake_first and not options.tls.handshake_first_fallback:
                self._log.warn('Clients that are not using "TLS Handshake First" option will fail to connect')
        self._write_ports_file(options)
        code = self._loop(signals)
        if code == 0 or children.served:
            pid_file.pop_all()  # as nats-server does, leave it
        return code

    def _bound(self, options: Options) -> Options:
        """The options with what was left open decided: what children get."""
        monitor = self._monitor
        self._places = new_places(self._places, account_names(options))
        return replace(
            with_implied_user(options, self._guest),
            places=self._places,
            port=self._listeners.port,
            workers=self._workers,
            http_host=monitor.host if monitor is not None else options.http_host,
            http_port=monitor.port if monitor is not None and options.http_port else options.http_port,
            https_port=monitor.port if monitor is not None and options.https_port else options.https_port,
        )

    def _loop(self, signals: SignalQueue) -> int:
        """Serve until all children have been stopped. Returns the exit code."""
        children = self._children
        self._selector.register(signals, selectors.EVENT_READ)
        code = 0
        served = False
        while children.living or not self._stopping:
            if children.failure and not self._stopping:
                self._log.fatal(children.failure)
                self._stopping, code = True, 1
                children.stop()
                continue
            if children.served and not served:
                served = True
                self._serves()
            trapped: list[signal.Signals] = []
            for key, events in self._selector.select(self._tick()):
                if key.fileobj is signals:
                    trapped = signals.read()  # acted on last: reaping a child invalidates its other events
                else:
                    key.data(events)
            for number in trapped:
                self._act_on(number)
        return code

    def _tick(self) -> float:
        """Do what is due; returns how long to wait for the next event."""
        waits = [self._children.tick(), self._notifier.tick()]
        if self._children.served and self._lame_duck is None and not self._stopping:
            self._notifier.status(self._status())
        if self._reloads.busy:
            waits.append(self._reloads.tick())
        if self._lame_duck is not None and not self._stopping:
            waits.append(self._lame_duck.tick())
            if self._lame_duck.over:
                self._stop()
        return min(waits)

    def _act_on(self, number: signal.Signals) -> None:
        """Do what a signal asks for."""
        if number == signal.SIGCHLD:
            self._children.reap()
            return
        self._log.info(f'Trapped "{NAMES[number]}" signal')
        match number:
            case signal.SIGHUP if not self._stopping:
                self._notifier.reloading()
                self._reloads.begin()
            case signal.SIGUSR1 if self._reloads.options.log_file:
                self._writer.reopen()
            case signal.SIGUSR1:
                self._log.info("File log re-open ignored, not a file logger")
            case signal.SIGUSR2 if self._lame_duck is None and not self._stopping:
                self._enter_lame_duck()
            case signal.SIGTERM if self._lame_duck is not None:
                pass  # it is on its way out already, and takes its time
            case signal.SIGINT | signal.SIGTERM:
                self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._log.info("Initiating Shutdown...")
            self._stopping = True
            self._notifier.stopping("Stopping")
            self._children.stop()

    def _enter_lame_duck(self) -> None:
        self._log.info("Entering lame duck mode, stop accepting new clients")
        self._notifier.stopping("Lame duck mode: clients are sent away")
        self._listeners.refuse()
        self._children.relaunch_with(listeners=[])
        self._lame_duck = LameDuck(self._reloads.options, self._children, self._page, self._log)

    def _serves(self) -> None:
        """Every worker takes clients for the first time."""
        self._notifier.ready(self._status())

    def _status(self) -> str:
        workers = "1 worker" if self._children.ready == 1 else f"{self._children.ready} workers"
        return f"Serving clients on {self._listeners.address} with {workers}"

    def _heard(self, child: Child, message: Mapping[str, object]) -> None:
        match message.get("op"):
            case "empty":
                if self._lame_duck is not None:
                    self._lame_duck.gone(child)
            case "reload":
                self._reload_asked(child, message.get("id"))
            case _:
                self._reloads.heard(child, message)

    def _reload_asked(self, child: Child, number: object) -> None:
        """A reload that is asked for by a request instead of a signal."""

        def tell(error: str) -> None:
            if child in self._children.all():
                self._children.send(child, {"op": "reloaded", "id": number, "error": error[:MAX_ERROR]})

        if self._stopping or self._lame_duck is not None:
            tell("the server is shutting down")
        else:
            self._notifier.reloading()
            self._reloads.begin(tell)

    def _died(self, child: Child) -> None:
        self._reloads.died(child)
        if self._lame_duck is not None:
            self._lame_duck.gone(child)

    def _reload_ended(self) -> None:
        if self._lame_duck is None and not self._stopping:
            self._notifier.ready(self._status())
        elif self._lame_duck is not None:
            self._children.hold = True

    def _apply(self, old: Options, new: Options) -> None:
        """The supervisor's own part of a reload. What cannot be written is reported; the reload is valid all the same."""
        try:
            self._live.publish(replace(new, port=self._listeners.port))
        except OSError as error:
            self._log.error(f"Could not note the new configuration: {system_text(error)}")
        if new.pid_file and new.pid_file != old.pid_file:
            try:
                write_pid_file(new.pid_file, os.getpid())
            except StartError as error:
                self._log.error(str(error))
        if new.ports_file_dir != old.ports_file_dir:
            self._write_ports_file(new)

    def _write_ports_file(self, options: Options) -> None:
        """Say in a file where the server can be reached. A server that cannot do that serves all the same."""
        self._remove_ports_file()
        if not options.ports_file_dir:
            return
        from supervisor.ports import port_urls, write_ports_file  # few servers have one

        scheme = "nats" if options.tls is None else "tls"
        ports = {"nats": port_urls(scheme, self._listeners.host, self._listeners.port)}
        if self._monitor is not None:
            scheme = "https" if options.https_port else "http"
            ports["monitoring"] = port_urls(scheme, self._monitor.host, self._monitor.port)
        file = write_ports_file(options.ports_file_dir, program_name(), ports)
        if isinstance(file, str):
            self._log.error(file)
        else:
            self._ports_file = file

    def _remove_ports_file(self) -> None:
        file, self._ports_file = self._ports_file, None
        if file is not None and (failure := file.remove()):
            self._log.error(failure)


def _datagram_pair(undo: ExitStack) -> tuple[int, int]:
    """The (receive, send) descriptors of a new datagram pair that stays open until ``undo``."""
    receive, send = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    undo.callback(receive.close)
    undo.callback(send.close)
    receive.setblocking(False)
    send.setblocking(False)
    return receive.fileno(), send.fileno()
