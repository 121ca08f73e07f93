"""The log as a file, elsewhere, and as JSON: rotation, re-opening, full disks."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import FOUR, ONE, Kind, Raw, Server, config_text, launch, until

LINE = re.compile(r"\[(\d+)\] (?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} )?\[(INF|DBG|WRN|ERR|FTL|TRC)\] (.*)")


class Logged:
    """A server whose log is a file."""

    def __init__(
        self, kind: Kind, folder: Path, config: str, preexec: Callable[[], None] | None = None
    ) -> None:
        self.folder = folder
        self.file = folder / "server.log"
        self.conf = folder / "server.conf"
        self.kind = kind
        self.conf.write_text(config_text(kind, f'log_file: "{self.file}"\n{config}'))
        self.server: Server = launch(kind, ["-c", str(self.conf)], preexec=preexec)
        self.server.port = int(str(self.wait(r"Listening for client connections on \S*?:(\d+)")))
        self.wait("(Server is ready)")

    def text(self) -> str:
        """All of the file."""
        try:
            return self.file.read_text()
        except FileNotFoundError:
            return ""

    def all_lines(self) -> list[str]:
        """The lines of all files, oldest first."""
        files = [*sorted(self.folder.glob("server.log.*")), self.file]
        return [line for file in files for line in file.read_text().splitlines()]

    def wait(self, pattern: str) -> object:
        """The first group of the pattern, once some line of the file matches."""

        def look() -> object:
            found = re.search(pattern, "\n".join(self.all_lines()) if self.file.exists() else "")
            return found and found[1]

        return until(look)

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        self.server.process.send_signal(number)

    def stop(self) -> None:
        """Stop it in order."""
        self.signal(signal.SIGTERM)
        assert self.server.wait_exit() == 0


Make = Callable[..., Logged]


@pytest.fixture
def logged(kind: Kind, tmp_path: Path) -> Iterator[Make]:
    """Starts servers that log into a file."""
    made: list[Logged] = []

    def make(config: str = "", preexec: Callable[[], None] | None = None, kind: Kind = kind) -> Logged:
        made.append(Logged(kind, tmp_path, config, preexec))
        return made[-1]

    yield make
    for each in made:
        each.server.destroy()


def test_a_file(logged: Make) -> None:
    log = logged()
    log.stop()
    assert os.stat(log.file).st_mode & 0o777 == 0o640
    lines = log.text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines), lines
    assert lines[-2].endswith("[INF] Initiating Shutdown...") and lines[-1].endswith("[INF] Server Exiting..")
    assert {LINE.fullmatch(line)[1] for line in lines} == {str(log.server.pid)}  # type: ignore[index]
    assert log.server.log.text == ""


def test_a_file_that_cannot_be_opened(kind: Kind) -> None:
    server = launch(kind, ["-a", "127.0.0.1", "-p", "-1", "-l", "/nonexistent/server.log"])
    assert server.wait_exit() == 1
    assert re.fullmatch(
        r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d error opening file: open /nonexistent/server.log: no such file or directory\n",
        server.log.text,
    )
    server.destroy()


def test_a_moved_file_is_made_anew(logged: Make) -> None:
    log = logged()
    moved = log.folder / "server.log.moved"
    os.rename(log.file, moved)
    log.signal(signal.SIGUSR1)
    log.wait("(File log re-opened)")
    assert 'Trapped "user defined signal 1" signal' in moved.read_text()
    log.stop()
    assert log.text().splitlines()[0].endswith("[INF] File log re-opened")
    assert log.text().endswith("Server Exiting..\n")


def test_without_logtime_and_in_utc(logged: Make) -> None:
    log = logged("logtime: false")
    log.stop()
    assert re.fullmatch(r"\[\d+\] \[INF\] Server Exiting\.\.", log.text().splitlines()[-1])
    os.unlink(log.file)
    os.environ["TZ"] = "XYZ-9"
    try:
        utc = logged("logtime_utc: true")
    finally:
        del os.environ["TZ"]
    utc.stop()
    stamp = re.match(r"\[\d+\] (\d{4}/\d\d/\d\d \d\d:\d\d)", utc.text())
    now = time.time()
    assert stamp and stamp[1] in [time.strftime("%Y/%m/%d %H:%M", time.gmtime(now - ago)) for ago in (0, 60)]


def test_rotation(logged: Make) -> None:
    log = logged("log_size_limit: 2000\nlog_max_num: 3\ndebug: true")
    for number in range(60):
        client = Raw(log.server.port).hello(name=f"client-{number}")
        client.close()
    log.wait(r'Rotated log, backup saved as "(.*)"')
    log.stop()
    backups = sorted(log.folder.glob("server.log.*"))
    assert 1 <= len(backups) <= 2
    for backup in backups:
        assert re.fullmatch(r"server\.log\.\d{4}(\.\d\d){5}\.\d{1,9}", backup.name)
        assert 2000 < os.stat(backup).st_size < 2600
        assert 'Rotated log, backup saved as "' in backup.read_text().splitlines()[0]
    assert os.stat(log.file).st_size < 2600
    assert all(LINE.fullmatch(line) for line in log.all_lines())


@pytest.mark.parametrize("kind", [ONE, FOUR], ids=lambda each: each.name, scope="session")
class TestOurs:
    """What nats-server has not, or does less well."""

    def test_many_lines_of_many_processes_are_all_there(self, logged: Make) -> None:
        log = logged("log_size_limit: 100000\ntrace: true")
        clients = [Raw(log.server.port).hello() for _ in range(8)]
        for number in range(500):
            for index, client in enumerate(clients):
                client.send(
                    b"PUB from.%d %d\r\n%s\r\n"
                    % (index, 4 + number % 90, b"%04d" % number + b"x" * (number % 90))
                )
        for client in clients:
            client.expect_pong()
            client.close()
        log.stop()
        lines = log.all_lines()
        assert all(LINE.fullmatch(line) for line in lines)
        text = "\n".join(lines)
        for index in range(8):
            heard = re.findall(rf"<<- \[PUB from\.{index} (\d+)\]", text)
            assert [int(size) for size in heard] == [4 + number % 90 for number in range(500)]
        assert text.count("<<- MSG_PAYLOAD: [") == 4000
        assert len(list(log.folder.glob("server.log.*"))) >= 4

    def test_json(self, logged: Make) -> None:
        log = logged("log_format: json\ndebug: true\nlogtime_utc: true")
        log.wait("(Server is ready)")
        client = Raw(log.server.port).hello(name='na"me', lang="go", version="1", user="ann")
        client.send(b"PUB x\r\n").read_eof()
        log.wait("(Client connection closed)")
        log.stop()
        lines = [json.loads(line) for line in log.text().splitlines()]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"]) for line in lines)
        assert {line["pid"] for line in lines} == {log.server.pid}
        closed = next(line for line in lines if line["msg"].startswith("Client connection closed"))
        assert closed["level"] == "debug" and closed["cid"] == 1 and closed["user"] == "$G/user:ann"
        assert closed["name"] == 'v1:go:na"me' and closed["client"].startswith("127.0.0.1:")
        assert lines[-1]["msg"] == "Server Exiting.." and lines[-1]["level"] == "info"

    def test_a_full_disk_stops_nobody_and_is_reported(self, logged: Make) -> None:
        def small_files() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as on a full disk, an error is all there is

        log = logged("trace: true", preexec=small_files)
        client = Raw(log.server.port).hello()
        for _ in range(100):
            client.send(b"PUB long.enough.to.fill.it 5\r\nhello\r\n").expect_pong()
        log.server.log.wait_for(r"Log file .* cannot be written: file too large; the server goes on")
        assert os.stat(log.file).st_size <= 9000
        client.expect_pong()
        os.truncate(log.file, 100)  # somebody made room
        client.send(b"PUB again 1\r\nx\r\n").expect_pong()
        lost = int(str(log.wait(r"\[ERR\] (\d+) log lines were lost: file too large")))
        assert 100 < lost < 500
        client.close()
        log.stop()
        lines = log.text()[100:].splitlines()
        assert "log lines were lost" in lines[1]
        assert all(LINE.fullmatch(line) for line in lines[1:])

    def test_a_log_that_nobody_reads_stops_nobody(self, kind: Kind, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        conf = tmp_path / "server.conf"
        port = free_port()
        conf.write_text(config_text(kind, f'log_file: "{pipe}"\ntrace: true', port=port))
        server = launch(kind, ["-c", str(conf)])
        try:
            until(lambda: can_connect(port))
            client = Raw(port).hello()
            payload = b"x" * 10_000
            for _ in range(300):  # some 6 MB of log: more than pipes and sockets hold
                client.send(b"PUB x 10000\r\n%s\r\n" % payload)
            client.timeout = 30
            client.expect_pong()
            client.close()
            server.process.send_signal(signal.SIGTERM)
            drain(reader, server)
            assert server.wait_exit() == 0
        finally:
            os.close(reader)
            server.destroy()

    def test_remote_syslog(self, kind: Kind) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
            daemon.bind(("127.0.0.1", 0))
            daemon.settimeout(20)
            url = f"udp://127.0.0.1:{daemon.getsockname()[1]}"
            server = launch(kind, ["-a", "127.0.0.1", "-p", "-1", "-D", "-r", url])
            try:
                seen = b""
                while b"Server is ready" not in seen:
                    message = daemon.recv(4096)
                    assert re.fullmatch(
                        rb"<[457]>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S+ \S+ spline-server\[\d+\]: .*\n", message
                    ), message
                    seen += message
                assert b"<5>" in seen and b"<7>" in seen
                server.process.send_signal(signal.SIGTERM)
                assert server.wait_exit() == 0
            finally:
                server.destroy()

    def test_another_log_by_reload(self, logged: Make) -> None:
        log = logged()
        other = log.folder / "other.log"
        log.conf.write_text(config_text(log.kind, f'log_file: "{other}"\nlog_format: json'))
        log.signal(signal.SIGHUP)
        until(lambda: other.exists() and "Reloaded server configuration" in other.read_text())
        assert all(json.loads(line) for line in other.read_text().splitlines())
        log.conf.write_text(config_text(log.kind, 'log_file: "/nonexistent/x.log"'))
        log.signal(signal.SIGHUP)
        until(lambda: "error opening file: open /nonexistent/x.log" in other.read_text())
        log.stop()
        assert "Server Exiting.." in other.read_text()

    def test_slow_consumers_are_named(self, logged: Make) -> None:
        log = logged("max_pending: 100000\nmax_payload: 50000\nauthorization { user: u, password: p }")
        slow = Raw(log.server.port)
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.hello(user="u", **{"pass": "p"}, name="sleepy").send(b"SUB x 1\r\n").expect_pong()
        fast = Raw(log.server.port).hello(user="u", **{"pass": "p"})
        message = b"PUB x 50000\r\n" + b"y" * 50000 + b"\r\n"
        for _ in range(400):
            fast.send(message)
        log.wait(
            r'cid:\d+ - "sleepy" - "\$G/user:u" - (Slow Consumer Detected: MaxPending of 100000 Exceeded '
            r"\(account \$G, \d+ bytes pending, 1 subscriptions, \d+ messages sent\))"
        )
        fast.close()
        slow.close()
        log.stop()


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def can_connect(port: int) -> bool:
    """Does somebody listen there?"""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def drain(reader: int, server: Server) -> None:
    """Read the pipe until the server has ended."""
    while server.process.poll() is None:
        try:
            os.read(reader, 1 << 16)
        except BlockingIOError:
            time.sleep(0.01)
