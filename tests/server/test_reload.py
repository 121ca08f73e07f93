"""Reload: what a new configuration does to a running server and to the clients that are connected to it."""

from __future__ import annotations

import os
import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from tests import probe
from tests.certificates import Authority
from tests.harness import FOUR, ONE, Kind, Raw, Server, config_text, launch, start
from tests.server.monitor import Monitor, moment


class Operator:
    """Changes a server's configuration file and lets the server read it again."""

    def __init__(self, kind: Kind, config: str) -> None:
        self.server = start(kind, config)
        self.clients: list[Raw] = []

    @property
    def file(self) -> Path:
        """The configuration file."""
        return self.server.folder / "server.conf"

    def reload(self, config: str, *, raw: bool = False) -> str:
        """Write the file, send SIGHUP; returns the line that says how it went."""
        self.file.write_text(config if raw else config_text(self.server.kind, config))
        return self.hup()

    def hup(self) -> str:
        """Send SIGHUP; returns the line that says how it went."""
        mark = self.server.log.mark()
        self.server.process.send_signal(signal.SIGHUP)
        found = self.server.log.wait_for(
            r"\[(?:INF|ERR)\] ((?:Reloaded server configuration|Failed to reload).*)", since=mark
        )
        return found[1]

    def connect(self, **options: Any) -> Raw:
        """A client that has introduced itself."""
        client = Raw(self.server.port)
        self.clients.append(client)
        return client.hello(**options)

    def secure(self, context: ssl.SSLContext) -> tuple[ssl.SSLSocket, str]:
        """A client that speaks TLS, and the name in the server's certificate."""
        raw = Raw(self.server.port)
        assert raw.info["tls_required"] is True
        client = context.wrap_socket(raw.sock, server_hostname="127.0.0.1")
        client.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
        assert client.recv(100) == b"PONG\r\n"
        certificate = client.getpeercert()
        assert certificate is not None
        names = {key: value for parts in certificate["subject"] for key, value in parts}
        return client, names["commonName"]

    def refused(self, **options: Any) -> bytes:
        """What a client is told that may not come in."""
        client = Raw(self.server.port)
        self.clients.append(client)
        return client.send_connect(verbose=False, **options).read_eof()


@pytest.fixture
def operator(kind: Kind, request: pytest.FixtureRequest) -> Iterator[Operator]:
    """An operator of a server with the configuration that the test's module constant or mark names."""
    marker = request.node.get_closest_marker("config")
    made = Operator(kind, marker.args[0] if marker else "")
    try:
        yield made
        for client in made.clients:
            client.close()
        made.server.stop()
    finally:
        made.server.destroy()


USERS = "authorization { users: [%s] }"
ANN = '{user: ann, password: a, permissions: {publish: ">", subscribe: ">"}}'
BOB = "{user: bob, password: b}"
VIOLATION = b"-ERR 'Authorization Violation'\r\n"


@pytest.mark.config(USERS % f"{ANN}, {BOB}")
def test_a_user_that_is_gone_is_closed_without_a_word(operator: Operator) -> None:
    ann = operator.connect(user="ann", **{"pass": "a"})
    bob = operator.connect(user="bob", **{"pass": "b"})
    assert operator.reload(USERS % ANN).startswith("Reloaded server configuration")
    bob.expect_eof()
    ann.expect_pong()
    assert operator.refused(user="bob", **{"pass": "b"}) == VIOLATION


@pytest.mark.config(USERS % f"{ANN}, {BOB}")
def test_another_password_is_a_violation(operator: Operator) -> None:
    ann = operator.connect(user="ann", **{"pass": "a"})
    bob = operator.connect(user="bob", **{"pass": "b"})
    operator.reload(USERS % (ANN + ", {user: bob, password: other}"))
    bob.expect_eof(VIOLATION)
    ann.expect_pong()
    operator.connect(user="bob", **{"pass": "other"})


