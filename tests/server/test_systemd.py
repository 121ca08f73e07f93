"""The service manager: what it is told, and the sockets that it hands over. And being a container's first process."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import probe
from tests.harness import FOUR, ONE, ROOT, Kind, Raw, Server, config_text

pytestmark = pytest.mark.parametrize("ours", [ONE, FOUR], ids=lambda each: each.name)


class Manager:
    """A service manager: it starts a server and hears what that says of itself."""

    def __init__(self, folder: Path, abstract: bool = False) -> None:
        self.folder = folder
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"\0spline-test-{os.getpid()}" if abstract else str(folder / "notify")
        self.socket.bind(name)
        self.socket.settimeout(20)
        self.address = name.replace("\0", "@")
        self.server: Server | None = None

    def start(
        self, ours: Kind, config: str = "", *, listener: socket.socket | None = None, **environment: str
    ) -> Server:
        """Start a server; does not wait for anything."""
        conf = self.folder / "server.conf"
        conf.write_text(config_text(ours, config))
        command = [sys.executable, "-m", "supervisor", "-c", str(conf)]
        passed: list[int] = []
        if listener is not None:  # as descriptor 3, named by the pid that only the process itself knows
            script = 'exec 3<&"$0"; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
            command = ["bash", "-c", script, str(listener.fileno()), *command]
            passed = [listener.fileno()]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "NOTIFY_SOCKET": self.address, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=passed,
        )
        self.server = Server(ours, process, Path(tempfile.mkdtemp(prefix="server-test-")))
        return self.server

    def hear(self, wanted: str) -> str:
        """The next message that is about ``wanted``."""
        while True:
            message = self.socket.recv(4096).decode()
            if wanted in message:
                return message

    def close(self) -> None:
        """Leave nothing behind."""
        self.socket.close()
        if self.server is not None:
            self.server.destroy()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager."""
    made = Manager(tmp_path)
    yield made
    made.close()


def test_its_life(manager: Manager, ours: Kind) -> None:
    server = manager.start(ours)
    ready = manager.hear("READY=1")
    assert re.search(
        rf"^STATUS=Serving clients on 127\.0\.0\.1:\d+ with {ours.workers} worker", ready, re.MULTILINE
    )
    server.wait_ready()
    Raw(server.port).hello().close()  # it is, indeed
    before = time.monotonic_ns() // 1000
    server.process.send_signal(signal.SIGHUP)
    reloading = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", manager.hear("RELOADING"))
    assert reloading and before <= int(reloading[1]) <= time.monotonic_ns() // 1000
    manager.hear("READY=1")
    (manager.folder / "server.conf").write_text("nonsense {")
    server.process.send_signal(signal.SIGHUP)
    manager.hear("RELOADING=1")
    manager.hear("READY=1")  # with the old configuration
    server.process.send_signal(signal.SIGTERM)
    manager.hear("STOPPING=1")
    assert server.wait_exit() == 0


def test_ready_means_every_worker(manager: Manager, ours: Kind) -> None:
    server = manager.start(ours, "debug: true")
    manager.hear("READY=1")
    text = server.wait_ready().log.text.partition("Server is ready")[0]
    assert len(re.findall(r"Worker \d+ \(pid \d+\) is ready", text)) == ours.workers
    server.stop()


def test_a_worker_that_is_missing_is_seen(manager: Manager, ours: Kind) -> None:
    server = manager.start(ours).wait_ready()
    manager.hear("READY=1")
    os.kill(server.workers()[0], signal.SIGKILL)
    assert manager.hear("STATUS=Serving").endswith(f"with {ours.workers - 1} workers")
    assert f"with {ours.workers} worker" in manager.hear("STATUS=Serving")
    server.stop()


def test_lame_duck_mode_is_the_beginning_of_the_end(manager: Manager, ours: Kind) -> None:
    server = manager.start(ours).wait_ready()
    client = Raw(server.port).hello()
    server.process.send_signal(signal.SIGUSR2)
    assert "Lame duck" in manager.hear("STOPPING=1")
    client.expect_pong()
    client.close()
    server.process.send_signal(signal.SIGINT)
    assert server.wait_exit() == 0


def test_watchdog(manager: Manager, ours: Kind) -> None:
    server = manager.start(ours, WATCHDOG_USEC="400000").wait_ready()
    times = []
    for _ in range(4):
        manager.hear("WATCHDOG=1")
        times.append(time.monotonic())
    assert times[-1] - times[0] < 3 * 0.2 + 2.0
    os.kill(server.pid, signal.SIGSTOP)  # it hangs
    try:
        manager.socket.settimeout(0.6)
        with pytest.raises(TimeoutError):
            for _ in range(10):
                manager.socket.recv(4096)
    finally:
        os.kill(server.pid, signal.SIGCONT)
        manager.socket.settimeout(20)
    manager.hear("WATCHDOG=1")
    server.stop()


def test_children_are_told_nothing_of_it(manager: Manager, ours: Kind) -> None:
    server = manager.start(ours, WATCHDOG_USEC="30000000").wait_ready()
    for pid in server.workers():
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment and b"WATCHDOG" not in environment
    server.stop()


def test_an_abstract_address(tmp_path: Path, ours: Kind) -> None:
    manager = Manager(tmp_path, abstract=True)
    try:
        server = manager.start(ours)
        manager.hear("READY=1")
        server.wait_ready().stop()
    finally:
        manager.close()


def test_socket_activation(manager: Manager, ours: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        port = listener.getsockname()[1]
        early = socket.create_connection(("127.0.0.1", port), timeout=20)  # before there is a server
        server = manager.start(ours, listener=listener).wait_ready()
        assert server.port == port
        with early, early.makefile("rb") as lines:
            assert lines.readline().startswith(b"INFO {")
        for pid in server.workers():
            assert b"LISTEN_" not in Path(f"/proc/{pid}/environ").read_bytes()
        server.process.send_signal(signal.SIGUSR2)
        assert server.wait_exit() == 0
        # The sockets are the manager's: who comes now waits for the next server.
        late = socket.create_connection(("127.0.0.1", port), timeout=20)
        server.destroy()
        successor = manager.start(ours, listener=listener).wait_ready()
        with late, late.makefile("rb") as lines:
            assert lines.readline().startswith(b"INFO {")
        successor.stop()


def test_orphans_are_buried(manager: Manager, ours: Kind) -> None:
    """A container's first process inherits all orphans; here a "child subreaper" does."""
    adopt = 36  # PR_SET_CHILD_SUBREAPER
    conf = manager.folder / "server.conf"
    conf.write_text(config_text(ours))
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", "-c", str(conf)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: (ctypes.CDLL(None).prctl(adopt, 1, 0, 0, 0), orphan())[1],
    )
    server = Server(ours, process, manager.folder)
    manager.server = server
    server.wait_ready()
    deadline = time.monotonic() + 20
    while len(probe.session_members(server.pid)) > 1 + _helpers(server):
        assert time.monotonic() < deadline, probe.session_members(server.pid)
        time.sleep(0.02)
    server.stop()


def _helpers(server: Server) -> int:
    return len(server.workers()) + 1  # the gateway


def orphan() -> None:
    """Leave a grandchild that ends a little later, without anybody who waits for it."""
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(1.0)
        os._exit(0)
    os.waitpid(child, 0)
