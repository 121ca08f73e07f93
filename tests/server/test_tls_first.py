"""TLS: a handshake before INFO."""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.harness import Raw
from tests.server.pki import Pki, echo, secure
from tests.server.shared import Dial

QUIET: Final = {"verbose": False, "pedantic": False}


def first(dial: Dial, config: str, pki: Pki) -> Raw:
    client = dial(config, info=False)
    secure(client, pki.authority.client())
    client.info = client.expect_info()
    return client


@pytest.mark.parametrize("how", ["true", "auto", '"20s"'])
def test_handshake_first(dial: Dial, pki: Pki, how: str) -> None:
    client = first(dial, pki.tls(f"handshake_first: {how}"), pki)
    assert client.info["tls_required"] is True
    client.send_connect(**QUIET, protocol=1).expect_pong()
    assert client.expect_info()["tls_required"] is True
    echo(client)


def test_handshake_first_only(dial: Dial, pki: Pki) -> None:
    config = pki.tls("handshake_first: true, timeout: 0.4")
    dial(config, info=False).expect_eof()
    dial(config, info=False).send(Raw.connect_line()).expect_eof()


@pytest.mark.parametrize(("how", "least"), [("auto", 0.04), ('"300ms"', 0.25)])
def test_handshake_first_or_after_a_while(dial: Dial, pki: Pki, how: str, least: float) -> None:
    config = pki.tls(f"handshake_first: {how}")
    dial.server(config)
    began = time.monotonic()
    client = dial(config)
    assert time.monotonic() - began > least
    assert client.info["tls_required"] is True
    echo(secure(client, pki.authority.client()).hello())


def test_handshake_first_with_plain_clients(dial: Dial, pki: Pki) -> None:
    config = pki.tls("handshake_first: auto", "allow_non_tls: true")
    client = first(dial, config, pki)
    assert client.info["tls_required"] is True and client.info["tls_available"] is True
    late = dial(config)
    assert "tls_required" not in late.info and late.info["tls_available"] is True
    echo(late.hello())
    echo(secure(dial(config), pki.authority.client()).hello())
