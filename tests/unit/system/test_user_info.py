"""Who asks, as the header says that the server writes."""

from __future__ import annotations

import pytest

from broker.system.user_info import MOST_INFO, requester
from broker.system.zed import Silence


def block(value: bytes) -> bytes:
    return b"NATS/1.0\r\nNats-Request-Info: " + value + b"\r\n\r\n"


def test_who_asks() -> None:
    assert requester(block(b'{"acc":"A","id":5}')) == {"acc": "A", "id": 5}
    assert requester(b"NATS/1.0\r\nA: b\r\nNats-Request-Info:{}\r\n\r\n") == {}


@pytest.mark.parametrize(
    "headers", [b"", b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nX: Nats-Request-Info: {}\r\n\r\n"]
)
def test_a_user_of_the_system_account(headers: bytes) -> None:
    assert requester(headers) == {}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{bad",
        b"[]",
        b"3",
        b'"x"',
        b"\xff",
        b"[" * 60_000,
        b'{"acc":"' + b"A" * MOST_INFO + b'"}',
        b"1" * 10_000,
    ],
)
def test_what_the_server_never_says(value: bytes) -> None:
    """Nobody is taken for the system account because of it."""
    with pytest.raises(Silence):
        requester(block(value))


def test_long_headers() -> None:
    """Looking at them takes time in proportion to their length: the square of it would be hours."""
    assert requester(b"NATS/1.0\r\nNats-Request-Info:" + b" " * 1_000_000 + b"\rx\r\n\r\n") == {}
