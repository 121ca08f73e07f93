"""The events of the system account beside those of the real nats-server: the same scene, the same events, member by member.

Not their order, which is chance there. A scene ends when all its clients have left.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import pytest

from tests.harness import FOUR, ONE, REAL, Raw
from tests.server.scenes import Scene, Stage, Watched, compare, watched
from tests.server.test_auth import KEY, OTHER_KEY, public_user, signed

CONFIG: Final = f"""
server_name: s1
server_tags: ["az:1"]
server_metadata: {{ room: "3<4" }}
max_payload: 1000
max_pending: 20000
max_control_line: 512
write_deadline: "20s"
system_account: SYS
authorization {{ timeout: 0.5 }}
accounts {{
  SYS {{ users: [ {{ user: sys, password: sys }} ] }}
  APP {{
    users: [
      {{ user: app, password: app }}
      {{ nkey: {public_user(KEY)} }}
      {{ user: lim, password: lim, permissions: {{ publish: ["ok.>"], subscribe: ["ok.>", "_INBOX.>"] }} }}
      {{ user: ws, password: ws, allowed_connection_types: ["WEBSOCKET"] }}
    ]
    exports: [ {{ service: svc }} ]
  }}
  IMP {{ users: [ {{ user: imp, password: imp }} ], imports: [ {{ service: {{ account: APP, subject: svc }} }} ] }}
  SMALL {{ users: [ {{ user: small, password: small }} ], limits: {{ max_connections: 1 }} }}
  SUBS {{ users: [ {{ user: subs, password: subs }} ], limits: {{ max_subs: 2 }} }}
  PAY {{ users: [ {{ user: pay, password: pay }} ], limits: {{ max_payload: 10 }} }}
}}
"""
SCENES: Final[dict[str, Scene]] = {}


def scene(play: Scene) -> Scene:
    """One to be played on every server."""
    SCENES[play.__name__] = play
    return play


def said(name: str, lines: bytes, user: str = "") -> None:
    """A scene in which somebody says something, and is closed for it."""

    def play(stage: Stage) -> None:
        client = stage.hello(user) if user else stage.dial()
        client.send(lines).read_eof()

    SCENES[name] = play


def refused(name: str, /, **options: object) -> None:
    """A scene in which somebody is refused."""
    SCENES[name] = lambda stage: stage.refused(**options)


@scene
def comes_and_goes(stage: Stage) -> None:
    client = stage.hello(name="n<m", lang="l", version="v")
    client.send(b"SUB x 1\r\nPUB x 3\r\nabc\r\n").expect(b"MSG x 1 3\r\nabc\r\n").expect_pong()
    stage.leave(client)


@scene
def abrupt(stage: Stage) -> None:
    client = stage.hello()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


refused("wrong password", user="app", name="eve", **{"pass": "x"})
refused("unknown user", user="nobody", **{"pass": "x"})
refused("no credentials", name="anon")
refused("empty connect")
refused("token", auth_token="tok")
refused("user without password", user="app")
refused("jwt", jwt="eyJ.a.b", sig="x")
refused("wrong type of connection", user="ws", **{"pass": "ws"})
refused("unknown protocol", user="app", protocol=9, **{"pass": "app"})
refused("headers are needed", user="app", no_responders=True, **{"pass": "app"})


@scene
def bad_signature(stage: Stage) -> None:
    client = stage.dial()
    client.send_connect(verbose=False, **{**signed(client, OTHER_KEY), "nkey": public_user(KEY)}).read_eof()


@scene
def unknown_nkey(stage: Stage) -> None:
    client = stage.dial()
    client.send_connect(verbose=False, **signed(client, OTHER_KEY)).read_eof()


@scene
def nkey(stage: Stage) -> None:
    client = stage.dial()
    client.hello(**signed(client, KEY))
    stage.leave(client)


said("too late", b"")
said("ping first", b"PING\r\n")
said("another protocol", b"GET / HTTP/1.1\r\n\r\n")
said("bad connect", b"CONNECT {bad\r\n")
said("long connect", b'CONNECT {"name":"' + b"x" * 1000 + b'"}\r\n')
said("headers not agreed on", b"HPUB x 12 12\r\nNATS/1.0\r\n\r\n\r\n", "app")
said("large payload", b"PUB x 2000\r\n" + b"x" * 2000 + b"\r\n", "app")
said("large payload for the account", b"PUB x 20\r\n" + b"x" * 20 + b"\r\n", "pay")
said("long line", b"SUB " + b"x" * 600 + b" 1\r\n", "app")
said("unknown command", b"FOO\r\n", "app")
said("bad size", b"PUB x -5\r\n", "app")
said("bad end", b"PUB x 2\r\nabcd\r\n", "app")
said("error of a client", b"-ERR 'x'\r\n+OK\r\n", "app")


@scene
def leaves_first(stage: Stage) -> None:
    stage.dial().leave()


@scene
def permissions(stage: Stage) -> None:
    """Violations are no events."""
    client = stage.hello("lim")
    client.send(b"PUB no 0\r\n\r\nSUB no 1\r\nPUB ok.a 1\r\nx\r\nPING\r\n").read_until(b"PONG\r\n")
    stage.leave(client)


@scene
def too_many_subscriptions(stage: Stage) -> None:
    client = stage.hello("subs")
    client.send(b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nPING\r\n").read_until(b"PONG\r\n")
    stage.leave(client)


@scene
def full_account(stage: Stage) -> None:
    there = stage.hello("small")
    stage.refused(user="small", **{"pass": "small"})
    stage.leave(there)


@scene
def another_account(stage: Stage) -> None:
    client = stage.hello()
    client.send_connect(verbose=False, user="imp", **{"pass": "imp"}).expect_pong()
    client.leave()


@scene
def another_account_in_vain(stage: Stage) -> None:
    client = stage.hello()
    client.send_connect(verbose=False, user="imp", **{"pass": "no"}).read_eof()


@scene
def another_account_that_is_full(stage: Stage) -> None:
    there, client = stage.hello("small"), stage.hello()
    client.send_connect(verbose=False, user="small", **{"pass": "small"}).read_eof()
    stage.gone(client)
    stage.leave(there)


@scene
def queue_and_request(stage: Stage) -> None:
    service, client = stage.hello(), stage.hello()
    service.send(b"SUB q g 1\r\n").expect_pong()
    client.send(b"SUB in 1\r\nPUB q in 2\r\nhi\r\n")
    service.expect(b"MSG q 1 in 2\r\nhi\r\n").send(b"PUB in 3\r\nyes\r\n")
    client.expect(b"MSG in 1 3\r\nyes\r\n")
    stage.leave(service)
    stage.leave(client)


@scene
def request_to_another_account(stage: Stage) -> None:
    service, client = stage.hello(headers=True), stage.hello("imp")
    service.send(b"SUB svc 1\r\n").expect_pong()
    client.send(b"SUB in 1\r\nPUB svc in 2\r\nhi\r\n")
    words = service.read_until(b"\r\n").split()
    service.take(int(words[-1]) + 2)
    service.send(b"PUB %s 3\r\nyes\r\n" % words[3])
    client.expect(b"MSG in 1 3\r\nyes\r\n")
    stage.leave(service)
    stage.leave(client)


@scene
def no_responders(stage: Stage) -> None:
    client = stage.hello(headers=True, no_responders=True)
    client.send(b"SUB in 1\r\nPUB nobody in 2\r\nhi\r\n").read_until(b"\r\n\r\n\r\n")
    stage.leave(client)


@scene
def kicked(stage: Stage) -> None:
    client = stage.hello()
    body = b'{"cid":%d}' % client.info["client_id"]
    with contextlib.closing(Raw(stage.server.port).hello(user="sys", **{"pass": "sys"})) as operator:
        subject = f"$SYS.REQ.SERVER.{client.info['server_id']}.KICK".encode()
        operator.send(b"SUB i 1\r\nPUB %s i %d\r\n%s\r\n" % (subject, len(body), body)).read_until(b"\r\n")
    stage.gone(client)


@scene
def slow_consumer(stage: Stage) -> None:
    """Last: how much has been sent to it is chance, and stays in the account's sums."""
    slow = stage.dial()
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stage.come(slow.hello(user="app", **{"pass": "app"})).send(b"SUB flood 1\r\n").expect_pong()
    publisher = stage.hello()
    message = b"PUB flood 1000\r\n" + b"x" * 1000 + b"\r\n"
    for _ in range(10):
        publisher.send(message * 2000)
    publisher.expect_pong()
    if stage.server.kind.real:  # it has decided, but would go on writing for as long as it may
        slow.close()
    stage.leave(publisher)


@pytest.fixture(scope="module")
def theirs() -> Iterator[Watched]:
    """The real one."""
    yield from watched(REAL, CONFIG)


@pytest.fixture(scope="module")
def one() -> Iterator[Watched]:
    """Ours, with one worker."""
    yield from watched(ONE, CONFIG)


@pytest.fixture(scope="module")
def four() -> Iterator[Watched]:
    """Ours, with several."""
    yield from watched(FOUR, CONFIG)


@pytest.mark.parametrize("name", SCENES)
def test_same_events(theirs: Watched, one: Watched, four: Watched, name: str) -> None:
    compare(SCENES[name], theirs, one, four)
