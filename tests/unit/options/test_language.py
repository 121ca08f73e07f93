"""The configuration language: what a text means, and where a mistake is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.options.parser import MAX_NESTING, ConfigError, DateTime, Node, parse_file, parse_text


def plain(value: Any) -> Any:
    """A parsed value without positions."""
    if isinstance(value, dict):
        return {key: plain(node.value) for key, node in value.items()}
    if isinstance(value, list):
        return [plain(node.value) for node in value]
    return value


def parse(text: str) -> Any:
    return plain(parse_text(text, "c.conf"))


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_text(text, "c.conf")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"port": 4222, "host": "a"}', {"port": 4222, "host": "a"}),
        ("port = 4222", {"port": 4222}),
        ("port: 4222", {"port": 4222}),
        ("port 4222", {"port": 4222}),
        ("port\n4222", {"port": 4222}),
        ("a: 1; b: 2, c: 3\nd: 4", {"a": 1, "b": 2, "c": 3, "d": 4}),
        ("# one\na: 1 // two\n// three\nb: 2 # four\n", {"a": 1, "b": 2}),
        ("a { # x\n b: 1 // y\n }", {"a": {"b": 1}}),
        ("a [ # x\n 1 // y\n 2\n]", {"a": [1, 2]}),
        ("c={port: 1}", {"c": {"port": 1}}),
        ("c {port: 1}", {"c": {"port": 1}}),
        ("cluster{ 1", {"cluster{": 1}),
        ("a: 1\na: 2", {"a": 2}),
        ("a: 1\nA: 2", {"a": 1, "A": 2}),
        ("a: [\n1\n2\n\n3\n]", {"a": [1, 2, 3]}),
        ("a: [1, 2, ]\nb: {c: 1,}\n", {"a": [1, 2], "b": {"c": 1}}),
        ("a: 1\n}", {"a": 1}),
        ("{ a: 1 }", {"a": 1}),
        ("{\n{ a: 1 }\n# x\n}\n# y", {"a": 1}),
        ("{ a: 1", "a block-level value to end with a new line"),
        ("{ a: 1\n", {"a": 1}),
        ("", {}),
        ("# nothing\n\n", {}),
        ("\"a b\": 1\n'c{': 2", {"a b": 1, "c{": 2}),
        ("a: b'c: 1", "a top-level value to end with a new line"),
        ("a:", {"a": ""}),
    ],
)
def test_structure(text: str, expected: object) -> None:
    if isinstance(expected, str):
        assert expected in refusal(text)
    else:
        assert parse(text) == expected


@pytest.mark.parametrize("word", ["true", "TRUE", "yes", "Yes", "on", "oN"])
def test_true(word: str) -> None:
    assert parse(f"a: {word}") == {"a": True}


@pytest.mark.parametrize("word", ["false", "False", "no", "NO", "off"])
def test_false(word: str) -> None:
    assert parse(f"a: {word}") == {"a": False}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("123", 123),
        ("-5", -5),
        ("007", 7),
        ("1.5", 1.5),
        ("-1.5", -1.5),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1k", 1000),
        ("1K", 1000),
        ("1kb", 1024),
        ("1ki", 1024),
        ("1KiB", 1024),
        ("2m", 2_000_000),
        ("1MiB", 1048576),
        ("1g", 10**9),
        ("1gb", 2**30),
        ("1t", 10**12),
        ("1tb", 2**40),
        ("1p", 10**15),
        ("1pb", 2**50),
        ("1e", 10**18),
        ("1eb", 2**60),
        ("-1k", -1000),
        ("99e", 6766279631452241920),  # overflows as nats-server's does
        ("2020-01-02T03:04:05Z", DateTime("2020-01-02T03:04:05Z")),
        ("2020-02-29T03:04:05Z", DateTime("2020-02-29T03:04:05Z")),
        ("1.2.3.4", "1.2.3.4"),
        ("127.0.0.1:4222", "127.0.0.1:4222"),
        ("12:30", "12:30"),
        ("3xyz", "3xyz"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("10s", "10s"),
        ("2Mx", "2Mx"),
        ("5\\x", "5\\x"),
        ("abc", "abc"),
        ("nats://u:p@h:1", "nats://u:p@h:1"),
        ("a#b", "a#b"),
        ("a//b", "a//b"),
        ("a:b", "a:b"),
        ("a=b", "a=b"),
        ("a{b", "a{b"),
        ("foo.>", "foo.>"),
        ("*", "*"),
        ("null", "null"),
        ("~", "~"),
        ("a\\tb", "a\tb"),
        ("tr\\x75e", "true"),
        ("true'", "true"),
        ('""', ""),
        ('"a b"', "a b"),
        ('"a\nb"', "a\nb"),
        (r'"\t\n\r\"\\\x41"', '\t\n\r"\\A'),
        (r'"\xc3\xa9"', "é"),
        (r'"\xff"', "\udcff"),
        ('"$X"', "$X"),
        (r"'a\tb'", r"a\tb"),
        ("'a\"b'", 'a"b'),
        ("(\nabc\n  )\n)\nb: 1", "\nabc\n  )\n"),
        ("(\nabc\n)", "\nabc\n)"),
        ("$2a$11$abc", "$2a$11$abc"),
        ("[]", []),
        ("{}", {}),
        ("[[1, 2\n], {a: b}]", [[1, 2], {"a": "b"}]),
    ],
)
def test_value(text: str, expected: object) -> None:
    value = parse(f"a: {text}")["a"]
    assert value == expected
    assert type(value) is type(expected)


def test_unknown_size_suffix_is_no_value() -> None:
    assert parse("a: [1kbb, 2 ]") == {"a": [2]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: b c: d",
            "Parse error on line 1: 'Expected a top-level value to end with a new line, "
            "comment or EOF, but got 'c' instead.'",
        ),
        ("a: .5", "Parse error on line 1: 'Floats must start with a digit'"),
        ("a: -.5", "Parse error on line 1: 'Floats must start with a digit, not '.'.'"),
        ("a: -x", "Parse error on line 1: 'Expected a digit but got 'x'.'"),
        ("a: 1.", "Parse error on line 1: 'Floats must have a digit after the '.', but got '\0' instead.'"),
        ("a: 1e3", "comment or EOF, but got '3' instead."),
        ("a: 1m30s", "comment or EOF, but got '3' instead."),
        ("a: 1.5s", "comment or EOF, but got 's' instead."),
        ("a: -5s", "comment or EOF, but got 's' instead."),
        ("a: 9223372036854775808", "integer '9223372036854775808' is out of the range"),
        ("a: " + "9" * 5000, "is out of the range"),
        ("a: " + "9" * 400 + ".5", "is out of the range"),
        ("a: 12-x", "All ISO8601 dates must be in full Zulu form."),
        ("a: 2020-x", "Expected digit in ISO8601 datetime, but found 'x' instead."),
        ("a: 2020-01x", "Expected '-' in ISO8601 datetime, but found 'x' instead."),
        ("a: 2019-02-29T03:04:05Z", "expected Zulu formatted DateTime, but got '2019-02-29T03:04:05Z'"),
        ("a: 2019-02-28T24:04:05Z", "expected Zulu formatted DateTime"),
        ("\n\na:\nb: 1", "Parse error on line 4: 'Expected value but found new line'"),
        ('a: "\nx', "Parse error on line 2: 'Unexpected EOF.'"),
        ("a: 'x", "Parse error on line 1: 'Unexpected EOF.'"),
        ('a: "', "config is invalid (c.conf:1:4)"),
        ("a: (\nx\n", "Parse error on line 3: 'Unexpected EOF processing block.'"),
        ("a: (x)\n", "Unexpected EOF processing block."),
        ("a {\n", "Parse error on line 2: 'Unexpected EOF processing map.'"),
        ("a { b", "Unexpected EOF processing map key."),
        ("a { 'b", "Unexpected EOF processing quoted map key."),
        ('a { "b', "Unexpected EOF processing double quoted map key."),
        ("a { b: ,", 'Unexpected map value terminator ",".'),
        ("a { : b", "Unexpected key separator ':'."),
        ("a { ]", "Unexpected array end ']' processing map."),
        ("a { b: 1 c: 2 }", 'Expected a map value terminator "," or a map terminator "}", but got \'c\''),
        ("a [ b c ]", 'Expected an array value terminator "," or an array terminator "]", but got \'c\''),
        ("a [ , ]", "Unexpected array value terminator ','."),
        ("a [1]", "an array terminator"),  # a number is not ended by a bracket
        ("= 1", "Unexpected key separator '='"),
        ("/ a", "Unexpected EOF."),
        ("{ a: 1 } }x", "config is invalid (c.conf:1:11)"),
        ("a", "config is invalid (c.conf:1:1)"),
        ("  a \n ", "config is invalid (c.conf:2:2)"),
        (r'a: "\q"', r"Invalid escape character 'q'. Only the following escape characters are allowed: "),
        (r'a: "\xZ1"', r"Expected two hexadecimal digits after '\x', but got 'Z1'"),
        ('a: "\\x\n"', r"Expected two hexadecimal digits after '\x', but hit end of line"),
        ("include [", "Expected include value but found start of an array"),
        ("include 5", "Expected include value but found start of a number"),
        ("include \n", "Expected include value but found new line"),
        ("include 'x", "Unexpected EOF in quoted include"),
    ],
)
def test_parse_error(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_positions() -> None:
    nodes = parse_text('a: 1\n  b: 2\n"c": {\n d: [\n  x, "y"\n]}\né: {f: 1}', "c.conf")
    inner = nodes["c"].value
    assert isinstance(inner, dict)
    array = inner["d"].value
    assert isinstance(array, list)
    last = nodes["é"].value
    assert isinstance(last, dict)
    found = {
        name: node.source().removeprefix("c.conf:")
        for name, node in {**nodes, **inner, **last, "x": array[0], "y": array[1]}.items()
    }
    assert found == {
        "a": "1:0",
        "b": "2:3",
        "c": "3:2",
        "d": "4:2",
        "x": "5:3",
        "y": "5:7",
        "é": "7:1",
        "f": "7:6",  # bytes, and "é" has two
    }


def test_key_without_value_takes_the_map_around_it() -> None:
    nodes = parse_text("auth {\n user: }", "c.conf")
    assert plain(nodes) == {"user": {}}
    assert nodes["user"].source() == "c.conf:2:2"


class TestVariables:
    def test_of_the_file(self) -> None:
        assert parse("p: 4222\nport: $p") == {"p": 4222, "port": 4222}

    def test_inner_scope_first(self) -> None:
        assert parse("x: 1\na { x: 2\n b: $x }\nc: $x") == {"x": 1, "a": {"x": 2, "b": 2}, "c": 1}

    def test_only_keys_defined_before(self) -> None:
        assert "variable reference for 'x' on line 1 can not be found" in refusal("a: $x\nx: 1")

    def test_reference_marks_its_key(self) -> None:
        nodes = parse_text("x: 1\ny: 2\na: $x")
        assert (nodes["x"].used, nodes["y"].used) == (True, False)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [("42", 42), ("hello", "hello"), ("'a b'", "a b"), ("[a, b]", ["a", "b"]), ("", ""), ("1k", 1000)],
    )
    def test_of_the_environment(self, monkeypatch: pytest.MonkeyPatch, value: str, expected: object) -> None:
        monkeypatch.setenv("SOME_VARIABLE", value)
        assert parse("a: $SOME_VARIABLE") == {"a": expected}

    def test_environment_refers_to_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ONE", "$TWO")
        monkeypatch.setenv("TWO", "2")
        assert parse("a: $ONE\nb: $ONE") == {"a": 2, "b": 2}

    def test_environment_cycle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ONE", "$TWO")
        monkeypatch.setenv("TWO", "$ONE")
        assert refusal("a: $ONE").endswith("variable reference cycle for 'ONE'")

    def test_long_environment_chain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(200):
            monkeypatch.setenv(f"CHAIN{number}", f"$CHAIN{number + 1}")
        assert "variables refer to each other" in refusal("a: $CHAIN0")

    def test_environment_with_a_syntax_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BROKEN", "'x")
        assert refusal("\na: $BROKEN") == (
            "variable reference for 'BROKEN' on line 2 could not be parsed: "
            "Parse error on line 1: 'Unexpected EOF.'"
        )

    def test_position_is_that_of_the_reference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LIST", "[{a: b}]")
        node = parse_text("x: 1\n y: $LIST", "c.conf")["y"]
        assert node.source() == "c.conf:2:2"
        assert isinstance(node.value, list)
        assert node.value[0].source() == "c.conf:2:2"

    def test_missing(self) -> None:
        assert refusal("\na: $NO_SUCH_VARIABLE") == (
            "variable reference for 'NO_SUCH_VARIABLE' on line 2 can not be found"
        )


class TestIncludes:
    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("sub").mkdir()

    def parse(self, text: str, **files: str) -> dict[str, Node]:
        for name, content in files.items():
            Path(name.replace("__", "/") + ".conf").write_text(content)
        Path("main.conf").write_text(text)
        return parse_file("main.conf")

    def refusal(self, text: str, **files: str) -> str:
        with pytest.raises(ConfigError) as caught:
            self.parse(text, **files)
        return str(caught.value)

    @pytest.mark.parametrize(
        "text", ["include one.conf", "include './one.conf'", 'INCLUDE "one.conf"', "{ include one.conf ; }"]
    )
    def test_merges(self, text: str) -> None:
        assert plain(self.parse(f"b: 2\n{text}\n", one="a: 1")) == {"a": 1, "b": 2}

    def test_in_a_map(self) -> None:
        assert plain(self.parse("m { include one.conf }", one="a: 1\n")) == {"m": {"a": 1}}

    def test_defines_variables(self) -> None:
        assert plain(self.parse("include one.conf\nb: $a", one="a: 1")) == {"a": 1, "b": 1}

    def test_later_key_wins(self) -> None:
        assert plain(self.parse("a: 0\ninclude one.conf\nb: 3", one="a: 1\nb: 2")) == {"a": 1, "b": 3}

    def test_relative_to_the_including_file(self) -> None:
        nodes = self.parse("include sub/one.conf", sub__one="include two.conf", sub__two="\na: 1")
        assert nodes["a"].source() == "sub/two.conf:2:1"

    def test_missing(self) -> None:
        assert self.refusal("include 'x'") == (
            "error parsing include file 'x', open x: no such file or directory"
        )

    def test_error_inside(self) -> None:
        assert self.refusal("include one.conf", one="\na: [") == (
            "error parsing include file 'one.conf', Parse error on line 2: 'Expected an array value "
            'terminator "," or an array terminator "]", but got \'\0\' instead.\''
        )

    def test_directory(self) -> None:
        assert self.refusal("include sub").endswith("read sub: is a directory")

    def test_cycle(self) -> None:
        assert "include cycle" in self.refusal("include one.conf", one="include main.conf")

    def test_deep(self) -> None:
        for number in range(100):
            Path(f"d{number}.conf").write_text(f"include d{number + 1}.conf")
        assert "include each other" in self.refusal("include d0.conf")

    def test_the_same_file_twice_is_no_cycle(self) -> None:
        assert plain(self.parse("m { include one.conf }\nn { include one.conf }", one="a: 1\n")) == {
            "m": {"a": 1},
            "n": {"a": 1},
        }

    def test_key_called_include(self) -> None:
        assert plain(self.parse("include: 5")) == {"include": 5}


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"open /no/such/file\.conf: no such file or directory"):
        parse_file("/no/such/file.conf")


@pytest.mark.parametrize("opening", ["[", "{a:"])
def test_nesting_is_bounded(opening: str) -> None:
    text = "a: " + opening * (MAX_NESTING + 1)
    assert "nested values" in refusal(text + opening * 100_000)
    assert "nested values" not in refusal("a: " + opening * MAX_NESTING)


def test_braces_around_the_top_level_nest_without_bound() -> None:
    assert parse("{" * 100_000) == {}


_PIECES = st.sampled_from(
    [
        *("a", "b", "=", ":", " ", "\n", "\r\n", ",", ";", "{", "}", "[", "]", "(", ")", "\n)\n", '"', "'"),
        *("#", "//", "/", "$", "$a", "\\", "\\x", "\\n", "1", "-", ".", "k", "2020-01-02T03:04:05Z", "true"),
        *("include ", "\0", "\u2003", "\u0663", "\udcff", "é", "99999999999999999999", "1.5", "é\\xc3"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(_PIECES, max_size=30).map("".join)))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """Whatever the text, there are values of the promised types with positions in it, or a ConfigError."""
    # As a file is read: a lone surrogate can only stand for a byte.
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    try:
        nodes = parse_text(text, "c.conf")
    except ConfigError as error:
        assert str(error)
        return
    pending = list(nodes.values())
    while pending:
        node = pending.pop()
        assert 1 <= node.line <= text.count("\n") + 1
        if isinstance(node.value, dict):
            pending += node.value.values()
        elif isinstance(node.value, list):
            pending += node.value
        else:
            assert isinstance(node.value, str | bool | int | float | DateTime)
            assert not isinstance(node.value, float) or math.isfinite(node.value)
