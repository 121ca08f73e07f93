"""TLS for clients: section 11 of the client protocol; INFO, and the conversation."""

from __future__ import annotations

import contextlib
import random
import ssl
from typing import Final

import pytest

from tests.harness import Kind, Raw, start
from tests.server.pki import Pki, echo, secure
from tests.server.shared import Dial

QUIET: Final = {"verbose": False, "pedantic": False}
UNKNOWN: Final = b"-ERR 'Unknown Protocol Operation'\r\n"
VIOLATION: Final = b"-ERR 'Authorization Violation'\r\n"


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