@pytest.mark.config(USERS % f"{ANN}, {BOB}")
def test_the_same_password_as_a_hash_keeps_the_client(operator: Operator) -> None:
    good = bcrypt.hashpw(b"b", bcrypt.gensalt(4)).decode()
    wrong = bcrypt.hashpw(b"c", bcrypt.gensalt(4)).decode()
    bob = operator.connect(user="bob", **{"pass": "b"})
    operator.reload(USERS % (ANN + f', {{user: bob, password: "{good}"}}'))
    bob.expect_pong()
    operator.reload(USERS % (ANN + f', {{user: bob, password: "{wrong}"}}'))
    bob.expect_eof(VIOLATION)


WIDE = (
    USERS
    % '{user: ann, password: a, permissions: {publish: [one, two], subscribe: [foo, bar, baz, "q.* g"]}}'
)
NARROW = USERS % "{user: ann, password: a, permissions: {publish: [one], subscribe: [foo, baz]}}"


@pytest.mark.config(WIDE)
def test_narrower_permissions_take_subscriptions_away(operator: Operator) -> None:
    ann = operator.connect(user="ann", **{"pass": "a"})
    ann.send(b"SUB foo 1\r\nSUB bar 2\r\nSUB baz 3\r\n").expect_pong()
    operator.reload(NARROW)
    ann.expect(b'-ERR \'Permissions Violation for Subscription to "bar" (sid "2")\'\r\n')
    operator.server.log.wait_for(r'Removed sub "bar" \(sid "2"\) for User "ann" - not authorized')
    ann.send(b"PUB one 1\r\nx\r\nPUB two 1\r\nx\r\n").expect(
        b"-ERR 'Permissions Violation for Publish to \"two\"'\r\n"
    )
    ann.send(b"SUB bar 4\r\n").expect(b"-ERR 'Permissions Violation for Subscription to \"bar\"'\r\n")
    operator.reload(WIDE)
    ann.send(b"PUB two 1\r\nx\r\nSUB bar 4\r\n").expect_pong()


DENY = USERS % '{user: ann, password: a, permissions: {subscribe: {allow: ">", deny: "a.secret"}}}'
ALLOW = USERS % '{user: ann, password: a, permissions: {subscribe: ">"}}'


@pytest.mark.config(ALLOW)
def test_a_deny_applies_to_wildcards_that_are_there(operator: Operator) -> None:
    ann = operator.connect(user="ann", **{"pass": "a"})
    ann.send(b"SUB a.* 1\r\n").expect_pong()
    operator.reload(DENY)
    publisher = operator.connect(user="ann", **{"pass": "a"})
    publisher.send(b"PUB a.secret 1\r\nx\r\nPUB a.open 1\r\ny\r\n").expect_pong()
    ann.expect(b"MSG a.open 1 1\r\ny\r\n")
    operator.reload(ALLOW)
    publisher.send(b"PUB a.secret 1\r\nx\r\n").expect_pong()
    ann.expect(b"MSG a.secret 1 1\r\nx\r\n")


def test_authorization_that_begins(operator: Operator) -> None:
    client = operator.connect()
    operator.reload("authorization { user: u, password: p }")
    client.expect_eof(VIOLATION)
    good = operator.connect(user="u", **{"pass": "p"})
    if not operator.server.kind.real:  # which cuts its single user off with every reload
        operator.reload("authorization { user: u, password: p }\nmax_payload: 1000")
        good.expect_pong()


def test_limits(operator: Operator) -> None:
    client = operator.connect()
    client.send(b"SUB x 1\r\n").expect_pong()
    operator.reload("max_payload: 10\nmax_control_line: 100")
    client.send(b"PUB x 10\r\n0123456789\r\n").expect(b"MSG x 1 10\r\n0123456789\r\n")
    client.expect_pong()  # no INFO was pushed
    late = operator.connect()
    assert late.info["max_payload"] == 10
    client.send(b"PUB x 11\r\n").expect_eof(b"-ERR 'Maximum Payload Violation'\r\n")
    late.send(b"SUB %s 1\r\n" % (b"x" * 200)).expect_eof(b"-ERR 'maximum control line exceeded'\r\n")


