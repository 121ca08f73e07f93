"""What an answer's encoding is, and that the answer can be read again."""

from __future__ import annotations

import asyncio
import random
import zlib

import pytest

from broker.system.compression import encoded, encoding
from tests.snappy import decode


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("snappy", "snappy"),
        ("s2", "snappy"),
        ("x-s2", "snappy"),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, snappy", "snappy"),
        ("br;q=1, gzip", "gzip"),
        ("deflate", "identity"),
        ("", ""),
        (" ", ""),
    ],
)
def test_choice(value: str, name: str) -> None:
    assert encoding(f"NATS/1.0\r\nA: b\r\nAccept-Encoding: {value}\r\nC: d\r\n\r\n".encode()) == name
    assert encoding(f"NATS/1.0\r\nAccept-Encoding:{value}\r\n\r\n".encode()) == name


def test_long_headers() -> None:
    """Looking at them takes time in proportion to their length: the square of it would be hours."""
    long = b"NATS/1.0\r\nAccept-Encoding:" + b" " * 1_000_000
    assert encoding(long + b"\rx\r\n\r\n") == ""
    assert encoding(long + b"gzip\r\n\r\n") == "gzip"
    assert encoding(b"NATS/1.0" + b"\r\nAccept-Encoding: gzip\r" * 50_000) == ""


def test_no_choice() -> None:
    assert encoding(b"") == encoding(b"NATS/1.0\r\n\r\n") == ""
    assert encoding(b"NATS/1.0\r\naccept-encoding: gzip\r\n\r\n") == ""  # names count as they are written
    assert encoding(b"NATS/1.0\r\nX: Accept-Encoding: gzip\r\n\r\n") == ""


@pytest.mark.parametrize("size", [0, 1, 200, 65536, 65537, 200_000])
def test_round_trip(size: int) -> None:
    dice = random.Random(size)
    words = [dice.randbytes(dice.randrange(1, 12)) for _ in range(300)]
    data = b"".join(dice.choice(words) for _ in range(size))[:size]

    async def both() -> None:
        headers, body = await encoded(data, "gzip")
        assert headers == b"NATS/1.0\r\nContent-Encoding: gzip\r\n\r\n"
        assert zlib.decompress(body, 31) == data
        headers, body = await encoded(data, "snappy")
        assert headers == b"NATS/1.0\r\nContent-Encoding: snappy\r\n\r\n"
        assert decode(body) == data and (size < 1000 or len(body) < size)
        assert await encoded(data, "identity") == (b"NATS/1.0\r\nContent-Encoding: identity\r\n\r\n", data)
        assert await encoded(data, "") == (b"", data)

    asyncio.run(both())
