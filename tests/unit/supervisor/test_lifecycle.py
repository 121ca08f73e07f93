"""From the first log line to the last: start, stop, exit codes, what is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from supervisor.banner import is_bcrypt

from .conftest import FakeServer, Start

pytestmark = pytest.mark.timeout(60)


def texts(server: FakeServer, line_format: re.Pattern[str]) -> list[tuple[str, str]]:
    """The (level, text) of the supervisor's lines, which all carry its pid."""
    lines = [match for line in server.log.text.splitlines() if (match := line_format.fullmatch(line))]
    assert {int(match[1]) for match in lines} == {server.pid}
    return [(match[2], match[3]) for match in lines]


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "interrupt"), (signal.SIGTERM, "terminated")])
def test_start_and_stop(start: Start, line_format: re.Pattern[str], number: int, name: str) -> None:
    server = start(options={"server_name": "ann"})
    run_dir = Path(server.run_dir())
    assert run_dir.stat().st_mode & 0o777 == 0o700
    began = time.monotonic()
    server.process.send_signal(number)
    assert server.wait_exit() == 0
    assert time.monotonic() - began < 1.0
    assert not run_dir.exists()
    lines = texts(server, line_format)
    identity = lines.pop(3)
    assert re.fullmatch(r"  ID:       N[A-Z2-7]{55}", identity[1])
    assert lines == [
        ("INF", "Starting spline-server"),
        ("INF", "  Version:  0.1.0"),
        ("INF", "  Name:     ann"),
        ("INF", f"Listening for client connections on 127.0.0.1:{server.port}"),
        ("INF", "Server is ready"),
        ("INF", f'Trapped "{name}" signal'),
        ("INF", "Initiating Shutdown..."),
        ("INF", "Server Exiting.."),
    ]


def test_all_workers_share_the_listeners(start: Start) -> None:
    server = start(options={"host": "0.0.0.0"})
    for host in ("127.0.0.1", "::1") if socket.has_ipv6 else ("127.0.0.1",):
        index, serial, pid, port = server.ask(host)
        assert pid == server.child(index)
        assert serial == index + 1
        assert port == server.port


def test_workers_are_introduced_when_all_are_bound(start: Start) -> None:
    server = start(options={"workers": 3})
    for index in range(3):
        heard = server.log.wait_for(rf"^heard {index} (.*)")
        assert heard[1] == '{"op": "peers", "peers": [[0, 1], [1, 2], [2, 3]]}'


def test_the_pid_file_stays(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    server = start(options={"pid_file": str(file)})
    assert file.read_bytes() == str(server.pid).encode()
    server.stop()
    assert file.read_bytes() == str(server.pid).encode()


def test_signals_that_have_nothing_to_do_change_nothing(start: Start) -> None:
    server = start()
    for number, name, answer in (
        (signal.SIGHUP, "hangup", "can only reload config when a file is provided using -c or --config"),
        (signal.SIGUSR1, "user defined signal 1", "File log re-open ignored, not a file logger"),
    ):
        mark = server.log.mark()
        server.process.send_signal(number)
        server.log.wait_for(f'Trapped "{name}" signal', since=mark)
        server.log.wait_for(answer, since=mark)
    assert server.ask()[1] <= 2
    server.stop()


def test_lame_duck_mode_without_clients_is_the_end(start: Start) -> None:
    server = start()
    server.process.send_signal(signal.SIGUSR2)
    assert server.wait_exit() == 0
    text = server.log.text
    assert text.index("Entering lame duck mode, stop accepting new clients") < text.index(
        "Initiating Shutdown..."
    )


def test_stop_while_starting(start: Start) -> None:
    server = start({"1": "late"}, ready=False)
    server.log.wait_for("heard 0 ")
    server.stop()
    assert "Server is ready" not in server.log.text


def test_a_child_that_does_not_stop_is_killed(start: Start) -> None:
    server = start({"1": "deaf"}, policy={"term_after": 0.1, "kill_after": 0.3})
    server.stop()
    assert "Server Exiting.." in server.log.text


def test_a_stopped_child_is_killed(start: Start) -> None:
    server = start(policy={"term_after": 0.1, "kill_after": 0.3})
    os.kill(server.child(1), signal.SIGSTOP)
    server.stop()


def test_children_end_with_their_supervisor(start: Start) -> None:
    server = start()
    run_dir = server.run_dir()
    server.process.kill()
    assert server.process.wait(10) == -signal.SIGKILL
    server.log.wait_end(5)  # they all had it open
    os.rmdir(run_dir)  # nobody was left who could remove it


def test_a_terminals_interrupt_is_for_the_supervisor(start: Start) -> None:
    server = start()
    for index in range(2):
        assert os.getpgid(server.child(index)) != os.getpgid(server.pid)


@pytest.mark.parametrize(
    ("password", "hashed"),
    [
        ("$2a$11$abcdefghijklmnopqrstuv", True),
        ("$2y$04$", True),
        ("$2c$11$abc", False),
        ("$2a$1$abc", False),
        ("$2a$1", False),
        ("secret", False),
        ("", False),
    ],
)
def test_what_a_bcrypt_hash_looks_like(password: str, hashed: bool) -> None:
    assert is_bcrypt(password) is hashed