def test_fewer_connections(operator: Operator) -> None:
    clients = [operator.connect() for _ in range(40)]
    operator.reload("max_connections: 25")
    closed = 0
    deadline = time.monotonic() + 20
    alive = clients
    while closed < 15 and time.monotonic() < deadline:
        still = []
        for client in alive:
            client.sock.settimeout(0.01)
            try:
                data = client.sock.recv(1000)
            except TimeoutError:
                still.append(client)
                continue
            assert data in (b"-ERR 'maximum connections exceeded'\r\n", b"PING\r\n")
            if data == b"PING\r\n":
                still.append(client)
            else:
                closed += 1
        alive = still
    assert closed == 15 and len(alive) == 25
    for client in alive:
        client.expect_pong()
    assert Raw(operator.server.port).read_eof() == b"-ERR 'maximum connections exceeded'\r\n"


def test_ping_interval(operator: Operator) -> None:
    client = Raw(operator.server.port, pings=True)
    operator.clients.append(client)
    operator.reload('ping_interval: "500ms"')
    late = Raw(operator.server.port, pings=True).send_connect(verbose=False)
    late.expect(b"PING\r\n" * 2)
    client.close()
    late.close()


def test_debug_and_trace_at_once(operator: Operator) -> None:
    client = operator.connect()
    mark = operator.server.log.mark()
    operator.reload("debug: true\ntrace: true")
    client.send(b"PUB seen 2\r\nhi\r\n").expect_pong()
    operator.server.log.wait_for(r"\[TRC\] .* <<- \[PUB seen 2\]", since=mark)
    operator.server.log.wait_for(r'\[TRC\] .* <<- MSG_PAYLOAD: \["hi"\]', since=mark)
    operator.server.log.wait_for(r"\[TRC\] .* ->> \[PONG\]", since=mark)
    operator.reload("")
    client.send(b"PUB unseen 2\r\nhi\r\n").expect_pong()
    operator.hup()
    assert "unseen" not in operator.server.log.text


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("max_subscriptions: 5", "config reload not supported for MaxSubs: old=0, new=5"),
        ("server_name: other", "config reload not supported for ServerName: old="),
        ("no_such_option: 5", 'unknown field "no_such_option"'),
        ("max_payload: {", ""),
        ("max_payload: 100000000\nmax_pending: 1000", ""),
    ],
)
def test_what_cannot_be_is_refused_as_a_whole(operator: Operator, config: str, reason: str) -> None:
    client = operator.connect()
    line = operator.reload(config + "\ndebug: true")
    assert line.startswith("Failed to reload server configuration: ") and reason in line
    client.expect_pong()
    assert "[DBG]" not in operator.server.log.text
    assert operator.reload("").startswith("Reloaded server configuration")


@pytest.mark.config(f"{WIDE}\nmax_payload: 1000")
def test_the_same_file_changes_nothing(operator: Operator) -> None:
    ann = operator.connect(user="ann", **{"pass": "a"})
    ann.send(b"SUB bar 2\r\n").expect_pong()
    for _ in range(3):
        assert operator.hup().startswith("Reloaded server configuration")
        ann.expect_pong()


@pytest.mark.config("http_port: -1\nserver_tags: [one]")
def test_monitoring_shows_it(operator: Operator) -> None:
    monitor = Monitor(operator.server)
    before = monitor.json("/varz")
    operator.reload("http_port: -1\nserver_tags: [two]\nmax_payload: 1000\nmax_connections: 77")
    after = monitor.json("/varz")
    assert (after["max_payload"], after["max_connections"], after["tags"]) == (1000, 77, ["two"])
    assert moment(after["config_load_time"]) > moment(before["config_load_time"])
    assert operator.reload("http_port: -1\nmax_subscriptions: 5").startswith("Failed")
    assert monitor.json("/varz")["config_load_time"] == after["config_load_time"]


