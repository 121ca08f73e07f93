"""JSON as Go's decoder reads it: what it accepts, and in its words what is wrong with the rest.

Operators' tools show these texts, so they are nats-server's own. Python's decoder reads what is well formed; what it refuses is
looked at again, for the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from broker.options.gotext import INT64_MAX, INT64_MIN

MAX_DEPTH: Final = 10_000
MAX_BODY: Final = 64 * 1024  # bytes; nobody needs more, and what reads more holds others up
MAX_SCANNED: Final = 8 * 1024  # bytes of a body that is looked at again; that is slow

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_STRING_RUN: Final = re.compile(rb'[^"\\\x00-\x1f]*')
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INTEGER: Final = re.compile("-?[0-9]+", re.ASCII)
_ESCAPES: Final = frozenset(b'"\\/bfnrt')
_LITERALS: Final = {0x74: b"true", 0x66: b"false", 0x6E: b"null"}
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_KINDS: Final = {
    "str": "string",
    "bool": "bool",
    "int": "int",
    "tuple[str, ...]": "[]string",
    "str | None": "string",
}
_RANGES: Final = {"uint64": (0, (1 << 64) - 1)}


class JsonError(ValueError):
    """Go's decoder would refuse it; ``str()`` is what it says."""


class Number(str):
    """A number as it is written: what it may be depends on where it is needed."""

    __slots__ = ()


