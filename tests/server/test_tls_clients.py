"""TLS: who may come in, which certificates clients show, and plain text beside TLS."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import ssl
import time
from typing import Final

import pytest

from broker.tls.certificate import read_pem
from tests.harness import Raw
from tests.server.monitor import MONITOR, Monitor
from tests.server.pki import Pki, alerted, echo, secure
from tests.server.shared import Dial

QUIET: Final = {"verbose": False, "pedantic": False}
VIOLATION: Final = b"-ERR 'Authorization Violation'\r\n"


# -- clients that do not fit --------------------------------------------------------------------------------------


def test_plain_client_is_refused(dial: Dial, pki: Pki) -> None:
    client = dial(pki.tls())
    client.send(Raw.connect_line() + b"PING\r\n").expect_eof()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 600, b"CONNECT {}\r\n"])
def test_garbage_is_refused(dial: Dial, pki: Pki, garbage: bytes) -> None:
    dial(pki.tls()).send(garbage).expect_eof()


@pytest.mark.parametrize("seed", range(4))
def test_garbage_that_looks_like_a_handshake(dial: Dial, pki: Pki, seed: int) -> None:
    noise = random.Random(seed).randbytes(300)
    answer = dial(pki.tls()).send(b"\x16\x03\x01\x01\x2c" + noise).read_eof()
    assert answer == b"" or answer[0] == 0x15, answer  # nothing, or an alert


def test_garbage_inside(dial: Dial, pki: Pki) -> None:
    client = secure(dial(pki.tls()), pki.authority.client()).hello()
    assert isinstance(client.sock, ssl.SSLSocket)
    with socket.socket(fileno=client.sock.detach()) as plain:
        plain.settimeout(10)
        plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        with contextlib.suppress(ConnectionResetError):
            while plain.recv(4096):
                continue
    client.sock = socket.socket()


def test_silent_client_is_cut(dial: Dial, pki: Pki) -> None:
    began = time.monotonic()
    client = dial(pki.tls("timeout: 0.5"))
    client.expect_eof()
    assert 0.4 < time.monotonic() - began < 5


def test_no_timeout_is_the_default_one(dial: Dial, pki: Pki) -> None:
    echo(secure(dial(pki.tls("timeout: 0")), pki.authority.client()).hello())


def test_half_a_handshake_is_cut(dial: Dial, pki: Pki) -> None:
    client = dial(pki.tls("timeout: 0.5"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    half = pki.authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    client.send(outgoing.read()[:100]).expect_eof()


# -- client certificates ------------------------------------------------------------------------------------------


def test_certificate_is_demanded(dial: Dial, pki: Pki) -> None:
    config = pki.tls("verify: true")
    echo(secure(dial(config), pki.authority.client(pki.derek)).hello())
    assert "REQUIRED" in alerted(dial(config), pki.authority.client())
    context = pki.authority.client(pki.stranger)
    assert alerted(dial(config), context) in (
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "SSLV3_ALERT_BAD_CERTIFICATE",
    )


def test_pinned_certificates(dial: Dial, pki: Pki) -> None:
    config = pki.tls(f'verify: true, pinned_certs: ["{pki.derek.pin}"]')
    echo(secure(dial(config), pki.authority.client(pki.derek)).hello())
    secure(dial(config), pki.authority.client(pki.named)).expect_eof()
    secure(dial(pki.tls(f'pinned_certs: ["{pki.derek.pin}"]')), pki.authority.client()).expect_eof()


MAPPED: Final = {  # for each certificate: a user, and whether it is that
    "named": [
        ("derek@example.com", True),
        ("derek.example.com", True),
        ("spiffe://example.com/derek", True),
        ("CN=named", True),
        ("CN=name", False),
        ("named", False),
        ("DEREK@EXAMPLE.COM", False),
    ],
    "escaped": [
        (r"CN=\\#joe \\\\x,OU=a\\, b\\+c,DC=example,DC=com", True),
        (r"DC=com,DC=example,OU=a\\, b\\+c,CN=\\#joe \\\\x", True),  # the other way round
        (r"DC=example,DC=com,OU=a\\, b\\+c,CN=\\#joe \\\\x", True),  # in any order
        (r"CN=\\#joe \\\\x,OU=a\\, b\\+c,DC=example", False),
        (r"CN=\\#joe \\\\x,OU=a\\, b\\+c,DC=example,DC=com,DC=com", False),
        (r"CN=joe,OU=a\\, b\\+c,DC=example,DC=com", False),
        (r"CN=\\#joe \\\\x,OU=a,DC=example,DC=com", False),
    ],
    "derek": [
        ("CN=derek,OU=eng+O=dev,O=Acme,C=US", True),
        ("CN=derek,O=dev+OU=eng,O=Acme,C=US", True),
        ("C=US,CN=derek,O=dev+OU=eng,O=Acme", True),
        ("cn=derek,o=dev+ou=eng,o=Acme,c=US", True),
        ("CN=derek,OU=eng,O=Acme,C=US", False),
        ("CN=derek,O=dev,O=Acme,C=US", False),
        ("CN=derek,OU=eng,O=dev,O=Acme,C=US", False),
    ],
}


@pytest.mark.parametrize("row", range(7))
def test_certificate_names_the_user(dial: Dial, pki: Pki, row: int) -> None:
    rows = {who: users[row] for who, users in MAPPED.items()}
    users = ", ".join(
        f'{{ user: "{user}", permissions: {{ publish: "{who}" }} }}' for who, (user, _) in rows.items()
    )
    config = pki.tls("verify_and_map: true", f"authorization {{ users: [ {users} ] }}")
    for who, (_, accepted) in rows.items():
        client = dial(config)
        assert client.info["auth_required"] is True and client.info["tls_verify"] is True
        secure(client, pki.authority.client(getattr(pki, who)))
        client.send_connect(**QUIET)
        if accepted:
            client.expect_pong().send(b"PUB %b 0\r\n\r\nPUB no 0\r\n\r\n" % who.encode())
            client.expect(b"-ERR 'Permissions Violation for Publish to \"no\"'\r\n")
        else:
            client.expect_eof(VIOLATION)


def test_mapped_user_with_a_password(dial: Dial, pki: Pki) -> None:
    """The certificate says who it is; a password that is configured must be right all the same."""
    users = "{ user: derek.example.com, password: pw }, { user: other, password: x }"
    config = pki.tls("verify_and_map: true", f"authorization {{ users: [ {users} ] }}")
    context = pki.authority.client(pki.named)
    echo(secure(dial(config), context).hello(**{"pass": "pw"}))
    echo(secure(dial(config), context).hello(**{"user": "other", "pass": "pw"}))
    secure(dial(config), context).send_connect(**QUIET).expect_eof(VIOLATION)
    secure(dial(config), context).send_connect(user="other", **{"pass": "x"}).expect_eof(VIOLATION)


def test_monitoring_shows_it(dial: Dial, pki: Pki) -> None:
    users = "{ user: derek.example.com, permissions: { publish: ok } }"
    config = pki.tls(
        "verify_and_map: true, handshake_first: true", f"{MONITOR}\nauthorization {{ users: [ {users} ] }}"
    )
    client = dial(config, info=False)
    secure(client, pki.authority.client(pki.named)).expect_info()
    client.send_connect(**QUIET, user="other").expect_pong()
    assert isinstance(client.sock, ssl.SSLSocket)
    cipher = client.sock.cipher()
    monitor = Monitor(dial.server(config))
    (shown,) = monitor.get("/connz?auth=1").json["connections"]
    der = ssl.PEM_cert_to_DER_cert(pki.named.cert.read_text())
    digest = hashlib.sha256(der).hexdigest()
    assert cipher is not None
    wanted = {
        "tls_version": "1.3",
        "tls_cipher_suite": cipher[0],
        "tls_first": True,
        "tls_peer_certs": [{"subject": "CN=named", "spki_sha256": pki.named.pin, "cert_sha256": digest}],
        "authorized_user": "derek.example.com",
    }
    shown["tls_peer_certs"] = shown["tls_peer_certs"][:1]  # nats-server shows the whole chain
    assert {name: shown.get(name) for name in wanted} == wanted
    assert "tls_peer_certs" not in monitor.get("/connz").json["connections"][0]
    end = read_pem(pki.server.cert.read_text()).expires
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    assert monitor.get("/varz").json["tls_cert_not_after"] == text


# -- plain text beside TLS ----------------------------------------------------------------------------------------


def test_allow_non_tls(dial: Dial, pki: Pki) -> None:
    config = pki.tls("", "allow_non_tls: true")
    plain = dial(config).hello()
    tls = secure(dial(config), pki.authority.client()).hello()
    plain.send(b"SUB to.plain 1\r\n").expect_pong()
    tls.send(b"SUB to.tls 1\r\n").expect_pong()
    for sender, receiver, subject in ((plain, tls, b"to.tls"), (tls, plain, b"to.plain")):
        sender.send(b"PUB %b 2\r\nhi\r\n" % subject)
        receiver.expect(b"MSG %b 1 2\r\nhi\r\n" % subject)


def test_silent_client_is_a_plain_one(dial: Dial, pki: Pki) -> None:
    config = pki.tls("timeout: 0.3", "allow_non_tls: true\nauthorization { token: t, timeout: 0.4 }")
    dial(config).expect_eof(b"-ERR 'Authentication Timeout'\r\n")
