"""Events as text: what is kept of one never shows in another, and the JSON is that of the whole object."""

from __future__ import annotations

import itertools
import json

import pytest

from broker.monitor.accounts import account_stat
from broker.monitor.encode import compact_exact
from broker.protocol.errors import ClosedReason
from broker.records import read_records
from broker.system.ids import EventIds
from broker.system.texts import account_text, client_text, end_text

from .virtual import record

COUNTED = ("conns", "held", "in_msgs", "in_bytes", "out_msgs", "out_bytes", "slow_consumers")


@pytest.mark.parametrize(
    "name", ["A", "100%", "%%", "%(conns)d", '"%(conns)d"', ")d", 'x)d"', "a<b&c", "\u00e9\\", "%s%n"]
)
def test_numbers_of_accounts(name: str) -> None:
    for start in (0, 10, 1 << 60):
        sums = {key: start + number for number, key in enumerate(COUNTED)}
        assert account_text(name, sums) == compact_exact(account_stat(name, sums))


def test_clients() -> None:
    both = '{"name":"n<","lang":"go","version":"1.2","issuer_key":"K"}'
    for cid, account, user, about, expected in (
        (7, "A", "u", both, {"user": "u", "name": "n<", "lang": "go", "ver": "1.2", "issuer_key": "K"}),
        (8, "A", "", "", {}),
        (9, "B", "u", both, {"user": "u", "name": "n<", "lang": "go", "ver": "1.2", "issuer_key": "K"}),
        (7, "A", "v", '{"lang":"rust"}', {"user": "v", "lang": "rust"}),
    ):
        (client,) = read_records([record(cid, account, user, about, ClosedReason.CLIENT_CLOSED)])
        begin = {"start": "1970-01-01T00:00:01Z", "host": "1.2.3.4", "id": cid, "acc": account}
        key = {"issuer_key": expected.pop("issuer_key")} if "issuer_key" in expected else {}
        last = {**key, "name_tag": account, "kind": "Client", "client_type": "nats"}
        end = {"rtt": 1234, "stop": "1970-01-01T00:00:03Z"}
        assert _pairs(client_text(client, account, ended=False)) == list(
            {**begin, **expected, **last}.items()
        )
        assert "\\u003c" in client_text(client, account, ended=False) or "name" not in expected
        whole = _pairs(f'{{"x":1{end_text(client, account)}')
        assert whole[1:] == [
            ("client", list({**begin, **expected, **end, **last}.items())),
            ("sent", [("msgs", 3), ("bytes", 30)]),
            ("received", [("msgs", 4), ("bytes", 40)]),
            ("reason", "Client Closed"),
        ]


def _pairs(text: str) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = json.loads(text, object_pairs_hook=list)
    return pairs


def test_ids_grow() -> None:
    ids = EventIds()
    made = [ids.new() for _ in range(10_000)]
    assert len(set(made)) == 10_000
    assert all(len(one) == 22 and one.isalnum() for one in made)
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    numbers = [[digits.index(digit) for digit in one[12:]] for one in made]
    assert numbers == sorted(numbers)
    steps = {_number(after) - _number(before) for before, after in itertools.pairwise(numbers)}
    assert len(steps) == 1


def _number(digits: list[int]) -> int:
    number = 0
    for digit in digits:
        number = number * 62 + digit
    return number
