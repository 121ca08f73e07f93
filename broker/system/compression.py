"""Answers in the encoding that a request asks for, as nats-server chooses it: the first of these that the header names anywhere.

snappy, s2    Snappy's framing format
gzip          gzip
anything else ``identity``: as it is
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterator
from typing import Final

from broker.core import SNAPPY_DATA, snappy_chunk

_WANTED: Final = re.compile(
    rb"\r\nAccept-Encoding:[ \t]*+([^\r]*+)\r\n"
)  # never back: it is what anybody may send
_SNAPPY_START: Final = b"\xff\x06\0\0sNaPpY"
_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_LEVEL: Final = 1


def encoding(headers: bytes) -> str:
    """What is to be done with the answer to a request with these headers; empty: no word is said of it."""
    found = _WANTED.search(headers)
    wanted = found[1].lower() if found is not None else b""
    if not wanted.strip():
        return ""
    if b"snappy" in wanted or b"s2" in wanted:
        return "snappy"
    return "gzip" if b"gzip" in wanted else "identity"


async def encoded(data: bytes, name: str) -> tuple[bytes, bytes]:
    """(headers, body); others have their turn in between, if it is long."""
    if not name:
        return b"", data
    parts: list[bytes] = []
    for part in _parts(data, name):
        if len(parts) > 1:
            await asyncio.sleep(0)
        parts.append(part)
    return f"NATS/1.0\r\nContent-Encoding: {name}\r\n\r\n".encode(), b"".join(parts)


def _parts(data: bytes, name: str) -> Iterator[bytes]:
    pieces = (data[at : at + SNAPPY_DATA] for at in range(0, len(data), SNAPPY_DATA))
    if name == "snappy":
        yield _SNAPPY_START
        yield from map(snappy_chunk, pieces)
    elif name == "gzip":
        machine = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)
        yield from map(machine.compress, pieces)
        yield machine.flush()
    else:
        yield data
