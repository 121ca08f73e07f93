"""TLS: certificates change while the server runs (ours: nats-server wants a signal for it)."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, Pair
from tests.harness import Kind, Raw, Server, start
from tests.server.pki import Pki, echo, secure


@pytest.fixture
def own(kind: Kind, pki: Pki, tmp_path: Path) -> Iterator[tuple[Server, Authority, Pair]]:
    """A server with a certificate of its own, which will expire soon."""
    if kind.real:
        pytest.skip("nats-server does not look at the files by itself")
    authority = Authority(tmp_path)
    pair = authority.issue("server", [[("CN", "before")]], hosts=["localhost"], days=20)
    server = start(kind, f'tls {{ cert_file: "{pair.cert}", key_file: "{pair.key}" }}\n')
    try:
        yield server, authority, pair
    finally:
        server.stop()


def subject_of(client: Raw) -> str:
    assert isinstance(client.sock, ssl.SSLSocket)
    certificate: Any = client.sock.getpeercert()
    return str(certificate["subject"][0][0][1])


def test_new_certificates_are_used(own: tuple[Server, Authority, Pair]) -> None:
    server, authority, _ = own
    server.log.wait_for(r"\[WRN\] TLS certificate expires in (19|20) days")
    context = authority.client()
    before = secure(Raw(server.port), context).hello()
    assert subject_of(before) == "before"
    mark = server.log.mark()
    authority.issue("server", [[("CN", "after")]], hosts=["localhost"])
    server.log.wait_for(r"\[INF\] Reloaded: tls certificates", since=mark)
    deadline = time.monotonic() + 20  # every worker looks at its own time
    while True:
        after = secure(Raw(server.port), context).hello()
        if subject_of(after) == "after" or time.monotonic() > deadline:
            break
        after.close()
    assert subject_of(after) == "after"
    echo(before)
    echo(after)
    before.close()
    after.close()


def test_broken_certificates_are_not(own: tuple[Server, Authority, Pair]) -> None:
    server, authority, pair = own
    pair.cert.write_text("nothing")
    server.log.wait_for(r"\[ERR\] TLS certificates not reloaded: ")
    client = secure(Raw(server.port), authority.client()).hello()
    assert subject_of(client) == "before"
    echo(client)
    client.close()