def test_tls(kind: Kind, tmp_path: Path) -> None:
    """Off, on, on with another certificate: each for those who connect from then on."""
    authority = Authority(tmp_path)
    pairs = [authority.issue(name, [[("CN", name)]], hosts=["127.0.0.1"]) for name in ("first", "second")]
    first, second = (f'tls {{ cert_file: "{pair.cert}", key_file: "{pair.key}" }}' for pair in pairs)
    context = ssl.create_default_context(cafile=str(authority.file))
    operator = Operator(kind, "")
    try:
        plain = operator.connect()
        operator.reload(first)
        one = operator.secure(context)
        assert one[1] == "first"
        operator.reload(second)
        two = operator.secure(context)
        assert two[1] == "second"
        assert operator.reload(second.replace("second", "missing")).startswith("Failed")
        assert operator.secure(context)[1] == "second"
        operator.reload("")
        assert "tls_required" not in operator.connect().info
        plain.expect_pong()
        for client, _ in (one, two):
            client.sendall(b"PING\r\n")
            assert client.recv(100) == b"PONG\r\n"
            client.close()
        for raw in operator.clients:
            raw.close()
        operator.server.stop()
    finally:
        operator.server.destroy()


def test_without_a_file(kind: Kind) -> None:
    server = launch(kind, ["-a", "127.0.0.1", "-p", "-1"])
    try:
        server.wait_ready()
        server.process.send_signal(signal.SIGHUP)
        server.log.wait_for("can only reload config when a file is provided using -c or --config")
        server.stop()
    finally:
        server.destroy()


def test_flags_outrank_the_file_after_a_reload_too(kind: Kind) -> None:
    server = start(kind, "max_payload: 100", ["-D=false"])
    try:
        (server.folder / "server.conf").write_text(config_text(kind, "max_payload: 200\ndebug: true"))
        mark = server.log.mark()
        server.process.send_signal(signal.SIGHUP)
        server.log.wait_for("Reloaded server configuration", since=mark)
        client = Raw(server.port)
        assert client.info["max_payload"] == 200
        client.close()
        server.stop()
        assert "[DBG]" not in server.log.text
    finally:
        server.destroy()


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


# How often the configuration is changed. The whole of it: SPLINE_RELOADS=1000.
RELOADS = int(os.environ.get("SPLINE_RELOADS", "20"))
PAIRS = 100 if RELOADS >= 1000 else 20


@pytest.mark.timeout(900)
@pytest.mark.parametrize("ours", [ONE, FOUR], ids=lambda each: each.name)
def test_reloads_under_load_lose_nothing(ours: Kind) -> None:
    base = '{user: ann, password: a}, {user: sub, password: s, permissions: {subscribe: "load.*"}}'
    first = USERS % f'{base}, {{user: x, password: "1", permissions: {{publish: a}}}}'
    second = USERS % f'{base}, {{user: x, password: "1", permissions: {{publish: [a, b], subscribe: c}}}}'
    second += '\nmax_payload: 2000\nping_interval: "60s"\nmax_connections: 5000'
    operator = Operator(ours, first)
    server: Server = operator.server
    try:
        subscribers = [operator.connect(user="sub", **{"pass": "s"}) for _ in range(PAIRS)]
        publishers = [operator.connect(user="ann", **{"pass": "a"}) for _ in range(PAIRS)]
        touched = operator.connect(user="x", **{"pass": "1"})
        for number, client in enumerate(subscribers):
            client.send(b"SUB load.%d 1\r\n" % number).expect_pong()
        before: dict[int, tuple[int, int]] = {}
        for turn in range(RELOADS):
            operator.file.write_text(config_text(ours, second if turn % 2 == 0 else first))
            mark = server.log.mark()
            server.process.send_signal(signal.SIGHUP)
            for number, client in enumerate(publishers):
                client.send(b"PUB load.%d 6\r\n%06d\r\n" % (number, turn))
            server.log.wait_for("Reloaded server configuration|Failed", since=mark)
            for number, client in enumerate(subscribers):
                client.expect(b"MSG load.%d 1 6\r\n%06d\r\n" % (number, turn))
            if turn == min(RELOADS // 2, 100):
                before = {pid: (probe.resident(pid), descriptors(pid)) for pid in server.processes()}
        touched.expect_pong()
        for pid in server.processes():
            memory, opened = before[pid]
            assert descriptors(pid) == opened
            assert probe.resident(pid) - memory < 2_000_000, (
                f"{pid} grew by {probe.resident(pid) - memory} bytes"
            )
        for client in operator.clients:
            client.close()
        server.check()
        server.stop()
    finally:
        server.destroy()
