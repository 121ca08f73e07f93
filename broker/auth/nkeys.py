"""NKeys: Ed25519 keys as text that says what it is for.

    public key, 56 characters that begin with the kind's letter:
        base32( prefix | 32 bytes | crc )
    seed, 58 characters that begin with S and that letter:
        base32( 0x90 + high bits of prefix | low bits of prefix << 3 | 32 bytes | crc )

Base32 is upper case without padding; the CRC is CRC-16/XMODEM, low byte first. Decoding is strict: a key has
one spelling, so that comparing two texts compares two keys. The cryptography library is loaded when a key is
first used, not here: a server without nkey users needs none of it.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import os
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
PUBLIC_CHARACTERS: Final = 56
SEED_CHARACTERS: Final = 58
_SEED_PREFIX: Final = 18 << 3


class NkeyError(ValueError):
    """A text that is not the key it should be; ``str()`` says why, and never holds the text."""


class Prefix(IntEnum):
    """The kinds of keys; the value is the first byte of an encoded public key."""

    ACCOUNT = 0 << 3  # A
    CLUSTER = 2 << 3  # C
    SERVER = 13 << 3  # N
    OPERATOR = 14 << 3  # O
    USER = 20 << 3  # U
    CURVE = 23 << 3  # X: an x25519 key, for encryption instead of signatures


_PREFIXES: Final = {int(prefix): prefix for prefix in Prefix}


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key with its secret half: ``seed`` is the 32 secret bytes, ``public`` the public key's text."""

    prefix: Prefix
    seed: bytes = field(repr=False)
    public: str

    def encoded_seed(self) -> str:
        """The secret half as text (``S...``)."""
        return encode_seed(self.prefix, self.seed)

    def sign(self, data: bytes) -> bytes:
        """The 64 byte signature of ``data``. Raises NkeyError for a curve key, which cannot sign."""
        if self.prefix is Prefix.CURVE:
            raise NkeyError("nkeys: cannot sign with a curve key")
        from nacl import bindings

        _, secret = bindings.crypto_sign_seed_keypair(self.seed)
        return bindings.crypto_sign(data, secret)[:SIGNATURE_BYTES]


def generate(prefix: Prefix) -> KeyPair:
    """A new random key."""
    return _pair(prefix, os.urandom(KEY_BYTES))


def from_seed(text: str | bytes) -> KeyPair:
    """The key of an encoded seed. Raises NkeyError."""
    return _pair(*decode_seed(text))


def _pair(prefix: Prefix, seed: bytes) -> KeyPair:
    from nacl import bindings

    if prefix is Prefix.CURVE:
        raw = bindings.crypto_scalarmult_base(seed)
    else:
        raw, _ = bindings.crypto_sign_seed_keypair(seed)
    return KeyPair(prefix, seed, encode(prefix, raw))


def encode(prefix: Prefix, raw: bytes) -> str:
    """The text of a public key of 32 bytes. Raises NkeyError for any other length."""
    if len(raw) != KEY_BYTES:
        raise NkeyError("nkeys: invalid key length")
    return _seal(bytes((prefix,)) + raw)


def decode(text: str | bytes, expected: Prefix | None = None) -> tuple[Prefix, bytes]:
    """(kind, 32 bytes) of a public key, which has to be of the ``expected`` kind. Raises NkeyError."""
    data = _open(text, PUBLIC_CHARACTERS)
    prefix = _PREFIXES.get(data[0])
    if prefix is None:
        raise NkeyError("nkeys: invalid public key")
    if expected is not None and prefix is not expected:
        raise NkeyError("nkeys: invalid prefix byte")
    return prefix, data[1:]


def encode_seed(prefix: Prefix, seed: bytes) -> str:
    """The text of a secret key of 32 bytes. Raises NkeyError for any other length."""
    if len(seed) != KEY_BYTES:
        raise NkeyError("nkeys: invalid seed length")
    return _seal(bytes((_SEED_PREFIX | prefix >> 5, (prefix & 31) << 3)) + seed)


def decode_seed(text: str | bytes) -> tuple[Prefix, bytes]:
    """(kind, 32 secret bytes) of a seed. Raises NkeyError."""
    data = _open(text, SEED_CHARACTERS)
    prefix = _PREFIXES.get((data[0] & 7) << 5 | data[1] >> 3)
    if data[0] & 0xF8 != _SEED_PREFIX or data[1] & 7 or prefix is None:
        raise NkeyError("nkeys: invalid seed")
    return prefix, data[2:]


def is_public(text: str | bytes, expected: Prefix | None = None) -> bool:
    """Whether ``text`` is a public key (of the ``expected`` kind)."""
    try:
        decode(text, expected)
    except NkeyError:
        return False
    return True


def verify(raw: bytes, data: bytes, signature: bytes) -> bool:
    """Whether the owner of the public key ``raw`` signed ``data`` with ``signature``. Never raises."""
    if len(raw) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    from nacl import bindings, exceptions

    try:
        bindings.crypto_sign_open(signature + data, raw)
    except exceptions.BadSignatureError:
        return False
    return True


def preload() -> None:
    """Load the cryptography library now, so that no client has to wait for it. Raises ImportError."""
    importlib.import_module("nacl.bindings")


def decode_signature(text: str) -> bytes | None:
    """A signature as clients send it: base64url without padding, or plain base64. None: it is neither."""
    try:
        if "=" not in text and "+" not in text and "/" not in text:
            text = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        elif "-" in text or "_" in text:
            return None
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # not ASCII, or not base64
        return None


def _seal(data: bytes) -> str:
    checksum = binascii.crc_hqx(data, 0).to_bytes(2, "little")
    return base64.b32encode(data + checksum).decode().rstrip("=")


def _open(text: str | bytes, characters: int) -> bytes:
    """What ``_seal`` made ``text`` from, which has to have that many characters. Raises NkeyError."""
    if len(text) != characters:
        raise NkeyError("nkeys: invalid encoded key")
    try:
        encoded = text.encode("ascii") if isinstance(text, str) else bytes(text)
        sealed = base64.b32decode(encoded + b"=" * (-characters % 8))
    except ValueError:  # not ASCII, or not base32
        raise NkeyError("nkeys: invalid encoded key") from None
    data = sealed[:-2]
    if binascii.crc_hqx(data, 0) != int.from_bytes(sealed[-2:], "little"):
        raise NkeyError("nkeys: invalid checksum")
    if _seal(data).encode() != encoded:  # the last character has bits that no byte uses
        raise NkeyError("nkeys: invalid encoded key")
    return data
