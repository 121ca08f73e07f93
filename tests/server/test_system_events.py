"""Events of the system account: who came, who went, who was refused; the server's heartbeat and its last words.

The numbers in the comments are those of the conformance checklist in the specification of the system account.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Kind, Raw, Server, start
from tests.server.listener import APP, NOTHING, SYS, SYSTEM, ZERO, Heard, Listener
from tests.server.monitor import moment
from tests.server.shared import Dial

STATSZ = "$SYS.SERVER.*.STATSZ"
TYPE = "io.nats.server.advisory.v1."


@pytest.fixture
def own(kind: Kind) -> Iterator[Server]:
    """A server of the test's own."""
    server = start(kind, SYSTEM)
    try:
        yield server
        if server.process.poll() is None:
            server.stop()
    finally:
        server.destroy()


@pytest.fixture
def listener(own: Server) -> Iterator[Listener]:
    """Somebody who listens to all of it."""
    found = Listener(own)
    yield found
    found.leave()


def is_server(block: dict[str, Any], server_id: str) -> None:
    fields = dict(block)
    seq, when = fields.pop("seq"), fields.pop("time")
    assert seq > 0 and abs(moment(when) - time.time()) < 60
    assert fields == {
        "name": "s1",
        "host": "127.0.0.1",
        "id": server_id,
        "ver": fields["ver"],
        "tags": ["az:1"],
        "feature_flags": {"js_ack_fc_v2": False, "js_raft_delete_range": False},
        "jetstream": False,
        "flags": 0,
    }
    assert list(block)[:5] == ["name", "host", "id", "ver", "tags"] and list(block)[-2:] == ["seq", "time"]


def is_typed(event: dict[str, Any], kind: str) -> None:
    assert list(event)[:4] == ["type", "id", "timestamp", "server"] and event["type"] == TYPE + kind
    assert re.fullmatch(r"[0-9A-Za-z]{22}", event["id"])
    moment(event["timestamp"])


def only(events: list[Heard], *patterns: str) -> list[Heard]:
    return [event for event in events if any(re.fullmatch(pattern, event.subject) for pattern in patterns)]


def three(server: Server, listener: Listener) -> list[Heard]:
    """The next three messages. nats-server may send CONNECT or DISCONNECT before both CONNS: they are put in order."""
    heard = [listener.next("$SYS.*ACCOUNT.*") for _ in range(3)]
    if server.kind.real:
        heard.sort(key=lambda event: not event.subject.endswith("CONNS"))
    return heard


# ---- connections ----


def test_connect(own: Server, listener: Listener) -> None:
    """2, 5."""
    client = Raw(own.port).hello(**APP, name="a<b", lang="py", version="1")
    old, new, connect = three(own, listener)
    assert old.subject == "$SYS.SERVER.ACCOUNT.APP.CONNS" and new.subject == "$SYS.ACCOUNT.APP.SERVER.CONNS"
    is_typed(old.body, "account_connections")
    is_server(old.body["server"], client.info["server_id"])
    assert old.body["id"] == new.body["id"]
    assert connect.subject == "$SYS.ACCOUNT.APP.CONNECT"
    first, second, third = (event.body["server"]["seq"] for event in (old, new, connect))
    assert second == first + 1 and (own.kind.real or third == second + 1)
    assert list(old.body)[4:] == [
        *("acc", "name", "conns", "leafnodes", "total_conns", "num_subscriptions"),
        *("sent", "received", "slow_consumers"),
    ]
    assert old.body["acc"] == old.body["name"] == "APP" and old.body["conns"] == old.body["total_conns"] == 1
    assert old.body["sent"].keys() == NOTHING.keys() and old.body["leafnodes"] == 0
    is_typed(connect.body, "client_connect")
    is_server(connect.body["server"], client.info["server_id"])
    assert list(connect.body)[4:] == ["client"]
    about = connect.body["client"]
    assert moment(about.pop("start")) <= moment(connect.body["timestamp"])
    assert list(about.items()) == [
        ("host", "127.0.0.1"),
        ("id", client.info["client_id"]),
        ("acc", "APP"),
        ("user", "app"),
        ("name", "a<b"),
        ("lang", "py"),
        ("ver", "1"),
        ("name_tag", "APP"),
        ("kind", "Client"),
        ("client_type", "nats"),
    ]