def parse(data: bytes) -> Any:
    """The value: dicts are tuples of (key, value), numbers are ``Number``. Raises JsonError."""
    if len(data) > MAX_BODY:
        raise JsonError(f"a body of {len(data)} bytes is too large: at most {MAX_BODY}")
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(
            text, object_pairs_hook=tuple, parse_int=Number, parse_float=Number, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        if len(data) > MAX_SCANNED:
            deep = isinstance(error, RecursionError)
            raise JsonError("exceeded max depth" if deep else "invalid JSON") from None
    _check(data)
    raise JsonError("exceeded max depth")  # well formed, but too deep for the library


def _refuse(name: str) -> None:
    """NaN and Infinity are no JSON."""
    raise ValueError(name)


# -- is it well formed? -------------------------------------------------------------------------------------------------


def _check(data: bytes) -> None:
    """Raises JsonError, unless it is well formed. Not recursive, and never back: its time is in proportion to the length."""
    containers: list[int] = []  # those that are open, by their first character
    at = _value(data, _skip(data, 0), containers)
    while containers:
        at = _skip(data, at)
        inside = containers[-1]
        what = "object key:value pair" if inside == 0x7B else "array element"
        char = _at(data, at)
        if char == 0x2C:
            at = _skip(data, at + 1)
            at = _key(data, at) if inside == 0x7B else at
            at = _value(data, at, containers)
        elif char == inside + 2:  # the closing bracket
            containers.pop()
            at += 1
        else:
            raise _invalid(data, at, f"after {what}")
    if _skip(data, at) < len(data):
        raise _invalid(data, _skip(data, at), "after top-level value")


def _skip(data: bytes, at: int) -> int:
    match = _SPACE.match(data, at)
    return match.end() if match else at


def _at(data: bytes, at: int) -> int:
    if at >= len(data):
        raise JsonError("unexpected end of JSON input")
    return data[at]


def _value(data: bytes, at: int, containers: list[int]) -> int:
    """Where what begins here ends; of a container that is not empty, where its first member that is none itself ends."""
    while True:
        char = _at(data, at)
        if char not in (0x7B, 0x5B):
            return _scalar(data, at, char)
        if len(containers) == MAX_DEPTH:
            raise JsonError("exceeded max depth")
        inside = _skip(data, at + 1)
        if _at(data, inside) == char + 2:
            return inside + 1
        containers.append(char)
        at = _key(data, inside, first=True) if char == 0x7B else inside


def _key(data: bytes, at: int, first: bool = False) -> int:
    """Where the value of the key that begins here begins."""
    if _at(data, at) != 0x22:
        raise _invalid(data, at, "looking for beginning of object key string")
    at = _skip(data, _string(data, at + 1))
    if _at(data, at) != 0x3A:
        raise _invalid(data, at, "after object key")
    return _skip(data, at + 1)


def _scalar(data: bytes, at: int, char: int) -> int:
    if char == 0x22:
        return _string(data, at + 1)
    if char in _LITERALS:
        return _literal(data, at, _LITERALS[char])
    if char == 0x2D or 0x30 <= char <= 0x39:
        return _number(data, at)
    raise _invalid(data, at, "looking for beginning of value")


def _string(data: bytes, at: int) -> int:
    while True:
        match = _STRING_RUN.match(data, at)
        at = match.end() if match else at
        char = _at(data, at)
        if char == 0x22:
            return at + 1
        if char != 0x5C:
            raise _invalid(data, at, "in string literal")
        at = _escape(data, at + 1)


def _escape(data: bytes, at: int) -> int:
    if data[at : at + 1] != b"u":
        if at >= len(data) or data[at] not in _ESCAPES:
            raise _invalid(data, at, "in string escape code")
        return at + 1
    for place in range(at + 1, at + 5):
        if place >= len(data) or data[place] not in _HEX:
            raise _invalid(data, place, "in \\u hexadecimal character escape")
    return at + 5


def _literal(data: bytes, at: int, word: bytes) -> int:
    for place, expected in enumerate(word[1:], at + 1):
        if data[place : place + 1] != bytes((expected,)):
            raise _invalid(data, place, f"in literal {word.decode()} (expecting {_shown(expected)})")
    return at + len(word)


def _number(data: bytes, at: int) -> int:
    match = _NUMBER.match(data, at)
    if match is None:  # a lone minus
        raise _invalid(data, at + 1, "in numeric literal")
    end = match.end()
    if match[2]:
        return end
    if data[end : end + 1] == b"." and not match[1]:
        raise _invalid(data, end + 1, "after decimal point in numeric literal")
    if data[end : end + 1] in (b"e", b"E"):
        signed = data[end + 1 : end + 2] in (b"+", b"-")
        raise _invalid(data, end + 1 + signed, "in exponent of numeric literal")
    return end


def _invalid(data: bytes, at: int, where: str) -> JsonError:
    """In the midst of something the end is, as Go has it, a blank."""
    return JsonError(f"invalid character {_shown(data[at] if at < len(data) else 0x20)} {where}")


def _shown(char: int) -> str:
    """A byte, taken for a code point, in quotes."""
    special = {0x27: "'\\''", 0x22: "'\"'", 0x5C: "'\\\\'", 0x07: "'\\a'", 0x08: "'\\b'", 0x0B: "'\\v'"}
    special |= {0x0C: "'\\f'", 0x0A: "'\\n'", 0x0D: "'\\r'", 0x09: "'\\t'"}
    if char in special:
        return special[char]
    if char < 0x20 or char == 0x7F:
        return f"'\\x{char:02x}'"
    return f"'{chr(char)}'" if chr(char).isprintable() else f"'\\u{char:04x}'"


# -- what it is to be ---------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Field:
    """A member of an object: whose it is (as nats-server names it), and of what kind."""

    owner: str
    name: str  # in the dataclass
    kind: str


Shape = dict[str, Field]  # by the name in the object, in lower case


def shape_of(owner: str, options: type) -> Shape:
    """The members that may become an ``options`` object (see ``broker/monitor/asked.py``)."""
    shape: Shape = {}
    for one in fields(options):
        name = str(one.metadata.get("name") or one.name)
        kind = str(one.metadata.get("kind") or _KINDS[str(one.type)])
        shape[name.lower()] = Field(f"{owner}.{name}", one.name, kind)
    return shape


def decode(data: bytes, type_name: str, shapes: Mapping[type, Shape]) -> dict[type, Any]:
    """The options objects that ``data`` states, by their type. Raises JsonError."""
    value = parse(data)
    given: dict[type, dict[str, Any]] = {options: {} for options in shapes}
    if value is not None:
        if not isinstance(value, tuple):
            raise JsonError(f"json: cannot unmarshal {_kind(value)} into Go value of type {type_name}")
        _take(value, shapes, given)
    return {options: options(**arguments) for options, arguments in given.items()}


def _take(value: tuple[Any, ...], shapes: Mapping[type, Shape], given: dict[type, dict[str, Any]]) -> None:
    error: JsonError | None = None  # the first counts, after all has been looked at
    for key, member in value:
        for options, shape in shapes.items():
            found = shape.get(key.lower())
            if found is None or member is None:
                continue
            try:
                given[options][found.name] = _converted(member, found)
            except JsonError as failure:
                error = error or failure
    if error is not None:
        raise error


def _converted(value: Any, to: Field) -> Any:
    if to.kind == "bool":
        good = isinstance(value, bool)
    elif to.kind in ("string", "server.SortOpt"):
        good = isinstance(value, str) and not isinstance(value, Number)
    elif to.kind == "[]string":
        if isinstance(value, list):
            member = Field(to.owner, to.name, "string")
            return tuple(_converted(one, member) for one in value if one is not None)
        good = False
    else:
        return _integer(value, to)
    if not good:
        raise _mismatch(_kind(value), to)
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value


def _integer(value: Any, to: Field) -> int:
    if not isinstance(value, Number):
        raise _mismatch(_kind(value), to)
    low, high = _RANGES.get(to.kind, (INT64_MIN, INT64_MAX))
    if _INTEGER.fullmatch(value) and len(value) <= 20 and not (low == 0 and value.startswith("-")):
        number = int(value)
        if low <= number <= high:
            return number
    raise _mismatch(f"number {value}", to)


def _mismatch(what: str, to: Field) -> JsonError:
    return JsonError(f"json: cannot unmarshal {what} into Go struct field {to.owner} of type {to.kind}")


def _kind(value: Any) -> str:
    if isinstance(value, Number):
        return "number"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
