"""Lame duck mode: clients are told, then sent away one by one."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import FOUR, ONE, ROOT, Kind, Raw, Server, start

LDM = 'lame_duck_duration: "30s"\nlame_duck_grace_period: "1s"\ndebug: true'
RUNNER = Path(__file__).with_name("run_options.py")


@pytest.fixture
def duck(kind: Kind) -> Iterator[Server]:
    """A server that is about to go."""
    server = start(kind, LDM)
    yield server
    server.destroy()


def test_the_way_out(duck: Server) -> None:
    told = Raw(duck.port).hello(protocol=1)
    late = Raw(duck.port).send_connect(verbose=False, protocol=1)
    old = Raw(duck.port).hello(protocol=0)
    mark = duck.log.mark()
    began = time.monotonic()
    duck.process.send_signal(signal.SIGUSR2)
    info = told.expect_info()
    assert info["ldm"] is True and "connect_info" not in info and info["client_id"] == told.info["client_id"]
    duck.log.wait_for(r'\[INF\] Trapped "user defined signal 2" signal', since=mark)
    duck.log.wait_for(r"\[INF\] Entering lame duck mode, stop accepting new clients", since=mark)
    with pytest.raises(ConnectionRefusedError):
        Raw(duck.port)
    old.expect_pong()  # it was not told
    duck.process.send_signal(signal.SIGTERM)  # is ignored
    duck.process.send_signal(signal.SIGUSR2)  # once is enough
    duck.log.wait_for('Trapped "terminated" signal', since=mark)
    late.send(b"PING\r\n").expect(b"PONG\r\n")
    assert late.expect_info()["connect_info"] is True
    told.send(b"SUB x 1\r\n").expect_pong()
    old.send(b"PUB x 1\r\ny\r\n").expect_pong()
    told.expect(b"MSG x 1 1\r\ny\r\n")
    for client in (told, old):
        client.expect_eof()
    # Its worker may have heard of it only now: then it was told afterwards.
    assert late.read_eof().count(b'"ldm":true') <= 1
    assert duck.wait_exit() == 0
    assert 1.0 <= time.monotonic() - began < 10
    text = duck.log.text
    assert text.count("Entering lame duck mode") == 1
    assert len(re.findall(r"Client connection closed: Server Shutdown", text)) == 3
    order = [
        text.index(words)
        for words in ("Closing existing clients", "Initiating Shutdown...", "Server Exiting..")
    ]
    assert order == sorted(order)


def test_nobody_is_there(duck: Server) -> None:
    duck.process.send_signal(signal.SIGUSR2)
    assert duck.wait_exit() == 0
    assert "Closing existing clients" not in duck.log.text


def test_an_interrupt_ends_it_at_once(duck: Server) -> None:
    client = Raw(duck.port).hello(protocol=1)
    duck.process.send_signal(signal.SIGUSR2)
    assert client.expect_info()["ldm"] is True
    duck.process.send_signal(signal.SIGINT)
    client.expect_eof()
    assert duck.wait_exit() == 0
    assert "Closing existing clients" not in duck.log.text


def run(**options: Any) -> Server:
    """A server with options that a file could not give."""
    settings = {"host": "127.0.0.1", "port": -1, **options}
    process = subprocess.Popen(
        [sys.executable, str(RUNNER), json.dumps(settings)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    folder = Path(tempfile.mkdtemp(prefix="server-test-"))
    return Server(Kind("options", options["workers"]), process, folder)


CLIENTS = 1000
CONNECT = b'CONNECT {"verbose":false,"protocol":1}\r\nSUB x 1\r\nPING\r\n'


class Mover:
    """A client that moves to another server when it is told to."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.sock.sendall(CONNECT)
        self.heard = b""
        self.told_at = 0.0
        self.closed_at = 0.0

    def settle(self) -> None:
        """Wait until it has been introduced: two INFO lines and a PONG."""
        while not re.search(rb"PONG\r\nINFO .*\r\n", self.heard):
            data = self.sock.recv(4096)
            assert data, self.heard
            self.heard += data
        self.heard = b""
        self.sock.setblocking(False)

    def read(self) -> bool:
        """Read what is there; False at the end."""
        try:
            data = self.sock.recv(4096)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed_at = time.monotonic()
            return False
        self.heard += data
        if b'"ldm":true' in data and not self.told_at:
            self.told_at = time.monotonic()
        return True


@pytest.mark.parametrize("ours", [ONE, FOUR], ids=lambda each: each.name)
def test_a_thousand_clients_move(ours: Kind) -> None:
    old = run(workers=ours.workers, lame_duck_duration=4.0, lame_duck_grace_period=1.0)
    new = run(workers=ours.workers)
    movers: list[Mover] = []
    try:
        old.wait_ready()
        new.wait_ready()
        movers = [Mover(old.port) for _ in range(CLIENTS)]
        for mover in movers:
            mover.settle()
        began = time.monotonic()
        old.process.send_signal(signal.SIGUSR2)
        arrived: list[Mover] = []
        with selectors.DefaultSelector() as selector:
            for mover in movers:
                selector.register(mover.sock, selectors.EVENT_READ, mover)
            left = CLIENTS
            while left:
                assert time.monotonic() - began < 60
                for key, _ in selector.select(1.0):
                    if key.data.read():
                        continue
                    left -= 1
                    selector.unregister(key.data.sock)
                    key.data.sock.close()
                    arrived.append(Mover(new.port))
        assert old.wait_exit() == 0
        assert all(mover.told_at and mover.told_at <= mover.closed_at for mover in movers)
        closed = sorted(mover.closed_at - began for mover in movers)
        assert closed[0] >= 1.0  # not within the grace period
        # Spread over the time, not in bursts: three pauses of four on the average.
        assert 1.3 < closed[-1] - closed[0] < 20
        assert closed[CLIENTS // 2] - closed[0] > 0.25 * (closed[-1] - closed[0])
        for mover in arrived:
            mover.settle()
        assert len(arrived) == CLIENTS
        for mover in arrived:
            mover.sock.close()
        new.stop()
    finally:
        for mover in movers:
            mover.sock.close()
        old.destroy()
        new.destroy()