def test_disconnect(own: Server, listener: Listener) -> None:
    """3, 4."""
    client = Raw(own.port).hello(**APP, name="goes")
    three(own, listener)
    client.send(b"SUB x 1\r\nPUB x 5\r\nhello\r\nPUB y 2\r\nhi\r\n").expect(
        b"MSG x 1 5\r\nhello\r\n"
    ).expect_pong()
    client.leave()
    old, new, gone = three(own, listener)
    assert gone.subject == "$SYS.ACCOUNT.APP.DISCONNECT"
    assert old.subject == "$SYS.SERVER.ACCOUNT.APP.CONNS" and new.subject == "$SYS.ACCOUNT.APP.SERVER.CONNS"
    assert old.body["conns"] == 0 and old.body["id"] == new.body["id"] != gone.body["id"]
    is_typed(gone.body, "client_disconnect")
    assert list(gone.body)[4:] == ["client", "sent", "received", "reason"]
    assert gone.body["sent"] == {"msgs": 2, "bytes": 7} and gone.body["received"] == {"msgs": 1, "bytes": 5}
    assert gone.body["reason"] == "Client Closed"
    about = gone.body["client"]
    assert about["rtt"] > 0 and moment(about["start"]) < moment(about["stop"])
    assert list(about) == [
        *("start", "host", "id", "acc", "user", "name", "rtt", "stop", "name_tag", "kind", "client_type"),
    ]


def test_traffic_is_counted(own: Server) -> None:
    """What CONNS says of an account, over all workers."""
    listener = Listener(own)
    clients = [Raw(own.port).hello(**APP) for _ in range(6)]
    for client in clients:
        client.send(b"SUB all 1\r\n").expect_pong()
    for client in clients:
        client.send(b"PUB all 4\r\nfour\r\n")
    for client in clients:
        assert client.read_messages(6) == b"MSG all 1 4\r\nfour\r\n" * 6
    counts = {listener.next("$SYS.ACCOUNT.APP.CONNECT").body["client"]["id"] for _ in clients}
    assert len(counts) == 6
    clients.pop().leave()
    last = listener.next("$SYS.SERVER.ACCOUNT.APP.CONNS").body
    assert last["conns"] == 5
    assert last["received"] == {**NOTHING, "msgs": 6, "bytes": 24}
    assert last["sent"] == {**NOTHING, "msgs": 36, "bytes": 144}
    for client in clients:
        client.close()


def test_others_hear_nothing(own: Server, listener: Listener) -> None:
    """1."""
    curious = Raw(own.port).hello(**APP)
    curious.send(b"SUB $SYS.> 1\r\n").expect_pong()
    Raw(own.port).hello(**APP, name="seen").leave()
    while listener.next("$SYS.ACCOUNT.APP.DISCONNECT").body["client"].get("name") != "seen":
        pass
    curious.expect_nothing_yet()


def test_of_one_client_in_order(own: Server) -> None:
    """35, and the order of each client's events, however many come and go at a time."""
    listener = Listener(own)
    clients = [Raw(own.port).send_connect(verbose=False, **APP, name=f"n{i}") for i in range(40)]
    for client in clients:
        client.expect_pong()
    for client in clients:
        client.close()
    heard: list[Heard] = []
    for _ in clients:
        heard += listener.upto("$SYS.ACCOUNT.APP.DISCONNECT")
    sequence = [event.body["server"]["seq"] for event in heard]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))
    assert len({event.body["id"] for event in only(heard, r".*\.APP\.(DIS)?CONNECT")}) == 80
    for i in range(40):
        ours = [event for event in heard if event.body.get("client", {}).get("name") == f"n{i}"]
        assert [event.subject.rpartition(".")[2] for event in ours] == ["CONNECT", "DISCONNECT"]
    conns = only(heard, r"\$SYS\.SERVER\.ACCOUNT\.APP\.CONNS")
    assert len(conns) == 80 and 0 in (event.body["conns"] for event in conns[-3:])
    for event, before in zip(heard[1:], heard, strict=False):
        if (
            event.subject.endswith("CONNECT") and not own.kind.real
        ):  # there they are mixed with those of others
            assert before.subject == "$SYS.ACCOUNT.APP.SERVER.CONNS"


