"""The accounts with the most traffic: rates, order, and that looks are shared."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import cast

import pytest

from broker.monitor import busiest
from broker.monitor.busiest import MOST, Busiest, Look
from broker.monitor.counted import Counted


class FakeAccounts:
    """What has been counted of them; ``looks``: how often somebody wanted to know."""

    def __init__(self, **accounts: dict[str, int]) -> None:
        self.accounts = accounts
        self.looks = 0

    def names(self) -> list[str]:
        self.looks += 1
        return list(self.accounts)

    def of(self, name: str) -> Counter[str]:
        return Counter(self.accounts[name])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A list with the time in it."""
    now = [1000.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

    monkeypatch.setattr(busiest, "time", Clock)
    return now


def look(looker: Busiest, accounts: FakeAccounts) -> Look:
    return asyncio.run(looker.of(cast(Counted, accounts)))


def test_rates_and_order(clock: list[float]) -> None:
    accounts = FakeAccounts(
        old={"in_msgs": 1000, "out_msgs": 1000, "conns": 1},
        silent={"conns": 2},
        busy={"in_msgs": 5, "in_bytes": 50},
        empty={},
    )
    looker = Busiest()
    first = look(looker, accounts)
    assert [one.name for one in first.busiest] == ["old", "busy", "silent", "empty"]
    assert all(one.rates == {} for one in first.busiest) and (first.total, first.active) == (4, 2)
    clock[0] += 2.0
    accounts.accounts["busy"] = {"in_msgs": 25, "in_bytes": 250, "out_msgs": 4, "conns": 1}
    accounts.accounts["more bytes"] = {"in_msgs": 10**9}
    second = look(looker, accounts)
    assert [one.name for one in second.busiest] == ["busy", "more bytes", "old", "silent", "empty"]
    assert second.busiest[0].rates == {"in_msgs": 10.0, "out_msgs": 2.0, "in_bytes": 100.0, "out_bytes": 0.0}
    assert second.busiest[1].rates["in_msgs"] == 0.0  # since when it is there, nobody knows
    assert (second.total, second.active) == (5, 3)
    clock[0] += 1.0
    del accounts.accounts["old"]
    accounts.accounts["busy"] = {"in_msgs": 3}  # there is another account of this name
    third = look(looker, accounts)
    assert "old" not in [one.name for one in third.busiest]
    assert next(one for one in third.busiest if one.name == "busy").rates["in_msgs"] == 0.0


def test_looks_are_shared(clock: list[float]) -> None:
    accounts = FakeAccounts(a={"in_msgs": 1})
    looker = Busiest()

    async def many() -> list[Look]:
        return await asyncio.gather(*(looker.of(cast(Counted, accounts)) for _ in range(10)))

    seen = asyncio.run(many())
    clock[0] += 0.5
    assert look(looker, accounts) is seen[0] and seen == seen[:1] * 10 and accounts.looks == 1
    clock[0] += 0.5
    assert look(looker, accounts) is not seen[0] and accounts.looks == 2


def test_what_was_long_ago_says_nothing_of_now(clock: list[float]) -> None:
    accounts = FakeAccounts(a={"in_msgs": 1})
    looker = Busiest()
    look(looker, accounts)
    clock[0] += 3600.0
    accounts.accounts["a"] = {"in_msgs": 3601}
    assert look(looker, accounts).busiest[0].rates == {}


def test_thousands(clock: list[float]) -> None:
    accounts = FakeAccounts(**{f"A{number}": {"in_msgs": number, "conns": 1} for number in range(3000)})
    seen = look(Busiest(), accounts)
    assert len(seen.busiest) == MOST and seen.busiest[0].name == "A2999"
    assert (seen.total, seen.active) == (3000, 3000)
