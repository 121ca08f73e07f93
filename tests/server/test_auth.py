"""Who may connect, and as whom: section 9 of the client protocol."""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any, Final

import bcrypt
import pytest
from nacl.signing import SigningKey

from tests.harness import Raw
from tests.server.shared import Dial

VIOLATION: Final = b"-ERR 'Authorization Violation'\r\n"
TIMEOUT: Final = b"-ERR 'Authentication Timeout'\r\n"
QUIET: Final = {"verbose": False, "pedantic": False}

TOKEN: Final = 'authorization { token: "s3cr3t" }'
SINGLE: Final = 'authorization { user: derek, password: "T0pS3cr3t", timeout: 0.7 }'
HASH: Final = bcrypt.hashpw(b"hidden", bcrypt.gensalt(4)).decode()
KEY: Final = SigningKey(bytes(range(32)))
OTHER_KEY: Final = SigningKey(bytes(range(1, 33)))


def public_user(key: SigningKey) -> str:
    """The text form of a user's public key: prefix byte "U", key, CRC-16, in base 32."""
    data = bytes([20 << 3]) + bytes(key.verify_key)
    return base64.b32encode(data + binascii.crc_hqx(data, 0).to_bytes(2, "little")).decode().rstrip("=")


USERS: Final = f"""authorization {{
  users: [
    {{ user: plain, password: "pa ss" }}
    {{ user: hashed, password: "{HASH}" }}
    {{ user: open }}
    {{ user: socket, password: s, allowed_connection_types: ["WEBSOCKET", "MQTT"] }}
    {{ user: tcp, password: s, allowed_connection_types: ["standard"] }}
    {{ nkey: {public_user(KEY)} }}
  ]
}}"""
GUEST: Final = """authorization {
  users: [
    { user: boss, password: b }
    { user: guest, password: g, permissions: { publish: "pub.>", subscribe: ["pub.>", "_INBOX.>"] } }
  ]
}
no_auth_user: guest"""


def signed(client: Raw, key: SigningKey, *, pad: bool = False, text: bytes | None = None) -> dict[str, Any]:
    """CONNECT options that prove the possession of ``key``."""
    nonce: bytes = client.info["nonce"].encode() if text is None else text
    signature = bytes(key.sign(nonce).signature)
    sig = base64.b64encode(signature) if pad else base64.urlsafe_b64encode(signature).rstrip(b"=")
    return {"nkey": public_user(key), "sig": sig.decode()}


def refused(client: Raw, **options: object) -> None:
    """Assert that this CONNECT is refused, with nothing executed after it."""
    client.send_connect(**QUIET, **options).send(b"PING\r\n").expect_eof(VIOLATION)


@pytest.mark.parametrize("config", [TOKEN, SINGLE, USERS])
def test_info_asks_for_authentication(dial: Dial, config: str) -> None:
    info = dial(config).info
    assert info["auth_required"] is True
    assert ("nonce" in info) == (config == USERS)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (TOKEN, {"auth_token": "s3cr3t"}),
        (TOKEN, {"auth_token": "s3cr3t", "user": "ignored", "pass": "too"}),
        (SINGLE, {"user": "derek", "pass": "T0pS3cr3t"}),
        (USERS, {"user": "plain", "pass": "pa ss"}),
        (USERS, {"user": "hashed", "pass": "hidden"}),
        (USERS, {"user": "open"}),
        (USERS, {"user": "open", "pass": ""}),
        (USERS, {"user": "tcp", "pass": "s"}),
        (GUEST, {"user": "boss", "pass": "b"}),
        (GUEST, {"user": "guest", "pass": "g"}),
        (GUEST, {}),
    ],
)
def test_accepted(dial: Dial, config: str, options: dict[str, str]) -> None:
    dial(config).hello(**options).send(b"SUB pub.a 1\r\nPUB pub.a 2\r\nok\r\n").expect(
        b"MSG pub.a 1 2\r\nok\r\n"
    )


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (TOKEN, {}),
        (TOKEN, {"auth_token": ""}),
        (TOKEN, {"auth_token": "s3cr3T"}),
        (TOKEN, {"auth_token": "s3cr3t\0"}),
        (TOKEN, {"user": "s3cr3t"}),
        (SINGLE, {}),
        (SINGLE, {"user": "derek"}),
        (SINGLE, {"user": "derek", "pass": "T0pS3cr3"}),
        (SINGLE, {"user": "Derek", "pass": "T0pS3cr3t"}),
        (SINGLE, {"pass": "T0pS3cr3t"}),
        (SINGLE, {"auth_token": "T0pS3cr3t"}),
        (USERS, {}),
        (USERS, {"user": "nobody", "pass": "pa ss"}),
        (USERS, {"user": "plain"}),
        (USERS, {"user": "plain", "pass": "pa ss "}),
        (USERS, {"user": "hashed", "pass": "Hidden"}),
        (USERS, {"user": "hashed", "pass": HASH}),
        (USERS, {"user": "hashed", "pass": ""}),
        (USERS, {"user": "open", "pass": "x"}),
        (USERS, {"user": "socket", "pass": "s"}),
        (USERS, {"user": public_user(KEY)}),
        (GUEST, {"user": "boss", "pass": "x"}),
        (GUEST, {"user": "boss"}),
        (GUEST, {"user": "guest"}),
        (GUEST, {"pass": "g"}),
    ],
)
def test_refused(dial: Dial, config: str, options: dict[str, str]) -> None:
    refused(dial(config), **options)


