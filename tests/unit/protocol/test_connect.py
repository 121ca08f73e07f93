"""Decoding CONNECT. The tables hold what nats-server 2.14 was seen to do."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.protocol.connect import Connect, Meta, decode, encode

FULL = Connect(
    verbose=False,
    pedantic=False,
    echo=False,
    tls_required=True,
    user="u",
    password="p",
    auth_token="t",
    nkey="U",
    sig="s",
    jwt="j",
    name="n",
    lang="l",
    version="v",
    protocol=1,
    headers=True,
    no_responders=True,
    account="a",
    new_account=True,
    proxy_sig="x",
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
connects = st.builds(
    Connect,
    **{
        f.name: {"str": texts, "bool": st.booleans(), "int": st.integers(-5, 5)}[str(f.type)]
        for f in fields(Connect)
    },
)


@pytest.mark.parametrize(
    ("data", "changed"),
    [
        (b"{}", {}),
        (b"  {}  ", {}),
        (b"null", {}),
        (b'{"verbose":false}', {"verbose": False}),
        (b'{"Verbose":false}', {"verbose": False}),
        (b'{"\\u0076erbose":false}', {"verbose": False}),
        (b'{"verbose":false,"VERBOSE":true}', {}),
        (b'{"verbose":false,"VERBOSE":null}', {"verbose": False}),
        (b'{"echo":null,"account":null}', {}),
        (b'{"pass":"x"}', {"password": "x"}),
        (b'{"password":"x"}', {}),
        (b'{"\\u017fig":"x"}', {"sig": "x"}),
        (b'{"auth_to\\u212aen":"x"}', {"auth_token": "x"}),
        (b'{"protocol":-1}', {"protocol": -1}),
        (b'{"protocol":2}', {"protocol": 2}),
        (b'{"protocol":-0}', {}),
        (b'{"protocol":9223372036854775807}', {"protocol": 2**63 - 1}),
        (b'{"name":"\xff"}', {"name": "\ufffd"}),
        (b'{"name":"\\ud800"}', {"name": "\ufffd"}),
        (b'{"name":"\\ud83d\\ude00"}', {"name": "\U0001f600"}),
        (b'{"name":"a\\u0000b"}', {"name": "a\0b"}),
        (b'{"unknown":[1,{"verbose":5}],"other":1e999,"x":1.5}', {}),
        (b'\t\r\n{"lang":\t"py"}', {"lang": "py"}),
    ],
)
def test_accepted(data: bytes, changed: dict[str, Any]) -> None:
    connect = decode(data, None)
    assert connect is not None
    assert asdict(connect) == asdict(Connect()) | changed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"[]",
        b'"x"',
        b"5",
        b"true",
        b"{} x",
        b"{}{}",
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":01}',
        b'{"a":-}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":"\\x"}',
        b'{"name":"a\tb"}',
        b"\xef\xbb\xbf{}",
        b"\x0b{}",
        b'{"a":\x0c1}',
        b'{"verbose":0}',
        b'{"verbose":"true"}',
        b'{"verbose":{}}',
        b'{"name":5}',
        b'{"name":["a"]}',
        b'{"name":"a","NAME":5}',
        b'{"name":5,"name":"a"}',
        b'{"n\\u0061me":5}',
        b'{"protocol":1.0}',
        b'{"protocol":1e0}',
        b'{"protocol":true}',
        b'{"protocol":"1"}',
        b'{"protocol":9223372036854775808}',
        b'{"protocol":-9223372036854775809}',
        b'{"protocol":99999999999999999999}',
        b'{"account":{}}',
        b'{"a":' + b"[" * 100_000,
        b'{"protocol":' + b"1" * 10_000 + b"}",
        b"{}\0",
        '{"name":"x"}'.encode("utf-16"),
    ],
)
def test_closes_silently(data: bytes) -> None:
    assert decode(data, None) is None
    assert decode(data, FULL) is None


def test_every_key_of_the_protocol() -> None:
    values = asdict(FULL)
    values["pass"] = values.pop("password")
    assert decode(json.dumps(values).encode(), None) == FULL
    assert decode(json.dumps({key.upper(): value for key, value in values.items()}).encode(), None) == FULL
    for key in values:
        assert decode(json.dumps({key: [values[key]]}).encode(), None) is None


def test_a_second_connect_overrides_what_it_names() -> None:
    first = decode(b'{"user":"u","pass":"p","verbose":false}', None)
    assert first is not None
    second = decode(b'{"pass":"q","name":null}', first)
    assert second == Connect(user="u", password="q", verbose=False)
    assert first.password == "p"
    assert decode(b"{}", FULL) == FULL


@given(st.binary(max_size=200))
def test_never_raises(data: bytes) -> None:
    decode(data, None)
    decode(b"{" + data + b"}", FULL)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["verbose", "Pass", "name", "protocol", "headers", "x", "SIG"])


@given(st.dictionaries(keys, json_values))
def test_types_are_kept(values: dict[str, object]) -> None:
    connect = decode(json.dumps(values).encode(), None)
    if connect is not None:
        assert {name: type(value) for name, value in asdict(connect).items()} == {
            name: type(value) for name, value in asdict(FULL).items()
        }


@given(connects)
def test_encode_round_trip(connect: Connect) -> None:
    assert decode(encode(connect), None) == connect


def test_encode_is_short() -> None:
    assert encode(Connect()) == b"{}"
    assert encode(Connect(password="p", echo=False)) == b'{"echo":false,"pass":"p"}'


def test_secrets_stay_out_of_representations() -> None:
    secret = Connect(password="hidden", auth_token="hidden", sig="hidden", jwt="hidden", proxy_sig="hidden")
    assert "hidden" not in repr(secret)


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        (Meta("abc", "go", "1.2"), "v1.2:go:abc"),
        (Meta("abc"), "abc"),
        (Meta(lang="go"), "go"),
        (Meta("abc", version="1.2"), "v1.2:abc"),
        (Meta(), ""),
    ],
)
def test_client_label(meta: Meta, text: str) -> None:
    assert meta.client == text
