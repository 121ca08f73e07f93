"""Random accounts that are changed by reloads under traffic: what is published after a reload obeys the new configuration."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from random import Random
from typing import Final

import pytest

from tests import probe
from tests.harness import FOUR, ONE, Kind, Raw, Server, config_text, start
from tests.server.account_cases import SUBJECTS, config, exports, imports, mappings, user_name
from tests.server.account_cases import accounts as drawn
from tests.server.account_clients import HOPS
from tests.server.account_model import Account, Permissions, World
from tests.server.test_account_graphs import CASES, SEED, Sent, Traffic, without_responses
from tests.server.test_reload import descriptors

CHANGES: Final = 3
NOISE: Final = "noise"
_NOISE: Final = b"".join(b"PUB %s 5\r\nnoise\r\n" % one.encode() for one in SUBJECTS if "*" not in one)


def change(random: Random, made: list[Account]) -> None:
    """The same users; they share and map other things."""
    for number, account in enumerate(made):
        account.exports = exports(random, number, len(made))
    for number, account in enumerate(made):
        account.imports = imports(random, made, number)
        account.mappings = mappings(random)


def reload_under(server: Server, text: str, traffic: list[Raw]) -> None:
    """Reload while these clients publish what nobody counts."""
    (server.folder / "server.conf").write_text(config_text(server.kind, text))
    done = threading.Event()

    def publish() -> None:
        while not done.is_set():
            for client in traffic:
                client.send(_NOISE + b"PING\r\n").read_until(b"PONG\r\n")

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


def forget_noise(traffic: Traffic) -> None:
    """Wait until all of it has arrived."""
    for turn in range(2):
        for who in range(len(traffic.raw)):
            traffic.pong(who)
        traffic.fence.past(0 if turn else HOPS)
    del traffic.sent[NOISE]


def play(kind: Kind, seed: int) -> Counter[str]:
    """One server and its configurations; how much of what has happened."""
    random = Random(seed)
    made = drawn(random)
    for account in made:
        account.users = [*map(without_responses, account.users), Permissions()]
        account.default = without_responses(account.default)
    server = start(kind, config(World(made)))
    try:
        traffic = Traffic(server, made, random)
        noisy = [
            Raw(server.port, timeout=60.0).hello(
                user=user_name(number, len(made[number].users) - 1), headers=True
            )
            for number in range(len(made))
        ]
        for _ in range(CHANGES):
            traffic.burst()
            traffic.burst()
            change(random, made)
            traffic.sent[NOISE] = Sent(0, 0, "", "", None)
            reload_under(server, config(World(made)), noisy)
            forget_noise(traffic)
        traffic.burst()
        traffic.burst()
        for client in noisy:
            client.leave()
        traffic.close()
        server.stop()
    except BaseException as failure:
        failure.add_note(f"seed {seed}, {kind.name}")
        raise
    finally:
        server.destroy()
    return traffic.tally


@pytest.mark.parametrize("ours", [ONE, FOUR], ids=lambda each: each.name)
def test_random_changes(ours: Kind) -> None:
    tally: Counter[str] = Counter()
    for seed in range(SEED, SEED + CASES):
        tally += play(ours, seed)
    print(tally)
    assert tally["messages"] > 100 * CASES and tally["answers"] > 10 * CASES


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
