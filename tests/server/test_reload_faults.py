"""Children that are killed while accounts are being changed: whatever the moment, all obey the same configuration afterwards."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Final

import pytest

from tests import probe
from tests.harness import FOUR, Raw, config_text
from tests.server.crew import Crew
from tests.server.monitor import MONITOR, Monitor
from tests.server.test_reload import Operator
from tests.server.test_reload_accounts import FULL, accounts, user

# How often. The whole of it: SPLINE_KILLS=200.
KILLS: Final = int(os.environ.get("SPLINE_KILLS", "5"))
P: Final = {"pass": "p"}
EXPORTS: Final = 'exports: [{stream: "st.>"}, {service: svc}]'


def turned(turn: int) -> str:
    """I imports the stream by another name each time, may have so many clients, and there are other accounts beside it."""
    imports = f'[{{stream: {{account: E, subject: "st.>"}}, prefix: p{turn}}}, {{service: {{account: E, subject: svc}}}}]'
    limits = f"limits {{ max_connections: {5 + turn % 3} }}"
    others = {
        f"N{turn + number}": f"users: [{user(f'n{turn + number}')}]" for number in range(20 * (turn % 4))
    }
    importer = f"users: [{user('i')}]\nimports: {imports}\n{limits}"
    return accounts(E=f"users: [{user('e')}]\n{EXPORTS}", I=importer, **others) + MONITOR + "\n"


def obeys(operator: Operator, turn: int) -> None:
    """Every worker delivers as this configuration says, and together they let in as many as it says."""
    crew = Crew(operator.server)
    importers = crew.place(0, 1, 2, 3, user="i", headers=True, no_responders=True, **P)
    exporters = crew.place(0, 1, 2, 3, user="e", headers=True, **P)
    for client in importers:
        client.send(b"SUB *.st.> 1\r\nSUB box 2\r\n").expect_pong()
    for client in exporters:
        client.send(b"SUB svc 1\r\n").expect_pong()
        client.send(b"PUB st.a 1\r\nx\r\n").expect_pong()
    for client in importers:
        client.expect(b"MSG p%d.st.a 1 1\r\nx\r\n" % turn * 4)
        client.send(b"PUB svc box 1\r\n?\r\n")
    for client in exporters:
        for _ in importers:
            words = client.read_until(b"\r\n").split()
            assert words[:3] == [b"HMSG", b"svc", b"1"] and words[3].startswith(b"_R_."), words
            client.take(int(words[-1]) + 2)
    more: list[Raw] = []
    while len(more) < 5:
        client = Raw(operator.server.port)
        more.append(client)
        if client.send_connect(verbose=False, user="i", **P).send(b"PING\r\n").read_until(b"\r\n") == FULL:
            break
    assert len(importers) + len(more) - 1 == 5 + turn % 3
    for client in more:
        client.close()
    crew.close()


def reload_and_kill(operator: Operator, config: str, victim: int, after: float) -> str:
    """Reload, and kill a child so many seconds later (or earlier); returns the line that says how it went."""
    operator.file.write_text(config_text(operator.server.kind, config))
    mark = operator.server.log.mark()
    if after < 0:
        os.kill(victim, signal.SIGKILL)
        time.sleep(-after)
    operator.server.process.send_signal(signal.SIGHUP)
    if after >= 0:
        time.sleep(after)
        os.kill(victim, signal.SIGKILL)
    return operator.server.log.wait_for(
        r"\[(?:INF|ERR)\] ((?:Reloaded server configuration|Failed to reload).*)", since=mark
    )[1]


@pytest.mark.timeout(900)
def test_children_die_around_a_reload() -> None:
    seed = random.randrange(1 << 30)
    draw = random.Random(seed)
    operator = Operator(FOUR, turned(0))
    server = operator.server
    monitor = Monitor(server)
    try:
        for turn in range(1, KILLS + 1):
            workers = server.workers()
            victim = gateway(operator) if turn % 5 == 0 else workers[0]  # the one that has lived longest
            mark = server.log.mark()
            line = reload_and_kill(operator, turned(turn), victim, draw.uniform(-0.02, 0.06))
            assert line.startswith("Reloaded server configuration"), (seed, turn, line)
            server.log.wait_for(rf"\(pid {victim}\) was killed", since=mark)
            again = r"Worker \d+" if victim in workers else "Gateway"
            server.log.wait_for(rf"{again} \(pid \d+\) is ready", since=mark)
            obeys(operator, turn)
            names = {f"N{turn + number}" for number in range(20 * (turn % 4))} | {"$G", "$SYS", "E", "I"}
            empty = dict.fromkeys(names, 0)
            try:
                monitor.until(lambda empty=empty: connections(monitor) == empty)
            except AssertionError:
                assert connections(monitor) == empty, (seed, turn)
            assert set(monitor.json("/accountz")["accounts"]) == names
        assert monitor.json("/varz")["connections"] == 0
        assert monitor.json("/processz")["interest_drift"] == 0
        server.stop(allow="was killed")
    finally:
        server.destroy()


def gateway(operator: Operator) -> int:
    """The gateway process."""
    children = probe.children(operator.server.pid)
    return next(pid for pid in children if "broker.gateway" in probe.command_of(pid))


def connections(monitor: Monitor) -> dict[str, int]:
    """Of every account."""
    return {one["acc"]: one["conns"] for one in monitor.json("/accstatz?unused=1")["account_statz"]}
