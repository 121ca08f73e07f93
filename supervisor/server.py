"""One server from its first log line to its last: what is made on the way in is taken back on the way out."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Final

from broker.launch import Launch
from broker.log import Log
from broker.options import Options
from broker.options.command_line import program_name
from broker.options.features import start_warnings
from supervisor.banner import log_banner
from supervisor.children import Children
from supervisor.errors import StartError, system_text
from supervisor.files import make_run_dir, remove_pid_file, write_pid_file
from supervisor.heartbeat import SharedPage
from supervisor.identity import new_server_id
from supervisor.limits import check_descriptors
from supervisor.listeners import Listeners, listen, listen_monitor
from supervisor.live import make_live_options
from supervisor.policy import Policy
from supervisor.signals import NAMES, SignalQueue

# The data plane keeps its peers as bits of a 64-bit set; one is left for a peer that is not a worker.
MAX_WORKERS: Final = 63


def run_server(
    options: Options, worker_argv: Sequence[str], policy: Policy | None = None, refusal: str = ""
) -> int:
    """Run a server until a signal ends it. Returns the exit code: 0, or 1 if it could not start or go on.

    ``worker_argv`` is the command that starts a worker; the number of its ``Launch`` descriptor is appended.
    ``refusal`` is why the server cannot start, if that is known already.
    """
    # From here on signals wait for the loop: none can end this process with half of it set up.
    signals = SignalQueue((signal.SIGCHLD, *NAMES))
    log = Log(os.getpid(), options.logtime, options.debug, options.trace or options.trace_verbose)
    server_id = new_server_id()
    log_banner(log, options, server_id)
    for warning in start_warnings(options):
        log.warn(warning)
    try:
        with closing(signals), ExitStack() as undo:
            if refusal:
                raise StartError(refusal)
            code = _run(options, server_id, worker_argv, policy or Policy(), signals, log, undo)
    except StartError as error:
        log.fatal(str(error))
        return 1
    if code == 0:
        log.info("Server Exiting..")
    return code


def usable_workers(wanted: int) -> int:
    """The number of workers: as wanted, or (0) one for each core that this process may use."""
    return min(wanted or len(os.sched_getaffinity(0)), MAX_WORKERS)


def _run(
    options: Options,
    server_id: str,
    worker_argv: Sequence[str],
    policy: Policy,
    signals: SignalQueue,
    log: Log,
    undo: ExitStack,
) -> int:
    """Set up, start, serve, stop. StartError: cannot; ``undo`` then takes back what has been done."""
    workers = usable_workers(options.workers)
    if workers < options.workers:
        log.warn(f"{options.workers} workers are too many: {workers} will be started")
    check_descriptors(workers, options.max_connections, log)
    listeners = listen(options.host, options.port)  # first: a second server with these options ends here
    undo.callback(listeners.close)
    monitor = listen_monitor(options)
    if monitor is not None:
        undo.callback(monitor.close)
    pid_file = undo.enter_context(ExitStack())
    if options.pid_file:
        write_pid_file(options.pid_file, os.getpid())
        pid_file.callback(remove_pid_file, options.pid_file, os.getpid())
    run_dir = make_run_dir()
    undo.callback(run_dir.remove)
    try:
        live = make_live_options(replace(options, port=listeners.port))
        undo.callback(live.close)
        page = SharedPage(workers + 1)  # and the gateway
        undo.callback(page.close)
        launch = Launch(
            index=-1,
            serial=0,
            workers=workers,
            run_dir=run_dir.path,
            options=_bound(options, listeners, monitor, workers),
            server_id=server_id,
            server_pid=os.getpid(),
            listeners=listeners.descriptors(),
            control=-1,
            shared=page.descriptor,
            handoff=[_datagram_pair(undo) for _ in range(workers)],
            monitor=monitor is not None,
            http=monitor.descriptors() if monitor is not None else [],
            started_ns=time.time_ns(),
        )
        selector = undo.enter_context(selectors.DefaultSelector())
    except OSError as error:
        raise StartError(f"Could not start: {system_text(error)}") from error
    children = Children(worker_argv, launch, page, selector, log, policy)
    undo.callback(children.kill)
    children.start()
    if monitor is not None:
        log.info(f"Starting http{'s' if options.https_port else ''} monitor on {monitor.address}")
    log.info(f"Listening for client connections on {listeners.address}")
    if options.tls is not None:
        log.info("TLS required for client connections")
        if options.tls.handshake_first and not options.tls.handshake_first_fallback:
            log.warn('Clients that are not using "TLS Handshake First" option will fail to connect')
    if options.ports_file_dir:
        _write_ports_file(options, listeners, monitor, log, undo)
    code = _loop(signals, selector, children, log)
    if code == 0 or children.served:
        pid_file.pop_all()  # as nats-server does, leave it
    return code


def _write_ports_file(
    options: Options, listeners: Listeners, monitor: Listeners | None, log: Log, undo: ExitStack
) -> None:
    """Say in a file where the server can be reached, until ``undo``. A server that cannot do that serves all the same."""
    from supervisor.ports import port_urls, write_ports_file  # few servers have one

    scheme = "nats" if options.tls is None else "tls"
    ports = {"nats": port_urls(scheme, listeners.host, listeners.port)}
    if monitor is not None:
        ports["monitoring"] = port_urls("https" if options.https_port else "http", monitor.host, monitor.port)
    file = write_ports_file(options.ports_file_dir, program_name(), ports)
    if isinstance(file, str):
        log.error(file)
    else:
        undo.callback(lambda: log.error(failure) if (failure := file.remove()) else None)


def _bound(options: Options, clients: Listeners, monitor: Listeners | None, workers: int) -> Options:
    """The options with what was left open decided."""
    return replace(
        options,
        port=clients.port,
        workers=workers,
        http_host=monitor.host if monitor is not None else options.http_host,
        http_port=monitor.port if monitor is not None and options.http_port else options.http_port,
        https_port=monitor.port if monitor is not None and options.https_port else options.https_port,
    )


def _datagram_pair(undo: ExitStack) -> tuple[int, int]:
    """The (receive, send) descriptors of a new datagram pair that stays open until ``undo``."""
    receive, send = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    undo.callback(receive.close)
    undo.callback(send.close)
    receive.setblocking(False)
    send.setblocking(False)
    return receive.fileno(), send.fileno()


def _loop(signals: SignalQueue, selector: selectors.BaseSelector, children: Children, log: Log) -> int:
    """Serve until all children have been stopped. Returns the exit code."""
    selector.register(signals, selectors.EVENT_READ)
    code = 0
    stopping = False
    while children.living or not stopping:
        if children.failure and not stopping:
            log.fatal(children.failure)
            stopping, code = True, 1
            children.stop()
            continue
        trapped: list[signal.Signals] = []
        for key, events in selector.select(children.tick()):
            if key.fileobj is signals:
                trapped = signals.read()  # acted on last: reaping a child invalidates its other events
            else:
                key.data(events)
        for number in trapped:
            if _act_on(number, children, log) and not stopping:
                log.info("Initiating Shutdown...")
                stopping = True
                children.stop()
    return code


def _act_on(number: signal.Signals, children: Children, log: Log) -> bool:
    """Do what a signal asks for; returns True if it asks for the end."""
    if number == signal.SIGCHLD:
        children.reap()
        return False
    log.info(f'Trapped "{NAMES[number]}" signal')
    match number:
        case signal.SIGHUP:
            log.error("Failed to reload server configuration: not supported yet")
        case signal.SIGUSR1:
            log.info("File log re-open ignored, not a file logger")
        case signal.SIGUSR2:
            log.warn("Lame duck mode is not supported yet")
        case _:
            return True
    return False
