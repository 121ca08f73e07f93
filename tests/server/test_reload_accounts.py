"""Reload of accounts: what changes for clients that stay, who has to go, and what is refused as a whole."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.harness import FOUR, REAL, Kind, Raw
from tests.server.crew import Crew
from tests.server.monitor import Monitor
from tests.server.test_reload import VIOLATION, Operator

P = {"pass": "p"}
WISHES = {**P, "headers": True, "no_responders": True}


def user(name: str, more: str = "") -> str:
    """An entry of a list of users."""
    return f"{{user: {name}, password: p{more}}}"


def accounts(**bodies: str) -> str:
    """An ``accounts`` section."""
    return "accounts {\n" + "\n".join(f"{name} {{ {body} }}" for name, body in bodies.items()) + "\n}\n"


def pair(imports: str = "", exporter: str = "", importer: str = "") -> str:
    """E exports the services `svc` and `other`, and the stream `st.>`; I imports."""
    exports = 'exports: [{service: svc}, {service: other}, {stream: "st.>"}]'
    return accounts(
        E=f"users: [{user('e')}]\n{exports}\n{exporter}",
        I=f"users: [{user('i')}]\nimports: [{imports}]\n{importer}",
    )


SERVICE = "{service: {account: E, subject: svc}}"
OTHER = "{service: {account: E, subject: other}, to: svc}"
STREAM = '{stream: {account: E, subject: "st.>"}}'
PREFIXED = '{stream: {account: E, subject: "st.*"}, prefix: pre}'


@pytest.fixture
def operator(kind: Kind, request: pytest.FixtureRequest) -> Iterator[Operator]:
    """An operator of a server with the configuration of the test's mark."""
    made = Operator(kind, request.node.get_closest_marker("config").args[0])
    try:
        yield made
        for client in made.clients:
            client.close()
        made.server.stop()
    finally:
        made.server.destroy()


def applied(operator: Operator, config: str) -> None:
    """Reload; it must succeed."""
    line = operator.reload(config)
    assert line.startswith("Reloaded server configuration"), line


def request(importer: Raw, exporter: Raw, subject: str, sees: str) -> bytes:
    """Ask, and return the reply subject that the responder sees."""
    importer.send(f"PUB {subject} box 2\r\nhi\r\n".encode())
    line = exporter.read_until(b"\r\n").decode().strip()
    found = re.fullmatch(rf"HMSG {sees} \d (_R_\.\w{{6}}\.\w{{6}}) (\d+) (\d+)", line)
    assert found, line
    assert exporter.take(int(found[3]) + 2).endswith(b"\r\n\r\nhi\r\n")
    return found[1].encode()


FULL = b"-ERR 'maximum account active connections exceeded'\r\n"
NOBODY = b"HMSG box 9 35 35\r\nNATS/1.0 503\r\nNats-Subject: svc\r\n\r\n\r\n"


@pytest.mark.config(pair(SERVICE))
def test_a_service_import_that_is_gone(operator: Operator) -> None:
    exporter, importer = operator.connect(user="e", **WISHES), operator.connect(user="i", **WISHES)
    exporter.send(b"SUB svc 1\r\nSUB other 2\r\n").expect_pong()
    importer.send(b"SUB box 9\r\n").expect_pong()
    pending = request(importer, exporter, "svc", "svc")
    applied(operator, pair())
    importer.send(b"PUB svc box 1\r\nx\r\n").expect(NOBODY)
    exporter.send(b"PUB %s 2\r\nok\r\n" % pending).expect_pong()  # what was asked before is answered
    importer.expect(b"MSG box 9 2\r\nok\r\n")
    applied(operator, pair(OTHER))
    request(importer, exporter, "svc", "other")
    exporter.expect_pong()
    importer.expect_pong()


@pytest.mark.config(pair(SERVICE))
def test_a_service_import_that_leads_elsewhere(operator: Operator) -> None:
    exporter, importer = operator.connect(user="e", **WISHES), operator.connect(user="i", **WISHES)
    exporter.send(b"SUB svc 1\r\nSUB other 2\r\n").expect_pong()
    importer.send(b"SUB box 9\r\n").expect_pong()
    first = request(importer, exporter, "svc", "svc")
    applied(operator, pair(OTHER))
    second = request(importer, exporter, "svc", "other")
    applied(operator, pair(OTHER, importer="limits { max_payload: 1000 }"))
    for pending, answer in ((first, b"1"), (second, b"2")):
        exporter.send(b"PUB %s 1\r\n%s\r\n" % (pending, answer)).expect_pong()
        importer.expect(b"MSG box 9 1\r\n%s\r\n" % answer)


