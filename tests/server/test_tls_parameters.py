"""TLS: versions, ciphers, curves, sessions, and several certificates."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from tests.server.pki import Pki, alerted, echo, secure
from tests.server.shared import Dial


def context_of(pki: Pki, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = pki.authority.client()
    context.minimum_version = context.maximum_version = version
    return context


def test_versions(dial: Dial, pki: Pki) -> None:
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        client = secure(dial(pki.tls()), context_of(pki, version))
        assert isinstance(client.sock, ssl.SSLSocket) and client.sock.version() == name
        echo(client.hello())
    strict = pki.tls('min_version: "1.3"')
    assert "VERSION" in alerted(dial(strict), context_of(pki, ssl.TLSVersion.TLSv1_2))
    echo(secure(dial(strict), context_of(pki, ssl.TLSVersion.TLSv1_3)).hello())


def test_cipher_suites(dial: Dial, pki: Pki) -> None:
    config = pki.tls('cipher_suites: ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]')
    client = secure(dial(config), context_of(pki, ssl.TLSVersion.TLSv1_2))
    assert isinstance(client.sock, ssl.SSLSocket)
    cipher = client.sock.cipher()
    assert cipher is not None and cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    echo(client.hello())
    other = context_of(pki, ssl.TLSVersion.TLSv1_2)
    other.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    assert "HANDSHAKE_FAILURE" in alerted(dial(config), other)


@pytest.mark.parametrize("curves", ["CurveP384", "CurveP521, CurveP384"])
def test_curves(dial: Dial, pki: Pki, curves: str) -> None:
    config = pki.tls(f"curve_preferences: [{curves}]")
    context = context_of(pki, ssl.TLSVersion.TLSv1_3)
    context.set_ecdh_curve("secp384r1")
    echo(secure(dial(config), context).hello())
    context.set_ecdh_curve("prime256v1")
    assert "HANDSHAKE_FAILURE" in alerted(dial(config), context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("extra", ["", "verify: true"])
def test_sessions(dial: Dial, pki: Pki, version: ssl.TLSVersion, extra: str) -> None:
    """A client may offer a session of before; workers need not share them."""
    config = pki.tls(extra)
    context = pki.authority.client(pki.derek)
    context.minimum_version = context.maximum_version = version
    session = None
    for _ in range(3):
        client = secure(dial(config), context, session=session).hello()
        echo(client)
        assert isinstance(client.sock, ssl.SSLSocket)
        session = client.sock.session
        assert session is not None and session.has_ticket


def test_several_certificates(dial: Dial, pki: Pki) -> None:
    pairs = {
        name: pki.authority.issue(f"sni-{name}", [[("CN", name)]], hosts=[f"{name}.example.com"])
        for name in "ab"
    }
    items = ", ".join(f'{{ cert_file: "{pair.cert}", key_file: "{pair.key}" }}' for pair in pairs.values())
    config = f"tls {{ certs: [ {items} ] }}\n"
    for name, expected in (("b.example.com", "b"), ("a.example.com", "a")):
        client = dial(config)
        client.sock = pki.authority.client().wrap_socket(client.sock, server_hostname=name)
        assert isinstance(client.sock, ssl.SSLSocket)
        certificate: Any = client.sock.getpeercert()
        assert certificate["subject"] == ((("commonName", expected),),)
        echo(client.hello())