def test_users(dial: Dial, kind: Kind) -> None:
    """Who it is: the user's name or nkey, the configured one who need not say it; of a token nothing."""
    config = """
    accounts { SYS { users: [{user: sys, password: s}] } }
    system_account: SYS
    """
    server = dial.server(config)
    listener = Listener(server)
    silent = Raw(server.port, info=True)
    silent.send(b"SUB x 1\r\nPING\r\n").read_until(b"PONG\r\n")
    guest = Raw(server.port).hello(name="guest")
    about = listener.next("$SYS.ACCOUNT.$G.CONNECT").body["client"]
    assert about["name"] == "guest" and re.fullmatch(r"nats-\w{8}", about["user"])
    silent.leave()
    about = listener.next("$SYS.ACCOUNT.$G.DISCONNECT").body["client"]
    assert re.fullmatch(r"nats-\w{8}", about["user"]) and about["acc"] == "$G"
    guest.leave()
    assert listener.next("$SYS.ACCOUNT.$G.DISCONNECT").body["client"]["name"] == "guest"
    dial(config).send_connect(verbose=False, auth_token="s3cret").expect_eof(
        b"-ERR 'Authorization Violation'\r\n"
    )
    (refused, gone) = listener.upto("$SYS.ACCOUNT.$G.DISCONNECT", STATSZ)
    assert refused.body["client"]["user"] == gone.body["client"]["user"] == "[REDACTED]"
    listener.leave()


def test_a_guest_who_says_nothing(kind: Kind) -> None:
    """It is counted when it is bound, and was there when it goes."""
    server = start(kind, SYSTEM + "no_auth_user: app")
    try:
        listener = Listener(server)
        client = Raw(server.port)
        client.send(b"PING\r\n").read_until(b"PONG\r\n")
        heard = listener.upto("$SYS.ACCOUNT.APP.SERVER.CONNS", STATSZ)
        assert [event.body["conns"] for event in heard] == [1, 1]
        client.leave()
        old, new, gone = three(server, listener)
        assert old.body["conns"] == new.body["conns"] == 0 and gone.body["client"]["user"] == "app"
        server.stop()
    finally:
        server.destroy()


def test_another_account(own: Server, listener: Listener) -> None:
    """A second CONNECT takes a client to another account."""
    client = Raw(own.port).hello(**APP)
    listener.next("$SYS.ACCOUNT.APP.CONNECT")
    client.send_connect(verbose=False, **SYS).expect_pong()
    heard = listener.upto("$SYS.ACCOUNT.SYS.CONNECT", STATSZ)
    left = only(heard, r".*ACCOUNT\.APP\..*")
    assert [event.body["conns"] for event in left] == [0, 0]
    assert heard[-1].body["client"]["id"] == client.info["client_id"]
    assert [event.body["conns"] for event in only(heard, r".*ACCOUNT\.SYS.*CONNS")] == [2, 2]


# ---- refused ----


def test_wrong_password(own: Server, listener: Listener) -> None:
    """7, 8."""
    client = Raw(own.port).send_connect(user="app", name="eve", **{"pass": "no"})
    client.expect_eof(b"-ERR 'Authorization Violation'\r\n")
    refused, gone = listener.upto("$SYS.ACCOUNT.$G.DISCONNECT", STATSZ)
    assert refused.subject == f"$SYS.SERVER.{client.info['server_id']}.CLIENT.AUTH.ERR"
    for event in (refused, gone):
        is_typed(event.body, "client_disconnect")
        is_server(event.body["server"], client.info["server_id"])
        assert event.body["reason"] == "Authentication Failure"
        assert event.body["sent"] == event.body["received"] == ZERO
        about = event.body["client"]
        assert about["acc"] == about["name_tag"] == "$G" and about["user"] == "app" and about["name"] == "eve"
    assert refused.body["id"] != gone.body["id"]