@pytest.mark.config(pair(SERVICE))
def test_the_exporter_is_gone(operator: Operator) -> None:
    exporter, importer = operator.connect(user="e", **WISHES), operator.connect(user="i", **WISHES)
    exporter.send(b"SUB svc 1\r\n").expect_pong()
    importer.send(b"SUB box 9\r\n").expect_pong()
    request(importer, exporter, "svc", "svc")
    applied(operator, accounts(I=f"users: [{user('i')}]"))
    exporter.expect_eof()
    importer.send(b"PUB svc box 1\r\nx\r\n").expect(NOBODY)
    importer.expect_pong()
    applied(operator, pair(SERVICE))
    exporter = operator.connect(user="e", **WISHES)
    exporter.send(b"SUB svc 1\r\n").expect_pong()
    request(importer, exporter, "svc", "svc")


@pytest.mark.config(pair())
def test_streams_are_looked_at_again(operator: Operator) -> None:
    exporter, importer = operator.connect(user="e", **P), operator.connect(user="i", **P)
    importer.send(b"SUB st.> 1\r\nSUB pre.> 2\r\nUNSUB 2 3\r\nSUB pre.st.a q 3\r\n").expect_pong()
    applied(operator, pair(STREAM))
    exporter.send(b"PUB st.a 1\r\n1\r\n").expect_pong()
    importer.expect(b"MSG st.a 1 1\r\n1\r\n")
    applied(operator, pair(PREFIXED))
    exporter.send(b"PUB st.a 1\r\n2\r\n").expect_pong()
    got = {importer.read_until(b"\r\n"), importer.take(3), importer.read_until(b"\r\n"), importer.take(3)}
    assert got == {b"MSG pre.st.a 2 1\r\n", b"MSG pre.st.a 3 1\r\n", b"2\r\n"}
    applied(operator, pair())
    exporter.send(b"PUB st.a 1\r\n3\r\n").expect_pong()
    importer.send(b"PUB pre.x 1\r\n4\r\n").expect(b"MSG pre.x 2 1\r\n4\r\n")
    importer.expect_pong()


@pytest.mark.config(pair(SERVICE))
def test_a_wrong_import_is_refused_with_all_else(operator: Operator) -> None:
    exporter, importer = operator.connect(user="e", **WISHES), operator.connect(user="i", **WISHES)
    exporter.send(b"SUB svc 1\r\n").expect_pong()
    importer.send(b"SUB box 9\r\n").expect_pong()
    line = operator.reload(pair("{service: {account: E, subject: nope}}") + "max_payload: 10\n")
    assert line.startswith("Failed to reload server configuration: ")
    assert line.endswith('Error adding service import "nope": service import not authorized')
    request(importer, exporter, "svc", "svc")
    assert operator.connect(user="i", **P).info["max_payload"] == 1048576


MOVE = accounts(A=f"users: [{user('a')}, {user('m')}]", B=f"users: [{user('b')}]", C=f"users: [{user('c')}]")
MOVED = accounts(A=f"users: [{user('a')}]", B=f"users: [{user('b')}, {user('m')}]")


@pytest.mark.config(MOVE)
def test_users_move_and_accounts_go(operator: Operator) -> None:
    names = ("a", "b", "m", "c")
    first = {name: operator.connect(user=name, **P) for name in names}
    for client in first.values():
        client.send(b"SUB x 1\r\n").expect_pong()
    applied(operator, MOVED)
    first["m"].expect_eof()
    first["c"].expect_eof()
    assert operator.refused(user="c", **P) == VIOLATION
    moved = operator.connect(user="m", **P)
    moved.send(b"PUB x 1\r\n1\r\n").expect_pong()
    first["b"].expect(b"MSG x 1 1\r\n1\r\n")
    first["a"].expect_pong()
    applied(operator, MOVE)
    moved.expect_eof()
    again = operator.connect(user="c", **P)
    again.send(b"SUB x 2\r\nPUB x 1\r\n2\r\n").expect(b"MSG x 2 1\r\n2\r\n")
    for name in ("a", "b"):
        first[name].expect_pong()


@pytest.mark.config("")
def test_accounts_appear_and_disappear(operator: Operator) -> None:
    anonymous = operator.connect()
    applied(operator, MOVED)
    anonymous.expect_eof(VIOLATION)
    member = operator.connect(user="a", **P)
    applied(operator, "")
    member.expect_eof()
    operator.connect()


@pytest.mark.config(MOVE)
def test_another_password_closes_that_user_only(operator: Operator) -> None:
    clients = {name: operator.connect(user=name, **P) for name in ("a", "m", "b")}
    applied(operator, MOVE.replace("{user: m, password: p}", "{user: m, password: q}"))
    clients["m"].expect_eof(VIOLATION)
    clients["a"].expect_pong()
    clients["b"].expect_pong()


