"""Passwords and tokens: as they are, or as a bcrypt hash.

Whether a configured value is a hash is told from its look, as nats-server does. Checking a hash takes tens of
milliseconds by design, so that is a separate step which the caller gives to a thread.
"""

from __future__ import annotations

import importlib
import re
from hmac import compare_digest
from typing import Final

BCRYPT_MAX_PASSWORD: Final = 72  # bytes that bcrypt uses
_BCRYPT_CHARACTERS: Final = 60
_BCRYPT: Final = re.compile(r"\$2[abxy]\$[0-9]{2}\$")


def is_bcrypt(configured: str) -> bool:
    """Whether a configured password or token stands for its bcrypt hash."""
    return _BCRYPT.match(configured) is not None


def to_bytes(text: str) -> bytes:
    """What is compared and hashed. Any string has a value, also one from a file that is not UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def same(configured: str, given: str) -> bool:
    """Whether two plain texts are equal, in a time that depends on their lengths only."""
    return compare_digest(to_bytes(configured), to_bytes(given))


def verify_bcrypt(hash: bytes, password: bytes) -> bool:
    """Whether ``password`` has that bcrypt hash. Slow, thread-safe, never raises: a malformed hash fits none.

    Only the first 72 bytes of a password count, and bytes after a complete hash do not, as in nats-server.
    """
    import bcrypt

    try:
        return bcrypt.checkpw(password[:BCRYPT_MAX_PASSWORD], hash[:_BCRYPT_CHARACTERS])
    except ValueError:
        return False


def preload() -> None:
    """Load the bcrypt library now, so that a missing one is found at start. Raises ImportError."""
    importlib.import_module("bcrypt")
