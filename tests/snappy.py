"""Snappy's framing format, decoded by its definition: slow, and strict."""

from __future__ import annotations

from typing import Final

_START: Final = b"\xff\x06\0\0sNaPpY"


def decode(data: bytes) -> bytes:
    """What was compressed. AssertionError: this is not the format."""
    assert data.startswith(_START), data[:20]
    out, at = b"", len(_START)
    while at < len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "little")
        body = data[at + 4 : at + 4 + size]
        assert kind in (0, 1) and len(body) == size, data[at : at + 8]
        part = _block(body[4:]) if kind == 0 else body[4:]
        assert len(part) <= 65536 and int.from_bytes(body[:4], "little") == _masked(_crc32c(part))
        out += part
        at += 4 + size
    return out


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _block(data: bytes) -> bytes:
    want = shift = at = 0
    while True:
        want |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            break
    out = bytearray()
    while at < len(data):
        tag, at = data[at], at + 1
        if tag & 3 == 0:
            size, more = (tag >> 2) + 1, max((tag >> 2) - 59, 0)
            if more:
                size = int.from_bytes(data[at : at + more], "little") + 1
            out += data[at + more : at + more + size]
            at += more + size
            continue
        if tag & 3 == 1:
            size, distance, at = (tag >> 2 & 7) + 4, tag >> 5 << 8 | data[at], at + 1
        else:
            size, distance, at = (tag >> 2) + 1, int.from_bytes(data[at : at + 2], "little"), at + 2
        for _ in range(size):
            out.append(out[-distance])
    assert len(out) == want
    return bytes(out)
