"""Starts that fail: one FTL line, exit code 1, nothing left behind."""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from selectors import DefaultSelector
from typing import Any

import pytest

from broker.launch import Launch, write_launch
from broker.log import Log
from broker.options import Options
from supervisor.children import Children
from supervisor.errors import StartError
from supervisor.heartbeat import SharedPage
from supervisor.policy import Policy

from .conftest import FakeServer, Start

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def used_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def fail(start: Start, options: dict[str, Any], preexec: Callable[[], None] | None = None) -> FakeServer:
    """Start a server that must not get as far as starting a worker."""
    server = start(options=options, preexec=preexec, ready=False)
    assert server.wait_exit() == 1
    assert "child " not in server.log.text
    assert server.log.text.count("[FTL]") == 1
    return server


def test_port_in_use(start: Start, used_port: int, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text("1")  # the other server's
    server = fail(start, {"port": used_port, "pid_file": str(pid_file)})
    address = f"127.0.0.1:{used_port}"
    assert (
        f'[FTL] Error listening on port: {address}, "listen tcp {address}: bind: address already in use"\n'
        in server.log.text
    )
    assert pid_file.read_text() == "1"


def test_port_in_use_on_one_address_only(start: Start, used_port: int) -> None:
    server = fail(start, {"host": "0.0.0.0", "port": used_port})
    assert "bind: address already in use" in server.log.text


def test_no_such_port(start: Start) -> None:
    server = fail(start, {"port": 99999})
    assert (
        '[FTL] Error listening on port: 127.0.0.1:99999, "listen tcp: address 99999: invalid port"\n'
        in server.log.text
    )


def test_not_our_address(start: Start) -> None:
    server = fail(start, {"host": "192.0.2.77", "port": 4222})
    assert '"listen tcp 192.0.2.77:4222: bind: cannot assign requested address"' in server.log.text


def test_pid_file_cannot_be_written(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "none" / "pid"
    server = fail(start, {"pid_file": str(path)})
    assert f"[FTL] Could not write pidfile: open {path}: no such file or directory\n" in server.log.text


def limit(soft: int, hard: int) -> Callable[[], None]:
    """Sets the limits of file descriptors in a new process."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_few_descriptors(start: Start) -> None:
    server = fail(start, {}, limit(30, 30))
    assert "[FTL] Too few file descriptors: a process may open 30 (ulimit -Hn)" in server.log.text


def test_the_soft_limit_is_raised(start: Start) -> None:
    server = start(preexec=limit(30, 200))
    limits = Path(f"/proc/{server.child(1)}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["200", "200"]
    assert "[WRN]" not in server.log.text
    server.stop()


def test_more_connections_than_descriptors(start: Start) -> None:
    server = start(options={"max_connections": 1000}, preexec=limit(200, 200))
    assert "[WRN] max_connections is 1000, but 2 workers with 200 file descriptors each" in server.log.text
    server.stop()


def test_a_start_that_fails_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second child cannot be started: the first one is ended."""
    attempts = iter((True, False))

    def write_or_fail(launch: Launch) -> int:
        if next(attempts):
            return write_launch(launch)
        raise OSError(errno.EMFILE, "")

    monkeypatch.setattr("supervisor.children.write_launch", write_or_fail)
    page = SharedPage(2)
    launch = Launch(-1, 0, 2, "", Options(), "", os.getpid(), [], -1, page.descriptor, [], 2)
    with closing(page), DefaultSelector() as selector:
        argv = [sys.executable, "-c", "import time; time.sleep(60)"]
        children = Children(argv, launch, page, selector, Log(os.getpid()), Policy())
        with pytest.raises(StartError, match=r"^Could not start worker 1: too many open files$"):
            children.start()
        (pid,) = children.pids()
        children.kill()
        assert children.pids() == []
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_no_such_program(tmp_path: Path) -> None:
    page = SharedPage(1)
    launch = Launch(-1, 0, 1, "", Options(), "", os.getpid(), [], -1, page.descriptor, [], 2)
    with closing(page), DefaultSelector() as selector:
        children = Children([str(tmp_path / "no")], launch, page, selector, Log(os.getpid()), Policy())
        with pytest.raises(StartError, match=r"^Could not start worker 0: no such file or directory$"):
            children.start()
        assert children.living == 0
