"""Which accounts have the most traffic now: what is counted at one look, compared with the look before.

Nobody looks if nobody asks, and all who ask within a second share a look.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from broker.monitor.counted import Counted
from broker.monitor.pace import each

RATES: Final = ("in_msgs", "out_msgs", "in_bytes", "out_bytes")
MOST: Final = 100  # accounts that are remembered of a look
_CLOSE: Final = 0.9  # seconds between two looks
_LONG: Final = 30.0  # a look that is older says nothing of now


@dataclass(slots=True)
class BusyAccount:
    """One of them. ``rates`` are per second; empty: nobody had looked before."""

    name: str
    sums: Counter[str]
    rates: dict[str, float]


@dataclass(slots=True)
class Look:
    """What was seen: how many accounts there were, how many had connections, and those with the most traffic."""

    total: int = 0
    active: int = 0
    busiest: list[BusyAccount] = field(default_factory=list)


class Busiest:
    """Looks at the accounts, and remembers what it saw."""

    __slots__ = ("_before", "_lock", "_look", "_when")

    def __init__(self) -> None:
        self._when = float("-inf")
        self._before: dict[str, tuple[int, ...]] = {}
        self._look = Look()
        self._lock = asyncio.Lock()

    async def of(self, accounts: Counted) -> Look:
        """What there is now, or was a moment ago."""
        async with self._lock:
            if time.monotonic() - self._when >= _CLOSE:
                await self._look_at(accounts)
            return self._look

    async def _look_at(self, accounts: Counted) -> None:
        now = time.monotonic()
        elapsed, before = now - self._when, self._before
        names = accounts.names()
        sums = await each(names, accounts.of)
        counters = [tuple(one[name] for name in RATES) for one in sums]
        found: list[BusyAccount] = []
        for name, one, last in zip(names, sums, counters, strict=True):
            rates: dict[str, float] = {}
            if elapsed <= _LONG:
                first = before.get(name, last)  # one that is new has had no traffic that we know of
                rates = {rate: max(b - a, 0) / elapsed for rate, a, b in zip(RATES, first, last, strict=True)}
            found.append(BusyAccount(name, one, rates))
        self._look = Look(
            len(found), sum(1 for one in sums if one["conns"]), heapq.nsmallest(MOST, found, key=_order)
        )
        self._before = dict(zip(names, counters, strict=True))
        self._when = now


def _order(account: BusyAccount) -> tuple[float, ...]:
    """The most messages first, then the most bytes; among those that are silent, those that were not always."""
    rates, sums = account.rates, account.sums
    return (
        -(rates.get("in_msgs", 0.0) + rates.get("out_msgs", 0.0)),
        -(rates.get("in_bytes", 0.0) + rates.get("out_bytes", 0.0)),
        -(sums["in_msgs"] + sums["out_msgs"]),
        -sums["conns"],
    )
