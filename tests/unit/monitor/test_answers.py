"""What a worker answers to questions, and in how large steps."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from broker.core import Core
from broker.monitor import answers
from broker.monitor.answers import answer


class FakeCounters:
    """So many accounts, the last of which has the largest fan-out."""

    def __init__(self, accounts: int) -> None:
        self.accounts = accounts
        self.counters = self

    def account_id(self, name: str) -> int | None:
        return int(name[1:]) if name.startswith("A") else None

    def sublist_counts(self, account: int) -> dict[str, int] | None:
        return {"inserts": 2, "max_fanout": account} if account < self.accounts else None


def asked(core: FakeCounters, **question: Any) -> list[dict[str, int]]:
    return [json.loads(part) for part in answer(cast(Core, core), question)]


def test_sublists_are_summed_up() -> None:
    assert asked(FakeCounters(100), op="sublists", account="A7") == [{"inserts": 2, "max_fanout": 7}]
    assert asked(FakeCounters(100), op="sublists", account="unknown") == []
    assert asked(FakeCounters(0), op="sublists", account="") == [{}]


def test_no_step_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients have their turn when a step has taken its time, whatever it has seen of the accounts."""
    monkeypatch.setattr(answers, "_STEP", -1.0)
    parts = asked(FakeCounters(100), op="sublists", account="")
    assert len(parts) == 101 and parts[-1] == {}
    monkeypatch.setattr(answers, "_STEP", 60.0)
    assert asked(FakeCounters(100), op="sublists", account="") == [{"inserts": 200, "max_fanout": 99}]
