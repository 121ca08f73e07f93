"""TLS for clients: section 11 of the client protocol."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nats
import pytest

from broker.tls.certificate import read_pem
from tests.certificates import Authority, Pair
from tests.harness import Kind, Raw, Server, start
from tests.server.monitor import MONITOR, Monitor
from tests.server.shared import Dial

QUIET: Final = {"verbose": False, "pedantic": False}
UNKNOWN: Final = b"-ERR 'Unknown Protocol Operation'\r\n"
VIOLATION: Final = b"-ERR 'Authorization Violation'\r\n"
THROTTLED: Final = b"-ERR 'Connection throttling is active. Please try again later.'\r\n"
HANDSHAKE: Final = 0x16


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


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = Authority(folder), Authority(folder, "other")
    derek = [[("C", "US")], [("O", "Acme")], [("OU", "eng"), ("O", "dev")], [("CN", "derek")]]
    return Pki(
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


@pytest.mark.parametrize(
    ("extra", "top", "fields"),
    [
        ("", "", {"tls_required": True}),
        ("verify: true", "", {"tls_required": True, "tls_verify": True}),
        ("", "allow_non_tls: true", {"tls_available": True}),
        ("verify: true", "allow_non_tls: true", {"tls_available": True, "tls_verify": True}),
    ],
)
def test_info(dial: Dial, pki: Pki, extra: str, top: str, fields: dict[str, bool]) -> None:
    client = dial(pki.tls(extra, top))
    assert {name: value for name, value in client.info.items() if name.startswith("tls")} == fields
    secure(client, pki.authority.client(pki.derek)).send_connect(**QUIET, protocol=1).expect_pong()
    again = client.expect_info()
    assert {name: value for name, value in again.items() if name.startswith("tls")} == fields
    echo(client)


def test_order_of_fields(dial: Dial, pki: Pki) -> None:
    names = list(dial(pki.tls("verify: true", "allow_non_tls: true\nauthorization { token: x }")).info)
    wanted = ["headers", "auth_required", "tls_verify", "tls_available", "max_payload", "client_id"]
    assert [name for name in names if name in wanted] == wanted


def test_error_comes_before_a_proper_end(dial: Dial, pki: Pki) -> None:
    client = secure(dial(pki.tls()), pki.authority.client(), suppress_ragged_eofs=False)
    client.hello().send(b"FOO\r\n").expect_eof(UNKNOWN)  # without close_notify, this would raise


def test_the_clients_good_bye(dial: Dial, pki: Pki) -> None:
    client = secure(dial(pki.tls()), pki.authority.client()).hello()
    assert isinstance(client.sock, ssl.SSLSocket)
    with contextlib.suppress(ssl.SSLEOFError):  # nats-server closes without one of its own, then
        client.sock = client.sock.unwrap()
    client.expect_eof()


def test_authentication_fails_inside(dial: Dial, pki: Pki) -> None:
    config = pki.tls("", "authorization { token: secret }")
    secure(dial(config), pki.authority.client()).send_connect(auth_token="x").expect_eof(VIOLATION)
    echo(secure(dial(config), pki.authority.client()).hello(auth_token="secret"))


def test_authentication_timeout_starts_after_the_handshake(dial: Dial, pki: Pki) -> None:
    client = dial(pki.tls("", "authorization { token: secret, timeout: 0.4 }"))
    secure(client, pki.authority.client()).expect_eof(b"-ERR 'Authentication Timeout'\r\n")


def test_byte_by_byte(dial: Dial, pki: Pki) -> None:
    """Every byte in a record of its own."""
    client = secure(dial(pki.tls()), pki.authority.client())
    text = Raw.connect_line(**QUIET) + b"SUB a.* 1\r\nPUB a.b 3\r\nxyz\r\nPUB a.b r 0\r\n\r\nPING\r\n"
    for i in range(len(text)):
        client.send(text[i : i + 1])
    client.expect(b"MSG a.b 1 3\r\nxyz\r\nMSG a.b 1 r 0\r\n\r\nPONG\r\n")


def test_everything_at_once(dial: Dial, pki: Pki) -> None:
    """What the client says right behind its handshake comes in with its end."""
    client = secure(dial(pki.tls("", "authorization { token: t }")), pki.authority.client())
    client.send(
        Raw.connect_line(**QUIET, auth_token="t") + b"SUB a 1\r\n" + b"PUB a 1\r\nx\r\n" * 5000 + b"PING\r\n"
    )
    client.expect(b"MSG a 1 1\r\nx\r\n" * 5000 + b"PONG\r\n")


@pytest.mark.parametrize("size", [16_384, 65_536, 1_000_000, 1_048_576])
def test_large_payloads(dial: Dial, pki: Pki, size: int) -> None:
    client = secure(dial(pki.tls()), pki.authority.client()).hello()
    echo(client, random.Random(size).randbytes(size))


def test_payload_limit(dial: Dial, pki: Pki) -> None:
    client = secure(dial(pki.tls()), pki.authority.client()).hello()
    client.send(b"PUB a 1048577\r\n").expect_eof(b"-ERR 'Maximum Payload Violation'\r\n")


def test_many_messages_between_two(dial: Dial, pki: Pki) -> None:
    reader = secure(dial(pki.tls()), pki.authority.client()).hello()
    writer = secure(dial(pki.tls()), pki.authority.client()).hello()
    reader.send(b"SUB flood 1\r\n").expect_pong()
    numbers = [b"%d" % i for i in range(20_000)]
    writer.send(b"".join(b"PUB flood %d\r\n%b\r\n" % (len(text), text) for text in numbers))
    reader.expect(b"".join(b"MSG flood 1 %d\r\n%b\r\n" % (len(text), text) for text in numbers))


def test_the_server_stops(kind: Kind, pki: Pki) -> None:
    server = start(kind, pki.tls())
    client = secure(Raw(server.port), pki.authority.client(), suppress_ragged_eofs=False).hello()
    server.stop()
    client.expect_eof()  # after close_notify
    client.close()


@pytest.mark.parametrize(("extra", "warns"), [("true", True), ("auto", False), ("false", False)])
def test_the_log_says_so(dial: Dial, pki: Pki, extra: str, warns: bool) -> None:
    log = dial.server(pki.tls(f"handshake_first: {extra}")).log.text
    assert "[INF] TLS required for client connections" in log
    warning = '[WRN] Clients that are not using "TLS Handshake First" option will fail to connect'
    assert (warning in log) == warns


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


# -- TLS first ----------------------------------------------------------------------------------------------------


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


# -- limits -------------------------------------------------------------------------------------------------------


def test_handshakes_per_second(kind: Kind, pki: Pki) -> None:
    server = start(kind, pki.tls("connection_rate_limit: 2"))
    try:
        outcomes = []
        for _ in range(6):
            client = Raw(server.port)
            line = _one_line(client)
            outcomes.append(line)
            client.close()
        assert outcomes.count(THROTTLED) >= 2 and outcomes.count(b"") >= 2, outcomes
    finally:
        server.stop()


def _one_line(client: Raw) -> bytes:
    """What the server says before a handshake, if anything within a moment."""
    if client.buffer:
        return bytes(client.buffer)
    client.sock.settimeout(0.1)
    try:
        return client.sock.recv(4096)
    except TimeoutError:
        return b""


def test_full_server(kind: Kind, pki: Pki) -> None:
    server = start(kind, pki.tls("", "max_connections: 1"))
    try:
        client = secure(Raw(server.port), pki.authority.client()).hello()
        Raw(server.port).expect_eof(b"-ERR 'maximum connections exceeded'\r\n")
        echo(client)
        client.leave()
    finally:
        server.stop()


def test_slow_reader_is_cut(kind: Kind, pki: Pki) -> None:
    server = start(kind, pki.tls("", "max_pending: 2MB\nwrite_deadline: 60s"))
    try:
        reader = secure(Raw(server.port), pki.authority.client()).hello()
        writer = secure(Raw(server.port), pki.authority.client()).hello()
        reader.send(b"SUB flood 1\r\n").expect_pong()
        message = b"PUB flood 100000\r\n" + bytes(100000) + b"\r\n"
        for _ in range(400):
            writer.send(message)
            if "Slow Consumer" in server.log.text:
                break
        server.log.wait_for("Slow Consumer Detected: MaxPending of 2(097152|000000) Exceeded")
        echo(writer)
        reader.close()
        writer.close()
    finally:
        server.stop()


def test_quick_reader_is_not(kind: Kind, pki: Pki) -> None:
    """A reader that keeps up is not called slow, though more is sent to it at once than may be pending."""
    server = start(kind, pki.tls("", "max_pending: 300000\nmax_payload: 65536"))
    try:
        clients = [secure(Raw(server.port), pki.authority.client()).hello() for _ in range(5)]
        reader, writers = clients[0], clients[1:]
        reader.send(b"SUB flood 1\r\n").expect_pong()
        message = b"PUB flood 8000\r\n" + bytes(8000) + b"\r\n"
        frame = b"MSG flood 1 8000\r\n" + bytes(8000) + b"\r\n"
        for _ in range(20):
            for writer in writers:
                writer.send(message * 20)
            for _ in range(20 * len(writers)):
                reader.expect(frame)
        assert "Slow Consumer" not in server.log.text
        for client in clients:
            client.close()
    finally:
        server.stop()


# -- versions, ciphers, curves, sessions, several certificates ----------------------------------------------------


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


# -- nats-py, and many at once ------------------------------------------------------------------------------------


async def settle(client: nats.NATS) -> None:
    """Return when the server knows the client's subscriptions. (nats-py's PING overtakes what waits to be written.)"""
    await client.flush()
    await client.flush()


@pytest.mark.parametrize("how", ["", "handshake_first: true"])
def test_nats_py(dial: Dial, pki: Pki, how: str) -> None:
    server = dial.server(pki.tls(how))

    async def talk() -> None:
        options: dict[str, Any] = {
            "tls": pki.authority.client(),
            "tls_hostname": "localhost",
            "tls_handshake_first": bool(how),
        }
        url = f"tls://127.0.0.1:{server.port}"
        one, two = await nats.connect(url, **options), await nats.connect(url, **options)

        async def answer(message: Any) -> None:
            await message.respond(message.data[::-1])

        await two.subscribe("service", cb=answer)
        await settle(two)
        for size in (0, 5, 70_000, 1_000_000):
            body = random.Random(size).randbytes(size)
            assert (await one.request("service", body, timeout=10)).data == body[::-1]
        inbox = await one.subscribe("many")
        await settle(one)
        for i in range(500):
            await two.publish("many", json.dumps(i).encode(), headers={"n": str(i)})
        for i in range(500):
            message = await inbox.next_msg(timeout=10)
            assert message.data == json.dumps(i).encode() and message.headers == {"n": str(i)}
        await one.close()
        await two.close()

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_many_handshakes_at_once(kind: Kind, pki: Pki) -> None:
    """A crowd connects while two talk: everybody gets in, and the two are served meanwhile."""
    server = start(kind, pki.tls("timeout: 30"))
    context = pki.authority.client()

    async def crowd() -> None:
        talker = secure(Raw(server.port), context).hello()
        url = f"tls://127.0.0.1:{server.port}"
        join = [
            asyncio.create_task(nats.connect(url, tls=context, tls_hostname="localhost", connect_timeout=30))
            for _ in range(60)
        ]
        while not all(task.done() for task in join):
            await asyncio.to_thread(echo, talker)
        for task in join:
            client = task.result()
            await client.flush()
            await client.close()
        talker.close()

    try:
        asyncio.run(asyncio.wait_for(crowd(), 60))
    finally:
        server.stop()


# -- certificates change (ours: nats-server wants a signal for it) ------------------------------------------------


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
