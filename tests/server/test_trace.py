"""Traces: what was said and heard, in the same words as nats-server's."""

from __future__ import annotations

import re

import pytest

from tests import probe
from tests.harness import Kind, Raw, start

LINE = re.compile(r"\[(?:TRC|DBG|INF|ERR)\] 127\.0\.0\.1:\d+ - cid:\d+ - (.*)")

# What one server says and another does not, or says at another moment.
LEFT_OUT = re.compile(
    r"Client Ping Timer|Client parser ERROR|RTT timer|xkey|Delaying PING|^Client connection created"
)


def traced(kind: Kind, dialogue: bytes, config: str = "", **options: object) -> list[str]:
    """The lines that a server logs of one client that says these things and leaves; without its address."""
    server = start(kind, config, ["-DV"])
    try:
        client = Raw(server.port)
        client.send_connect(verbose=False, pedantic=False, **options)
        probe.wait_read(client.sock)  # nats-server maps no subject of what it reads together with the CONNECT
        client.send(dialogue + b"PING\r\n").read_until(b"PONG\r\n")
        client.leave()
        server.log.wait_for("Client connection closed")
        server.stop()
        lines = [found[1] for line in server.log.text.splitlines() if (found := LINE.search(line))]
        return [line for line in lines if not LEFT_OUT.search(line)]
    finally:
        server.destroy()


CONNECT = '<<- [CONNECT {"verbose": false, "pedantic": false%s}]'
PING = ["<<- [PING]", "->> [PONG]", "Client connection closed: Client Closed"]


def test_a_conversation(kind: Kind) -> None:
    dialogue = (
        b"SUB foo.* q 1\r\nSUB bar 2\r\nUNSUB 2 1\r\nPUB foo.x reply 5\r\nhello\r\nPUB bar 0\r\n\r\n"
        b"HPUB foo.y 12 15\r\nNATS/1.0\r\n\r\nabc\r\nUNSUB 1\r\nPONG\r\n"
    )
    assert traced(kind, dialogue, headers=True) == [
        CONNECT % ', "headers": true',
        "<<- [SUB foo.* q 1]",
        "<<- [SUB bar 2]",
        "<<- [UNSUB 2 1]",
        "<<- [PUB foo.x reply 5]",
        '<<- MSG_PAYLOAD: ["hello"]',
        "->> [MSG foo.x 1 reply 5]",
        '->> MSG_PAYLOAD: ["hello"]',
        "<<- [PUB bar 0]",
        "Auto-unsubscribe limit of 1 reached for sid '2'",
        "->> [MSG bar 2 0]",
        "<-> [DELSUB 2]",
        "<<- [HPUB foo.y 12 15]",
        r'<<- MSG_PAYLOAD: ["NATS/1.0\r\n\r\nabc"]',
        "->> [HMSG foo.y 1 12 15]",
        r'->> MSG_PAYLOAD: ["NATS/1.0\r\n\r\nabc"]',
        "<<- [UNSUB 1]",
        "<-> [DELSUB 1]",
        "<<- [PONG]",
        *PING,
    ]


def test_payloads_are_quoted_and_cut(kind: Kind) -> None:
    dialogue = b'PUB x 8\r\na"\x00\xff\t\xc3\xa9!\r\nPUB x 30\r\n012345678901234567890123456789\r\n'
    assert traced(kind, dialogue, "max_traced_msg_len: 10") == [
        CONNECT % "",
        "<<- [PUB x 8]",
        r'<<- MSG_PAYLOAD: ["a\"\x00\xff\té!"]',
        "<<- [PUB x 30]",
        '<<- MSG_PAYLOAD: ["0123456789..."]',
        *PING,
    ]


def test_headers_only(kind: Kind) -> None:
    dialogue = b"SUB x 1\r\nPUB x 2\r\nhi\r\nHPUB x 22 25\r\nNATS/1.0\r\nAb: cdef\r\n\r\nabc\r\nUNSUB 1\r\n"
    assert traced(kind, dialogue, "trace_headers: true", headers=True) == [
        CONNECT % ', "headers": true',
        "<<- [SUB x 1]",
        "<<- [PUB x 2]",
        "->> [MSG x 1 2]",
        "<<- [HPUB x 22 25]",
        r'<<- MSG_PAYLOAD: ["NATS/1.0\r\nAb: cdef"]',
        "->> [HMSG x 1 22 25]",
        r'->> MSG_PAYLOAD: ["NATS/1.0\r\nAb: cdef"]',
        "<<- [UNSUB 1]",
        "<-> [DELSUB 1]",
        *PING,
    ]


