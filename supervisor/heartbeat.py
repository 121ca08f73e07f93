"""The page of memory that all processes of one server share, as the supervisor sees it.

    offset 0              next client id (the workers'), and others' numbers
    offset 64 * (1 + i)   slot of worker i:  u32 accepting @0  u32 live @4  u32 inflight @8  u64 beat_ms @16

    behind the slots      for each process its own counters (u64 connections @0, subscriptions @16) in 192 bytes
    behind those          for each account, by its place, a slot for each process: u32 @0 to @12 of what there is now

The layout is that of csrc/shared.h. The supervisor reads the heartbeats and clears ``accepting``, ``live``, and what the dead
had of connections and subscriptions (what they had counted stays counted); a page that it made starts as zeros. Times
are milliseconds of CLOCK_MONOTONIC, which all processes agree on.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Final

SLOT_BYTES: Final = 64
_BEAT_OFFSET: Final = 16
_STATS_BYTES: Final = 192
_GAUGES: Final = (0, 2)  # words of a process's own counters


class SharedPage:
    """The shared page of ``workers`` slots, with room to count in ``accounts`` accounts.

    ``descriptor`` is the memfd that the children inherit.
    """

    __slots__ = ("_accounts", "_map", "_slots", "_words", "descriptor")

    def __init__(self, workers: int, accounts: int = 0) -> None:
        """OSError: out of descriptors or memory."""
        self._slots, self._accounts = workers, accounts
        self.descriptor = os.memfd_create("spline-shared", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, self._size(accounts))
        self._look()

    def make_room(self, accounts: int) -> None:
        """There will be so many accounts. The page grows at its end: whoever looks at it sees what it saw. OSError: no memory."""
        if accounts <= self._accounts:
            return
        os.ftruncate(self.descriptor, self._size(accounts))
        self._accounts = accounts
        words, mapped = self._words, self._map
        self._look()
        words.release()
        mapped.close()

    def _size(self, accounts: int) -> int:
        return SLOT_BYTES + self._slots * (SLOT_BYTES + _STATS_BYTES + SLOT_BYTES * accounts)

    def _look(self) -> None:
        self._map = mmap.mmap(self.descriptor, self._size(self._accounts))
        # As 8-byte words: each is read and written by one instruction, as the workers' atomics are.
        self._words = memoryview(self._map).cast("Q")

    def beat_ms(self, index: int) -> int:
        """When this worker last said that it lives; 0 = never."""
        return self._words[self._word(index) + _BEAT_OFFSET // 8]

    def live(self, index: int) -> int:
        """How many clients this worker holds."""
        return (
            self._words[self._word(index)] >> 32
            if sys.byteorder == "little"
            else self._words[self._word(index)] & 0xFFFFFFFF
        )

    def clear(self, index: int) -> None:
        """Worker ``index`` is dead: it accepts nothing and holds no clients."""
        self._words[self._word(index)] = 0
        stats = (SLOT_BYTES * (1 + self._slots) + _STATS_BYTES * index) // 8
        for word in _GAUGES:
            self._words[stats + word] = 0
        first = self._size(0) // 8 + SLOT_BYTES // 8 * index
        for place in range(self._accounts):
            slot = first + SLOT_BYTES // 8 * self._slots * place
            self._words[slot] = self._words[slot + 1] = 0

    def close(self) -> None:
        """Give the memory and the descriptor back."""
        self._words.release()
        self._map.close()
        os.close(self.descriptor)

    @staticmethod
    def _word(index: int) -> int:
        return SLOT_BYTES // 8 * (1 + index)
