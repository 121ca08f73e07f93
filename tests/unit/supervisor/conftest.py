"""Servers with fake workers."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.harness import ROOT, Kind, Server

HERE = Path(__file__).resolve().parent


class FakeServer(Server):
    """A running server whose workers do what their orders say (see ``fake_child.py``)."""

    def run_dir(self) -> str:
        """The run directory, as the first child saw it."""
        return self.log.wait_for(r"^child \d+ \d+ \d+ \w+ (\S+)")[1]

    def child(self, index: int, serial: int | None = None) -> int:
        """The pid of a start of a worker (its first, unless a serial is given); waits for it."""
        return int(self.log.wait_for(rf"^child {index} {serial or r'[0-9]+'} (\d+) ")[1])

    def ask(self, host: str = "127.0.0.1") -> tuple[int, int, int, int]:
        """Connect as a client: (index, serial, pid, port) of the worker that answers."""
        with socket.create_connection((host, self.port), timeout=10) as client, client.makefile() as lines:
            index, serial, pid, port = map(int, lines.readline().split())
            return index, serial, pid, port


class Start(Protocol):
    """Starts a server, with orders for its workers."""

    def __call__(
        self,
        orders: dict[str, str] | None = None,
        *,
        options: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        preexec: Callable[[], None] | None = None,
        ready: bool = True,
    ) -> FakeServer: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers with two workers on a free port; whatever a test leaves behind is removed."""
    servers: list[FakeServer] = []

    def start_one(
        orders: dict[str, str] | None = None,
        *,
        options: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        preexec: Callable[[], None] | None = None,
        ready: bool = True,
    ) -> FakeServer:
        folder = Path(tempfile.mkdtemp(prefix="supervisor-test-"))
        for name, words in (orders or {}).items():
            (folder / name).write_text(words)
        settings = {
            "host": "127.0.0.1",
            "port": -1,
            "workers": 2,
            "max_connections": 100,
            "no_system_account": True,  # there is no gateway, which would look for real workers
        } | (options or {})
        (folder / "options").write_text(json.dumps(settings))
        arguments = json.dumps({"options": settings, "policy": policy or {}})
        process = subprocess.Popen(
            [sys.executable, str(HERE / "run_fake.py"), arguments],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "FAKE_ORDERS": str(folder),
                "FAKE_OPTIONS": str(folder / "options"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=preexec,
        )
        server = FakeServer(Kind("fake", 2), process, folder)
        servers.append(server)
        if ready:
            server.wait_ready()
        return server

    yield start_one
    for server in servers:
        server.destroy()


@pytest.fixture
def line_format() -> re.Pattern[str]:
    """A log line: (pid, level, text)."""
    return re.compile(r"\[(\d+)\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[(INF|DBG|WRN|ERR|FTL|TRC)\] (.*)")