@pytest.mark.parametrize(
    ("said", "reason", "refused"),
    [
        (b"PING\r\n", "Authentication Failure", True),
        (b"", "Authentication Timeout", False),
    ],
)
def test_without_a_word(own: Server, listener: Listener, said: bytes, reason: str, refused: bool) -> None:
    client = Raw(own.port).send(said)
    client.read_eof()
    heard = listener.upto("$SYS.ACCOUNT.$G.DISCONNECT", STATSZ)
    assert [event.subject.rpartition(".")[2] for event in heard] == ["ERR"] * refused + ["DISCONNECT"]
    assert heard[-1].body["reason"] == reason
    assert (
        "user" not in heard[-1].body["client"] and heard[-1].body["client"]["id"] == client.info["client_id"]
    )


def test_full_account(own: Server, listener: Listener) -> None:
    """9, as it is for accounts of the configuration: it has passed authentication, and then finds no place."""
    small = {"user": "small", "pass": "m"}
    there = Raw(own.port).hello(**small)
    listener.next("$SYS.ACCOUNT.SMALL.CONNECT")
    client = Raw(own.port).send_connect(**small)
    assert client.read_eof() == b"-ERR 'maximum account active connections exceeded'\r\n"
    connect, gone = listener.upto("$SYS.ACCOUNT.SMALL.DISCONNECT", STATSZ)
    assert connect.subject == "$SYS.ACCOUNT.SMALL.CONNECT"
    assert connect.body["client"]["id"] == gone.body["client"]["id"] == client.info["client_id"]
    assert gone.body["reason"] == "Maximum Account Connections Exceeded"
    there.leave()


def test_refused_in_the_global_account(dial: Dial) -> None:
    """Whoever listens there hears of those who were in no other account yet."""
    config = "accounts { SYS { users: [{user: sys, password: s}] } }\nsystem_account: SYS"
    watcher = dial(config).hello()
    watcher.send(b"SUB $SYS.> 1\r\n").expect_pong()
    dial(config).send_connect(user="mallory", **{"pass": "x"}).read_eof()
    line = watcher.read_until(b"\r\n").decode()
    assert line.split()[1] == "$SYS.ACCOUNT.CLIENT.AUTH.ERR"
    body = watcher.take(int(line.split()[-1]) + 2)
    assert b'"user":"mallory"' in body and b'"reason":"Authentication Failure"' in body and b'"seq":' in body


def test_full_server(kind: Kind) -> None:
    server = start(kind, SYSTEM + "max_connections: 1")
    try:
        listener = Listener(server)
        assert Raw(server.port, info=False).read_eof().endswith(b"-ERR 'maximum connections exceeded'\r\n")
        gone = listener.next("*.DISCONNECT")
        assert gone.subject == "$SYS.ACCOUNT.$G.DISCONNECT"
        assert gone.body["reason"] == "Maximum Connections Exceeded"
        listener.leave()
        server.stop()
    finally:
        server.destroy()


def test_stale(kind: Kind) -> None:
    server = start(kind, SYSTEM + 'ping_interval: "0.5s"\nping_max: 2')
    try:
        listener = Listener(server)
        client = Raw(server.port, pings=True).send_connect(verbose=False, **APP)
        while not client.sock.recv(1000).endswith(b"-ERR 'Stale Connection'\r\n"):
            listener.raw.send(b"PONG\r\n")  # this one answers
        gone = listener.next("*.DISCONNECT")
        assert (gone.subject, gone.body["reason"]) == ("$SYS.ACCOUNT.APP.DISCONNECT", "Stale Connection")
        listener.leave()
        server.stop()
    finally:
        server.destroy()


def test_expelled_by_a_reload(kind: Kind) -> None:
    """Who is in an account and may be there no longer is told of there: to operators, and inside of it."""
    server = start(kind, SYSTEM.replace("{user: app,", "{user: bob, password: b}, {user: app,"))
    try:
        listener, inside = Listener(server), Listener(server, "$SYS.>", **APP)
        bob = Raw(server.port).hello(user="bob", **{"pass": "b"})
        file = server.folder / "server.conf"
        file.write_text(file.read_text().replace("password: b}", "password: c}"))
        server.process.send_signal(signal.SIGHUP)
        assert bob.read_eof() == b"-ERR 'Authorization Violation'\r\n"
        told = [inside.next("$SYS.ACCOUNT.CLIENT.AUTH.ERR"), listener.next("*.CLIENT.AUTH.ERR")]
        told.append(listener.next("*.DISCONNECT"))
        assert told[-1].subject == "$SYS.ACCOUNT.APP.DISCONNECT"
        for event in told:
            about = event.body["client"]
            assert (about["id"], about["acc"], about["name_tag"]) == (bob.info["client_id"], "APP", "APP")
            assert event.body["reason"] == "Authentication Failure"
        server.stop()
    finally:
        server.destroy()


