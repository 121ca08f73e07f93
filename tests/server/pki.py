"""Certificates that the tests of TLS share, and clients that use them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, Pair
from tests.harness import Raw


@dataclass(slots=True, frozen=True)
class Pki:
    """An authority, the server's certificate, and those of clients."""

    authority: Authority
    other: Authority
    server: Pair
    derek: Pair  # subject CN=derek,OU=eng+O=dev,O=Acme,C=US, in RFC 2253 order
    escaped: Pair
    stranger: Pair  # signed by the other authority
    named: Pair  # with alternative names

    def tls(self, extra: str = "", top: str = "", pair: Pair | None = None) -> str:
        """A configuration with a TLS block."""
        pair = pair or self.server
        files = f'cert_file: "{pair.cert}", key_file: "{pair.key}", ca_file: "{self.authority.file}"'
        return f"tls {{ {files}, {extra} }}\n{top}\n"

    @classmethod
    def issue(cls, folder: Path) -> Pki:
        """Make all of them, in files of that folder."""
        ours, other = Authority(folder), Authority(folder, "other")
        derek = [[("C", "US")], [("O", "Acme")], [("OU", "eng"), ("O", "dev")], [("CN", "derek")]]
        return cls(
            ours,
            other,
            ours.issue("server", [[("CN", "server")]], hosts=["localhost", "127.0.0.1"]),
            ours.issue("derek", derek),
            ours.issue(
                "escaped", [[("DC", "com")], [("DC", "example")], [("OU", "a, b+c")], [("CN", "#joe \\x")]]
            ),
            other.issue("stranger", derek),
            ours.issue(
                "named",
                [[("CN", "named")]],
                emails=["derek@example.com"],
                hosts=["derek.example.com"],
                uris=["spiffe://example.com/derek"],
            ),
        )


def secure(client: Raw, context: ssl.SSLContext, **options: Any) -> Raw:
    """Shake hands; whatever the client sends and reads from now on goes through TLS."""
    assert not client.buffer
    client.sock = context.wrap_socket(client.sock, server_hostname="localhost", **options)
    return client


def echo(client: Raw, payload: bytes = b"hello") -> None:
    """Assert that the client can subscribe and publish."""
    client.send(b"SUB echo 1\r\nPUB echo %d\r\n%b\r\n" % (len(payload), payload))
    client.expect(b"MSG echo 1 %d\r\n%b\r\n" % (len(payload), payload)).send(b"UNSUB 1\r\n")


def alerted(client: Raw, context: ssl.SSLContext) -> str:
    """Assert that the server refuses the handshake; how the client sees that."""
    with pytest.raises(ssl.SSLError) as caught:  # in TLS 1.3 a client learns of it after its own last word
        secure(client, context).send(b"PING\r\n").sock.recv(1)
    return caught.value.reason or ""


# -- INFO, and the conversation -----------------------------------------------------------------------------------
