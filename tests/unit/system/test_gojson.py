"""Bodies of requests: Go's texts, each seen from nats-server itself, and agreement with Python about what is well formed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.system.gojson import JsonError, Number, decode, parse, shape_of


@dataclass(slots=True, frozen=True)
class Options:
    """What the tests decode."""

    limit: int = 0
    cid: int = field(default=0, metadata={"kind": "uint64"})
    auth: bool = False
    name: str = ""
    tags: tuple[str, ...] = ()
    js_only: bool = field(default=False, metadata={"name": "js-only"})


SHAPES = {Options: shape_of("E.Options", Options)}


def read(body: str | bytes) -> Options:
    data = body if isinstance(body, bytes) else body.encode()
    options = decode(data, "server.E", SHAPES)[Options]
    assert isinstance(options, Options)
    return options


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "unexpected end of JSON input"),
        (" ", "unexpected end of JSON input"),
        ("{bad", "invalid character 'b' looking for beginning of object key string"),
        ("{", "unexpected end of JSON input"),
        ('{"a"', "unexpected end of JSON input"),
        ('{"a":1', "unexpected end of JSON input"),
        ('{"a', "unexpected end of JSON input"),
        ("[1", "unexpected end of JSON input"),
        ('{"x":}', "invalid character '}' looking for beginning of value"),
        ("nul", "invalid character ' ' in literal null (expecting 'l')"),
        ('{"a":tru}', "invalid character '}' in literal true (expecting 'e')"),
        ('{"a":"\\x"}', "invalid character 'x' in string escape code"),
        ('{"a":"\\', "invalid character ' ' in string escape code"),
        ('{"a":"\\u12g"}', "invalid character 'g' in \\u hexadecimal character escape"),
        ('{"a":"\x01"}', "invalid character '\\x01' in string literal"),
        ('{"a":"\n"}', "invalid character '\\n' in string literal"),
        ('{"a":01}', "invalid character '1' after object key:value pair"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ("{,}", "invalid character ',' looking for beginning of object key string"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{}x", "invalid character 'x' after top-level value"),
        ("-", "invalid character ' ' in numeric literal"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.", "invalid character ' ' after decimal point in numeric literal"),
        ("[1.x]", "invalid character 'x' after decimal point in numeric literal"),
        ("1e", "invalid character ' ' in exponent of numeric literal"),
        ("1e+", "invalid character ' ' in exponent of numeric literal"),
        ("NaN", "invalid character 'N' looking for beginning of value"),
        ("[-Infinity]", "invalid character 'I' in numeric literal"),
        ("[" + "1," * 20_000, "invalid JSON"),
        ("[" + "1," * 50_000, "a body of 100001 bytes is too large: at most 65536"),
        ("ÿ", "invalid character 'Ã' looking for beginning of value"),
        ("'", "invalid character '\\'' looking for beginning of value"),
        ("[" * 20_000, "exceeded max depth"),
        ("[" * 9_000 + "]" * 9_000, "exceeded max depth"),
    ],
)
def test_malformed(body: str, text: str) -> None:
    with pytest.raises(JsonError) as caught:
        parse(body.encode())
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("[]", "array into Go value of type server.E"),
        ("3", "number into Go value of type server.E"),
        ('"x"', "string into Go value of type server.E"),
        ("true", "bool into Go value of type server.E"),
        ('{"limit":1.5}', "number 1.5 into Go struct field E.Options.limit of type int"),
        ('{"limit":1e3}', "number 1e3 into Go struct field E.Options.limit of type int"),
        ('{"limit":9223372036854775808}', "number 9223372036854775808 into Go struct field E.Options.limit of type int"),
        ('{"limit":"5"}', "string into Go struct field E.Options.limit of type int"),
        ('{"limit":{}}', "object into Go struct field E.Options.limit of type int"),
        ('{"cid":-1}', "number -1 into Go struct field E.Options.cid of type uint64"),
        ('{"cid":18446744073709551616}', "number 18446744073709551616 into Go struct field E.Options.cid of type uint64"),
        ('{"auth":1.5}', "number into Go struct field E.Options.auth of type bool"),
        ('{"name":3}', "number into Go struct field E.Options.name of type string"),
        ('{"name":true}', "bool into Go struct field E.Options.name of type string"),
        ('{"tags":"x"}', "string into Go struct field E.Options.tags of type []string"),
        ('{"tags":[3]}', "number into Go struct field E.Options.tags of type string"),
        ('{"js-only":[]}', "array into Go struct field E.Options.js-only of type bool"),
        ('{"name":3,"auth":3}', "number into Go struct field E.Options.name of type string"),
    ],
)  # fmt: skip
def test_other_types(body: str, text: str) -> None:
    with pytest.raises(JsonError) as caught:
        read(body)
    assert str(caught.value) == f"json: cannot unmarshal {text}"


def test_good() -> None:
    assert read("{}") == read("null") == read(' { "other" : [1, {"a": null}] } ') == Options()
    assert read('{"LIMIT":-1,"Name":"a","tags":["x",null,"y"],"name":"b","js-only":true}') == Options(
        limit=-1, name="b", tags=("x", "y"), js_only=True
    )
    assert read('{"limit":null,"auth":null,"tags":null}') == Options()
    assert read('{"cid":18446744073709551615}').cid == (1 << 64) - 1
    assert read('{"limit":-9223372036854775808}').limit == -(1 << 63)


def test_names_can_be_sent_on() -> None:
    assert read('{"name":"a\\r\\n\\u0000"}').name == "a\r\n\0"
    assert read('{"name":"\\ud800x"}').name == "\ufffdx"
    assert read(b'{"name":"\xff"}').name == "\ufffd"
    assert read('{"name":"\\ud83d\\ude00"}').name == "\U0001f600"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(JSON)
def test_all_json_is_accepted(value: object) -> None:
    parse(json.dumps(value).encode())
    parse(json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace"))


@given(JSON, st.integers(0, 200), st.sampled_from(list(b'{}[]",:\\0.-eEnu \n\x00\xff')))
def test_what_python_refuses_is_refused(value: object, at: int, byte: int) -> None:
    data = bytearray(json.dumps(value).encode())
    data[at % len(data)] = byte
    try:
        json.loads(data.decode("utf-8", "replace"), parse_constant=lambda name: 1 / 0)
        good = True
    except (ValueError, ZeroDivisionError):
        good = False
    try:
        parse(bytes(data))
        accepted = True
    except JsonError:
        accepted = False
    assert accepted == good or (b"\xff" in data and not accepted)


def test_numbers_keep_their_text() -> None:
    assert parse(b"[1e400]") == [Number("1e400")]
    assert isinstance(parse(b"9" * 5000), Number)
