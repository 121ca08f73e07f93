"""Random accounts that are changed by reloads under traffic: what is published after a reload obeys the new configuration."""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import probe
from tests.harness import FOUR, ONE, Kind, Raw, Server, config_text, start
from tests.server import graphs as model
from tests.server.graphs import Graph, config, graphs, read_to_the_end
from tests.server.test_reload import descriptors

EXAMPLES: Final = int(os.environ.get("SPLINE_GRAPHS", "5"))
NOISE: Final = b"".join(b"PUB %s 5\r\nnoise\r\n" % subject.encode() for subject in model.SUBJECTS)


@st.composite
def histories(draw: st.DrawFn) -> list[Graph]:
    """Graphs of the same accounts and subscriptions, with other imports and mappings."""
    first = draw(graphs())
    history = [first]
    for _ in range(draw(st.integers(1, 4))):
        other = draw(graphs().filter(lambda graph: len(graph.imports) == len(first.imports)))
        history.append(Graph(other.imports, other.mappings, first.subscriptions, other.publishes))
    return history


def reload_under(server: Server, text: str, traffic: list[Raw]) -> None:
    """Reload while these clients publish what nobody counts."""
    (server.folder / "server.conf").write_text(config_text(server.kind, text))
    done = threading.Event()

    def publish() -> None:
        while not done.is_set():
            for client in traffic:
                client.send(NOISE)
                client.expect_pong()

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        mark = server.log.mark()
        server.process.send_signal(signal.SIGHUP)
        found = server.log.wait_for("Reloaded server configuration|Failed to reload.*", since=mark)
    finally:
        done.set()
        publishing.join()
    assert found[0].startswith("Reloaded"), found[0]


def publish(graph: Graph, turn: int, publishers: list[Raw]) -> None:
    """What counts, and the ends."""
    for number, (account, subject) in enumerate(graph.publishes):
        payload = f"{turn}/{account}:{number}"
        publishers[account].send(f"PUB {subject} {len(payload)}\r\n{payload}\r\n".encode())
    for publisher in publishers:
        publisher.send(b"PUB _end 0\r\n\r\n")


def collect(
    turn: int, listeners: list[tuple[int, Raw]], accounts: int
) -> list[tuple[int, list[tuple[str, str, str]]]]:
    """What counts of what was heard."""
    heard = []
    for account, client in listeners:
        found = read_to_the_end(client, accounts)
        prefix = f"{turn}/"
        late = {payload for _, _, payload in found if payload != "noise" and not payload.startswith(prefix)}
        assert not late
        heard.append((account, [(a, b, c.removeprefix(prefix)) for a, b, c in found if c.startswith(prefix)]))
    return heard


def play(kind: Kind, history: list[Graph]) -> None:
    """Let a server live through it."""
    first, everybody = history[0], range(len(history[0].imports))
    server = start(kind, config(first))
    clients: list[Raw] = []
    try:
        listeners: list[tuple[int, Raw]] = []
        for account in everybody:
            for sid, (pattern, group) in enumerate(first.subscriptions[account]):
                client = Raw(server.port, timeout=30.0).hello(user=f"u{account}")
                clients.append(client)
                listeners.append((account, client))
                client.send(f"SUB {pattern} {group} {sid}\r\nSUB _end end\r\nSUB _end.* end.\r\n".encode())
                client.expect_pong()
        publishers = [Raw(server.port, timeout=30.0).hello(user=f"u{account}") for account in everybody]
        noisy = [Raw(server.port, timeout=30.0).hello(user=f"u{account}") for account in everybody]
        clients += publishers + noisy
        for turn, graph in enumerate(history):
            if turn:
                reload_under(server, config(graph), noisy)
            publish(graph, turn, publishers)
            model.check(graph, collect(turn, listeners, len(publishers)))
        while clients:
            clients.pop().leave()
        server.stop()
    finally:
        server.destroy()


def test_random_changes(kind: Kind) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(histories())
    def run(history: list[Graph]) -> None:
        play(kind, history)

    run()


# How often accounts are changed. The whole of it: SPLINE_RELOADS=1000.
RELOADS: Final = int(os.environ.get("SPLINE_RELOADS", "30"))
EXPORTER: Final = 'E { users: [{user: e}]\n exports: [{stream: "st.>"}, {service: "q.*"}, {service: r}] }'


def turned(turn: int) -> str:
    """What I imports, and what else there is, differs from turn to turn; an account comes back now and then."""
    imports = [
        '{stream: {account: E, subject: "st.>"}}, {service: {account: E, subject: "q.*"}}',
        '{stream: {account: E, subject: "st.*"}, prefix: in}, {service: {account: E, subject: r}, to: q.a}',
        '{service: {account: E, subject: "q.*"}, to: "x.$1"}',
    ][turn % 3]
    mappings = f'"m.*": "n{turn % 5}.$1"'
    limits = f"limits {{ max_subs: {50 + turn % 2} }}"
    importer = f"I {{ users: [{{user: i}}]\n imports: [{imports}]\n mappings {{ {mappings} }}\n {limits} }}"
    more = "\n".join(f"N{number} {{ users: [{{user: n{number}}}] }}" for number in range(turn % 7))
    return f"accounts {{\n{EXPORTER}\n{importer}\n{more}\n}}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("ours", [ONE, FOUR], ids=lambda each: each.name)
def test_many_changes_leave_nothing_behind(ours: Kind) -> None:
    server = start(ours, turned(0))
    clients: list[Raw] = []
    try:
        exporters = [Raw(server.port, timeout=30.0).hello(user="e", headers=True) for _ in range(4)]
        importers = [
            Raw(server.port, timeout=30.0).hello(user="i", headers=True, no_responders=True) for _ in range(4)
        ]
        clients = exporters + importers
        for client in exporters:
            client.send(b"SUB q.* g 1\r\nSUB r g 2\r\n").expect_pong()
        for client in importers:
            client.send(b"SUB st.> 1\r\nSUB in.> 2\r\nSUB box 9\r\n").expect_pong()
        before: dict[int, tuple[int, int]] = {}
        for turn in range(RELOADS):
            reload_under(server, turned(turn), [])
            for client in clients:
                client.send(b"PUB st.a 1\r\nx\r\nPUB q.a box 1\r\n?\r\n")
            for client in clients:
                client.send(b"PING\r\n").read_until(b"PONG\r\n")
            if turn == min(RELOADS // 2, 100):
                everybody = [server.pid, *probe.children(server.pid)]  # with the gateway
                before = {pid: (probe.resident(pid), descriptors(pid)) for pid in everybody}
        for pid, (memory, opened) in before.items():
            assert descriptors(pid) == opened
            grown = probe.resident(pid) - memory
            assert grown < 2_000_000, f"{pid} grew by {grown} bytes"
        for client in clients:
            client.close()
        server.check()
        server.stop()
    finally:
        server.destroy()
