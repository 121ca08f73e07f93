"""Events of the system account when processes die, or are slow."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests import probe
from tests.harness import FOUR, ONE, Kind, Raw, Server, start
from tests.server.listener import APP, SYSTEM, Listener

STATSZ = "$SYS.SERVER.*.STATSZ"
KILLED = "was killed by SIGKILL"


def gateway(server: Server) -> int:
    """The gateway's process."""
    (pid,) = [pid for pid in probe.children(server.pid) if "broker.gateway" in probe.command_of(pid)]
    return pid


@pytest.fixture(params=[ONE, FOUR], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of the test's own."""
    kind: Kind = request.param
    running = start(kind, SYSTEM)
    try:
        gateway_is_ready(running)
        yield running
        running.stop(allow=f"{KILLED}|gave no sign of life|Fatal Python error|Aborted|File |thread|Thread")
    finally:
        running.destroy()


def gateway_is_ready(server: Server) -> None:
    """Wait for the first heartbeat."""
    listener = Listener(server, STATSZ)
    listener.next()
    listener.leave()


def test_a_worker_dies() -> None:
    """Its clients are gone, and whoever had been told of them is told so; the account's number is right again."""
    server = start(FOUR, SYSTEM)
    try:
        gateway_is_ready(server)
        listener = Listener(server)
        home = server.worker_of(listener.raw.sock)
        clients = [Raw(server.port).hello(**APP, name=f"n{i}") for i in range(16)]
        for _ in clients:
            listener.next("$SYS.ACCOUNT.APP.CONNECT")
        victim = next(pid for pid in server.workers() if pid != home)
        lost = {client.info["client_id"] for client in clients if server.worker_of(client.sock) == victim}
        assert lost
        os.kill(victim, signal.SIGKILL)
        counted = listener.next("$SYS.SERVER.ACCOUNT.APP.CONNS").body
        assert counted["conns"] == len(clients) - len(lost)
        gone = [listener.next("$SYS.ACCOUNT.APP.DISCONNECT").body for _ in lost]
        assert {event["client"]["id"] for event in gone} == lost
        assert {event["reason"] for event in gone} == {"Server Shutdown"}
        for client in clients:
            client.close()
        left = [listener.next("$SYS.ACCOUNT.APP.DISCONNECT").body for _ in range(len(clients) - len(lost))]
        assert not lost & {event["client"]["id"] for event in left}
        server.stop(allow=KILLED)
    finally:
        server.destroy()


def test_the_gateway_dies(server: Server) -> None:
    """Nothing is told twice, the numbers go on, and what happens meanwhile is told later."""
    listener = Listener(server)
    first = Raw(server.port).hello(**APP, name="first")
    before = listener.next("$SYS.ACCOUNT.APP.CONNECT").body
    os.kill(gateway(server), signal.SIGKILL)
    server.log.wait_for(KILLED)
    second = Raw(server.port).hello(**APP, name="second")
    heard = listener.upto("$SYS.ACCOUNT.APP.CONNECT", STATSZ)
    assert [event.subject.rpartition(".")[2] for event in heard] == ["CONNS", "CONNS", "CONNECT"]
    assert heard[0].body["conns"] == 2 and heard[-1].body["client"]["name"] == "second"
    assert heard[0].body["server"]["seq"] > before["server"]["seq"] and heard[-1].body["id"] != before["id"]
    first.leave()
    second.leave()
    gone = [listener.next("$SYS.ACCOUNT.APP.DISCONNECT").body["client"]["name"] for _ in range(2)]
    assert sorted(gone) == ["first", "second"]  # of two workers, perhaps
    listener.leave()


def test_the_gateway_hangs(server: Server) -> None:
    """Clients come and go as fast as ever; it is replaced, and events go on."""
    listener = Listener(server)
    pid = gateway(server)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    for i in range(100):
        Raw(server.port).hello(**APP, name=f"n{i}").leave()
    assert time.monotonic() - began < 20
    server.log.wait_for(r"\[ERR\] Gateway \(pid \d+\) gave no sign of life")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    server.log.wait_for(rf"Gateway \(pid (?!{pid}\b)\d+\) is ready")
    last = Raw(server.port).hello(**APP, name="last")
    names = []
    while "last" not in names:
        names.append(listener.next("$SYS.ACCOUNT.APP.CONNECT").body["client"]["name"])
    assert len(names) == len(set(names))
    last.leave()
    listener.leave()


def test_a_flood_of_clients() -> None:
    """With somebody who listens to everything, each of many clients that come and go at a time is told of, once."""
    server = start(ONE, SYSTEM)
    try:
        gateway_is_ready(server)
        listener = Listener(server, "$SYS.ACCOUNT.APP.*", timeout=60.0)
        for _ in range(5):
            clients = [Raw(server.port, info=False).send_connect(verbose=False, **APP) for _ in range(200)]
            for client in clients:
                client.close()
        told: dict[str, set[int]] = {"CONNECT": set(), "DISCONNECT": set()}
        while len(told["DISCONNECT"]) < 1000:
            heard = listener.next()
            kind, client_id = heard.subject.rpartition(".")[2], heard.body["client"]["id"]
            assert client_id not in told[kind] and (kind == "CONNECT" or client_id in told["CONNECT"])
            told[kind].add(client_id)
        server.stop()
    finally:
        server.destroy()