@pytest.mark.parametrize("config", [TOKEN, SINGLE, USERS])
@pytest.mark.parametrize(
    "first", [b"PING\r\n", b"SUB a 1\r\n", b"PUB a 0\r\n\r\n", b"\r\n", b"X", b"+OK\r\n", b"-ERR x\r\n"]
)
def test_connect_must_come_first(dial: Dial, config: str, first: bytes) -> None:
    dial(config).send(first).expect_eof(VIOLATION)


@pytest.mark.parametrize("line", [b"CONNECT\r\n", b"CONNECT {\r\n", b'CONNECT {"user":1}\r\n'])
def test_malformed_connect_closes_silently(dial: Dial, line: bytes) -> None:
    dial(SINGLE).send(line).expect_eof(b"")


def test_unknown_verb_that_begins_like_connect(dial: Dial) -> None:
    dial(SINGLE).send(b"CONTACT {}\r\n").expect_eof(b"-ERR 'Unknown Protocol Operation'\r\n")


def test_any_case_of_connect(dial: Dial) -> None:
    dial(SINGLE).send(b'connect {"user":"derek","pass":"T0pS3cr3t"}\r\n').expect(b"+OK\r\n").expect_pong()


@pytest.mark.parametrize("part", [b"", b"CONN", b'CONNECT {"user":"derek",'])
def test_silence_ends_in_time(dial: Dial, part: bytes) -> None:
    start = time.monotonic()
    client = dial(SINGLE).send(part)
    client.expect_eof(TIMEOUT)
    assert 0.6 < time.monotonic() - start < 3.0


def test_no_timeout_once_accepted(dial: Dial) -> None:
    idle = dial(SINGLE).hello(user="derek", **{"pass": "T0pS3cr3t"})
    dial(SINGLE).expect_eof(
        TIMEOUT
    )  # connected later, and is timed out: so the other one's time is over, too
    idle.expect_pong()


@pytest.mark.parametrize("user", ["plain", "hashed", "open", "nkey"])
def test_what_follows_connect_in_its_segment_waits_for_the_decision(dial: Dial, user: str) -> None:
    client = dial(USERS)
    secret = {"plain": {"pass": "pa ss"}, "hashed": {"pass": "hidden"}, "open": {}}
    options = signed(client, KEY) if user == "nkey" else {"user": user, **secret[user]}
    rest = b"SUB seg 1\r\nPUB seg 2\r\nhi\r\nPING\r\n"
    client.send(client.connect_line(**QUIET, **options) + rest).expect(b"MSG seg 1 2\r\nhi\r\nPONG\r\n")


@pytest.mark.parametrize("user", ["plain", "hashed"])
def test_nothing_is_executed_after_a_refusal(dial: Dial, user: str) -> None:
    watcher = dial(USERS).hello(user="open").send(b"SUB leak 1\r\n").expect_pong().watch()
    client = dial(USERS)
    line = client.connect_line(user=user, **{"pass": "wrong"})
    client.send(line + b"PUB leak 0\r\n\r\nPING\r\n").expect_eof(VIOLATION)
    assert watcher.received_from(dial(USERS).hello(user="open")) == b""


def test_many_hashed_passwords_at_once(dial: Dial) -> None:
    clients = [dial(USERS) for _ in range(20)]
    for position, client in enumerate(clients):
        client.send_connect(**QUIET, user="hashed", **{"pass": "hidden" if position % 2 else "wrong"})
        client.send(b"PING\r\n")
    for position, client in enumerate(clients):
        if position % 2:
            client.expect(b"PONG\r\n").expect_pong()
        else:
            client.expect_eof(VIOLATION)


def test_hash_of_a_client_that_has_left(dial: Dial) -> None:
    for _ in range(10):
        dial(USERS).send_connect(user="hashed", **{"pass": "hidden"}).close()
    dial(USERS).hello(user="hashed", **{"pass": "hidden"})


