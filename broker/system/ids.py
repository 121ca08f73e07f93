"""Names of events, and the short hash by which servers call each other (upstream: nuid, ``getHash`` in server/util.go)."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = [first + second for first in _DIGITS for second in _DIGITS]
_PREFIX: Final = 12
_COUNTER: Final = 10
_MOST: Final = 62**_COUNTER


class EventIds:
    """Ids of 22 base62 characters that are unique: a random prefix, and a number that grows by random steps."""

    __slots__ = ("_next", "_prefix", "_step")

    def __init__(self) -> None:
        self._begin()

    def new(self) -> str:
        """One that was never given before."""
        self._next += self._step
        if self._next >= _MOST:
            self._begin()
        return self._prefix + _base62(self._next)

    def _begin(self) -> None:
        self._prefix = "".join(secrets.choice(_DIGITS) for _ in range(_PREFIX))
        self._next = secrets.randbelow(_MOST // 2)
        self._step = 33 + secrets.randbelow(300)


def server_hash(name: str) -> str:
    """The 8 characters that stand for a server in subjects: of SHA-256, each byte modulo 62."""
    return "".join(_DIGITS[byte % 62] for byte in hashlib.sha256(name.encode()).digest()[:8])


def _base62(number: int) -> str:
    """The last ``_COUNTER`` digits."""
    digits = ""
    for _ in range(_COUNTER // 2):
        number, pair = divmod(number, len(_PAIRS))
        digits = _PAIRS[pair] + digits
    return digits
