"""Public keys and seeds, as far as a configuration needs them checked: prefix and checksum, no cryptography."""

from __future__ import annotations

import binascii
from typing import Final

_PREFIXES: Final = {
    "account": 0,
    "cluster": 2 << 3,
    "server": 13 << 3,
    "operator": 14 << 3,
    "user": 20 << 3,
    "curve": 23 << 3,
}
_SEED_PREFIX: Final = 18 << 3


def public_key_kind(text: str) -> str:
    """Of what kind of thing ``text`` is a public key (``user``, ``account``, ...); empty if it is none."""
    raw = _decode(text)
    if not raw:
        return ""
    return next((kind for kind, prefix in _PREFIXES.items() if raw[0] == prefix), "")


def seed_kind(text: str) -> str:
    """Of what kind of thing ``text`` is a seed; empty if it is none."""
    raw = _decode(text)
    if len(raw) < 2 or raw[0] & 0xF8 != _SEED_PREFIX:
        return ""
    prefix = (raw[0] & 7) << 5 | raw[1] >> 3
    return next((kind for kind, known in _PREFIXES.items() if prefix == known), "")


def _decode(text: str) -> bytes:
    """The bytes in front of a right checksum; empty if ``text`` is no key."""
    import base64  # few configurations have keys; the others start faster

    if not text.isascii() or "=" in text:
        return b""
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        return b""
    if len(raw) < 4 or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
        return b""
    return raw[:-2]
