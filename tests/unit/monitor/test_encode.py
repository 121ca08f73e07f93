"""Values as monitoring writes them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.monitor.encode import (
    compact,
    compact_slowly,
    indented,
    indented_slowly,
    time_text,
    uptime_text,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(VALUES)
def test_it_is_json(value: Any) -> None:
    """Both forms mean the value; as Go's, they hold no character that means something in HTML."""
    for text in (compact(value), indented(value)):
        assert json.loads(text) == value
        assert not set(text) & set("<>&\u2028\u2029")


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_in_pieces(value: Any) -> None:
    """What is long is made in pieces, and is the same."""

    async def slowly(long: Any) -> tuple[str, str]:
        return await indented_slowly(long), await compact_slowly(long)

    members = {str(at): value for at in range(70)}
    for long in (value, [value] * 70, {"a": ["x<", 1] * 700, "b": members, "c": [1.0] * 70}):
        assert asyncio.run(slowly(long)) == (indented(long), compact(long))


def test_indentation() -> None:
    value = {
        "a": 1,
        "b": [],
        "c": {},
        "d": [1, "x"],
        "e": [{"f": None, "g": [[2.0, 2.5]]}],
        "h": {"<&>": True},
    }
    assert indented(value) == (
        '{\n  "a": 1,\n  "b": [],\n  "c": {},\n  "d": [\n    1,\n    "x"\n  ],\n  "e": [\n    {\n      "f": null,\n'
        '      "g": [\n        [\n          2,\n          2.5\n        ]\n      ]\n    }\n  ],\n  "h": {\n'
        '    "\\u003c\\u0026\\u003e": true\n  }\n}'
    )
    assert compact({"a": [1, 2.0]}) == '{"a":[1,2]}'


def test_what_is_not_unicode() -> None:
    assert compact("a\udcff") == '"a\ufffd"'
    assert indented({"k": "\ud800"}).encode() == '{\n  "k": "\ufffd"\n}'.encode()


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_795_571_742_763_168_042, "2026-11-25T01:55:42.763168042Z"),
        (1_795_571_742_000_000_000, "2026-11-25T01:55:42Z"),
        (1_795_571_742_010_000_000, "2026-11-25T01:55:42.01Z"),
    ],
)
def test_times(ns: int, text: str) -> None:
    assert time_text(ns) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0, "0s"),
        (5, "5s"),
        (65, "1m5s"),
        (7265, "2h1m5s"),
        (266465, "3d2h1m5s"),
        (31802465, "1y3d2h1m5s"),
        (86400, "1d0h0m0s"),
    ],
)
def test_uptimes(seconds: int, text: str) -> None:
    assert uptime_text(seconds * 1_000_000_000 + 999) == text
