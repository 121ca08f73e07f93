"""The page of memory that all processes of one server share, as the gateway process sees it.

The layout is that of csrc/shared.h: a slot of 64 bytes for each child, of which the first is the server's own.

    u32 accepting @0  u32 live @4  u32 inflight @8  u64 beat_ms @16      (CLOCK_MONOTONIC)
"""

from __future__ import annotations

import mmap
import time
from typing import Final

_SLOT: Final = 64
_BEAT: Final = 16


class Page:
    """The slots of all workers, and what the server counts."""

    __slots__ = ("_map", "_words")

    def __init__(self, descriptor: int, index: int) -> None:
        """``index``: which slot is ours; there are no more behind it. Raises OSError."""
        self._map = mmap.mmap(descriptor, _SLOT * (2 + index))
        self._words = memoryview(self._map).cast("Q")

    def silence_ms(self, index: int) -> int:
        """How long ago a child said that it lives."""
        return max(0, time.monotonic_ns() // 1_000_000 - self._words[self._word(index) + _BEAT // 8])

    def accepting(self, index: int) -> bool:
        """Does this worker take new clients?"""
        return bool(self._words[self._word(index)] & 0xFFFFFFFF)

    @staticmethod
    def _word(index: int) -> int:
        return _SLOT // 8 * (1 + index)