class TestNkey:
    """A user who proves the possession of a key."""

    def test_nonce(self, dial: Dial) -> None:
        nonces = {dial(USERS).info["nonce"] for _ in range(5)}
        assert len(nonces) == 5
        assert all(len(base64.urlsafe_b64decode(nonce + "=")) == 11 for nonce in nonces)

    @pytest.mark.parametrize("pad", [False, True])
    def test_signature(self, dial: Dial, pad: bool) -> None:
        client = dial(USERS)
        client.hello(**signed(client, KEY, pad=pad))

    def test_signature_of_something_else(self, dial: Dial) -> None:
        client = dial(USERS)
        refused(client, **signed(client, KEY, text=dial(USERS).info["nonce"].encode()))

    def test_signature_by_another_key(self, dial: Dial) -> None:
        client = dial(USERS)
        refused(client, **{**signed(client, OTHER_KEY), "nkey": public_user(KEY)})

    def test_unknown_key(self, dial: Dial) -> None:
        client = dial(USERS)
        refused(client, **signed(client, OTHER_KEY))

    @pytest.mark.parametrize("sig", ["", "x", "!!!!", "A" * 86, "A" * 10000])
    def test_malformed_signature(self, dial: Dial, sig: str) -> None:
        client = dial(USERS + "\nmax_control_line: 16kb")
        refused(client, nkey=public_user(KEY), sig=sig)

    @pytest.mark.parametrize("nkey", ["U", "x" * 56, public_user(KEY).lower(), public_user(KEY)[:-1]])
    def test_malformed_key(self, dial: Dial, nkey: str) -> None:
        client = dial(USERS)
        refused(client, **{**signed(client, KEY), "nkey": nkey})

    def test_no_nonce_in_the_second_info(self, dial: Dial) -> None:
        client = dial(USERS)
        client.send_connect(**QUIET, protocol=1, **signed(client, KEY)).send(b"PING\r\n").expect(b"PONG\r\n")
        second = client.expect_info()
        assert second["connect_info"] is True and second["auth_required"] is True


class TestGuest:
    """``no_auth_user``: who says nothing about himself is the guest."""

    def test_first_info_does_not_ask(self, dial: Dial) -> None:
        assert "auth_required" not in dial(GUEST).info

    def test_second_info_tells_the_truth(self, dial: Dial) -> None:
        client = dial(GUEST).send_connect(**QUIET, protocol=1).send(b"PING\r\n").expect(b"PONG\r\n")
        assert client.expect_info()["auth_required"] is True

    def test_without_connect(self, dial: Dial) -> None:
        client = dial(GUEST).send(b"PING\r\n").expect(b"PONG\r\n")
        client.send(b"SUB pub.a 1\r\nPUB pub.a 0\r\n\r\n").expect(b"+OK\r\n+OK\r\nMSG pub.a 1 0\r\n\r\n")
        client.send(b"PUB x 0\r\n\r\n").expect(b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n")
        client.send(b"SUB x 2\r\n").expect(b"-ERR 'Permissions Violation for Subscription to \"x\"'\r\n")
        client.expect_pong()

    def test_connect_without_credentials(self, dial: Dial) -> None:
        client = dial(GUEST).hello().send(b"PUB x 0\r\n\r\n")
        client.expect(b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n").expect_pong()

    def test_others_keep_their_rights(self, dial: Dial) -> None:
        dial(GUEST).hello(user="boss", **{"pass": "b"}).send(b"SUB x 1\r\nPUB x 0\r\n\r\n").expect(
            b"MSG x 1 0\r\n\r\n"
        )


class TestSecondConnect:
    """A CONNECT on a connection that has been accepted authenticates again."""

    def test_with_wrong_credentials(self, dial: Dial) -> None:
        client = dial(USERS).hello(user="open")
        refused(client, user="plain", **{"pass": "wrong"})

    def test_as_another_user(self, dial: Dial) -> None:
        client = (
            dial(GUEST)
            .hello(user="boss", **{"pass": "b"})
            .send(b"SUB x 1\r\nPUB x 0\r\n\r\n")
            .expect(b"MSG x 1 0\r\n\r\n")
        )
        client.hello(user="guest", **{"pass": "g"}).send(b"PUB x 0\r\n\r\n")
        client.expect(b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n").expect_pong()

    def test_keeps_the_credentials_it_does_not_repeat(self, dial: Dial) -> None:
        dial(SINGLE).hello(user="derek", **{"pass": "T0pS3cr3t"}).hello().hello(verbose=True)


def test_secrets_stay_out_of_the_log(dial: Dial) -> None:
    traced = USERS + "\ntrace: true\ndebug: true"
    client = dial(traced)
    client.hello(**signed(client, KEY))
    signature = signed(client, KEY)["sig"]
    dial(traced).hello(user="plain", **{"pass": "pa ss"})
    refused(dial(traced), user="plain", auth_token="t0ken", **{"pass": "gu ess"})
    log = dial.server(traced).log
    log.wait_for("authentication error")
    for secret in ("pa ss", "gu ess", "t0ken", HASH, signature):
        assert secret not in log.text