def limited(limits: str) -> str:
    """A has limits, B has none."""
    return accounts(A=f"users: [{user('a')}]\nlimits {{ {limits} }}", B=f"users: [{user('b')}]")


@pytest.mark.config(limited("max_conn: 20"))
def test_fewer_connections(operator: Operator) -> None:
    others = [operator.connect(user="b", **P) for _ in range(3)]
    clients = [operator.connect(user="a", **P) for _ in range(12)]
    applied(operator, limited("max_conn: 5"))
    told = []
    for client in clients:
        client.send(b"PING\r\n")
        told.append(client.read_until(b"\r\n"))
    assert sorted(told) == [FULL] * 7 + [b"PONG\r\n"] * 5
    if operator.server.kind is not REAL:  # which takes any
        assert told[:5] == [b"PONG\r\n"] * 5, "those who came last go"
    for client in others:
        client.expect_pong()
    assert operator.refused(user="a", **P).endswith(FULL)
    applied(operator, limited("max_conn: 6"))
    operator.connect(user="a", **P)
    assert operator.refused(user="a", **P).endswith(FULL)


@pytest.mark.config(limited("max_subs: 10"))
def test_fewer_subscriptions(operator: Operator) -> None:
    many, few = operator.connect(user="a", **P), operator.connect(user="a", **P)
    many.send(b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n").expect_pong()
    few.send(b"SUB a 1\r\n").expect_pong()
    applied(operator, limited("max_subs: 2"))
    many.expect_eof(b"-ERR 'maximum subscriptions exceeded'\r\n")
    few.send(b"SUB b 2\r\nSUB c 3\r\n").expect(b"-ERR 'maximum subscriptions exceeded'\r\n")
    few.expect_pong()


@pytest.mark.config(limited("max_payload: 100"))
def test_smaller_payloads(operator: Operator) -> None:
    first, second = operator.connect(user="a", **P), operator.connect(user="a", **P)
    applied(operator, limited("max_payload: 10"))
    first.send(b"PUB x 10\r\n0123456789\r\n").expect_pong()  # and no INFO was pushed
    first.send(b"PUB x 11\r\n").expect_eof(b"-ERR 'Maximum Payload Violation'\r\n")
    applied(operator, limited("max_payload: 1000"))
    second.send(b"PUB x 101\r\n%s\r\n" % (b"x" * 101)).expect_pong()


def mapped(mappings: str) -> str:
    """An account that maps subjects."""
    return accounts(A=f"users: [{user('a')}]\nmappings {{ {mappings} }}")


@pytest.mark.config(mapped("x: y"))
def test_mappings(operator: Operator) -> None:
    client = operator.connect(user="a", **P)
    both = b"PUB x 1\r\n1\r\nPUB z 1\r\n1\r\n"
    client.send(b"SUB > 1\r\n").expect_pong()
    client.send(both).expect(b"MSG y 1 1\r\n1\r\nMSG z 1 1\r\n1\r\n")
    applied(operator, mapped("z: w"))
    client.send(both).expect(b"MSG x 1 1\r\n1\r\nMSG w 1 1\r\n1\r\n")
    applied(operator, mapped(""))
    client.send(both).expect(b"MSG x 1 1\r\n1\r\nMSG z 1 1\r\n1\r\n")


@pytest.mark.config("mappings { x: y }")
def test_mappings_of_the_global_account(operator: Operator) -> None:
    client = operator.connect()
    client.send(b"SUB > 1\r\nPUB x 1\r\n1\r\n").expect(b"MSG y 1 1\r\n1\r\n")
    applied(operator, "mappings { z: w }")
    client.send(b"PUB x 1\r\n1\r\nPUB z 1\r\n1\r\n").expect(b"MSG x 1 1\r\n1\r\nMSG w 1 1\r\n1\r\n")
    applied(operator, "")
    if operator.server.kind is not REAL:  # which keeps the last ones
        client.send(b"PUB z 1\r\n1\r\n").expect(b"MSG z 1 1\r\n1\r\n")


def permitted(own: str, default: str) -> str:
    """A user with permissions and one that has the account's."""
    more = f", permissions: {{subscribe: [{own}]}}"
    return accounts(
        A=f"users: [{user('a', more)}, {user('d')}]\ndefault_permissions: {{subscribe: [{default}]}}"
    )


@pytest.mark.config(permitted("one, two", "one, two"))
def test_permissions(operator: Operator) -> None:
    clients = [operator.connect(user=name, **P) for name in ("a", "d")]
    for client in clients:
        client.send(b"SUB one 1\r\nSUB two 2\r\n").expect_pong()
    applied(operator, permitted("one", "one"))
    for client in clients:
        client.expect(b'-ERR \'Permissions Violation for Subscription to "two" (sid "2")\'\r\n')
    clients[0].send(b"PUB two 1\r\nx\r\nPUB one 1\r\nx\r\n").expect(b"MSG one 1 1\r\nx\r\n")
    clients[1].expect(b"MSG one 1 1\r\nx\r\n")
    for name in "ad":
        operator.server.log.wait_for(rf'Removed sub "two" \(sid "2"\) for User "{name}" - not authorized')


@pytest.mark.config(accounts(SYS=f"users: [{user('s')}]", A=f"users: [{user('a')}]") + "system_account: SYS")
def test_the_system_account_stays(operator: Operator) -> None:
    client = operator.connect(user="a", **P)
    config = accounts(SYS=f"users: [{user('s')}]", A=f"users: [{user('a')}]")
    line = operator.reload(config + "system_account: A")
    assert line.endswith("config reload not supported for SystemAccount: old=SYS, new=A")
    client.expect_pong()


@pytest.mark.config(pair())
def test_many_accounts_come_and_go(operator: Operator) -> None:
    """More than the page that counts connections had room for; those who stay do not notice."""
    importer = operator.connect(user="i", **P)
    importer.send(b"SUB st.> 1\r\n").expect_pong()
    for turn in range(3):
        more = {
            f"N{turn}x{number}": f"users: [{user(f'n{number}')}]\nlimits {{ max_conn: 1 }}"
            for number in range(300)
        }
        applied(operator, pair(STREAM).replace("accounts {\n", accounts(**more).removesuffix("}\n"), 1))
        last = operator.connect(user="n299", **P)
        assert operator.refused(user="n299", **P).endswith(
            b"-ERR 'maximum account active connections exceeded'\r\n"
        )
        exporter = operator.connect(user="e", **P)
        exporter.send(b"PUB st.%d 1\r\nx\r\n" % turn).expect_pong()
        importer.expect(b"MSG st.%d 1 1\r\nx\r\n" % turn)
        exporter.leave()
        operator.clients.remove(exporter)
        last.expect_pong()
    applied(operator, pair(STREAM))
    last.expect_eof()
    importer.expect_pong()


@pytest.mark.config("http_port: -1\n" + MOVE)
def test_monitoring_knows_the_accounts_that_are_there(operator: Operator) -> None:
    operator.connect(user="c", **P).send(b"SUB x 1\r\n").expect_pong()
    monitor = Monitor(operator.server)
    assert set(monitor.json("/accountz")["accounts"]) == {"$G", "$SYS", "A", "B", "C"}
    applied(operator, "http_port: -1\n" + MOVED)
    operator.clients[0].expect_eof()
    assert set(monitor.json("/accountz")["accounts"]) == {"$G", "$SYS", "A", "B"}


def test_a_worker_that_is_started_later_knows_the_new_accounts() -> None:
    operator = Operator(FOUR, pair(PREFIXED))
    server = operator.server
    crew = Crew(server)
    try:
        applied(operator, pair(STREAM, importer="limits { max_conn: 4 }"))
        mark = server.log.mark()
        os.kill(server.workers()[1], signal.SIGKILL)
        server.log.wait_for(r"Worker \d+ \(pid \d+\) is ready", since=mark)
        importers = [operator.connect(user="i", **P) for _ in range(4)]
        exporters = crew.place(0, 1, 2, 3, user="e", **P)
        for client in importers:
            client.send(b"SUB > 1\r\n").expect_pong()
        for client in exporters:
            client.send(b"PUB st.a 1\r\nx\r\n").expect_pong()
        for client in importers:
            client.expect(b"MSG st.a 1 1\r\nx\r\n" * 4)
        assert operator.refused(user="i", **P).endswith(FULL)
        crew.close()
        for client in operator.clients:
            client.close()
        server.stop(allow="was killed")
    finally:
        server.destroy()


def test_every_account_may_ask_the_system_account_all_the_time(kind: Kind) -> None:
    operator = Operator(kind, MOVE)
    try:
        a, b = operator.connect(user="a", **WISHES), operator.connect(user="b", **WISHES)
        for turn in range(3):
            late = operator.connect(user="m", **WISHES)
            for client in (a, b, late):
                client.send(b"SUB box 9\r\nPUB $SYS.REQ.USER.INFO box 0\r\n\r\n")
                line = client.read_until(b"\r\n").decode().split()
                assert line[0] in ("MSG", "HMSG") and line[1:3] == ["box", "9"]
                assert b'"account":"' in client.take(int(line[-1]) + 2)
                client.send(b"UNSUB 9\r\n").expect_pong()
            late.leave()
            operator.clients.remove(late)
            applied(operator, MOVE if turn % 2 else MOVED)
        for client in operator.clients:
            client.close()
        operator.server.stop()
    finally:
        operator.server.destroy()
