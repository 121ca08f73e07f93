"""The counters of all workers as those of one server: what a dead worker had counted stays counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

Stats = dict[str, int]

# Not counters: they end with the worker.
_GAUGES: Final = frozenset(("connections", "subscriptions", "pid"))


class Tally:
    """What each worker (named by its start number) said last."""

    __slots__ = ("_gone", "_last")

    def __init__(self) -> None:
        self._last: dict[int, Stats] = {}
        self._gone: Counter[str] = Counter()

    def update(self, serial: int, stats: Stats) -> None:
        """A worker's latest word."""
        self._last[serial] = stats

    def keep(self, alive: Iterable[int]) -> None:
        """All others are dead."""
        for serial in set(self._last) - set(alive):
            for name, value in self._last.pop(serial).items():
                if name not in _GAUGES:
                    self._gone[name] += value

    def of(self, serial: int) -> Stats:
        """What a worker said last; nothing if it has not spoken yet."""
        return self._last.get(serial, {})

    def sums(self) -> Counter[str]:
        """The server's numbers; 0 for what nobody has mentioned."""
        total = Counter(self._gone)
        for stats in self._last.values():
            for name, value in stats.items():
                total[name] += value
        return total
