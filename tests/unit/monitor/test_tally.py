"""Counters of the living and the dead."""

from __future__ import annotations

from broker.monitor.tally import Tally


def test_what_was_counted_stays() -> None:
    tally = Tally()
    tally.update(1, {"in_msgs": 5, "connections": 3, "pid": 99})
    tally.update(2, {"in_msgs": 7, "connections": 1, "pid": 98})
    assert tally.sums()["in_msgs"] == 12 and tally.sums()["connections"] == 4
    tally.keep([2, 3])
    assert tally.sums()["in_msgs"] == 12 and tally.sums()["connections"] == 1
    tally.update(3, {"in_msgs": 1, "connections": 1})
    tally.update(2, {"in_msgs": 8, "connections": 0})
    assert tally.sums()["in_msgs"] == 14 and tally.sums()["connections"] == 1
    assert tally.of(1) == {} and tally.of(3)["in_msgs"] == 1
    assert tally.sums()["never.mentioned"] == 0
