"""The events of the system account of clients that come through TLS, or fail to, beside those of the real nats-server."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

import pytest

from tests.harness import FOUR, ONE, REAL, Kind
from tests.server.pki import Pki, alerted, secure
from tests.server.scenes import Stage, Watched, compare, watched

CONFIG: Final = """server_name: s1
system_account: SYS
allow_non_tls: true
accounts {
  SYS { users: [ { user: sys, password: sys } ] }
  APP { users: [ { user: app, password: app } ] }
}
"""
QUIET: Final = {"verbose": False, "pedantic": False}


@pytest.fixture(scope="module")
def servers(pki: Pki) -> Iterator[list[Watched]]:
    """The real one, and ours."""
    config = CONFIG + pki.tls("verify: true, timeout: 1")
    kinds: tuple[Kind, ...] = (REAL, ONE, FOUR)
    running = [watched(kind, config) for kind in kinds]
    yield [next(one) for one in running]
    for one in running:
        assert next(one, None) is None


def named(stage: Stage, pki: Pki) -> None:
    """Its certificate is good, and so is what it says."""
    client = secure(stage.dial(), pki.authority.client(pki.named))
    stage.come(client.hello(user="app", **{"pass": "app"}))
    client.send(b"PUB x 2\r\nhi\r\n").expect_pong()
    stage.leave(client)


def wrong_password(stage: Stage, pki: Pki) -> None:
    """Only its certificate is good."""
    secure(stage.dial(), pki.authority.client(pki.derek)).send_connect(**QUIET).read_eof()


def stranger(stage: Stage, pki: Pki) -> None:
    """A certificate of another authority."""
    alerted(stage.dial(), pki.authority.client(pki.stranger))


def no_certificate(stage: Stage, pki: Pki) -> None:
    alerted(stage.dial(), pki.authority.client())


def too_slow(stage: Stage, pki: Pki) -> None:
    """Half a handshake, and then nothing."""
    hello = _hello(pki)
    stage.dial().send(hello[: len(hello) // 2]).read_eof()


def garbage(stage: Stage, pki: Pki) -> None:
    """It begins like a handshake."""
    stage.dial().send(b"\x16\x03\x01\x00\x05abcde").read_eof()


def without(stage: Stage, pki: Pki) -> None:
    """TLS is not asked of it."""
    stage.leave(stage.hello())


def _hello(pki: Pki) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    machine = pki.authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        machine.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    "play",
    [named, wrong_password, stranger, no_certificate, too_slow, garbage, without],
    ids=lambda play: play.__name__,
)
def test_same_events(servers: list[Watched], pki: Pki, play: object) -> None:
    assert callable(play)
    compare(lambda stage: play(stage, pki), *servers)
