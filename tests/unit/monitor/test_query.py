"""Parameters of a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.monitor.asked import page
from broker.monitor.query import Query, QueryError


def test_as_go_reads_them() -> None:
    query = Query("a=1&a=2&b=x+y%26&&c;d=1&bad=%zz&e&f=%FF")
    assert [query.text(name) for name in ("a", "b", "c", "d", "bad", "e", "f", "none")] == (
        ["1", "x y&", "", "", "", "", "\udcff", ""]
    )


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_true(text: str) -> None:
    assert Query(f"x={text}").flag("x")


@pytest.mark.parametrize("text", ["", "0", "f", "F", "false", "FALSE", "False"])
def test_false(text: str) -> None:
    assert not Query(f"x={text}").flag("x")


@pytest.mark.parametrize("text", ["yes", "tRUE", "2", "%20"])
def test_neither(text: str) -> None:
    with pytest.raises(QueryError, match=r"^Error decoding boolean for 'x': strconv\.ParseBool: parsing "):
        Query(f"x={text}").flag("x")


@given(st.text(max_size=30))
def test_numbers_are_usable_or_refused(text: str) -> None:
    query = Query(f"offset={text}&limit={text}&cid={text}")
    try:
        offset, limit = page(query.number("offset"), query.number("limit"))
        assert 0 <= offset < 1 << 63 and 0 < limit < 1 << 63
        assert 0 <= query.unsigned("cid") < 1 << 64
    except QueryError as error:
        assert "strconv." in str(error)


def test_unsigned_limits() -> None:
    assert Query("cid=18446744073709551615").unsigned("cid") == (1 << 64) - 1
    for text in ("18446744073709551616", "9" * 5000):
        with pytest.raises(QueryError, match="value out of range"):
            Query(f"cid={text}").unsigned("cid")
    with pytest.raises(QueryError, match="invalid syntax"):
        Query("cid=+1").unsigned("cid")


def test_subs() -> None:
    assert Query("subs=DETAIL").subs() == (False, True)
    assert Query("subs=1").subs() == (True, False)
    assert Query("").subs() == (False, False)