# ---- the server ----


def test_heartbeat(own: Server) -> None:
    """10: the gaps are 1, 2, 4 ... seconds; and what it says."""
    client = Raw(own.port).hello(**APP)
    listener = Listener(own, "$SYS.SERVER.*.STATSZ")
    times = [moment(listener.next().body["server"]["time"]) for _ in range(2)]
    body = listener.next().body
    gaps = [times[1] - times[0], moment(body["server"]["time"]) - times[1]]
    assert gaps[1] / gaps[0] == pytest.approx(2.0, rel=0.3), gaps
    assert list(body) == ["server", "statsz"]
    statsz = body["statsz"]
    assert statsz["connections"] == statsz["total_connections"] == 2 and statsz["active_accounts"] == 2
    assert statsz["mem"] > 1 << 20 and statsz["cores"] >= 1 and statsz["slow_consumers"] == 0
    assert statsz["active_servers"] == 1 and moment(statsz["start"]) < times[0]
    client.close()


def test_shutdown(own: Server) -> None:
    """34: it is the last that everybody hears, on every worker, and nothing else but the server block."""
    listeners = [Listener(own) for _ in range(8)]
    bystander = Raw(own.port).hello(**APP)
    own.process.send_signal(signal.SIGTERM)
    for one in listeners:
        body = one.next("$SYS.SERVER.*.SHUTDOWN").body
        is_server(body, bystander.info["server_id"])
        one.raw.expect_eof()
    bystander.expect_eof()
    assert own.wait_exit() == 0


def test_lame_duck(kind: Kind) -> None:
    config = SYSTEM + 'lame_duck_duration: "30s"\nlame_duck_grace_period: "1s"'
    server = start(kind, config)
    try:
        listener = Listener(server)
        server.process.send_signal(signal.SIGUSR2)
        body = listener.next("$SYS.SERVER.*.LAMEDUCK").body
        is_server(body, listener.raw.info["server_id"])
        listener.raw.read_eof()
        assert server.wait_exit() == 0
    finally:
        server.destroy()


# ---- who may hear it ----


def test_exported_to_an_account(dial: Dial) -> None:
    """The account's own events, as the usual export of the system account gives them."""
    config = """
    accounts {
      SYS { users: [{user: sys, password: s}], exports: [{stream: "$SYS.ACCOUNT.*.>", account_token_position: 3}] }
      IMP { users: [{user: imp, password: i}], imports: [{stream: {account: SYS, subject: "$SYS.ACCOUNT.IMP.>"}}] }
      APP { users: [{user: app, password: a}] }
    }
    system_account: SYS
    """
    imp = {"user": "imp", "pass": "i"}
    listener = Listener(dial.server(config), "$SYS.>", **imp)
    dial(config).hello(**APP)
    dial(config).hello(**imp, name="mine")
    heard = listener.upto("*.CONNECT")
    while heard[-1].body["client"]["name"] != "mine":  # but the listener itself
        heard = listener.upto("*.CONNECT")
    assert [event.subject for event in heard] == ["$SYS.ACCOUNT.IMP.SERVER.CONNS", "$SYS.ACCOUNT.IMP.CONNECT"]
    assert heard[0].body["conns"] == 2
    listener.leave()


def test_without_a_system_account(dial: Dial) -> None:
    """42: nobody says anything."""
    config = "no_system_account: true"
    curious = dial(config).hello()
    curious.send(b"SUB $SYS.> 1\r\n").expect_pong()
    dial(config).hello().leave()
    curious.watch()
    other = dial(config).hello()
    assert curious.received_from(other) == b""
