"""Requests of the system account when things go wrong: floods, processes that die or hang, several reloads at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Final

import pytest

from tests import probe
from tests.harness import FOUR, Kind, Raw, Server, start, until
from tests.server.system import Asker

CONFIG: Final = """accounts {
  $SYS { users: [ { user: sys, password: sys } ] }
  A { users: [ { user: a, password: a } ] }
  B { users: [ { user: b, password: b } ] }
}"""
PING: Final = "$SYS.REQ.SERVER.PING"


@pytest.fixture(scope="module", params=[FOUR], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that loses processes."""
    kind: Kind = request.param
    running = start(kind, CONFIG)
    try:
        yield running
        running.stop(allow="was killed by SIGKILL")
    finally:
        running.destroy()


def ask_as(server: Server, user: str) -> Asker:
    client = Raw(server.port, timeout=30)
    return Asker(client.hello(user=user, **{"pass": user}, headers=True, no_responders=True))


def gateway(server: Server) -> int:
    """The gateway's process, as soon as there is one."""
    found = until(
        lambda: [pid for pid in probe.children(server.pid) if "broker.gateway" in probe.command_of(pid)]
    )
    return int(found[0])


def test_a_gateway_that_died_is_replaced(server: Server) -> None:
    """Requests are answered again, and their numbers go on: others ignore what is not newer."""
    sys = ask_as(server, "sys")
    before = sys.ask(PING).json["server"]["seq"]
    mark = server.log.mark()
    os.kill(gateway(server), signal.SIGKILL)
    server.log.wait_for(r"Gateway \(pid \d+\) is ready", since=mark)
    assert sys.ask(PING).json["server"]["seq"] > before
    assert ask_as(server, "a").data("$SYS.REQ.USER.INFO")["user"] == "a"


def test_a_worker_that_hangs_holds_up_nobody_else(server: Server) -> None:
    """What must ask it waits for it, but not what comes after that."""
    sys = ask_as(server, "sys")
    home = server.worker_of(sys.raw.sock)
    stopped = next(pid for pid in server.workers() if pid != home)
    os.kill(stopped, signal.SIGSTOP)
    try:
        slow = {sys.send(f"{PING}.SUBSZ"), sys.send(f"{PING}.CONNZ")}
        quick = sys.send(f"{PING}.IDZ")
        where, answer = sys.answer()
        assert where == quick and answer.json["id"] == sys.server_id
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert {sys.answer()[0], sys.answer()[0]} == slow


def test_a_flood_of_requests(server: Server) -> None:
    """Whoever floods may lose answers, and delays nobody else: not its operator, nor other accounts."""
    loud = Raw(server.port, timeout=30).hello(user="a", **{"pass": "a"}, headers=True)
    request = b"PUB $SYS.REQ.USER.INFO in 0\r\n\r\nPUB $SYS.REQ.ACCOUNT.PING.CONNZ in 0\r\n\r\n"
    sys, other = ask_as(server, "sys"), ask_as(server, "b")
    loud.send(request * 10_000)
    loud.expect_pong()
    assert [entry["cid"] for entry in other.data(f"{PING}.CONNZ")["connections"]] == [other.cid]
    assert set(sys.ask("$SYS.REQ.SERVER.<id>.RELOAD").json) == {"server"}
    assert sys.ask(PING).json["statsz"]["connections"] >= 2
    assert sys.ask(f"{PING}.IDZ").json["id"] == sys.server_id
    server.check(allow="was killed by SIGKILL")


def test_several_reloads_at_once(server: Server) -> None:
    """Each is told what came of its own."""
    askers = [ask_as(server, "sys") for _ in range(5)]
    file = server.folder / "server.conf"
    good = file.read_text()
    asked = [(asker, asker.send("$SYS.REQ.SERVER.<id>.RELOAD")) for asker in askers]
    for asker, reply in asked:
        where, answer = asker.answer()
        assert where == reply and set(answer.json) == {"server"}, answer
    file.write_text(good + "\nwibble: 1\n")
    try:
        asked = [(asker, asker.send("$SYS.REQ.SERVER.<id>.RELOAD")) for asker in askers]
        for asker, reply in asked:
            where, answer = asker.answer()
            assert where == reply and 'unknown field "wibble"' in answer.json["error"]["description"]
    finally:
        file.write_text(good)


def test_a_reload_while_the_server_leaves() -> None:
    server = start(FOUR, CONFIG + '\nlame_duck_duration: "1h"\nlame_duck_grace_period: "1s"')
    try:
        sys = ask_as(server, "sys")
        server.process.send_signal(signal.SIGUSR2)
        server.log.wait_for("Entering lame duck mode")
        code, text = sys.error("$SYS.REQ.SERVER.<id>.RELOAD")
        assert (code, text) == (500, "the server is shutting down")
    finally:
        server.destroy()