def test_errors(kind: Kind) -> None:
    lines = traced(kind, b"SUB a..b 1\r\nPUB a 1\r\nx\r\n", "max_payload: 5")
    assert lines == [
        CONNECT % "",
        "<<- [SUB a..b 1]",
        "->> [-ERR Invalid Subject]",
        "<<- [PUB a 1]",
        '<<- MSG_PAYLOAD: ["x"]',
        *PING,
    ]


ACCOUNT = """accounts { A {
  users: [ { user: a } ]
  exports: [ { service: q }, { stream: s } ]
  imports: [ { service: { account: A, subject: q }, to: ask }, { stream: { account: A, subject: s }, to: seen } ]
  mappings { before: after, gone: { destination: gone, weight: 0 } }
  limits { max_subscriptions: 3 }
} }"""


def test_what_an_account_does_with_messages(kind: Kind) -> None:
    dialogue = (
        b"SUB q 1\r\nSUB seen 2\r\nSUB after 3\r\nSUB more 4\r\nSUB more 4\r\nPUB ask 1\r\n?\r\nPUB s 1\r\n!\r\n"
        b"PUB before 2\r\nhi\r\nPUB gone 3\r\nbye\r\nUNSUB 1\r\nUNSUB 2\r\nUNSUB 3\r\n"
    )
    lines = traced(kind, dialogue, ACCOUNT, user="a", headers=True)
    who = '"A/user:a" - '
    assert lines[0] == CONNECT % ', "user": "a", "headers": true' and all(
        one.startswith(who) for one in lines[1:]
    )
    told = [re.sub(r'rtt\\":\d+', "rtt", one.removeprefix(who)) for one in lines[1:]]
    told = [re.sub(r"HMSG q 1 \d+ \d+", "HMSG q 1", one) for one in told]
    refused = ["maximum subscriptions exceeded", "->> [-ERR maximum subscriptions exceeded]"]
    assert told == [
        "<<- [SUB q 1]",
        "<<- [SUB seen 2]",
        'Creating import subscription on "s" from account "A"',
        "<<- [SUB after 3]",
        "<<- [SUB more 4]",
        *refused,
        "<<- [SUB more 4]",
        refused[1],  # the log does not hold each of them
        "<<- [PUB ask 1]",
        '<<- MSG_PAYLOAD: ["?"]',
        "->> [HMSG q 1]",
        r'->> MSG_PAYLOAD: ["NATS/1.0\r\nNats-Request-Info: {\"acc\":\"A\",\"rtt}\r\n\r\n?"]',
        "<<- [PUB s 1]",
        '<<- MSG_PAYLOAD: ["!"]',
        "->> [MSG seen 2 1]",
        '->> MSG_PAYLOAD: ["!"]',
        "<<- [PUB before 2]",
        "<<- [MAPPING before -> after]",
        '<<- MSG_PAYLOAD: ["hi"]',
        "->> [MSG after 3 2]",
        '->> MSG_PAYLOAD: ["hi"]',
        "<<- [PUB gone 3]",
        "<<- [MAPPING gone -> ]",
        '<<- MSG_PAYLOAD: ["bye"]',
        *(line for sid in (1, 2, 3) for line in (f"<<- [UNSUB {sid}]", f"<-> [DELSUB {sid}]")),
        *PING,
    ]


@pytest.mark.parametrize("key", ["pass", "auth_token", "sig", "nkey"])
def test_secrets_are_not_shown(kind: Kind, key: str) -> None:
    secret = "hush" if kind.real else 'hu"sh'  # of which nats-server shows what is behind the quote
    assert traced(kind, b"", **{key: secret})[0] == CONNECT % f', "{key}": "[REDACTED]"'
